"""Layers whose neurons hear their own spikes of the timestep before."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from jaxsnn.layers import Block, Conv, Linear, layer_record
from jaxsnn.signal import LayerRecord, Signal


class Recurrent(nnx.Module):
    r"""A block whose neurons also get their own spikes of the step before, through weights of their own:

    $$I_t = \mathrm{norm}(W x_t) + V o_{t-1}, \qquad o_0 = 0.$$

    The spikes are those of the neurons, before a pooling that follows them. V is a layer of its own in the
    record, on chips and in costs, called NAME_recurrent; its currents are not normalised. Its state is (the
    neurons' state, o).

    **Arguments:**

    - `block`: W, the normalisation, the neurons, the pooling.
    - `recurrent`: V, a [`jaxsnn.layers.Linear`][] or a [`jaxsnn.layers.Conv`][] that keeps the map's size. By
      default a dense V without bias for a linear block, and a convolution of W's kernel, odd, for a map.
    - `rngs`: for the default V.
    - `bias_at_start`: whether a bias of V acts in the first timestep, when no spikes have come back yet, as
      in snnTorch; Norse and SpikingJelly run loops of NIR files without it.

    **Raises:** `ValueError` that names the layer, for a V that does not fit W's outputs, and without
    `recurrent` and `rngs`.

    ```python
    Recurrent(Block("hidden", Linear(700, 128, rngs=rngs), AdaptiveLIF()), rngs=rngs)
    ```
    """

    def __init__(
        self,
        block: Block,
        recurrent: Conv | Linear | None = None,
        *,
        rngs: nnx.Rngs | None = None,
        bias_at_start: bool = True,
    ):
        units = block.synapse.out_channels
        if recurrent is None:
            if rngs is None:
                raise ValueError(f"layer {block.name!r}: give recurrent weights, or rngs to draw them.")
            recurrent = _like(block.synapse, rngs)
        if (recurrent.in_channels, recurrent.out_channels) != (units, units):
            raise ValueError(
                f"layer {block.name!r}: its recurrent weights must go from its {units} outputs to as many, "
                f"not from {recurrent.in_channels} to {recurrent.out_channels}."
            )
        self.block, self.recurrent = block, recurrent
        self.bias_at_start = bias_at_start

    @property
    def name(self) -> str:
        return self.block.name

    def named_synapses(self) -> dict[str, Conv | Linear]:
        return {f"{self.name}_recurrent": self.recurrent}

    @property
    def accumulates(self) -> bool:
        return self.block.accumulates

    def __call__(
        self, signal: Signal, state: Any, *, start: int | Array, training: bool = False
    ) -> tuple[Signal, Any, tuple[LayerRecord, ...]]:
        block = self.block
        current = block.normalize(block.drive(signal, start=start), start=start, training=training)
        current = block.before_neurons(current)
        if state is None:
            shape, dtype = current.values.shape[1:], current.values.dtype
            state = block.neuron.initial_state(shape, dtype), jnp.zeros(shape, dtype)
        constant = current.values[0] if current.constant else None

        def step(carry, now):
            neurons, before = carry
            time, values = now
            drive = values if constant is None else constant
            fed_back = self._fed_back(before, start + time, signal.key)
            if fed_back.shape != drive.shape:
                raise ValueError(
                    f"layer {block.name!r}: its recurrent weights give currents of shape "
                    f"{fed_back.shape[1:]} and its neurons take {drive.shape[1:]}; give weights that keep "
                    "the size of the map."
                )
            out, neurons = block.neuron(drive + fed_back.astype(drive.dtype), neurons)
            return (neurons, out), (out, before)

        xs = jnp.arange(current.steps, dtype=jnp.int32), None if current.constant else current.values
        # A convolution inside a rolled loop is slow on a CPU; products are small, and unrolling fuses them.
        unroll = current.steps if isinstance(self.recurrent, Conv) else min(current.steps, 16)
        state, (out, before) = jax.lax.scan(step, state, xs, length=current.steps, unroll=max(unroll, 1))
        spiking = block.neuron.spiking
        spikes, heard = (
            dataclasses.replace(
                current, values=x, analog=False, activity=x if spiking else None, origin=block.name, pool=1
            )
            for x in (out, before)
        )
        # V's currents are added to W's, as a projection's are to its branch's.
        records = (
            block.record(signal, spikes, shortcut=f"{block.name}_recurrent"),
            layer_record(
                f"{block.name}_recurrent", self.recurrent, heard, spikes, spiking=False, recurrent=True
            ),
        )
        return block.after_neurons(spikes), state, records

    def _fed_back(self, spikes: Array, time: int | Array, key: Array | None) -> Array:
        out = self.recurrent(spikes[None], start=time, key=key)[0]
        if self.recurrent.bias is not None and not self.bias_at_start:
            out = jnp.where(time > 0, out, 0)
        return out.reshape(spikes.shape) if isinstance(self.recurrent, Linear) else out


def _like(synapse: Conv | Linear, rngs: nnx.Rngs) -> Conv | Linear:
    options: dict[str, Any] = {
        "param_dtype": synapse.kernel[...].dtype,
        "dtype": synapse.dtype,
        "kernel_init": nnx.initializers.orthogonal(),
        "rngs": rngs,
    }
    units = synapse.out_channels
    if isinstance(synapse, Linear):
        return Linear(units, units, **options)
    kernel = tuple(side + 1 - side % 2 for side in synapse.kernel_size)
    return Conv(units, units, kernel, padding="same", **options)
