"""What a search may turn: parameters with their units and legal values.

Descent moves a position u in [0, 1] of each parameter. The value at u is legal in the forward pass and has
the derivative of the expression before it was rounded (straight-through), so that every design that is
evaluated could be built.
"""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.rounding import clipped, rounded, straight_through

Number = int | float


class Parameter(ABC):
    """What the search asks of a parameter with a slope."""

    name: str
    unit: str

    @abstractmethod
    def at(self, u: Float[Array, ""]) -> Float[Array, ""]:
        """The legal value at a position; straight-through."""

    @abstractmethod
    def position(self, value: Number) -> float:
        """The position in [0, 1] of a value; of the nearest bound for one out of range."""

    @abstractmethod
    def legal(self, value: Number) -> Number:
        """The nearest legal value, as a Python number: the projection."""

    @abstractmethod
    def neighbours(self, value: Number) -> list[Number]:
        """Other legal values at doubling distances, the nearest two first."""


@dataclass(frozen=True)
class Real(Parameter):
    """Any number in [low, high].

    **Arguments:** `name`: the keyword of the function that builds a design. `low`, `high`: bounds, in `unit`.
    `log`: whether steps are factors; needs `low` above zero.

    **Raises:** `ValueError` for bounds that hold no interval.
    """

    name: str
    low: Number
    high: Number
    unit: str = ""
    log: bool = False

    def __post_init__(self):
        _check_bounds(self)

    def at(self, u: Float[Array, ""]) -> Float[Array, ""]:
        return clipped(_scaled(self, u), self.low, self.high)

    def position(self, value: Number) -> float:
        return _position(self, value)

    def legal(self, value: Number) -> float:
        value = min(max(float(value), float(self.low)), float(self.high))
        # A bound that a traced number rounded into the range is the bound.
        eps = float(jnp.finfo(jnp.result_type(float)).eps)
        near = (float(bound) for bound in (self.low, self.high) if abs(value - bound) <= eps * abs(bound))
        return next(near, value)

    def neighbours(self, value: Number) -> list[Number]:
        here = self.position(value)
        steps = [sign * 2.0**-k for k in range(10, 0, -1) for sign in (-1, 1)]
        values = [self.legal(float(_scaled(self, min(max(here + step, 0.0), 1.0)))) for step in steps]
        return _others(values, value)


@dataclass(frozen=True)
class Integer(Parameter):
    """A whole number in [low, high]; errors as for [`Real`][].

    **Arguments:**

    - `name`: the keyword of `build`.
    - `low`, `high`: the range, both ends included.
    - `unit`: for people.
    - `log`: search steps of equal ratio, for ranges over decades.
    """

    name: str
    low: Number
    high: Number
    unit: str = ""
    log: bool = False

    def __post_init__(self):
        _check_bounds(self)
        for bound in ("low", "high"):
            if getattr(self, bound) != round(getattr(self, bound)):
                raise ValueError(
                    f"parameter {self.name!r}: {bound} must be a whole number, got {getattr(self, bound)}."
                )

    def at(self, u: Float[Array, ""]) -> Float[Array, ""]:
        relaxed = _scaled(self, u)
        return straight_through(jnp.clip(jnp.round(relaxed), self.low, self.high), relaxed)

    def position(self, value: Number) -> float:
        return _position(self, value)

    def legal(self, value: Number) -> int:
        return min(max(round(value), int(self.low)), int(self.high))

    def neighbours(self, value: Number) -> list[Number]:
        steps = [sign * 2**k for k in range(int(self.high - self.low).bit_length()) for sign in (-1, 1)]
        return _others([self.legal(value + step) for step in steps], value)


@dataclass(frozen=True)
class Choice(Parameter):
    """One of some increasing numbers, such as powers of two; its slope is that of the line between them.

    **Arguments:** `name`: the keyword of `build`; `values`: the numbers; `unit`: for people.

    **Raises:** `ValueError` for fewer than two values, or values that do not increase.
    """

    name: str
    values: Sequence[Number]
    unit: str = ""

    def __post_init__(self):
        object.__setattr__(self, "values", tuple(self.values))
        finite = all(isinstance(value, numbers.Real) and math.isfinite(value) for value in self.values)
        rising = finite and all(a < b for a, b in zip(self.values, self.values[1:], strict=False))
        if len(self.values) < 2 or not rising:
            raise ValueError(
                f"parameter {self.name!r}: choices must be two or more increasing numbers, got {self.values}."
            )

    def at(self, u: Float[Array, ""]) -> Float[Array, ""]:
        place = clipped(u, 0, 1) * (len(self.values) - 1)
        values = jnp.asarray(self.values, u.dtype)
        between = jnp.interp(place, jnp.arange(len(self.values), dtype=u.dtype), values)
        return straight_through(values[rounded(place).astype(int)], between)

    def position(self, value: Number) -> float:
        return self._index(value) / (len(self.values) - 1)

    def legal(self, value: Number) -> Number:
        return self.values[self._index(value)]

    def neighbours(self, value: Number) -> list[Number]:
        here, last = self._index(value), len(self.values) - 1
        steps = [sign * 2**k for k in range(last.bit_length()) for sign in (-1, 1)]
        return _others([self.values[min(max(here + step, 0), last)] for step in steps], value)

    def _index(self, value: Number) -> int:
        return min(range(len(self.values)), key=lambda index: abs(self.values[index] - value))


@dataclass(frozen=True)
class Enumerated:
    """A choice without a slope, such as a word or a size that fixes the shape of an array.

    A traced program cannot vary it: each value is searched on its own, as a Python object, and is compiled on
    its own. Several multiply.

    **Arguments:** `name`: the keyword of `build`; `values`: the objects; `unit`: for people.

    **Raises:** `ValueError` for no values, and for values without a hash, such as lists.
    """

    name: str
    values: Sequence[Any]
    unit: str = ""

    def __post_init__(self):
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError(f"parameter {self.name!r}: there must be at least one value to choose.")
        try:
            hash(self.values)
        except TypeError as error:
            raise ValueError(
                f"parameter {self.name!r}: values need a hash, since each is compiled on its own; "
                f"write a list as a tuple ({error})."
            ) from None


def _check_bounds(parameter: Real | Integer) -> None:
    name, low, high = parameter.name, parameter.low, parameter.high
    finite = all(isinstance(bound, numbers.Real) and math.isfinite(bound) for bound in (low, high))
    if not finite or low >= high:
        raise ValueError(f"parameter {name!r}: bounds must be finite and low < high, got {low} and {high}.")
    if parameter.log and low <= 0:
        raise ValueError(f"parameter {name!r}: a logarithmic scale needs low > 0, got {low}.")


def _scaled(parameter: Real | Integer, u: Any) -> Any:
    low, high = float(parameter.low), float(parameter.high)
    return low * (high / low) ** u if parameter.log else low + (high - low) * u


def _position(parameter: Real | Integer, value: Number) -> float:
    value = min(max(value, parameter.low), parameter.high)
    if parameter.log:
        return math.log(value / parameter.low) / math.log(parameter.high / parameter.low)
    return (value - parameter.low) / (parameter.high - parameter.low)


def _others(values: Sequence[Number], here: Number) -> list[Number]:
    """In order, each once, without the value itself."""
    return [value for value in dict.fromkeys(values) if value != here]
