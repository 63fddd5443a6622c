"""What a memory cell does to a conductance, and when."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.crossbar.laws import StateLaw
from hwmodels.crossbar.retention import ProgrammingError, Relaxation, StateDrift
from hwmodels.crossbar.write_verify import WriteVerify
from hwmodels.ranges import require, require_integer, require_traced
from hwmodels.workload import Scalar

_SIGMA = "{name} is σ/µ, a finite fraction of zero or more; got {{}}."
_RATE = "Faults.{name} is the fraction of cells with that fault, 0 to 1; got {{}}."
_INF = float("inf")
_DRIFT = "Drift needs time_s > 0, reference_s > 0 and an exponent, all finite"
_RANGE = "a device needs 0 ≤ g_min_siemens < g_max_siemens < ∞, got {} and {}; R ohm are 1/R siemens."


def _is_sigma(sigma):
    return (sigma >= 0) & (sigma < _INF)


def _is_range(low, high):
    return (low >= 0) & (low < high) & (high < _INF)


class Variation(eqx.Module):
    """Device-to-device variation of the conductance, drawn once, **at programming**.

    Gaussian: `G·(1 + σ·ε)`, cut at zero. Log-normal: `G·exp(s·ε − s²/2)` with `s² = ln(1 + σ²)`, of the same
    mean and σ/µ. `ε` is standard normal and independent for every device. Differentiable to G and σ.

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
        require(_is_sigma, _SIGMA.format(name="Variation.sigma"), self.sigma)

    def __call__(self, G: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        noise = jax.random.normal(key, G.shape, G.dtype)
        sigma = jnp.asarray(self.sigma).astype(G.dtype)
        sigma = require_traced(
            sigma, _is_sigma, "Variation.sigma is σ/µ and must be zero or more.", self.sigma
        )
        if self.distribution == "gaussian":
            return G * jnp.maximum(1 + sigma * noise, 0)
        variance = jnp.log1p(sigma**2)
        # √ has no slope at zero: there the derivative is that of σ itself, ε.
        spread = jnp.where(sigma > 0, jnp.sqrt(jnp.where(sigma > 0, variance, 1)), sigma)
        return G * jnp.exp(spread * noise - variance / 2)


class Faults(eqx.Module):
    """Cells that ignore programming, drawn once, **at programming**.

    Every cell is independently stuck at `G_max`, stuck at `G_min`, open (no current), or sound. One uniform
    number decides each cell, so that with one key a greater `stuck_on` rate only adds stuck cells.
    Differentiable to the conductances of sound cells and to `G_min` and `G_max`; the rates have no slope.

    **Arguments:**

    - `stuck_on`, `stuck_off`, `open`: rates, fractions of all cells; their sum is at most 1.

    **Raises:** `ValueError` for rates outside 0 to 1, or a sum above 1; traced rates, when they are used.
    """

    stuck_on: Scalar = 0.0
    stuck_off: Scalar = 0.0
    open: Scalar = 0.0

    def __check_init__(self):
        for name in ("stuck_on", "stuck_off", "open"):
            require(lambda rate: (rate >= 0) & (rate <= 1), _RATE.format(name=name), getattr(self, name))
        rates = (self.stuck_on, self.stuck_off, self.open)
        require(_are_rates, "the rates of Faults add up to at most 1, got {} + {} + {}.", *rates)

    def __call__(
        self,
        G: Float[Array, "*shape"],
        low: Float[Array, ""],
        high: Float[Array, ""],
        key: PRNGKeyArray,
    ) -> Float[Array, "*shape"]:
        """`G` with the faults put in; `low` and `high` are what cells are stuck at, in siemens."""
        rates = (self.stuck_on, self.stuck_off, self.open)
        on, off, broken = (jnp.asarray(rate).astype(G.dtype) for rate in rates)
        on = require_traced(on, _are_rates, "the rates of Faults are 0 to 1 and add up to at most 1.", *rates)
        lot = jax.random.uniform(key, G.shape, G.dtype)
        G = jnp.where(lot < on + off + broken, 0, G)
        return jnp.where(lot < on, high, jnp.where(lot < on + off, low, G))


def _are_rates(on, off, broken):
    # Not exactly 1: 0.1 + 0.2 + 0.7 is above it in binary.
    return (on >= 0) & (off >= 0) & (broken >= 0) & (on + off + broken <= 1 + 1e-6)


class Drift(eqx.Module):
    """Retention drift `G(t) = G₀·(t/t₀)^−ν` since programming; certain, unless ν itself varies.

    With `spread`, the exponent of every device is `ν·(1 + spread·ε)`, drawn once, **at programming**.
    Differentiable to all four numbers.

    **Arguments:**

    - `exponent`: ν, dimensionless; 0 for none.
    - `time_s`, `reference_s`: t and t₀ after programming, in seconds, above zero.
    - `spread`: σ/µ of ν between devices, a fraction.

    **Raises:** `ValueError` for times of zero or less, or a negative spread; traced values, when used.
    """

    exponent: Scalar = 0.05
    time_s: Scalar = 1.0
    reference_s: Scalar = 1.0
    spread: Scalar = 0.0

    def __check_init__(self):
        message = f"{_DRIFT}, got {{}}, {{}} and {{}}."
        require(_is_drift, message, self.time_s, self.reference_s, self.exponent)
        require(_is_sigma, _SIGMA.format(name="Drift.spread"), self.spread)

    def __call__(
        self, G: Float[Array, "*shape"], key: PRNGKeyArray, target: Float[Array, "*shape"] | None = None
    ) -> Float[Array, "*shape"]:
        """What is left of `G`; its exponents do not depend on the `target`, unlike [`StateDrift`][]'s."""
        values = (self.time_s, self.reference_s, self.exponent)
        time, reference, exponent = (jnp.asarray(value).astype(G.dtype) for value in values)
        time = require_traced(time, _is_drift, f"{_DRIFT}.", *values)
        spread = jnp.asarray(self.spread).astype(G.dtype)
        spread = require_traced(spread, _is_sigma, "Drift.spread is σ/µ, zero or more.", self.spread)
        noise = jax.random.normal(key, G.shape, G.dtype)
        return G * jnp.exp(-exponent * (1 + spread * noise) * jnp.log(time / reference))


def _is_drift(time, reference, exponent):
    positive = (time > 0) & (reference > 0)
    return positive & (time < _INF) & (reference < _INF) & (abs(exponent) < _INF)


class ReadNoise(eqx.Module):
    """Cycle-to-cycle noise, drawn **at each read**: every device reads as `G·(1 + σ·ε)`.

    A programmed kernel is a fixed matrix and has none; [`hwmodels.crossbar.TileProduct`][] draws it anew for
    every input vector. The current of a column is a sum over devices, so its noise is
    `σ·√(Σ_i (V_i·G_ij)²)·ε`, exact without parasitics. With them each device counts by the voltage across it
    and by what of its current the sense resistor gets, `σ·√(Σ_i (G_ij·d_ij·y_ij)²)·ε`, the first order in σ;
    `hwmodels/crossbar/_read_spread.py` says how both are found without another solution. On the default
    wires the standard deviation is within 2 % of exact draws from 16×16 to 64×64, for spikes, dense inputs
    and single rows. The noise that columns share through the wires is left out. Differentiable to G and σ.

    **Arguments:**

    - `sigma`: σ/µ of one device from read to read, a fraction, zero or more.
    - `law`: if given, one device reads as `G + σ·law(G)·ε` instead, the law in siemens; `sigma` scales it.

    **Raises:** `ValueError` for a negative `sigma`; a traced one, when it is used.
    """

    sigma: Scalar = 0.01
    law: StateLaw | None = None

    def __check_init__(self):
        require(_is_sigma, _SIGMA.format(name="ReadNoise.sigma"), self.sigma)

    def __call__(
        self, current: Float[Array, "*shape"], squares: Float[Array, "*shape"], key: PRNGKeyArray
    ) -> Float[Array, "*shape"]:
        """Noisy column currents from the exact ones and from `squares`, their variances per σ²."""
        sigma = jnp.asarray(self.sigma).astype(current.dtype)
        sigma = require_traced(sigma, _is_sigma, "ReadNoise.sigma is σ/µ, zero or more.", self.sigma)
        # √ has no slope at zero, where no current flows.
        root = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        return current + sigma * root * jax.random.normal(key, current.shape, current.dtype)


Programming = Variation | ProgrammingError | WriteVerify
"""What of the conductance meant programming leaves: `(G, key) -> G`."""


def _as_variation(value) -> Programming | None:
    if value is None or isinstance(value, Programming):
        return value
    if isinstance(value, bool | str | eqx.Module) or jnp.ndim(value):
        raise ValueError(
            f"Device.variation is a Variation, the σ/µ of one, a ProgrammingError, or None; got {value!r}."
        )
    return Variation(value)


class Device(eqx.Module):
    """A memory cell: its range of conductance, its levels and its imperfections.

    **Arguments:**

    - `g_min_siemens`, `g_max_siemens`: the conductances of the least and the greatest level.
    - `variation`: device-to-device variation; a number is the σ/µ of a Gaussian; None for none. A
      [`ProgrammingError`][] depends on the state; a [`WriteVerify`][] programs by pulses, at a cost.
    - `bits`: a cell holds one of `2^bits` equally spaced conductances; None for any conductance between.
      Rounding is straight-through: its derivative is 1.
    - `faults`, `drift`, `read_noise`: see [`Faults`][]; [`Drift`][], [`StateDrift`][] or [`Relaxation`][];
      [`ReadNoise`][]; None for none.

    **Raises:** `ValueError` unless `0 ≤ g_min < g_max < ∞`, and for bits that are not 1 to 16.

    Defaults: Bhattacharjee et al., "Examining the robustness of SNNs on non-ideal memristive crossbars",
    section IV-B (20 kΩ to 200 kΩ, σ/µ = 10 %).
    """

    g_min_siemens: Scalar = 1 / 200e3
    g_max_siemens: Scalar = 1 / 20e3
    variation: Programming | None = eqx.field(converter=_as_variation, default=0.1)
    bits: int | None = eqx.field(static=True, default=None)
    faults: Faults | None = None
    drift: Drift | StateDrift | Relaxation | None = None
    read_noise: ReadNoise | None = None

    def __check_init__(self):
        require_integer("Device.bits", self.bits, 1, 16, or_none="continuous levels")
        require(_is_range, _RANGE, self.g_min_siemens, self.g_max_siemens)

    def at(self, time_s: Scalar) -> "Device":
        """The same device `time_s` seconds after programming.

        **Raises:** `ValueError` for a device without drift, and for times that its drift does not allow.
        """
        if self.drift is None:
            raise ValueError("Device.at needs a device with drift; this one keeps what it holds.")
        return dataclasses.replace(self, drift=dataclasses.replace(self.drift, time_s=time_s))

    @property
    def on_off_ratio(self) -> Scalar:
        """`G_max / G_min`; infinite for devices that block."""
        low = self.g_min_siemens
        return _INF if isinstance(low, int | float) and low == 0 else self.g_max_siemens / low

    def limits(self, dtype) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """`G_min` and `G_max` in siemens; an error, also under `jit`, unless `0 ≤ G_min < G_max < ∞`."""
        low = jnp.asarray(self.g_min_siemens).astype(dtype)
        high = jnp.asarray(self.g_max_siemens).astype(dtype)
        message = "a device needs 0 ≤ g_min_siemens < g_max_siemens < ∞."
        low = require_traced(low, _is_range, message, self.g_min_siemens, self.g_max_siemens)
        return low, high

    def target(self, level: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The conductance meant for a level in [0, 1]: `G_min + level·(G_max − G_min)`, in siemens."""
        low, high = self.limits(level.dtype)
        return low + level * (high - low)

    def program(self, G: Float[Array, "*shape"], key: PRNGKeyArray) -> Float[Array, "*shape"]:
        """What the cells hold when they are read after an attempt to program `G`, in siemens.

        Variation, then drift; cells with a fault do neither.
        """
        target = G
        if self.variation is not None:
            G = self.variation(G, key)
        # Streams of their own: adding one imperfection leaves the draws of the others as they were.
        if self.drift is not None:
            G = self.drift(G, jax.random.fold_in(key, 1), target)
        if self.faults is not None:
            G = self.faults(G, *self.limits(G.dtype), jax.random.fold_in(key, 2))
        return G


class BitResistors(Device):
    """One resistor per bit, in parallel, as in SpikeSim's code: `G = Σ_b (2^b/unit if bit b else 1/clear)`.

    It is a [`Device`][] of `2^bits` levels whose steps are not exactly equal: a clear bit still conducts.

    **Arguments:**

    - `bits`: resistors per cell, 1 to 16.
    - `unit_ohm`: the resistance of bit 0 when it is set; bit b has `unit_ohm / 2^b`.
    - `clear_ohm`: of any clear bit.
    - the others: as for [`Device`][].

    **Raises:** `ValueError` for resistances of zero or less, and for bits that are not 1 to 16.

    Defaults: Moitra et al., "SpikeSim", whose code has 19.139 kΩ and 100 MΩ.
    """

    def __init__(
        self,
        bits: int = 4,
        unit_ohm: Scalar = 19.139e3,
        clear_ohm: Scalar = 100e6,
        variation: Programming | float | None = None,
        faults: Faults | None = None,
        drift: Drift | StateDrift | Relaxation | None = None,
        read_noise: ReadNoise | None = None,
    ):
        require_integer("BitResistors.bits", bits, 1, 16)
        message = "BitResistors needs unit_ohm and clear_ohm above zero, got {} and {}."
        require(lambda unit, clear: (unit > 0) & (clear > 0), message, unit_ohm, clear_ohm)
        self.g_min_siemens = bits / clear_ohm
        self.g_max_siemens = (2**bits - 1) / unit_ohm
        self.variation = _as_variation(variation)
        self.bits = bits
        self.faults, self.drift, self.read_noise = faults, drift, read_noise

    def target(self, level: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The conductance for one of the cell's levels in [0, 1], in siemens."""
        low, high = self.limits(level.dtype)
        count = self.bits
        assert count is not None
        number = jnp.round(jax.lax.stop_gradient(level) * (2**count - 1))
        halves = jnp.stack([jnp.floor(number / 2**bit) for bit in range(count)])
        ones = jnp.sum(halves - 2 * jnp.floor(halves / 2), axis=0)
        # The straight line between the ends, and how far the number of clear bits is from it.
        return low + level * (high - low) + jax.lax.stop_gradient(level * count - ones) * (low / count)
