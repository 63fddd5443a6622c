"""Whether a tile's circuit fits the memory there is."""

import os
import sys
from typing import Any

import jax
import jax.numpy as jnp


def require_memory(rows: int, columns: int, dtype: Any) -> None:
    """Raises `ValueError` if the solution of one tile of this size cannot fit the memory there is.

    It holds the tile and its answer, and two (columns, columns) matrices for each row.
    """
    needed = jnp.dtype(dtype).itemsize * 2 * rows * columns * (1 + columns)
    if needed > _memory_bytes():
        raise ValueError(
            f"a tile of {rows}×{columns} is larger than memory: its circuit takes at least "
            f"{needed / 2**30:.4g} GiB in {jnp.dtype(dtype).name}, and there are "
            f"{_memory_bytes() / 2**30:.4g} GiB; use smaller tiles, which are added digitally."
        )


def _memory_bytes() -> int:
    """Of the accelerator if it says how much it has, else of the machine."""
    device = jax.local_devices()[0].memory_stats() or {}
    # Where the system does not tell, as on Windows, the allocation itself has to fail.
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else sys.maxsize
    return device.get("bytes_limit") or host
