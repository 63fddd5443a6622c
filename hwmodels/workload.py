"""What a network asks of a chip: its layers, their spike rates, and the number of timesteps."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from hwmodels.ranges import LARGEST, Range, fraction, interval, is_whole, require_ranges, require_word

Norm = Literal["none", "shared", "timestep"]
Pooling = Literal["average", "max"]

Whole = int | np.integer

Scalar = int | float | np.number | Float[Array | np.ndarray, ""] | Int[Array | np.ndarray, ""]
"""A number that stays as it was given: a Python float keeps its 64 bits on the host, an array is traced."""


def _pair(value: Any, name: str, layer: str) -> tuple[int, int]:
    values = tuple(value) if isinstance(value, Sequence | np.ndarray) and np.ndim(value) else (value, value)
    if len(values) != 2 or not all(map(is_whole, values)):
        raise ValueError(f"layer {layer!r}: {name} must be an int or a pair of ints, got {value!r}.")
    return int(values[0]), int(values[1])


def _plain(value: Any) -> Any:
    """A Python int in place of NumPy's; what is no whole number is left to the checks."""
    return int(value) if isinstance(value, np.integer) else value


class Layer(eqx.Module):
    """One weighted layer of a network, as a chip sees it.

    A convolution maps (height, width, in_channels) to (out_height, out_width, out_channels) with
    `out = (in + 2·padding − kernel) // stride + 1`; a linear layer is the 1×1 case. The shape is static; the
    rates are leaves, so that a cost differentiates to them.

    **Arguments:** use [`Layer.conv`][] or [`Layer.linear`][].

    - `name`: how errors and tables call the layer.
    - `kind`: a convolution or a linear layer.
    - `height`, `width`, `in_channels`: of the input map.
    - `out_channels`: of the output map.
    - `kernel`, `stride`, `padding`: of the window, (vertical, horizontal).
    - `input_rate`: fraction of inputs that are non-zero in one timestep, in [0, 1] (sparsity is 1 − rate).
    - `weight_sparsity`: fraction of weights that are zero, in [0, 1].
    - `analog_input`: the input is a multi-bit image and the same at every timestep (direct encoding), so that
      the layer's products can be computed once.
    - `spiking`: LIF neurons follow. False for the readout and for residual projections.
    - `pool`: side of the pooling that follows the neurons (1: none).
    - `residual_add`: an element-wise shortcut is added to the output before the neurons.
    - `weight_bits`: bits of this layer's weights where it has its own; None for the chip's.
    - `bias`: a bias is added to every output at every timestep.
    - `norm`: normalisation of the currents: "shared" by all timesteps, which is folded into weights and bias,
      or of each "timestep" (BNTT), which multiplies and adds at every output.
    - `source`, `shortcut`: names of the layers that the input and the shortcut come from, "" for the
      network's input. None where nobody said: the input then comes from the layer before.
    - `input_pool`: side of the average pooling that the input went through; None: that of the source.
    - `pooling`: "average", or "max", after which spikes are spikes still (their OR).
    - `pool_first`: the currents are pooled, so that there are neurons for the pooled map alone.

    **Raises:** `ValueError` that names the layer, for a kernel larger than the padded map, for sizes below
    one and for fractions outside [0, 1].
    """

    name: str = eqx.field(static=True)
    kind: Literal["conv", "linear"] = eqx.field(static=True)
    height: int = eqx.field(static=True, converter=_plain)
    width: int = eqx.field(static=True, converter=_plain)
    in_channels: int = eqx.field(static=True, converter=_plain)
    out_channels: int = eqx.field(static=True, converter=_plain)
    kernel: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True)
    padding: tuple[int, int] = eqx.field(static=True)
    input_rate: Scalar
    weight_sparsity: Scalar
    analog_input: bool = eqx.field(static=True)
    spiking: bool = eqx.field(static=True)
    pool: int = eqx.field(static=True, converter=_plain)
    residual_add: bool = eqx.field(static=True)
    weight_bits: Scalar | None = None
    bias: bool = eqx.field(static=True, default=False)
    norm: Norm = eqx.field(static=True, default="none")
    source: str | None = eqx.field(static=True, default=None)
    shortcut: str | None = eqx.field(static=True, default=None)
    input_pool: int | None = eqx.field(static=True, default=None)
    pooling: Pooling = eqx.field(static=True, default="average")
    pool_first: bool = eqx.field(static=True, default=False)

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
            if not is_whole(value) or value < 1:
                raise ValueError(
                    f"layer {self.name!r}: {name} must be at least 1 and a whole number, got {value!r}."
                )
        require_word(f"layer {self.name!r}: kind", self.kind, ("conv", "linear"))
        require_word(f"layer {self.name!r}: norm", self.norm, get_args(Norm))
        for name in ("analog_input", "spiking", "residual_add", "bias", "pool_first"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ValueError(
                    f"layer {self.name!r}: {name} must be True or False, got {getattr(self, name)!r}."
                )
        if self.pooling not in get_args(Pooling):
            raise ValueError(
                f"layer {self.name!r}: pooling must be 'average' or 'max', got {self.pooling!r}."
            )
        if self.input_pool is not None and (not is_whole(self.input_pool) or self.input_pool < 1):
            raise ValueError(
                f"layer {self.name!r}: input_pool must be at least 1 and a whole number, or None for that of "
                f"its source; got {self.input_pool!r}."
            )
        if self.weight_bits is not None:
            require_ranges(interval(f"layer {self.name!r}: weight_bits", self.weight_bits, 1, 64))
        if min(self.padding) < 0:
            raise ValueError(f"layer {self.name!r}: padding must not be negative, got {self.padding}.")
        padded = (self.height + 2 * self.padding[0], self.width + 2 * self.padding[1])
        if self.kernel[0] > padded[0] or self.kernel[1] > padded[1]:
            raise ValueError(
                f"layer {self.name!r}: kernel {self.kernel} is larger than the padded map {padded}; "
                "use a smaller kernel or more padding."
            )
        if self.pool > min(self.out_height, self.out_width):
            raise ValueError(
                f"layer {self.name!r}: {self.pooling} pooling of side {self.pool} does not fit its output "
                f"map of {self.out_height} × {self.out_width}; use a smaller pool."
            )
        require_ranges(*self.fractions())

    def fractions(self) -> list[Range]:
        """The ranges of its leaves that are fractions."""
        return [
            fraction(f"layer {self.name!r}: {name}", getattr(self, name), one=True)
            for name in ("input_rate", "weight_sparsity")
        ]

    @classmethod
    def conv(
        cls,
        name: str,
        *,
        height: Whole,
        width: Whole,
        in_channels: Whole,
        out_channels: Whole,
        kernel: Whole | Sequence[Whole] | np.ndarray = 3,
        stride: Whole | Sequence[Whole] | np.ndarray = 1,
        padding: Whole | Sequence[Whole] | np.ndarray = 0,
        input_rate: Scalar = 1.0,
        weight_sparsity: Scalar = 0.0,
        analog_input: bool = False,
        spiking: bool = True,
        pool: Whole = 1,
        residual_add: bool = False,
        **facts: Any,
    ) -> "Layer":
        """A convolution on a map of `height` × `width` × `in_channels`; see [`Layer`][], also for other
        `facts`."""
        return cls(
            name=name,
            kind="conv",
            height=_plain(height),
            width=_plain(width),
            in_channels=_plain(in_channels),
            out_channels=_plain(out_channels),
            kernel=_pair(kernel, "kernel", name),
            stride=_pair(stride, "stride", name),
            padding=_pair(padding, "padding", name),
            input_rate=input_rate,
            weight_sparsity=weight_sparsity,
            analog_input=analog_input,
            spiking=spiking,
            pool=_plain(pool),
            residual_add=residual_add,
            **facts,
        )

    @classmethod
    def linear(
        cls,
        name: str,
        *,
        in_features: Whole,
        out_features: Whole,
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
            in_channels=_plain(in_features),
            out_channels=_plain(out_features),
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

    def _follows(self, other: "Layer") -> bool:
        """Whether the other's outputs, perhaps pooled once more or averaged, can be its inputs."""
        pixels, rest = divmod(self.height * self.width * self.in_channels, other.out_channels)
        if self.kind == "linear":
            return rest == 0 and pixels <= other.out_height * other.out_width
        fits = self.height <= other.out_height and self.width <= other.out_width
        return self.in_channels == other.out_channels and fits

    @property
    def weights(self) -> int:
        """Number of synaptic weights."""
        return math.prod(self.kernel) * self.in_channels * self.out_channels

    @property
    def outputs(self) -> int:
        """Number of output elements (one neuron each when `spiking`)."""
        return self.out_height * self.out_width * self.out_channels

    @property
    def neurons(self) -> int:
        """Number of neurons that its outputs have, where it has any."""
        side = self.pool if self.pool_first else 1
        return (self.out_height // side) * (self.out_width // side) * self.out_channels

    @property
    def pooled(self) -> float:
        """Outputs for each value that its pooling leaves, those at edges that it drops included."""
        kept = (self.out_height // self.pool) * (self.out_width // self.pool) * self.out_channels
        return self.outputs / kept

    @property
    def averaged(self) -> int:
        """Side of the average pooling that its neurons' outputs go through; 1 for none, or the largest."""
        return self.pool if self.pooling == "average" and not self.pool_first else 1

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

    **Raises:** `ValueError` for no layers, for repeated layer names, for a `source` whose outputs cannot be
    the layer's inputs, and for fewer timesteps than one. Warns of layers without a `source` whose inputs are
    the outputs of no layer before them.
    """

    layers: tuple[Layer, ...] = eqx.field(converter=tuple)
    timesteps: Scalar

    def __check_init__(self):
        if not self.layers:
            raise ValueError("a workload needs at least one layer, got none.")
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"a workload is made of Layers, got {layer!r}; see Layer.conv and Layer.linear."
                )
        names = [layer.name for layer in self.layers]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"layer names must differ, got {', '.join(map(repr, repeated))} more than once.")
        message = "timesteps must be finite and at least 1."
        require_ranges(Range(message, self.timesteps, 1, LARGEST, one=True))
        known = {"", *names}
        for layer in self.layers:
            for fact in ("source", "shortcut"):
                told = getattr(layer, fact)
                if told is not None and told not in known:
                    raise ValueError(
                        f"layer {layer.name!r}: its {fact} {told!r} is no layer of this workload; "
                        f"there are {', '.join(map(repr, names))}, and '' for the input."
                    )
        for index, layer in enumerate(self.layers):
            before = [other for other in self.layers[:index] if layer.source in (None, other.name)]
            if not before or any(map(layer._follows, before)):
                continue
            last = before[-1]
            problem = (
                f"layer {layer.name!r} takes {layer.height} × {layer.width} × {layer.in_channels} values and "
                f"layer {last.name!r} before it gives {last.out_height} × {last.out_width} × "
                f"{last.out_channels} (pooled by {last.pool}), as does no other that it could follow"
            )
            if layer.source is not None:
                raise ValueError(f"{problem}; correct its size or its `source`.")
            # Layers that are only priced together have no order; a chain has, and then this is a mistake.
            warnings.warn(f"{problem}; correct its size if this is one network.", stacklevel=3)

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates of one timestep over all layers."""
        return sum(layer.macs for layer in self.layers)
