"""Every evaluation of a search, in order: what is known, what was counted, and what is best."""

import math
from collections.abc import Callable, Iterable, Sequence

import jax.numpy as jnp
import numpy as np

from hwmodels.search.parameters import Number
from hwmodels.search.problem import Descent, Problem, measure_all

Numbers = tuple[Number, ...]
Rank = tuple[bool, float]


# Rounding of a traced measure, in units of its precision: where a bound is missed by less, only the exact
# measure of the design decides.
_ROUNDING = 100


class DivergedError(ValueError):
    """The objective, a constraint or a gradient was NaN or infinite."""


class Ledger:
    """The designs that a search has paid for.

    One evaluation is one design's measures, with or without their gradient. A design that is met again during
    descent counts again; the polish asks only for designs that are not known.

    **Arguments:** `problem`; `limit`: evaluations that may be spent; `chunk`: designs of one compiled call;
    `told`: called with the objectives so far after each such call.
    """

    def __init__(
        self,
        problem: Problem,
        limit: int | float,
        chunk: int,
        told: Callable[[Sequence[float]], None] = lambda objectives: None,
    ):
        self.problem, self.limit, self.chunk, self.told = problem, limit, chunk, told
        self.ranks: dict[Numbers, Rank] = {}
        self.objectives: list[float] = []
        """Of every evaluation, infinite where a constraint is missed."""
        self.gradients = 0

    @property
    def left(self) -> int | float:
        """Evaluations that may still be spent."""
        return self.limit - len(self.objectives)

    def enter(self, numbers: Numbers, measures: Sequence[float], gradient: Sequence[float] = ()) -> None:
        """Writes one evaluation down.

        **Raises:** [`DivergedError`][] for a measure or derivative that is NaN or infinite.
        """
        self._require_finite(numbers, measures, gradient)
        slack = _ROUNDING * float(jnp.finfo(jnp.result_type(float)).eps)
        self.objectives.append(self._rank(numbers, measures, slack))
        self.gradients += bool(gradient)

    def enter_exactly(self, numbers: Numbers) -> list[float]:
        """Measures a known design anew on Python numbers, which is no further evaluation."""
        measures = self.problem.exactly(numbers)
        self._require_finite(numbers, measures, ())
        self.objectives[-1] = min(self.objectives[-1], self._rank(numbers, measures, 0.0))
        return measures

    def _rank(self, numbers: Numbers, measures: Sequence[float], slack: float) -> float:
        """Ranks a design; its objective, infinite where a constraint is missed."""
        excess = max(self.problem.excess(measures), default=0.0)
        missed = excess > slack
        self.ranks[numbers] = (missed, excess if missed else measures[0])
        return measures[0] if excess <= 0 else math.inf

    def enter_descent(self, descent: Descent) -> list[list[Numbers]]:
        """Writes a descent down; returns the designs of each restart."""
        *parts, taken = descent
        steps = [np.asarray(part[: int(taken)], np.float64) for part in parts]
        paths: list[list[Numbers]] = [[] for _ in range(steps[0].shape[1])]
        for row in zip(*steps, strict=True):
            for path, values, measures, gradient in zip(paths, *row, strict=True):
                numbers = self.legal(values.tolist())
                self.enter(numbers, measures.tolist(), gradient.tolist())
                path.append(numbers)
            self.told(self.objectives)
        return paths

    def evaluate(self, designs: Iterable[Numbers]) -> None:
        """Measures those designs that are not known, as far as the limit allows."""
        unknown = [design for design in dict.fromkeys(designs) if design not in self.ranks]
        unknown = unknown[: int(min(len(unknown), self.left))]
        for first in range(0, len(unknown), self.chunk):
            batch = unknown[first : first + self.chunk]
            padded = batch + batch[-1:] * (self.chunk - len(batch))
            measured = measure_all(self.problem, jnp.asarray(padded, jnp.result_type(float)))
            # The padding repeats a design that is paid for, and tells nothing new.
            for numbers, measures in zip(batch, np.asarray(measured, np.float64).tolist(), strict=False):
                self.enter(numbers, measures)
            self.told(self.objectives)

    def legal(self, values: Sequence[Number]) -> Numbers:
        """The nearest legal design."""
        return tuple(p.legal(value) for p, value in zip(self.problem.parameters, values, strict=True))

    def rank(self, numbers: Numbers) -> Rank:
        """Feasible designs by their objective, then the others by their worst violation, then the unknown."""
        return self.ranks.get(numbers, (True, math.inf))

    def _require_finite(self, numbers: Numbers, measures: Sequence[float], gradient: Sequence[float]) -> None:
        problem = self.problem
        names = ["the objective", *(constraint.name for constraint in problem.constraints)]
        slopes = [f"the slope along {parameter.name}" for parameter in problem.parameters]
        named = [*zip(names, measures, strict=True), *zip(slopes, gradient, strict=bool(gradient))]
        for name, value in named:
            if not math.isfinite(value):
                design = ", ".join(f"{key} = {number}" for key, number in problem.values(numbers).items())
                raise DivergedError(
                    f"the search diverged and was stopped after {len(self.objectives) + 1} evaluations: "
                    f"{name} is {value} at {design}; narrow the ranges to designs where it is finite."
                )
