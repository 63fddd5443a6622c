"""Energy, latency and area of one inference on a SpikeFlow chip, each with its breakdown."""

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax

from hwmodels.ranges import guard, interval, require_ranges
from hwmodels.rounding import as_scalar, is_number
from hwmodels.routes import input_pools, routes
from hwmodels.spikeflow.area import AREA_COMPONENTS, UNUSED, area_table
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import Conventions, resolve
from hwmodels.spikeflow.energy import ENERGY_COMPONENTS, layer_energy
from hwmodels.spikeflow.latency import LATENCY_COMPONENTS, timing
from hwmodels.spikeflow.placement import Placement, place
from hwmodels.spikeflow.scale import at_its_node
from hwmodels.workload import Scalar, Workload

_Tree = TypeVar("_Tree")


class Cost(eqx.Module):
    """What one inference costs.

    **Arguments:**

    - `energy_by_layer_and_component_j`: joule.
    - `latency_by_layer_and_component_s`: second that each layer adds to the latency.
    - `busy_by_layer_s`: time that each layer works on one inference; layers overlap.
    - `period_s`: time between two results when inferences follow one another.
    - `area_by_layer_and_component_mm2`: mm²; the row `unused` holds PEs that no layer needs.
    - `placement`: where the layers lie.
    """

    energy_by_layer_and_component_j: dict[str, dict[str, Scalar]]
    latency_by_layer_and_component_s: dict[str, dict[str, Scalar]]
    busy_by_layer_s: dict[str, Scalar]
    period_s: Scalar
    area_by_layer_and_component_mm2: dict[str, dict[str, Scalar]]
    placement: Placement

    @property
    def energy_by_layer_j(self) -> dict[str, Scalar]:
        """Joule by layer."""
        return _by_row(self.energy_by_layer_and_component_j)

    @property
    def energy_by_component_j(self) -> dict[str, Scalar]:
        """Joule by component; see `spikeflow.ENERGY_COMPONENTS`."""
        return _by_column(self.energy_by_layer_and_component_j, ENERGY_COMPONENTS)

    @property
    def energy_j(self) -> Scalar:
        """Energy of one inference, all timesteps."""
        return _sum(self.energy_by_layer_j.values())

    @property
    def latency_by_layer_s(self) -> dict[str, Scalar]:
        """Second that each layer adds to the latency."""
        return _by_row(self.latency_by_layer_and_component_s)

    @property
    def latency_by_component_s(self) -> dict[str, Scalar]:
        """What the latency is spent on; see `spikeflow.LATENCY_COMPONENTS`."""
        return _by_column(self.latency_by_layer_and_component_s, LATENCY_COMPONENTS)

    @property
    def latency_s(self) -> Scalar:
        """Time from the input to the last timestep's result."""
        return _sum(self.latency_by_layer_s.values())

    @property
    def area_by_layer_mm2(self) -> dict[str, Scalar]:
        """Area by layer, and of unused PEs; tiles are divided among layers by their PEs."""
        return _by_row(self.area_by_layer_and_component_mm2)

    @property
    def area_by_component_mm2(self) -> dict[str, Scalar]:
        """Area by component; see `spikeflow.AREA_COMPONENTS`."""
        return _by_column(self.area_by_layer_and_component_mm2, AREA_COMPONENTS)

    @property
    def area_mm2(self) -> Scalar:
        """Area of the whole chip."""
        return _sum(self.area_by_layer_mm2.values())

    @property
    def energy_delay_js(self) -> Scalar:
        """Energy-delay product, in joule second."""
        return self.energy_j * self.latency_s

    @property
    def throughput(self) -> Scalar:
        """Inferences per second when they follow one another."""
        return 1.0 / self.period_s

    @property
    def throughput_by_layer(self) -> dict[str, Scalar]:
        """Inferences per second that each layer alone could sustain; the least bounds the chip's."""
        return {name: 1.0 / value for name, value in self.busy_by_layer_s.items()}

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
    def energy_delay_by_component_js(self) -> dict[str, Scalar]:
        """Each component's energy times the latency, joule second."""
        return {name: value * self.latency_s for name, value in self.energy_by_component_j.items()}

    @property
    def energy_delay_by_layer_js(self) -> dict[str, Scalar]:
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
    64 bits; with traced leaves it differentiates (counts straight-through), maps and compiles, and a traced
    value out of its range raises at run time.

    Not counted, as in the published tool: leakage, DACs of the encoding layer, and time on the mesh, which is
    taken to hide behind the PE cycles. The averages that pooling hands on have their bits in buffers and on
    the mesh, and drive a row in one cycle, as a spike does.

    **Arguments:**

    - `workload`: the layers, their input rates and T.
    - `chip`: default: the published chip.
    - `conventions`: `"corrected"`, `"published"` (the authors' tool), or single switches,
      [`Conventions`][].
    - `duplicates`: copies of each layer; see [`balance`][].

    **Returns:** a [`Cost`][].

    **Raises:** `ValueError` for a chip parameter out of range, for an ANN (`neuron="relu"`) with more than
    one timestep, for duplicates that do not fit the layers, and for a layer called "unused".

    **Source:** the energy-latency-area engine of SpikeSim (Moitra et al., IEEE TCAD 2023) and its script.
    """
    chip = Chip() if chip is None else chip
    if not isinstance(workload, Workload):
        raise TypeError(f"workload must be a hwmodels.workload.Workload, got {workload!r}.")
    if not isinstance(chip, Chip):
        raise TypeError(f"chip must be a spikeflow.Chip, got {chip!r}.")
    chip.check()
    if any(layer.name == UNUSED for layer in workload.layers):
        raise ValueError(
            f"layer {UNUSED!r}: tables of area call the PEs that no layer needs so; call the layer otherwise."
        )
    switches = resolve(conventions)
    workload, chip = _guarded(_scalars(workload), _scalars(chip))
    chip = at_its_node(chip)
    if chip.neuron == "relu" and is_number(workload.timesteps) and workload.timesteps != 1:
        raise ValueError(
            f"an ANN (neuron='relu') runs once: timesteps must be 1, got {workload.timesteps}; "
            "see spikeflow.dense_twin."
        )
    placement = place(workload, chip, switches, duplicates)
    table = {
        layer.name: layer_energy(workload, index, chip, placement, route, pool, switches)
        for index, (layer, route, pool) in enumerate(
            zip(workload.layers, routes(workload), input_pools(workload), strict=True)
        )
    }
    times = timing(workload, chip, placement, switches)
    area_um2 = area_table(workload, chip, placement, switches)
    return Cost(
        energy_by_layer_and_component_j=table,
        latency_by_layer_and_component_s=times.table_s,
        busy_by_layer_s=times.busy_s,
        period_s=times.period_s,
        area_by_layer_and_component_mm2={
            layer: {name: value * 1e-6 for name, value in row.items()} for layer, row in area_um2.items()
        },
        placement=placement,
    )


def _guarded(workload: Workload, chip: Chip) -> tuple[Workload, Chip]:
    rates = [
        interval(f"layer {layer.name!r}: input_rate", layer.input_rate, 0, 1) for layer in workload.layers
    ]
    timesteps = interval("timesteps", workload.timesteps, 1, 1e9)
    require_ranges(timesteps)
    return guard((workload, chip), [*chip.limits().values(), timesteps, *rates])


def _scalars(tree: _Tree) -> _Tree:
    return jax.tree.map(as_scalar, tree)


def _by_row(table: dict[str, dict[str, Scalar]]) -> dict[str, Scalar]:
    return {name: _sum(row.values()) for name, row in table.items()}


def _by_column(table: dict[str, dict[str, Scalar]], names: Sequence[str]) -> dict[str, Scalar]:
    return {name: _sum(row[name] for row in table.values()) for name in names}


def _sum(values: Iterable[Any]) -> Any:
    return functools.reduce(operator.add, values)
