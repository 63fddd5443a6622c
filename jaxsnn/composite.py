"""Blocks made of blocks: a residual pair, and layers that share one membrane."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxsnn.layers import Block, pooled, run_neuron
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

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        first_state, second_state = (None, None) if state is None else state
        inner, first_state, records = self.first(signal, first_state, start=start, training=training)
        current = self.second.normalize(self.second.drive(inner), start=start, training=training)
        shortcut = signal
        if self.projection is not None:
            shortcut = self.projection.normalize(
                self.projection.drive(signal), start=start, training=training
            )
        if shortcut.values.shape[1:] != current.values.shape[1:]:
            raise ValueError(
                f"layer {self.second.name!r}: the shortcut {shortcut.values.shape[2:]} does not fit the "
                f"output {current.values.shape[2:]}; give the block a projection."
            )
        summed = current.with_values(current.values + shortcut.values.astype(current.values.dtype))
        out, second_state = run_neuron(self.second.neuron, summed, second_state)
        records += (self.second.record(inner, out, residual_add=True),)
        if self.projection is not None:
            records += (self.projection.record(signal, shortcut),)
        return pooled(out, self.second.pool), (first_state, second_state), records


class SharedMembrane(nnx.Module):
    """Consecutive layers of equal output shape that take turns on one membrane potential.

    At each timestep the layers run in order, each going on from the potential that the one before it left,
    and the first from what the last left a timestep ago (Kim et al., EfficientLIF-Net, 2023, cross-layer
    sharing). So this part of a network runs step by step.

    **Arguments:** `blocks`: [`Block`][]s of which only the last may pool.
    """

    def __init__(self, blocks: Sequence[Block]):
        if len(blocks) < 2:
            raise ValueError(f"a shared membrane needs at least two layers, got {len(blocks)}.")
        if any(block.pool > 1 for block in blocks[:-1]):
            raise ValueError("only the last of the layers that share a membrane may pool.")
        if any(block.norm is not None and block.norm.across_time for block in blocks):
            raise ValueError(
                "layers that share a membrane run step by step and cannot take statistics over time; "
                "normalise them with BNTT or not at all."
            )
        self.blocks = nnx.List(blocks)

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        outputs, records = [], []
        for step in range(signal.steps):
            now = signal.values if signal.constant else signal.values[step : step + 1]
            out = Signal(values=now, steps=1, analog=signal.analog)
            step_records: tuple[LayerRecord, ...] = ()
            for block in self.blocks:
                if state is not None and state.shape != self._shape(block, out):
                    raise ValueError(
                        f"layer {block.name!r} cannot share a membrane of shape {state.shape[1:]}: "
                        f"its neurons have shape {self._shape(block, out)[1:]}."
                    )
                out, state, record = block(out, state, start=start + step, training=training)
                step_records += record
            outputs.append(out)
            records.append(step_records)
        mean = jax.tree.map(lambda *rates: sum(rates) / len(rates), *records)
        joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *outputs)
        return joined.replace(steps=signal.steps), state, mean

    @staticmethod
    def _shape(block: Block, signal: Signal) -> tuple[int, ...]:
        return jax.eval_shape(lambda values: block.synapse(values)[0], signal.values).shape
