"""A crossbar design, and how it cuts weight kernels into tiles."""

import math
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.crossbar.cells import Cell
from hwmodels.crossbar.circuit import Wires
from hwmodels.crossbar.device import Device
from hwmodels.crossbar.settling import Settling
from hwmodels.ranges import require, require_integer, require_word
from hwmodels.workload import Scalar

Partition = Literal["flatten", "kernel-split"]
Signs = Literal["differential", "offset", "nice"]
Calibration = Literal["none", "kernel", "tile", "column"]
CellModel = Literal["exact", "read-voltage", "mean-activity"]
Bias = Literal["digital", "row"]


class Crossbar(eqx.Module):
    """A crossbar design: the size of a tile, its wires and devices, and how weights are put on it.

    **Arguments:**

    - `rows`, `columns`: size of a tile.
    - `wires`, `device`: its circuit.
    - `partition`: "flatten" cuts the kernel as a matrix (kernel height · width · in, out) into tiles;
      "kernel-split" gives every kernel position tiles of its own (SpikeSim).
    - `signs`: how a weight of either sign becomes conductances, see [`hwmodels.crossbar.encoding`][]:
      "differential" (two devices per weight), "offset" (one, and one reference column in every tile) or
      "nice" (one, and a digital correction; SpikeSim).
    - `calibration`: digital gain on the measured currents, intended `ΣG` over `ΣG_eff`: "none", one for all
      tiles of a "kernel", one per "tile", or one per "column". It is measured when the chip is read, after
      [`hwmodels.crossbar.Device.at`][] has aged its cells, so it also makes up for drift: "kernel" is the
      global drift compensation of Joshi et al. (2020), "column" the one per column.
    - `slices`: cells per weight and sign, each of `device.bits` bits; their currents are shifted and added
      digitally, each slice on tiles of its own.
    - `settling`: when currents are sampled after the inputs step, see [`hwmodels.crossbar.Settling`][]; None
      for tiles that have settled. Without `solve=` of its own alone.
    - `cell`: the law of its cells, see [`hwmodels.crossbar.cells`][]; None is linear.
    - `read_voltage_v`: of a spike (an input of one), in volt; only nonlinear cells depend on it.
    - `cell_model`: how products with nonlinear cells are found: "exact" solves each tile for each input
      vector, "read-voltage" and "mean-activity" replace cells by resistors, see
      [`hwmodels.crossbar.linearised`][].
    - `activity`: the share of rows that spike, which "mean-activity" linearises at.
    - `bias`: "digital" adds a layer's bias to what its tiles give. "row" stores it in one more row, below the
      last input's, which is driven as by a spike at every timestep; it shares the weights' scale, cells and
      wires. Under "kernel-split" it takes a free row of the last position's tiles, or a tile row of its own.

    **Raises:** `TypeError` for wires and devices that are none; `ValueError` for sizes that are no integers
    of at least one, unknown names, slices of devices without `bits`, for signs that the levels or the columns
    do not suffice for, a `cell` that is none, and for a read voltage or an activity out of range.
    """

    rows: int = eqx.field(static=True, default=64)
    columns: int = eqx.field(static=True, default=64)
    wires: Wires = Wires()
    device: Device = Device()
    partition: Partition = eqx.field(static=True, default="flatten")
    signs: Signs = eqx.field(static=True, default="differential")
    calibration: Calibration = eqx.field(static=True, default="none")
    slices: int = eqx.field(static=True, default=1)
    settling: Settling | None = None
    cell: Cell | None = None
    read_voltage_v: Scalar = 0.1
    cell_model: CellModel = eqx.field(static=True, default="exact")
    activity: Scalar = 0.2
    bias: Bias = eqx.field(static=True, default="digital")

    def __check_init__(self):
        for name, kind in (("wires", Wires), ("device", Device)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"Crossbar.{name} must be of type {kind.__name__}, got {getattr(self, name)!r}."
                )
        for name in ("rows", "columns", "slices"):
            require_integer(f"Crossbar.{name}", getattr(self, name), 1)
        for name, allowed in (
            ("partition", ("flatten", "kernel-split")),
            ("signs", ("differential", "offset", "nice")),
            ("calibration", ("none", "kernel", "tile", "column")),
            ("cell_model", ("exact", "read-voltage", "mean-activity")),
            ("bias", ("digital", "row")),
        ):
            require_word(f"Crossbar.{name}", getattr(self, name), allowed)
        if self.cell is not None and not isinstance(self.cell, Cell):
            raise ValueError(
                f"Crossbar.cell must be None or a cell such as Sinh(v0=0.25), got {self.cell!r}."
            )
        message = "Crossbar.read_voltage_v is the voltage of a spike and must be above {1} V, got {0}."
        require(lambda volt, zero: volt > zero, message, self.read_voltage_v, 0)
        message = "Crossbar.activity is the share of rows that spike, above {1} and at most 1, got {0}."
        require(lambda share, zero: (share > zero) & (share <= 1), message, self.activity, 0)
        if self.slices > 1 and self.device.bits is None:
            raise ValueError(
                f"Crossbar.slices is the number of cells per weight, and above 1 the cells need levels "
                f"(Device.bits); got {self.slices} slices of {self.device.bits} bits."
            )
        if self.weight_bits is not None and self.weight_bits > 20:
            raise ValueError(f"a weight has at most 20 bits, got {self.weight_bits}.")
        if self.signs == "offset" and (self.columns < 2 or self.weight_bits == 1):
            raise ValueError(
                'signs="offset" needs a reference column beside the weights (columns of at least 2) and, '
                f"around its level, at least 2 bits per weight; got {self.columns} and {self.weight_bits}."
            )

    @property
    def reads_exactly(self) -> bool:
        """Whether no matrix holds its products: nonlinear cells, solved for each input."""
        return self.cell is not None and self.cell_model == "exact"

    @property
    def weight_bits(self) -> int | None:
        """Bits of all slices of a weight together; None if its level is continuous."""
        return None if self.device.bits is None else self.device.bits * self.slices

    @property
    def weight_columns(self) -> int:
        """Columns of a tile that hold weights: all but a reference column."""
        return self.columns - (self.signs == "offset")


class Layout(eqx.Module):
    """How one kernel is cut into tiles: `groups` matrices of (inputs, outputs), each a grid of tiles.

    `columns` are the columns of weights in a tile. A grouped kernel, of shape (positions ..., in/`parts`,
    out), is laid out as the block-diagonal matrix that it is; nothing is put off the diagonal. A `bias` is
    the row below the last group's inputs.
    """

    shape: tuple[int, ...] = eqx.field(static=True)
    groups: int = eqx.field(static=True)
    inputs: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)
    parts: int = eqx.field(static=True, default=1)
    bias: bool = eqx.field(static=True, default=False)

    @property
    def channels(self) -> int:
        """Input channels of the layer."""
        return self.shape[-2] * self.parts

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along the inputs and along the outputs."""
        return math.ceil((self.inputs + self.bias) / self.rows), math.ceil(self.outputs / self.columns)

    def cut(
        self, kernel: Float[Array, "*kernel"], bias: Float[Array, " outputs"] | None = None
    ) -> Float[Array, "groups down across rows columns"]:
        """Tiles of a kernel, and of the bias if there is a row for it; ragged edges filled with zeros."""
        down, across = self.grid
        matrices = self._diagonal(kernel).reshape(self.groups, self.inputs, self.outputs)
        matrices = jnp.pad(
            matrices, ((0, 0), (0, down * self.rows - self.inputs), (0, across * self.columns - self.outputs))
        )
        if bias is not None:
            matrices = matrices.at[-1, self.inputs, : self.outputs].set(bias)
        return matrices.reshape(self.groups, down, self.rows, across, self.columns).swapaxes(2, 3)

    def join(self, tiles: Float[Array, "groups down across rows columns"]) -> Float[Array, "*kernel"]:
        """The kernel of these tiles: undoes [`Layout.cut`][]."""
        return self.kernel_of(self._matrices(tiles))

    def kernel_of(self, matrices: Float[Array, "groups rows columns"]) -> Float[Array, "*kernel"]:
        """The kernel of these matrices, whose first rows and columns are its inputs and outputs."""
        matrices = matrices[:, : self.inputs, : self.outputs]
        if self.parts == 1:
            return matrices.reshape(self.shape)
        *positions, inputs, outputs = self.shape
        blocks = matrices.reshape(*positions, self.parts, inputs, self.parts, outputs // self.parts)
        part = jnp.arange(self.parts)
        # Indexed by two arrays apart from each other, the parts come first.
        return jnp.moveaxis(blocks[..., part, :, part, :], 0, -2).reshape(self.shape)

    def bias_of(self, tiles: Float[Array, "groups down across rows columns"]) -> Float[Array, " outputs"]:
        """What the bias's row of these tiles holds."""
        return self._matrices(tiles)[-1, self.inputs, : self.outputs]

    def _matrices(self, tiles):
        down, across = self.grid
        return tiles.swapaxes(2, 3).reshape(self.groups, down * self.rows, across * self.columns)

    def _diagonal(self, kernel):
        if self.parts == 1:
            return kernel
        *positions, inputs, outputs = self.shape
        blocks = kernel.reshape(*positions, 1, inputs, self.parts, outputs // self.parts)
        own = jnp.eye(self.parts, dtype=kernel.dtype)[:, None, :, None]
        return (blocks * own).reshape(*positions, self.parts * inputs, outputs)


def layout(shape: tuple[int, ...], crossbar: Crossbar, parts: int = 1, *, bias: bool = False) -> Layout:
    """The layout of a kernel of `shape`: (positions ..., in, out), with or without a row for a bias.

    The positions are those of a convolution, any number of axes: none for a linear layer. No shape tells
    another kernel from a convolution's, so give others, such as (heads, in, out), one matrix at a time; nor
    does it tell a grouped convolution, whose in is that of one of `parts` groups.

    **Raises:** `ValueError` for shapes without inputs or outputs, and for groups that do not divide out.
    """
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"a kernel has at least two axes and none of length zero, got shape {shape}.")
    *positions, inputs, outputs = shape
    if parts < 1 or outputs % parts:
        raise ValueError(f"the groups of a kernel divide its {outputs} outputs, got {parts} groups.")
    inputs *= parts
    # Positions that fill their tiles leave a bias no row; cut as one matrix, they fill the same tiles.
    full = bias and inputs % crossbar.rows == 0
    if crossbar.partition == "kernel-split" and not full:
        groups, fan_in = math.prod(positions), inputs
    else:
        groups, fan_in = 1, math.prod(positions) * inputs
    return Layout(shape, groups, fan_in, outputs, crossbar.rows, crossbar.weight_columns, parts, bias)
