"""Weighted layers over (time, batch, ...), and the block of weights, neurons and pooling."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.convolution import convolve
from jaxsnn.neuron import Neuron
from jaxsnn.normalization import Normalization
from jaxsnn.signal import LayerRecord, Signal


def xavier_uniform(gain: float = 1.0):
    """Uniform in ±gain·√(6 / (fan_in + fan_out)), as torch's `xavier_uniform_(gain=...)`."""
    return nnx.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


def _pair(value: int | Sequence[int], name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}.")
    return pair[0], pair[1]


def weights(synapse: "Conv | Linear") -> Array:
    """The kernel that the products use: the stored one, or what the synapse's quantiser makes of it."""
    kernel = synapse.kernel[...]
    return kernel if synapse.quantizer is None else synapse.quantizer(kernel)


def draws(synapse: "Conv | Linear") -> bool:
    """Whether its products differ from one timestep to the next though their inputs do not."""
    return getattr(synapse.product, "draws", False)


def _drawn(product: Callable[..., Array], x: Array, start: int | Array, key: Array | None) -> dict[str, Any]:
    """A key for each timestep and image of x, folded as x is, for a product that draws."""
    if not getattr(product, "draws", False):
        return {}
    time, batch = (jnp.arange(size, dtype=jnp.int32) for size in x.shape[:2])
    base = jax.random.key(0) if key is None else key
    of_images = jax.vmap(jax.random.fold_in, (None, 0))
    keys = jax.vmap(lambda step: of_images(jax.random.fold_in(base, step), batch))(start + time)
    return {"keys": keys.reshape(-1, *keys.shape[2:])}


class Conv(nnx.Module):
    """A 2-D convolution of channels-last maps; time is folded into the batch.

    **Arguments:**

    - `in_channels`, `out_channels`, `kernel`, `stride`, `padding`: as usual; ints or (vertical, horizontal).
    - `use_bias`: off by default: a crossbar has no bias row.
    - `kernel_init`: an initialiser for (height, width, in, out).
    - `param_dtype`: dtype of the stored parameters; `dtype` of the computation (default: the same).
    - `product`: the function `(x, kernel, stride, padding) -> out` in place of an exact convolution, e.g. a
      chip's with its converters. One whose attribute `draws` is true gets `keys` besides, one for each of x.
    """

    kind: Literal["conv", "linear"] = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 1,
        use_bias: bool = False,
        kernel_init=None,
        param_dtype=jnp.float32,
        dtype=None,
        product: Callable[..., Array] = convolve,
        rngs: nnx.Rngs,
    ):
        self.in_channels, self.out_channels = in_channels, out_channels
        self.product = product
        self.quantizer: Any = nnx.data(None)
        self.kernel_size = _pair(kernel, "kernel")
        self.stride = _pair(stride, "stride")
        self.padding = _pair(padding, "padding")
        self.dtype = dtype
        shape = (*self.kernel_size, in_channels, out_channels)
        self.kernel = nnx.Param((kernel_init or xavier_uniform(2.0))(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(jnp.zeros((out_channels,), param_dtype)) if use_bias else None

    def __call__(
        self, x: Array, *, start: int | Array = 0, key: Array | None = None
    ) -> Float[Array, "time batch h2 w2 c2"]:
        """The currents of maps from timestep `start` on; `key` is for products that draw."""
        if x.shape[-1] != self.in_channels:
            raise ValueError(
                f"a convolution of {self.in_channels} input channels got maps of shape {x.shape[2:]}."
            )
        dtype = self.dtype or self.kernel[...].dtype
        folded = x.reshape(-1, *x.shape[2:]).astype(dtype)
        drawn = _drawn(self.product, x, start, key)
        out = self.product(folded, weights(self).astype(dtype), self.stride, self.padding, **drawn)
        if self.bias is not None:
            out = out + self.bias[...].astype(dtype)
        return out.reshape(*x.shape[:2], *out.shape[1:])


class Linear(nnx.Module):
    """A fully connected layer on the flattened (height, width, channels) of each timestep.

    **Arguments:** as for [`Conv`][]; `product` is called as `(x, kernel) -> out`.
    """

    kind: Literal["conv", "linear"] = "linear"
    kernel_size = (1, 1)
    stride = (1, 1)
    padding = (0, 0)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        use_bias: bool = False,
        kernel_init=None,
        param_dtype=jnp.float32,
        dtype=None,
        product: Callable[..., Array] = jnp.matmul,
        rngs: nnx.Rngs,
    ):
        self.in_channels, self.out_channels = in_channels, out_channels
        self.product = product
        self.quantizer: Any = nnx.data(None)
        self.dtype = dtype
        initialise = kernel_init or xavier_uniform(2.0)
        self.kernel = nnx.Param(initialise(rngs.params(), (in_channels, out_channels), param_dtype))
        self.bias = nnx.Param(jnp.zeros((out_channels,), param_dtype)) if use_bias else None

    def __call__(
        self, x: Array, *, start: int | Array = 0, key: Array | None = None
    ) -> Float[Array, "time batch c"]:
        """The currents of inputs from timestep `start` on; `key` is for products that draw."""
        flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        if flat.shape[-1] != self.in_channels:
            raise ValueError(
                f"a linear layer of {self.in_channels} inputs got {flat.shape[-1]} (shape {x.shape[2:]})."
            )
        dtype = self.dtype or self.kernel[...].dtype
        folded = flat.reshape(-1, self.in_channels).astype(dtype)
        out = self.product(folded, weights(self).astype(dtype), **_drawn(self.product, x, start, key))
        out = out.reshape(*x.shape[:2], -1)
        return out if self.bias is None else out + self.bias[...].astype(dtype)


def average_pool(x: Float[Array, "time batch h w c"], side: int) -> Float[Array, "time batch h2 w2 c"]:
    """The mean of each `side` × `side` patch; rows and columns that do not fill a patch are dropped."""
    return _patches(x, side).mean(axis=(3, 5))


def _patches(x: Array, side: int) -> Float[Array, "time batch h2 side w2 side c"]:
    time, batch, height, width, channels = x.shape
    rows, columns = height // side, width // side
    if rows == 0 or columns == 0:
        raise ValueError(f"average pooling of side {side} does not fit a map of {height} × {width}.")
    x = x[:, :, : rows * side, : columns * side]
    return x.reshape(time, batch, rows, side, columns, side, channels)


def pooled(signal: Signal, side: int) -> Signal:
    """The signal after average pooling, if `side` is above 1; a mean is active when any of its spikes is."""
    if side == 1:
        return signal
    activity = signal.activity
    if activity is not None:
        activity = 1 - (1 - _patches(activity, side)).prod(axis=(3, 5))
    return signal.with_values(average_pool(signal.values, side), activity)


def run_neuron(neuron: Neuron, current: Signal, state: Any) -> tuple[Signal, Any]:
    """A neuron over a stretch of time: its outputs and the state after it.

    `state=None` starts at rest.
    """
    if state is None:
        state = neuron.initial_state(current.values.shape[1:], current.values.dtype)
    constant = current.values[0] if current.constant else None

    def step(carry, now):
        out, carry = neuron(now if constant is None else constant, carry)
        return carry, out

    xs = None if current.constant else current.values
    # Unrolled, XLA fuses the steps into few passes over memory; a loop pays a copy per step.
    state, out = jax.lax.scan(step, state, xs, length=current.steps, unroll=min(current.steps, 16))
    activity = out if neuron.spiking else None
    return dataclasses.replace(current, values=out, analog=False, activity=activity), state


class Block(nnx.Module):
    """Weights, normalisation, neurons, average pooling: one layer of a network.

    **Arguments:**

    - `name`: the layer's name in records and errors.
    - `synapse`: a [`Conv`][] or a [`Linear`][].
    - `neuron`: what turns currents into spikes.
    - `norm`: a [`jaxsnn.normalization.Normalization`][] of the currents, or None.
    - `pool`: side of the average pooling after the neurons, 1 for none.
    """

    def __init__(
        self,
        name: str,
        synapse: Conv | Linear,
        neuron: Neuron,
        *,
        norm: Normalization | None = None,
        pool: int = 1,
    ):
        self.name = name
        self.synapse = synapse
        self.norm = norm
        self.neuron = neuron
        self.pool = pool

    def drive(self, signal: Signal, *, start: int | Array) -> Signal:
        """The currents of a signal; once, when it is constant in time and no product draws."""
        if signal.constant and draws(self.synapse):
            signal = signal.repeated()
        try:
            return signal.with_values(self.synapse(signal.values, start=start, key=signal.key))
        except ValueError as error:
            raise ValueError(f"layer {self.name!r}: {error}") from error

    def normalize(self, current: Signal, *, start: int | Array, training: bool) -> Signal:
        """The currents after this layer's normalisation, if it has one."""
        if self.norm is None:
            return current
        return current.with_values(
            self.norm(current.values, start=start, steps=current.steps, training=training)
        )

    def record(self, signal: Signal, out: Signal, residual_add: bool = False) -> LayerRecord:
        """What this layer asks of a chip, given its input and the output of its neurons."""
        synapse = self.synapse
        conv = synapse.kind == "conv"
        return LayerRecord(
            name=self.name,
            kind=synapse.kind,
            height=signal.values.shape[2] if conv else 1,
            width=signal.values.shape[3] if conv else 1,
            in_channels=synapse.in_channels,
            out_channels=synapse.out_channels,
            kernel=synapse.kernel_size,
            stride=synapse.stride,
            padding=synapse.padding,
            spiking=self.neuron.spiking,
            pool=self.pool,
            analog_input=signal.analog,
            residual_add=residual_add,
            input_rate=signal.active_fraction,
            spike_rate=out.active_fraction,
            weight_bits=None
            if synapse.quantizer is None
            else jnp.asarray(synapse.quantizer.bits, jnp.result_type(float)),
        )

    def __call__(
        self,
        signal: Signal,
        state: Any,
        *,
        start: int | Array,
        training: bool = False,
        current: Signal | None = None,
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        """`(signal, state) -> (signal, state, records)` from timestep `start` on; `current` is a drive
        computed before."""
        current = self.drive(signal, start=start) if current is None else current
        out, state = run_neuron(self.neuron, self.normalize(current, start=start, training=training), state)
        record = self.record(signal, out)
        return pooled(out, self.pool), state, (record,)
