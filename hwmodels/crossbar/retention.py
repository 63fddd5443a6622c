"""What a cell's state does to its programming error, and what time does to the cell afterwards."""

import itertools
import math
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.crossbar.laws import StateLaw
from hwmodels.ranges import require, require_traced
from hwmodels.workload import Scalar

_INF = float("inf")
_TIME = "{}.time_s is the time since programming in seconds, zero or more and finite"


class ProgrammingError(eqx.Module):
    """What programming leaves beside its target: `max(G + scale·σ(G)·ε, 0)`, ε standard normal.

    Differentiable to G, to the scale and to the numbers of the law.

    **Arguments:**

    - `sigma`: σ(G), siemens; taken as zero where it is negative.
    - `scale`: a factor, 0 for none.

    **Raises:** `ValueError` for a negative scale.
    """

    sigma: StateLaw
    scale: Scalar = 1.0

    def __check_init__(self):
        message = "ProgrammingError.scale is a factor of zero or more, got {}."
        require(lambda scale: (scale >= 0) & (scale < _INF), message, self.scale)

    def __call__(self, G: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        spread = jnp.asarray(self.scale).astype(G.dtype) * jnp.maximum(self.sigma(G), 0)
        return jnp.maximum(G + spread * jax.random.normal(key, G.shape, G.dtype), 0)


class StateDrift(eqx.Module):
    r"""Drift with exponents that depend on the state, and the 1/f noise gathered since programming.

    With targets g, what programming left G, and ε, ε' normal,

    $$G(t) = G\,(1 + t/t_0)^{-|ν|}\,(1 + Q\,s\,ε'), \quad ν = μ(g) + σ(g)\,ε, \quad
      s = \sqrt{\ln\frac{t + t_0 + t_r}{2 t_r}}.$$

    Nearly all power of the noise lies far below the rate of inferences, so it is drawn once, **at
    programming**, as the exponents are: reads within one inference would not average it out. Differentiable
    to every number.

    **Arguments:**

    - `mean`, `spread`: μ and σ of the exponent, laws of the target.
    - `flicker`: Q, a law of the programmed conductance; None for no 1/f noise.
    - `time_s`: t, counted from the first read after programming, at `reference_s`: t₀.
    - `read_s`: t_r, the time that one read takes.

    **Raises:** `ValueError` for a negative time, and for a `reference_s` or `read_s` of zero or less.

    **Source:** Nandakumar et al., "Phase-change memory models for deep learning training and inference",
    ICECS 2019; Joshi et al., Nature Communications 11, 2473 (2020), Methods.
    """

    mean: StateLaw
    spread: StateLaw
    flicker: StateLaw | None = None
    time_s: Scalar = 0.0
    reference_s: Scalar = 20.0
    read_s: Scalar = 250e-9

    def __check_init__(self):
        require(_is_time, _TIME.format("StateDrift") + "; got {}.", self.time_s)
        for name in ("reference_s", "read_s"):
            message = f"StateDrift.{name} is a time in seconds above zero and finite, got {{}}."
            require(lambda time: (time > 0) & (time < _INF), message, getattr(self, name))

    def __call__(
        self, G: Float[Array, "*shape"], key: PRNGKeyArray, target: Float[Array, "*shape"] | None = None
    ) -> Float[Array, "*shape"]:
        target = G if target is None else target
        numbers = (self.time_s, self.reference_s, self.read_s)
        time, first, read = (jnp.asarray(value).astype(G.dtype) for value in numbers)
        time = require_traced(time, _is_time, _TIME.format("StateDrift") + ".", self.time_s)
        noise = jax.random.normal(key, G.shape, G.dtype)
        exponent = jnp.abs(self.mean(target) + self.spread(target) * noise)
        held = G * jnp.exp(-exponent * jnp.log1p(time / first))
        if self.flicker is None:
            return held
        gathered = jnp.sqrt(jnp.log((time + first + read) / (2 * read)))
        noise = jax.random.normal(jax.random.fold_in(key, 1), G.shape, G.dtype)
        return jnp.maximum(held * (1 + self.flicker(G) * gathered * noise), 0)


class Relaxation(eqx.Module):
    r"""Cells that wander from where they were programmed: measured spreads and shifts at several times.

    With targets g, a cell is at $G + δ_t(g) + \sqrt{σ_t(g + δ_t)^2 - σ_0(g)^2}\,ε$, so that cells written
    with the spread σ₀ of the first time have, at time t, the spread and the shift measured then. Between two
    times both are on straight lines; before the first and beyond the last they are held, since
    nothing was measured there. Differentiable to the time and to the numbers of the laws.

    **Arguments:**

    - `times_s`: increasing, seconds.
    - `spreads`: σ at each time, laws in siemens.
    - `shifts`: δ at each time; none for no shift.
    - `time_s`: t, seconds.
    - `spacing`: whether lines are straight in "log" or in "linear" time.

    **Raises:** `ValueError` for times that do not increase, laws that are not as many, a negative time and
    another spacing.
    """

    times_s: tuple[float, ...] = eqx.field(static=True)
    spreads: tuple[StateLaw, ...]
    shifts: tuple[StateLaw, ...] = ()
    time_s: Scalar = 0.0
    spacing: Literal["log", "linear"] = eqx.field(static=True, default="log")

    def __check_init__(self):
        times = self.times_s
        rising = all(before < after for before, after in itertools.pairwise(times))
        if len(times) < 2 or not rising or not math.isfinite(times[-1]):
            raise ValueError(f"Relaxation.times_s needs at least two increasing finite times, got {times}.")
        if len(self.spreads) != len(times) or len(self.shifts) not in (0, len(times)):
            raise ValueError(
                f"Relaxation needs one spread, and one shift or none, for each of its {len(times)} times; "
                f"got {len(self.spreads)} and {len(self.shifts)}."
            )
        if self.spacing not in ("log", "linear"):
            raise ValueError(f'Relaxation.spacing must be "log" or "linear", got {self.spacing!r}.')
        if self.spacing == "log" and times[0] <= 0:
            raise ValueError(
                f'Relaxation.times_s must be above zero where spacing="log", got {times}; use "linear".'
            )
        require(_is_time, _TIME.format("Relaxation") + "; got {}.", self.time_s)

    def __call__(
        self, G: Float[Array, "*shape"], key: PRNGKeyArray, target: Float[Array, "*shape"] | None = None
    ) -> Float[Array, "*shape"]:
        target = G if target is None else target
        weights = self._weights(G.dtype)

        def at_time(laws, g):
            return sum(
                (weight * law(g) for weight, law in zip(weights, laws, strict=True)), jnp.zeros_like(g)
            )

        shift = at_time(self.shifts, target) if self.shifts else jnp.zeros_like(G)
        later, first = at_time(self.spreads, target + shift), self.spreads[0](target)
        extra = jnp.maximum(later, 0) ** 2 - jnp.maximum(first, 0) ** 2
        # √ has no slope at zero.
        root = jnp.where(extra > 0, jnp.sqrt(jnp.where(extra > 0, extra, 1)), 0)
        return jnp.maximum(G + shift + root * jax.random.normal(key, G.shape, G.dtype), 0)

    def _weights(self, dtype):
        """Of each measured time in what is read now; they sum to one."""
        time = jnp.asarray(self.time_s).astype(dtype)
        time = require_traced(time, _is_time, _TIME.format("Relaxation") + ".", self.time_s)
        times = jnp.asarray(self.times_s, dtype)
        if self.spacing == "log":
            time, times = jnp.log(jnp.maximum(time, times[0])), jnp.log(times)
        return [jnp.interp(time, times, unit) for unit in jnp.eye(len(self.times_s), dtype=dtype)]


def _is_time(time):
    return (time >= 0) & (time < _INF)
