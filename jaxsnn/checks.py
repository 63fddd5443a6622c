"""What options may be: counts, positive numbers, one of some words, keys."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, NumPy's too, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_count(value: Any, least: int = 1) -> bool:
    """Whether a value is an integer of at least `least`."""
    return is_whole(value) and int(value) >= least


def is_number(value: Any) -> bool:
    """Whether a value is one finite number, NumPy's and JAX's too, and no truth value."""
    if isinstance(value, bool | np.bool_ | str) or not hasattr(value, "__float__") or np.ndim(value):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number beyond all floats.
        return False


def is_positive(value: Any) -> bool:
    """Whether a value is a number above zero and finite."""
    return is_number(value) and bool(value > 0)


def is_fraction(value: Any) -> bool:
    """Whether a value is a number in [0, 1)."""
    return is_number(value) and bool(0 <= value < 1)


def require_count(name: str, value: Any, least: int = 1) -> None:
    """**Raises:** `ValueError` for what is no integer of at least `least`."""
    if not is_whole(value):
        raise ValueError(f"{name} must be a whole number, got {value!r}.")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}.")


def require_flag(name: str, value: Any) -> None:
    """**Raises:** `ValueError` for what is neither True nor False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def require_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """**Raises:** `ValueError` for what is none of the two or more choices."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, got {value!r}.")


def require_key(key: Any) -> None:
    """**Raises:** `ValueError` for what is no key of JAX, such as a seed."""
    if hasattr(key, "dtype") and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        return
    if getattr(key, "dtype", None) != jnp.uint32 or jnp.ndim(key) != 1:
        raise ValueError(f"key must be a key of JAX, such as jax.random.key(0), got {key!r}.")
