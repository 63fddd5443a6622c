"""The tiles of a kernel laid out as input vectors meet them: one matrix for each block of rows."""

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from hwmodels.checks import jit_with_checks
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._read_spread import ReadSpread
from hwmodels.crossbar.cells import Cell
from hwmodels.crossbar.circuit import Wires
from hwmodels.crossbar.device import ReadNoise
from hwmodels.crossbar.encoding import silent
from hwmodels.crossbar.mapping import Layout
from hwmodels.crossbar.nonlinear import sense_currents
from hwmodels.crossbar.programming import ProgrammedKernel
from hwmodels.rounding import largest


class NonlinearTiles(eqx.Module):
    """Cells side by side in siemens, their law and wires, and the voltage of an input of one."""

    held: Float[Array, "blocks rows currents"]
    cell: Cell
    wires: Wires
    read_voltage_v: Float[Array, ""]

    def read(
        self, held: Float[Array, "rows currents"], inputs: Float[Array, "vectors rows"], width: int
    ) -> Float[Array, "vectors currents"]:
        """The currents of one block's tiles, each `width` columns, per volt of an input of one."""
        rows, _ = held.shape
        tiles = held.reshape(rows, -1, width).swapaxes(0, 1)
        volt = jnp.asarray(self.read_voltage_v, held.dtype)
        found = sense_currents(tiles, volt * inputs[:, None, :], self.wires, self.cell)
        return found.reshape(len(inputs), -1) / volt


class SideBySide(eqx.Module):
    """Tiles that get the same inputs side by side; these blocks are (groups, down), flattened.

    Rows that no block has an input for are left out, unless read noise or nonlinear cells ask for them. The
    currents of a block are (planes, across, columns), flattened; without those of columns that hold no weight
    unless something takes tiles as a `whole`: read noise, nonlinear cells, references.

    **Arguments:**

    - `effective`: siemens.
    - `worth`: of one siemens of each current, in units of the weight.
    - `correction`: weights that the digital logic subtracts; None if nothing is.
    - `greatest`: the greatest sum of a column, siemens.
    - `spreads`: of the read noise; None without any.
    - `nonlinear`: cells that are solved for each input; None if `effective` says it all.
    - `dead`, `plan`, `planes`, `reference`: of the encoded kernel.
    """

    effective: Float[Array, "blocks rows currents"]
    worth: Float[Array, "blocks currents"]
    correction: Float[Array, "blocks rows weights"] | None
    greatest: Float[Array, ""]
    spreads: ReadSpread | None
    nonlinear: NonlinearTiles | None
    dead: Bool[Array, ""]
    plan: Layout = eqx.field(static=True)
    planes: int = eqx.field(static=True)
    reference: bool = eqx.field(static=True)
    whole: bool = eqx.field(static=True)

    @staticmethod
    @partial(jit_with_checks, rarely=True)
    @with_exact_products
    def of(chip: ProgrammedKernel, noise: ReadNoise | None, whole: bool) -> "SideBySide":
        """The tiles of `chip`, with what this read noise needs; `whole` where others count their columns."""
        encoded = chip.encoded
        worth = encoded.coefficients[:, None, None, None, None, None] * chip.gain
        correction = encoded.correction
        spreads = None if noise is None else ReadSpread.of(chip.conductances, chip.wires, noise.law)
        nonlinear = None
        if chip.cell is not None:
            volt = jnp.asarray(chip.read_voltage_v)
            nonlinear = NonlinearTiles(_blocked(chip.conductances), chip.cell, chip.wires, volt)
        each_device = noise is not None or nonlinear is not None
        rows = slice(None if each_device else encoded.plan.inputs + encoded.plan.bias)
        tiles = SideBySide(
            effective=_blocked(chip.effective)[:, rows],
            worth=_blocked(worth)[:, 0, :],
            correction=None if correction is None else _blocked(correction[None])[:, rows],
            greatest=largest(jnp.sum(chip.effective, axis=-2)),
            spreads=jax.tree.map(_blocked, spreads),
            nonlinear=nonlinear,
            dead=encoded.dead,
            plan=encoded.plan,
            planes=len(encoded.coefficients),
            reference=encoded.reference,
            whole=True,
        )
        if whole or each_device or encoded.reference:
            return tiles
        columns = tiles._in_use()
        return dataclasses.replace(
            tiles, effective=tiles.effective[..., columns], worth=tiles.worth[..., columns], whole=False
        )

    @property
    def width(self) -> int:
        """Columns of a tile, a reference included."""
        return self.plan.columns + self.reference

    def used(self) -> Float[Array, "blocks rows used"]:
        """The columns in use alone, references too."""
        return self.effective[..., self._in_use()] if self.whole else self.effective

    def used_currents(
        self, inputs: Float[Array, "blocks vectors rows"]
    ) -> Float[Array, "blocks vectors used"]:
        """The currents of the columns in use, without read noise."""
        if self.nonlinear is None:
            return jnp.einsum("bvr,brc->bvc", inputs, self.used())
        nonlinear, width = self.nonlinear, self.width

        def read(block):
            held, inputs = block
            return nonlinear.read(held, inputs, width)

        found = jax.lax.map(read, (nonlinear.held, inputs))
        return found[..., self._in_use()]

    def worst_current(self, limit: Float[Array, ""]) -> Float[Array, ""]:
        """The greatest current that inputs of a magnitude of at most `limit` can cause in a column.

        A column's current grows with the voltage of each row.
        """
        # The row of a bias gets one, however small the inputs are.
        limit = jnp.maximum(limit, 1) if self.plan.bias else limit
        if self.nonlinear is None:
            return self.greatest * limit
        blocks, rows, _ = self.effective.shape
        driven = jnp.broadcast_to(jnp.stack([limit, -limit])[:, None], (blocks, 2, rows))
        return largest(jnp.abs(self.used_currents(driven)))

    def _in_use(self) -> np.ndarray:
        _, across = self.plan.grid
        weights = np.arange(across * self.plan.columns) < self.plan.outputs
        held = np.pad(weights.reshape(across, -1), ((0, 0), (0, self.reference)), constant_values=True)
        return np.flatnonzero(np.tile(held.ravel(), self.planes))

    def inputs(self, seen: list[Float[Array, "... channels"]]) -> Float[Array, "blocks vectors rows"]:
        """What the rows of each block get, from what each position of the kernel sees."""
        rows, expected = self.effective.shape[-2], self.plan.groups * self.plan.inputs
        given = sum(view.shape[-1] for view in seen)
        if given != expected:
            raise ValueError(f"tiles of a kernel of {expected} inputs got {given} for each output.")
        seen = [view.reshape(-1, view.shape[-1]) for view in seen]
        if self.plan.bias:
            # The row of the bias is driven as by a spike.
            seen[-1] = jnp.pad(seen[-1], ((0, 0), (0, 1)), constant_values=1)
        groups = [[view] for view in seen] if len(seen) == self.plan.groups else [seen]
        return jnp.stack([block for group in groups for block in _rows_of(group, rows)])

    def outputs(
        self, total: Float[Array, "vectors currents"], inputs: Float[Array, "blocks vectors rows"]
    ) -> Float[Array, "vectors outputs"]:
        """The outputs from what the currents of all blocks are worth together."""
        total = self._joined(total)
        if self.correction is not None:
            total = total - jnp.einsum("bvr,brw->vw", inputs, self.correction[..., : self.plan.outputs])
        return silent(total, self.dead)

    def weights(self) -> Float[Array, "*kernel"]:
        """The kernel that these tiles realise; of nonlinear cells, the linearised one."""
        matrix = jax.vmap(self._joined)(self.effective * self.worth[:, None])
        if self.correction is not None:
            matrix = matrix - self.correction[..., : self.plan.outputs]
        return silent(self.plan.kernel_of(matrix.reshape(self.plan.groups, -1, self.plan.outputs)), self.dead)

    def _joined(self, total: Float[Array, "vectors currents"]) -> Float[Array, "vectors outputs"]:
        """Sums over planes, without a reference and without columns that hold no weight."""
        total = total.reshape(len(total), self.planes, -1).sum(axis=1)
        if self.reference:
            total = total.reshape(len(total), -1, self.width)
            total = (total[..., :-1] - total[..., -1:]).reshape(len(total), -1)
        return total[:, : self.plan.outputs]


def _blocked(tiles: Float[Array, "planes groups down across rows columns"]) -> Float[Array, "..."]:
    planes, groups, down, across, rows, columns = tiles.shape
    return tiles.transpose(1, 2, 4, 0, 3, 5).reshape(groups * down, rows, planes * across * columns)


def _rows_of(views: list[Float[Array, "vectors _"]], rows: int) -> list[Float[Array, "vectors rows"]]:
    """What views see, one after another, in blocks of `rows`; zeros fill the last.

    Each is put together from its own pieces: cut from all views side by side, they are copied twice.
    """
    blocks: list[list[Array]] = []
    room = 0
    for view in views:
        at = 0
        while at < view.shape[-1]:
            if room == 0:
                blocks, room = [*blocks, []], rows
            blocks[-1].append(view[:, at : at + room])
            taken = blocks[-1][-1].shape[-1]
            at, room = at + taken, room - taken
    if room:
        blocks[-1].append(jnp.zeros((len(views[0]), room), views[0].dtype))
    return [jnp.concatenate(pieces, axis=-1) for pieces in blocks]
