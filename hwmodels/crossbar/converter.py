"""Converters on the inputs and on every tile's column currents, and the product of a layer with them.

A programmed kernel alone is a matrix, and needs nothing of this. What depends on the activations does: the
rounding of every tile's currents and read noise.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.crossbar._checks import Scalar, require, require_integer, require_traced
from hwmodels.crossbar._patches import patches
from hwmodels.crossbar._read_spread import ReadSpread
from hwmodels.crossbar.circuit import effective_conductance
from hwmodels.crossbar.deploy import program_kernels
from hwmodels.crossbar.device import ReadNoise
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.programming import ProgrammedKernel, Solve
from hwmodels.rounding import rounded

# Vectors at a time: their currents on a layer of some ten tiles are about a megabyte.
_CHUNK = 1024

FullScale = Literal["worst-case", "calibrated"]


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
      [`TileProduct.calibrate`][].
    - `percentile`: a fraction, above 0, at most 1.
    - `signed`: whether inputs may be negative.

    **Raises:** `ValueError` for zero bits, a full scale of zero or less, a percentile outside (0, 1], and an
    unknown rule.
    """

    dac_bits: int | None = eqx.field(static=True, default=None)
    adc_bits: int | None = eqx.field(static=True, default=8)
    input_full_scale: Scalar = 1.0
    full_scale: FullScale = eqx.field(static=True, default="worst-case")
    percentile: float = eqx.field(static=True, default=0.999)
    signed: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        least = {"dac_bits": 1, "adc_bits": 1 + self.signed}
        for name, bits in least.items():
            require_integer(f"Converters.{name}", getattr(self, name), bits, 24, "an ideal converter")
        if self.full_scale not in ("worst-case", "calibrated"):
            raise ValueError(
                f'Converters.full_scale must be "worst-case" or "calibrated", got {self.full_scale!r}.'
            )
        if not 0 < self.percentile <= 1:
            raise ValueError(
                f"Converters.percentile is a fraction above 0 and at most 1, got {self.percentile}."
            )
        message = "Converters.input_full_scale must be above zero and finite, got {}."
        require(_is_scale, message, self.input_full_scale)

    def input_limit(self, dtype) -> Float[Array, ""]:
        """`input_full_scale`, checked also when it is traced."""
        limit = jnp.asarray(self.input_full_scale).astype(dtype)
        message = "Converters.input_full_scale must be above zero and finite."
        return require_traced(limit, _is_scale, message, self.input_full_scale)

    def digital_input(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Inputs as the DAC makes them; an error for negative ones unless `signed`."""
        if not self.signed:
            message = "crossbar: a negative input; Converters(signed=True) allows them."
            x = eqx.error_if(x, jnp.any(x < 0), message)
        if self.dac_bits is None:
            return x
        return _converted(x, self.input_limit(x.dtype), 2**self.dac_bits - 1, self.signed)

    def digital_current(
        self, current: Float[Array, "*shape"], full_scale: Float[Array, ""]
    ) -> Float[Array, "*shape"]:
        """Currents as the ADC reports them, for a full scale in the same unit."""
        if self.adc_bits is None:
            return current
        steps = 2 ** (self.adc_bits - self.signed) - 1
        return _converted(current, full_scale, steps, self.signed)


def _is_scale(scale):
    return (scale > 0) & (scale < float("inf"))


def _converted(x, full_scale, steps, signed):
    # A kernel whose cells are all open has no current, and any full scale will do.
    step = jnp.where(full_scale > 0, full_scale, 1) / steps
    number, least = x / step, -steps if signed else 0
    # Not `jnp.clip`, whose slope is a half at the ends, where spikes are.
    within = jnp.where(number < least, least, jnp.where(number > steps, steps, number))
    return rounded(within) * step


class _hook:
    """A method that other libraries may keep: Flax would take Equinox's bound method, a pytree, for data."""

    def __init__(self, method: Callable[..., Array]):
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self.method, instance)


class TileProduct(eqx.Module):
    """The products of one layer on its programmed tiles, with converters and read noise.

    `y = Σ_tiles gain·ADC(G_effᵀ·DAC(x) + noise)`, put together digitally as the signs ask for. The methods
    have the signatures of the hooks that layers offer: `dot_general` and `conv_general_dilated` those of
    `jax.lax` (Flax's `dot_general=` and `conv_general_dilated=`), `linear` and `convolve` plain ones. Of the
    kernel that a layer hands over only the shape is looked at: the tiles hold it.

    Read noise is drawn for every input vector from `key`; another call draws the same again. Give each call a
    key of its own by [`TileProduct.with_key`][].

    **Arguments:**

    - `chip`: the programmed kernel; gradients flow through it to the weights, devices and wires.
    - `converters`: None for ideal ones.
    - `read_noise`: of the cells.
    - `key`: of the read noise.
    - `adc_full_scale`: in siemens times the inputs' unit; set by [`TileProduct.calibrate`][].

    **Raises:** `ValueError` for read noise without a key, a full scale that is still to be calibrated, and a
    kernel of another shape; an error, also under `jit`, for negative inputs unless the converters are
    `signed`.
    """

    chip: ProgrammedKernel
    converters: Converters | None = None
    read_noise: ReadNoise | None = None
    key: PRNGKeyArray | None = None
    adc_full_scale: Float[Array, ""] | None = None

    def with_key(self, key: PRNGKeyArray) -> "TileProduct":
        """The same tiles, whose next reads draw from `key`."""
        return TileProduct(self.chip, self.converters, self.read_noise, key, self.adc_full_scale)

    def calibrate(
        self,
        x: Float[Array, "..."],
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
    ) -> "TileProduct":
        """The same tiles with the ADC's full scale at a percentile of the currents that inputs `x` cause.

        The currents are those of the columns in use. They are made chunk by chunk, and only those above the
        percentile are kept.

        **Arguments:**

        - `x`: shape (..., in), or for a convolution (batch, height, width, in).
        - `stride`, `padding`: of the convolution.

        **Raises:** `ValueError` for no inputs, or without converters; an error, also under `jit`, if the
        percentile is at no current at all.
        """
        if self.converters is None:
            raise ValueError("there are no converters to calibrate.")
        kernel = self.chip.weights.shape[:-2]
        if not kernel:
            x = x.reshape(-1, x.shape[-1])
        if x.size == 0:
            raise ValueError(f"calibration needs at least one input vector, got inputs of shape {x.shape}.")

        def vectors(x):
            return patches(x, kernel, stride, [(pad, pad) for pad in padding]) if kernel else x

        each = math.prod(jax.eval_shape(vectors, x).shape[1:-1])
        effective = self._blocked(self.chip.effective)[..., self.chip.encoded.columns_in_use]
        # As `jnp.quantile` of all currents: on the straight line between two neighbours in order.
        count = len(x) * each * effective.shape[0] * effective.shape[-1]
        place = (count - 1) * self.converters.percentile
        below = math.floor(place)

        def keep(greatest, part):
            seen = vectors(part)
            blocks = self._blocks(seen.reshape(-1, seen.shape[-1]))
            currents = jnp.abs(jnp.einsum("ndr,drc->dnc", blocks, effective))
            found = jnp.concatenate([greatest, currents.reshape(-1)])
            return jax.lax.top_k(found, len(greatest))[0], None

        greatest, _ = jax.lax.scan(keep, jnp.zeros(count - below, effective.dtype), self._chunks(x, each))
        above = greatest[max(len(greatest) - 2, 0)]
        reached = greatest[-1] + (place - below) * (above - greatest[-1])
        reached = eqx.error_if(
            reached,
            (reached <= 0) & jnp.any(effective > 0),
            "crossbar: the calibrated full scale is zero, since too many currents are; calibrate with inputs "
            "that are active, or with a greater Converters.percentile.",
        )
        return TileProduct(self.chip, self.converters, self.read_noise, self.key, reached)

    @_hook
    def linear(self, x: Float[Array, "*batch inputs"], kernel: Array | None = None) -> Array:
        """`x @ kernel`, shape (..., out)."""
        self._check_kernel(kernel)
        inputs = math.prod(self.chip.weights.shape[:-1])
        if x.shape[-1] != inputs:
            raise ValueError(f"tiles of a kernel of {inputs} inputs got {x.shape[-1]} features.")
        out = self._products(x.reshape(-1, inputs), lambda x: x, 1)
        return out.reshape(*x.shape[:-1], self.chip.encoded.plan.outputs).astype(x.dtype)

    @_hook
    def convolve(
        self,
        x: Float[Array, "batch height width channels"],
        kernel: Array | None,
        stride: Sequence[int],
        padding: Sequence[int],
    ) -> Float[Array, "batch height2 width2 channels2"]:
        """The convolution of channels-last maps with zero padding."""
        self._check_kernel(kernel)
        return self._convolution(x, stride, [(pad, pad) for pad in padding], (1, 1))

    @_hook
    def dot_general(
        self,
        lhs: Array,
        rhs: Array,
        dimension_numbers: Any,
        precision: Any = None,
        preferred_element_type: Any = None,
        *,
        out_sharding: Any = None,
    ) -> Array:
        """[`jax.lax.dot_general`][] of the last axis of `lhs` with the first of the kernel `rhs`."""
        (of_lhs, of_rhs), batch = dimension_numbers
        if tuple(of_lhs) != (lhs.ndim - 1,) or tuple(of_rhs) != (0,) or any(map(len, batch)):
            raise ValueError(
                "TileProduct.dot_general multiplies the last axis of the inputs with the first of the "
                f"kernel, without batch axes; got dimension_numbers {dimension_numbers}."
            )
        return self.linear(lhs, rhs).astype(preferred_element_type or lhs.dtype)

    @_hook
    def conv_general_dilated(
        self,
        lhs: Array,
        rhs: Array,
        window_strides: Sequence[int],
        padding: str | Sequence[tuple[int, int]],
        lhs_dilation: Sequence[int] | None = None,
        rhs_dilation: Sequence[int] | None = None,
        dimension_numbers: Any = None,
        feature_group_count: int = 1,
        batch_group_count: int = 1,
        precision: Any = None,
        preferred_element_type: Any = None,
        *,
        out_sharding: Any = None,
    ) -> Array:
        """[`jax.lax.conv_general_dilated`][] with a kernel of axes (height, width, in, out)."""
        numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        spatial = lhs.ndim - 2
        if numbers.rhs_spec != (spatial + 1, spatial, *range(spatial)):
            raise ValueError(
                "the kernel of TileProduct.conv_general_dilated has axes (height, width, in, out); got "
                f"dimension_numbers {dimension_numbers}."
            )
        dilated = lhs_dilation is not None and any(step != 1 for step in lhs_dilation)
        if dilated or feature_group_count != 1 or batch_group_count != 1:
            raise ValueError(
                "TileProduct.conv_general_dilated has neither groups nor dilated inputs; got "
                f"lhs_dilation={lhs_dilation}, feature_group_count={feature_group_count}, "
                f"batch_group_count={batch_group_count}."
            )
        self._check_kernel(rhs)
        dilation = tuple(rhs_dilation or (1,) * spatial)
        # Inputs as (batch, spatial ..., channels), whatever order they come in.
        order = (numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1])
        x = lhs.transpose(order)
        if isinstance(padding, str):
            extents = [(k - 1) * d + 1 for k, d in zip(rhs.shape[:-2], dilation, strict=True)]
            padding = jax.lax.padtype_to_pads(x.shape[1:-1], extents, window_strides, padding)
        out = self._convolution(x, window_strides, padding, dilation)
        spec = numbers.out_spec
        back = {spec[0]: 0, spec[1]: out.ndim - 1} | {axis: i + 1 for i, axis in enumerate(spec[2:])}
        return out.transpose([back[axis] for axis in range(out.ndim)]).astype(
            preferred_element_type or lhs.dtype
        )

    def _check_kernel(self, kernel):
        if kernel is not None and kernel.shape != self.chip.weights.shape:
            raise ValueError(
                f"these tiles hold a kernel of shape {self.chip.weights.shape}, not {kernel.shape}."
            )

    def _convolution(self, x, stride, padding, dilation):
        def vectors(x):
            return patches(x, self.chip.weights.shape[:-2], stride, padding, dilation)

        seen = jax.eval_shape(vectors, x)
        if seen.shape[-1] != math.prod(self.chip.weights.shape[:-1]):
            raise ValueError(
                f"tiles of a kernel of shape {self.chip.weights.shape} got maps of {x.shape[-1]} channels."
            )
        return self._products(x, vectors, math.prod(seen.shape[1:-1])).astype(x.dtype)

    def _products(self, x, vectors, each):
        """Products of `vectors(x)`, of which an element of the first axis of `x` makes `each`.

        In chunks whose currents stay in a core's cache, without which their memory traffic costs most.
        """
        tiles = self._tiles()

        def product(chunk):
            index, part = chunk
            seen = vectors(part)
            out = self._product(seen.reshape(-1, seen.shape[-1]), tiles, index)
            return out.reshape(*seen.shape[:-1], -1)

        chunks = self._chunks(x, each)
        if len(chunks) == 1:
            return product((0, chunks[0]))
        out = jax.lax.map(product, (jnp.arange(len(chunks)), chunks))
        return out.reshape(-1, *out.shape[2:])[: len(x)]

    def _chunks(self, x, each):
        """Inputs as the DAC makes them, (chunks, size, ...); zeros fill the last chunk."""
        dtype = self.chip.weights.dtype
        converters = self.converters
        values = x.astype(dtype) if converters is None else converters.digital_input(x.astype(dtype))
        size = max(1, min(len(x), _CHUNK // each))
        chunks = -(-len(x) // size)
        values = jnp.pad(values, ((0, chunks * size - len(x)), *((0, 0),) * (x.ndim - 1)))
        return values.reshape(chunks, size, *values.shape[1:])

    def _tiles(self):
        """What the chunks share: tiles as (blocks, rows, planes · across · columns), scales and noise."""
        chip = self.chip
        worth = chip.encoded.coefficients[:, None, None, None, None, None] * chip.gain
        correction = chip.encoded.correction
        return (
            self._blocked(chip.effective),
            self._blocked(worth)[:, 0, :],
            None
            if correction is None
            else chip.encoded.plan.join(correction).reshape(-1, chip.encoded.plan.outputs),
            self._full_scale(),
            None
            if self.read_noise is None
            else jax.tree.map(self._blocked, ReadSpread.of(chip.conductances, chip.wires)),
        )

    @staticmethod
    def _blocked(tiles):
        planes, groups, down, across, rows, columns = tiles.shape
        return tiles.transpose(1, 2, 4, 0, 3, 5).reshape(groups * down, rows, planes * across * columns)

    def _blocks(self, x):
        """Inputs (vectors, groups · inputs) as the rows of each tile see them."""
        plan = self.chip.encoded.plan
        down, _ = plan.grid
        x = x.reshape(len(x), plan.groups, plan.inputs)
        x = jnp.pad(x, ((0, 0), (0, 0), (0, down * plan.rows - plan.inputs)))
        return x.reshape(len(x), plan.groups * down, plan.rows)

    def _full_scale(self):
        if self.converters is None or self.adc_full_scale is not None:
            return self.adc_full_scale
        if self.converters.full_scale == "calibrated":
            raise ValueError(
                'Converters(full_scale="calibrated") needs TileProduct.calibrate(inputs) before its use.'
            )
        column = jnp.max(jnp.sum(self.chip.effective, axis=-2))
        return column * self.converters.input_limit(column.dtype)

    def _product(self, x, tiles, index):
        """(vectors, inputs of all tiles) to (vectors, outputs), for the chunk `index`."""
        effective, worth, correction, full_scale, spreads = tiles
        encoded, plan = self.chip.encoded, self.chip.encoded.plan
        blocks = self._blocks(x)

        width = self.chip.effective.shape[-1]

        def read(inputs, block, spread, key):
            currents = inputs @ block
            if self.read_noise is not None:
                currents = self.read_noise(currents, spread(inputs, currents, width), key)
            if self.converters is not None:
                currents = self.converters.digital_current(currents, full_scale)
            return currents

        keys = None
        if self.read_noise is not None:
            if self.key is None:
                raise ValueError("read noise is drawn at each read: TileProduct needs a key.")
            keys = jax.random.split(jax.random.fold_in(self.key, index), len(effective))

        def step(total, block):
            inputs, effective, worth, spread, key = block
            return total + read(inputs, effective, spread, key) * worth, None

        start = jnp.zeros((len(x), effective.shape[-1]), x.dtype)
        # The inputs of a tile side by side, as products of matrices want them.
        blocks = jnp.moveaxis(blocks, 1, 0)
        total, _ = jax.lax.scan(step, start, (blocks, effective, worth, spreads, keys))
        planes = len(encoded.coefficients)
        total = total.reshape(len(x), planes, plan.grid[1], -1)
        out = encoded.without_reference(jnp.sum(total, axis=1)).reshape(len(x), -1)[:, : plan.outputs]
        return out if correction is None else out - x @ correction


def tile_products(
    params: Any,
    crossbar: Crossbar,
    key: PRNGKeyArray,
    *,
    converters: Converters | None = None,
    read_key: PRNGKeyArray | None = None,
    solve: Solve = effective_conductance,
) -> dict[str, TileProduct]:
    """Programs every kernel of a parameter pytree and returns the products of its layers.

    **Arguments:**

    - `params`, `crossbar`, `key`, `solve`: as for [`hwmodels.crossbar.deploy`][], and with the same draws.
    - `converters`: of all tiles; None for ideal ones.
    - `read_key`: of the read noise, if the device has any; each kernel gets its own stream.

    **Returns:** a [`TileProduct`][] for each kernel, by its path as `jax.tree_util.keystr` writes it.

    **Raises:** as `deploy`.
    """
    chips = program_kernels(params, crossbar, key, solve=solve)
    noise = crossbar.device.read_noise
    return {
        name: TileProduct(
            chip, converters, noise, None if read_key is None else jax.random.fold_in(read_key, index)
        )
        for index, (name, chip) in enumerate(chips.items())
    }
