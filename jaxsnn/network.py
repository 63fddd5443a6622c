"""A stack of layers, its unrolling in time, and the record it leaves."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.encoding import Direct, Encoding
from jaxsnn.layers import Block
from jaxsnn.normalization import Normalization
from jaxsnn.signal import LayerRecord, Signal

__all__ = ["LayerRecord", "Network", "Signal"]


class Network(nnx.Module):
    """Layers run one after another over time; the last one's potential, divided by T, gives the logits.

    **Arguments:**

    - `layers`: blocks; the first is a [`jaxsnn.layers.Block`][], the last one ends in a readout.
    - `encoding`: how an image becomes the first layer's input.
    """

    def __init__(self, layers: Sequence[Any], encoding: Encoding = Direct()):  # noqa: B008 (frozen)
        if not layers:
            raise ValueError("a network needs at least one layer, got none.")
        if not isinstance(layers[0], Block):
            raise ValueError(f"the first layer must be a Block, got {type(layers[0]).__name__}.")
        self.layers = nnx.List(layers)
        self.encoding = encoding

    def __call__(
        self,
        images: Array,
        *,
        timesteps: int,
        key: Array | None = None,
        chunk: int | None = None,
        remat: bool = False,
        training: bool = False,
    ) -> tuple[Float[Array, "batch classes"], tuple[LayerRecord, ...]]:
        """Classify images.

        **Arguments:**

        - `images`: floats, (batch, height, width, channels), usually in [0, 1] or normalised.
        - `timesteps`: T, at least 1.
        - `key`: for Poisson encoding.
        - `chunk`: how many timesteps run layer by layer at once. None takes all T (fastest); 1 runs the whole
          network step by step. Every choice gives the same numbers to rounding.
        - `remat`: the backward pass recomputes each chunk instead of storing its activations, so that memory
          grows with `chunk` and not with T.
        - `training`: normalisation uses, and updates, the statistics of this batch.

        **Returns:** logits (the output potential accumulated over T and divided by T) and one
        [`LayerRecord`][] per weighted layer.

        **Raises:** `ValueError` for fewer timesteps than one and for shapes that do not fit.
        """
        outputs, record = self.outputs(
            images, timesteps=timesteps, key=key, chunk=chunk, remat=remat, training=training
        )
        return outputs[-1], record

    def outputs(
        self,
        images: Array,
        *,
        timesteps: int,
        key: Array | None = None,
        chunk: int | None = None,
        remat: bool = False,
        training: bool = False,
    ) -> tuple[Float[Array, "time batch classes"], tuple[LayerRecord, ...]]:
        """The logits after each timestep, u_t / t; arguments as for calling the network."""
        if timesteps < 1:
            raise ValueError(f"timesteps must be at least 1, got {timesteps}.")
        chunk = timesteps if chunk is None else chunk
        if chunk < 1:
            raise ValueError(f"chunk must be at least 1 timestep, got {chunk}.")
        if training and chunk < timesteps and self._mixes_time():
            raise ValueError(
                f"this network's normalisation takes its statistics over all {timesteps} timesteps, so it "
                f"cannot train in chunks of {chunk}; leave chunk=None or use BNTT."
            )
        current = self.stem(images)
        advance = self._recomputed if remat else self.advance
        state, potentials, records, weights = None, [], [], []
        for start in range(0, timesteps, chunk):
            steps = min(chunk, timesteps - start)
            out, state, record = advance(
                images, state, start=start, steps=steps, key=key, current=current, training=training
            )
            potentials.append(out)
            records.append(record)
            weights.append(steps / timesteps)
        time = jax.numpy.arange(1, timesteps + 1, dtype=potentials[0].dtype)
        outputs = jax.numpy.concatenate(potentials) / time.reshape(-1, 1, 1)
        mean = jax.tree.map(lambda *rates: sum(w * r for w, r in zip(weights, rates, strict=True)), *records)
        return outputs, mean

    def stem(self, images: Array) -> Array | None:
        """The first layer's currents where they are equal at every timestep (direct encoding), else None."""
        if images.ndim != 4:
            raise ValueError(f"images must be (batch, height, width, channels), got shape {images.shape}.")
        if not self.encoding.constant:
            return None
        return self.layers[0].drive(self.encoding(images, start=0, steps=1, key=None)).values

    def advance(
        self,
        images: Array,
        state: Any,
        *,
        start: int | Array,
        steps: int,
        key: Array | None = None,
        current: Array | None = None,
        training: bool = False,
    ) -> tuple[Float[Array, "time batch classes"], Any, tuple[LayerRecord, ...]]:
        """Run timesteps `start … start + steps − 1` from a state (None: at rest).

        `current` is what [`Network.stem`][] returned; the other arguments are those of calling the network.

        **Returns:** the output potential after each of these timesteps, not divided; the state after them;
        the records.
        """
        signal = self.encoding(images, start=start, steps=steps, key=key)
        states = [None] * len(self.layers) if state is None else state
        after, records = [], []
        for index, (layer, layer_state) in enumerate(zip(self.layers, states, strict=True)):
            extra: dict[str, Any] = {}
            if index == 0 and current is not None:
                extra["current"] = signal.with_values(current)
            signal, layer_state, record = layer(signal, layer_state, start=start, training=training, **extra)
            after.append(layer_state)
            records += record
        return signal.values, after, tuple(records)

    def _recomputed(self, images, state, *, start, steps, key, current, training):
        graphdef, variables = nnx.split(self)

        @jax.checkpoint
        def run(variables, images, state, key, current):
            network = nnx.merge(graphdef, variables)
            result = network.advance(
                images, state, start=start, steps=steps, key=key, current=current, training=training
            )
            return result, nnx.state(network, nnx.BatchStat)

        result, statistics = run(variables, images, state, key, current)
        nnx.update(self, statistics)
        return result

    def _mixes_time(self) -> bool:
        norms = (module for _, module in nnx.iter_graph(self) if isinstance(module, Normalization))
        return any(norm.across_time for norm in norms)
