"""A stack of layers, its unrolling in time, and the record it leaves."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.checks import is_count, require_key
from jaxsnn.encoding import Direct, Encoding, Frames, check_frames
from jaxsnn.layers import Block, draws
from jaxsnn.neuron import Neuron
from jaxsnn.normalization import Normalization
from jaxsnn.recompute import recomputed
from jaxsnn.signal import LayerRecord, Signal

__all__ = ["LayerRecord", "Network", "Signal"]


def _broadcasting(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, whose shapes broadcast whatever a user's `jax_numpy_rank_promotion` says."""

    @functools.wraps(method)
    def allowed(*arguments, **settings):
        with jax.numpy_rank_promotion("allow"):
            return method(*arguments, **settings)

    return allowed


class Network(nnx.Module):
    """Layers run one after another over time; what the last one gives, averaged over T, are the logits.

    A readout's potential is divided by T (with λ = 1 the mean current); the spikes of a last layer that fires
    are counted and divided by T.

    **Arguments:**

    - `layers`: [`jaxsnn.layers.Block`][]s and what is made of them.
    - `encoding`: how an image becomes the first layer's input; [`jaxsnn.encoding.Frames`][] for inputs with a
      time axis of their own.
    """

    def __init__(self, layers: Sequence[Any], encoding: Encoding = Direct()):
        if not layers:
            raise ValueError("a network needs at least one layer, got none.")
        for layer in layers:
            if not hasattr(layer, "accumulates") or isinstance(layer, Neuron):
                raise ValueError(
                    f"a layer of a network is a Block or made of Blocks, got {type(layer).__name__}; "
                    "neurons without weights are Neurons(name, neuron)."
                )
        self.layers = nnx.List(layers)
        self.encoding = encoding
        self.input_shape: tuple[int, ...] | None = None  # Channels last, where it is known.

    def __call__(
        self,
        images: Array,
        *,
        timesteps: int | None = None,
        key: Array | None = None,
        chunk: int | None = None,
        remat: bool = False,
        training: bool = False,
    ) -> tuple[Float[Array, "batch *classes"], tuple[LayerRecord, ...]]:
        """Classify images.

        **Arguments:**

        - `images`: floats, (batch, height, width, channels) or (batch, features), usually in [0, 1] or
          normalised; with the encoding [`jaxsnn.encoding.Frames`][], (time, batch, ...).
        - `timesteps`: T, at least 1; of frames, by default all.
        - `key`: for Poisson encoding, and for what is drawn at each read of a chip. Reads are drawn from the
          chip's own key, this one, the timestep, the place in the batch and the layer; give every batch a
          key of its own ([`batch_key`][]).
        - `chunk`: how many timesteps run layer by layer at once. None takes all T (fastest); 1 runs the whole
          network step by step. Every choice gives the same numbers to rounding.
        - `remat`: the backward pass recomputes activations instead of storing them. With a `chunk` below T,
          those of one chunk at a time: memory grows with `chunk` and hardly with T, and the chunks run in a
          loop, in which XLA's convolutions are slow on a CPU. Otherwise those of one layer at a time: only
          each layer's input is stored, of spikes a bit each. This also serves normalisation that takes
          statistics over time.
        - `training`: normalisation uses, and updates, the statistics of this batch.

        **Returns:** logits (the last layer's potential, or the count of its spikes, divided by T) and one
        [`LayerRecord`][] per weighted layer.

        **Raises:** `ValueError` for fewer timesteps than one, more than the network has parameters or the
        inputs have frames for, and for shapes that do not fit.
        """
        outputs, record = self.outputs(
            images, timesteps=timesteps, key=key, chunk=chunk, remat=remat, training=training
        )
        return outputs[-1], record

    @_broadcasting
    def outputs(
        self,
        images: Array,
        *,
        timesteps: int | None = None,
        key: Array | None = None,
        chunk: int | None = None,
        remat: bool = False,
        training: bool = False,
    ) -> tuple[Float[Array, "time batch *classes"], tuple[LayerRecord, ...]]:
        """The logits after each timestep, u_t / t; arguments as for calling the network."""
        if timesteps is None:
            if not isinstance(self.encoding, Frames):
                raise ValueError("timesteps says how long an image is shown; give it, e.g. timesteps=8.")
            timesteps = images.shape[0]
        self.check_timesteps(timesteps)
        if isinstance(self.encoding, Frames):
            check_frames(images.shape[0], timesteps)
        chunk = timesteps if chunk is None else chunk
        if not is_count(chunk):
            raise ValueError(f"chunk must be at least 1 timestep and a whole number, got {chunk!r}.")
        if training and chunk < timesteps and self._mixes_time():
            raise ValueError(
                f"this network's normalisation takes its statistics over all {timesteps} timesteps, so it "
                f"cannot train in chunks of {chunk}; leave chunk=None (remat=True then recomputes layer by "
                "layer) or use BNTT."
            )
        fixed: dict[str, Any] = {"key": key, "current": self.stem(images), "training": training}
        if remat and chunk < timesteps:
            potentials, record = self._recomputed(images, timesteps, chunk, fixed)
        else:
            state, parts, records, weights = None, [], [], []
            for start in range(0, timesteps, chunk):
                steps = min(chunk, timesteps - start)
                part, state, record = self.advance(
                    images, state, start=start, steps=steps, remat=remat, **fixed
                )
                parts.append(part)
                records.append(record)
                weights.append(steps / timesteps)
            potentials, record = jnp.concatenate(parts), _weighted_mean(records, weights)
        time = jnp.arange(1, timesteps + 1, dtype=potentials.dtype)
        return potentials / time.reshape(-1, *(1,) * (potentials.ndim - 1)), record

    def unroll(
        self, inputs: Float[Array, "time batch *features"], *, training: bool = False
    ) -> Float[Array, "time batch *outputs"]:
        """What the last layer gives at every timestep for inputs that are given at every timestep.

        The encoding takes no part; nothing is accumulated or divided.

        **Arguments:** `inputs`: floats, (time, batch, height, width, channels) or (time, batch, features). A
        network that knows its input's shape also takes (time, batch, channels, height, width) where that
        cannot be mistaken, and then gives maps channels first.

        **Returns:** spikes of a last layer that fires, potentials of a readout; (time, batch, ...).

        **Raises:** `ValueError` for inputs without time and batch, and for shapes that do not fit.
        """
        if inputs.ndim < 3 or inputs.shape[0] < 1:
            raise ValueError(
                f"inputs must be (time, batch, ...) with a timestep at least, got {inputs.shape}."
            )
        self.check_timesteps(inputs.shape[0])
        inputs, channels_first = self._channels_last(inputs)
        signal = Signal(values=inputs, steps=inputs.shape[0], analog=False)
        out = self.run(signal, None, start=0, training=training)[0].values
        return jnp.moveaxis(out, -1, 2) if channels_first and out.ndim > 3 else out

    def _channels_last(self, inputs: Array) -> tuple[Array, bool]:
        """The inputs with their channels last, and whether they had them first."""
        shape = self.input_shape
        if shape is None or inputs.shape[2:] == shape:
            return inputs, False
        if inputs.shape[2:] == (shape[-1], *shape[:-1]):
            return jnp.moveaxis(inputs, 2, -1), True
        raise ValueError(
            f"this network takes inputs of shape (time, batch, {', '.join(map(str, shape))}) and got "
            f"{inputs.shape}."
        )

    def check_timesteps(self, timesteps: int) -> None:
        """**Raises:** `ValueError` for fewer timesteps than one, or more than there are parameters for."""
        if not is_count(timesteps):
            raise ValueError(f"timesteps must be at least 1 and a whole number, got {timesteps!r}.")
        for norm in self._norms():
            if norm.timesteps is not None and timesteps > norm.timesteps:
                raise ValueError(
                    f"this network's BNTT has {norm.timesteps} timesteps and was run for {timesteps}; run it "
                    f"for at most {norm.timesteps}, or train with BNTT(timesteps={timesteps})."
                )

    @_broadcasting
    def stem(self, images: Array) -> Array | None:
        """The first layer's currents where they are equal at every timestep (direct encoding without read
        noise), else None."""
        if isinstance(self.encoding, Frames):
            if images.ndim < 3:
                raise ValueError(f"frames must be (time, batch, ...), got shape {images.shape}.")
        elif images.ndim not in (2, 4):
            raise ValueError(
                f"images must be (batch, height, width, channels) or (batch, features), got shape "
                f"{images.shape}; a network of inputs with a time axis has encoding=Frames()."
            )
        first = self.layers[0]
        if not self.encoding.constant or not isinstance(first, Block) or draws(first.synapse):
            return None
        return self.layers[0].drive(self.encoding(images, start=0, steps=1, key=None), start=0).values

    @_broadcasting
    def advance(
        self,
        images: Array,
        state: Any,
        *,
        start: int | Array,
        steps: int,
        key: Array | None = None,
        current: Array | None = None,
        remat: bool = False,
        training: bool = False,
    ) -> tuple[Float[Array, "time batch *classes"], Any, tuple[LayerRecord, ...]]:
        """Run timesteps `start … start + steps − 1` from a state (None: at rest).

        `current` is what [`Network.stem`][] returned; `remat` recomputes each layer in the backward pass; the
        other arguments are those of calling the network.

        **Returns:** the output potential, or the count of output spikes so far, after each of these
        timesteps, not divided; the state after them; the records.
        """
        signal = dataclasses.replace(self.encoding(images, start=start, steps=steps, key=key), key=key)
        states, count = (None, None) if state is None else state
        signal, states, records = self.run(
            signal, states, start=start, current=current, remat=remat, training=training
        )
        total = signal.values
        if not self.layers[-1].accumulates:
            total = jnp.broadcast_to(total, (steps, *total.shape[1:])).cumsum(axis=0)
            total = total if count is None else total + count
            count = total[-1]
        return total, (states, count), records

    @_broadcasting
    def run(
        self,
        signal: Signal,
        states: Any,
        *,
        start: int | Array,
        current: Array | None = None,
        remat: bool = False,
        training: bool = False,
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        """A signal through all layers, from their states (None: at rest) to the states after it.

        **Arguments:** `start`: the timestep that the signal begins at; the others as for
        [`Network.advance`][].

        **Returns:** the last layer's output, the layers' states, the records.
        """
        states = [None] * len(self.layers) if states is None else states
        after, records = [], []
        for index, (layer, layer_state) in enumerate(zip(self.layers, states, strict=True)):
            extra: dict[str, Any] = {}
            if index == 0 and current is not None:
                extra["current"] = signal.with_values(current)
            run = partial(_recomputed_layer if remat else _layer, start=start, training=training)
            signal, layer_state, record = run(layer, signal, layer_state, extra)
            after.append(layer_state)
            records += record
        return signal, after, tuple(records)

    def _recomputed(self, images, timesteps, chunk, fixed):
        """As many timesteps as do not fill a chunk, then a loop over chunks that stores only their states."""
        first = timesteps % chunk or chunk
        potential, state, record = self.advance(images, None, start=0, steps=first, **fixed)
        if first == timesteps:
            return potential, record
        graphdef, *parts = nnx.split(self, nnx.BatchStat, ...)
        statistics, rest = parts

        @jax.checkpoint
        def run(carry, start):
            state, statistics = carry
            network = nnx.merge(graphdef, statistics, rest)
            potential, state, record = network.advance(images, state, start=start, steps=chunk, **fixed)
            return (state, nnx.state(network, nnx.BatchStat)), (potential, record)

        starts = jnp.arange(first, timesteps, chunk, dtype=jnp.int32)
        (_, statistics), (potentials, records) = jax.lax.scan(run, (state, statistics), starts)
        nnx.update(self, statistics)
        later = jax.tree.map(lambda rates: rates.mean(), records)
        potentials = potentials.reshape(-1, *potentials.shape[2:])
        weights = [first / timesteps, 1 - first / timesteps]
        return jnp.concatenate([potential, potentials]), _weighted_mean([record, later], weights)

    def _norms(self) -> list[Normalization]:
        return [module for _, module in nnx.iter_graph(self) if isinstance(module, Normalization)]

    def _mixes_time(self) -> bool:
        return any(norm.across_time for norm in self._norms())


def batch_key(network: Network, key: Array | None, number: int) -> Array | None:
    """The key of batch `number`, counted from 0; None where an encoding draws and there is no key.

    Without a key, what is drawn at the reads of a chip still differs between batches.
    """
    if key is None:
        if not network.encoding.constant:
            return None
        key = jax.random.key(0)
    require_key(key)
    return jax.random.fold_in(key, number)


def _layer(layer, signal, state, extra, **options):
    return layer(signal, state, **extra, **options)


def _recomputed_layer(layer, signal, state, extra, **options):
    graphdef, variables = nnx.split(layer)

    def run(variables, *arguments):
        layer = nnx.merge(graphdef, variables)
        return _layer(layer, *arguments, **options), nnx.state(layer, nnx.BatchStat)

    spikes = [] if signal.activity is None else [signal.activity]
    out, statistics = recomputed(run, spikes)(variables, signal, state, extra)
    nnx.update(layer, statistics)
    return out


def _weighted_mean(records, weights):
    return jax.tree.map(lambda *rates: sum(w * r for w, r in zip(weights, rates, strict=True)), *records)
