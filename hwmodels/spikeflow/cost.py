"""Energy, latency and area of one inference on a SpikeFlow chip, each with its breakdown."""

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax

from hwmodels.rounding import as_scalar, is_number
from hwmodels.spikeflow.area import AREA_COMPONENTS, area_table
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import Conventions, resolve
from hwmodels.spikeflow.energy import ENERGY_COMPONENTS, layer_energy
from hwmodels.spikeflow.latency import timing
from hwmodels.spikeflow.noc import mean_hops
from hwmodels.spikeflow.placement import Placement, place
from hwmodels.workload import Scalar, Workload

_Tree = TypeVar("_Tree")


class Cost(eqx.Module):
    """What one inference costs.

    **Arguments:**

    - `energy_table_j`: joule by layer and component.
    - `latency_by_layer_s`: second that each layer adds to the latency. The PE cycle is timed as a whole, so
      there is no latency by component.
    - `period_s`: time between two results when inferences follow one another.
    - `area_table_mm2`: mm² by layer and component; the row `unused` holds PEs that no layer needs.
    - `placement`: where the layers lie.
    """

    energy_table_j: dict[str, dict[str, Scalar]]
    latency_by_layer_s: dict[str, Scalar]
    period_s: Scalar
    area_table_mm2: dict[str, dict[str, Scalar]]
    placement: Placement

    @property
    def energy_by_layer_j(self) -> dict[str, Scalar]:
        """Joule by layer."""
        return {name: _sum(row.values()) for name, row in self.energy_table_j.items()}

    @property
    def energy_by_component_j(self) -> dict[str, Scalar]:
        """Joule by component; see `spikeflow.ENERGY_COMPONENTS`."""
        return {name: _sum(row[name] for row in self.energy_table_j.values()) for name in ENERGY_COMPONENTS}

    @property
    def energy_j(self) -> Scalar:
        """Energy of one inference, all timesteps."""
        return _sum(self.energy_by_layer_j.values())

    @property
    def latency_s(self) -> Scalar:
        """Time from the input to the last timestep's result."""
        return _sum(self.latency_by_layer_s.values())

    @property
    def area_by_layer_mm2(self) -> dict[str, Scalar]:
        """Area by layer, and of unused PEs; tiles are divided among layers by their PEs."""
        return {name: _sum(row.values()) for name, row in self.area_table_mm2.items()}

    @property
    def area_by_component_mm2(self) -> dict[str, Scalar]:
        """Area by component; see `spikeflow.AREA_COMPONENTS`."""
        return {name: _sum(row[name] for row in self.area_table_mm2.values()) for name in AREA_COMPONENTS}

    @property
    def area_mm2(self) -> Scalar:
        """Area of the whole chip."""
        return _sum(self.area_by_layer_mm2.values())

    @property
    def edp(self) -> Scalar:
        """Energy-delay product, in joule second."""
        return self.energy_j * self.latency_s

    @property
    def throughput(self) -> Scalar:
        """Inferences per second when they follow one another."""
        return 1.0 / self.period_s

    @property
    def power_w(self) -> Scalar:
        """Mean power at that throughput."""
        return self.energy_j / self.period_s

    @property
    def power_by_component_w(self) -> dict[str, Scalar]:
        """Mean power by component."""
        return {name: value / self.period_s for name, value in self.energy_by_component_j.items()}

    @property
    def power_by_layer_w(self) -> dict[str, Scalar]:
        """Mean power by layer."""
        return {name: value / self.period_s for name, value in self.energy_by_layer_j.items()}

    @property
    def edp_by_component(self) -> dict[str, Scalar]:
        """Each component's energy times the latency, joule second."""
        return {name: value * self.latency_s for name, value in self.energy_by_component_j.items()}

    @property
    def edp_by_layer(self) -> dict[str, Scalar]:
        """Each layer's energy times the latency, joule second."""
        return {name: value * self.latency_s for name, value in self.energy_by_layer_j.items()}

    @property
    def neuron_area_fraction(self) -> Scalar:
        """Share of the neuronal module (neurons, membrane and kept input currents) in the area, in [0, 1]."""
        area = self.area_by_component_mm2
        return (area["neuron"] + area["membrane"] + area["encoder_memory"]) / self.area_mm2


def evaluate(
    workload: Workload,
    chip: Chip | None = None,
    conventions: str | Conventions = "corrected",
    *,
    duplicates: Sequence[Scalar] | None = None,
) -> Cost:
    """Energy, latency and area of one inference of `workload` on `chip`.

    One code path: with Python numbers the result is exact host arithmetic in float64, whether or not JAX has
    64 bits; with traced leaves it differentiates (counts straight-through), maps and compiles. Traced
    values are not checked against their ranges. Transfers over the mesh are taken to hide behind the PE
    cycles, and there is no leakage: the published tool has neither.

    **Arguments:**

    - `workload`: the layers, their input rates and T.
    - `chip`: default: the published chip.
    - `conventions`: `"corrected"`, `"published"` (the authors' tool), or single switches,
      [`Conventions`][].
    - `duplicates`: copies of each layer; see [`balance`][].

    **Returns:** a [`Cost`][].

    **Raises:** `ValueError` for a chip parameter out of range, for an ANN (`neuron="relu"`) with more than
    one timestep, and for duplicates that do not fit the layers.

    **Source:** the energy-latency-area engine of SpikeSim (Moitra et al., IEEE TCAD 2023) and its script.
    """
    chip = Chip() if chip is None else chip
    chip.check()
    switches = resolve(conventions)
    workload, chip = _scalars(workload), _scalars(chip)
    if chip.neuron == "relu" and is_number(workload.timesteps) and workload.timesteps != 1:
        raise ValueError(
            f"an ANN (neuron='relu') runs once: timesteps must be 1, got {workload.timesteps}; "
            "see spikeflow.as_ann."
        )
    placement = place(workload, chip, switches, duplicates)
    hops = mean_hops(placement)
    table = {
        layer.name: layer_energy(workload, index, chip, placement, hops[index], switches)
        for index, layer in enumerate(workload.layers)
    }
    times = timing(workload, chip, placement, switches)
    area_um2 = area_table(workload, chip, placement, switches)
    return Cost(
        energy_table_j=table,
        latency_by_layer_s=times.by_layer_s,
        period_s=times.period_s,
        area_table_mm2={
            layer: {name: value * 1e-6 for name, value in row.items()} for layer, row in area_um2.items()
        },
        placement=placement,
    )


def _scalars(tree: _Tree) -> _Tree:
    return jax.tree.map(as_scalar, tree)


def _sum(values: Iterable[Any]) -> Any:
    return functools.reduce(operator.add, values)
