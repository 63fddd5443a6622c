"""The SpikeFlow chip: tiles of PEs, PEs of crossbars, and what surrounds them."""

import dataclasses
import math
from typing import Any, Literal, get_args

import equinox as eqx
import numpy as np

from hwmodels.checks import is_traced
from hwmodels.chip import Analog
from hwmodels.crossbar import Converters, Crossbar, Device, Settling, Wires
from hwmodels.crossbar.cells import Cell as Law
from hwmodels.crossbar.converter import FullScale
from hwmodels.crossbar.mapping import Bias, Calibration, CellModel, Signs
from hwmodels.ranges import Range, interval, require, require_ranges, require_word
from hwmodels.spikeflow.components import RRAM, Adc, Cell, Components, Mesh, as_cell
from hwmodels.spikeflow.technology import NODES_NM, Rule
from hwmodels.workload import Scalar, Workload

Partition = Literal["kernel-split", "flatten"]
Schedule = Literal["overlapped", "pipelined", "sequential"]
Activity = Literal["dense", "spikes"]
Neuron = Literal["lif", "relu"]

_RANGES: dict[str, tuple[int | float, int | float]] = {
    "crossbar_rows": (1, 4096),
    "crossbar_columns": (1, 4096),
    "kernel": (1, 64),
    "pes_per_tile": (1, 4096),
    "mux_ratio": (1, 4096),
    "adc_bits": (1, 16),
    "weight_bits": (1, 16),
    "input_bits": (1, 16),
    "activation_bits": (1, 16),
    "encoder_cycles": (1, 16),
    "membrane_bits": (1, 64),
    "channel_sharing": (1, 4096),
    "clock_hz": (1e3, 1e11),
    "cycle_clocks": (1, 1e6),
    "pipeline_start": (1e-6, 1),
    "node_nm": (NODES_NM[0], NODES_NM[-1]),
    "constants_nm": (NODES_NM[0], NODES_NM[-1]),
}


_PARTS: dict[str, type] = {
    "cell": Cell,
    "adc": Adc,
    "components": Components,
    "mesh": Mesh,
    "wires": Wires,
    "device": Device,
}


def _plain(value: Any) -> str:
    return "?" if is_traced(value) else f"{float(value):g}"


class Chip(eqx.Module):
    """A SpikeFlow chip; the defaults are the published one (65 nm, 64×64 RRAM crossbars, 250 MHz).

    Numbers are leaves: costs differentiate to them, and a sweep maps over them. Words are static.

    **Arguments:**

    - `crossbar_rows`, `crossbar_columns`: size of a crossbar.
    - `kernel`: side k of the kernel that a PE is built for; a PE has k² crossbars.
    - `pes_per_tile`: PEs that share a tile's buffer, DIFF modules and H-tree.
    - `mux_ratio`: columns that share one converter.
    - `adc_bits`: resolution of the converters.
    - `weight_bits`: bits of a weight; more than `cell.bits` takes more columns and the shift-add unit.
    - `input_bits`: bits of an analog (image) value.
    - `encoder_cycles`: PE cycles that an analog input takes. One: the encoding layer's rows have DACs, as the
      published tool assumes without charging them; `input_bits`: its bits enter one by one.
    - `membrane_bits`: bits of a membrane potential in its memory.
    - `channel_sharing`: n of EfficientLIF-Net's C#n: output channels that share one neuron (1: none).
    - `activation_bits`: bits of an activation between layers when `neuron="relu"`.
    - `clock_hz`: clock.
    - `cycle_clocks`: clocks of a PE cycle.
    - `pipeline_start`: fraction of a layer's outputs after which the next layer starts, in (0, 1].
    - `node_nm`: technology node that the chip is built in. The constants are scaled to it; the clock is a
      parameter of its own, which [`scale_to_node`][] moves along.
    - `cell`: constants of a memory cell with their sources, and its law where it is no resistor;
      `cell=Sinh(v0=0.25)` is the published cell with that law.
    - `adc`, `components`, `mesh`: constants with their sources.
    - `wires`, `device`: the circuit of a crossbar, in ohm and siemens. A device without `bits` has the levels
      of `cell.bits`.
    - `settling`: when currents are sampled after the rows step, see [`hwmodels.crossbar.Settling`][]; its
      `read_s` is added to every read round, whose published time has no such part. None: settled, in no time.
    - `full_scale_percentile`: of the converters, see [`hwmodels.crossbar.Converters`][].
    - `constants_nm`: node at which those constants hold.
    - `node_rule`: how they are scaled, see [`scaling`][].
    - `signs`: how a weight of either sign becomes conductances, see [`hwmodels.crossbar.encoding`][].
      `"nice"` is SpikeSim's; `"differential"` takes two columns for each of its columns, `"offset"` one
      column of every crossbar.
    - `calibration`: digital gain on the currents, `"none"` as published, one per `"kernel"`, which scales
      thresholds, or one per `"tile"` or `"column"`, which multiplies every conversion.
    - `full_scale`: of the converters: `"worst-case"`, or `"calibrated"` on images that are seen at
      programming.
    - `partition`: how a kernel is cut. `"kernel-split"`: one crossbar per kernel position and per
      `crossbar_rows` input channels (SpikeSim). `"flatten"`: the (k·k·C_in, C_out) matrix in blocks.
    - `bias`: `"digital"` adds a layer's bias with an adder of its own. `"row"` stores it in one more row of
      the layer's crossbars, which is driven at every evaluation; see [`hwmodels.crossbar.Crossbar`][].
    - `schedule`: `"overlapped"`: a layer runs all its timesteps and the next one starts when
      `pipeline_start` of them are done (SpikeSim). `"pipelined"`: the next layer starts within the first
      timestep, and then all layers work on successive timesteps at once. `"sequential"`: one layer after
      the other.
    - `activity`: `"dense"` charges every row and converter in every cycle, as the published tool does.
      `"spikes"` charges crossbar and driver in proportion to the input rate, and a PE's converters only in
      cycles in which at least one of its inputs spikes (inputs taken as independent). None: as the
      conventions say, "dense" where published and "spikes" where corrected.
    - `neuron`: `"lif"` (or IF: the tool does not tell them apart), or `"relu"` for an ANN on the same chip
      (one pass, multi-bit activations).
    - `entropy_module`: whether DT-SNN's exit decision is taken after every timestep.

    **Raises:** `ValueError` that names the parameter, its value and its range.

    **Source:** Moitra et al., "SpikeSim", IEEE TCAD 2023; constants in [`Components`][].
    """

    crossbar_rows: Scalar = 64
    crossbar_columns: Scalar = 64
    kernel: Scalar = 3
    pes_per_tile: Scalar = 8
    mux_ratio: Scalar = 8
    adc_bits: Scalar = 4
    weight_bits: Scalar = 4
    input_bits: Scalar = 8
    encoder_cycles: Scalar = 1
    membrane_bits: Scalar = 22
    channel_sharing: Scalar = 1
    activation_bits: Scalar = 4
    clock_hz: Scalar = 250e6
    cycle_clocks: Scalar = 26
    pipeline_start: Scalar = 0.75
    node_nm: Scalar = 65.0
    cell: Cell = eqx.field(default=RRAM, converter=as_cell)
    adc: Adc = Adc()
    components: Components = Components()
    mesh: Mesh = Mesh()
    settling: Settling | None = None
    constants_nm: Scalar = 65.0
    wires: Wires = Wires()
    device: Device = Device()
    full_scale_percentile: float = eqx.field(static=True, default=0.999)
    signs: str = eqx.field(static=True, default="nice")
    calibration: str = eqx.field(static=True, default="none")
    full_scale: str = eqx.field(static=True, default="worst-case")
    node_rule: str = eqx.field(static=True, default="nominal-voltage")
    partition: str = eqx.field(static=True, default="kernel-split")
    bias: str = eqx.field(static=True, default="digital")
    schedule: str = eqx.field(static=True, default="overlapped")
    activity: str | None = eqx.field(static=True, default=None)
    neuron: str = eqx.field(static=True, default="lif")
    entropy_module: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        self.check()

    def check(self) -> None:
        """Raises for a parameter out of its range; values under trace are not looked at."""
        for name, kind in _PARTS.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}.")
        if not isinstance(self.settling, Settling | None):
            raise TypeError(f"settling must be None or a Settling, got {self.settling!r}.")
        message = "full_scale_percentile is a fraction above {1} and at most 1, got {0}."
        require(lambda share, zero: (share > zero) & (share <= 1), message, self.full_scale_percentile, 0)
        if not isinstance(self.cell.law, Law | None):
            raise TypeError(
                f"cell.law must be None or a law such as Sinh(v0=0.25), got {self.cell.law!r}; a function "
                "makes one by hwmodels.crossbar.Law."
            )
        require_ranges(*self.limits().values())
        for name, word, allowed in (
            ("partition", self.partition, Partition),
            ("bias", self.bias, Bias),
            ("schedule", self.schedule, Schedule),
            ("activity", self.activity or "dense", Activity),
            ("neuron", self.neuron, Neuron),
            ("node_rule", self.node_rule, Rule),
            ("cell.model", self.cell.model, CellModel),
            ("signs", self.signs, Signs),
            ("calibration", self.calibration, Calibration),
            ("full_scale", self.full_scale, FullScale),
        ):
            require_word(name, word, get_args(allowed))
        if not isinstance(self.entropy_module, bool):
            raise ValueError(f"entropy_module must be True or False, got {self.entropy_module!r}.")
        message = "mux_ratio must lie in [1, crossbar_columns = {}], got {}."
        require(np.greater_equal, message, self.crossbar_columns, self.mux_ratio)
        own, cell = self.device.bits, self.cell.bits
        if own is not None and not is_traced(cell) and own != cell:
            raise ValueError(
                f"device.bits and cell.bits are the same levels of one cell, got {own} and {cell}; leave "
                "device.bits out, or set both."
            )

    @property
    def label(self) -> str:
        """What tables call it: node, cell, size of a crossbar, bits, and how signs and gains are made."""
        gain = "no gain" if self.calibration == "none" else f"{self.calibration} gain"
        return (
            f"SpikeFlow, {_plain(self.node_nm)} nm, {self._cell_name} "
            f"{_plain(self.crossbar_rows)}×{_plain(self.crossbar_columns)}, "
            f"{_plain(self.weight_bits)}-bit weights, {_plain(self.adc_bits)}-bit ADC, {self.signs}, {gain}"
            + (", bias row" if self.bias == "row" else "")
        )

    @property
    def _cell_name(self) -> str:
        law = self.cell.law
        return self.cell.name.upper() + ("" if law is None else f" ({type(law).__name__})")

    @property
    def facts(self) -> dict[str, str]:
        """The same for columns of tables."""
        return {
            "node": f"{_plain(self.node_nm)} nm",
            "size": f"{self._cell_name} {_plain(self.crossbar_rows)}×{_plain(self.crossbar_columns)}",
            "bits": f"{_plain(self.weight_bits)}-bit weights, {_plain(self.adc_bits)}-bit ADC",
            "bias": self.bias,
        }

    def crossbar(self) -> Crossbar:
        """The array design that this chip programs: the one place where its sizes, leaves of the cost, become
        the static sizes of a circuit.

        Weights of more bits than a cell take slices of equal bits, rounded up.

        **Raises:** `ValueError`, naming the parameter, for a size that is traced or not whole.
        """
        bits, cell = self._whole("weight_bits"), self._whole("cell.bits")
        slices = -(-bits // cell)
        device = self.device
        if device.bits is None:
            device = dataclasses.replace(device, bits=-(-bits // slices))
        return Crossbar(
            rows=self._whole("crossbar_rows"),
            columns=self._whole("crossbar_columns"),
            wires=self.wires,
            device=device,
            slices=slices,
            **self._words("partition", "signs", "calibration", "bias"),
            settling=self.settling,
            cell=self.cell.law,
            read_voltage_v=self.cell.read_voltage_v,
            cell_model=self.cell.model,
            activity=self.cell.activity,
        )

    def converters(self) -> Converters:
        """The converters of tiles that spikes drive: their errors as built are those of `adc`, which prices
        them."""
        return Converters(
            adc_bits=self._whole("adc_bits"),
            percentile=self.full_scale_percentile,
            **self._words("full_scale"),
            adc=self.adc if self.adc.build is not None else None,
            columns_per_adc=self._whole("mux_ratio") if self.adc.build is not None else 1,
        )

    def arithmetic(self) -> Analog:
        """Crossbars behind converters; an image enters through DACs of `input_bits`.

        **Raises:** as [`Chip.crossbar`][].
        """
        spikes = self.converters()
        image = dataclasses.replace(spikes, dac_bits=self._whole("input_bits"))
        return Analog(self.crossbar(), converters=spikes, encoder=image)

    def cost(self, workload: Workload, conventions: Any = "corrected") -> Any:
        """What one inference costs: [`hwmodels.spikeflow.evaluate`][]."""
        from hwmodels.spikeflow.cost import evaluate

        return evaluate(workload, self, conventions)

    def _words(self, *names: str) -> dict[str, Any]:
        """Words that `check` has seen."""
        return {name: getattr(self, name) for name in names}

    def _whole(self, name: str) -> int:
        value: Any = self
        for part in name.split("."):
            value = getattr(value, part)
        if is_traced(value) or int(value) != value:
            raise ValueError(
                f"a chip is programmed at whole sizes: Chip.{name} is {value}. Round it first, as "
                "hwmodels.search.minimise does."
            )
        return int(value)

    def limits(self) -> dict[str, Range]:
        """The range of every number, by name."""
        own = {name: (getattr(self, name), *bounds) for name, bounds in _RANGES.items()}
        parts = {
            "cell.bits": (self.cell.bits, 1, 16),
            "cell.read_voltage_v": (self.cell.read_voltage_v, 1e-6, 100),
            "cell.activity": (self.cell.activity, 1e-6, 1),
            "adc.capacitor_share": (self.adc.capacitor_share, 0, 1),
            "adc.reference_bits": (self.adc.reference_bits, 1, 16),
        }
        constants = {
            f"{owner}.{name}": (value, 0, math.inf)
            for owner in ("cell", "adc", "components", "mesh")
            for name, value in vars(getattr(self, owner)).items()
            if name.endswith(("_j", "_um2", "_per_round")) and value is not None
        }
        return {name: interval(name, *limits) for name, limits in (own | parts | constants).items()}
