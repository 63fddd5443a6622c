"""Checks of numbers that may be known now or only when a traced program runs."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

_Tree = TypeVar("_Tree")


class Range(NamedTuple):
    """A number, the closed range that it must lie in, and what to say if it does not."""

    message: str
    value: Any
    low: int | float
    high: int | float


def is_traced(value: Any) -> bool:
    """Whether a value is not known yet, so that its range cannot be looked at."""
    return isinstance(value, jax.core.Tracer)


def guard(tree: _Tree, ranges: Sequence[Range]) -> _Tree:
    """The tree, such that using it raises when a traced value is out of its range.

    An error raised at run time cannot print the value; its message should name the parameter and the range.

    **Arguments:** `tree`: what the checked values belong to. `ranges`: known values are passed over.

    **Returns:** the tree, unchanged when no value is traced.

    **Raises:** `RuntimeError`, when run, with the message of the first value out of range; NaN is.
    """
    traced = [limit for limit in ranges if is_traced(limit.value)]
    if not traced:
        return tree
    # Infinite bounds, and NaN, fail the comparison as they should.
    outside = [~((limit.low <= limit.value) & (limit.value <= limit.high)) for limit in traced]
    bad = jnp.stack([jnp.any(value) for value in outside])
    arrays, rest = eqx.partition(tree, is_traced)
    messages = [limit.message for limit in traced]
    arrays = eqx.branched_error_if(arrays, jnp.any(bad), jnp.argmax(bad), messages)
    return eqx.combine(arrays, rest)
