"""SATA: energy by layer and component, utilisation, the paper's mitigations, sizes of the corrections.

`python -m experiments.figures.sata` writes the papers' numbers beside ours to `experiments/results`.
"""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from hwmodels import sata
from hwmodels.sata import studies
from hwmodels.workload import Workload

PATH = Path(__file__).parents[1] / "results" / "sata_figures.md"

_GROUPS = {
    "accumulation": ("and_gate", "multiplier", "adder", "accumulator_register", "image_multiplier"),
    "neurons": (
        "comparator",
        "relu_comparator",
        "subtractor",
        "threshold_register",
        "membrane_register",
        "residual_and_pooling",
    ),
    "scratchpads": ("spike_scratchpad", "activation_scratchpad", "weight_scratchpad", "psum_scratchpad"),
    "buffers": ("glb_ifmap", "glb_filter", "glb_ofmap"),
    "DRAM inputs": ("dram_ifmap",),
    "DRAM weights": ("dram_filter",),
    "DRAM outputs": ("dram_ofmap",),
}


def _grouped(parts: Mapping[str, float]) -> dict[str, float]:
    return {group: sum(float(parts.get(name, 0.0)) for name in names) for group, names in _GROUPS.items()}


def layer_figure(cost: sata.InferenceCost) -> Figure:
    """Energy of every layer, stacked by groups of components, and of the whole inference beside it."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    by_layer, whole = figure.subplots(1, 2, width_ratios=(4, 1))
    tables = {name: _grouped(parts) for name, parts in cost.energy_by_layer_and_component_j.items()}
    base = dict.fromkeys(tables, 0.0)
    below = 0.0
    for group, total in _grouped(cost.energy_by_component_j).items():
        heights = [table[group] * 1e6 for table in tables.values()]
        by_layer.bar(list(tables), heights, bottom=list(base.values()), label=group)
        base = {name: base[name] + table[group] * 1e6 for name, table in tables.items()}
        whole.bar(["all layers"], [total * 1e6], bottom=below)
        below += total * 1e6
    by_layer.set(ylabel="energy per inference [µJ]", title="SATA: energy by layer and component")
    by_layer.tick_params(axis="x", rotation=60)
    by_layer.legend(fontsize="small")
    return figure


def utilisation_figure(workload: Workload, accelerator: sata.Accelerator | None = None) -> Figure:
    """A roofline-like view: how busy the array is against how much each layer computes per DRAM byte.

    A marker's area is the layer's share of the cycles; the bar above it is the share of elements that its
    folds can fill at all (mapping efficiency), so that the gap between them is filling and draining.
    """
    chip = sata.Accelerator() if accelerator is None else accelerator
    cost = sata.inference_energy(workload, chip)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    cycles = sum(float(value) for value in cost.cycles_by_layer.values())
    for layer in workload.layers:
        statistics = sata.cycle_statistics(layer, chip.array, chip.buffers, chip.dataflow, corrected=True)
        counts = (statistics.dram_ifmap_reads, statistics.dram_filter_reads, statistics.dram_ofmap_writes)
        intensity = layer.macs / sum(float(count) for count in counts)
        busy = float(cost.utilisation_by_layer[layer.name])
        share = float(cost.cycles_by_layer[layer.name]) / cycles
        axes.scatter([intensity], [busy], s=30 + 2000 * share, alpha=0.5)
        axes.plot(
            [intensity], [float(statistics.mapping_efficiency)], marker="_", color="black", markersize=12
        )
        axes.annotate(layer.name, (intensity, busy), fontsize="small", ha="center", va="center")
    axes.axhline(1.0, color="gray", linewidth=0.8)
    axes.set(
        xscale="log",
        ylim=(0, 1.08),
        xlabel="dense products per timestep and DRAM word",
        ylabel="utilisation of the array",
        title="SATA: utilisation (markers) below mapping efficiency (bars)",
    )
    return figure


def mitigation_figure() -> Figure:
    """Figures 4b, 5a and 5b of the paper, as the model has them."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    steps, saving, power = figure.subplots(1, 3)
    rows = studies.figure_4b()
    bottom = [0.0] * len(rows)
    for part in ("movement", "computation"):
        values = [row[part] * 1e3 for row in rows.values()]
        steps.bar([str(t) for t in rows], values, bottom=bottom, label=part)
        bottom = [b + v for b, v in zip(bottom, values, strict=True)]
    steps.set(xlabel="timesteps", ylabel="energy [mJ]", title="4b: VGG9, CIFAR10")
    steps.legend(fontsize="small")
    savings = studies.figure_5a()
    saving.plot(list(savings), [100 * value for value in savings.values()], marker="o", label="ours")
    saving.plot([4], [62.5], marker="x", linestyle="none", label="paper")
    saving.set(xlabel="timesteps", ylabel="movement saved [%]", title="5a: tick batching against plain OS")
    saving.legend(fontsize="small")
    units = studies.figure_5b()
    names = ["no sharing" if n == 1 else f"C#{n}" for n in units]
    power.bar(names, [u["accumulation"] * 1e3 for u in units.values()], label="accumulation")
    power.bar(
        names,
        [u["lif"] * 1e3 for u in units.values()],
        bottom=[u["accumulation"] * 1e3 for u in units.values()],
        label="LIF units",
    )
    power.set(ylabel="dynamic power of 128 elements [mW]", title="5b: sharing LIF units")
    power.legend(fontsize="small")
    return figure


def correction_figure(workload: Workload) -> Figure:
    """How much each correction alone changes the published total."""
    published = sata.inference_energy(workload, conventions="published").total_j
    sizes = dict(sorted(sata.correction_sizes(workload).items(), key=lambda item: item[1]))
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(sizes), [100 * size / published for size in sizes.values()])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="change of the published total [%]", title="SATA: each correction on its own")
    return figure


def dataflow_figure(workload: Workload) -> Figure:
    """The same network under every dataflow, on the same components."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    flows = ("sata", "os", "ws", "is", "spinalflow", "ptb")
    costs = [sata.inference_energy(workload, sata.Accelerator(dataflow=flow)) for flow in flows]
    bottom = [0.0] * len(flows)
    for cause in ("operation", "ungated", "leakage", "sram", "dram"):
        values = [float(cost.energy_by_cause_j[cause]) * 1e6 for cost in costs]
        axes.bar(flows, values, bottom=bottom, label=cause)
        bottom = [b + v for b, v in zip(bottom, values, strict=True)]
    axes.set(ylabel="energy per inference [µJ]", title="Dataflows on SATA's components")
    axes.legend(fontsize="small")
    return figure


def page() -> str:
    """The papers' numbers beside ours and the sizes of the corrections, as they are today."""
    sizes = [
        "",
        "## Size of each correction",
        "",
        "Change of the published total by one correction alone, in %.",
    ]
    sizes += ["", "| correction | " + " | ".join(sata.PUBLISHED_WORKS) + " |", "|---" * 7 + "|"]
    columns = {}
    for work in sata.PUBLISHED_WORKS:
        workload = sata.published_workload(work)
        total = sata.inference_energy(workload, conventions="published").total_j
        columns[work] = {name: size / total for name, size in sata.correction_sizes(workload).items()}
        all_of_them = sata.inference_energy(workload).total_j
        columns[work]["all together"] = all_of_them / total - 1
    for name in columns["bntt"]:
        cells = " | ".join(f"{100 * column[name]:+.3g}" for column in columns.values())
        sizes.append(f"| {name} | {cells} |")
    meaning = ["", *(f"- **{name}**: {text}" for name, text in sata.CORRECTIONS.items())]
    return studies.markdown() + "\n".join([*sizes, *meaning]) + "\n"


def main() -> None:
    PATH.write_text(page())
    print(f"wrote {PATH}")


if __name__ == "__main__":
    main()
