"""Currents of tiles whose cells are no resistors: the whole network solved, and differentiated."""

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hwmodels.checks import is_traced
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._linear_map import linear_map
from hwmodels.crossbar._lines import column_lift, row_drop
from hwmodels.crossbar._newton import linear_solve, refined_solve, solve
from hwmodels.crossbar.cells import Cell, as_cell, check_law
from hwmodels.crossbar.circuit import Wires, checked, effective_conductance

# One field of a chunk stays in a core's cache.
_CHUNK_BYTES = {"cpu": 2**16, "gpu": 2**24}
# Of the linear system of derivatives.
_DERIVED = {"float32": 1e-6, "float64": 1e-11}


def sense_currents(
    G: Float[Array, "*batch rows columns"],
    V: Float[Array, "*inputs rows"],
    wires: Wires | None = None,
    cell: Any = None,
) -> Float[Array, "*outputs columns"]:
    """The currents into the sense resistors of tiles whose rows are driven by V, cells of any law.

    The full network is solved: `I_j = Σ_i i(G_ij, u_ij, v_ij)` with the voltages u and v that the wires have
    under these currents. Gradients to G, V, the four resistances and every parameter of the law come from one
    solution of the adjoint network (implicit function theorem).

        sense_currents(G, V, Wires(), cell=Sinh(v0=0.25))

    **Arguments:**

    - `G`: conductances in siemens, zero (open) or more, shape (..., rows, columns), float32 or float64.
    - `V`: row voltages of either sign in volt, shape (..., rows); leading axes broadcast with those of `G`.
    - `wires`: the parasitic resistances; default [`Wires`][]`()`.
    - `cell`: a law of [`hwmodels.crossbar.cells`][] or a function `(G, v) -> current`; None is linear.

    **Returns:** currents in ampere, shape (..., columns), of the dtype of `G`.

    **Raises:** as [`effective_conductance`][]; `ValueError` for voltages or parameters of a wrong shape, for
    voltages that are not finite, and for a law that falls; `RuntimeError` with the residual if Newton's
    method does not converge, nor in float64 where float32 did not. Where values are traced, float64 is not
    tried, and what is out of range or does not converge gives NaN instead.
    """
    given = G
    G, resistances = checked(G, wires)
    V = jnp.asarray(V)
    if V.shape[-1:] != G.shape[-2:-1]:
        raise ValueError(
            f"V holds one voltage for each row, shape (..., {G.shape[-2]}) for these tiles; got {V.shape}."
        )
    if jnp.issubdtype(V.dtype, jnp.complexfloating):
        raise ValueError(f"V holds voltages, which are real numbers, got {V.dtype}.")
    V = V.astype(G.dtype)
    if not is_traced(V) and not np.all(np.isfinite(V)):
        raise ValueError("V holds a voltage that is NaN or infinite; voltages are finite, in volt.")
    try:
        batch = jnp.broadcast_shapes(G.shape[:-2], V.shape[:-1])
    except ValueError:
        raise ValueError(
            f"the batch axes of G, {G.shape[:-2]}, and of V, {V.shape[:-1]}, do not broadcast; give either "
            "axes of length one."
        ) from None
    if cell is None:
        return jnp.einsum("...ij,...i->...j", effective_conductance(given, wires), V)
    cell = as_cell(cell)
    if not is_traced(V) and V.size:
        check_law(cell, G, jnp.max(jnp.abs(V)))
    G = jnp.broadcast_to(G, (*batch, *G.shape[-2:]))
    V = jnp.broadcast_to(V, (*batch, V.shape[-1]))
    return solved(cell, G, V, resistances)[1]


def solved(
    cell: Cell,
    G: Float[Array, "*batch rows columns"],
    V: Float[Array, "*batch rows"],
    resistances: Float[Array, "4"],
) -> tuple[Float[Array, "*batch rows columns"], Float[Array, "*batch columns"]]:
    """The currents of all cells and those into the sense resistors, of checked circuits."""
    *batch, rows, columns = G.shape
    cell = jax.tree.map(functools.partial(_parameter, shape=G.shape, dtype=G.dtype), cell)
    if not math.prod(batch):
        return jnp.zeros(G.shape, G.dtype), jnp.zeros((*batch, columns), G.dtype)
    current, sensed = _currents(cell, G.reshape(-1, rows, columns), V.reshape(-1, rows), resistances)
    return current.reshape(G.shape), sensed.reshape(*batch, columns)


def _parameter(leaf, shape, dtype):
    """A parameter as a scalar, or as one for each cell of each tile."""
    leaf = jnp.asarray(leaf).astype(dtype)
    if not leaf.ndim:
        return leaf
    try:
        return jnp.broadcast_to(leaf, shape).reshape(-1, *shape[-2:])
    except ValueError:
        raise ValueError(
            f"a parameter of a cell is one number or an array that broadcasts to the devices, {shape}; got "
            f"shape {leaf.shape}."
        ) from None


@jax.custom_jvp
def _currents(cell, G, V, resistances):
    current, sensed, error, converged = _solve(cell, G, V, resistances)
    if is_traced(converged) or bool(jnp.all(converged)):
        return current, sensed
    if G.dtype == jnp.float32:
        # A float's steps may wander where the wires take most of the voltage from a steep law.
        with jax.enable_x64(True):
            double = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (cell, G, V, resistances))
            return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), _currents(*double))
    worst = int(jnp.argmax(jnp.where(converged, -1, jnp.nan_to_num(error, nan=jnp.inf))))
    raise RuntimeError(
        f"crossbar: the currents of tile {worst} did not converge: the residual is {float(error[worst]):.2g} "
        "of the greatest current (the last of Newton's steps; inf if its linear system was not solved); the "
        "law may fall there, or be too steep for these voltages."
    )


@_currents.defjvp
def _tangent(circuit, tangents):
    current, sensed = _currents(*circuit)
    moved = linear_map(_along, _adjoint, (*circuit, current), tangents, current)
    # What is sensed is the sum of the cells.
    return (current, sensed), (moved, moved.sum(-2))


def _as_fields(tree):
    """Vectors last, where vector units reach; scalars as they are."""
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1) if leaf.ndim == 3 else leaf, tree)


def _in_chunks(function, cell, *batched):
    """`function(cell, ...)` of fields, a few vectors at a time; what it returns has the vectors first."""
    scalars, arrays = eqx.partition(cell, lambda leaf: leaf.ndim == 0)
    vectors = len(batched[0])
    held = _CHUNK_BYTES.get(jax.default_backend(), _CHUNK_BYTES["gpu"])
    most = max(1, held // (batched[0][0].size * batched[0].dtype.itemsize))
    chunks = math.ceil(vectors / most)
    each = math.ceil(vectors / chunks)

    def chunk(parts):
        arrays, *rest = parts
        return function(eqx.combine(scalars, _as_fields(arrays)), *rest)

    if chunks == 1:
        return chunk((arrays, *batched))
    # Filled up with copies of the last vector, which cost no iteration more.
    fill = chunks * each - vectors

    def cut(leaf):
        padded = jnp.pad(leaf, ((0, fill), *((0, 0),) * (leaf.ndim - 1)), mode="edge")
        return padded.reshape(chunks, each, *leaf.shape[1:])

    found = jax.lax.map(chunk, jax.tree.map(cut, (arrays, *batched)))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:vectors], found)


@eqx.filter_jit
def _solve(cell, G, V, resistances):
    """Currents of all cells, (vectors, rows, columns), and their sums; NaN where they did not converge."""

    def chunk(cell, G, V):
        found = solve(cell, _as_fields(G), V.T[:, None, :], resistances)
        converged = found.converged & cell.in_range()
        current = jnp.moveaxis(jnp.where(converged, found.current, jnp.nan), -1, 0)
        return current, jnp.where(converged, found.sensed, jnp.nan).T, found.error, converged

    return _in_chunks(chunk, cell, G, V)


def _law_at(current):
    """What the law carries where the wires have the voltages of these currents: a function of the circuit."""

    def carried(cell, G, volts, resistances):
        above = volts - row_drop(current, resistances)
        return cell.between(G, above, column_lift(current, resistances))

    return carried


def _implicit(circuit, current, source, *, transposed):
    """The solution of `(I + A·Z_row + C·Z_column)·x = source`, or of the transpose; NaN if none was found."""
    cell, G, volts, resistances = circuit
    found = cell.slopes(G, volts - row_drop(current, resistances), column_lift(current, resistances))
    goal = _DERIVED[G.dtype.name]
    solve = refined_solve if G.dtype == jnp.float32 else linear_solve
    field, left = solve(found.above, found.below, resistances, source, goal, transposed=transposed)
    return jnp.where(left <= 100 * goal, field, jnp.nan)


@jax.jit
@with_exact_products
def _along(given, tangents):
    """How the currents change: that of the law at fixed currents, through the network."""
    cell, G, V, resistances, current = given
    of_cell, of_G, of_V, of_resistances = tangents

    def chunk(cells, G, V, current, of_G, of_V):
        (cell, of_cell), (G, current, of_G) = cells, _as_fields((G, current, of_G))
        circuit = cell, G, V.T[:, None, :], resistances
        changes = of_cell, of_G, of_V.T[:, None, :], of_resistances
        _, source = jax.jvp(_law_at(current), circuit, changes)
        return jnp.moveaxis(_implicit(circuit, current, source, transposed=False), -1, 0)

    return _in_chunks(chunk, (cell, of_cell), G, V, current, of_G, of_V)


@jax.jit
@with_exact_products
def _adjoint(given, cotangent):
    """Cotangents by λ, `(I + A·Z_row + C·Z_column)ᵀ·λ = ∂/∂j`: that of the law at fixed currents."""
    cell, G, V, resistances, current = given

    def chunk(cell, G, V, current, cotangent):
        G, current, source = _as_fields((G, current, cotangent))
        circuit = cell, G, V.T[:, None, :], resistances
        field = _implicit(circuit, current, source, transposed=True)
        of_cell, of_G, of_volts, of_resistances = jax.vjp(_law_at(current), *circuit)[1](field)
        vectors = len(V)
        # Scalars of the cell and the resistances are summed over the chunks, each with an axis of vectors.
        of_cell = jax.tree.map(
            lambda leaf: jnp.moveaxis(leaf, -1, 0) if leaf.ndim == 3 else _first(leaf, vectors), of_cell
        )
        return of_cell, jnp.moveaxis(of_G, -1, 0), of_volts[:, 0].T, _first(of_resistances, vectors)

    of_cell, of_G, of_V, of_resistances = _in_chunks(chunk, cell, G, V, current, cotangent)
    of_cell = jax.tree.map(lambda leaf, like: leaf if like.ndim else jnp.sum(leaf, axis=0), of_cell, cell)
    return of_cell, of_G, of_V, jnp.sum(of_resistances, axis=0)


def _first(value, vectors):
    """The value beside zeros, one row for each vector."""
    return jnp.zeros((vectors, *value.shape), value.dtype).at[0].set(value)
