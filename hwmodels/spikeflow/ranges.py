"""Ranges of parameters: errors that name the parameter, its value and its range, traced or not."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from hwmodels import checks

_Tree = TypeVar("_Tree")


class Limit(NamedTuple):
    """A parameter and the closed range that it must lie in."""

    name: str
    value: Any
    low: int | float
    high: int | float

    def error(self, got: str) -> str:
        """What is wrong, for people."""
        return f"{self.name} must lie in [{self.low:g}, {self.high:g}]{got}."


def check(limits: Sequence[Limit]) -> None:
    """Raises for a known value out of its range, or that is no number; passes over traced ones.

    **Raises:** `ValueError`.
    """
    for limit in limits:
        value = limit.value
        if checks.is_traced(value):
            continue
        number = isinstance(value, int | float | np.number | np.ndarray | jax.Array) and value is not True
        number = number and np.asarray(value).dtype.kind in "iuf"
        # A NaN fails the comparison, and so is named like any other value out of range.
        if not number or not np.all((limit.low <= np.asarray(value)) & (np.asarray(value) <= limit.high)):
            shown = repr(value) if isinstance(value, str) or value is None else str(value)
            raise ValueError(limit.error(f", got {shown}"))


def guard(tree: _Tree, limits: Sequence[Limit]) -> _Tree:
    """The tree, such that using it raises when a traced value is out of its range.

    **Arguments:** `tree`: what the checked values belong to. `limits`: known values are passed over.

    **Returns:** the tree, unchanged when no limit is on a traced value.
    """
    return checks.guard(tree, [checks.Range(limit.error(""), *limit[1:]) for limit in limits])
