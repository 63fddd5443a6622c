"""Nonlinear tiles solved by Newton's method, fields (rows, columns, vectors) of cells.

The voltages u and v at which cells are evaluated are unknown. Their currents i make voltages of the wires'
nodes, `V − Z_row·i` and `Z_column·i`, which miss u and v by r and s. A step solves

    (I + A·Z_row + C·Z_column)·δ = A·r − C·s,     A = ∂i/∂u,  C = −∂i/∂v

for the change δ of the currents by generalised conjugate residuals, the row wires and the column wires
eliminated one after the other as preconditioner: exact but for what both do to each other, so that a step
takes a few iterations. What is told is `i + δ` of the last step: it obeys the wires to all digits, since r
and s are found to more than a float's (float32).

On a steep law the voltages of a step overshoot and its currents do not. So each cell goes no further than
its current changes about as δ says. For two-terminal cells the solution is the minimum of the convex function
`½·iᵀ·Z·i + Σ∫v(i)·di − Vᵀ·i`, and whole vectors go less far until it falls; others until r and s do.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._lines import (
    Field,
    column_lift,
    column_miss,
    column_sum,
    lines,
    network_miss,
    row_drop,
    row_miss,
    two_sum,
)
from hwmodels.crossbar.cells import Cell, Slopes, TwoTerminal

_MOST_STEPS = 60
_MOST_ITERATIONS = 120
_MOST_TRIALS = 100
# Of its own current, by which a cell may always change, and how exactly its part of a step is found.
_SLACK = 0.1
_FINEST = 1e-4
# Steps smaller than this are not searched along: Newton's method has taken hold.
_NEAR = 1e-3
# Directions that a new one is made conjugate to.
_MEMORY = 30
# How exactly the linear system of the first steps is solved, and of later ones beside the step before: so a
# step gains more digits than the one before it.
_COARSEST = 1e-2
_FORCING = 1e-2
# Solutions of a linear system on top of one another, and how exact each of them is.
_MOST_REFINEMENTS = 20
_ROUGH = 1e-4


class _Precision(NamedTuple):
    """Of the last step, beside the greatest current.

    - `last`: what comes after so small a step is nothing.
    - `floor`: so small a step is rounding, if the one before was not much greater.
    - `finest`: how exactly a step's linear system is solved at most.
    """

    last: float
    floor: float
    finest: float


_PRECISIONS = {"float32": _Precision(3e-7, 3e-6, 1e-5), "float64": _Precision(1e-9, 1e-9, 1e-6)}


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


def _weight(above, below, *, transposed):
    """Residuals are measured in the power that they mean, so that cells of all conductances count alike."""
    mean = (above + below) / 2
    mean = jnp.maximum(mean, jnp.maximum(1e-6 * _greatest(mean), jnp.finfo(mean.dtype).tiny * 1e6))
    weight = mean if transposed else 1 / mean
    return weight / jnp.max(weight, axis=(0, 1))


def _scale(field):
    greatest = _greatest(field)
    return jnp.where(greatest > 0, greatest, 1)


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
    weight = _weight(above, below, transposed=transposed)
    # Scaled, or float32 would underflow.
    scale = _scale(source)

    def norm(field):
        return jnp.sqrt(_dot(weight, field**2))

    def preconditioned(residual):
        """x, and the matrix times it."""
        if transposed:
            half = residual - row_lines.potential(above * residual)
            x = half - column_lines.potential(below * half)
            return x, x + row_drop(above * x, resistances) + column_lift(below * x, resistances)
        half = residual - above * row_lines.potential(residual)
        x = half - below * column_lines.potential(half)
        return x, x + above * row_drop(x, resistances) + below * column_lift(x, resistances)

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


def refined_solve(
    above: Field,
    below: Field,
    resistances: Float[Array, "4"],
    source: Field,
    goal: float,
    *,
    transposed: bool,
) -> tuple[Field, Float[Array, " vectors"]]:
    """[`linear_solve`][], and again for what it missed, found to all digits.

    Steep cells on wires of much resistance cost float32 all digits but two or three of a solution, and of the
    residual that the iterations themselves tell.
    """
    weight, scale = _weight(above, below, transposed=transposed), _scale(source)
    source = source / scale
    size = _dot(weight, source**2)

    def unsolved(state):
        turn, _, _, _, left = state
        return (turn < _MOST_REFINEMENTS) & jnp.any(left > goal)

    def refine(state):
        turn, x, rest, missing, _ = state
        change, _ = linear_solve(above, below, resistances, missing, _ROUGH, transposed=transposed)
        x, more = two_sum(x, change)
        rest = rest + more
        missing = network_miss(source, (x, rest), (above, below), resistances, transposed=transposed)
        left = jnp.sqrt(_dot(weight, missing**2) / jnp.where(size > 0, size, 1))
        return turn + 1, x, rest, missing, left

    none = jnp.zeros_like(source)
    start = (0, none, none, source, jnp.full(source.shape[-1], jnp.inf, source.dtype))
    _, x, rest, _, left = jax.lax.while_loop(unsolved, refine, start)
    return scale * (x + rest), left


class _At(NamedTuple):
    """Cells at node voltages, and by how much the wires under their currents are above these.

    - `rise`: `V − Z_row·i − u`.
    - `lift`: `Z_column·i − v`.
    """

    above: Field
    below: Field
    found: Slopes
    rise: Field
    lift: Field


class _State(NamedTuple):
    """`current` has the last step in it, of which `error` is the size beside the greatest current.

    `rest` is what rounding took of it: where large currents cancel, their sum is made of that.
    `length` is how much of it was taken: a short one may be no descent, for want of a better linear solution.
    """

    step: Array
    at: _At
    current: Field
    rest: Field
    error: Float[Array, " vectors"]
    length: Float[Array, " vectors"]
    active: Bool[Array, " vectors"]


@with_exact_products
def solve(
    cell: Cell, G: Field, volts: Float[Array, "rows 1 vectors"], resistances: Float[Array, "4"]
) -> Solution:
    """The currents of all cells, for each vector."""
    precision = _PRECISIONS[G.dtype.name]
    vectors = G.shape[-1]

    def at(above, below):
        found = cell.slopes(G, above, below)
        rise = row_miss(volts, found.current, above, resistances)
        return _At(above, below, found, rise, column_miss(found.current, below, resistances))

    def unsolved(state):
        return (state.step < _MOST_STEPS) & jnp.any(state.active)

    def iterate(state):
        here, active = state.at, state.active
        found = here.found
        source = jnp.where(active, found.above * here.rise - found.below * here.lift, 0)
        goal = jnp.minimum(_FORCING * state.error, _COARSEST * state.length)
        goal = jnp.maximum(goal, precision.finest)
        change, left = linear_solve(found.above, found.below, resistances, source, goal)
        current, rest = two_sum(found.current, change)
        # A direction that is none must not be taken for a small step.
        far = _greatest(change) / jnp.maximum(_greatest(current), jnp.finfo(G.dtype).tiny)
        far = jnp.where(left <= 0.5, far, jnp.inf)
        last = (far <= precision.last) | ((far <= precision.floor) & (far > 0.3 * state.error))
        goes_on = active & ~last
        above = jnp.where(goes_on, here.rise - row_drop(change, resistances), 0)
        below = jnp.where(goes_on, here.lift + column_lift(change, resistances), 0)
        reached, length = _search(cell, at, here, (above, below), goes_on, far <= _NEAR)
        return _State(
            step=state.step + 1,
            at=reached,
            current=jnp.where(active, current, state.current),
            rest=jnp.where(active, rest, state.rest),
            error=jnp.where(active, far, state.error),
            length=length,
            active=goes_on,
        )

    zero = jnp.zeros_like(G)
    start = _State(
        step=jnp.asarray(0),
        at=_At(zero, zero, cell.slopes(G, zero, zero), zero + volts, zero),
        current=zero,
        rest=zero,
        error=jnp.full(vectors, jnp.inf, G.dtype),
        length=jnp.ones(vectors, G.dtype),
        active=jnp.ones(vectors, bool),
    )
    end = jax.lax.while_loop(unsolved, iterate, start)
    found = end.at.found
    sound = (found.above >= 0) & (found.below >= 0) & jnp.isfinite(end.current)
    converged = ~end.active & jnp.all(sound, axis=(0, 1))
    return Solution(end.current, column_sum(end.current, end.rest), end.error, converged)


def _search(cell, at, here, step, active, near):
    """How far to go along a step, per vector and per cell: where the cells then are.

    A cell goes no further than its current changes about as the step says; `near` vectors are not halved.
    """
    above, below = step
    # As the step's currents, without what rounding leaves of those that are small beside others.
    change = jnp.abs(here.found.above * above - here.found.below * below)
    convex = isinstance(cell, TwoTerminal)

    def size(there):
        return _dot(there.rise, there.rise) + _dot(there.lift, there.lift)

    def too_far(length, there):
        if convex:
            moved = there.found.current - here.found.current
            begin, end = (_dot(point.rise - point.lift, moved) for point in (here, there))
            return ~((begin >= 0) & (end >= -0.5 * begin))
        return ~(size(there) <= (1 - 1e-4 * length) * size(here))

    def searching(state):
        return (state[0] < _MOST_TRIALS) & jnp.any(state[-1])

    def search(state):
        trial, length, part, low, high, _, unsatisfied = state
        went = length * part
        there = at(here.above + went * above, here.below + went * below)
        jump, expected = jnp.abs(there.found.current - here.found.current), length * change
        beyond = ~(jump <= 1.5 * expected + _SLACK * jnp.abs(here.found.current))
        short = (jump < 0.5 * expected) & (part < 1)
        low, high = jnp.where(short, part, low), jnp.where(beyond, part, high)
        unsettled = (beyond | short) & (high - low > _FINEST * high)
        undecided = jnp.any(unsettled, axis=(0, 1))
        halved = ~undecided & ~near & too_far(length, there)
        part = jnp.where(halved, 1, jnp.where(unsettled & unsatisfied, (low + high) / 2, part))
        low, high = jnp.where(halved, 0, low), jnp.where(halved, 1, high)
        length = jnp.where(halved & unsatisfied, length / 2, length)
        return trial + 1, length, part, low, high, there, unsatisfied & (undecided | halved)

    ones = jnp.ones_like(above)
    start = (0, ones[0, 0], ones, 0 * ones, ones, here, active)
    _, length, *_, there, _ = jax.lax.while_loop(searching, search, start)
    return there, length
