"""Smooth curves through tables: monotone cubics that are exact at the knots and linear beyond them."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from hwmodels import rounding


class MonotoneCubic:
    """The monotone cubic through `(x_i, y_i)`, with the slopes of Fritsch and Butland (1984).

    It never overshoots, its derivative is continuous, and beyond the first and last knot it goes on straight.

    **Arguments:**

    - `x`: increasing knots, shape (n,).
    - `y`: values, shape (n, ...).
    """

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self.x, self.y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        h = np.diff(self.x).reshape(-1, *([1] * (self.y.ndim - 1)))
        secant = np.diff(self.y, axis=0) / h
        self.slopes = np.empty_like(self.y)
        self.slopes[0], self.slopes[-1] = secant[0], secant[-1]
        same = secant[1:] * secant[:-1] > 0
        before, after = np.where(same, secant[:-1], 1.0), np.where(same, secant[1:], 1.0)
        left, right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
        self.slopes[1:-1] = np.where(same, (left + right) / (left / before + right / after), 0.0)

    def __call__(self, x: Any) -> Any:
        """Value at a scalar `x`: NumPy in, NumPy out; traced in, traced out."""
        xp: Any = np if rounding.is_number(x) else jnp
        dtype = np.float64 if xp is np else jnp.result_type(float)
        knots, y, slopes = (xp.asarray(a, dtype=dtype) for a in (self.x, self.y, self.slopes))
        i = xp.clip(xp.searchsorted(knots, x, side="right") - 1, 0, self.x.size - 2)
        h = knots[i + 1] - knots[i]
        inside = xp.clip(x, knots[0], knots[-1])
        t = (inside - knots[i]) / h
        low, high = y[i], y[i + 1]
        cubic = (
            (1 + 2 * t) * (1 - t) ** 2 * low
            + t * (1 - t) ** 2 * h * slopes[i]
            + t**2 * (3 - 2 * t) * high
            - t**2 * (1 - t) * h * slopes[i + 1]
        )
        return cubic + (x - inside) * xp.where(x < knots[0], slopes[0], slopes[-1])
