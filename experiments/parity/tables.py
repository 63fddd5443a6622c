"""Rows beside what the papers print: paper, ours, difference, verdict, and why."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from experiments.benchmarks import spikeflow_paper
from experiments.output import mean_and_spread
from experiments.parity import targets
from experiments.parity.readings import READINGS
from experiments.parity.robustness import drop
from hwmodels.sata import studies
from jaxsnn.codesign.table import Table

Rows = Mapping[str, Mapping[str, Any] | None]
NOT_RUN = "not run"


def size_of(loss: float) -> str:
    """Δ in words, by which rows are judged: to a number nothing is tuned."""
    return "little" if loss < 0.1 else "much" if loss > 0.5 else "some"


def verdict(paper: float, ours: float) -> str:
    same = size_of(paper) == size_of(ours)
    return f"agrees: loses {size_of(ours)}" if same else f"differs: {size_of(ours)}, not {size_of(paper)}"


def loss(row: Mapping[str, Any], reading: str) -> float:
    return drop(row["software_on_hardware_images"], row["hardware"][reading])


def spread(row: Mapping[str, Any], reading: str) -> float:
    """The standard deviation of the loss between chips."""
    software = row["software_on_hardware_images"]
    losses = [drop(software, [accuracy]) for accuracy in row["hardware"][reading]]
    return statistics.stdev(losses) if len(losses) > 1 else 0.0


def robustness_table(
    title: str, printed: Mapping[str, targets.Drop], rows: Rows, shown: str, notes: Mapping[str, str]
) -> Table:
    """Table I or II: `printed` by the names of the rows."""
    cells = []
    for name, paper in printed.items():
        row = rows.get(name)
        start = [
            paper.label,
            f"{paper.rows}×{paper.rows}",
            _percent(paper.software),
            _percent(paper.hardware),
        ]
        if row is None:
            cells.append([*start, f"{paper.drop:.2%}", NOT_RUN, *["–"] * 4, NOT_RUN, notes.get(name, "")])
            continue
        ours = loss(row, shown)
        cells.append(
            [
                *start,
                f"{paper.drop:.2%}",
                row["ours"],
                _percent(row["software"]),
                mean_and_spread(row["hardware"]["ideal"]),
                mean_and_spread(row["hardware"][shown]),
                f"{ours:.2%}",
                verdict(paper.drop, ours),
                notes.get(name, ""),
            ]
        )
    columns = [
        *("row", "crossbar", "software, paper", "hardware, paper", "Δ, paper", "ours"),
        *("software", "exact circuit"),
        *(f"reading: {shown}", "Δ", "verdict", "what was cut"),
    ]
    note = (
        "Exact circuit: weights against the ideal range of conductance. Mean ± standard deviation of chips. "
        "Δ = (software − hardware)/software on the images that chips see, under the reading shown; less than "
        "10 % is little, more than 50 % much."
    )
    return Table(title, columns, cells, note=note)


def studied(rows: Rows) -> list[tuple[Mapping[str, Any], targets.Drop]]:
    """The measured rows of the readings, each beside the paper's."""
    wanted = [(f"readings_{name}_64", paper) for name, paper in targets.TABLE_I.items()]
    wanted += [
        (f"readings_{name}_{size}", paper) for (name, size), paper in targets.TABLE_II.items() if size == 32
    ]
    return [(row, paper) for name, paper in wanted if (row := rows.get(name)) is not None]


def under(row: Mapping[str, Any], reading: str) -> float | None:
    """Δ of a row of the readings; None for a reading that it was not tried with.

    Where thresholds are found anew, networks that were not converted stay as they are.
    """
    tried = row["hardware"]
    if reading not in tried:
        reading = dataclasses.replace(READINGS[reading], thresholds="software").label
    return drop(row["software"], tried[reading]) if reading in tried else None


def readings_table(rows: Rows) -> Table:
    """Readings of the method against rows: Δ of each."""
    present = studied(rows)
    cells = [["paper", *(f"{paper.drop:.1%}" for _, paper in present), ""]]
    for reading in READINGS:
        found = [under(row, reading) for row, _ in present]
        agree = sum(
            delta is not None and size_of(delta) == size_of(paper.drop)
            for delta, (_, paper) in zip(found, present, strict=True)
        )
        asked = sum(delta is not None for delta in found)
        cells.append([reading, *("–" if d is None else f"{d:.1%}" for d in found), f"{agree} of {asked}"])
    columns = ["reading", *(f"{p.label}, {p.rows}×{p.rows}" for _, p in present), "rows that agree"]
    note = (
        "Δ on one chip of the same devices; a row agrees when its Δ is little, some or much as the paper's."
    )
    return Table("Readings of the method against rows", columns, cells, note=note)


def ablation_table(rows: Rows) -> Table | None:
    present = {name: row for name in targets.TABLE_I if (row := rows.get(f"ablation_{name}")) is not None}
    if not present:
        return None
    cases = list(dict.fromkeys(case for row in present.values() for case in row))
    return Table(
        "One effect at a time",
        ["effect", *(targets.TABLE_I[name].label for name in present)],
        [[case, *(_percent(row.get(case)) for row in present.values())] for case in cases],
        note="Accuracy on one chip of 64×64, the same devices throughout. Attenuation: each layer's kernel "
        "times the one factor that is nearest to the chip's; pattern: the chip's weights over that factor.",
    )


def figure_3_table(rows: Rows, shown: str) -> Table:
    cells = []
    for name, row in rows.items():
        if name.startswith("figure_3_") and row is not None:
            _, _, method, timesteps = name.split("_")
            cells.append(
                [
                    f"{method}, T = {timesteps}",
                    _percent(row["software"]),
                    f"{loss(row, 'ideal'):.2%}",
                    f"{loss(row, shown):.2%}",
                ]
            )
    columns = ["network", "software", "Δ, exact circuit", f"Δ, {shown}"]
    return Table("Figure 3: Δ against timesteps", columns, cells)


def figure_4_table(rows: Rows, shown: str) -> Table | None:
    row = rows.get("figure_4")
    if row is None:
        return None
    software = row["software_on_hardware_images"]
    cells = [
        [str(count), *(f"{drop(software, found[reading]):.2%}" for reading in ("ideal", shown))]
        for count, found in zip(row["images"], row["hardware"], strict=True)
    ]
    return Table(
        "Figure 4: Δ against images in BN adaptation", ["images", "Δ, exact circuit", f"Δ, {shown}"], cells
    )


# The printed numbers and ours beside them are those of the build, whatever was trained.
@cache
def improvements(conventions: str) -> dict[str, float]:
    """Ours on SATA over each work's own baseline, by the works of table II."""
    found = {
        row.source.rsplit(" ", 1)[1]: row.ours
        for row in studies.table_ii()
        if row.quantity.endswith(conventions)
    }
    return {work: found[work.lower().replace("-", "")] for work in targets.WORKS}


def table_2_of_perspective() -> Table:
    """Accuracy and sparsity as printed; improvements over each work's baseline, printed and ours."""
    published, corrected = improvements("published"), improvements("corrected")
    cells = []
    for work, printed in targets.WORKS.items():
        cells.append(
            [
                work,
                f"{printed.accuracy:.1%}",
                f"{printed.sparsity:.1%}",
                str(printed.timesteps),
                f"{printed.estimated:g}×",
                f"{printed.sata:g}×",
                f"{published[work]:.1f}×",
                f"{corrected[work]:.1f}×",
                f"{printed.spikesim:g}×",
            ]
        )
    columns = ["work", "accuracy, printed", "sparsity", "T", "estimated, printed", "SATA, printed"]
    columns += ["SATA, published", "SATA, corrected", "SpikeSim, printed"]
    note = (
        "Accuracies are those that the paper cites, of networks that are not at hand; joules of SpikeSim are "
        "below."
    )
    return Table(
        "Table II of the perspective: improvements over each work's baseline", columns, cells, note=note
    )


@cache
def cost_table() -> Table:
    """Every printed number that needs no training beside ours."""
    rows = [
        [
            each.source,
            each.quantity,
            f"{each.paper:.4g}",
            f"{each.ours:.4g}",
            f"{each.ours / each.paper - 1:+.1%}",
            each.why,
        ]
        for each in studies.comparisons()
    ]
    rows += [
        [
            row["figure"],
            row["quantity"],
            f"{row['paper']:.4g}",
            f"{row['ours']:.4g}",
            f"{row['ours'] / row['paper'] - 1:+.1%}",
            row["why"],
        ]
        for row in spikeflow_paper.run()["rows"]
    ]
    columns = ["source", "quantity", "paper", "ours", "difference", "why"]
    return Table("Costs: every printed number", columns, rows)


def exiting_early(rows: Rows) -> dict[str, Mapping[str, Any]]:
    """The measured rows of DT-SNN, by data set."""
    start = "dt_snn_"
    return {
        name.removeprefix(start): row
        for name, row in rows.items()
        if name.startswith(start) and row is not None
    }


def dt_snn_table(name: str, row: Mapping[str, Any]) -> Table:
    cells = []
    for chip, costs in row["chips"].items():
        last = len(costs["energy_by_timesteps_j"])
        full = costs["energy_by_timesteps_j"][-1], costs["latency_by_timesteps_s"][-1]
        cells.append(
            [chip, "–", str(last), _percent(row["accuracy_by_timesteps"][-1]), f"{full[0]:.3e}", "", ""]
        )
        cells += [
            [
                chip,
                f"{each['threshold']:g}",
                f"{each['mean_timesteps']:.2f}",
                _percent(each["accuracy"]),
                f"{each['energy_j']:.3e}",
                f"{1 - each['energy_j'] / full[0]:.1%}",
                f"{1 - each['energy_delay_js'] / (full[0] * full[1]):.1%}",
            ]
            for each in costs["exits"]
        ]
    columns = ["chip", "threshold", "mean timesteps", "accuracy", "energy [J]", "energy saved", "EDP saved"]
    note = (
        "EDP is the mean over inputs. arXiv 2305.17346 prints, of VGG16 on CIFAR-10, "
        f"{targets.DT_SNN_TIMESTEPS} mean timesteps of 4 and an EDP lower by {targets.DT_SNN_SAVING:.0%}."
    )
    return Table(f"DT-SNN: a network trained on {name} that exits early", columns, cells, note=note)


def weight_encoding_table(row: Mapping[str, Any]) -> Table:
    software = row["software_on_hardware_images"]
    cells = [["software", _percent(software), ""]]
    cells += [
        [name, mean_and_spread(accuracies), f"{drop(software, accuracies):.2%}"]
        for name, accuracies in row["hardware"].items()
    ]
    note = (
        f"The paper, VGG16 on Tiny ImageNet, which is not to be had here: encoding adds "
        f"{targets.ENCODING_GAIN:.2%}, adaptation leaves a loss of {targets.ADAPTED_LOSS:.2%}."
    )
    return Table(
        "Figure 6b: weight encoding and BN adaptation, 4 bits",
        ["on 64×64 crossbars", "accuracy", "Δ"],
        cells,
        note=note,
    )


def lab_table(rows: Rows) -> Table | None:
    """MINT, EfficientLIF-Net and lottery tickets beside the network that they start from."""
    cells = []
    for name, row in rows.items():
        if name.startswith("variant_") and row is not None:
            bits = row["weight_bits"][0]
            memory = "" if bits is None else f"weights of {bits:g} bits: {1 - bits / 32:.1%} less memory"
            cells.append([name.removeprefix("variant_").replace("_", " "), _percent(row["software"]), memory])
    if (lottery := rows.get("lottery")) is not None:
        for ticket in lottery["tickets"]:
            cells.append(
                [
                    f"lottery ticket, {ticket['sparsity']:.0%} of weights removed",
                    _percent(ticket["accuracy"]),
                    "",
                ]
            )
    if not cells:
        return None
    note = (
        f"MINT (arXiv 2305.09850) prints {targets.MINT_ACCURACY:.1%} for VGG16 on CIFAR-10 at 2 bits, with "
        f"{targets.MINT_MEMORY_SAVED:.1%} less memory."
    )
    return Table("What the lab published next", ["network", "accuracy", "memory"], cells, note=note)


def wall_times(ledger_rows: Mapping[str, Mapping[str, Any]], missing: list[str]) -> Table:
    cells = [
        [
            name,
            f"{row['wall_time_s']:.0f} s",
            row["device"],
            row.get("date", "")[:10],
            row.get("commit") or "",
        ]
        for name, row in ledger_rows.items()
    ]
    cells += [[name, NOT_RUN, "", "", ""] for name in missing]
    note = "With the training of networks that the run had to train; restored ones took none of it."
    return Table("Wall times", ["row", "time", "device", "date", "commit"], cells, note=note)


def markdown(title: str, verdict: str, tables: Sequence[Table], figures: Iterable[str] = ()) -> str:
    """The page as Markdown; figures by the names of the PNG files beside it."""
    lines = [f"# {title}", "", verdict, ""]
    for table in tables:
        lines += [f"## {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [_line(row) for row in table.rows]
        lines += ["", *([table.note, ""] if table.note else [])]
    for name in figures:
        lines += [f"![{name.replace('_', ' ')}]({name}.png)", ""]
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{fraction:.2%}"
