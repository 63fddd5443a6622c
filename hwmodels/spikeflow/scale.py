"""Variants of a chip: another technology node, SRAM cells."""

import dataclasses
from typing import TypeVar

from hwmodels.rounding import as_scalar, is_number
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.components import SRAM
from hwmodels.spikeflow.technology import Scaling, scaling
from hwmodels.workload import Scalar

_Module = TypeVar("_Module")


def scale_to_node(chip: Chip, node_nm: Scalar, rule: str = "nominal-voltage") -> Chip:
    """The chip in another technology: its node and rule set, and its clock by the inverse of the delay.

    **Arguments:** `chip`; `node_nm`: the new node; `rule`: see [`scaling`][].

    **Returns:** a new [`Chip`][].

    **Raises:** `ValueError` for an unknown rule or a node outside its tables.
    """
    factors = scaling(chip.node_nm, node_nm, rule)
    clock_hz = as_scalar(chip.clock_hz) / factors.delay
    return dataclasses.replace(chip, node_nm=node_nm, node_rule=rule, clock_hz=clock_hz)


def at_its_node(chip: Chip) -> Chip:
    """The chip with its CMOS constants scaled from `constants_nm` to `node_nm`.

    Cells that are no transistors (RRAM) keep size and read energy: their feature size is their own.
    """
    if is_number(chip.node_nm, chip.constants_nm) and chip.node_nm == chip.constants_nm:
        return chip
    factors = scaling(chip.constants_nm, chip.node_nm, chip.node_rule)
    return dataclasses.replace(
        chip,
        constants_nm=chip.node_nm,
        components=_scaled(chip.components, factors),
        adc=_scaled(chip.adc, factors),
        mesh=_scaled(chip.mesh, factors),
        cell=_scaled(chip.cell, factors) if chip.cell.cmos else chip.cell,
    )


def _scaled(module: _Module, factors: Scaling) -> _Module:
    changed = {}
    for name, value in vars(module).items():
        if value is None:
            continue
        if name.endswith("_j"):
            changed[name] = as_scalar(value) * factors.energy
        elif name.endswith("_um2"):
            changed[name] = as_scalar(value) * factors.area
    return dataclasses.replace(module, **changed)  # type: ignore[type-var]  # Modules are dataclasses.


def with_sram(chip: Chip) -> Chip:
    """The chip with SRAM cells: one bit a cell, so that a weight takes `weight_bits` columns.

    **Arguments:** `chip`: a [`Chip`][]; left as it is.

    **Returns:** a [`Chip`][] with the published SRAM cell in place of its own.
    """
    return dataclasses.replace(chip, cell=SRAM)
