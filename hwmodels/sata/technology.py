"""The 28 nm components of SATA: power and area by bit width, and the processing elements made of them."""

import dataclasses
import json
import math
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from hwmodels import rounding
from hwmodels.ranges import Range, require_ranges
from hwmodels.sata.interpolation import MonotoneCubic
from hwmodels.workload import Scalar

CLOCK_HZ = 400e6


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    return json.loads(resources.files(__package__).joinpath("technology_28nm.json").read_text())


def dram_energy_j() -> tuple[float, float]:
    """Energy of reading and of writing one 8-bit word of DRAM, as SATA_Sim charges it."""
    table = _tables()["dram"]
    return table["read_nj"] * 1e-9, table["write_nj"] * 1e-9


class Power(NamedTuple):
    """Dynamic power at full activity, leakage, and area of one component."""

    dynamic_w: Any
    leakage_w: Any
    area_mm2: Any


@lru_cache(maxsize=32)
def _curve(kernel: str) -> MonotoneCubic:
    table = _tables()["kernels"][kernel]
    widths = sorted(int(width) for width in table["area_um2"])
    scales = {"dynamic_mw": 1e-3, "leakage_uw": 1e-6, "area_um2": 1e-6}
    rows = [[math.log(table[q][str(w)] * s) for q, s in scales.items()] for w in widths]
    return MonotoneCubic(np.log2(widths), np.array(rows))


@lru_cache(maxsize=4096)
def _exact_power(kernel: str, width: int | float) -> Power:
    table = _tables()["kernels"][kernel]
    if str(width) in table["area_um2"]:
        key = str(width)
        return Power(
            table["dynamic_mw"][key] / 1e3, table["leakage_uw"][key] / 1e6, table["area_um2"][key] / 1e6
        )
    return Power(*(math.exp(float(v)) for v in _curve(kernel)(math.log2(width))))


def power(kernel: str, width_bits: Scalar) -> Power:
    """Power of a component of any width: the table at 2, 4, 8, 16 and 32 bits, a monotone cubic between.

    The cubic runs on logarithms; below 2 and above 32 bits the outermost slope continues.

    **Arguments:**

    - `kernel`: "register", "comparator", "multiplier", "adder", "subtractor" or "andgate".
    - `width_bits`: operand width.

    **Returns:** a [`Power`][], in watts and square millimetres.

    Source: SATA_Sim, `hw_kernels.py`.
    """
    width = rounding.as_scalar(width_bits)
    if rounding.is_number(width):
        return _exact_power(kernel, int(width) if width == int(width) else width)
    values = jnp.exp(_curve(kernel)(jnp.log2(width)))
    return Power(values[0], values[1], values[2])


class Precision(eqx.Module):
    """Bits of every operand; the defaults are the published chip.

    **Arguments:**

    - `activation`: inputs of a layer (1: spikes).
    - `weight`: synaptic weights, AND gate and adder.
    - `accumulator`: register of the partial sum and its scratchpad.
    - `lif`: comparator and subtractor of the neuron.
    - `membrane`: register that keeps the membrane potential between timesteps.
    - `threshold`: register of the firing threshold.
    - `output`: what a neuron sends on (1: a spike).
    - `image`: pixels of the directly encoded input.

    **Raises:** `ValueError` for widths outside 1 to 32 bits (2 to 32 for those that size a component).
    """

    activation: Scalar = 1
    weight: Scalar = 8
    accumulator: Scalar = 16
    lif: Scalar = 16
    membrane: Scalar = 8
    threshold: Scalar = 4
    output: Scalar = 1
    image: Scalar = 8

    def __check_init__(self):
        require_ranges(*self.ranges())

    def ranges(self) -> list[Range]:
        """Of every operand."""
        return [_width(name, value, *WIDTH_LIMITS[name]) for name, value in vars(self).items()]


def _width(name: str, bits: Scalar, least: int, most: int) -> Range:
    covered = f"the component tables cover {least} to {most}"
    return Range(
        f"unsupported precision: {name}; {covered} bits.",
        bits,
        least,
        most,
        known=f"unsupported precision: {name} has {{}} bits; {covered}.",
    )


WIDTH_LIMITS = {
    field.name: (1 if field.name in ("activation", "output", "image") else 2, 32)
    for field in dataclasses.fields(Precision)
}
"""Least and most bits of each operand."""


class Component(NamedTuple):
    """One part of a processing element.

    `gated` parts draw dynamic power once for each operation; the others in every cycle. The operation is an
    accumulation for the groups "spike_mac" and "spad", and a neuron update for "lif".
    """

    name: str
    group: Literal["spike_mac", "lif", "spad"]
    kernel: str
    gated: bool
    width_bits: Callable[[Precision], Any]
    registers: Callable[[Precision], Any] = lambda precision: 1


def _fixed(value: int) -> Callable[[Precision], Any]:
    return lambda precision: value


SPIKING_ELEMENT: tuple[Component, ...] = (
    Component("and_gate", "spike_mac", "andgate", False, lambda p: p.weight),
    Component("adder", "spike_mac", "adder", False, lambda p: p.weight),
    Component("accumulator_register", "spike_mac", "register", True, lambda p: p.accumulator),
    Component("comparator", "lif", "comparator", False, lambda p: p.lif),
    Component("subtractor", "lif", "subtractor", False, lambda p: p.lif),
    Component("threshold_register", "lif", "register", True, lambda p: p.threshold),
    Component("membrane_register", "lif", "register", True, lambda p: p.membrane),
    Component("spike_scratchpad", "spad", "register", False, _fixed(8), _fixed(9)),
    Component("weight_scratchpad", "spad", "register", True, lambda p: p.weight, _fixed(9)),
    Component("psum_scratchpad", "spad", "register", False, lambda p: p.accumulator / 2, _fixed(8)),
)
"""The published element: scratchpads of 9 spike bytes, 9 weights and 8 bytes of partial sums."""

DENSE_ELEMENT: tuple[Component, ...] = (
    Component("multiplier", "spike_mac", "multiplier", False, lambda p: p.weight),
    Component("adder", "spike_mac", "adder", False, lambda p: p.accumulator),
    Component("accumulator_register", "spike_mac", "register", True, lambda p: p.accumulator),
    Component("relu_comparator", "lif", "comparator", False, lambda p: p.accumulator),
    Component("activation_scratchpad", "spad", "register", False, lambda p: p.activation, _fixed(9)),
    Component("weight_scratchpad", "spad", "register", True, lambda p: p.weight, _fixed(9)),
    Component("psum_scratchpad", "spad", "register", False, lambda p: p.accumulator / 2, _fixed(8)),
)
"""The element of the twin ANN: a multiplier instead of the AND gate, a rectifier instead of the neuron."""


def element_power(component: Component, precision: Precision) -> Power:
    """Power of all registers (or the one instance) of a component in one processing element."""
    one = power(component.kernel, component.width_bits(precision))
    count = component.registers(precision)
    return Power(one.dynamic_w * count, one.leakage_w * count, one.area_mm2 * count)
