"""Nonlinear tiles solved by Newton's method, fields (rows, columns, vectors) of the cells' currents.

The currents j are unknown: the wires make node voltages of them, `u = V − Z_row·j` and `v = Z_column·j`, and
the residual is what the cells carry at these voltages less j. A step solves

    (I + A·Z_row + C·Z_column)·δ = i(u, v) − j,     A = ∂i/∂u,  C = −∂i/∂v

by generalised conjugate residuals, the row wires and the column wires eliminated one after the other as
preconditioner: exact but for what both do to each other, so that a step takes a few iterations.

For two-terminal cells the solution is the minimum of the convex function `½·jᵀ·Z·j + Σ∫i(V − Z·j)`, whose
derivative along a step costs one evaluation of the law: steps end where it vanishes if they would go too far.
Other cells take the longest of the steps 1, ½, ¼ … that reduces the residual. Either way Newton's method
converges from anywhere, since no Jacobian of a rising law is singular.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._lines import Field, column_lift, lines, row_drop
from hwmodels.crossbar.cells import Cell, Slopes, TwoTerminal

_MOST_STEPS = 100
_MOST_ITERATIONS = 300
_MOST_HALVINGS = 60
# Directions that a new one is made conjugate to.
_MEMORY = 8
# Of a step's linear system; Newton's method gains two digits in each step at the end.
_FORCING = 1e-2
# A step so small, beside the greatest current, is the last one.
_LAST_STEP = {"float32": 3e-6, "float64": 1e-9}
# The start has cells whose law is not further from a line than this.
_MILD = 30.0


class Solution(NamedTuple):
    """Currents of the cells, and per vector the last step (a bound of the error) beside the greatest one."""

    current: Field
    slopes: Slopes
    error: Float[Array, " vectors"]
    converged: Bool[Array, " vectors"]
    steps: Array


def _greatest(field):
    return jnp.max(jnp.abs(field), axis=(0, 1))


def _dot(one, other):
    return jnp.sum(one * other, axis=(0, 1))


@with_exact_products
def linear_solve(above: Field, below: Field, resistances: Array, source: Field, forcing: float, *, transposed=False):
    """Solves `(I + A·Z_row + C·Z_column)·x = source`, or with the transposed matrix.

    **Returns:** x, and per vector the residual beside the source (2-norms).
    """
    driver, row, column, sense = resistances
    row_lines = lines(above, driver, row, rows=True)
    column_lines = lines(below, sense, column, rows=False)

    def preconditioned(residual):
        """x, and the matrix times it."""
        if transposed:
            half = residual - row_lines.potential(above * residual)
            x = half - column_lines.potential(below * half)
            return x, half + row_drop(above * x, resistances)
        half = residual - above * row_lines.potential(residual)
        x = half - below * column_lines.potential(half)
        return x, half + above * row_drop(x, resistances)

    size = jnp.sqrt(_dot(source, source))
    goal = forcing * size

    def unsolved(state):
        step, _, residual, *_ = state
        return (step < _MOST_ITERATIONS) & jnp.any(jnp.sqrt(_dot(residual, residual)) > goal)

    def iterate(state):
        step, x, residual, directions, images = state
        direction, image = preconditioned(residual)
        parts = jnp.sum(images * image, axis=(1, 2), keepdims=True)
        image = image - jnp.sum(parts * images, axis=0)
        direction = direction - jnp.sum(parts * directions, axis=0)
        norm = jnp.sqrt(_dot(image, image))
        scale = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
        image, direction = image * scale, direction * scale
        along = _dot(image, residual)
        place = step % _MEMORY
        return (
            step + 1,
            x + along * direction,
            residual - along * image,
            directions.at[place].set(direction),
            images.at[place].set(image),
        )

    none = jnp.zeros((_MEMORY, *source.shape), source.dtype)
    start = (0, jnp.zeros_like(source), source, none, none)
    count, x, residual, *_ = jax.lax.while_loop(unsolved, iterate, start)
    return x, jnp.sqrt(_dot(residual, residual)) / jnp.where(size > 0, size, 1), count


@with_exact_products
def solve(cell: Cell, G: Field, volts: Float[Array, "rows 1 vectors"], resistances: Array) -> Solution:
    """The currents of all cells, for each vector."""

    def nodes(current):
        return volts - row_drop(current, resistances), column_lift(current, resistances)

    def at(current):
        return cell.slopes(G, *nodes(current))

    current, found = _start(at, cell.slopes(G, jnp.zeros_like(G), jnp.zeros_like(G)), volts, resistances)

    def unsolved(state):
        step, *_, active = state
        return (step < _MOST_STEPS) & jnp.any(active)

    def iterate(state):
        step, current, found, error, total, active = state
        residual = jnp.where(active, found.current - current, 0)
        change, _, count = linear_solve(found.above, found.below, resistances, residual, _FORCING)
        far = _greatest(change) / jnp.maximum(_greatest(current + change), jnp.finfo(G.dtype).tiny)
        length, next_found = _search(cell, at, current, change, residual, resistances, active)
        error = jnp.where(active, far, error)
        last = (length == 1) & (far <= _LAST_STEP[G.dtype.name])
        current = current + length * change
        return step + 1, current, next_found, error, total + count, active & ~last

    vectors = G.shape[-1]
    error = jnp.full(vectors, jnp.inf, G.dtype)
    # Without voltage there is nothing to solve.
    start = (0, current, found, error, 0, jnp.ones(vectors, bool))
    steps, current, found, error, total, active = jax.lax.while_loop(unsolved, iterate, start)
    rising = jnp.all((found.above >= 0) & (found.below >= 0) & jnp.isfinite(found.current), axis=(0, 1))
    return Solution(current, found, error, ~active & rising, (steps,total))


def _start(at, small_signal, volts, resistances):
    """The currents of linear cells, their conductance so great that the law is not far from a line there."""
    conductance = small_signal.above

    def rough(state):
        trial, _, _, _, rough = state
        return (trial < 12) & jnp.any(rough)

    def stiffen(state):
        trial, stiffness, current, found, rough = state
        above, below = stiffness * small_signal.above, stiffness * small_signal.below
        source = jnp.where(rough, above * volts, 0)
        next_current, *_ = linear_solve(above, below, resistances, source, _FORCING)
        current = jnp.where(rough, next_current, current)
        found = at(current)
        fits = jnp.abs(found.current) <= _MILD * jnp.abs(current) / stiffness + 1e-3 * _greatest(current)
        rough = ~jnp.all(fits & jnp.isfinite(found.above) & jnp.isfinite(found.below), axis=(0, 1))
        return trial + 1, jnp.where(rough, 10 * stiffness, stiffness), current, found, rough

    del conductance
    zero = jnp.zeros_like(small_signal.current)
    vectors = zero.shape[-1]
    ones = jnp.ones(vectors, zero.dtype)
    start = (0, ones, zero, Slopes(zero, zero, zero), jnp.ones(vectors, bool))
    _, _, current, found, _ = jax.lax.while_loop(rough, stiffen, start)
    return current, found


def _search(cell, at, current, change, residual, resistances, active):
    """How far to go along a step, per vector, and the cells there."""
    found = at(current + change)
    if isinstance(cell, TwoTerminal):
        direction = row_drop(change, resistances) + column_lift(change, resistances)
        begin = -_dot(direction, residual)

        def slope(length, found):
            return _dot(direction, current + length * change - found.current)

        def good(length, found):
            # Not too far: the function may still fall, but rises by little only.
            value = slope(length, found)
            return jnp.isfinite(value) & (jnp.abs(value) <= 0.5 * jnp.abs(begin)) | (begin >= 0)

        def too_far(length, found):
            value = slope(length, found)
            return ~jnp.isfinite(value) | (value > 0)
    else:
        begin = _dot(residual, residual)

        def good(length, found):
            rest = current + length * change - found.current
            return _dot(rest, rest) <= (1 - 1e-4 * length) * begin

        def too_far(length, found):
            return jnp.ones_like(length, bool)

    def searching(state):
        trial, *_, unsatisfied = state
        return (trial < _MOST_HALVINGS) & jnp.any(unsatisfied)

    def search(state):
        trial, length, low, high, found, unsatisfied = state
        beyond = too_far(length, found)
        high = jnp.where(beyond, length, high)
        low = jnp.where(beyond, low, length)
        middle = jnp.where(jnp.isinf(high), 2 * length, (low + high) / 2)
        length = jnp.where(unsatisfied, middle, length)
        found = at(current + length * change)
        return trial + 1, length, low, high, found, unsatisfied & ~good(length, found)

    ones = jnp.ones(current.shape[-1], current.dtype)
    start = (0, ones, 0 * ones, jnp.inf * ones, found, active & ~good(ones, found))
    _, length, _, _, found, _ = jax.lax.while_loop(searching, search, start)
    return length, found
