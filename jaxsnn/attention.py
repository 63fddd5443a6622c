"""Attention between spikes, without softmax."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxsnn.checks import is_positive
from jaxsnn.layers import Block, run_neuron
from jaxsnn.neuron import Neuron
from jaxsnn.signal import Attention, LayerRecord, Signal


class SpikingAttention(nnx.Module):
    r"""Spiking self-attention of the tokens of a map, with a shortcut before the last neurons.

    With tokens $X$ (the positions of the map) that spike, per head:

    $$Q, K, V = f(X W_Q), f(X W_K), f(X W_V), \quad A = g(s · Q K^\top V), \quad X' = f(A W_P + X).$$

    All of Q, K, V, A and X' are spikes, so that nothing is ever normalised by a softmax, and every product
    adds numbers up. The shortcut is added before the neurons, as in [`jaxsnn.composite.Residual`][], and not
    to their spikes as in the paper, where layers then see sums of spikes that no crossbar's row takes.

    The four kernels are stored, and a chip holds them as it holds any. $Q K^\top$ and its product with V have
    spikes for operands, new in every timestep: they cannot be programmed into a crossbar, stay digital
    wherever the network is deployed, and are no layers of its workload.
    [`jaxsnn.codesign.attention.attention_workloads`][] describes them for a digital chip.

    **Arguments:**

    - `query`, `key`, `value`, `projection`: [`jaxsnn.layers.Block`][]s of 1×1 convolutions, without pooling;
      all but the value and the projection may have any width, equal for query and key.
    - `neuron`: g.
    - `heads`: parts that the channels are cut into; it divides them.
    - `scale`: s > 0.

    **Raises:** `ValueError` for widths that do not fit, naming the layer.

    **Source:** Zhou et al., "Spikformer: When Spiking Neural Network Meets Transformer", ICLR 2023, eq. 9–11;
    the shortcut as in Yao et al., "Spike-driven Transformer", NeurIPS 2023.
    """

    def __init__(
        self,
        query: Block,
        key: Block,
        value: Block,
        projection: Block,
        neuron: Neuron,
        *,
        heads: int = 1,
        scale: float = 0.125,
    ):
        if not is_positive(scale):
            raise ValueError(f"layer {projection.name!r}: the scale of attention is positive, got {scale}.")
        for block in (query, key, value):
            channels = block.synapse.out_channels
            if heads < 1 or channels % heads:
                raise ValueError(
                    f"layer {block.name!r}: {heads} heads do not divide its {channels} channels."
                )
            if block.pool != 1 or not block.neuron.spiking:
                raise ValueError(f"layer {block.name!r}: queries, keys and values are spikes, not pooled.")
        if projection.pool != 1:
            raise ValueError(
                f"layer {projection.name!r}: attention ends in a map of its input's size; pool in a layer of "
                "its own."
            )
        for name, first, second in (
            (key.name, query.synapse.out_channels, key.synapse.out_channels),
            (projection.name, value.synapse.out_channels, projection.synapse.in_channels),
        ):
            if first != second:
                raise ValueError(f"layer {name!r}: {second} channels do not fit the {first} before it.")
        self.query, self.key, self.value, self.projection = query, key, value, projection
        self.neuron = neuron
        self.heads, self.scale = heads, scale

    @property
    def accumulates(self) -> bool:
        return self.projection.accumulates

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        states = [None] * 5 if state is None else list(state)
        spikes: list[Signal] = []
        records: list[LayerRecord] = []
        for number, block in enumerate((self.query, self.key, self.value)):
            out, states[number], own = block(signal, states[number], start=start, training=training)
            spikes.append(out)
            records += own
        query, key, value = (out.values for out in spikes)
        mixed = spikes[2].with_values(self.scale * attend(query, key, value, self.heads))
        gathered, states[3] = run_neuron(self.neuron, mixed, states[3], self.value.name)
        last = self.projection
        current = last.normalize(last.drive(gathered, start=start), start=start, training=training)
        if current.values.shape[1:] != signal.values.shape[1:]:
            raise ValueError(
                f"layer {last.name!r}: the shortcut {signal.values.shape[2:]} does not fit the output "
                f"{current.values.shape[2:]}; make the projection as wide as the input."
            )
        summed = current.with_values(current.values + signal.values.astype(current.values.dtype))
        out, states[4] = run_neuron(last.neuron, summed, states[4], last.name)
        of = Attention(self.query.name, self.key.name, self.value.name, self.heads)
        record = dataclasses.replace(last.record(gathered, out, shortcut=signal.origin), attention=of)
        return out, tuple(states), (*records, record)


def attend(
    query: Float[Array, "time batch h w c"],
    key: Float[Array, "time batch h w c"],
    value: Float[Array, "time batch h w v"],
    heads: int,
) -> Float[Array, "time batch h w v"]:
    """`Q Kᵀ V` per head among the h·w positions, in every timestep on its own."""
    time, batch, height, width, _ = query.shape

    def cut(x: Array) -> Array:
        return x.reshape(time, batch, height * width, heads, x.shape[-1] // heads)

    scores = jnp.einsum("tbnhd,tbmhd->tbhnm", cut(query), cut(key))
    out = jnp.einsum("tbhnm,tbmhd->tbnhd", scores, cut(value))
    return out.reshape(*value.shape)
