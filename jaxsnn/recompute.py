"""Trading arithmetic for memory: a function whose intermediate results are not kept for the backward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function and gradient; only its arguments are kept, and the rest is computed again.

    As [`jax.checkpoint`][], which XLA undoes on a CPU: it drops the barriers between the two computations and
    then merges them as equal. Here the second one, and its whole backward pass, stand in a branch that the
    incoming gradient takes.

    **Arguments:** `function`: of pytrees of arrays; what it closes over is not differentiated. Reverse mode
    only.
    """

    def run(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        returned = []

        def of_leaves(*leaves):
            out, out_structure = jax.tree.flatten(function(*jax.tree.unflatten(structure, leaves)))
            returned.append(out_structure)
            return out

        out = _recomputed(of_leaves)(*leaves)
        return jax.tree.unflatten(returned[0], out)

    return run


def _recomputed(function: Callable[..., list[jax.Array]]) -> Callable[..., list[jax.Array]]:
    """Of arrays, to arrays."""

    @jax.custom_vjp
    def run(*arrays):
        return function(*arrays)

    def forward(*arrays):
        return function(*arrays), tuple(map(jnp.asarray, arrays))

    def backward(arrays, cotangents):
        smooth = [index for index, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.inexact)]

        def gradient(values):
            def of_smooth(values):
                new = dict(zip(smooth, values, strict=True))
                return function(*(new.get(index, array) for index, array in enumerate(arrays)))

            return jax.vjp(of_smooth, values)[1](cotangents)[0]

        def never(values):
            return [jnp.zeros_like(value) for value in values]

        found = jax.lax.cond(_true(cotangents), gradient, never, [arrays[index] for index in smooth])
        new = dict(zip(smooth, found, strict=True))
        return tuple(
            new.get(index, np.zeros(array.shape, jax.dtypes.float0)) for index, array in enumerate(arrays)
        )

    run.defvjp(forward, backward)
    return run


def _true(arrays: Sequence[jax.Array]) -> jax.Array:
    """True, which a compiler cannot know before it has the first of these numbers."""
    first = next(array for array in arrays if array.dtype != jax.dtypes.float0)
    return (first[(0,) * first.ndim].astype(jnp.int32) | 1) != 0
