"""The product of a layer on its tiles, tile by tile.

A programmed kernel alone is a matrix, and needs nothing of this. What depends on the activations does: the
rounding of every tile's currents and read noise.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from hwmodels.adc import DrawnAdc
from hwmodels.checks import error_if, jit_with_checks
from hwmodels.crossbar._clipping import warn_of_clipping
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar._side_by_side import SideBySide
from hwmodels.crossbar._views import views
from hwmodels.crossbar.converter import Conversion, Converters
from hwmodels.crossbar.device import ReadNoise
from hwmodels.crossbar.programming import ProgrammedKernel

# Vectors at a time: so many that their inputs and currents are some megabytes, but no fewer than these.
_CHUNK, _CHUNK_NUMBERS = 1024, 2**21
# Each has the currents of all cells for itself.
_NONLINEAR_CHUNK = 64
# What no input is beyond; finite, as all numbers of a network are to be.
_ANY = float(np.finfo(np.float32).max)


class _Window(NamedTuple):
    """How a convolution moves its kernel over maps."""

    stride: Sequence[int]
    padding: Sequence[tuple[int, int]]
    dilation: Sequence[int]


class _hook:
    """A method that other libraries may keep: Flax would take Equinox's bound method, a pytree, for data."""

    def __init__(self, method: Callable[..., Array]):
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self.method, instance)


class TileProduct(eqx.Module):
    """The products of one layer on its programmed tiles, with converters, read noise and nonlinear cells.

    `y = Σ_tiles gain·ADC(G_effᵀ·DAC(x) + noise)`, put together digitally as the signs ask for. The methods
    have the signatures of the hooks that layers offer: `dot_general` and `conv_general_dilated` those of
    `jax.lax` (Flax's `dot_general=` and `conv_general_dilated=`), `linear` and `convolve` plain ones. Of the
    kernel that a layer hands over only the shape is looked at: the tiles hold it. Results have the inputs'
    dtype, and the tiles' where inputs are whole numbers or booleans, as spikes may be.

    Read noise is drawn from `key` for each entry of the inputs' first axes and each tile; another call draws
    the same again. Give each call a key of its own by [`TileProduct.with_key`][], or each entry one by the
    `keys` of `linear` and `convolve`: then a draw depends on `key`, the entry's key and the tile alone, and
    not on how the entries are cut into calls.

    **Arguments:**

    - `chip`: the programmed kernel; gradients flow through it to the weights, devices and wires. What is kept
      of it are its `tiles`, laid out for the products of these converters and this read noise.
    - `converters`: None for ideal ones.
    - `read_noise`: of the cells.
    - `key`: of the read noise, and of that of converters as built.
    - `adc_full_scale`: in siemens times the inputs' unit; set by [`TileProduct.calibrate`][].
    - `converter_key`: of the errors of converters as built, `drawn` once, here.

    Warns of inputs beyond the converters' full scale, which are clipped, and says how many there are; under
    `jit` when the program runs.

    **Raises:** `ValueError` for read noise without a key, converters as built without a `converter_key`, a
    full scale that is still to be calibrated, and a kernel of another shape; an error, also under `jit`, for
    negative inputs unless the converters are `signed`.
    """

    tiles: SideBySide
    converters: Converters | Conversion | None
    read_noise: ReadNoise | None
    key: PRNGKeyArray | None
    adc_full_scale: Float[Array, ""] | None
    drawn: DrawnAdc | None

    def __init__(
        self,
        chip: ProgrammedKernel,
        converters: Converters | None = None,
        read_noise: ReadNoise | None = None,
        key: PRNGKeyArray | None = None,
        adc_full_scale: Float[Array, ""] | None = None,
        converter_key: PRNGKeyArray | None = None,
    ):
        # Laid out here, once: for a large layer that takes longer than a product.
        as_built = converters is not None and converters.as_built
        self.tiles = SideBySide.of(chip, read_noise, as_built)
        self.converters = converters
        self.read_noise = read_noise
        self.key = key
        self.adc_full_scale = adc_full_scale
        self.drawn = None
        if converters is not None and as_built:
            if converter_key is None:
                raise ValueError(
                    "converters as built differ: TileProduct needs a converter_key to draw them."
                )
            blocks, _, currents = self.tiles.effective.shape
            dtype = self.tiles.effective.dtype
            self.drawn = converters.draw(converter_key, blocks, currents, self.tiles.width, dtype)

    def with_key(self, key: PRNGKeyArray) -> "TileProduct":
        """The same tiles, whose next reads draw from `key`."""
        return eqx.tree_at(lambda product: product.key, self, key, is_leaf=_is_none)

    def calibrate(
        self,
        x: Shaped[Array, "..."],
        *,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
    ) -> "TileProduct":
        """The same tiles with the ADC's full scale at a percentile of the currents that inputs `x` cause.

        The currents are those of the columns in use. They are made chunk by chunk, and only those above the
        percentile are kept.

        **Arguments:**

        - `x`: shape (..., in), or for a convolution (batch, height, width, in).
        - `stride`, `padding`, `dilation`: of the convolution.

        **Raises:** `ValueError` for no inputs, for inputs that are not the kernel's, or without converters;
        an error, also under `jit`, for inputs that are NaN, and if the percentile is at no current at all.
        """
        if not isinstance(self.converters, Converters):
            raise ValueError(
                "there are no converters to calibrate."
                if self.converters is None
                else "the full scale of these converters is fixed: calibrate before TileProduct.fixed()."
            )
        window = None
        if self.tiles.plan.shape[:-2]:
            window = _Window(stride, [(pad, pad) for pad in padding], dilation)
        else:
            x = x.reshape(-1, x.shape[-1])
        if x.size == 0:
            raise ValueError(f"calibration needs at least one input vector, got inputs of shape {x.shape}.")
        reached = _percentile(self, x, window)
        return eqx.tree_at(lambda product: product.adc_full_scale, self, reached, is_leaf=_is_none)

    def fixed(self) -> "TileProduct":
        """The same with the steps and the full scale of its ADCs as numbers, to be calibrated no more.

        Products that differ in `adc_bits`, or in how the full scale was found, then share a compiled program.

        **Raises:** `ValueError` for a full scale that is still to be calibrated.
        """
        conversion = self._conversion
        if conversion is None or conversion.adc_steps is None:
            return self
        steps = jnp.asarray(conversion.adc_steps, self.tiles.effective.dtype)
        above = _ANY if conversion.clipped_above is None else conversion.clipped_above
        above = jnp.asarray(above, jnp.result_type(float))
        conversion = dataclasses.replace(conversion, adc_steps=steps, clipped_above=above)
        return eqx.tree_at(
            lambda product: (product.converters, product.adc_full_scale),
            self,
            (conversion, self._full_scale()),
            is_leaf=_is_none,
        )

    @property
    def weights(self) -> Float[Array, "*kernel"]:
        """The kernel that the tiles realise, without converters, read noise and the row of a bias.

        Of nonlinear cells it is the linearised one.
        """
        return self.tiles.weights()

    @property
    def _conversion(self) -> Conversion | None:
        return self.converters.conversion() if isinstance(self.converters, Converters) else self.converters

    @_hook
    def linear(
        self,
        x: Shaped[Array, "*batch inputs"],
        kernel: Array | None = None,
        *,
        keys: Shaped[Array, "..."] | None = None,
    ) -> Array:
        """`x @ kernel`, shape (..., out); `keys`, shape (...,), are of the read noise."""
        return self._linear(x, kernel, keys).astype(self._dtype(x))

    def _linear(self, x, kernel, keys=None):
        self._check_kernel(kernel)
        inputs = math.prod(self.tiles.plan.shape[:-1])
        if x.shape[-1] != inputs:
            raise ValueError(f"tiles of a kernel of {inputs} inputs got {x.shape[-1]} features.")
        if keys is not None:
            keys = keys.reshape(-1, *keys.shape[x.ndim - 1 :])
        warn_of_clipping(self._conversion, x)
        out = _products(self, x.reshape(-1, inputs), None, keys)
        return out.reshape(*x.shape[:-1], self.tiles.plan.shape[-1])

    @_hook
    def convolve(
        self,
        x: Shaped[Array, "batch height width channels"],
        kernel: Array | None,
        stride: Sequence[int],
        padding: Sequence[int],
        *,
        groups: int = 1,
        dilation: Sequence[int] = (1, 1),
        keys: Shaped[Array, "..."] | None = None,
    ) -> Float[Array, "batch height2 width2 channels2"]:
        """The convolution of channels-last maps with zero padding; `keys`, (batch,), of the read noise."""
        self._check_kernel(kernel)
        self._check_groups(groups)
        window = _Window(stride, [(pad, pad) for pad in padding], dilation)
        return self._convolution(x, window, keys).astype(self._dtype(x))

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
        return self._linear(lhs, rhs).astype(preferred_element_type or self._dtype(lhs))

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
        if dilated or batch_group_count != 1:
            raise ValueError(
                "TileProduct.conv_general_dilated has neither groups of the batch nor dilated inputs; got "
                f"lhs_dilation={lhs_dilation}, batch_group_count={batch_group_count}."
            )
        self._check_groups(feature_group_count)
        self._check_kernel(rhs)
        dilation = tuple(rhs_dilation or (1,) * spatial)
        # Inputs as (batch, spatial ..., channels), whatever order they come in.
        order = (numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1])
        x = lhs.transpose(order)
        if isinstance(padding, str):
            extents = [(k - 1) * d + 1 for k, d in zip(rhs.shape[:-2], dilation, strict=True)]
            padding = jax.lax.padtype_to_pads(x.shape[1:-1], extents, window_strides, padding)
        out = self._convolution(x, _Window(window_strides, padding, dilation))
        spec = numbers.out_spec
        back = {spec[0]: 0, spec[1]: out.ndim - 1} | {axis: i + 1 for i, axis in enumerate(spec[2:])}
        return out.transpose([back[axis] for axis in range(out.ndim)]).astype(
            preferred_element_type or self._dtype(lhs)
        )

    def _check_kernel(self, kernel):
        if kernel is not None and kernel.shape != self.tiles.plan.shape:
            raise ValueError(
                f"these tiles hold a kernel of shape {self.tiles.plan.shape}, not {kernel.shape}."
            )

    def _check_groups(self, groups):
        if groups != self.tiles.plan.parts:
            raise ValueError(
                f"these tiles hold a kernel of {self.tiles.plan.parts} groups and were asked for {groups}; "
                "program it with groups=."
            )

    def _dtype(self, x):
        """Of the result: spikes may be whole numbers or booleans, currents are not."""
        return x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else self.tiles.effective.dtype

    def _convolution(self, x, window, keys=None):
        channels = self.tiles.plan.channels
        if x.shape[-1] != channels:
            raise ValueError(
                f"tiles of a kernel of shape {self.tiles.plan.shape} got maps of {x.shape[-1]} channels."
            )
        warn_of_clipping(self._conversion, x)
        return _products(self, x, window, keys)

    def _seen(self, x, window):
        """What the positions of the kernel see of maps or, without a window, of vectors."""
        positions = self.tiles.plan.shape[:-2]
        if window is None:
            return jnp.split(x, math.prod(positions), axis=-1)
        return views(x, positions, window.stride, window.padding, window.dilation)

    def _outputs(self, x, window):
        """The shape of the outputs of one of `x`, channels apart."""
        return jax.eval_shape(lambda x: self._seen(x, window), x)[0].shape[1:-1]

    def _chunks(self, x, each, most):
        """Inputs as the DAC makes them, (chunks, size, ...) of `most` vectors; zeros fill the last chunk."""
        dtype = self.tiles.effective.dtype
        conversion = self._conversion
        values = x.astype(dtype) if conversion is None else conversion.digital_input(x.astype(dtype))
        size = max(1, min(len(x), most // each))
        chunks = -(-len(x) // size)
        values = jnp.pad(values, ((0, chunks * size - len(x)), *((0, 0),) * (x.ndim - 1)))
        return values.reshape(chunks, size, *values.shape[1:])

    def _most(self):
        """Vectors at a time of a product."""
        if self.tiles.nonlinear is not None:
            return _NONLINEAR_CHUNK
        blocks, rows, currents = self.tiles.effective.shape
        return max(_CHUNK, _CHUNK_NUMBERS // (blocks * (rows + currents)))

    def _full_scale(self):
        if not isinstance(self.converters, Converters) or self.adc_full_scale is not None:
            return self.adc_full_scale
        if self.converters.full_scale == "calibrated":
            raise ValueError(
                'Converters(full_scale="calibrated") needs TileProduct.calibrate(inputs) before its use.'
            )
        return self.tiles.worst_current(self.converters.conversion().input_limit(self.tiles.greatest.dtype))

    def _keys(self, given, count):
        """A key for the reads of each of `count` entries; None without noise."""
        own = self.key
        if self.read_noise is None and self.drawn is None:
            return None
        if own is None:
            raise ValueError("read noise is drawn at each read: TileProduct needs a key.")
        if given is None:
            return jax.vmap(jax.random.fold_in, (None, 0))(own, jnp.arange(count, dtype=jnp.uint32))

        def mixed(key):
            first, second = jax.random.bits(key, (2,), jnp.uint32)
            return jax.random.fold_in(jax.random.fold_in(own, first), second)

        return jax.vmap(mixed)(given)

    def _noisy(self, noise, currents, squares, keys, block):
        """Currents (vectors, columns) as they are read; each of `keys` is that of equally many vectors."""

        def read(currents, squares, key):
            return noise(currents, squares, jax.random.fold_in(key, block))

        cut = (len(keys), -1, currents.shape[-1])
        return jax.vmap(read)(currents.reshape(cut), squares.reshape(cut), keys).reshape(currents.shape)

    def _converted(self, currents, full_scale, drawn, keys, block):
        """Currents as the converters report them; `drawn` are those of this block, if as built."""
        conversion = self._conversion
        assert conversion is not None
        if drawn is None:
            return conversion.digital_current(currents, full_scale)

        def convert(currents, key):
            # A stream of its own: converters leave the draws of the read noise as they were.
            key = jax.random.fold_in(jax.random.fold_in(key, block), 1)
            return conversion.digital_current(currents, full_scale, drawn, key)

        cut = (len(keys), -1, currents.shape[-1])
        return jax.vmap(convert)(currents.reshape(cut), keys).reshape(currents.shape)

    @with_exact_products
    def _product(self, inputs, full_scale, keys):
        """Inputs of the blocks to (vectors, outputs)."""
        tiles = self.tiles
        blocks, vectors, _ = inputs.shape

        def read(total, block):
            index, inputs, effective, worth, spread, drawn, held = block
            if tiles.nonlinear is None:
                currents = inputs @ effective
            else:
                currents = tiles.nonlinear.read(held, inputs, tiles.width)
            if self.read_noise is not None:
                squares = spread(inputs, currents, tiles.width)
                currents = self._noisy(self.read_noise, currents, squares, keys, index)
            if self.converters is not None:
                currents = self._converted(currents, full_scale, drawn, keys, index)
            return total + currents * worth, None

        start = jnp.zeros((vectors, tiles.effective.shape[-1]), inputs.dtype)
        numbers = jnp.arange(blocks, dtype=jnp.uint32)
        held = None if tiles.nonlinear is None else tiles.nonlinear.held
        each = (numbers, inputs, tiles.effective, tiles.worth, tiles.spreads, self.drawn, held)
        total, _ = jax.lax.scan(read, start, each)
        return tiles.outputs(total, inputs)


# Compiled here, once for each shape: hooks are also called without `jit`, in notebooks.
@jit_with_checks
@with_exact_products
def _products(product, x, window, keys):
    """The products of what the positions of the kernel see of `x`.

    In chunks whose currents stay in a core's cache, without which their memory traffic costs most.
    """
    each = product._outputs(x, window)
    full_scale = product._full_scale()
    keys = product._keys(keys, len(x))

    def currents(chunk):
        part, keys = chunk
        out = product._product(product.tiles.inputs(product._seen(part, window)), full_scale, keys)
        return out.reshape(len(part), *each, -1)

    chunks = product._chunks(x, math.prod(each), product._most())
    if keys is not None:
        # The last chunk is filled; what is drawn there is cut off.
        filled = keys[jnp.arange(math.prod(chunks.shape[:2])) % max(len(x), 1)]
        keys = filled.reshape(*chunks.shape[:2], *keys.shape[1:])
    if len(chunks) == 1:
        return currents(jax.tree.map(lambda part: part[0], (chunks, keys)))
    # Kept for a derivative are inputs alone: the currents of all blocks are many times as much.
    out = jax.lax.map(jax.checkpoint(currents, prevent_cse=False), (chunks, keys))
    return out.reshape(-1, *out.shape[2:])[: len(x)]


@jit_with_checks
@with_exact_products
def _percentile(product, x, window):
    """The converters' percentile of the currents that `x` causes."""
    each = math.prod(product._outputs(x, window))
    effective = product.tiles.used()
    # As `jnp.quantile` of all currents: on the straight line between two neighbours in order.
    count = len(x) * each * effective.shape[0] * effective.shape[-1]
    place = (count - 1) * product.converters.percentile
    below = math.floor(place)

    def keep(greatest, part):
        given, part = part
        inputs = product.tiles.inputs(product._seen(part, window))
        currents = jnp.abs(product.tiles.used_currents(inputs))
        # The row of a bias is driven for what fills the last chunk, too.
        currents = jnp.where(jnp.repeat(given, each)[:, None], currents, 0)
        found = jnp.concatenate([greatest, currents.reshape(-1)])
        return jax.lax.top_k(found, len(greatest))[0], None

    chunks = product._chunks(x, each, _CHUNK if product.tiles.nonlinear is None else _NONLINEAR_CHUNK)
    given = jnp.arange(math.prod(chunks.shape[:2])).reshape(chunks.shape[:2]) < len(x)
    greatest, _ = jax.lax.scan(keep, jnp.zeros(count - below, effective.dtype), (given, chunks))
    greatest = error_if(greatest, jnp.isnan(greatest[:1]), "crossbar: inputs to calibrate with are NaN.")
    above = greatest[max(len(greatest) - 2, 0)]
    reached = greatest[-1] + (place - below) * (above - greatest[-1])
    return error_if(
        reached,
        (reached <= 0) & jnp.any(effective > 0),
        "crossbar: the calibrated full scale is zero, since too many currents are; calibrate with inputs "
        "that are active, or with a greater Converters.percentile.",
    )


def _is_none(leaf):
    return leaf is None
