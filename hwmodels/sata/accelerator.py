"""The SATA chip as one pytree: array, buffers, precisions, neurons and dataflow."""

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import equinox as eqx

from hwmodels import rounding
from hwmodels.checks import is_traced
from hwmodels.chip import Digital
from hwmodels.ranges import LARGEST, Range, require_ranges
from hwmodels.sata.array import Array, Buffers
from hwmodels.sata.memory import Sram, require_block, sram
from hwmodels.sata.other_dataflows import OTHER_DATAFLOWS, whole
from hwmodels.sata.technology import (
    CLOCK_HZ,
    DENSE_ELEMENT,
    SPIKING_ELEMENT,
    Precision,
    dram_energy_j,
    element_power,
    power,
)
from hwmodels.sata.traffic import DATAFLOWS
from hwmodels.workload import Scalar, Workload


def _plain(value: Any) -> str:
    return "?" if is_traced(value) else f"{float(value):g}"


class Accelerator(eqx.Module):
    """A systolic-array chip; the defaults are the published SATA at inference.

    **Arguments:**

    - `array`: rows and columns of processing elements.
    - `buffers`: sizes of the three global buffers.
    - `precision`: bits of every operand.
    - `dataflow`: "sata" fetches weights and inputs once for all timesteps (tick batching); "os", "ws"
      and "is" repeat the traffic of that stationary dataflow at every timestep; "spinalflow" and "ptb" are
      those of other accelerators on the same components (see `other_dataflows.py` for what they leave out).
      As upstream, no dataflow moves membrane potentials: they stay in the elements.
    - `lif_sharing`: n of EfficientLIF-Net's C#n: processing elements per LIF unit, at least 1. The updates
      that a unit makes in turn are taken to hide behind the accumulation: they add no cycles.
    - `element`: "spiking" (AND gate and LIF unit) or "dense" (multiplier and rectifier, for the twin ANN).
    - `clock_hz`: clock frequency. Leakage lasts as long as a cycle; what switches takes the energy that it
      has at the tables' 400 MHz, whatever the clock.
    - `time_window`: timesteps in a window of "ptb", at least 1.
    - `sram_width_bytes`, `sram_banks`: block width (8 to 64 bytes, acting up to 32) and banks (1 to 4) of all
      three buffers.

    **Raises:** `ValueError` for values outside their range.
    """

    array: Array = eqx.field(default_factory=Array)
    buffers: Buffers = eqx.field(default_factory=Buffers)
    precision: Precision = eqx.field(default_factory=Precision)
    lif_sharing: Scalar = 1
    clock_hz: Scalar = CLOCK_HZ
    sram_width_bytes: Scalar = 32
    sram_banks: Scalar = 2
    time_window: Scalar = 8
    dataflow: str = eqx.field(static=True, default="sata")
    element: str = eqx.field(static=True, default="spiking")

    def __check_init__(self):
        for name, kind in (("array", Array), ("buffers", Buffers), ("precision", Precision)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be of type sata.{kind.__name__}, got {getattr(self, name)!r}.")
        message = "lif_sharing counts the elements that share a LIF unit, at least 1."
        require_ranges(
            Range(message, self.lif_sharing, 1, LARGEST),
            Range("clock_hz must be at least 1 Hz.", self.clock_hz, 1, LARGEST),
            Range("time_window must be at least 1.", self.time_window, 1, LARGEST),
        )
        require_block(self.sram_width_bytes, self.sram_banks)
        dataflows = (*DATAFLOWS, *OTHER_DATAFLOWS)
        if self.dataflow not in dataflows:
            raise ValueError(f"unknown dataflow {self.dataflow!r}; choose one of {', '.join(dataflows)}.")
        if self.element not in ("spiking", "dense"):
            raise ValueError(f"unknown element {self.element!r}; choose spiking or dense.")
        if self.element == "dense" and self.dataflow in OTHER_DATAFLOWS:
            raise ValueError(
                f"the dataflow {self.dataflow!r} moves spikes and has no dense element; "
                f"choose one of {', '.join(DATAFLOWS)}."
            )

    @property
    def label(self) -> str:
        """What tables call it: node, array, bits of weights, and the dataflow where it is not SATA's."""
        array = f"{_plain(self.array.rows)}×{_plain(self.array.columns)}"
        other = "" if self.dataflow == "sata" else f", dataflow {self.dataflow}"
        return f"SATA, 28 nm, {array} elements, {_plain(self.precision.weight)}-bit weights{other}"

    @property
    def facts(self) -> dict[str, str]:
        """The same for columns of tables."""
        return {
            "node": "28 nm",
            "size": f"{_plain(self.array.rows)}×{_plain(self.array.columns)} elements",
            "bits": f"{_plain(self.precision.weight)}-bit weights",
        }

    def arithmetic(self) -> Digital:
        """Operands of `precision`: SATA's products are exact."""
        bits = self.precision
        return Digital(
            weight_bits=bits.weight,
            image_bits=bits.image,
            accumulator_bits=bits.accumulator,
            threshold_bits=bits.threshold,
            membrane_bits=bits.membrane,
            activation_bits=bits.activation,
        )

    def cost(self, workload: Workload, conventions: Any = "corrected") -> Any:
        """What one inference costs: [`hwmodels.sata.inference_energy`][]."""
        from hwmodels.sata.inference import inference_energy

        return inference_energy(workload, self, conventions=conventions)

    def of_width(self, weight_bits: Scalar | None) -> "Accelerator":
        """The chip with elements of one layer's weights; None leaves its own."""
        if weight_bits is None:
            return self
        return dataclasses.replace(
            self, precision=dataclasses.replace(self.precision, weight=rounding.as_scalar(weight_bits))
        )


class UnitCost(NamedTuple):
    """Energy of one unit of activity: of which component, from what cause, driven by which count."""

    component: str
    cause: Literal["operation", "ungated", "leakage", "sram", "dram"]
    driver: str
    energy_j: Any


class Costs(NamedTuple):
    """All unit costs of a chip, and the area of its parts."""

    units: list[UnitCost]
    area_by_component_mm2: dict[str, Any]


def _nanowatts(watts: float) -> float:
    """Upstream's rounding of a group's power, to the sixth decimal of a milliwatt, halves up."""
    return math.floor(watts * 1e9 + 0.5 + 1e-6) / 1e9


def unit_costs(accelerator: Accelerator, corrections: frozenset[str]) -> Costs:
    """Prices every kind of activity on a chip; see [`UnitCost`][].

    **Arguments:**

    - `accelerator`: the chip.
    - `corrections`: names out of [`CORRECTIONS`][]; "rounding", "banks" and "dram_write" act here.

    **Returns:** [`Costs`][], in joules and square millimetres.
    """
    chip = accelerator
    clock = rounding.as_scalar(chip.clock_hz)
    elements = whole(chip.array.rows) * whole(chip.array.columns)
    neurons = elements / rounding.as_scalar(chip.lif_sharing)
    units: list[UnitCost] = []
    area: dict[str, Any] = {}

    parts = SPIKING_ELEMENT if chip.element == "spiking" else DENSE_ELEMENT
    powers = [element_power(part, chip.precision) for part in parts]
    for group in ("spike_mac", "lif", "spad"):
        members = [(part, p) for part, p in zip(parts, powers, strict=True) if part.group == group]
        instances = neurons if group == "lif" else elements
        scale = {}
        for cause, total in (
            ("operation", sum(p.dynamic_w for part, p in members if part.gated)),
            ("ungated", sum(p.dynamic_w for part, p in members if not part.gated)),
            ("leakage", sum(p.leakage_w for _, p in members)),
        ):
            exact = "rounding" in corrections or not rounding.is_number(total) or total == 0
            scale[cause] = 1.0 if exact else _nanowatts(total) / total
        for part, p in members:
            name = part.name
            area[name] = p.area_mm2 * instances
            if part.gated:
                driver = "neuron_updates" if group == "lif" else "macs"
                energy = p.dynamic_w * scale["operation"] / CLOCK_HZ
                units.append(UnitCost(name, "operation", driver, energy))
            else:
                energy = p.dynamic_w * scale["ungated"] * instances / CLOCK_HZ
                units.append(UnitCost(name, "ungated", "cycles", energy))
            energy = p.leakage_w * scale["leakage"] * instances / clock
            units.append(UnitCost(name, "leakage", "cycles", energy))

    # A real image needs products of several bits; they are charged a multiplier's switching, and no area.
    image = power(
        "multiplier", rounding.maximum(2, rounding.maximum(chip.precision.weight, chip.precision.image))
    )
    units.append(UnitCost("image_multiplier", "operation", "image_products", image.dynamic_w / CLOCK_HZ))
    addition = power("adder", chip.precision.accumulator)
    units.append(UnitCost("residual_and_pooling", "operation", "additions", addition.dynamic_w / CLOCK_HZ))
    scaling = power("multiplier", chip.precision.accumulator)
    units.append(UnitCost("normalisation", "operation", "norm_products", scaling.dynamic_w / CLOCK_HZ))

    banks = rounding.as_scalar(chip.sram_banks) if "banks" in corrections else 1
    for buffer in ("ifmap", "filter", "ofmap"):
        memory = buffer_memory(chip, buffer)
        name = f"glb_{buffer}"
        area[name] = memory.area_mm2
        units += [
            UnitCost(name, "sram", f"sram_{buffer}_reads", memory.read_j),
            UnitCost(name, "sram", f"sram_{buffer}_writes", memory.write_j),
            UnitCost(name, "leakage", "cycles", memory.bank_leakage_w * banks / clock),
        ]
    read_j, write_j = dram_energy_j()
    units += [
        UnitCost("dram_ifmap", "dram", "dram_ifmap_reads", read_j),
        UnitCost("dram_filter", "dram", "dram_filter_reads", read_j),
        UnitCost(
            "dram_ofmap", "dram", "dram_ofmap_writes", write_j if "dram_write" in corrections else read_j
        ),
    ]
    return Costs(units, area)


def buffer_memory(chip: Accelerator, buffer: Literal["ifmap", "filter", "ofmap"]) -> Sram:
    """The SRAM of one of the three global buffers."""
    return sram(getattr(chip.buffers, buffer), chip.sram_width_bytes, chip.sram_banks)
