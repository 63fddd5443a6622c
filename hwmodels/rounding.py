"""Rounding that is exact on numbers and differentiable on arrays.

Cost models count folds, tiles and words: their values must be integers, and yet a search by gradient needs
a slope. Their functions here have two faces. On Python and NumPy numbers they are exact host arithmetic (a
Python `int` comes back, of any size). On JAX arrays they are straight-through: the forward value is the
rounded one, the derivative is that of the expression before it was rounded (Bengio et al., arXiv:1308.3432).
Crossbars hold arrays only, of a dtype that must not change: for them there are [`straight_through`][] and
[`rounded`][].
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def as_scalar(value: Any) -> Any:
    """Brings a leaf to one of the two forms that cost models compute with.

    Python and NumPy numbers become Python numbers, which keep 64 bits whether or not JAX does. Anything
    else becomes a JAX array of JAX's default float type, so that leaves of unequal types mix under strict
    promotion.
    """
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, np.number | np.ndarray):
        return value.item() if value.ndim == 0 else jnp.asarray(value, dtype=jnp.result_type(float))
    return jnp.asarray(value, dtype=jnp.result_type(float))


def is_number(*values: Any) -> bool:
    """Whether every value is a Python number, so that exact host arithmetic applies."""
    return all(isinstance(value, int | float) for value in values)


@jax.custom_jvp
def straight_through(
    value: Float[Array, "*shape"], relaxed: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`value` forward, the derivative of `relaxed` backward; of one shape and dtype."""
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    # Called anew, lest a second derivative pass through `value`.
    return straight_through(*primals), tangents[1]


def rounded(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Nearest integer of an array, ties to even, in its own dtype; straight-through."""
    return straight_through(jnp.round(x), x)


@jax.custom_jvp
def _ceil_divide(a, b):
    # Between two integers the half keeps the quotient away from the jumps, whatever float type it is in.
    return jnp.ceil((jnp.ceil(a) - 0.5) / b)


_ceil_divide.defjvps(lambda t, out, a, b: t / b, lambda t, out, a, b: -t * a / (b * b))


def clipped(x: Any, low: Any, high: Any) -> Any:
    """`jnp.clip`, but the slope at the ends is that between them: the lowest and highest levels lie there."""
    if is_number(x, low, high):
        return min(max(x, low), high)
    return jnp.where(x < low, low, jnp.where(x > high, high, x))


def ceil(x: Any) -> Any:
    """Smallest integer not below `x`; straight-through on arrays."""
    x = as_scalar(x)
    return math.ceil(x) if is_number(x) else straight_through(jnp.ceil(x), x)


def floor(x: Any) -> Any:
    """Largest integer not above `x`; straight-through on arrays."""
    x = as_scalar(x)
    return math.floor(x) if is_number(x) else straight_through(jnp.floor(x), x)


def round_half_even(x: Any) -> Any:
    """Nearest integer, ties to even as in Python and NumPy; straight-through on arrays."""
    x = as_scalar(x)
    return round(x) if is_number(x) else rounded(x)


def ceil_divide(a: Any, b: Any) -> Any:
    """`ceil(a / b)` of two whole numbers; on arrays its derivative is that of `a / b`.

    An `a` between two whole numbers is taken for the greater one, on numbers as on arrays.
    """
    a, b = as_scalar(a), as_scalar(b)
    if is_number(a, b):
        return math.ceil((math.ceil(a) - 0.5) / b) if isinstance(b, float) else -(-math.ceil(a) // b)
    dtype = jnp.result_type(float)
    return _ceil_divide(jnp.asarray(a, dtype), jnp.asarray(b, dtype))


def minimum(a: Any, b: Any) -> Any:
    """The smaller of two scalars, exact on numbers."""
    a, b = as_scalar(a), as_scalar(b)
    return min(a, b) if is_number(a, b) else jnp.minimum(a, b)


def maximum(a: Any, b: Any) -> Any:
    """The larger of two scalars, exact on numbers."""
    a, b = as_scalar(a), as_scalar(b)
    return max(a, b) if is_number(a, b) else jnp.maximum(a, b)


def largest(x: Float[Array, "..."]) -> Float[Array, ""]:
    """The greatest element of a computed array; its derivative is that of the first one so great.

    `jnp.max` looks for the elements equal to it once more in the backward pass. Where a compiler has computed
    the array anew and rounded it otherwise, there is none, and the derivative 0/0.
    """
    x = x.reshape(-1)
    return x[jnp.argmax(jax.lax.stop_gradient(x))]
