"""A network on chips of one design: what was found, as numbers and as rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwmodels.chip import Cost
from jaxsnn.checks import is_number
from jaxsnn.network import LayerRecord

CSV = "result.csv"


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
            "energy_by_component_j": floats(self.cost.energy_by_component_j),
            "energy_by_layer_j": floats(self.cost.energy_by_layer_j),
            "latency_by_layer_s": floats(self.cost.latency_by_layer_s),
            "area_by_component_mm2": floats(self.cost.area_by_component_mm2),
            **({"beside_j": dict(self.beside_j)} if self.beside_j else {}),
            "spike_rates": self.spike_rates,
            "input_rates": {layer.name: float(layer.input_rate) for layer in self.record},
        }


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


_TOTALS = ("energy_j", "latency_s", "area_mm2")
_COLUMNS = ("accuracy", "spread", "drop", *_TOTALS, "edp_js", "throughput_per_s")


def fault_in(numbers: Mapping[str, Any]) -> str | None:
    """What is wrong with the numbers of a file, of which [`has_chips`][] holds; None if nothing is."""
    read: dict[str, Any] = {name: numbers.get(name) for name in ("software_accuracy", "timesteps")}
    for name, chip in numbers["chips"].items():
        read |= {f"chips.{name}.{column}": chip.get(column) for column in _COLUMNS}
    for path, value in read.items():
        if not is_number(value):
            return f"{path} must be a number and is {value!r}"
        if path.endswith(_TOTALS) and value <= 0:
            return f"{path} must be above zero and is {value}"
    for name, chip in numbers["chips"].items():
        if not isinstance(chip.get("label"), str):
            return f"chips.{name}.label must be a text and is {chip.get('label')!r}"
        draws = chip.get("accuracies", [0.0])
        rows = draws if isinstance(draws, list) and any(isinstance(row, list) for row in draws) else [draws]
        sizes = {len(row) if isinstance(row, list) and all(map(is_number, row)) else 0 for row in rows}
        if len(sizes) > 1 or 0 in sizes:
            return f"chips.{name}.accuracies must be numbers, one a chip, or as many for each network"
    return None


def chip_rows(numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a chip of what [`Report.numbers`][] gives: the columns of `result.csv`."""
    columns = ("label", *_COLUMNS)
    return [
        {
            "chip": name,
            **{column: chip[column] for column in columns},
            "software_accuracy": numbers["software_accuracy"],
            "timesteps": numbers["timesteps"],
        }
        for name, chip in numbers["chips"].items()
    ]


def with_spread(mean: float, spread: float | None) -> str:
    """Fractions as tables have them; "–" for a spread that was not measured."""
    return f"{mean:.2%} ± " + ("–" if spread is None else f"{spread:.2%}")


def floats(parts: Mapping[str, Any]) -> dict[str, float]:
    """A breakdown as JSON."""
    return {name: float(value) for name, value in parts.items()}
