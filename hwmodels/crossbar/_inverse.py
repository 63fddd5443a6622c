"""Inverses of small matrices, batched, by matrix products.

The networks' matrices need no pivoting (diagonally dominant, or a product of two positive ones plus the
identity), so an inverse is a loop over blocks of a few products each, on every backend, without LAPACK.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

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


@jax.custom_jvp
@jax.jit
@with_exact_products
def inverse(matrix: Inexact[Array, "*batch n n"]) -> Inexact[Array, "*batch n n"]:
    """The inverse of matrices, real or complex, whose leading minors are all far from singular."""
    n = matrix.shape[-1]
    size = min(_SMALL, n)
    if size == n:
        return _gauss_jordan(matrix)
    padded = n + -n % size
    # Blocks on the diagonal, one after the other: what is beyond n is an identity of its own.
    start = matrix
    if padded > n:
        start = jnp.pad(matrix, ((0, 0),) * (matrix.ndim - 2) + ((0, padded - n),) * 2)
        start = start + jnp.diag(jnp.arange(padded) >= n).astype(matrix.dtype)

    def eliminate(index, state):
        at = index * size
        inside = jnp.arange(padded) // size == index
        rows = jax.lax.dynamic_slice_in_dim(state, at, size, axis=-2)
        columns = jax.lax.dynamic_slice_in_dim(state, at, size, axis=-1)
        pivot = _gauss_jordan(jax.lax.dynamic_slice_in_dim(rows, at, size, axis=-1))
        rows = pivot @ jnp.where(inside, 0, rows)
        rows = jax.lax.dynamic_update_slice_in_dim(rows, pivot, at, axis=-1)
        columns = jnp.where(inside[:, None], 0, columns)
        rest = jnp.where(inside, 0, state) - columns @ rows
        return jax.lax.dynamic_update_slice_in_dim(rest, rows, at, axis=-2)

    return jax.lax.fori_loop(0, padded // size, eliminate, start)[..., :n, :n]


@inverse.defjvp
@with_exact_products
def _derivative(primals, tangents):
    found, (change,) = inverse(*primals), tangents
    return found, -(found @ (change @ found))


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
