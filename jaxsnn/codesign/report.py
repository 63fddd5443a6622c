"""What an evaluation found, for programs and for people."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hwmodels.chip import Cost
from jaxsnn.codesign import page
from jaxsnn.codesign.provenance import all_or_nothing, write_json
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import si
from jaxsnn.learning.evaluation import Evaluation
from jaxsnn.network import LayerRecord


@dataclass(frozen=True, eq=False)
class OnChip:
    """A network on programmed chips of one design, and what an inference costs there.

    - `name`, `label`: what the caller and what the chip calls it.
    - `by_network`: accuracy of every draw, shape (networks, draws); fractions.
    - `software`: accuracy without hardware, shape (networks,).
    - `record`: one per weighted layer, with the rates on the chips, averaged over draws.
    - `cost`: what the chip's cost model says of these rates.
    """

    name: str
    label: str
    by_network: np.ndarray
    software: np.ndarray
    record: tuple[LayerRecord, ...]
    cost: Cost

    @property
    def accuracies(self) -> np.ndarray:
        """Accuracy of every draw, shape (draws,); of several networks (networks, draws)."""
        return self.by_network[0] if len(self.by_network) == 1 else self.by_network

    @property
    def accuracy(self) -> float:
        """The mean of `accuracies`."""
        return float(self.by_network.mean())

    @property
    def spread(self) -> float:
        """Standard deviation between programmed chips of one network (0 for one chip): what devices vary."""
        if self.by_network.shape[1] == 1:
            return 0.0
        return float(np.sqrt(np.mean(self.by_network.var(axis=1, ddof=1))))

    @property
    def training_spread(self) -> float | None:
        """Standard deviation between networks of their mean accuracy: what training varies; None for one."""
        if len(self.by_network) == 1:
            return None
        return float(self.by_network.mean(axis=1).std(ddof=1))

    @property
    def drop(self) -> float:
        """`Δ = (SW − HW) / SW` of the robustness paper's Table I, a fraction; 0 where nothing can be lost."""
        software = float(self.software.mean())
        return (software - self.accuracy) / software if software > 0 else 0.0

    @property
    def energy_j(self) -> float:
        """Energy of one inference, joule."""
        return float(self.cost.energy_j)

    @property
    def latency_s(self) -> float:
        """From the input to the result, second."""
        return float(self.cost.latency_s)

    @property
    def area_mm2(self) -> float:
        """Square millimetre."""
        return float(self.cost.area_mm2)

    @property
    def edp_js(self) -> float:
        """Energy-delay product, joule second."""
        return self.energy_j * self.latency_s

    @property
    def throughput(self) -> float:
        """Inferences per second when they follow one another: the chip's own, or one after the other."""
        return float(getattr(self.cost, "throughput", 1 / self.latency_s))

    @property
    def spike_rates(self) -> dict[str, float]:
        """Fraction of neurons that fire in one timestep, by layer."""
        return {layer.name: float(layer.spike_rate) for layer in self.record if layer.spiking}

    def numbers(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "label": self.label,
            "accuracies": self.accuracies,
            "accuracy": self.accuracy,
            "spread": self.spread,
            "training_spread": self.training_spread,
            "drop": self.drop,
            "energy_j": self.energy_j,
            "latency_s": self.latency_s,
            "area_mm2": self.area_mm2,
            "edp_js": self.edp_js,
            "throughput_per_s": self.throughput,
            "energy_by_component_j": _floats(self.cost.energy_by_component_j),
            "energy_by_layer_j": _floats(self.cost.energy_by_layer_j),
            "latency_by_layer_s": _floats(self.cost.latency_by_layer_s),
            "area_by_component_mm2": _floats(self.cost.area_by_component_mm2),
            "spike_rates": self.spike_rates,
            "input_rates": {layer.name: float(layer.input_rate) for layer in self.record},
        }


@dataclass(frozen=True, eq=False)
class Report:
    """A network in software and on chips. `report["SpikeFlow"]` is an [`OnChip`][]; `print(report)` shows
    tables.

    - `software`: the evaluation of each network without hardware.
    - `record`: one per weighted layer, with software's rates.
    - `timesteps`: T.
    - `estimated_energy_j`: what a FLOP count claims, `FLOPs · T · (1 − sparsity) · E_AC`.
    - `chips`: an [`OnChip`][] each.
    - `inputs`, `provenance`: what the numbers were made from, and with.
    """

    software: tuple[Evaluation, ...]
    record: tuple[LayerRecord, ...]
    timesteps: int
    estimated_energy_j: float
    chips: Mapping[str, OnChip]
    inputs: Mapping[str, Any]
    provenance: Mapping[str, Any]

    def __getitem__(self, name: str) -> OnChip:
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
        leanest = min(self.chips.values(), key=lambda chip: chip.energy_j)
        text = (
            f"Of {self.software_accuracy:.1%} in software, {best.accuracy:.1%} survive on {best.name}, where "
            f"an inference takes {si(best.energy_j, 'J')}, "
            f"{best.energy_j / self.estimated_energy_j:.0f} times what a FLOP count claims."
        )
        if leanest is not best:
            text += f" {leanest.name} needs least, {si(leanest.energy_j, 'J')}, at {leanest.accuracy:.1%}."
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
            "chips": {name: chip.numbers() for name, chip in self.chips.items()},
        }

    def tables(self) -> list[Table]:
        """One row a chip, then where energy and spikes go."""
        return [chip_table(self), *layer_tables(self), rate_table(self)]

    def save(self, folder: str | PathLike) -> Path:
        """Writes `report.html` and `result.json`, both or neither.

        **Returns:** the folder.
        """
        folder = Path(folder)
        result = {"inputs": dict(self.inputs), **self.provenance, "numbers": self.numbers()}
        with all_or_nothing(folder) as scratch:
            text = page.render(
                "A network on chips",
                self.tables(),
                {"inputs": dict(self.inputs), **self.provenance},
                verdict=self.verdict,
            )
            (scratch / "report.html").write_text(text, encoding="utf-8")
            write_json(scratch / "result.json", result)
        return folder

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=100)
        console.print(self.verdict)
        for table in self.tables():
            table.print(console)
        return console.file.getvalue()  # type: ignore[attr-defined]  # It is the StringIO from above.


def chip_table(report: Report) -> Table:
    """Accuracy, joule, second and mm² of every chip, and the FLOP estimate that papers claim."""
    rows = [
        ["software", _accuracy(report.software_accuracy, report.software_spread), "", "–", "–", "–", "–"],
        ["FLOP estimate", "", "", si(report.estimated_energy_j, "J"), "1×", "–", "–"],
    ]
    for chip in report.chips.values():
        rows.append(
            [
                chip.name,
                _accuracy(chip.accuracy, chip.spread),
                f"{chip.drop:.2%}",
                si(chip.energy_j, "J"),
                f"{chip.energy_j / report.estimated_energy_j:.0f}×",
                si(chip.latency_s, "s"),
                f"{chip.area_mm2:.3g} mm²",
            ]
        )
    draws = next(iter(report.chips.values())).by_network.shape[1]
    note = f"T = {report.timesteps}; {draws} programmed chips of each design, ± their standard deviation."
    if len(report.software) > 1:
        spreads = ", ".join(f"{chip.name} ± {chip.training_spread:.2%}" for chip in report.chips.values())
        note += (
            f" Between {len(report.software)} trainings: software ± {report.software_spread:.2%}, {spreads}."
        )
    else:
        note += " Training varies too, which one network cannot show."
    labels = "; ".join(f"{chip.name}: {chip.label}" for chip in report.chips.values())
    return Table(
        "One chip a row",
        ["", "accuracy", "drop Δ", "energy", "over estimate", "latency", "area"],
        rows,
        note=f"{note} Δ = (software − hardware) / software. {labels}. Costs: {report.inputs['conventions']} "
        "conventions, at the spike rates on the chip.",
    )


def layer_tables(report: Report) -> list[Table]:
    """Energy by component of each chip, and by layer."""
    tables = []
    for chip in report.chips.values():
        parts = {name: value for name, value in _floats(chip.cost.energy_by_component_j).items() if value}
        order = sorted(parts, key=lambda name: -parts[name])
        tables.append(
            Table(
                f"{chip.name}: energy by component",
                ["component", "energy", "share"],
                [[name, si(parts[name], "J"), f"{parts[name] / chip.energy_j:.1%}"] for name in order],
            )
        )
    names = list(report.chips)
    by_layer = {name: _floats(report[name].cost.energy_by_layer_j) for name in names}
    tables.append(
        Table(
            "Energy by layer",
            ["layer", *names],
            [
                [layer.name, *(si(by_layer[name].get(layer.name, 0.0), "J") for name in names)]
                for layer in report.record
            ],
            note=_free(report.record),
        )
    )
    return tables


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


def _free(record: Sequence[LayerRecord]) -> str:
    """How biases and normalisation are priced, where there are any."""
    said = []
    if any(layer.bias for layer in record):
        said.append("Biases are added digitally, once an output and timestep.")
    if any(layer.norm == "shared" for layer in record):
        said.append("Normalisation that timesteps share is folded into weights and a bias.")
    if any(layer.norm == "timestep" for layer in record):
        said.append("Normalisation of each timestep multiplies and adds at every output.")
    return " ".join(said)


def _accuracy(mean: float, spread: float | None) -> str:
    return f"{mean:.2%}" if spread is None else f"{mean:.2%} ± {spread:.2%}"


def _floats(parts: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in parts.items()}
