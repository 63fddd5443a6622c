"""From weight kernels to tiles of conductances, and back to the weights that the tiles realise."""

import math
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.crossbar.circuit import Wires
from hwmodels.crossbar.device import Device

Partition = Literal["flatten", "kernel-split"]
Signs = Literal["differential"]
Calibration = Literal["none", "tile", "column"]


class Crossbar(eqx.Module):
    """A crossbar design: the size of a tile, its wires and devices, and how weights are put on it.

    **Arguments:**

    - `rows`, `columns`: size of a tile.
    - `wires`, `device`: its circuit.
    - `partition`: "flatten" cuts the kernel as a matrix (kernel height · width · in, out) into tiles;
      "kernel-split" gives every kernel position tiles of its own (SpikeSim).
    - `signs`: "differential": two devices per weight, `W = (G⁺ − G⁻)·w_max/(G_max − G_min)`.
    - `calibration`: digital gain on the measured currents: "none", one per "tile", or one per "column".

    **Raises:** `ValueError` for sizes below one and for unknown names.
    """

    rows: int = eqx.field(static=True, default=64)
    columns: int = eqx.field(static=True, default=64)
    wires: Wires = Wires()
    device: Device = Device()
    partition: Partition = eqx.field(static=True, default="flatten")
    signs: Signs = eqx.field(static=True, default="differential")
    calibration: Calibration = eqx.field(static=True, default="none")

    def __check_init__(self):
        if min(self.rows, self.columns) < 1:
            raise ValueError(f"a tile needs at least one row and column, got {self.rows}×{self.columns}.")
        for name, allowed in (
            ("partition", ("flatten", "kernel-split")),
            ("signs", ("differential",)),
            ("calibration", ("none", "tile", "column")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"Crossbar.{name} must be one of {', '.join(map(repr, allowed))}, "
                    f"got {getattr(self, name)!r}."
                )


class Layout(eqx.Module):
    """How one kernel is cut into tiles: `groups` matrices of (inputs, outputs), each a grid of tiles."""

    shape: tuple[int, ...] = eqx.field(static=True)
    groups: int = eqx.field(static=True)
    inputs: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along the inputs and along the outputs."""
        return math.ceil(self.inputs / self.rows), math.ceil(self.outputs / self.columns)

    def cut(self, kernel: Float[Array, "*kernel"]) -> Float[Array, "groups down across rows columns"]:
        """Tiles of a kernel, ragged edges filled with zeros."""
        down, across = self.grid
        matrices = kernel.reshape(self.groups, self.inputs, self.outputs)
        matrices = jnp.pad(
            matrices, ((0, 0), (0, down * self.rows - self.inputs), (0, across * self.columns - self.outputs))
        )
        return matrices.reshape(self.groups, down, self.rows, across, self.columns).swapaxes(2, 3)

    def join(self, tiles: Float[Array, "groups down across rows columns"]) -> Float[Array, "*kernel"]:
        """The kernel of these tiles: undoes [`Layout.cut`][]."""
        down, across = self.grid
        matrices = tiles.swapaxes(2, 3).reshape(self.groups, down * self.rows, across * self.columns)
        return matrices[:, : self.inputs, : self.outputs].reshape(self.shape)


def layout(shape: tuple[int, ...], crossbar: Crossbar) -> Layout:
    """The layout of a kernel of `shape`: (in, out) or (kernel height, kernel width, in, out)."""
    *positions, inputs, outputs = shape
    if crossbar.partition == "kernel-split":
        groups, fan_in = math.prod(positions), inputs
    else:
        groups, fan_in = 1, math.prod(positions) * inputs
    return Layout(shape, groups, fan_in, outputs, crossbar.rows, crossbar.columns)
