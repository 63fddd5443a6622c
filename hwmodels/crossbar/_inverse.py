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
    if n <= _SMALL:
        return _by_pivots(matrix)
    # Blocks on the diagonal, one after the other: what is beyond n is an identity of its own.
    padded = n + -n % _SMALL
    start = matrix
    if padded > n:
        start = jnp.pad(matrix, ((0, 0),) * (matrix.ndim - 2) + ((0, padded - n),) * 2)
        start = start + jnp.diag(jnp.arange(padded) >= n).astype(matrix.dtype)
    return _gauss_jordan(start, _SMALL, _by_pivots, jnp.matmul)[..., :n, :n]


@inverse.defjvp
@with_exact_products
def _derivative(primals, tangents):
    found, (change,) = inverse(*primals), tangents
    return found, -(found @ (change @ found))


def _by_pivots(matrix):
    return _gauss_jordan(matrix, 1, jnp.reciprocal, jnp.multiply)


def _gauss_jordan(matrix, size, invert, product):
    """Gauss-Jordan elimination, the pivots blocks of `size`."""
    n = matrix.shape[-1]

    def eliminate(index, state):
        inside = jnp.arange(n) // size == index
        rows, columns = (jax.lax.dynamic_slice_in_dim(state, index * size, size, axis) for axis in (-2, -1))
        pivot = invert(jax.lax.dynamic_slice_in_dim(rows, index * size, size, axis=-1))
        unit = jnp.arange(n) % size == jnp.arange(size)[:, None]
        rows = product(pivot, jnp.where(inside, unit.astype(state.dtype), rows))
        columns = jnp.where(inside[:, None], -unit.T.astype(state.dtype), columns)
        rest = jnp.where(inside | inside[:, None], 0, state)
        return rest - product(columns, rows)

    return jax.lax.fori_loop(0, n // size, eliminate, matrix)
