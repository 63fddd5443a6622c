"""Kernels written to tiles, and the circuits of the tiles solved."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.checks import at_edge, error_if
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar.cells import Cell
from hwmodels.crossbar.circuit import Wires, effective_conductance
from hwmodels.crossbar.encoding import Encoded, encode, silent
from hwmodels.crossbar.linearised import linearised
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.workload import Scalar

Solve = Callable[[Array, Wires], Array]
"""Conductances of tiles (tiles, rows, columns) and their wires to what inputs see of them, in siemens."""

# Of (planes, groups, down, across, rows, columns).
_SUMMED: dict[str, tuple[int, ...]] = {"kernel": (0, 1, 2, 3, 4, 5), "tile": (-2, -1), "column": (-2,)}


class ProgrammedKernel(eqx.Module):
    """One kernel on its tiles.

    **Arguments:**

    - `conductances`: what the cells hold, siemens, shape (planes, groups, down, across, rows, columns).
    - `effective`: the same tiles as their inputs see them, siemens; of nonlinear cells, linearised.
    - `gain`: the digital gain of every column's current; it has one row.
    - `encoded`: what was meant.
    - `weights`: the kernel that the tiles realise.
    - `wires`: of the tiles.
    - `bias`: what the row of the bias realises; None without one.
    - `cell`, `read_voltage_v`: of nonlinear cells that are solved for each input; None for all others.
    """

    conductances: Float[Array, "planes groups down across rows columns"]
    effective: Float[Array, "planes groups down across rows columns"]
    gain: Float[Array, "planes groups down across 1 columns"]
    encoded: Encoded
    weights: Float[Array, "*kernel"]
    wires: Wires
    bias: Float[Array, " outputs"] | None = None
    cell: Cell | None = None
    read_voltage_v: Scalar | None = None

    @property
    def targets(self) -> Float[Array, "planes groups down across rows columns"]:
        """What was meant, siemens; zero where a tile is unused."""
        return self.encoded.targets

    @property
    def used(self) -> Float[Array, "groups down across rows columns"]:
        """1 where a cell is in use, else 0."""
        return self.encoded.used


def program(
    kernel: Float[Array, "*kernel"], crossbar: Crossbar, key: PRNGKeyArray, *, groups: int = 1
) -> ProgrammedKernel:
    """Puts one kernel on tiles and solves their circuits.

    **Arguments:**

    - `kernel`: shape (in, out) or (kernel height, kernel width, in, out), float32 or float64.
    - `crossbar`: the design.
    - `key`: of everything that is drawn at programming.
    - `groups`: of a grouped convolution, whose kernel has shape (height, width, in/groups, out). It takes
      height·width·in rows, as the block-diagonal matrix that it is; a depthwise one has groups = in.

    **Returns:** a [`ProgrammedKernel`][].

    **Raises:** an error, also under `jit`, for weights that are NaN, infinite or too large for the dtype;
    `ValueError` for groups that do not divide the outputs.
    """
    return program_all([jnp.asarray(kernel)], crossbar, [key], groups=[groups])[0]


@with_exact_products
def program_all(
    kernels: Sequence[Float[Array, "..."]],
    crossbar: Crossbar,
    keys: Sequence[PRNGKeyArray],
    *,
    groups: Sequence[int] | None = None,
    biases: Sequence[Float[Array, " _"] | None] | None = None,
    solve: Solve = effective_conductance,
) -> list[ProgrammedKernel]:
    """Puts kernels of one dtype on tiles, each from its own key; one batch solves all their circuits.

    `biases` are those that get a row of their kernel's tiles; None for one without.

    **Raises:** `ValueError` for a `solve` of one's own on tiles that are read before they settle.
    """
    if crossbar.settling is not None:
        if solve is not effective_conductance:
            raise ValueError(
                "Crossbar.settling solves the circuits at the time of the read: leave out `solve`, or make "
                "settling None."
            )
        solve = partial(_settled, settling=crossbar.settling)
    groups = (1,) * len(kernels) if groups is None else tuple(groups)
    biases = [None] * len(kernels) if biases is None else list(biases)
    # Not one program: outside of `jit` the circuits are those of known tiles, designs that differ in anything
    # but the size of their tiles share what solves them, and those that differ in gains what writes them.
    as_written = dataclasses.replace(crossbar, calibration="none")
    tiles, written = _written(list(kernels), as_written, list(keys), groups, biases)
    return _read_all(written, solve(tiles, crossbar.wires), crossbar)


@at_edge
def _settled(G, wires, settling):
    return settling(G, wires)


@partial(at_edge, static_argnames=("groups",), rarely=True)
@with_exact_products
def _written(kernels, crossbar, keys, groups, biases):
    """The tiles of all kernels as a solver takes them, and what is on those of each kernel."""
    written = [
        _write(kernel, crossbar, key, parts, bias)
        for kernel, key, parts, bias in zip(kernels, keys, groups, biases, strict=True)
    ]
    tiles = [held.reshape(-1, crossbar.rows, crossbar.columns) for held, _ in written]
    return linearised(jnp.concatenate(tiles), crossbar), written


@partial(at_edge, rarely=True)
def _read_all(written, effective, crossbar):
    cuts = np.cumsum([math.prod(held.shape[:-2]) for held, _ in written])[:-1]
    return [
        _read(held, encoded, found.reshape(held.shape), crossbar)
        for (held, encoded), found in zip(written, jnp.split(effective, cuts), strict=True)
    ]


def _write(kernel, crossbar, key, groups, bias):
    encoded = encode(kernel, crossbar, groups, bias)
    # What a siemens is worth grows with the greatest weight, and past the dtype's range it is infinite.
    sound = jnp.all(jnp.isfinite(kernel)) & jnp.all(jnp.isfinite(encoded.coefficients))
    if bias is not None:
        sound = sound & jnp.all(jnp.isfinite(bias))
    # Cells outside the kernel are deselected, whatever their fault.
    held = crossbar.device.program(encoded.targets, key) * encoded.used
    return error_if(
        held,
        ~sound,
        "crossbar: a kernel to be programmed holds a weight that is NaN or infinite, or so large that its "
        "scale overflows the dtype; such weights come from training that diverged.",
    ), encoded


@with_exact_products
def _read(conductances, encoded, effective, crossbar):
    if crossbar.calibration == "none":
        gain = jnp.ones_like(effective[..., :1, :])
    else:
        axes = _SUMMED[crossbar.calibration]
        total = effective.sum(axes, keepdims=True)
        gain = encoded.targets.sum(axes, keepdims=True) / jnp.where(total > 0, total, 1)
        gain = jnp.broadcast_to(gain, effective[..., :1, :].shape)
    weights = encoded.without_reference(jnp.tensordot(encoded.coefficients, effective * gain, 1))
    if encoded.correction is not None:
        weights = weights - encoded.correction
    bias = silent(encoded.plan.bias_of(weights), encoded.dead) if encoded.plan.bias else None
    weights = silent(encoded.plan.join(weights), encoded.dead)
    exact = (crossbar.cell, crossbar.read_voltage_v) if crossbar.reads_exactly else (None, None)
    return ProgrammedKernel(conductances, effective, gain, encoded, weights, crossbar.wires, bias, *exact)
