"""Roundings whose derivative is that of the number before it was rounded (Bengio et al., arXiv:1308.3432)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def straight_through(
    value: Float[Array, "*shape"], relaxed: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`value` forward, the derivative of `relaxed` backward."""
    return value


@straight_through.defjvp
def _jvp(primals, tangents):
    return primals[0], tangents[1]


def rounded(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The nearest integer, ties to even."""
    return straight_through(jnp.round(x), x)
