"""Many tiles, a few at a time."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# What one chunk of conductances takes: on a processor, a few tiles whose fields stay in its cache.
_CHUNK_BYTES = {"cpu": 2**16, "gpu": 2**26}


def in_chunks(
    function: Callable[[Array], Array], G: Float[Array, "tiles rows columns"]
) -> Float[Array, "tiles rows columns"]:
    """`function` of tiles, in chunks that stay in the cache of a processor or fill an accelerator.

    Its derivatives are taken in the same chunks.
    """
    tiles = len(G)
    if tiles == 0:
        return G
    held = _CHUNK_BYTES.get(jax.default_backend(), _CHUNK_BYTES["gpu"])
    chunks = math.ceil(tiles / max(1, held // (G[0].size * G.dtype.itemsize)))
    if chunks == 1:
        return function(G)
    each = math.ceil(tiles / chunks)
    # With copies of the last tile, so that filling up changes no decision that is made for a whole chunk.
    more = chunks * each - tiles
    padded = jnp.pad(G, ((0, more), (0, 0), (0, 0)), mode="edge") if more else G
    found = jax.lax.map(function, padded.reshape(chunks, each, *G.shape[1:]))
    return found.reshape(padded.shape)[:tiles]
