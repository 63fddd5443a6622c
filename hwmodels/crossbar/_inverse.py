"""Inverses of small matrices, batched, by matrix products.

The networks' matrices need no pivoting (diagonally dominant, or a product of two positive ones plus the
identity), so an inverse is a few products per level of a recursion over halves, on every
backend, without LAPACK.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

_SMALL = 16


def with_exact_products(function: Callable) -> Callable:
    """The function, its products of matrices in all bits: accelerators take fewer unless told not to.

    Its shapes broadcast whatever a user's `jax_numpy_rank_promotion` says.
    """

    @functools.wraps(function)
    def exact(*arguments, **settings):
        # Entered anew by each call: older JAX cannot nest one context in itself.
        with jax.default_matmul_precision("highest"), jax.numpy_rank_promotion("allow"):
            return function(*arguments, **settings)

    return exact


@jax.custom_vjp
def inverse(matrix: Inexact[Array, "*batch n n"]) -> Inexact[Array, "*batch n n"]:
    """The inverse of matrices, real or complex, whose leading minors are all far from singular."""
    return _inverse(matrix, None)


@jax.custom_vjp
def laplacian_inverse(
    matrix: Float[Array, "*batch n n"], excess: Float[Array, "*batch n"]
) -> Float[Array, "*batch n n"]:
    """The inverse of an M-matrix whose row sums `excess` are known to full precision.

    Off-diagonal elements are at most zero and row sums are positive. Every diagonal element that the
    elimination makes is put together again from them, as a sum of positive terms, so that nothing cancels
    even where the matrix is almost a Laplacian (Grassmann, Taksar & Heyman, Operations Research 33, 1985).
    `excess` is no variable of its own: all derivatives go to `matrix`.
    """
    return _inverse(matrix, excess)


def _forward(matrix, *excess):
    found = _inverse(matrix, *(excess or (None,)))
    return found, found


@with_exact_products
def _derivative(found, cotangent):
    transposed = jnp.swapaxes(found, -1, -2)
    return -(transposed @ (cotangent @ transposed))


inverse.defvjp(_forward, lambda found, cotangent: (_derivative(found, cotangent),))
laplacian_inverse.defvjp(
    _forward, lambda found, cotangent: (_derivative(found, cotangent), jnp.zeros_like(found[..., 0]))
)


def with_row_sums(
    matrix: Float[Array, "*batch n n"], sums: Float[Array, "*batch n"]
) -> Float[Array, "*batch n n"]:
    """The matrix with the diagonal that gives it these row sums."""
    eye = jnp.eye(matrix.shape[-1], dtype=bool)
    rest = jnp.where(eye, 0, matrix)
    return jnp.where(eye, (sums - rest.sum(-1))[..., None], rest)


@with_exact_products
def _inverse(matrix, excess):
    n = matrix.shape[-1]
    if n <= _SMALL:
        return _gauss_jordan(matrix)
    half = n // 2
    a, b = matrix[..., :half, :half], matrix[..., :half, half:]
    c, d = matrix[..., half:, :half], matrix[..., half:, half:]
    if excess is None:
        a = _inverse(a, None)
        left, right = c @ a, a @ b
        d = _inverse(d - left @ b, None)
    else:
        top, bottom = excess[..., :half], excess[..., half:]
        a = _inverse(a, top - b.sum(-1))
        left, right = c @ a, a @ b
        bottom = bottom - (left @ top[..., None])[..., 0]
        d = _inverse(with_row_sums(d - left @ b, bottom), bottom)
    corner = right @ d
    return jnp.concatenate(
        [
            jnp.concatenate([a + corner @ left, -corner], axis=-1),
            jnp.concatenate([-(d @ left), d], axis=-1),
        ],
        axis=-2,
    )


def _gauss_jordan(matrix):
    """Gauss-Jordan elimination, many matrices side by side along the last axis, where vector units reach."""
    n = matrix.shape[-1]
    index = jnp.arange(n)[:, None]

    def eliminate(k, state):
        is_k = index == k
        row = jax.lax.dynamic_index_in_dim(state, k, axis=0, keepdims=False)
        column = jax.lax.dynamic_index_in_dim(state, k, axis=1, keepdims=False)
        pivot = 1 / jax.lax.dynamic_index_in_dim(row, k, axis=0)
        row = jnp.where(is_k, pivot, row * pivot)
        column = jnp.where(is_k, -1, column)
        rest = jnp.where(is_k | is_k[:, None], 0, state)
        return rest - column[:, None] * row[None, :]

    state = matrix.reshape(-1, n, n).transpose(1, 2, 0)
    return jax.lax.fori_loop(0, n, eliminate, state).transpose(2, 0, 1).reshape(matrix.shape)
