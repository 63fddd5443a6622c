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

from hwmodels.chip import Cost
from jaxsnn.codesign import page
from jaxsnn.codesign.charts import Chart, Point, breakdown, scatter
from jaxsnn.codesign.metrics import Metrics
from jaxsnn.codesign.provenance import saving, write_csv, write_json
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import si
from jaxsnn.learning.evaluation import Evaluation
from jaxsnn.network import LayerRecord

_NEAR = 0.02
"""Of accuracy: so much less is worth telling for less energy."""


@dataclass(frozen=True, eq=False)
class OnChip:
    """A network on programmed chips of one design, and what an inference costs there.

    - `name`, `label`: what the caller and what the chip calls it; `facts`: node, size, bits where it says.
    - `by_network`: accuracy of every draw, shape (networks, draws); fractions.
    - `software`: accuracy without hardware, shape (networks,).
    - `record`: one per weighted layer, with the rates on the chips, averaged over draws.
    - `cost`: what the chip's cost model says of these rates; on a digital chip with attention's products.
    - `beside_j`: joule of attention's products on the published SATA array, by product, where the chip has
      crossbars, which cannot hold them: they are in none of its other numbers.
    """

    name: str
    label: str
    by_network: np.ndarray
    software: np.ndarray
    record: tuple[LayerRecord, ...]
    cost: Cost
    facts: Mapping[str, str] = field(default_factory=dict)
    beside_j: Mapping[str, float] = field(default_factory=dict)

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
        """Standard deviation between programmed chips of one network: what devices vary.

        0 for one draw, which measures none: tables and figures show it as "–".
        """
        if np.all(self.by_network == self.by_network[:, :1]):
            return 0.0  # To the bit, where nothing is drawn.
        return float(np.sqrt(np.mean(self.by_network.var(axis=1, ddof=1))))

    @property
    def measured_spread(self) -> float | None:
        """`spread` of two draws or more; None for one."""
        return self.spread if self.by_network.shape[1] > 1 else None

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
            "facts": dict(self.facts),
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
            **({"beside_j": dict(self.beside_j)} if self.beside_j else {}),
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
    - `estimated_energy_j`: what a FLOP count claims, `FLOPs · T · (1 − sparsity) · E_AC`; 0 for blank inputs.
    - `chips`: an [`OnChip`][] each.
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
                {name: _floats(cost.energy_by_component_j) for name, cost in costs.items()},
            ),
            breakdown(
                "Area by component",
                "mm²",
                {name: _floats(cost.area_by_component_mm2) for name, cost in costs.items()},
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
CSV = "result.csv"


def has_chips(numbers: Mapping[str, Any]) -> bool:
    """Whether a result's numbers are those of a [`Report`][]."""
    chips = numbers.get("chips")
    return isinstance(chips, Mapping) and all(
        isinstance(chip, Mapping) and {"energy_j", "spread"} <= set(chip) for chip in chips.values()
    )


def measured_spread(chip: Mapping[str, Any]) -> float | None:
    """[`OnChip.measured_spread`][] of what [`OnChip.numbers`][] gives."""
    draws = np.shape(chip["accuracies"])[-1] if "accuracies" in chip else None
    return None if draws == 1 else chip["spread"]


def chip_rows(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a chip of what [`Report.numbers`][] gives: the columns of `result.csv`."""
    columns = (
        "label",
        "accuracy",
        "spread",
        "drop",
        "energy_j",
        "latency_s",
        "area_mm2",
        "edp_js",
        "throughput_per_s",
    )
    return [
        {
            "chip": name,
            **{column: chip[column] for column in columns},
            "software_accuracy": numbers["software_accuracy"],
            "timesteps": numbers["timesteps"],
        }
        for name, chip in numbers["chips"].items()
    ]


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
    energies = {name: _floats(cost.energy_by_component_j) for name, cost in costs.items()}
    areas = {name: _floats(cost.area_by_component_mm2) for name, cost in costs.items()}
    by_layer = {name: _floats(cost.energy_by_layer_j) for name, cost in costs.items()}
    latencies = {name: _floats(cost.latency_by_layer_s) for name, cost in costs.items()}
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


def with_spread(mean: float, spread: float | None) -> str:
    """Fractions as tables have them; "–" for a spread that was not measured."""
    return f"{mean:.2%} ± " + ("–" if spread is None else f"{spread:.2%}")


def _floats(parts: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in parts.items()}
