"""Inverses of small matrices, batched, by matrix products.

The networks' matrices need no pivoting (their symmetric part is positive definite), so an inverse is a few
products per level of a recursion over halves. LAPACK's batched factorisations are slower here, and two of
them at a time can block each other in XLA's CPU thread pool.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_SMALL = 8


def inverse(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """The inverse of matrices whose leading minors are all far from singular."""
    n = matrix.shape[-1]
    if n <= _SMALL:
        return _gauss_jordan(matrix)
    half = n // 2
    a, b = matrix[..., :half, :half], matrix[..., :half, half:]
    c, d = matrix[..., half:, :half], matrix[..., half:, half:]
    a = inverse(a)
    left, right = c @ a, a @ b
    d = inverse(d - left @ b)
    corner = right @ d
    return jnp.concatenate(
        [
            jnp.concatenate([a + corner @ left, -corner], axis=-1),
            jnp.concatenate([-d @ left, d], axis=-1),
        ],
        axis=-2,
    )


def _gauss_jordan(matrix):
    n = matrix.shape[-1]

    def eliminate(k, matrix):
        is_k = jnp.arange(n) == k
        pivot = 1 / matrix[..., k, k]
        row = jnp.where(is_k, pivot[..., None], matrix[..., k, :] * pivot[..., None])
        column = jnp.where(is_k, -1, matrix[..., :, k])
        rest = jnp.where(is_k | is_k[:, None], 0, matrix)
        return rest - column[..., :, None] * row[..., None, :]

    return jax.lax.fori_loop(0, n, eliminate, matrix)
