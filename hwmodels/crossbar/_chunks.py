"""Many tiles, a few at a time."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# What one chunk of conductances takes: on a processor, a few tiles whose fields stay in its cache.
_CHUNK_BYTES = {"cpu": 2**16, "gpu": 2**26}


def in_chunks(function: Callable[..., Any], tiles: Any, zero_filled: Any = ()) -> Any:
    """`function` of tiles, in chunks that stay in the cache of a processor or fill an accelerator.

    **Arguments:**

    - `function`: of arrays whose first axis is that of a chunk's tiles, as is that of its results.
    - `tiles`: the arrays of all tiles, conductances (tiles, rows, columns) first.
    - `zero_filled`: more arrays for it, of which nothing is to be seen in the copies of the last tile that
      fill up the last chunk.
    """
    G, *_ = jax.tree.leaves(tiles)
    count = len(G)
    if count == 0:
        one = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), (*tiles, *zero_filled)
        )
        return jax.tree.map(
            lambda leaf: jnp.zeros((0, *leaf.shape[1:]), leaf.dtype), jax.eval_shape(function, *one)
        )
    held = _CHUNK_BYTES.get(jax.default_backend(), _CHUNK_BYTES["gpu"])
    chunks = math.ceil(count / max(1, held // (G[0].size * G.dtype.itemsize)))
    if chunks == 1:
        return function(*tiles, *zero_filled)
    each = math.ceil(count / chunks)
    # With copies of the last tile, so that filling up changes no decision that is made for a whole chunk.
    more = chunks * each - count

    def cut(leaf, **mode):
        padded = jnp.pad(leaf, ((0, more), *((0, 0),) * (leaf.ndim - 1)), **mode) if more else leaf
        return padded.reshape(chunks, each, *leaf.shape[1:])

    parts = *jax.tree.map(lambda leaf: cut(leaf, mode="edge"), tiles), *jax.tree.map(cut, zero_filled)
    found = jax.lax.map(lambda parts: function(*parts), parts)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], found)
