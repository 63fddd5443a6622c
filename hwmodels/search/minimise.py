"""The search itself: descend from many places, polish the best, and measure the winner exactly."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.checks import require_key
from hwmodels.ranges import require_integer
from hwmodels.search.constraints import Constraint
from hwmodels.search.enumeration import enumerate_designs, values_of
from hwmodels.search.ledger import Ledger, Numbers
from hwmodels.search.parameters import Enumerated, Integer, Number, Parameter
from hwmodels.search.polish import polish
from hwmodels.search.problem import Problem, descend


class InfeasibleError(ValueError):
    """No design that was met keeps all constraints."""


@dataclass(frozen=True)
class Optimum:
    """The best legal design that a search found.

    - `design`: what `build` made of the values; `values`: by name, Python numbers.
    - `objective`, `constrained`: measured on that design, without tracing; the latter by constraint.
    - `evaluations`: designs measured, of which `gradients` with their gradient.
    - `trace`: the best objective of a legal design after each evaluation; infinite before the first.
    """

    design: Any
    values: dict[str, Any]
    objective: float
    constrained: dict[str, float]
    evaluations: int
    gradients: int
    trace: np.ndarray

    def evaluations_to(self, target: float) -> int | None:
        """Evaluations until the objective was at most `target`; None if it never was."""
        reached = np.flatnonzero(self.trace <= target)
        return int(reached[0]) + 1 if reached.size else None


def minimise(
    objective: Callable[[Any], Any],
    build: Callable[..., Any],
    parameters: Sequence[Parameter | Enumerated],
    *,
    key: PRNGKeyArray,
    constraints: Sequence[Constraint] = (),
    start: Mapping[str, Any] | None = None,
    restarts: int = 128,
    steps: int = 30,
    polished: int = 32,
    optimizer: optax.GradientTransformation | None = None,
    max_evaluations: int | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> Optimum:
    r"""Finds the legal design with the least objective.

    $\min_v f(\text{build}(v))$ over values $v$ in their ranges, with $l_i \le q_i(\text{build}(v)) \le u_i$.
    First `restarts` paths of `steps` projected gradient steps through rounded designs, all in one compiled
    program that stops at the first NaN or infinity (see `problem.py`); then the best designs of the best
    paths are moved to better neighbours until there are none (see `polish.py`); then the winner is measured
    anew on Python numbers, without tracing.

    A space of whole numbers and choices that has no more designs than descent would measure, and than a
    thousand, is gone through instead (see `enumeration.py`), unless an `optimizer` is given.

    An evaluation is one design measured. A gradient step counts as one for each restart, though its backward
    pass costs time of its own; designs that descent meets twice count twice. The winner,
    measured anew, does not count again.

    **Arguments:**

    - `objective`: one number from a design. Where it cannot be traced along a parameter, make that parameter
      an [`Enumerated`][] one.
    - `build`: makes a design from the parameters' values as keywords; JAX numbers during the search, Python
      numbers at the end. Compilation is shared by calls with the same functions, parameters and settings.
    - `parameters`: see [`Real`][], [`Integer`][], [`Choice`][], [`Enumerated`][].
    - `key`: of the places where descent starts (a Latin hypercube).
    - `constraints`: see [`Constraint`][].
    - `start`: a design that one of the restarts begins with, of every combination of enumerated values;
      parameters left out start in the middle.
    - `restarts`, `steps`: of descent. `polished`: paths whose best design is polished; 0 for no polish.
    - `optimizer`: of optax; default Adam whose rate falls from 0.15 of each range to zero.
    - `max_evaluations`: no more than these are spent (for each combination of enumerated values); descent is
      cut to as many whole steps as fit.
    - `progress`: called as `progress(evaluations, best)` as they become known, `best` the least objective of
      a legal design so far, infinite before the first.

    **Returns:** an [`Optimum`][].

    **Raises:** `ValueError` for settings below their least, names used twice, and a start that is no
    parameter's value; [`InfeasibleError`][], which says what the nearest design misses and by how much;
    [`DivergedError`][] for a NaN or an infinity, with the design where it arose.
    """
    require_key(key)
    _check(parameters, constraints, start, restarts, steps, polished, max_evaluations)
    enumerated = [p for p in parameters if isinstance(p, Enumerated)]
    sloped = tuple(p for p in parameters if not isinstance(p, Enumerated))
    limit = math.inf if max_evaluations is None else max_evaluations
    steps = steps if max_evaluations is None else min(steps, max_evaluations // restarts)
    found: list[tuple[Problem, Numbers, list[float]]] = []
    ledgers = []
    trace: list[float] = []
    for index, combination in enumerate(product(*(p.values for p in enumerated))):
        fixed = tuple(zip((p.name for p in enumerated), combination, strict=True))
        problem = Problem(objective, build, sloped, tuple(constraints), fixed)
        ledger = Ledger(problem, limit, chunk=restarts, told=_teller(progress, trace))
        small = values_of(sloped, restarts * steps) if optimizer is None and sloped else None
        if small is not None:
            enumerate_designs(ledger, small)
        else:
            places = _places(sloped, restarts, start or {}, jax.random.fold_in(key, index))
            _explore(ledger, places, steps, polished, optimizer or _default_optimizer(steps))
        exact = _best_exactly(ledger)
        found += [(problem, *exact)] if exact else []
        trace += ledger.objectives
        ledgers.append(ledger)
    if not found:
        raise InfeasibleError(_explain(ledgers))
    problem, numbers, measures = min(found, key=lambda item: item[2][0])
    return Optimum(
        design=problem.build(**problem.values(numbers)),
        values={p.name: problem.values(numbers)[p.name] for p in parameters},
        objective=measures[0],
        constrained={c.name: value for c, value in zip(constraints, measures[1:], strict=True)},
        evaluations=len(trace),
        gradients=sum(ledger.gradients for ledger in ledgers),
        trace=np.minimum.accumulate(trace),
    )


def _teller(
    progress: Callable[[int, float], None] | None, before: Sequence[float]
) -> Callable[[Sequence[float]], None]:
    """Adds to what a ledger knows what those before it did."""
    if progress is None:
        return lambda objectives: None
    count, best = len(before), min(before, default=math.inf)
    return lambda objectives: progress(count + len(objectives), min(best, min(objectives, default=math.inf)))


def _explore(
    ledger: Ledger, places: Array, steps: int, polished: int, optimizer: optax.GradientTransformation
) -> None:
    parameters = ledger.problem.parameters
    if not parameters:
        ledger.evaluate([()])
        return
    if steps:
        paths = ledger.enter_descent(descend(ledger.problem, places, steps=steps, optimizer=optimizer))
    else:
        values = [[p.at(u) for p, u in zip(parameters, place, strict=True)] for place in places]
        paths = [[ledger.legal([float(value) for value in row])] for row in values]
        ledger.evaluate(design for path in paths for design in path)
    best = {min(path, key=ledger.rank) for path in paths}
    polish(ledger, sorted(best, key=ledger.rank)[:polished])


def _places(
    parameters: Sequence[Parameter], restarts: int, start: Mapping[str, Number], key: PRNGKeyArray
) -> Float[Array, "restarts parameters"]:
    """A Latin hypercube: each parameter's range is visited evenly, in an order of its own."""
    order, jitter = jax.random.split(key)
    strata = jax.vmap(lambda k: jax.random.permutation(k, restarts))(jax.random.split(order, len(parameters)))
    places = jax.random.uniform(jitter, (restarts, len(parameters)), jnp.result_type(float))
    places = (strata.T.astype(places.dtype) + places) / restarts
    if start:
        first = [p.position(start[p.name]) if p.name in start else 0.5 for p in parameters]
        places = places.at[0].set(jnp.asarray(first, places.dtype))
    return places


@lru_cache(maxsize=16)
def _default_optimizer(steps: int) -> optax.GradientTransformation:
    """One object for each number of steps, so that searches share their compiled program."""
    return optax.adam(optax.cosine_decay_schedule(0.15, steps or 1), b1=0.7, b2=0.9)


def _best_exactly(ledger: Ledger) -> tuple[Numbers, list[float]] | None:
    """The best design that keeps its constraints on Python numbers too."""
    for numbers in sorted(ledger.ranks, key=ledger.rank):
        if ledger.rank(numbers)[0]:
            return None
        measures = ledger.enter_exactly(numbers)
        if not ledger.rank(numbers)[0]:
            return numbers, measures
    return None


def _explain(ledgers: Sequence[Ledger]) -> str:
    ledger = min(ledgers, key=lambda ledger: min(ledger.ranks.values()))
    nearest = min(ledger.ranks, key=ledger.rank)
    measures = ledger.problem.exactly(nearest)
    pairs = zip(ledger.problem.constraints, measures[1:], strict=True)
    complaints = [text for constraint, value in pairs if (text := constraint.complaint(value))]
    design = ", ".join(f"{name} = {value}" for name, value in ledger.problem.values(nearest).items())
    met = sum(len(ledger.objectives) for ledger in ledgers)
    return (
        f"no design of {met} keeps all constraints. The nearest is {design}: {'; '.join(complaints)}. "
        "Loosen that bound or widen the ranges."
    )


def _check(
    parameters: Sequence[Parameter | Enumerated],
    constraints: Sequence[Constraint],
    start: Mapping[str, Any] | None,
    restarts: int,
    steps: int,
    polished: int,
    max_evaluations: int | None,
) -> None:
    names = [parameter.name for parameter in parameters]
    for what, given in (("parameter", names), ("constraint", [c.name for c in constraints])):
        repeated = sorted({name for name in given if given.count(name) > 1})
        if repeated:
            raise ValueError(
                f"{what} names must differ, got {', '.join(map(repr, repeated))} more than once."
            )
    if not parameters:
        raise ValueError("a search needs at least one parameter, got none.")
    unknown = sorted(set(start or {}) - set(names))
    if unknown:
        raise ValueError(f"start sets {unknown[0]!r}, which is no parameter; there are {', '.join(names)}.")
    for parameter in parameters:
        if parameter.name not in (start or {}):
            continue
        value = (start or {})[parameter.name]
        if isinstance(parameter, Enumerated):
            possible, allowed = value in parameter.values, f"one of {', '.join(map(repr, parameter.values))}"
        else:
            possible = isinstance(value, int | float | np.number) and math.isfinite(value)
            allowed = "a finite number"
        if not possible:
            raise ValueError(f"start sets {parameter.name!r} to {value!r}; it must be {allowed}.")
    for name, value, least in (("restarts", restarts, 1), ("steps", steps, 0), ("polished", polished, 0)):
        require_integer(name, value, least)
    require_integer("max_evaluations", max_evaluations, 1, or_none="no limit")
    # Up to here every whole number is one of its own in the floats that designs are measured in.
    most = 2 ** (jnp.finfo(jnp.result_type(float)).nmant + 1)
    for parameter in parameters:
        if isinstance(parameter, Integer) and max(abs(parameter.low), abs(parameter.high)) > most:
            warnings.warn(
                f"parameter {parameter.name!r}: whole numbers beyond {most} cannot all be told apart in "
                "float32, so the best may be missed by a few; search in a greater unit, or set "
                "jax.config.update('jax_enable_x64', True).",
                stacklevel=3,
            )
