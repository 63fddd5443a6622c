"""Arrays of a pytree by name, and the hash that they are known by."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def named(tree: Any) -> dict[str, np.ndarray]:
    """Each leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    # NumPy arrays: Orbax refuses one process's JAX arrays when there are several.
    return {jax.tree_util.keystr(path): np.asarray(_plain(leaf)) for path, leaf in leaves}


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a key of JAX, or an array of them."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    """Keys, such as those of `nnx.Dropout`, as the numbers they are."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def digest_of(arrays: Mapping[str, np.ndarray]) -> str:
    """[`digest`][] of what [`named`][] gives."""
    sha = hashlib.sha256()
    for name, array in arrays.items():
        sha.update(f"{name} {array.dtype} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def digest(tree: Any) -> str:
    """SHA-256 of every leaf's path, dtype, shape and bytes."""
    return digest_of(named(tree))
