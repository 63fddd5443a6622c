"""What a memory cell does to a conductance, and when."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

Scalar = float | int | Float[Array | np.ndarray, ""]


def _concrete(value: object) -> bool:
    return isinstance(value, int | float | np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer)


class Variation(eqx.Module):
    """Device-to-device variation of the conductance, drawn once, **at programming**.

    Gaussian: `G·(1 + σ·ε)`, cut at zero. Log-normal: `G·exp(s·ε − s²/2)` with `s² = ln(1 + σ²)`, of the same
    mean and σ/µ. `ε` is standard normal and independent for every device.

    **Arguments:**

    - `sigma`: σ/µ, a fraction, zero or more.
    - `distribution`: "gaussian" or "lognormal".

    **Raises:** `ValueError` for a negative `sigma` and for another distribution.
    """

    sigma: Scalar = 0.1
    distribution: Literal["gaussian", "lognormal"] = eqx.field(static=True, default="gaussian")

    def __check_init__(self):
        if self.distribution not in ("gaussian", "lognormal"):
            raise ValueError(
                f'Variation.distribution must be "gaussian" or "lognormal", got {self.distribution!r}.'
            )
        if _concrete(self.sigma) and not np.all(np.asarray(self.sigma) >= 0):
            raise ValueError(f"Variation.sigma is σ/µ, a fraction of zero or more; got {self.sigma}.")

    def __call__(self, G: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        noise = jax.random.normal(key, G.shape, G.dtype)
        sigma = jnp.asarray(self.sigma).astype(G.dtype)
        if self.distribution == "gaussian":
            return G * jnp.maximum(1 + sigma * noise, 0)
        variance = jnp.log1p(sigma**2)
        # √ has no slope at zero: there the derivative is that of σ itself, ε.
        spread = jnp.where(sigma > 0, jnp.sqrt(jnp.where(sigma > 0, variance, 1)), sigma)
        return G * jnp.exp(spread * noise - variance / 2)


def _as_variation(value) -> Variation | None:
    return Variation(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class Device(eqx.Module):
    """A memory cell: its range of conductance and its imperfections.

    **Arguments:**

    - `g_min_siemens`, `g_max_siemens`: the conductances of the least and the greatest level.
    - `variation`: device-to-device variation; a number is the σ/µ of a Gaussian; None for none.

    **Raises:** `ValueError` unless `0 ≤ g_min < g_max < ∞`.

    Defaults: Bhattacharjee et al., "Examining the robustness of SNNs on non-ideal memristive crossbars",
    section IV-B (20 kΩ to 200 kΩ, σ/µ = 10 %).
    """

    g_min_siemens: Scalar = 1 / 200e3
    g_max_siemens: Scalar = 1 / 20e3
    variation: Variation | None = eqx.field(converter=_as_variation, default=0.1)

    def __check_init__(self):
        if _concrete(self.g_min_siemens) and _concrete(self.g_max_siemens):
            low, high = float(self.g_min_siemens), float(self.g_max_siemens)
            if not 0 <= low < high < float("inf"):
                raise ValueError(
                    "a device needs 0 ≤ g_min_siemens < g_max_siemens < ∞, got "
                    f"{self.g_min_siemens} and {self.g_max_siemens}; a resistance R is a conductance 1/R."
                )

    def target(self, level: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The conductance meant for a level in [0, 1]: `G_min + level·(G_max − G_min)`, in siemens."""
        low = jnp.asarray(self.g_min_siemens).astype(level.dtype)
        high = jnp.asarray(self.g_max_siemens).astype(level.dtype)
        return low + level * (high - low)

    def program(self, G: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """What the cells hold after an attempt to program `G`, in siemens."""
        return G if self.variation is None else self.variation(G, key)
