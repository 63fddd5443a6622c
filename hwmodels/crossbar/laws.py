"""How a property of a cell depends on the conductance that it holds.

Each law is a pytree of numbers that maps conductances in siemens to a spread in siemens, or to an exponent.
"""

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from hwmodels.ranges import require
from hwmodels.workload import Scalar

_INF = float("inf")
# Logarithms of what blocks; as aihwkit clips.
_LEAST = 1e-7


class StateLaw(eqx.Module):
    """A property as a function of the conductance G; users' own laws inherit and define `__call__`."""

    @abstractmethod
    def __call__(self, G: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The property at conductances G in siemens."""


class Polynomial(StateLaw):
    r"""$\sum_i c_i (G/G_\mathrm{ref})^i$.

    **Arguments:**

    - `coefficients`: c₀, c₁ …, in the property's unit.
    - `reference_siemens`: $G_\mathrm{ref}$, above zero.

    **Raises:** `ValueError` for no coefficients and for a reference of zero or less.
    """

    coefficients: tuple[Scalar, ...]
    reference_siemens: Scalar = 1.0

    def __check_init__(self):
        if not self.coefficients:
            raise ValueError("Polynomial.coefficients needs at least one number, got none.")
        _require_reference("Polynomial", self.reference_siemens)

    def __call__(self, G: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        x = G / jnp.asarray(self.reference_siemens).astype(G.dtype)
        total = jnp.zeros_like(G)
        for coefficient in reversed(self.coefficients):
            total = total * x + jnp.asarray(coefficient).astype(G.dtype)
        return total


class Saturating(StateLaw):
    r"""$A\,(1 - e^{-G/B})$.

    **Arguments:** `amplitude`: A, in the property's unit. `scale_siemens`: B, above zero.

    **Raises:** `ValueError` for a scale of zero or less.
    """

    amplitude: Scalar
    scale_siemens: Scalar

    def __check_init__(self):
        _require_reference("Saturating", self.scale_siemens, "scale_siemens")

    def __call__(self, G: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        scale = jnp.asarray(self.scale_siemens).astype(G.dtype)
        return -jnp.asarray(self.amplitude).astype(G.dtype) * jnp.expm1(-G / scale)


class Logarithmic(StateLaw):
    r"""$a \ln(G/G_\mathrm{ref}) + b$, cut to `low` and `high`.

    **Arguments:** `slope`: a. `offset`: b. `low`, `high`: the range. `reference_siemens`: above zero.

    **Raises:** `ValueError` unless low ≤ high, and for a reference of zero or less.
    """

    slope: Scalar
    offset: Scalar
    low: Scalar
    high: Scalar
    reference_siemens: Scalar

    def __check_init__(self):
        _require_reference("Logarithmic", self.reference_siemens)
        message = "Logarithmic needs low ≤ high, got {} and {}."
        require(lambda low, high: low <= high, message, self.low, self.high)

    def __call__(self, G: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        numbers = (self.slope, self.offset, self.low, self.high, self.reference_siemens)
        slope, offset, low, high, reference = (jnp.asarray(x).astype(G.dtype) for x in numbers)
        return jnp.clip(slope * jnp.log(jnp.maximum(G / reference, _LEAST)) + offset, low, high)


class InversePower(StateLaw):
    r"""$\min(Q\,(G/G_\mathrm{ref})^{-p}, \mathrm{high})$.

    **Arguments:** `factor`: Q. `exponent`: p. `high`: the most. `reference_siemens`: above zero.

    **Raises:** `ValueError` for a reference of zero or less.
    """

    factor: Scalar
    exponent: Scalar
    high: Scalar
    reference_siemens: Scalar

    def __check_init__(self):
        _require_reference("InversePower", self.reference_siemens)

    def __call__(self, G: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        numbers = (self.factor, self.exponent, self.high, self.reference_siemens)
        factor, exponent, high, reference = (jnp.asarray(x).astype(G.dtype) for x in numbers)
        return jnp.minimum(factor * jnp.maximum(G / reference, _LEAST) ** -exponent, high)


class Table(StateLaw):
    """Measured values, on straight lines between them and constant outside.

    **Arguments:** `siemens`: increasing conductances, shape (points,). `values`: of the same shape.

    **Raises:** `ValueError` for fewer than two points, another number of values, and conductances that do
    not increase.
    """

    siemens: Float[Array, " points"] = eqx.field(converter=jnp.asarray)
    values: Float[Array, " points"] = eqx.field(converter=jnp.asarray)

    def __check_init__(self):
        if self.siemens.shape != self.values.shape or self.siemens.ndim != 1 or len(self.siemens) < 2:
            raise ValueError(
                f"Table needs at least two conductances and as many values, got shapes {self.siemens.shape} "
                f"and {self.values.shape}."
            )
        require(
            lambda x: (x[1:] > x[:-1]).all(),
            "Table.siemens must increase from point to point, got {}.",
            self.siemens,
        )

    def __call__(self, G: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return jnp.interp(G, self.siemens.astype(G.dtype), self.values.astype(G.dtype))


def _require_reference(owner, value, name="reference_siemens"):
    message = f"{owner}.{name} is a conductance in siemens above zero and finite, got {{}}."
    require(lambda reference: (reference > 0) & (reference < _INF), message, value)
