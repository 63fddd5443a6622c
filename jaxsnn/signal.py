"""What passes between layers, and what each weighted layer reports to a hardware model."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float


@struct.dataclass
class Signal:
    """A stretch of time: `values` (time, batch, ...), or (1, batch, ...) when all `steps` are the same.

    `analog` marks the multi-bit image of direct encoding, before any neuron. `activity`, of the shape of
    `values`, is 1 where a value made of spikes is not zero and 0 elsewhere; gradients flow through it to the
    spikes. None where the values are not made of spikes. `key` is where the layers' own draws begin, such as
    the read noise of a chip; None where the caller gave none.

    `origin` names the layer whose outputs these are, "" for the network's input; `pool` is the side of the
    average pooling that they went through since.
    """

    values: Array
    steps: int = struct.field(pytree_node=False)
    analog: bool = struct.field(pytree_node=False)
    activity: Array | None = None
    origin: str = struct.field(pytree_node=False, default="")
    pool: int = struct.field(pytree_node=False, default=1)
    key: Array | None = None

    def with_values(self, values: Array, activity: Array | None = None) -> "Signal":
        return dataclasses.replace(self, values=values, activity=activity)

    def at(self, step: int) -> "Signal":
        """One of its timesteps, counted from 0."""
        step = 0 if self.constant else step
        activity = None if self.activity is None else self.activity[step : step + 1]
        values = self.values[step : step + 1]
        return dataclasses.replace(self, values=values, activity=activity, steps=1)

    def repeated(self) -> "Signal":
        """The same, whose values are there for each of its timesteps."""

        def repeat(part):
            return None if part is None else jnp.broadcast_to(part, (self.steps, *part.shape[1:]))

        return self.with_values(repeat(self.values), repeat(self.activity))

    @property
    def constant(self) -> bool:
        return self.values.shape[0] == 1

    @property
    def active_fraction(self) -> Float[Array, ""]:
        """The fraction of values that are not zero; it differentiates to spikes."""
        activity = self.values != 0 if self.activity is None else self.activity
        return jnp.mean(activity, dtype=activity.dtype if activity.dtype == jnp.float64 else jnp.float32)


@dataclasses.dataclass(frozen=True)
class Attention:
    """The layers whose spikes are multiplied with each other, and the parts that their channels have."""

    query: str
    key: str
    value: str
    heads: int


@struct.dataclass
class LayerRecord:
    """One weighted layer as a chip would see it, with the activity it saw.

    Shapes are static; the rates are scalar arrays. Those of spikes differentiate, through the spikes'
    surrogate, to whatever made them.

    - `input_rate`: fraction of non-zero inputs in one timestep.
    - `spike_rate`: fraction of non-zero outputs of the neurons in one timestep, before pooling.
    - `spiking`: spiking neurons follow. False for the readout, for projections and in an ANN.
    - `pool`: side of the pooling after the neurons (1: none). `pooling`: "average" or "max". `pool_first`:
      the currents are pooled, before the neurons.
    - `analog_input`: the input is a multi-bit image, equal at every timestep.
    - `residual_add`: a shortcut is added to the output before the neurons.
    - `weight_bits`: bits of a weight as its quantiser has them; None without one.
    - `weight_sparsity`: fraction of weights that are zero; no gradient flows through it.
    - `bias`: whether a bias is added. `norm`: "none", "shared" by all timesteps, or of each "timestep".
    - `source`, `shortcut`: names of the layers that the input and the added shortcut come from, "" for the
      network's input; `shortcut` is None without one.
    - `input_pool`: side of the average pooling that the input went through; the largest of spikes are
      spikes.
    - `groups`, `dilation`: of a convolution; 1 and (1, 1) without.
    - `recurrent`: the input is the layer's own spikes of the timestep before.
    - `attention`: the input went through products of spikes with spikes, which no chip stores.
    """

    name: str = struct.field(pytree_node=False)
    kind: Literal["conv", "linear"] = struct.field(pytree_node=False)
    height: int = struct.field(pytree_node=False)
    width: int = struct.field(pytree_node=False)
    in_channels: int = struct.field(pytree_node=False)
    out_channels: int = struct.field(pytree_node=False)
    kernel: tuple[int, int] = struct.field(pytree_node=False)
    stride: tuple[int, int] = struct.field(pytree_node=False)
    padding: tuple[int, int] = struct.field(pytree_node=False)
    spiking: bool = struct.field(pytree_node=False)
    pool: int = struct.field(pytree_node=False)
    analog_input: bool = struct.field(pytree_node=False)
    residual_add: bool = struct.field(pytree_node=False)
    input_rate: Any  # Scalar array; a pytree passes other leaves through here.
    spike_rate: Any
    weight_bits: Any = None
    weight_sparsity: Any = 0.0
    bias: bool = struct.field(pytree_node=False, default=False)
    norm: Literal["none", "shared", "timestep"] = struct.field(pytree_node=False, default="none")
    source: str = struct.field(pytree_node=False, default="")
    shortcut: str | None = struct.field(pytree_node=False, default=None)
    input_pool: int = struct.field(pytree_node=False, default=1)
    pooling: Literal["average", "max"] = struct.field(pytree_node=False, default="average")
    pool_first: bool = struct.field(pytree_node=False, default=False)
    groups: int = struct.field(pytree_node=False, default=1)
    dilation: tuple[int, int] = struct.field(pytree_node=False, default=(1, 1))
    recurrent: bool = struct.field(pytree_node=False, default=False)
    attention: Attention | None = struct.field(pytree_node=False, default=None)

    @property
    def outputs(self) -> int:
        """Number of outputs, one neuron each where neurons follow."""
        if self.kind == "linear":
            return self.out_channels
        sides = zip(
            (self.height, self.width), self.kernel, self.stride, self.padding, self.dilation, strict=True
        )
        rows, columns = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in sides
        )
        return rows * columns * self.out_channels
