"""What numbers may be: in a range, whole, one of some words; known now or only when a traced program runs."""

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from hwmodels import checks
from hwmodels.checks import is_traced

_Tree = TypeVar("_Tree")

LARGEST = float(np.finfo(np.float64).max)
"""The upper end of a range that has none but infinity."""


def is_concrete(*values: Any) -> bool:
    """Whether every value is a number that Python can look at now."""
    return all(not is_traced(value) and _as_array(value) is not None for value in values)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, NumPy's too, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def require(condition: Callable[..., Any], message: str, *values: Any) -> None:
    """Raises `ValueError` for a value that is no number, or if known numbers do not meet the condition.

    Braces in `message` are filled with the values.
    """
    if not _meet(condition, *values):
        raise ValueError(message.format(*map(_shown, values)))


def require_traced(array: Array, condition: Callable[..., Any], message: str, *values: Any) -> Array:
    """`array`, or a run-time error if some value is traced and the condition does not hold.

    Concrete values are left to [`require`][], which has seen them when the object was made.
    """
    if is_concrete(*values):
        return array
    holds = jnp.all(condition(*(jnp.asarray(value, dtype=array.dtype) for value in values)))
    return checks.error_if(array, ~holds, message)


def require_integer(
    name: str, value: Any, least: int, greatest: int | None = None, *, or_none: str | None = None
) -> None:
    """Raises `ValueError` unless the value is an integer in range, or None where that means `or_none`."""
    if value is None and or_none is not None:
        return
    if not is_whole(value) or value < least or (greatest is not None and value > greatest):
        allowed = f"of at least {least}" if greatest is None else f"from {least} to {greatest}"
        otherwise = "" if or_none is None else f", or None for {or_none}"
        raise ValueError(f"{name} must be an integer {allowed}{otherwise}; got {value!r}.")


def require_word(name: str, word: Any, allowed: Sequence[Any]) -> None:
    """Raises `ValueError` unless the word is one of those allowed."""
    if word not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {word!r}.")


class Range(NamedTuple):
    """A number, the closed range that it must lie in, and what to say if it does not.

    **Arguments:**

    - `message`: a sentence that names the parameter and the range: all that can be said of a traced value.
    - `known`: the sentence for a known value, with `{}` in its place; by default `message, got {}.`
    - `one`: known values must be one number; others may be arrays, as of many machines for `jax.vmap`.
    """

    message: str
    value: Any
    low: int | float
    high: int | float
    known: str | None = None
    one: bool = False

    def holds(self, value: Any) -> Any:
        """Whether each of an array of values lies in it."""
        return (self.low <= value) & (value <= self.high) & (not self.one or value.ndim == 0)

    def error(self) -> str:
        """What is wrong with a known value."""
        shown = _shown(self.value)
        plain = f"{self.message.removesuffix('.')}, got {shown}."
        said = plain if self.known is None else self.known.format(shown)
        too_large = self.high == LARGEST and _meet(lambda value: value >= self.low, self.value)
        return f"{said.removesuffix('.')}; it must be finite." if too_large and "finite" not in said else said


def interval(name: str, value: Any, low: int | float, high: int | float) -> Range:
    """A range whose sentence is that the value must lie in it."""
    return Range(f"{name} must lie in [{low:g}, {high:g}].", value, low, high)


def fraction(name: str, value: Any, *, one: bool = False) -> Range:
    """The range of a fraction."""
    return Range(f"{name} is a fraction and must lie in [0, 1].", value, 0, 1, one=one)


def require_ranges(*ranges: Range) -> None:
    """Passes over traced values, which are left to [`guard`][].

    **Raises:** `ValueError` for the first known value that is out of its range, NaN included, or no number.
    """
    for limit in ranges:
        if not _meet(limit.holds, limit.value):
            raise ValueError(limit.error())


def guard(tree: _Tree, ranges: Iterable[Range]) -> _Tree:
    """The tree, such that using it raises when a traced value is out of its range.

    An error raised at run time cannot print the value; its message should name the parameter and the range.

    **Arguments:** `tree`: what the checked values belong to. `ranges`: known values are passed over, as
    [`require_ranges`][] has seen them.

    **Returns:** the tree, unchanged when no value is traced.

    **Raises:** `RuntimeError`, when run, with the message of the first value out of range; NaN is.
    """
    traced = [limit for limit in ranges if is_traced(limit.value)]
    if not traced:
        return tree
    # Infinite bounds, and NaN, fail the comparison as they should.
    outside = [~((limit.low <= limit.value) & (limit.value <= limit.high)) for limit in traced]
    return checks.first_error_if(tree, outside, [limit.message for limit in traced])


def _meet(condition: Callable[..., Any], *values: Any) -> bool:
    """Whether known values are numbers that meet the condition; one that is traced leaves it open."""
    known = [_as_array(value) for value in values if not is_traced(value)]
    if any(array is None for array in known):
        return False
    return len(known) < len(values) or bool(np.all(condition(*known)))


def _as_array(value: Any) -> np.ndarray | None:
    """None for what is no number."""
    if not isinstance(value, int | float | np.number | np.bool_ | np.ndarray | jax.Array):
        return None
    array = np.asarray(value)
    # A truth value is 0 or 1, as in Python; JAX's bfloat16 is of NumPy's kind "V".
    is_number = array.dtype.kind in "biuf" or jnp.issubdtype(array.dtype, jnp.floating)
    return array if is_number else None


def _shown(value: Any) -> Any:
    return repr(value) if isinstance(value, str) else value
