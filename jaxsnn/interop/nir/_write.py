"""From a network to a NIR graph."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from jaxsnn.checks import require_choice
from jaxsnn.composite import Residual
from jaxsnn.graph import Graph
from jaxsnn.interop.nir._flat import package
from jaxsnn.interop.nir._neurons_out import neuron_node, unit_factor
from jaxsnn.layers import Block, Conv, Linear, Neurons, weights
from jaxsnn.learning.conversion import fold_normalization
from jaxsnn.network import Network
from jaxsnn.neuron import Identity, Neuron
from jaxsnn.neuron._constants import read
from jaxsnn.operations import Operation, Pool, Rearrange, Scale
from jaxsnn.recurrence import Recurrent


def to_nir(
    network: Network,
    input_shape: Sequence[int],
    *,
    dt: float = 1e-4,
    readout: Literal["keep", "drop"] = "keep",
    resistance: Literal["timestep", "unit"] = "timestep",
    zero_bias: bool = False,
    pooling: Literal["average", "sum"] = "average",
) -> Any:
    """A NIR graph of a network, whose equations give the network's spikes with steps `dt` of Euler's method.

    Batch normalisation is folded into the weights, quantised weights are written as the quantiser makes them,
    shortcuts and recurrent weights become edges that join. A kernel of groups, or one that is no square, gets
    zeros to be dense and square, as nir 1.0.8 refuses groups and takes a kernel's height for its width. A
    neuron that fires at u ≥ θ is written with the next smaller threshold, which is the same in float32.

    **Arguments:**

    - `network`: of [`LIF`][jaxsnn.neuron.LIF], IF, CubaLIF, ParametricLIF, ParametricCubaLIF and readouts.
    - `input_shape`: (height, width, channels) or (features,) of an input.
    - `dt`: seconds that a timestep stands for; snnTorch assumes the default.
    - `readout`: "drop" leaves a readout at the end away, so that the output are its currents: snnTorch,
      SpikingJelly and Norse read no `nir.I`.
    - `resistance`: "timestep" has r = τ/dt where a current is added as it is; "unit" has r = 1 and weights
      that are τ/dt times as large, for Norse, which takes r for 1.
    - `zero_bias`: writes weights without a bias as `nir.Affine` with zeros, for sinabs, which leaves
      `nir.Linear` out.
    - `pooling`: "sum" writes average pooling as `nir.SumPool2d` and divides the next weights by the size of
      the window: Norse, sinabs and Spyx read no `nir.AvgPool2d`.

    **Raises:** `ValueError` that names the layer which NIR cannot express.
    """
    require_choice("readout", readout, ("keep", "drop"))
    require_choice("resistance", resistance, ("timestep", "unit"))
    require_choice("pooling", pooling, ("average", "sum"))
    unit = resistance == "unit"
    writer = _Writer(tuple(int(side) for side in input_shape), dt, unit, zero_bias, pooling == "sum")
    plain = fold_normalization(network)
    layers = list(plain.layers)
    if readout == "drop" and isinstance(layers[-1], Block) and layers[-1].accumulates:
        layers[-1].neuron = Identity()
    for layer in layers:
        writer.add(layer)
    return writer.graph()


class _Writer:
    """Nodes and edges so far, what comes out of the last of them, and its shape as we have it."""

    def __init__(self, shape: tuple[int, ...], dt: float, unit: bool, zero_bias: bool, sums: bool):
        if len(shape) not in (1, 3):
            raise ValueError(f"input_shape must be (height, width, channels) or (features,), got {shape}.")
        self.nir = package()
        self.dt, self.unit, self.zero_bias, self.sums = dt, unit, zero_bias, sums
        self.share = 1.0  # What sums of patches are to be multiplied with, by the next weights.
        self.nodes: dict[str, Any] = {"input": self.nir.Input({"input": np.array(_first(shape))})}
        self.edges: list[tuple[str, str]] = []
        self.at: list[str] = ["input"]
        self.shape = shape
        self.cut: tuple[int, ...] | None = None  # The map that a vector was flattened from.

    def graph(self) -> Any:
        self._settled("output")
        if self.cut is not None:
            raise ValueError(
                "NIR flattens channels first, so that a flattened map cannot be an output; end in weights."
            )
        self._node("output", self.nir.Output({"output": np.array(_first(self.shape))}), self.at)
        return self.nir.NIRGraph(self.nodes, self.edges, type_check=False)

    def add(self, layer: Any) -> None:
        if isinstance(layer, Block):
            self._block(layer)
        elif isinstance(layer, Recurrent):
            self._recurrent(layer)
        elif isinstance(layer, Residual):
            self._residual(layer)
        elif isinstance(layer, Neurons):
            self._neuron(layer.name, layer.neuron, layer.name)
        elif isinstance(layer, Graph):
            self._graph(layer)
        elif isinstance(layer, Operation):
            self._operation(type(layer).__name__.lower(), layer)
        else:
            raise ValueError(
                f"a {type(layer).__name__} cannot be written to NIR; blocks and what is made of them can."
            )

    def _node(self, name: str, node: Any, sources: Sequence[str]) -> str:
        while name in self.nodes:
            name += "_"
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def _block(self, block: Block) -> None:
        self._synapse(block.name, block.synapse, self._factor(block.neuron, block.name))
        self._pool(block, first=True)
        self._neuron(f"{block.name}_neuron", block.neuron, block.name)
        self._pool(block)

    def _pool(self, block: Block, *, first: bool = False) -> None:
        """A block's pooling, where it comes `first`, before the neurons, or after them."""
        if block.pool > 1 and block.pool_first == first:
            kind: Literal["mean", "max"] = "max" if block.pooling == "max" else "mean"
            self._operation(f"{block.name}_pool", Pool(block.pool, kind=kind))

    def _settled(self, name: str) -> None:
        """Sums of patches must have come to weights, which divide them."""
        if self.share != 1:
            raise ValueError(
                f"layer {name!r}: no weights follow the pooling before it, to divide its sums; write it with "
                "pooling='average'."
            )

    def _recurrent(self, layer: Recurrent) -> None:
        block, factor = layer.block, self._factor(layer.block.neuron, layer.block.name)
        # A bias that acts from the first timestep on goes to the input's weights: no reader mistakes it.
        early = layer.recurrent.bias is not None and layer.bias_at_start
        self._synapse(block.name, block.synapse, factor, more=layer.recurrent.bias if early else None)
        self._pool(block, first=True)
        self._neuron(f"{block.name}_neuron", block.neuron, block.name)
        neuron, shape = self.at, self.shape
        self._synapse(f"{block.name}_recurrent", layer.recurrent, factor, bias=not early)
        self.edges += [(source, neuron[0]) for source in self.at]
        self.at, self.shape = neuron, shape
        self._pool(block)

    def _residual(self, layer: Residual) -> None:
        entry, shape, share = self.at, self.shape, self.share
        self._block(layer.first)
        factor = self._factor(layer.second.neuron, layer.second.name)
        self._synapse(layer.second.name, layer.second.synapse, factor)
        summed, after = self.at, self.shape
        self.at, self.shape, self.share = entry, shape, share
        if layer.projection is not None:
            self._synapse(layer.projection.name, layer.projection.synapse, factor)
        elif not np.all(factor * share == 1):
            self.share = 1.0
            scale = self._scale(factor * share, after)
            self.at = [self._node(f"{layer.second.name}_shortcut", scale, entry)]
        if self.shape != after:
            raise ValueError(
                f"layer {layer.second.name!r}: its shortcut has shape {self.shape} and not {after}."
            )
        self.at = [*summed, *self.at]
        if layer.second.pool > 1 and layer.second.pool_first:
            raise ValueError(
                f"layer {layer.second.name!r}: a shortcut that is pooled along with the currents cannot be "
                "written to NIR; pool after the neurons."
            )
        self._neuron(f"{layer.second.name}_neuron", layer.second.neuron, layer.second.name)
        self._pool(layer.second)

    def _scale(self, factor: Any, shape: tuple[int, ...]) -> Any:
        """A factor on all values: a Scale, or weights without others, for Norse, which knows no Scale."""
        nir = self.nir
        if not self.unit:
            return nir.Scale(np.full(_first(shape), factor))
        alone = np.eye(shape[-1]) * factor
        if len(shape) == 1:
            return nir.Linear(alone)
        return nir.Conv2d(shape[:2], alone[:, :, None, None], 1, 0, 1, 1, np.zeros(shape[-1]))

    def _gains(self, layer: Graph) -> dict[str, Any]:
        """Factors of a graph's weights so that r is 1.

        **Raises:** `ValueError` for neurons with another source than weights of their own.
        """
        gains: dict[str, Any] = {}
        for index, step in enumerate(layer.steps[:-1]):
            neuron = layer.modules[layer.names.index(step.name)]
            if (
                not self.unit
                or not isinstance(neuron, Neuron)
                or np.all(self._factor(neuron, step.name) == 1)
            ):
                continue
            sources = [layer.steps[i] if i >= 0 else None for i in step.now]
            readers = {
                i: [k for k, other in enumerate(layer.steps) if i in other.now] for i in step.now if i >= 0
            }
            own = all(
                source is not None
                and isinstance(layer.modules[layer.names.index(source.name)], Conv | Linear)
                for source in sources
            )
            if step.before or not own or any(found != [index] for found in readers.values()):
                raise ValueError(
                    f"layer {step.name!r}: r = 1 needs neurons that hear nothing but weights of their own; "
                    "take resistance='timestep'."
                )
            gains |= {
                source.name: self._factor(neuron, step.name) for source in sources if source is not None
            }
        return gains

    def _graph(self, layer: Graph) -> None:
        self._settled(layer.name)
        gains = self._gains(layer)
        entry = self.at, self.shape, self.cut
        made: list[tuple[list[str], tuple[int, ...], Any]] = []
        late: list[tuple[str, str]] = []
        names: dict[str, str] = {}
        for step in layer.steps:
            parts = [entry if index < 0 else made[index] for index in step.now]
            self.at = [source for part in parts for source in part[0]]
            if parts:
                self.shape, self.cut = parts[0][1:]
            if step is layer.steps[-1]:
                return self._late(late, names)
            module = layer.modules[layer.names.index(step.name)]
            if isinstance(module, Conv | Linear):
                self._synapse(step.name, module, gains.get(step.name, np.ones(())))
            elif isinstance(module, Neuron):
                self._neuron(step.name, module, step.name)
            else:
                self._operation(step.name, module)
            names[step.name] = self.at[0]
            late += [(before, self.at[0]) for before in step.before]
            made.append((self.at, self.shape, self.cut))
        return None

    def _late(self, late: list[tuple[str, str]], names: dict[str, str]) -> None:
        self.edges += [(names[source], target) for source, target in late]

    def _synapse(
        self, name: str, synapse: Conv | Linear, factor: Any, *, bias: bool = True, more: Any = None
    ) -> None:
        """Weights times a factor, without their bias if it is not wanted, and with `more` added to it."""
        nir = self.nir
        kernel = np.asarray(weights(synapse)) * (factor * self.share)
        self.share = 1.0
        parts = [b for b in (synapse.bias if bias else None, more) if b is not None]
        added = sum(np.asarray(part[...]) for part in parts) * factor if parts else None
        if isinstance(synapse, Conv):
            if len(self.shape) != 3 or self.shape[2] != synapse.in_channels:
                raise ValueError(
                    f"layer {name!r} convolves {synapse.in_channels} channels and gets an input of shape "
                    f"{self.shape}; give to_nir the shape of the network's input."
                )
            square, padding = _square(name, _dense(kernel, synapse), synapse)
            weight = square.transpose(3, 2, 0, 1)
            sides = [
                (side + 2 * pad + extra - dilation * (taps - 1) - 1) // stride + 1
                for side, pad, extra, dilation, taps, stride in zip(
                    self.shape,
                    synapse.padding,
                    synapse.extra_padding,
                    synapse.dilation,
                    synapse.kernel_size,
                    synapse.stride,
                    strict=False,
                )
            ]
            zeros = np.zeros(len(weight), weight.dtype)
            node = nir.Conv2d(
                self.shape[:2], weight, synapse.stride, padding, synapse.dilation, 1,
                zeros if added is None else added,
            )  # fmt: skip
            self.shape = (*sides, synapse.out_channels)
            self.at = [self._node(name, node, self.at)]
            return
        if math.prod(self.shape) != synapse.in_channels:
            raise ValueError(
                f"layer {name!r} takes {synapse.in_channels} values and gets an input of shape {self.shape}; "
                "give to_nir the shape of the network's input."
            )
        if len(self.shape) == 3:
            self.at = [
                self._node("flatten", nir.Flatten({"input": np.array(_first(self.shape))}, 0, -1), self.at)
            ]
            self.cut = self.shape
        if self.cut is not None:
            kernel = kernel.reshape(*self.cut, -1).transpose(2, 0, 1, 3).reshape(len(kernel), -1)
        self.cut, self.shape = None, (synapse.out_channels,)
        if added is None and self.zero_bias:
            added = np.zeros(synapse.out_channels, kernel.dtype)
        node = nir.Linear(kernel.T) if added is None else nir.Affine(kernel.T, added)
        self.at = [self._node(name, node, self.at)]

    def _factor(self, neuron: Neuron, layer: str) -> Any:
        """What goes into the weights before neurons so that r is 1."""
        if not self.unit or isinstance(neuron, Identity):
            return np.ones(())
        return unit_factor(neuron, self.dt, layer)

    def _neuron(self, name: str, neuron: Neuron, layer: str) -> None:
        if isinstance(neuron, Identity):
            return
        self._settled(layer)
        if self.cut is not None:
            raise ValueError(
                f"layer {layer!r}: NIR flattens channels first, so that weights must follow a flattening."
            )
        node, _ = neuron_node(neuron, self.shape, self.dt, layer, unit=self.unit)
        self.at = [self._node(name, node, self.at)]

    def _operation(self, name: str, operation: Any) -> None:
        nir = self.nir
        if isinstance(operation, Pool) and operation.kind == "max":
            raise ValueError(
                f"{name!r}: nir 1.0.8 has no node for max pooling; train with pooling='average', or keep the "
                "weights as safetensors."
            )
        if isinstance(operation, Pool):
            summed = operation.kind == "sum" or self.sums
            kind = nir.SumPool2d if summed else nir.AvgPool2d
            if summed and operation.kind == "mean":
                self.share /= math.prod(operation.kernel)
            sizes = [np.array(size) for size in (operation.kernel, operation.stride, operation.padding)]
            sides = [
                (self.shape[i] + 2 * operation.padding[i] - operation.kernel[i]) // operation.stride[i] + 1
                for i in (0, 1)
            ]
            self.at = [self._node(name, kind(*sizes), self.at)]
            self.shape = (*sides, self.shape[2])
        elif isinstance(operation, Scale):
            self._settled(name)
            factor = np.broadcast_to(np.asarray(read(operation.factor, np.float64)), self.shape)
            self.at = [self._node(name, nir.Scale(_channels_first(factor)), self.at)]
        elif isinstance(operation, Rearrange) and operation.keeps_order and len(operation.shape) == 1:
            flat = nir.Flatten({"input": np.array(_first(self.shape))}, 0, -1)
            self.at = [self._node(name, flat, self.at)]
            self.cut, self.shape = (self.shape if len(self.shape) == 3 else None), operation.shape
        else:
            raise ValueError(f"{name!r}: this {type(operation).__name__} cannot be written to NIR.")


def _first(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[2], *shape[:2]) if len(shape) == 3 else tuple(shape)


def _channels_first(array: np.ndarray) -> np.ndarray:
    return array.transpose(2, 0, 1) if array.ndim == 3 else array


def _dense(kernel: np.ndarray, conv: Conv) -> np.ndarray:
    """A kernel of all channels, with zeros between groups, as nir 1.0.8 refuses a file with groups."""
    if conv.groups == 1:
        return kernel
    *sides, inputs, out = kernel.shape
    dense = np.zeros((*sides, conv.in_channels, out), kernel.dtype)
    part = out // conv.groups
    for group in range(conv.groups):
        outputs = slice(group * part, (group + 1) * part)
        dense[..., group * inputs : (group + 1) * inputs, outputs] = kernel[..., outputs]
    return dense


def _square(name: str, kernel: np.ndarray, conv: Conv) -> tuple[np.ndarray, Any]:
    """A kernel with zeros around it so that its sides are equal, and the padding that undoes them."""
    rows, columns = conv.kernel_size
    if any(conv.extra_padding):
        if rows == columns:
            return kernel, "same"
        raise ValueError(
            f"layer {name!r}: nir 1.0.8 takes kernels for square, and padding 'same' of a {conv.kernel_size} "
            "kernel cannot be written for a larger one; give it odd sides."
        )
    side = max(rows, columns)
    more = (side - rows, side - columns)
    if any(m % 2 for m in more):
        raise ValueError(
            f"layer {name!r}: nir 1.0.8 takes kernels for square, and a kernel of {conv.kernel_size} cannot "
            "get as many zeros on either side; give it sides that differ by an even number."
        )
    half = [m // 2 for m in more]
    padding = tuple(p + h * d for p, h, d in zip(conv.padding, half, conv.dilation, strict=True))
    return np.pad(kernel, [(half[0],) * 2, (half[1],) * 2, (0, 0), (0, 0)]), padding
