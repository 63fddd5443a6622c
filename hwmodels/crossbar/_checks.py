"""Checks of numbers that may be known now or only when a traced program runs."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hwmodels.checks import is_traced

Scalar = float | int | Float[Array | np.ndarray, ""]


def is_concrete(*values: Any) -> bool:
    """Whether every value is a number that Python can look at now."""
    return all(
        isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not is_traced(value)
        for value in values
    )


def require(condition: Callable[..., Any], message: str, *values: Any) -> None:
    """Raises `ValueError` if all values are concrete and the condition does not hold for them.

    Braces in `message` are filled with the values.
    """
    if is_concrete(*values) and not np.all(condition(*map(np.asarray, values))):
        raise ValueError(message.format(*values))


def require_traced(array: Array, condition: Callable[..., Any], message: str, *values: Any) -> Array:
    """`array`, or a run-time error if some value is traced and the condition does not hold.

    Concrete values are left to [`require`][], which has seen them when the object was made.
    """
    if is_concrete(*values):
        return array
    holds = jnp.all(condition(*(jnp.asarray(value, dtype=array.dtype) for value in values)))
    return eqx.error_if(array, ~holds, message)
