"""An analog-to-digital converter: one object for what it costs and for what it does to a current."""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.ranges import LARGEST, Range, guard, interval, require_ranges, require_word
from hwmodels.rounding import straight_through
from hwmodels.workload import Scalar

Kind = Literal["flash", "sar", "ramp"]

_BOLTZMANN_J_K = 1.380649e-23
_PRECISIONS = ("mismatch", "offset", "noise")
_POSITIVE = (
    *_PRECISIONS,
    *(f"reference_{name}" for name in _PRECISIONS),
    "full_scale_v",
    "temperature_k",
    "sampling_farad",
)
_INF = float("inf")
_TINY = 1e-30


class AsBuilt(eqx.Module):
    r"""How precisely a converter is built: what distorts its codes, and what that precision costs.

    Elements of area A match to $σ ∝ 1/\sqrt{A}$ (Pelgrom et al., "Matching properties of MOS transistors",
    JSSC 1989), and thermal noise costs $E ∝ 1/σ_n^2$ (kT/C). So relative to a converter of the reference
    precisions, the unit elements take $(m_0/m)^2$ of the area and energy, the comparators $(o_0/o)^2$ of the
    area and $(n_0/n)^2$ of the energy. Errors are drawn once for each converter, noise at each conversion.

    **Arguments:** σ each, above zero; fractions.

    - `mismatch`: of one unit element (resistor, capacitor) against its kind; the source of INL and DNL.
    - `offset`: of a comparator, in full scales.
    - `gain_error`: of the whole converter; zero or more. It costs nothing: it is that of the reference.
    - `noise`: of one conversion, in full scales, rms.
    - `sampling_farad`: if given, the sampling capacitor, which adds $\sqrt{kT/C}/V$ of noise and $C\,V^2$ of
      energy to a conversion, V being `full_scale_v`, T `temperature_k`.
    - `reference_mismatch`, `reference_offset`, `reference_noise`: the precisions of the converter whose
      energy and area [`Adc`][] holds. Its authors do not print them: assumptions, of usual size.

    **Raises:** `ValueError` for a precision of zero or less, which no converter has; traced ones, when used.
    """

    mismatch: Scalar = 0.01
    offset: Scalar = 0.005
    gain_error: Scalar = 0.005
    noise: Scalar = 0.002
    sampling_farad: Scalar | None = None
    full_scale_v: Scalar = 1.0
    temperature_k: Scalar = 300.0
    reference_mismatch: Scalar = 0.01
    reference_offset: Scalar = 0.005
    reference_noise: Scalar = 0.002

    def __check_init__(self):
        require_ranges(*self._ranges())

    def _ranges(self) -> list[Range]:
        ranges = [
            Range(f"AsBuilt.{name} must be above zero and finite.", getattr(self, name), _TINY, 1e30)
            for name in _POSITIVE
            if getattr(self, name) is not None
        ]
        message = "AsBuilt.gain_error is a fraction of zero or more."
        return [*ranges, Range(message, self.gain_error, 0, 1e30)]

    def checked(self) -> "AsBuilt":
        """The same, such that using it raises where a traced number is out of its range."""
        return guard(self, self._ranges())

    @property
    def sampling_j(self) -> Scalar:
        """Energy of charging the sampling capacitor once, joule."""
        return 0.0 if self.sampling_farad is None else self.sampling_farad * self.full_scale_v**2

    @property
    def total_noise(self) -> Scalar:
        """Of one conversion, sampling included, in full scales, rms."""
        if self.sampling_farad is None:
            return self.noise
        sampled = _BOLTZMANN_J_K * self.temperature_k / (self.sampling_farad * self.full_scale_v**2)
        return (self.noise**2 + sampled) ** 0.5


class Adc(eqx.Module):
    r"""The converter of a column: its kind, how it scales with its resolution b, and how it is built.

    `flash` has $2^b - 1$ comparators that decide at once: energy and area grow as $2^b - 1$, and one clock is
    enough. `sar` decides one bit a clock: its comparator and logic work b times, its capacitor array has
    $2^b$ units, and the conversion takes b clocks. `ramp` compares with a ramp of $2^b$ steps and counts
    them: comparator and counter work $2^b$ clocks, but are b bits wide. All rules are anchored at the
    published converter (b = 4), so at four bits they differ in time alone; how a converter divides between
    logic and unit elements there is `capacitor_share`.

    **Arguments:**

    - `kind`: `"flash"`, `"sar"` or `"ramp"`.
    - `energy_j`, `area_um2`: one conversion and one converter at `reference_bits`.
    - `reference_bits`: resolution at which they hold.
    - `capacitor_share`: share of the converter's energy and area that its unit elements (the capacitors of a
      SAR converter) take at `reference_bits`, in [0, 1]. An assumption, not a measurement. For `flash` it
      matters only with `build`.
    - `build`: its precision; None for an ideal one at the published cost.

    **Raises:** `ValueError` for another kind, and for known numbers out of range.

    **Source:** the energy-latency-area script of Intelligent-Computing-Lab-Yale/SpikeSim (65 nm).
    """

    kind: Kind = eqx.field(static=True, default="flash")
    energy_j: Scalar = 2.03084e-12
    area_um2: Scalar = 693.633
    reference_bits: Scalar = 4  # `--ADC_precision 4` of the same repository
    capacitor_share: Scalar = 0.5
    build: AsBuilt | None = None

    def __check_init__(self):
        require_word("Adc.kind", self.kind, get_args(Kind))
        require_ranges(
            interval("Adc.energy_j", self.energy_j, 0, LARGEST),
            interval("Adc.area_um2", self.area_um2, 0, LARGEST),
            interval("Adc.reference_bits", self.reference_bits, 1, 16),
            interval("Adc.capacitor_share", self.capacitor_share, 0, 1),
        )

    def _growths(self, bits: Scalar) -> tuple[Scalar, Scalar, Scalar]:
        """Of the comparators' and the logic's energy, of their area, and of the unit elements."""
        if self.kind == "flash":
            growth = (2.0**bits - 1.0) / (2.0**self.reference_bits - 1.0)
            return growth, growth, growth
        units, wide = 2.0 ** (bits - self.reference_bits), bits / self.reference_bits
        return (units if self.kind == "ramp" else wide), wide, units

    def energy_growth(self, bits: Scalar) -> Scalar:
        """Energy of a conversion at `bits`, relative to the published one."""
        logic, _, units = self._growths(bits)
        if self.build is None:
            return self._mixed(logic, units)
        build = self.build.checked()
        logic = logic * (build.reference_noise / build.noise) ** 2
        units = units * (build.reference_mismatch / build.mismatch) ** 2
        return self._shared(logic, units) + build.sampling_j / self.energy_j

    def area_growth(self, bits: Scalar) -> Scalar:
        """Area of a converter at `bits`, relative to the published one."""
        _, logic, units = self._growths(bits)
        if self.build is None:
            return self._mixed(logic, units)
        build = self.build.checked()
        logic = logic * (build.reference_offset / build.offset) ** 2
        units = units * (build.reference_mismatch / build.mismatch) ** 2
        return self._shared(logic, units)

    def _mixed(self, logic: Scalar, units: Scalar) -> Scalar:
        # Flash grows as a whole, whatever the share: published numbers stay the same bit by bit.
        return units if self.kind == "flash" else self._shared(logic, units)

    def _shared(self, logic: Scalar, units: Scalar) -> Scalar:
        return (1.0 - self.capacitor_share) * logic + self.capacitor_share * units

    def conversion_clocks(self, bits: Scalar) -> Scalar:
        """Clocks of one conversion: one for flash, one per bit for SAR, one per step for a ramp."""
        if self.kind == "ramp":
            return 2.0**bits
        return bits if self.kind == "sar" else 1

    def conversion_j(self, bits: Scalar) -> Scalar:
        """Energy of one conversion, joule."""
        return self.energy_j * self.energy_growth(bits)

    def converter_um2(self, bits: Scalar) -> Scalar:
        """Area of one converter, µm²."""
        return self.area_um2 * self.area_growth(bits)

    def conversion_s(self, bits: Scalar, clock_hz: Scalar) -> Scalar:
        """Time of one conversion, second."""
        return self.conversion_clocks(bits) / clock_hz

    def draw(
        self, key: PRNGKeyArray, bits: int, signed: bool, shape: tuple[int, ...], columns: int, dtype
    ) -> "DrawnAdc":
        """Converters with errors of their own, as [`AsBuilt`][] spreads them.

        **Arguments:**

        - `bits`, `signed`: signed, a SAR converter's first bit chooses the polarity.
        - `shape`: of groups of converters; each has a ramp of its own.
        - `columns`: converters in a group.

        **Raises:** `ValueError` for an ideal converter, of which there is nothing to draw.
        """
        if self.build is None:
            raise ValueError(
                "Adc.draw needs Adc.build, an AsBuilt: an ideal converter has no errors to draw."
            )
        build = self.build.checked()
        steps = 2 ** (bits - signed) - 1
        mismatch, offset, gain_error = (
            jnp.asarray(value).astype(dtype) for value in (build.mismatch, build.offset, build.gain_error)
        )
        of_units, of_comparators, of_gain = (jax.random.fold_in(key, index) for index in range(3))
        gain = 1 + gain_error * jax.random.normal(of_gain, (*shape, columns), dtype)
        if self.kind == "sar":
            weights = 2.0 ** jnp.arange(bits - signed, dtype=dtype)
            noise = jax.random.normal(of_units, (*shape, columns, bits - signed), dtype)
            # A capacitor of n units matches √n times as well.
            units = weights * (1 + mismatch * noise / jnp.sqrt(weights))
            levels = steps * units / units.sum(-1, keepdims=True)
        else:
            count = steps * (1 + signed)
            own = (columns,) if self.kind == "flash" else (1,)
            noise = jax.random.normal(of_units, (*shape, *own, count), dtype)
            ladder = jnp.cumsum(1 + mismatch * noise, axis=-1)
            levels = count * ladder / ladder[..., -1:] - jnp.arange(1, count + 1, dtype=dtype)
        comparators = (*shape, columns, *((levels.shape[-1],) if self.kind == "flash" else (1,)))
        offsets = offset * steps * jax.random.normal(of_comparators, comparators, dtype)
        if self.kind != "sar":
            levels, offsets = levels - offsets, jnp.zeros_like(gain)
        else:
            offsets = offsets[..., 0]
        noise = jnp.asarray(build.total_noise).astype(dtype)
        noise = jnp.broadcast_to(noise, shape)
        return DrawnAdc(self.kind, signed, steps, levels, offsets, gain, noise)


class DrawnAdc(eqx.Module):
    """Converters of one kind with their errors, in steps.

    **Arguments:**

    - `kind`, `signed`, `steps`: full scale is `steps` steps, and so is its negative if `signed`.
    - `levels`: SAR: what each capacitor adds. Else: how far each decision level is from its place.
    - `offsets`, `gain`: added to, and multiplied with, what arrives.
    - `noise`: rms, in full scales.
    """

    kind: str = eqx.field(static=True)
    signed: bool = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    levels: Float[Array, "*shape columns levels"]
    offsets: Float[Array, "*shape columns"]
    gain: Float[Array, "*shape columns"]
    noise: Float[Array, "*shape"]

    def spread(self, share: int, width: int) -> "DrawnAdc":
        """The converter of each column: `share` neighbours of a group of `width` columns have one in common.

        The groups on the last axis of the shape are laid side by side; the noise of the first is that of all.
        """

        def laid(leaf, axis):
            columns = jnp.repeat(leaf, share, axis=axis)
            columns = jax.lax.slice_in_dim(columns, 0, width, axis=axis)
            groups = axis % columns.ndim - 1
            merged = (columns.shape[groups] * width,)
            return columns.reshape(*columns.shape[:groups], *merged, *columns.shape[groups + 2 :])

        return DrawnAdc(
            self.kind,
            self.signed,
            self.steps,
            laid(jnp.broadcast_to(self.levels, (*self.gain.shape, self.levels.shape[-1])), -2),
            laid(self.offsets, -1),
            laid(self.gain, -1),
            self.noise[..., 0],
        )

    def codes(
        self, x: Float[Array, "vectors columns"], key: PRNGKeyArray | None
    ) -> Float[Array, "vectors columns"]:
        """The codes of one group for inputs in steps; straight-through, with the slope of the errors too.

        **Raises:** `ValueError` without a key, since every conversion is noisy.
        """
        if key is None:
            raise ValueError("a converter as built is noisy: each read needs a key.")
        x = self.gain * x + self.offsets
        x = x + self.noise * self.steps * jax.random.normal(key, x.shape, x.dtype)
        code, moved = self._successive(x) if self.kind == "sar" else self._counted(x)
        # As the ideal converter: no slope beyond full scale.
        least = -self.steps if self.signed else 0
        within = jnp.where(x < least, least, jnp.where(x > self.steps, self.steps, x - moved))
        return straight_through(code, within)

    def _counted(self, x):
        """Flash and ramp: how many decision levels are passed, and how far the last of them is off."""
        least = -self.steps if self.signed else 0
        count = self.levels.shape[-1]
        places = jnp.arange(1, count + 1, dtype=x.dtype) - 0.5 + least
        places = jnp.broadcast_to(places + self.levels, (x.shape[-1], count))
        # Comparators are counted, so that levels in the wrong order lose no code.
        ordered, given = jax.lax.stop_gradient((jnp.sort(places, axis=-1), x))
        passed = jax.vmap(lambda level, x: jnp.searchsorted(level, x, side="right"), (0, 1), 1)(
            ordered, given
        )
        levels = jnp.broadcast_to(self.levels, places.shape)
        moved = jnp.take_along_axis(levels.T, jnp.maximum(passed - 1, 0), axis=0)
        return passed.astype(x.dtype) + least, moved

    def _successive(self, x):
        """SAR: bits from the greatest, each kept if the input is not below what it adds up to."""
        magnitude = jnp.abs(x) if self.signed else x
        level, code = jnp.zeros_like(x), jnp.zeros_like(x)
        for bit in reversed(range(self.levels.shape[-1])):
            trial = level + self.levels[:, bit]
            keep = jax.lax.stop_gradient(magnitude >= trial - 0.5)
            level = jnp.where(keep, trial, level)
            code = code + jnp.where(keep, 2.0**bit, 0.0)
        sign = jnp.where(x < 0, -1.0, 1.0) if self.signed else jnp.ones_like(x)
        return sign * code, sign * (level - code)
