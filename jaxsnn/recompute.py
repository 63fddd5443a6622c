"""Trading arithmetic for memory: a function whose intermediate results are not kept for the backward pass."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def recomputed(function: Callable[..., Any], spikes: Sequence[Any] = ()) -> Callable[..., Any]:
    """The same function and gradient; only its arguments are kept, and the rest is computed again.

    As [`jax.checkpoint`][], which XLA undoes on a CPU: it drops the barriers between the two computations and
    then merges them as equal. Here the second one, and its whole backward pass, stand in a branch that the
    incoming gradient takes.

    **Arguments:** `function`: of pytrees of arrays; what it closes over is not differentiated. Reverse mode
    only. `spikes`: those of its arrays, the very same, that hold zeros and ones alone: they are kept in a
    bit each.
    """

    def run(*arguments):
        leaves, structure = jax.tree.flatten(arguments)
        given, places = _distinct(leaves)
        returned = []

        def of_arrays(*arrays):
            out, out_structure = jax.tree.flatten(
                function(*jax.tree.unflatten(structure, [arrays[place] for place in places]))
            )
            made, out_places = _distinct(out)
            returned.append((out_structure, out_places))
            return made

        small = [any(array is one for one in spikes) for array in given]
        made = _recomputed(of_arrays, small, jax.eval_shape(lambda *arrays: arrays, *given))(*given)
        out_structure, out_places = returned[0]
        return jax.tree.unflatten(out_structure, [made[place] for place in out_places])

    return run


def _distinct(leaves: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """The leaves, each once, and the place of every one among them: what is one array stays one."""
    distinct = {id(leaf): leaf for leaf in leaves}
    places = {identity: place for place, identity in enumerate(distinct)}
    return list(distinct.values()), [places[id(leaf)] for leaf in leaves]


def _recomputed(
    function: Callable[..., list[jax.Array]], small: Sequence[bool], like: Sequence[jax.ShapeDtypeStruct]
) -> Callable[..., list[jax.Array]]:
    """Of arrays `like` these, to arrays; those that are `small` are kept in a bit each."""
    smooth = [index for index, one in enumerate(like) if jnp.issubdtype(one.dtype, jnp.inexact)]

    @jax.custom_vjp
    def run(*arrays):
        return function(*arrays)

    def forward(*arrays):
        # Along one axis: others may be spread over devices.
        kept = [
            jnp.packbits(array != 0, axis=-1) if bits else jnp.asarray(array)
            for array, bits in zip(arrays, small, strict=True)
        ]
        # Of what is kept, or a compiler may make it as late as the backward pass and keep the floats.
        return function(*unpacked(kept)), kept

    def unpacked(kept):
        return [
            jnp.unpackbits(array, axis=-1, count=one.shape[-1]).astype(one.dtype) if bits else array
            for array, one, bits in zip(kept, like, small, strict=True)
        ]

    def backward(kept, cotangents):
        def gradient(kept):
            arrays = unpacked(kept)

            def of_smooth(values):
                new = dict(zip(smooth, values, strict=True))
                return function(*(new.get(index, array) for index, array in enumerate(arrays)))

            return jax.vjp(of_smooth, [arrays[index] for index in smooth])[1](cotangents)[0]

        def never(kept):
            return [jnp.zeros(like[index].shape, like[index].dtype) for index in smooth]

        found = jax.lax.cond(_true(cotangents), gradient, never, kept)
        new = dict(zip(smooth, found, strict=True))
        return tuple(new.get(index, np.zeros(one.shape, jax.dtypes.float0)) for index, one in enumerate(like))

    run.defvjp(forward, backward)
    return run


def _true(arrays: Sequence[jax.Array]) -> jax.Array:
    """True, which a compiler cannot know before it has the first of these numbers."""
    first = next(array for array in arrays if array.dtype != jax.dtypes.float0)
    return (first[(0,) * first.ndim].astype(jnp.int32) | 1) != 0
