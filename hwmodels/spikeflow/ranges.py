"""Ranges of parameters: errors that name the parameter, its value and its range, traced or not."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

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


def is_traced(value: Any) -> bool:
    """Whether a value is not known yet, so that its range cannot be looked at."""
    return isinstance(value, jax.core.Tracer)


def check(limits: Sequence[Limit]) -> None:
    """Raises for a known value out of its range, or that is no number; passes over traced ones.

    **Raises:** `ValueError`.
    """
    for limit in limits:
        value = limit.value
        if is_traced(value):
            continue
        number = isinstance(value, int | float | np.number | np.ndarray | jax.Array) and value is not True
        # A NaN fails the comparison, and so is named like any other value out of range.
        if not number or not np.all((limit.low <= np.asarray(value)) & (np.asarray(value) <= limit.high)):
            shown = repr(value) if isinstance(value, str) or value is None else str(value)
            raise ValueError(limit.error(f", got {shown}"))


def guard(tree: _Tree, limits: Sequence[Limit]) -> _Tree:
    """The tree, such that using it raises when a traced value is out of its range.

    An error raised at run time cannot print the value; it names the parameter and its range.

    **Arguments:** `tree`: what the checked values belong to. `limits`: known values are passed over.

    **Returns:** the tree, unchanged when no limit is on a traced value.
    """
    traced = [limit for limit in limits if is_traced(limit.value)]
    if not traced:
        return tree
    # Infinite bounds, and NaN, fail the comparison as they should.
    outside = [~((limit.low <= limit.value) & (limit.value <= limit.high)) for limit in traced]
    bad = jnp.stack([jnp.any(value) for value in outside])
    messages = [limit.error("") for limit in traced]
    arrays, rest = eqx.partition(tree, is_traced)
    arrays = eqx.branched_error_if(arrays, jnp.any(bad), jnp.argmax(bad), messages)
    return eqx.combine(arrays, rest)
