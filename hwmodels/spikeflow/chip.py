"""The SpikeFlow chip: tiles of PEs, PEs of crossbars, and what surrounds them."""

import math
from typing import Literal, get_args

import equinox as eqx
import numpy as np

from hwmodels.adc import Kind
from hwmodels.checks import is_traced
from hwmodels.spikeflow import ranges
from hwmodels.spikeflow.components import RRAM, Adc, Cell, Components, Mesh
from hwmodels.spikeflow.ranges import Limit
from hwmodels.spikeflow.technology import NODES_NM, Rule
from hwmodels.workload import Scalar

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
    - `cell`, `adc`, `components`, `mesh`: constants with their sources.
    - `constants_nm`: node at which those constants hold.
    - `node_rule`: how they are scaled, see [`scaling`][].
    - `partition`: how a kernel is cut. `"kernel-split"`: one crossbar per kernel position and per
      `crossbar_rows` input channels (SpikeSim). `"flatten"`: the (k·k·C_in, C_out) matrix in blocks.
    - `schedule`: `"overlapped"`: a layer runs all its timesteps and the next one starts when
      `pipeline_start` of them are done (SpikeSim). `"pipelined"`: the next layer starts within the first
      timestep, and then all layers work on successive timesteps at once. `"sequential"`: one layer after
      the other.
    - `activity`: `"dense"` charges every row and converter in every cycle, as the published tool does.
      `"spikes"` charges crossbar and driver in proportion to the input rate, and a PE's converters only in
      cycles in which at least one of its inputs spikes (inputs taken as independent).
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
    cell: Cell = RRAM
    adc: Adc = Adc()
    components: Components = Components()
    mesh: Mesh = Mesh()
    constants_nm: Scalar = 65.0
    node_rule: str = eqx.field(static=True, default="nominal-voltage")
    partition: str = eqx.field(static=True, default="kernel-split")
    schedule: str = eqx.field(static=True, default="overlapped")
    activity: str = eqx.field(static=True, default="dense")
    neuron: str = eqx.field(static=True, default="lif")
    entropy_module: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        self.check()

    def check(self) -> None:
        """Raises for a parameter out of its range; values under trace are not looked at."""
        for name, kind in (("cell", Cell), ("adc", Adc), ("components", Components), ("mesh", Mesh)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a spikeflow.{kind.__name__}, got {getattr(self, name)!r}.")
        ranges.check(self.limits())
        for name, word, allowed in (
            ("partition", self.partition, Partition),
            ("schedule", self.schedule, Schedule),
            ("activity", self.activity, Activity),
            ("neuron", self.neuron, Neuron),
            ("node_rule", self.node_rule, Rule),
            ("adc.kind", self.adc.kind, Kind),
        ):
            if word not in get_args(allowed):
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, get_args(allowed)))}, got {word!r}."
                )
        if not isinstance(self.entropy_module, bool):
            raise ValueError(f"entropy_module must be True or False, got {self.entropy_module!r}.")
        columns, mux = self.crossbar_columns, self.mux_ratio
        known = not is_traced(columns) and not is_traced(mux)
        if known and np.any(np.asarray(mux) > np.asarray(columns)):
            raise ValueError(f"mux_ratio must lie in [1, crossbar_columns = {columns}], got {mux}.")

    def limits(self) -> list[Limit]:
        """The range of every number."""
        own = [Limit(name, getattr(self, name), *bounds) for name, bounds in _RANGES.items()]
        parts = [
            Limit("cell.bits", self.cell.bits, 1, 16),
            Limit("adc.capacitor_share", self.adc.capacitor_share, 0, 1),
            Limit("adc.reference_bits", self.adc.reference_bits, 1, 16),
        ]
        constants = [
            Limit(f"{owner}.{name}", value, 0, math.inf)
            for owner in ("cell", "adc", "components", "mesh")
            for name, value in vars(getattr(self, owner)).items()
            if name.endswith(("_j", "_um2", "_per_round"))
        ]
        return [*own, *parts, *constants]
