"""Quantiles of more numbers than fit in memory."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

_DIGIT = 16
"""Bits that one pass over the numbers finds."""


def streamed_quantile(stream: Callable[[], Iterable[Any]], quantile: float) -> float:
    """The quantile of all numbers in a stream of arrays, exactly, with one array at a time in memory.

    Linear between the two numbers around it, as `numpy.quantile` of all of them. A radix selection: the bits
    of a float, inverted where it is negative, sort as an unsigned integer. Each pass counts the next 16 of
    them, so that float32 takes two passes and float64 four.

    **Arguments:**

    - `stream`: gives, on every call, the same arrays of one floating dtype.
    - `quantile`: a fraction in [0, 1].

    **Returns:** the quantile; NaN where there is one among the numbers.

    **Raises:** `ValueError` for a stream of no numbers.
    """
    place = math.nan
    found: list[tuple[int, int]] = [
        (0, 0)
    ]  # Leading bits of a number, and its rank among those that share them.
    for level in itertools.count(1):
        tables = {prefix: np.zeros(2**_DIGIT, np.int64) for prefix, _ in found}
        width = level * _DIGIT
        for values in stream():
            codes = _codes(values)
            if codes is None:
                return math.nan
            width = 8 * codes.itemsize
            leading = codes >> (width - level * _DIGIT)
            for prefix, table in tables.items():
                digits = leading[leading >> _DIGIT == prefix] & (2**_DIGIT - 1)
                table += np.bincount(digits.astype(np.int64), minlength=2**_DIGIT)
        if level == 1:
            last = int(tables[0].sum()) - 1
            if last < 0:
                raise ValueError("a quantile needs numbers, got none.")
            place = quantile * last
            found = [(0, math.floor(place)), (0, math.ceil(place))]
        found = [_next_digit(tables[prefix], prefix, rank) for prefix, rank in found]
        if level * _DIGIT == width:
            break
    lower, upper = (_number(code, width) for code, _ in found)
    return float(np.quantile([lower, upper], place % 1))


def _codes(values: Any) -> np.ndarray | None:
    """Unsigned integers in the order of the numbers; None for NaN."""
    numbers = np.asarray(values).ravel()
    if numbers.dtype != np.float64:
        numbers = numbers.astype(np.float32)
    if np.isnan(numbers).any():
        return None
    bits = numbers.view(f"u{numbers.itemsize}")
    sign = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return np.where(bits & sign, ~bits, bits | sign)


def _number(code: int, width: int) -> float:
    sign = 1 << (width - 1)
    bits = code ^ sign if code & sign else code ^ (2 * sign - 1)
    return float(np.array(bits, f"u{width // 8}").view(f"f{width // 8}"))


def _next_digit(table: np.ndarray, prefix: int, rank: int) -> tuple[int, int]:
    below = np.cumsum(table)
    digit = int(np.searchsorted(below, rank, side="right"))
    return prefix << _DIGIT | digit, rank - (int(below[digit - 1]) if digit else 0)
