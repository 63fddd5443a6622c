"""The spike function: a step forward, a surrogate derivative backward."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxsnn.checks import is_positive


@dataclass(frozen=True)
class Surrogate:
    """A stand-in for the derivative of the step function; subclasses define [`derivative`][]."""

    def derivative(
        self, potential: Float[Array, "*shape"], threshold: Float[Array, "..."]
    ) -> Float[Array, "*shape"]:
        """∂o/∂u at the potential u; ∂o/∂θ is its negative, because the spike depends on u − θ."""
        raise NotImplementedError


def _check_positive(surrogate: Surrogate, name: str) -> None:
    value = getattr(surrogate, name)
    if not is_positive(value):
        raise ValueError(
            f"{name} of a {type(surrogate).__name__} surrogate must be positive and finite, got {value}."
        )


@dataclass(frozen=True)
class Triangular(Surrogate):
    """`∂o/∂u = scale · max(0, 1 − |u − θ| / θ)`.

    Bhattacharjee et al., "Examining the robustness of SNNs on non-ideal memristive crossbars", eq. 3, with
    `scale = 1`; the same group's published code uses `scale = 0.3`.
    """

    scale: float = 1.0

    def __post_init__(self):
        _check_positive(self, "scale")

    def derivative(self, potential, threshold):
        return self.scale * jnp.maximum(0, 1 - jnp.abs((potential - threshold) / threshold))


@dataclass(frozen=True)
class Rectangular(Surrogate):
    """`∂o/∂u = 1/width` where `|u − θ| < width/2`, else 0 (Wu et al., STBP, 2018, h₁)."""

    width: float = 1.0

    def __post_init__(self):
        _check_positive(self, "width")

    def derivative(self, potential, threshold):
        inside = jnp.abs(potential - threshold) < self.width / 2
        return jnp.where(inside, jnp.asarray(1 / self.width, potential.dtype), 0)


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """`∂o/∂u = 1 / (1 + slope·|u − θ|)²` (Zenke and Ganguli, SuperSpike, 2018)."""

    slope: float = 25.0

    def __post_init__(self):
        _check_positive(self, "slope")

    def derivative(self, potential, threshold):
        return 1 / (1 + self.slope * jnp.abs(potential - threshold)) ** 2


@dataclass(frozen=True)
class Arctan(Surrogate):
    """`∂o/∂u = (alpha/2) / (1 + (π/2 · alpha · (u − θ))²)` (Fang et al., PLIF, 2021)."""

    alpha: float = 2.0

    def __post_init__(self):
        _check_positive(self, "alpha")

    def derivative(self, potential, threshold):
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * (potential - threshold)) ** 2)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _spike(potential, threshold, surrogate, inclusive):
    fires = potential >= threshold if inclusive else potential > threshold
    return fires.astype(potential.dtype)


@_spike.defjvp
def _spike_jvp(surrogate, inclusive, primals, tangents):
    potential, threshold = primals
    potential_dot, threshold_dot = tangents
    slope = surrogate.derivative(potential, threshold)
    return _spike(potential, threshold, surrogate, inclusive), slope * (potential_dot - threshold_dot)


def spike(
    potential: Float[Array, "*shape"],
    threshold: float | Float[Array, "..."] = 1.0,
    surrogate: Surrogate = Triangular(),
    inclusive: bool = False,
) -> Float[Array, "*shape"]:
    """A spike where the potential exceeds the threshold: `o = 1 if u > θ else 0` (strictly, eq. 2).

    **Arguments:**

    - `potential`: u, any shape.
    - `threshold`: θ > 0, broadcast against `potential`.
    - `surrogate`: what the backward pass uses for ∂o/∂u.
    - `inclusive`: a potential that equals the threshold fires too, as if θ were `nextafter(θ, −∞)`.

    **Returns:** zeros and ones in the potential's shape and dtype.
    """
    return _spike(potential, jnp.asarray(threshold, potential.dtype), surrogate, inclusive)
