"""Converters on the inputs of a layer and on every tile's column currents."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.adc import Adc, DrawnAdc
from hwmodels.checks import error_if
from hwmodels.ranges import require, require_integer, require_traced
from hwmodels.rounding import clipped, rounded
from hwmodels.workload import Scalar

FullScale = Literal["worst-case", "calibrated"]


class Conversion(eqx.Module):
    """What converters do to inputs and currents, bits and full scale being numbers as others are.

    Designs that differ in them alone share a compiled program; see [`hwmodels.crossbar.TileProduct.fixed`][].

    **Arguments:**

    - `dac_bits`, `signed`, `input_full_scale`: as for [`Converters`][].
    - `adc_steps`: of the ADC, from zero to full scale; None for an ideal one.
    - `clipped_above`: the magnitude beyond which inputs are clipped; None if none are.
    """

    dac_bits: int | None = eqx.field(static=True)
    signed: bool = eqx.field(static=True)
    input_full_scale: Scalar
    adc_steps: Scalar | None
    clipped_above: Scalar | None

    def input_limit(self, dtype) -> Float[Array, ""]:
        """`input_full_scale`, checked also when it is traced."""
        limit = jnp.asarray(self.input_full_scale).astype(dtype)
        message = "Converters.input_full_scale must be above zero and finite."
        return require_traced(limit, _is_scale, message, self.input_full_scale)

    def digital_input(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Inputs as the DAC makes them; an error for negative ones unless `signed`."""
        if not self.signed:
            message = "crossbar: a negative input; Converters(signed=True) allows them."
            x = error_if(x, jnp.any(x < 0), message)
        if self.dac_bits is None:
            return x
        return _converted(x, self.input_limit(x.dtype), 2**self.dac_bits - 1, self.signed)

    def digital_current(
        self,
        current: Float[Array, "*shape"],
        full_scale: Float[Array, ""],
        drawn: DrawnAdc | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "*shape"]:
        """Currents as the ADC reports them, for a full scale in the same unit.

        **Arguments:** `drawn`: the converters of these columns, if as built. `key`: of their noise.
        """
        if self.adc_steps is None:
            return current
        if drawn is not None:
            step = jnp.where(full_scale > 0, full_scale, 1) / self.adc_steps
            return drawn.codes(current / step, key) * step
        return _converted(current, full_scale, self.adc_steps, self.signed)


class Converters(eqx.Module):
    """The converters of a tile: a DAC on every row, an ADC on every column.

    Both round to equal steps from zero to full scale, and clip beyond it; the derivative is 1 within the
    range, its ends included, and 0 outside (straight-through). Signed, one of the ADC's bits is the sign, and
    the DAC, whose polarity a switch reverses, keeps all of its bits for the magnitude.

    **Arguments:**

    - `dac_bits`, `adc_bits`: None for an ideal converter. Spikes need a `dac_bits` of 1.
    - `input_full_scale`: the greatest magnitude of an input, in its own unit; 1 for spikes.
    - `full_scale`: of the ADC. "worst-case": the greatest current that inputs of full scale can cause in any
      column of the kernel's tiles, so that the ADC clips none of them. Only a DAC holds inputs to full
      scale: with `dac_bits=None`, greater ones pass, and the ADC clips what they cause. "calibrated": the
      `percentile` of the magnitudes of the currents that given inputs cause, see
      [`hwmodels.crossbar.TileProduct.calibrate`][].
    - `percentile`: a fraction, above 0, at most 1.
    - `signed`: whether inputs may be negative.
    - `adc`: the ADC, for its errors as built: [`hwmodels.adc.Adc.build`][]. The same object prices
      conversions in [`hwmodels.spikeflow.Chip`][]. Ideal if it is None, or its `build` is.
    - `columns_per_adc`: neighbouring columns of a tile that share one ADC and so its errors.

    **Raises:** `ValueError` for zero bits, a full scale of zero or less, a percentile outside (0, 1], an
    unknown rule, and an ADC as built without `adc_bits`.
    """

    dac_bits: int | None = eqx.field(static=True, default=None)
    adc_bits: int | None = eqx.field(static=True, default=8)
    input_full_scale: Scalar = 1.0
    full_scale: FullScale = eqx.field(static=True, default="worst-case")
    percentile: float = eqx.field(static=True, default=0.999)
    signed: bool = eqx.field(static=True, default=False)
    adc: Adc | None = None
    columns_per_adc: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        least = {"dac_bits": 1, "adc_bits": 1 + self.signed}
        for name, bits in least.items():
            require_integer(f"Converters.{name}", getattr(self, name), bits, 24, or_none="an ideal converter")
        if self.full_scale not in ("worst-case", "calibrated"):
            raise ValueError(
                f'Converters.full_scale must be "worst-case" or "calibrated", got {self.full_scale!r}.'
            )
        if not 0 < self.percentile <= 1:
            raise ValueError(
                f"Converters.percentile is a fraction above 0 and at most 1, got {self.percentile}."
            )
        require_integer("Converters.columns_per_adc", self.columns_per_adc, 1)
        if self.as_built and self.adc_bits is None:
            raise ValueError("an ADC as built has codes: Converters(adc=...) needs adc_bits.")
        message = "Converters.input_full_scale must be one number above zero and finite, got {}."
        require(lambda scale: scale.ndim == 0 and _is_scale(scale), message, self.input_full_scale)

    @property
    def as_built(self) -> bool:
        """Whether the ADCs have errors: these are drawn for every chip, and noise at every read."""
        return self.adc is not None and self.adc.build is not None

    def draw(self, key: PRNGKeyArray, blocks: int, currents: int, width: int, dtype) -> DrawnAdc | None:
        """The ADCs of `blocks` rows of tiles side by side, each `width` columns; None if they are ideal."""
        if self.adc is None or not self.as_built:
            return None
        assert self.adc_bits is not None
        tiles, each = currents // width, -(-width // self.columns_per_adc)
        with jax.numpy_rank_promotion("allow"):
            drawn = self.adc.draw(key, self.adc_bits, self.signed, (blocks, tiles), each, dtype)
            return drawn.spread(self.columns_per_adc, width)

    def conversion(self) -> Conversion:
        """What they do, whatever rule their full scale follows."""
        require_integer("Converters.columns_per_adc", self.columns_per_adc, 1)
        if self.as_built and self.adc_bits is None:
            raise ValueError("an ADC as built has codes: Converters(adc=...) needs adc_bits, got None.")
        steps = None if self.adc_bits is None else 2 ** (self.adc_bits - self.signed) - 1
        # Without a DAC the ADC clips, if its full scale was chosen for inputs of so much.
        clips = self.dac_bits is not None or (steps is not None and self.full_scale == "worst-case")
        above = self.input_full_scale if clips else None
        return Conversion(self.dac_bits, self.signed, self.input_full_scale, steps, above)


def _is_scale(scale):
    return (scale > 0) & (scale < float("inf"))


def _converted(x, full_scale, steps, signed):
    # A kernel whose cells are all open has no current, and any full scale will do.
    step = jnp.where(full_scale > 0, full_scale, 1) / steps
    number, least = x / step, -steps if signed else 0
    return rounded(clipped(number, least, steps)) * step
