"""Weighted layers over (time, batch, ...), and the block of weights, neurons and pooling."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.checks import is_count, require_choice
from jaxsnn.compilation import compiled_once
from jaxsnn.convolution import convolve
from jaxsnn.neuron import Neuron
from jaxsnn.normalization import Normalization
from jaxsnn.operations import Pool, pair
from jaxsnn.signal import LayerRecord, Signal

Pooling = Literal["average", "max"]


# One object for each gain, as JAX keeps what it compiled for a function by its identity.
@functools.cache
def xavier_uniform(gain: float = 1.0):
    """Uniform in ±gain·√(6 / (fan_in + fan_out)), as torch's `xavier_uniform_(gain=...)`."""
    return compiled_once(nnx.initializers.variance_scaling(gain**2, "fan_avg", "uniform"))


def weights(synapse: "Conv | Linear") -> Array:
    """The kernel that the products use: the stored one, or what the synapse's quantiser makes of it."""
    kernel = synapse.kernel[...]
    return kernel if synapse.quantizer is None else synapse.quantizer(kernel)


def draws(synapse: "Conv | Linear") -> bool:
    """Whether its products differ from one timestep to the next though their inputs do not."""
    return getattr(synapse.product, "draws", False)


def _holds_bias(product: Callable[..., Array]) -> bool:
    """Whether a product has added the bias, as a chip's does whose tiles have a row for it."""
    return getattr(product, "holds_bias", False)


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

    - `in_channels`, `out_channels`, `kernel`, `stride`, `dilation`: as usual; ints or (vertical, horizontal).
    - `padding`: zeros on both sides, an int or (vertical, horizontal); "valid" is none, and "same" keeps the
      size of the map at stride 1 (with an even kernel, the odd zero stands at the end, as in torch).
    - `groups`: the channels are cut in so many parts, each with kernels of its own (in = `in_channels` is
      depthwise).
    - `use_bias`: off by default: a crossbar has no bias row.
    - `kernel_init`: an initialiser for (height, width, in/groups, out).
    - `param_dtype`: dtype of the stored parameters; `dtype` of the computation (default: the same).
    - `product`: the function `(x, kernel, stride, padding) -> out` in place of an exact convolution, e.g. a
      chip's with its converters. With groups or dilation it is called with these by name, and one whose
      attribute `draws` is true gets `keys` besides, one for each of x.

    **Raises:** `ValueError` for sizes that do not fit.
    """

    kind: Literal["conv", "linear"] = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | Sequence[int] = 3,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | Literal["same", "valid"] = 1,
        groups: int = 1,
        dilation: int | Sequence[int] = 1,
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
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if not is_count(channels):
                raise ValueError(f"{name} must be at least 1 and a whole number, got {channels!r}.")
        self.kernel_size = pair(kernel, "kernel", 1)
        self.stride = pair(stride, "stride", 1)
        self.dilation = pair(dilation, "dilation", 1)
        self.padding, self.extra_padding = self._padding(padding)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups must divide the {in_channels} input and the {out_channels} output channels, got "
                f"{groups}."
            )
        self.groups = groups
        self.dtype = dtype
        shape = (*self.kernel_size, in_channels // groups, out_channels)
        self.kernel = nnx.Param((kernel_init or xavier_uniform(2.0))(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(jnp.zeros((out_channels,), param_dtype)) if use_bias else None

    def _padding(self, padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
        """Zeros on both sides, and the odd ones at the end."""
        if not isinstance(padding, str):
            return pair(padding, "padding", 0), (0, 0)
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same', 'valid', an int or a pair of ints, got {padding!r}.")
        if padding == "valid":
            return (0, 0), (0, 0)
        if self.stride != (1, 1):
            raise ValueError(f"padding 'same' keeps the size of a map at stride 1 only, got {self.stride}.")
        total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        return (total[0] // 2, total[1] // 2), (total[0] % 2, total[1] % 2)

    def __call__(
        self, x: Array, *, start: int | Array = 0, key: Array | None = None
    ) -> Float[Array, "time batch h2 w2 c2"]:
        """The currents of maps from timestep `start` on; `key` is for products that draw."""
        if x.ndim != 5 or x.shape[-1] != self.in_channels:
            raise ValueError(
                f"a convolution of {self.in_channels} input channels got maps of shape {x.shape[2:]}."
            )
        self._check_fit(x.shape[2:4])
        dtype = self.dtype or self.kernel[...].dtype
        folded = x.reshape(-1, *x.shape[2:]).astype(dtype)
        if any(self.extra_padding):
            folded = jnp.pad(folded, ((0, 0), *((0, extra) for extra in self.extra_padding), (0, 0)))
        special = {} if self._dense else {"groups": self.groups, "dilation": self.dilation}
        drawn = _drawn(self.product, x, start, key)
        out = self.product(folded, weights(self).astype(dtype), self.stride, self.padding, **special, **drawn)
        if self.bias is not None and not _holds_bias(self.product):
            out = out + self.bias[...].astype(dtype)
        return out.reshape(*x.shape[:2], *out.shape[1:])

    def _check_fit(self, sides: Sequence[int]) -> None:
        """A kernel that does not fit gives an empty map, and nothing after it would say so."""
        padded = [
            side + 2 * padding + extra
            for side, padding, extra in zip(sides, self.padding, self.extra_padding, strict=True)
        ]
        span = [step * (taps - 1) + 1 for step, taps in zip(self.dilation, self.kernel_size, strict=True)]
        if any(size > side for size, side in zip(span, padded, strict=True)):
            raise ValueError(
                f"a kernel that spans {span[0]} × {span[1]} is larger than the padded map of {padded[0]} × "
                f"{padded[1]}; use a smaller kernel or more padding."
            )

    @property
    def _dense(self) -> bool:
        return self.groups == 1 and self.dilation == (1, 1)


class Linear(nnx.Module):
    """A fully connected layer on the flattened (height, width, channels) of each timestep.

    **Arguments:** as for [`Conv`][]; `product` is called as `(x, kernel) -> out`.
    """

    kind: Literal["conv", "linear"] = "linear"
    kernel_size = (1, 1)
    stride = (1, 1)
    padding = (0, 0)
    extra_padding = (0, 0)
    groups = 1
    dilation = (1, 1)

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
        if self.bias is None or _holds_bias(self.product):
            return out
        return out + self.bias[...].astype(dtype)


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


def pooled(signal: Signal, side: int, pooling: Pooling = "average") -> Signal:
    """The signal after pooling, if `side` is above 1; a mean is active when any of its spikes is."""
    if side == 1:
        return signal
    if pooling == "max":
        return Pool(side, kind="max").of(signal)
    activity = signal.activity
    if activity is not None:
        activity = 1 - (1 - _patches(activity, side)).prod(axis=(3, 5))
    averaged = signal.with_values(average_pool(signal.values, side), activity)
    return dataclasses.replace(averaged, pool=signal.pool * side)


# Unrolled, XLA fuses the steps into few passes over memory, where a loop pays a copy per step. But a fused
# step repeats those before it, so that compilation and work grow with T²: on a CPU, from here on beyond a
# loop's.
_UNROLLED = 12


def _over_time(neuron: Neuron, current: Signal, state: Any) -> tuple[Any, Array]:
    constant = current.values[0] if current.constant else None

    def step(carry, now):
        out, carry = neuron(now if constant is None else constant, carry)
        return carry, out

    xs = None if current.constant else current.values
    unroll = current.steps
    if unroll > _UNROLLED:
        unroll = 1 if jax.default_backend() == "cpu" else _UNROLLED
        # The backward pass of a loop keeps states and currents; the rest is cheaper to compute again.
        step = jax.checkpoint(step, prevent_cse=False)
    return jax.lax.scan(step, state, xs, length=current.steps, unroll=unroll)


def run_neuron(neuron: Neuron, current: Signal, state: Any, name: str = "") -> tuple[Signal, Any]:
    """A neuron over a stretch of time: its outputs, which come from the layer of that `name`, and its state.

    `state=None` starts at rest.
    """
    try:
        if state is None:
            state = neuron.initial_state(current.values.shape[1:], current.values.dtype)
        state, outputs = _over_time(neuron, current, state)
    except (ValueError, TypeError) as error:
        if "broadcast" not in str(error):
            raise
        said = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"layer {name!r}: its neurons do not fit its outputs of shape {current.values.shape[2:]}; "
            f"constants are one for all, or arrays that broadcast against them ({said})."
        ) from error
    activity = outputs if neuron.spiking else None
    out = dataclasses.replace(current, values=outputs, analog=False, activity=activity, origin=name, pool=1)
    return out, state


def layer_record(
    name: str,
    synapse: Conv | Linear,
    signal: Signal,
    out: Signal,
    *,
    spiking: bool,
    pool: int = 1,
    pooling: Pooling = "average",
    pool_first: bool = False,
    shortcut: str | None = None,
    norm: Normalization | None = None,
    recurrent: bool = False,
) -> LayerRecord:
    """What weights ask of a chip, given their input and the output of the neurons that they drive.

    A shortcut of known origin is an addition, too.
    """
    conv = synapse.kind == "conv"
    return LayerRecord(
        name=name,
        kind=synapse.kind,
        # The odd zeros of an even kernel's padding "same" count as part of the map.
        height=signal.values.shape[2] + synapse.extra_padding[0] if conv else 1,
        width=signal.values.shape[3] + synapse.extra_padding[1] if conv else 1,
        in_channels=synapse.in_channels,
        out_channels=synapse.out_channels,
        kernel=synapse.kernel_size,
        stride=synapse.stride,
        padding=synapse.padding,
        groups=synapse.groups,
        dilation=synapse.dilation,
        spiking=spiking,
        pool=pool,
        pooling=pooling,
        pool_first=pool_first,
        analog_input=signal.analog,
        residual_add=shortcut is not None,
        recurrent=recurrent,
        input_rate=signal.active_fraction,
        spike_rate=out.active_fraction,
        weight_bits=None
        if synapse.quantizer is None
        else jnp.asarray(synapse.quantizer.bits, jnp.result_type(float)),
        weight_sparsity=jnp.mean(jax.lax.stop_gradient(weights(synapse)) == 0, dtype=jnp.result_type(float)),
        bias=synapse.bias is not None,
        norm="none" if norm is None else "timestep" if norm.timesteps else "shared",
        source=signal.origin,
        shortcut=shortcut,
        input_pool=signal.pool,
    )


class Block(nnx.Module):
    """Weights, normalisation, neurons, pooling: one layer of a network.

    **Arguments:**

    - `name`: the layer's name in records and errors.
    - `synapse`: a [`Conv`][] or a [`Linear`][].
    - `neuron`: what turns currents into spikes.
    - `norm`: a [`jaxsnn.normalization.Normalization`][] of the currents, or None.
    - `pool`: side of the pooling after the neurons, 1 for none; rows and columns that do not fill a patch are
      dropped.
    - `pooling`: "average", or "max" as torch's MaxPool2d; the largest of spikes is their OR.
    - `pool_first`: pools the currents, before the neurons, as snnTorch's tutorials do.

    **Raises:** `ValueError` that names the layer, for another pooling than these, a side below 1, and a
    linear layer that pools.
    """

    def __init__(
        self,
        name: str,
        synapse: Conv | Linear,
        neuron: Neuron,
        *,
        norm: Normalization | None = None,
        pool: int = 1,
        pooling: Pooling = "average",
        pool_first: bool = False,
    ):
        require_choice(f"layer {name!r}: pooling", pooling, get_args(Pooling))
        if not is_count(pool):
            raise ValueError(f"layer {name!r}: pool must be at least 1 and a whole number, got {pool!r}.")
        if pool > 1 and synapse.kind == "linear":
            raise ValueError(f"layer {name!r}: a linear layer has no map to pool; leave out pool={pool}.")
        self.name = name
        self.synapse = synapse
        self.norm = norm
        self.neuron = neuron
        self.pool, self.pooling, self.pool_first = int(pool), pooling, pool_first

    def named_synapses(self) -> dict[str, Conv | Linear]:
        return {self.name: self.synapse}

    @property
    def accumulates(self) -> bool:
        """Whether its output at a timestep is already the sum over all timesteps until then."""
        return self.neuron.accumulates

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

    def before_neurons(self, current: Signal) -> Signal:
        """The currents as the neurons get them: pooled, if this block pools first."""
        return self._pooled(current) if self.pool_first else current

    def after_neurons(self, out: Signal) -> Signal:
        """The neurons' outputs as this layer hands them on: pooled, unless that came first."""
        return out if self.pool_first else self._pooled(out)

    def _pooled(self, signal: Signal) -> Signal:
        try:
            return pooled(signal, self.pool, self.pooling)
        except ValueError as error:
            raise ValueError(f"layer {self.name!r}: {error}") from error

    def record(self, signal: Signal, out: Signal, shortcut: str | None = None) -> LayerRecord:
        """What this layer asks of a chip: its input, its neurons' output, the origin of an added shortcut."""
        return layer_record(
            self.name,
            self.synapse,
            signal,
            out,
            spiking=self.neuron.spiking,
            pool=self.pool,
            pooling=self.pooling,
            pool_first=self.pool_first and self.pool > 1,
            shortcut=shortcut,
            norm=self.norm,
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
        current = self.normalize(current, start=start, training=training)
        out, state = run_neuron(self.neuron, self.before_neurons(current), state, self.name)
        record = self.record(signal, out)
        return self.after_neurons(out), state, (record,)


def synapses(network: nnx.Module) -> dict[str, Conv | Linear]:
    """The weights of a network by the names that its records have them under."""
    found: dict[str, Conv | Linear] = {}
    for _, module in nnx.iter_graph(network):
        named = getattr(module, "named_synapses", None)
        if named is not None:
            found |= named()
    return found


def require_reachable(network: nnx.Module, change: str, instead: str) -> None:
    """**Raises:** `ValueError` for products that hold weights that a `change` of kernels does not reach."""
    for _, layer in nnx.iter_graph(network):
        if isinstance(layer, Conv | Linear) and getattr(layer.product, "holds_weights", False):
            raise ValueError(
                f"this network is a programmed chip: its tiles hold the weights, and {change} would change "
                f"none of them; {instead}."
            )


class Neurons(nnx.Module):
    """Neurons without weights before them: a layer of a network that asks nothing of a crossbar.

    **Arguments:** `name`: in errors; `neuron`: what turns its input into spikes.
    """

    def __init__(self, name: str, neuron: Neuron):
        self.name, self.neuron = name, neuron

    @property
    def accumulates(self) -> bool:
        return self.neuron.accumulates

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        out, state = run_neuron(self.neuron, signal, state, signal.origin)
        return out, state, ()
