"""Blocks made of blocks: a residual pair, and layers that share one membrane."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxsnn.layers import Block, Conv, Linear, run_neuron
from jaxsnn.normalization import Normalization
from jaxsnn.signal import LayerRecord, Signal


class Residual(nnx.Module):
    """Two blocks and a shortcut that is added to the second one's currents, before its neurons:

    `o = f(norm₂(W₂·first(x)) + shortcut(x))`, the shortcut being x itself or a normalised projection of x.

    **Arguments:**

    - `first`, `second`: [`Block`][]s; the second one's neurons fire on the sum.
    - `projection`: a [`Block`][] whose neurons are unused (their `spiking` should be False), or None.
    """

    def __init__(self, first: Block, second: Block, projection: Block | None = None):
        self.first, self.second, self.projection = first, second, projection

    @property
    def accumulates(self) -> bool:
        return self.second.accumulates

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        first_state, second_state = (None, None) if state is None else state
        inner, first_state, before = self.first(signal, first_state, start=start, training=training)
        out, second_state, after = self._sum(signal, inner, second_state, start=start, training=training)
        return out, (first_state, second_state), before + after

    def in_turn(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        """One timestep in which the second block's neurons go on from the potential that the first's left."""
        inner, state, before = self.first(signal, state, start=start, training=training)
        out, state, after = self._sum(signal, inner, state, start=start, training=training)
        return out, state, before + after

    def _sum(
        self, signal: Signal, inner: Signal, state: Any, *, start: int | Array, training: bool
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        """The second block on `inner`, with the shortcut of `signal`."""
        current = self.second.normalize(self.second.drive(inner, start=start), start=start, training=training)
        shortcut = signal
        if self.projection is not None:
            shortcut = self.projection.normalize(
                self.projection.drive(signal, start=start), start=start, training=training
            )
        if shortcut.values.shape[1:] != current.values.shape[1:]:
            raise ValueError(
                f"layer {self.second.name!r}: the shortcut {shortcut.values.shape[2:]} does not fit the "
                f"output {current.values.shape[2:]}; give the block a projection."
            )
        summed = current.with_values(current.values + shortcut.values.astype(current.values.dtype))
        summed = self.second.before_neurons(summed)
        out, state = run_neuron(self.second.neuron, summed, state, self.second.name)
        origin = signal.origin if self.projection is None else self.projection.name
        records: tuple[LayerRecord, ...] = (self.second.record(inner, out, shortcut=origin),)
        if self.projection is not None:
            records += (self.projection.record(signal, shortcut),)
        return self.second.after_neurons(out), state, records


class SharedMembrane(nnx.Module):
    """Consecutive layers of equal output shape that take turns on one membrane potential.

    At each timestep the layers run in order, each going on from the potential that the one before it left,
    and the first from what the last left a timestep ago (Kim et al., EfficientLIF-Net, 2023, cross-layer
    sharing). So this part of a network runs step by step. Neurons that share among channels too
    ([`jaxsnn.neuron.SharedLIF`][]) hand on their potential of 1/groups of the channels.

    **Arguments:** `blocks`: [`Block`][]s and [`Residual`][]s, of whose layers only the last may pool.

    **Raises:** `ValueError`, naming the layer, for neurons without one membrane potential, for layers whose
    potentials differ in shape, for pooling between them and for normalisation over time.
    """

    def __init__(self, blocks: Sequence[Block | Residual]):
        layers = [layer for block in blocks for layer in _layers(block)]
        if len(layers) < 2:
            raise ValueError(f"a shared membrane needs at least two layers, got {len(layers)}.")
        if any(layer.pool > 1 for layer in layers[:-1]):
            raise ValueError("only the last of the layers that share a membrane may pool.")
        if layers[-1].pool > 1 and layers[-1].pool_first:
            raise ValueError(
                f"layer {layers[-1].name!r} shares its membrane and cannot pool before its neurons; pool "
                "after them."
            )
        modules = [module for block in blocks for _, module in nnx.iter_graph(block)]
        if any(isinstance(module, Normalization) and module.across_time for module in modules):
            raise ValueError(
                "layers that share a membrane run step by step and cannot take statistics over time; "
                "normalise them with BNTT or not at all."
            )
        channels = _membrane_channels(layers[0])
        for layer in layers[1:]:
            reason = ""
            if _membrane_channels(layer) != channels:
                reason = f"its potential has {_membrane_channels(layer)} channels and not {channels}"
            elif not _keeps_size(layer.synapse):
                reason = "its kernel, stride and padding change the size of the map"
            if reason:
                raise ValueError(
                    f"layer {layer.name!r} cannot share the membrane of layer {layers[0].name!r}: {reason}; "
                    "share among layers of equal output shape."
                )
        self.blocks = nnx.List(blocks)

    @property
    def accumulates(self) -> bool:
        return self.blocks[-1].accumulates

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        outputs, records = [], []
        for step in range(signal.steps):
            out = signal.at(step)
            step_records: tuple[LayerRecord, ...] = ()
            for block in self.blocks:
                turn = block.in_turn if isinstance(block, Residual) else block
                out, state, record = turn(out, state, start=start + step, training=training)
                step_records += record
            outputs.append(out)
            records.append(step_records)
        mean = jax.tree.map(lambda *rates: sum(rates) / len(rates), *records)
        joined = dataclasses.replace(
            outputs[0],
            values=jnp.concatenate([out.values for out in outputs]),
            # Of neurons that do not spike there is none.
            activity=jax.tree.map(lambda *parts: jnp.concatenate(parts), *(out.activity for out in outputs)),
            steps=signal.steps,
        )
        return joined, state, mean


def _layers(block: Block | Residual) -> tuple[Block, ...]:
    return (block.first, block.second) if isinstance(block, Residual) else (block,)


def _membrane_channels(layer: Block) -> int:
    shape = (1, layer.synapse.out_channels)
    rest = jax.eval_shape(lambda: layer.neuron.initial_state(shape))
    if getattr(rest, "ndim", 0) != len(shape):
        raise ValueError(
            f"layer {layer.name!r}: a {type(layer.neuron).__name__} has no single membrane potential that it "
            "could share; use a LIF or SharedLIF, or share nothing."
        )
    return rest.shape[-1]


def _keeps_size(synapse: Conv | Linear) -> bool:
    sides = zip(synapse.kernel_size, synapse.dilation, synapse.padding, synapse.extra_padding, strict=True)
    return synapse.stride == (1, 1) and all(
        dilation * (kernel - 1) == 2 * padding + extra for kernel, dilation, padding, extra in sides
    )
