"""What an evaluation found, for programs and for people."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxsnn.codesign import page
from jaxsnn.codesign.charts import Chart, Point, breakdown, scatter
from jaxsnn.codesign.metrics import Metrics
from jaxsnn.codesign.on_chip import CSV, OnChip, chip_rows, floats, with_spread
from jaxsnn.codesign.provenance import saving, write_csv, write_json
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import si
from jaxsnn.learning.evaluation import Evaluation
from jaxsnn.network import LayerRecord

_NEAR = 0.02
"""Of accuracy: so much less is worth telling for less energy."""


@dataclass(frozen=True, eq=False)
class Report:
    """A network in software and on chips: `report["SpikeFlow"]` is an
    [`OnChip`][jaxsnn.codesign.on_chip.OnChip], and `print(report)` shows tables.

    - `software`: the evaluation of each network without hardware.
    - `record`: one per weighted layer, with software's rates.
    - `timesteps`: T.
    - `estimated_energy_j`: what a FLOP count claims, `FLOPs · T · (1 − sparsity) · E_AC`; 0 for blank inputs.
    - `chips`: an [`OnChip`][jaxsnn.codesign.on_chip.OnChip] each.
    - `metrics`: NeuroBench's, of the first network in software, on up to 256 test inputs.
    - `inputs`, `provenance`: what the numbers were made from, and with.
    - `failed`: why, of chips on which the network could not be tested; they are not in `chips`.
    """

    software: tuple[Evaluation, ...]
    record: tuple[LayerRecord, ...]
    timesteps: int
    estimated_energy_j: float
    chips: Mapping[str, OnChip]
    metrics: Metrics
    inputs: Mapping[str, Any]
    provenance: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> OnChip:
        if name in self.failed:
            raise KeyError(f"on chip {name!r} the network could not be tested: {self.failed[name]}")
        if name not in self.chips:
            raise KeyError(f"there is no chip {name!r} in this report; there are {', '.join(self.chips)}.")
        return self.chips[name]

    @property
    def software_accuracy(self) -> float:
        """Mean over networks of the accuracy without hardware."""
        return float(np.mean([one.accuracy for one in self.software]))

    @property
    def software_spread(self) -> float | None:
        """Standard deviation between networks; None for one."""
        accuracies = [one.accuracy for one in self.software]
        return float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None

    @property
    def verdict(self) -> str:
        """What was found, in plain words."""
        best = max(self.chips.values(), key=lambda chip: (chip.accuracy, -chip.energy_j))
        near = [chip for chip in self.chips.values() if chip.accuracy >= best.accuracy - _NEAR]
        frugal, leanest = (
            min(chips, key=lambda chip: chip.energy_j) for chips in (near, self.chips.values())
        )
        text = (
            f"Of {self.software_accuracy:.1%} in software, {best.accuracy:.1%} survive on {best.name}, where "
            f"an inference takes {si(best.energy_j, 'J')}"
        )
        if self.estimated_energy_j > 0:
            text += f", {best.energy_j / self.estimated_energy_j:.0f} times what a FLOP count claims"
        text += "."
        if frugal is not best:
            text += f" {frugal.name} keeps {frugal.accuracy:.1%} for {si(frugal.energy_j, 'J')}."
        if leanest is not frugal:
            text += (
                f" {leanest.name} needs least, {si(leanest.energy_j, 'J')}, and keeps {leanest.accuracy:.1%}."
            )
        if self.failed:
            text += f" The network could not be tested on {', '.join(self.failed)}."
        return text

    def numbers(self) -> dict[str, Any]:
        """As JSON: fractions and SI units, named."""
        return {
            "software_accuracy": self.software_accuracy,
            "software_spread": self.software_spread,
            "software_accuracies": [one.accuracy for one in self.software],
            "timesteps": self.timesteps,
            "spike_rates": {layer.name: float(layer.spike_rate) for layer in self.record if layer.spiking},
            "input_rates": {layer.name: float(layer.input_rate) for layer in self.record},
            "estimated_energy_j": self.estimated_energy_j,
            "metrics": self.metrics.numbers(),
            "chips": {name: chip.numbers() for name, chip in self.chips.items()},
            **({"failed": dict(self.failed)} if self.failed else {}),
        }

    def result(self) -> dict[str, Any]:
        """What `result.json` holds: inputs, machine, numbers."""
        return {"inputs": dict(self.inputs), **self.provenance, "numbers": self.numbers()}

    def tables(self) -> list[Table]:
        """One row a chip, then where energy and spikes go, and what NeuroBench counts."""
        return [chip_table(self), *cost_tables(self), rate_table(self), self.metrics.table()]

    def charts(self) -> list[Chart]:
        """Accuracy against energy, and what takes energy and area on each chip."""
        points = [
            Point(one.name, one.energy_j, one.accuracy, one.measured_spread) for one in self.chips.values()
        ]
        costs = {name: chip.cost for name, chip in self.chips.items()}
        return [
            scatter(points, self.software_accuracy),
            breakdown(
                "Energy by component",
                "J",
                {name: floats(cost.energy_by_component_j) for name, cost in costs.items()},
            ),
            breakdown(
                "Area by component",
                "mm²",
                {name: floats(cost.area_by_component_mm2) for name, cost in costs.items()},
            ),
        ]

    def save(self, folder: str | PathLike) -> Path:
        """Writes `report.html`, `result.json` and `result.csv`, one row a chip: all or none.

        **Arguments:** `folder`: a new one, or one that holds an evaluation, which is replaced.

        **Returns:** the folder.

        **Raises:** `OSError` for a folder that cannot be written to, or that another process writes into;
        `ValueError` for one that holds a result of another kind.
        """
        folder = Path(folder)
        with saving(folder, "an evaluation") as scratch:
            self.write(scratch)
        return folder

    def write(self, folder: Path) -> None:
        """What [`Report.save`][] writes, right into the folder."""
        text = page.render(
            "A network on chips",
            self.tables(),
            {"inputs": dict(self.inputs), **self.provenance},
            charts=self.charts(),
            verdict=self.verdict,
            links=("result.json", CSV),
        )
        (folder / "report.html").write_text(text, encoding="utf-8")
        write_csv(folder / CSV, chip_rows(self.numbers()))
        write_json(folder / "result.json", self.result())

    def __str__(self) -> str:
        text = io.StringIO()
        console = Console(file=text, width=100)
        console.print(self.verdict)
        for table in self.tables():
            table.print(console)
        return text.getvalue()


_FACTS = ("node", "size", "bits")


def chip_table(report: Report) -> Table:
    """Accuracy, joule, second and mm² of every chip, and the FLOP estimate that papers claim."""
    none = ["–"] * len(_FACTS)
    rows = [
        [
            "software",
            with_spread(report.software_accuracy, report.software_spread),
            "",
            "–",
            "–",
            "–",
            "–",
            *none,
        ],
        [
            "FLOP estimate",
            "",
            "",
            si(report.estimated_energy_j, "J"),
            _times(report.estimated_energy_j, report.estimated_energy_j),
            "–",
            "–",
            *none,
        ],
    ]
    for chip in report.chips.values():
        rows.append(
            [
                chip.name,
                with_spread(chip.accuracy, chip.measured_spread),
                f"{chip.drop:.2%}",
                si(chip.energy_j, "J"),
                _times(chip.energy_j, report.estimated_energy_j),
                si(chip.latency_s, "s"),
                f"{chip.area_mm2:.3g} mm²",
                *(chip.facts.get(name, "–") for name in _FACTS),
            ]
        )
    rows += [[name, *["–"] * 6, *none] for name in report.failed]
    draws = next(iter(report.chips.values())).by_network.shape[1]
    count = f"{draws} programmed chips" if draws > 1 else "one programmed chip"
    spread = "± their standard deviation" if draws > 1 else "which shows no spread"
    note = f"T = {report.timesteps}; {count} of each design, {spread}."
    if len(report.software) > 1:
        spreads = ", ".join(f"{chip.name} ± {chip.training_spread:.2%}" for chip in report.chips.values())
        note += (
            f" Between {len(report.software)} trainings: software ± {report.software_spread:.2%}, {spreads}."
        )
    else:
        note += " Training varies too, which one network cannot show."
    for name, reason in report.failed.items():
        note += f" {name} could not be tested: {reason}"
    labels = "; ".join(f"{chip.name}: {chip.label}" for chip in report.chips.values())
    return Table(
        "One chip a row",
        ["", "accuracy", "drop Δ", "energy", "over estimate", "latency", "area", *_FACTS],
        rows,
        note=f"{note} Δ = (software − hardware) / software. {labels}. Costs: {report.inputs['conventions']} "
        "conventions, at the spike rates on the chip.",
    )


def cost_tables(report: Report) -> list[Table]:
    """What an inference takes on each chip, by component and by layer."""
    costs = {name: chip.cost for name, chip in report.chips.items()}
    energies = {name: floats(cost.energy_by_component_j) for name, cost in costs.items()}
    areas = {name: floats(cost.area_by_component_mm2) for name, cost in costs.items()}
    by_layer = {name: floats(cost.energy_by_layer_j) for name, cost in costs.items()}
    latencies = {name: floats(cost.latency_by_layer_s) for name, cost in costs.items()}
    layers = [layer.name for layer in report.record]
    layers += [name for name in dict.fromkeys(n for c in by_layer.values() for n in c) if name not in layers]
    return [
        _parts(
            "Energy by component",
            "component",
            energies,
            partial(si, unit="J"),
            _largest(energies),
            share=True,
        ),
        _parts("Energy by layer", "layer", by_layer, partial(si, unit="J"), layers, note=_free(report)),
        _parts("Latency by layer", "layer", latencies, partial(si, unit="s"), layers, note=_LATENCY_NOTE),
        _parts(
            "Area by component",
            "component",
            areas,
            lambda value: f"{value:.3g} mm²",
            _largest(areas),
            share=True,
        ),
    ]


_LATENCY_NOTE = "What each layer adds to the time from the input to the result."


def _largest(parts: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Names of parts, those with the largest share of any chip first; without what takes nothing."""
    shares: dict[str, float] = {}
    for values in parts.values():
        total = sum(values.values())
        for name, value in values.items():
            if value:
                shares[name] = max(shares.get(name, 0.0), value / total)
    return sorted(shares, key=lambda name: -shares[name])


def _parts(
    title: str,
    kind: str,
    parts: Mapping[str, Mapping[str, float]],
    text: Callable[[float], str],
    order: Sequence[str],
    *,
    share: bool = False,
    note: str = "",
) -> Table:
    def cell(values: Mapping[str, float], name: str) -> str:
        value = values.get(name, 0.0)
        if not value:
            return "–"
        return text(value) + (f" ({value / sum(values.values()):.1%})" if share else "")

    return Table(
        title,
        [kind, *parts],
        [[name, *(cell(values, name) for values in parts.values())] for name in order],
        note=note,
    )


def rate_table(report: Report) -> Table:
    """Each layer's spike rate in software and on each chip."""
    return Table(
        "Spike rate per layer",
        ["layer", "software", *report.chips],
        [
            [layer.name, f"{float(layer.spike_rate):.3f}"]
            + [f"{chip.spike_rates[layer.name]:.3f}" for chip in report.chips.values()]
            for layer in report.record
            if layer.spiking
        ],
        note="Fraction of neurons that fire in one timestep, on test inputs.",
    )


def _free(report: Report) -> str:
    """How biases, normalisation and attention are priced, where there are any."""
    record = report.record
    said = []
    if any(layer.bias for layer in record):
        rows = [name for name, chip in report.chips.items() if chip.facts.get("bias") == "row"]
        if len(rows) < len(report.chips):
            said.append("Biases are added digitally, once an output and timestep.")
        if rows:
            said.append(f"A row of their layer's crossbars adds biases on {', '.join(rows)}.")
    if any(layer.norm == "shared" for layer in record):
        said.append("Normalisation that timesteps share is folded into weights and a bias.")
    if any(layer.norm == "timestep" for layer in record):
        said.append("Normalisation of each timestep multiplies and adds at every output.")
    beside = {name: sum(chip.beside_j.values()) for name, chip in report.chips.items() if chip.beside_j}
    if beside:
        listed = ", ".join(f"{si(energy, 'J')} for {name}" for name, energy in beside.items())
        said.append(
            "Attention multiplies spikes with spikes, which no crossbar can hold as weights: these products "
            f"are in none of a crossbar chip's numbers, and a SATA array beside it would take {listed}."
        )
    return " ".join(said)


def _times(energy_j: float, estimated_j: float) -> str:
    """Nothing is claimed of blank inputs, and no energy is so many times nothing."""
    return f"{energy_j / estimated_j:.0f}×" if estimated_j > 0 else "–"
