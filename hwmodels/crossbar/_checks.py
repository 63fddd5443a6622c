"""Checks of numbers that may be known now or only when a traced program runs."""

import os
import sys
from collections.abc import Callable
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hwmodels.checks import error_if, is_traced

Scalar = float | int | np.number | Float[Array | np.ndarray, ""]


_NO_NUMBERS = (str, list, tuple, dict, complex)


def is_concrete(*values: Any) -> bool:
    """Whether every value is a number that Python can look at now."""
    return all(
        isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not is_traced(value)
        for value in values
    )


def require(condition: Callable[..., Any], message: str, *values: Any) -> None:
    """Raises `ValueError` for a value that is no number, or if known numbers do not meet the condition.

    Braces in `message` are filled with the values.
    """
    strange = any(isinstance(value, _NO_NUMBERS) or value is None for value in values)
    if strange or (is_concrete(*values) and not np.all(condition(*map(np.asarray, values)))):
        raise ValueError(message.format(*(repr(v) if isinstance(v, str) else v for v in values)))


def require_traced(array: Array, condition: Callable[..., Any], message: str, *values: Any) -> Array:
    """`array`, or a run-time error if some value is traced and the condition does not hold.

    Concrete values are left to [`require`][], which has seen them when the object was made.
    """
    if is_concrete(*values):
        return array
    holds = jnp.all(condition(*(jnp.asarray(value, dtype=array.dtype) for value in values)))
    return error_if(array, ~holds, message)


def require_integer(
    name: str, value: Any, least: int, greatest: int | None = None, *, or_none: str | None = None
) -> None:
    """Raises `ValueError` unless the value is an integer in range, or None where that means `or_none`."""
    if value is None and or_none is not None:
        return
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (greatest is not None and value > greatest):
        allowed = f"of at least {least}" if greatest is None else f"from {least} to {greatest}"
        otherwise = "" if or_none is None else f", or None for {or_none}"
        raise ValueError(f"{name} must be an integer {allowed}{otherwise}; got {value!r}.")


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
