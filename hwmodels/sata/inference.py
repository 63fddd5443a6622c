"""Energy, cycles, latency, area and utilisation of one inference on SATA."""

import dataclasses
from collections.abc import Collection
from typing import Any

import equinox as eqx

from hwmodels import rounding
from hwmodels.routes import has_neurons, input_pools, routes
from hwmodels.sata._guard import guarded
from hwmodels.sata.accelerator import Accelerator, unit_costs
from hwmodels.sata.activity import layer_activity
from hwmodels.sata.conventions import CORRECTIONS, resolve
from hwmodels.workload import Workload


class InferenceCost(eqx.Module):
    """What one inference costs, in all and split up.

    - `total_j`: the sum of `energy_by_component_j`.
    - `energy_by_component_j`: parts of the processing elements, buffers, DRAM by operand.
    - `energy_by_cause_j`: "operation" (gated parts), "ungated" parts, "leakage", "sram" and "dram" accesses.
    - `energy_by_layer_j`, `energy_by_layer_and_component_j`: by the names of the layers.
    - `cycles`, `cycles_by_layer`: clocks of the array.
    - `latency_s`, `latency_by_layer_s`: their time.
    - `area_mm2`, `area_by_component_mm2`: of the chip, DRAM excluded.
    - `utilisation`, `utilisation_by_layer`: dense products done over those the array had room for.
    - `macs`, `neuron_updates`: operations charged.
    """

    energy_by_component_j: dict[str, Any]
    energy_by_cause_j: dict[str, Any]
    energy_by_layer_and_component_j: dict[str, dict[str, Any]]
    cycles_by_layer: dict[str, Any]
    latency_by_layer_s: dict[str, Any]
    latency_s: Any
    area_by_component_mm2: dict[str, Any]
    utilisation: Any
    utilisation_by_layer: dict[str, Any]
    macs: Any
    neuron_updates: Any

    @property
    def total_j(self) -> Any:
        return sum(self.energy_by_component_j.values())

    @property
    def energy_j(self) -> Any:
        """The same as `total_j`, by the name that every cost model here has."""
        return self.total_j

    @property
    def energy_by_layer_j(self) -> dict[str, Any]:
        return {name: sum(parts.values()) for name, parts in self.energy_by_layer_and_component_j.items()}

    @property
    def cycles(self) -> Any:
        return sum(self.cycles_by_layer.values())

    @property
    def area_mm2(self) -> Any:
        return sum(self.area_by_component_mm2.values())


def inference_energy(
    workload: Workload,
    accelerator: Accelerator | None = None,
    *,
    conventions: str | Collection[str] = "corrected",
    dram: str = "exact",
) -> InferenceCost:
    r"""Prices one inference: `E = Σ_layers Σ_components activity · unit energy`.

    On plain numbers it is evaluated in float64 on the host. It differentiates to spike rates, sparsities,
    timesteps, precisions, array and buffer sizes, all at once when the chip's numbers are made floats:
    `jax.grad(lambda chip: inference_energy(workload, chip).total_j)(jax.tree.map(float, Accelerator()))`.
    Counts keep their exact values, and their slopes are those without roundings.

    **Arguments:**

    - `workload`: layers with their spike rates, and the timesteps. A layer with `weight_bits` of its own is
      priced at that width, as an array that adapts its elements to each layer would have it; the area is that
      of `accelerator`.
    - `accelerator`: the chip; the published one by default.
    - `conventions`: "corrected", "published" (the authors' printed tables), or the names of the corrections
      to apply, out of [`CORRECTIONS`][].
    - `dram`: "exact" counts, or the "closed_form" that vectorises over chips.

    **Returns:** an [`InferenceCost`][].

    **Raises:** `TypeError` for another chip; `ValueError` for unknown conventions, and for a kernel larger
    than the unpadded map under the published ones, naming the layer. A traced rate, sparsity or precision out
    of range raises when run.

    Source: SATA_Sim, `energy-cal.py`; Table II of "Are SNNs Truly Energy-efficient?".
    """
    chip = Accelerator() if accelerator is None else accelerator
    if not isinstance(workload, Workload):
        raise TypeError(f"workload must be a hwmodels.workload.Workload, got {workload!r}.")
    if not isinstance(chip, Accelerator):
        raise TypeError(f"accelerator must be a sata.Accelerator, got {chip!r}.")
    corrections = resolve(conventions)
    workload, chip = guarded(workload, chip)
    timesteps = rounding.as_scalar(workload.timesteps)
    layers = [
        # The rectifiers of an ANN, where nothing spikes, are what a dense element has for neurons.
        dataclasses.replace(
            layer,
            input_pool=pool,
            spiking=has_neurons(layer, workload) if chip.element == "dense" else layer.spiking,
        )
        for layer, pool in zip(workload.layers, input_pools(workload), strict=True)
    ]
    shortcuts = [
        layers[route.shortcut] if route.shortcut is not None and route.shortcut >= 0 else None
        for route in routes(workload)
    ]
    activity = {
        layer.name: layer_activity(
            layer, timesteps, chip.of_width(layer.weight_bits), corrections, dram, shortcut
        )
        for layer, shortcut in zip(layers, shortcuts, strict=True)
    }
    operations = {
        driver: sum(counts[driver] for counts in activity.values()) for driver in ("macs", "neuron_updates")
    }
    if "rounding" not in corrections:
        for driver, total in operations.items():
            operations[driver] = rounding.floor(total)
            if not (rounding.is_number(total) and total == 0):
                for counts in activity.values():
                    counts[driver] = counts[driver] * (operations[driver] / total)

    costs = unit_costs(chip, corrections)
    units = {
        layer.name: costs.units
        if layer.weight_bits is None
        else unit_costs(chip.of_width(layer.weight_bits), corrections).units
        for layer in layers
    }
    by_component: dict[str, Any] = {}
    by_cause: dict[str, Any] = {}
    by_both: dict[str, dict[str, Any]] = {name: {} for name in activity}
    for name, counts in activity.items():
        for unit in units[name]:
            if rounding.is_number(counts[unit.driver]) and counts[unit.driver] == 0:
                energy: Any = 0.0
            else:
                energy = counts[unit.driver] * unit.energy_j
            by_both[name][unit.component] = by_both[name].get(unit.component, 0.0) + energy
            by_component[unit.component] = by_component.get(unit.component, 0.0) + energy
            by_cause[unit.cause] = by_cause.get(unit.cause, 0.0) + energy

    cycles = {name: counts["cycles"] for name, counts in activity.items()}
    clock = rounding.as_scalar(chip.clock_hz)
    return InferenceCost(
        energy_by_component_j=by_component,
        energy_by_cause_j=by_cause,
        energy_by_layer_and_component_j=by_both,
        cycles_by_layer=cycles,
        latency_by_layer_s={name: count / clock for name, count in cycles.items()},
        latency_s=sum(cycles.values()) / clock,
        area_by_component_mm2=costs.area_by_component_mm2,
        utilisation=sum(c["dense_macs"] for c in activity.values())
        / sum(c["slots"] for c in activity.values()),
        utilisation_by_layer={name: c["dense_macs"] / c["slots"] for name, c in activity.items()},
        macs=operations["macs"],
        neuron_updates=operations["neuron_updates"],
    )


def correction_sizes(workload: Workload, accelerator: Accelerator | None = None) -> dict[str, Any]:
    """Change of the total energy when one correction at a time is applied to the published count.

    **Arguments:** as for [`inference_energy`][].

    **Returns:** joules by name of the correction. They do not add up to the whole difference where
    corrections act on the same words or cycles (a write at every timestep and the energy of a write, say).
    """
    published = inference_energy(workload, accelerator, conventions="published").total_j
    return {
        name: inference_energy(workload, accelerator, conventions=(name,)).total_j - published
        for name in CORRECTIONS
    }
