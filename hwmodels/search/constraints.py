"""Bounds that a design must keep, in their own units."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Constraint:
    """`lower ≤ quantity(design) ≤ upper`, e.g. `Constraint("area", chip_area, upper=10.0, unit="mm²")`.

    **Arguments:**

    - `name`: how messages call it.
    - `quantity`: a function of a design, differentiable where descent is to be led back by its slope.
    - `upper`, `lower`: one or both, in `unit`.

    **Raises:** `ValueError` for no bound, one that is no finite number, and `lower` above `upper`.
    """

    name: str
    quantity: Callable[[Any], Any]
    upper: int | float | None = None
    lower: int | float | None = None
    unit: str = ""

    def __post_init__(self):
        bounds = [bound for bound in (self.lower, self.upper) if bound is not None]
        finite = all(isinstance(bound, Real) and math.isfinite(bound) for bound in bounds)
        if not bounds or not finite or bounds != sorted(bounds):
            raise ValueError(
                f"constraint {self.name!r} needs upper, lower or both, finite numbers with lower ≤ upper; "
                f"got lower={self.lower} and upper={self.upper}."
            )

    def excesses(self, value: Any) -> list[Any]:
        """By how much `value` misses each bound, as a fraction of the bound (of 1 where that is zero);
        zero or less where it is met."""
        found = []
        if self.upper is not None:
            found.append((value - self.upper) / (abs(self.upper) or 1.0))
        if self.lower is not None:
            found.append((self.lower - value) / (abs(self.lower) or 1.0))
        return found

    def complaint(self, value: float) -> str:
        """What is wrong with `value`, or an empty string."""
        unit = f" {self.unit}" if self.unit else ""
        for bound, sign, side in ((self.upper, 1, "above"), (self.lower, -1, "below")):
            if bound is not None and sign * (value - bound) > 0:
                share = f" ({abs(value - bound) / abs(bound):.3g} times it)" if bound else ""
                return (
                    f"{self.name} is {value:.6g}{unit}, {abs(value - bound):.3g}{unit} {side} the bound of "
                    f"{bound:.6g}{unit}{share}"
                )
        return ""
