"""SpikeFlow beside the papers, as one page: printed numbers, corrections, a designer's questions.

`python -m experiments.figures.spikeflow_page` writes it to `experiments/results`. Every number is exact host
arithmetic; none is typed here, so that the page cannot lag behind the model.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks import spikeflow_paper
from hwmodels import spikeflow
from hwmodels.spikeflow.energy import cell_read_j
from hwmodels.workload import Workload

PATH = Path(__file__).parents[1] / "results" / "spikeflow_figures.md"


def page() -> str:
    """The page as it is written today."""
    workload = spikeflow.vgg(spikeflow.VGG9, size=32, classes=10, hidden=(1024,))
    parts = [_head(), _printed(), _corrections(workload), _designer(workload), _constants(workload), _peers()]
    return "\n".join(parts)


def main() -> None:
    PATH.write_text(page())
    print(f"wrote {PATH}")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _percent(change: Any) -> str:
    value = float(change)
    if abs(value) < 5e-4:
        return "0"
    if value >= 10:
        return f"×{1 + value:.0f}"
    return f"{'+' if value > 0 else '−'}{100 * abs(value):.1f} %"


def _head() -> str:
    return """# SpikeFlow beside the papers

Written by `python -m experiments.figures.spikeflow_page` from `experiments.benchmarks.spikeflow_paper` and
the studies of `hwmodels.spikeflow`. All numbers are exact host arithmetic, so they do not depend on the
machine.
"""


def _printed() -> str:
    rows = [
        [
            row["figure"],
            row["quantity"],
            f"{row['paper']:g}",
            f"{row['ours']:.4g}",
            _percent(row["difference"]),
            row["why"],
        ]
        for row in spikeflow_paper.run()["rows"]
    ]
    counted = {row["counting"]: row for row in spikeflow.figure_4a()}
    edp = {name: f"{row['edp']:.2f}" for name, row in counted.items()}
    pipelined, bitwise = (edp[f"corrected, {how}"] for how in ("pipelined timesteps", "image bit by bit"))
    whole, *shared = spikeflow.figure_6a()
    kept, logic, memory = (whole[name] for name in ("encoder_memory", "neuron", "membrane"))
    halved, quartered = (f"{row['reduction']:.2f}" for row in shared)
    return f"""## Printed numbers

{_table(("figure", "quantity", "paper", "ours", "difference", "why"), rows)}
The caption of Table II says that all energies are of a 28 nm node. Its SpikeSim column equals the authors'
65 nm script, unscaled.

**Figure 4a.** What does not grow with T is the encoding of the image, once: {edp["corrected"]}. Other ways to
count it: sequential layers {edp["corrected, sequential layers"]}, timesteps in a pipeline {pipelined}, an
8-bit image entered bit by bit {bitwise} (its eight cycles outweigh the timesteps that follow). The default
charges the image one PE cycle, as the tool does. DT-SNN's cut is the expectation over exits of greatest
entropy with a mean of 2.14; at the mean exit it would be {counted["corrected"]["dt_snn_at_mean"]:.2f}.

**Figure 6a.** Our module (ResNet18, 64×64) is {memory:.1f} mm² of membrane memory, {logic:.1f} of logic and
{kept:.1f} of kept encoding, which no sharing shrinks; hence {halved} and {quartered} instead of 2 and 4. The
printed pair cannot come from any split into a fixed part and a part divided by n: 1.38 at n = 2 asks for a
fixed share of 0.45, which leaves 1.70 at n = 4, and the step from C#2 to C#4 saves 0.31 of the baseline where
n alone can save 0.25. The authors' C#2 must have shared less of the network.
"""


def _corrections(workload: Workload) -> str:
    columns = [f"{what} {how}" for what in ("energy", "latency", "area") for how in ("alone", "without")]
    sizes = spikeflow.correction_sizes(workload)
    rows = []
    for name, changes in sizes.items():
        cells = [_percent(changes[column.replace(" ", "_")]) for column in columns]
        if name == "all":  # The reverse is no correction that is left out.
            cells = [
                "–" if column.endswith("without") else cell
                for column, cell in zip(columns, cells, strict=True)
            ]
        rows.append([name, *cells])
    idle = [
        f"`{name}`"
        for name, changes in sizes.items()
        if all(abs(float(change)) < 5e-4 for change in changes.values())
    ]
    convolutions = Workload(
        tuple(layer for layer in workload.layers if layer.kind == "conv"), workload.timesteps
    )
    alone = spikeflow.correction_sizes(convolutions)["all"]
    energy, latency, area = (_percent(alone[f"{what}_alone"]) for what in ("energy", "latency", "area"))
    return f"""## Published against corrected

{_subject(workload)}, published chip. "Alone": that switch turned on in the published
tool. "Without": turned off in the corrected model.

{_table(("switch", *columns), rows)}
{", ".join(idle)} differ from the tool only on another chip than its own.
On convolutions alone (the tool's list) all switches together give {energy} energy, {latency} latency,
{area} area.
"""


def _subject(workload: Workload) -> str:
    rates = {float(layer.input_rate) for layer in workload.layers if not layer.analog_input}
    (rate,) = rates
    return f"VGG9 with fc1024, T = {workload.timesteps}, spike rates of {rate:g}"


def _designer(workload: Workload) -> str:
    published = spikeflow.Chip()
    chips = {
        **{
            f"{n}×{n}": dataclasses.replace(published, crossbar_rows=n, crossbar_columns=n)
            for n in (32, 64, 128)
        },
        "64×64, SRAM (one bit a cell)": spikeflow.with_sram(published),
        **{
            f"64×64 at 28 nm, {rule}": spikeflow.scale_to_node(published, 28.0, rule)
            for rule in ("nominal-voltage", "stillmaker-baas")
        },
    }
    costs = {name: spikeflow.evaluate(workload, chip) for name, chip in chips.items()}
    copies = spikeflow.balance(workload, published, 200)
    copied = spikeflow.evaluate(workload, published, duplicates=copies)
    said = ", ".join(map(str, copies[:4]))
    costs[f"64×64, copies ({said}, …) within 200 PEs"] = copied
    plain = costs["64×64"]
    rows = [[name, *_figures(cost), str(cost.placement.tiles)] for name, cost in costs.items()]
    by_timesteps = spikeflow.snn_against_ann(workload, timesteps=(1, 2, 4, 16))
    networks = [
        [row["network"], *_micro(row["energy_j"], row["latency_s"], row["area_mm2"])] for row in by_timesteps
    ]
    read, mux = (1e6 * float(plain.latency_by_component_s[name]) for name in ("read", "mux"))
    dense = spikeflow.evaluate(workload, dataclasses.replace(published, activity="dense")).energy_j
    half, tenth, fiftieth = (
        f"{100 * spikeflow.evaluate(_at_rate(workload, rate)).energy_j / dense:.0f}"
        for rate in (0.5, 0.1, 0.02)
    )
    return f"""## What a designer asks

{_subject(workload)}, corrected.

{_table(("chip", "energy [µJ]", "latency [µs]", "area [mm²]", "tiles"), rows)}
Of the {read + mux:.0f} µs, {read:.0f} are read rounds that every output position takes, and {mux:.0f} the
seven further rounds of eight columns that share a converter; SAR conversion and bit-serial inputs would come
on top. The tool times a PE cycle (26 clocks) as a whole, so the parts within a round cannot be told apart.

The copies raise the throughput from {plain.throughput:,.0f} to {copied.throughput:,.0f} inferences a second.

{_table(("network", "energy [µJ]", "latency [µs]", "area [mm²]"), networks)}
The ANN enters its activations bit by bit. Spike sparsity hardly helps: of the energy with every row and
converter at work (`activity="dense"`), {half}, {tenth} and {fiftieth} % are left at rates of 0.5, 0.1 and
0.02, because converters and buffers rest only where none of a PE's inputs spikes.
"""


def _figures(cost: spikeflow.Cost) -> list[str]:
    return _micro(cost.energy_j, cost.latency_s, cost.area_mm2)


def _micro(energy_j: Any, latency_s: Any, area_mm2: Any) -> list[str]:
    return [f"{1e6 * float(energy_j):.1f}", f"{1e6 * float(latency_s):.0f}", f"{float(area_mm2):.3g}"]


def _at_rate(workload: Workload, rate: float) -> Workload:
    layers = (
        layer if layer.analog_input else dataclasses.replace(layer, input_rate=rate)
        for layer in workload.layers
    )
    return Workload(tuple(layers), workload.timesteps)


def _constants(workload: Workload) -> str:
    sram = spikeflow.SRAM
    cacti_pj = 1e12 * float(cell_read_j(spikeflow.with_sram(spikeflow.Chip()), spikeflow.CORRECTED))
    _, compared = spikeflow.sram_against_rram(workload)
    residual = dataclasses.replace(spikeflow.resnet18(size=64, classes=200), timesteps=4)
    cost = spikeflow.evaluate(residual)
    mesh = 100 * float(cost.energy_by_component_j["noc"]) / float(cost.energy_j)
    if compared["break_even_read_j"] > 0:
        raise RuntimeError("a free read would bring SRAM level with RRAM now: reword the page.")
    return f"""## Constants to be wary of

- SRAM's read energy ({1e12 * sram.read_j:.3f} pJ) is digit for digit its area in µm², and as an area it makes
  sense (102.4 F² a cell at F = 40 nm): most likely a slip. Corrected takes CACTI's, {cacti_pj:.0f} pJ. Even a
  free read would not bring SRAM level with RRAM here, because four columns a weight cost four times the
  converters.
- DIFF's subtractor (1.15e-6 pJ) is five orders below an 8-bit subtractor; corrected uses SATA's.
- Membrane fetch (4.64 pJ for 64 potentials of 22 bits, 3 fJ a bit) is about what CACTI gives for one of them
  (3.3 pJ); corrected charges a read and a write of each at CACTI's energy.
- The split of a SAR converter between logic and capacitors at four bits (one half) is an assumption; it
  matters only with `Adc(kind="sar")`.
- The mesh (11.16 pJ per 64-bit flit and hop, Piton, HPCA 2018, 32 nm) is a measurement of another chip,
  scaled.
- Shortcuts of residual blocks travel the mesh: spikes from the layer where their block begins, or a
  projection's 22-bit sums. The mesh takes {mesh:.1f} % of the energy of ResNet18 at 64×64, T = 4.
- DACs of the encoding layer and leakage are nowhere in the tool, and are not charged.
"""


def _peers() -> str:
    return """## Peers

`tests/hwmodels/spikeflow/test_peer.py` compares with SpikingJelly 2.0.0 in one run: its dense energies of
three convolutions equal ours, and its count of crossbar energy on random spikes agrees with our
expectation, to the tolerances that stand there.

| | here | SpikingJelly 2.0 | DNN+NeuroSim, CiMLoop (not run here) |
| --- | --- | --- | --- |
| spiking networks, T, exits | yes | T, from a run | no |
| energy | every layer, from shapes and rates | convolutions, from a run | yes |
| latency, area, placement | yes | no | yes |
| published numbers reproduced | yes | energy rule | – |
| device and circuit detail | constants with sources | constants | from technology files |
| gradients and mapped sweeps | yes | no | no |

Speed: `python -m experiments.benchmarks spikeflow`, stored in `benchmark_spikeflow.json` with its machine
and versions.
"""


if __name__ == "__main__":
    main()
