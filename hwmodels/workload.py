"""What a network asks of a chip: its layers, their spike rates, and the number of timesteps."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from hwmodels.checks import is_traced

Norm = Literal["none", "shared", "timestep"]

Scalar = int | float | np.number | Float[Array | np.ndarray, ""] | Int[Array | np.ndarray, ""]
"""A number that stays as it was given: a Python float keeps its 64 bits on the host, an array is traced."""


def _pair(value: int | Sequence[int], name: str, layer: str) -> tuple[int, int]:
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        raise ValueError(f"layer {layer!r}: {name} must be an int or a pair of ints, got {value!r}.")
    return values[0], values[1]


class Layer(eqx.Module):
    """One weighted layer of a network, as a chip sees it.

    A convolution maps (height, width, in_channels) to (out_height, out_width, out_channels) with
    `out = (in + 2·padding − kernel) // stride + 1`; a linear layer is the 1×1 case. The shape is static; the
    rates are leaves, so that a cost differentiates to them.

    **Arguments:** use [`Layer.conv`][] or [`Layer.linear`][].

    - `name`: how errors and tables call the layer.
    - `input_rate`: fraction of inputs that are non-zero in one timestep, in [0, 1] (sparsity is 1 − rate).
    - `weight_sparsity`: fraction of weights that are zero, in [0, 1].
    - `analog_input`: the input is a multi-bit image and the same at every timestep (direct encoding), so that
      the layer's products can be computed once.
    - `spiking`: LIF neurons follow. False for the readout and for residual projections.
    - `pool`: side of the average pooling that follows the neurons (1: none).
    - `residual_add`: an element-wise shortcut is added to the output before the neurons.
    - `weight_bits`: bits of this layer's weights where it has its own; None for the chip's.
    - `bias`: a bias is added to every output at every timestep.
    - `norm`: normalisation of the currents: "shared" by all timesteps, which is folded into weights and bias,
      or of each "timestep" (BNTT), which multiplies and adds at every output.
    - `source`, `shortcut`: names of the layers that the input and the shortcut come from, "" for the
      network's input. None where nobody said: the input then comes from the layer before.
    - `input_pool`: side of the average pooling that the input went through; None: the source's `pool`.

    **Raises:** `ValueError` that names the layer, for a kernel larger than the padded map, for sizes below
    one and for fractions outside [0, 1].
    """

    name: str = eqx.field(static=True)
    kind: Literal["conv", "linear"] = eqx.field(static=True)
    height: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    in_channels: int = eqx.field(static=True)
    out_channels: int = eqx.field(static=True)
    kernel: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)
    input_rate: Scalar
    weight_sparsity: Scalar
    analog_input: bool = eqx.field(static=True)
    spiking: bool = eqx.field(static=True)
    pool: int = eqx.field(static=True)
    residual_add: bool = eqx.field(static=True)
    weight_bits: Scalar | None = None
    bias: bool = eqx.field(static=True, default=False)
    norm: Norm = eqx.field(static=True, default="none")
    source: str | None = eqx.field(static=True, default=None)
    shortcut: str | None = eqx.field(static=True, default=None)
    input_pool: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        sizes = {
            "height": self.height,
            "width": self.width,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel": min(self.kernel),
            "stride": min(self.stride),
            "pool": self.pool,
        }
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"layer {self.name!r}: {name} must be at least 1, got {value}.")
        if self.norm not in get_args(Norm):
            raise ValueError(
                f"layer {self.name!r}: norm must be one of {', '.join(map(repr, get_args(Norm)))}, "
                f"got {self.norm!r}."
            )
        if min(self.padding) < 0:
            raise ValueError(f"layer {self.name!r}: padding must not be negative, got {self.padding}.")
        padded = (self.height + 2 * self.padding[0], self.width + 2 * self.padding[1])
        if self.kernel[0] > padded[0] or self.kernel[1] > padded[1]:
            raise ValueError(
                f"layer {self.name!r}: kernel {self.kernel} is larger than the padded map {padded}; "
                "use a smaller kernel or more padding."
            )
        for name in ("input_rate", "weight_sparsity"):
            value = getattr(self, name)
            if not is_traced(value) and not bool(np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1))):
                raise ValueError(
                    f"layer {self.name!r}: {name} is a fraction and must lie in [0, 1], got {value}."
                )

    @classmethod
    def conv(
        cls,
        name: str,
        *,
        height: int,
        width: int,
        in_channels: int,
        out_channels: int,
        kernel: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        input_rate: Scalar = 1.0,
        weight_sparsity: Scalar = 0.0,
        analog_input: bool = False,
        spiking: bool = True,
        pool: int = 1,
        residual_add: bool = False,
        **facts: Any,
    ) -> "Layer":
        """A convolution on a map of `height` × `width` × `in_channels`; see [`Layer`][], also for other
        `facts`."""
        return cls(
            name=name,
            kind="conv",
            height=height,
            width=width,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel=_pair(kernel, "kernel", name),
            stride=_pair(stride, "stride", name),
            padding=_pair(padding, "padding", name),
            input_rate=input_rate,
            weight_sparsity=weight_sparsity,
            analog_input=analog_input,
            spiking=spiking,
            pool=pool,
            residual_add=residual_add,
            **facts,
        )

    @classmethod
    def linear(
        cls,
        name: str,
        *,
        in_features: int,
        out_features: int,
        input_rate: Scalar = 1.0,
        weight_sparsity: Scalar = 0.0,
        analog_input: bool = False,
        spiking: bool = True,
        residual_add: bool = False,
        **facts: Any,
    ) -> "Layer":
        """A fully connected layer: a 1×1 convolution on a 1×1 map; see [`Layer`][], also for the other
        `facts`."""
        return cls(
            name=name,
            kind="linear",
            height=1,
            width=1,
            in_channels=in_features,
            out_channels=out_features,
            kernel=(1, 1),
            stride=(1, 1),
            padding=(0, 0),
            input_rate=input_rate,
            weight_sparsity=weight_sparsity,
            analog_input=analog_input,
            spiking=spiking,
            pool=1,
            residual_add=residual_add,
            **facts,
        )

    @property
    def out_height(self) -> int:
        return (self.height + 2 * self.padding[0] - self.kernel[0]) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        return (self.width + 2 * self.padding[1] - self.kernel[1]) // self.stride[1] + 1

    @property
    def weights(self) -> int:
        """Number of synaptic weights."""
        return math.prod(self.kernel) * self.in_channels * self.out_channels

    @property
    def outputs(self) -> int:
        """Number of output elements (one neuron each when `spiking`)."""
        return self.out_height * self.out_width * self.out_channels

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates of one timestep, padding included: `outputs · kernel · in_channels`."""
        return self.outputs * math.prod(self.kernel) * self.in_channels


class Workload(eqx.Module):
    """A network and how long it runs: what every cost model takes.

    **Arguments:**

    - `layers`: at least one [`Layer`][], in order of execution.
    - `timesteps`: number of timesteps T of one inference, at least 1. A leaf: costs differentiate to it, and
      it may be fractional where it stands for a relaxation.

    **Raises:** `ValueError` for no layers, for repeated layer names, and for fewer timesteps than one.
    """

    layers: tuple[Layer, ...] = eqx.field(converter=tuple)
    timesteps: Scalar

    def __check_init__(self):
        if not self.layers:
            raise ValueError("a workload needs at least one layer, got none.")
        names = [layer.name for layer in self.layers]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"layer names must differ, got {', '.join(map(repr, repeated))} more than once.")
        if not is_traced(self.timesteps):
            timesteps = np.asarray(self.timesteps)
            if not np.all((timesteps >= 1) & np.isfinite(timesteps)):
                raise ValueError(f"timesteps must be finite and at least 1, got {self.timesteps}.")
        known = {"", *names}
        for layer in self.layers:
            for fact in ("source", "shortcut"):
                told = getattr(layer, fact)
                if told is not None and told not in known:
                    raise ValueError(
                        f"layer {layer.name!r}: its {fact} {told!r} is no layer of this workload; "
                        f"there are {', '.join(map(repr, names))}, and '' for the input."
                    )

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates of one timestep over all layers."""
        return sum(layer.macs for layer in self.layers)
