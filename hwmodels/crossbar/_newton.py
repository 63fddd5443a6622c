"""Nonlinear tiles solved by Newton's method, fields (rows, columns, vectors) of the cells' currents.

The currents j are unknown: the wires make node voltages of them, `u = V − Z_row·j` and `v = Z_column·j`, and
the residual is what the cells carry at these voltages less j. A step solves

    (I + A·Z_row + C·Z_column)·δ = i(u, v) − j,     A = ∂i/∂u,  C = −∂i/∂v

by generalised conjugate residuals, the row wires and the column wires eliminated one after the other as
preconditioner: exact but for what both do to each other, so that a step takes a few iterations.

For two-terminal cells the solution is the minimum of the convex function `½·jᵀ·Z·j + Σ∫i(V − Z·j)`, whose
derivative along a step costs one evaluation of the law: a step ends where it vanishes if it would go too far.
Other cells take the longest of the steps 1, ½, ¼ … that reduces the residual. The start is a linear tile,
its cells so stiff that no law is far from a line there: steep laws do not overflow.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._lines import Field, column_lift, lines, row_drop
from hwmodels.crossbar.cells import Cell, Slopes, TwoTerminal

_MOST_STEPS = 60
_MOST_ITERATIONS = 120
_MOST_HALVINGS = 60
# Directions that a new one is made conjugate to.
_MEMORY = 30
# Of a step's linear system: Newton's method gains two digits in each step at the end.
_FORCING = 1e-2
# The start has cells whose law is not further from a line than this; each trial is ten times as stiff.
_MILD = 30.0
_MOST_TRIALS = 10
_STIFFER = 10.0


class _Precision(NamedTuple):
    """Of the last step, beside the greatest current.

    - `last`: what comes after so small a step is nothing.
    - `floor`: so small a step is rounding, if the one before was not much greater.
    - `start`: of the linear system of a stiff start, whose voltages must be small against the sources'.
    """

    last: float
    floor: float
    start: float


_PRECISIONS = {"float32": _Precision(3e-7, 2e-5, 1e-5), "float64": _Precision(1e-9, 1e-9, 1e-9)}


class Solution(NamedTuple):
    """Currents of the cells and their sums into the sense resistors; per vector, the last step.

    The step is told beside the greatest current of a cell.
    """

    current: Field
    sensed: Float[Array, "columns vectors"]
    error: Float[Array, " vectors"]
    converged: Bool[Array, " vectors"]


def _greatest(field):
    return jnp.max(jnp.abs(field), axis=(0, 1))


def _dot(one, other):
    return jnp.sum(one * other, axis=(0, 1))


@with_exact_products
def linear_solve(
    above: Field,
    below: Field,
    resistances: Float[Array, "4"],
    source: Field,
    goal: float | Float[Array, " vectors"],
    *,
    transposed: bool = False,
) -> tuple[Field, Float[Array, " vectors"]]:
    """Solves `(I + A·Z_row + C·Z_column)·x = source`, or with the transposed matrix.

    **Returns:** x, and per vector the residual beside the source; they end below `goal` if it can be reached.
    """
    driver, row, column, sense = resistances
    row_lines = lines(above, driver, row, rows=True)
    column_lines = lines(below, sense, column, rows=False)
    # Residuals are measured in the power that they mean, so that cells of all conductances count alike.
    mean = (above + below) / 2
    mean = jnp.maximum(mean, jnp.maximum(1e-6 * _greatest(mean), jnp.finfo(source.dtype).tiny * 1e6))
    weight = mean if transposed else 1 / mean
    # Scaled, or float32 would underflow.
    scale = _greatest(source)
    scale = jnp.where(scale > 0, scale, 1)
    weight = weight / jnp.max(weight, axis=(0, 1))

    def norm(field):
        return jnp.sqrt(jnp.sum(weight * field**2, axis=(0, 1)))

    def preconditioned(residual):
        """x, and the matrix times it."""
        if transposed:
            half = residual - row_lines.potential(above * residual)
            x = half - column_lines.potential(below * half)
            return x, half + row_drop(above * x, resistances)
        half = residual - above * row_lines.potential(residual)
        x = half - below * column_lines.potential(half)
        return x, half + above * row_drop(x, resistances)

    start_residual = source / scale
    size = norm(start_residual)

    def unsolved(state):
        step, _, residual, *_ = state
        return (step < _MOST_ITERATIONS) & jnp.any(norm(residual) > goal * size)

    def iterate(state):
        step, x, residual, directions, images = state

        def orthogonalise(index, pair):
            direction, image = pair
            part = _dot(images[index], weight * image)
            return direction - part * directions[index], image - part * images[index]

        pair = preconditioned(residual)
        direction, image = jax.lax.fori_loop(0, jnp.minimum(step, _MEMORY), orthogonalise, pair)
        length = norm(image)
        inverse = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0)
        direction, image = direction * inverse, image * inverse
        along = _dot(image, weight * residual)
        place = step % _MEMORY
        return (
            step + 1,
            x + along * direction,
            residual - along * image,
            directions.at[place].set(direction),
            images.at[place].set(image),
        )

    none = jnp.zeros((_MEMORY, *source.shape), source.dtype)
    start = (0, jnp.zeros_like(source), start_residual, none, none)
    _, x, residual, *_ = jax.lax.while_loop(unsolved, iterate, start)
    return scale * x, norm(residual) / jnp.where(size > 0, size, 1)


class _State(NamedTuple):
    """`feet` are the voltages at the ends of the column wires, of which `found` knows as the cells do."""

    step: Array
    current: Field
    found: Slopes
    feet: Float[Array, "columns vectors"]
    sensed: Float[Array, "columns vectors"]
    error: Float[Array, " vectors"]
    stiffness: Float[Array, " vectors"]
    starting: Bool[Array, " vectors"]
    active: Bool[Array, " vectors"]


@with_exact_products
def solve(
    cell: Cell, G: Field, volts: Float[Array, "rows 1 vectors"], resistances: Float[Array, "4"]
) -> Solution:
    """The currents of all cells, for each vector."""
    precision = _PRECISIONS[G.dtype.name]
    zero = jnp.zeros_like(G)
    ohmic = cell.slopes(G, zero, zero)
    vectors = G.shape[-1]

    sense = resistances[3]

    def at(current):
        below = column_lift(current, resistances)
        return cell.slopes(G, volts - row_drop(current, resistances), below), below[-1]

    def unsolved(state):
        return (state.step < _MOST_STEPS) & jnp.any(state.active)

    def iterate(state):
        starting, stiffness = state.starting, state.stiffness
        above = jnp.where(starting, stiffness * ohmic.above, state.found.above)
        below = jnp.where(starting, stiffness * ohmic.below, state.found.below)
        base = jnp.where(starting, 0, state.current)
        residual = jnp.where(starting, above * volts, state.found.current - state.current)
        residual = jnp.where(state.active, residual, 0)
        goal = jnp.where(starting & (stiffness > 1), precision.start, _FORCING)
        change, left = linear_solve(above, below, resistances, residual, goal)
        # A direction that is none must not be taken for a small step.
        usable = left <= 0.5
        far = _greatest(change) / jnp.maximum(_greatest(base + change), jnp.finfo(G.dtype).tiny)
        far = jnp.where(usable & ~starting, far, jnp.inf)
        last = (far <= precision.last) | ((far <= precision.floor) & (far > 0.3 * state.error))
        # As the cells have seen them: what rounding takes where large currents cancel is in the step.
        seen = jnp.where(sense > 0, state.feet / jnp.where(sense > 0, sense, 1), jnp.sum(base, axis=0))
        sensed = jnp.where(state.active, seen + jnp.sum(change, axis=0), state.sensed)
        length, found, feet = _search(
            cell, at, base, change, residual, resistances, state.active & ~starting & ~last
        )
        current = base + length * change
        mild = _MILD * jnp.abs(current) / stiffness + 1e-3 * _greatest(current)
        rough = jnp.any(~(jnp.abs(found.current) <= mild) | ~jnp.isfinite(found.above), axis=(0, 1))
        rough = starting & rough & (state.step < _MOST_TRIALS)
        return _State(
            step=state.step + 1,
            current=current,
            found=found,
            feet=feet,
            sensed=sensed,
            error=jnp.where(state.active, far, state.error),
            stiffness=jnp.where(rough, _STIFFER * stiffness, stiffness),
            starting=rough,
            active=state.active & ~last,
        )

    ones = jnp.ones(vectors, G.dtype)
    every = jnp.ones(vectors, bool)
    start = _State(
        step=jnp.asarray(0),
        current=zero,
        found=Slopes(zero, zero, zero),
        feet=zero[0],
        sensed=zero[0],
        error=jnp.inf * ones,
        stiffness=ones,
        starting=every,
        active=every,
    )
    end = jax.lax.while_loop(unsolved, iterate, start)
    sound = (end.found.above >= 0) & (end.found.below >= 0) & jnp.isfinite(end.found.current)
    return Solution(end.current, end.sensed, end.error, ~end.active & jnp.all(sound, axis=(0, 1)))


def _search(cell, at, current, change, residual, resistances, active):
    """How far to go along a step, per vector, the cells there, and the voltages of the columns' ends."""
    convex = isinstance(cell, TwoTerminal)
    # What the step does to the voltages across the cells, where the function's derivative is a sum over them.
    test = row_drop(change, resistances) + column_lift(change, resistances) if convex else None
    begin = _dot(residual, residual) if test is None else -_dot(test, residual)

    def judged(length, found):
        """Whether this is far enough, and whether it is too far."""
        rest = current + length * change - found.current
        if test is None:
            left = _dot(rest, rest)
            return left <= (1 - 1e-4 * length) * begin, jnp.ones_like(length, bool)
        slope = _dot(test, rest)
        good = jnp.isfinite(slope) & (jnp.abs(slope) <= 0.5 * jnp.abs(begin))
        return good, ~(slope <= 0)

    def searching(state):
        trial, *_, unsatisfied = state
        return (trial < _MOST_HALVINGS) & jnp.any(unsatisfied)

    def search(state):
        trial, length, low, high, found, _, unsatisfied = state
        _, beyond = judged(length, found)
        high = jnp.where(beyond, length, high)
        low = jnp.where(beyond, low, length)
        middle = jnp.where(jnp.isinf(high), 2 * length, (low + high) / 2)
        length = jnp.where(unsatisfied, middle, length)
        found, feet = at(current + length * change)
        return trial + 1, length, low, high, found, feet, unsatisfied & ~judged(length, found)[0]

    ones = jnp.ones(current.shape[-1], current.dtype)
    found, feet = at(current + change)
    start = (0, ones, 0 * ones, jnp.inf * ones, found, feet, active & ~judged(ones, found)[0])
    _, length, _, _, found, feet, _ = jax.lax.while_loop(searching, search, start)
    return length, found, feet
