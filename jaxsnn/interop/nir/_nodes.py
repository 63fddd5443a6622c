"""The nodes of a NIR graph, one after the other, as weights, neurons and operations with channels last."""

import dataclasses
import math
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.interop.nir import _neurons
from jaxsnn.interop.nir._flat import INPUT, OUTPUT, Flat, package
from jaxsnn.layers import Conv, Linear
from jaxsnn.operations import Pool, Rearrange, Scale

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Value:
    """What runs along an edge: its shape in NIR, channels first, and how we lay it out.

    `cut` is None where both agree, and for maps, which we have channels last. For a vector that was flattened
    from a map it is that map's shape: ours then lies in the order of (height, width, channels).
    """

    shape: Shape
    cut: Shape | None = None

    @property
    def is_map(self) -> bool:
        return len(self.shape) == 3

    def ours(self, array: np.ndarray) -> np.ndarray:
        """An array of this shape, laid out as we do."""
        if self.is_map:
            return array.transpose(1, 2, 0)
        if self.cut is not None:
            return array.reshape(self.cut).transpose(1, 2, 0).ravel()
        return array

    def fit(self, array: np.ndarray) -> Any:
        """A number where all are equal, one per channel where these differ, or all as we lay them out."""
        if array.size == 1 or np.all(array == array.flat[0]):
            return float(array.flat[0])
        full = self.ours(np.broadcast_to(array, self.shape))
        if self.is_map and np.all(full == full[:1, :1]):
            return full[0, 0]
        return full


@dataclasses.dataclass
class Weights:
    """A convolution or a product in NIR's layout, not built yet, so that factors can still go into it."""

    weight: np.ndarray
    bias: np.ndarray | None
    conv: dict[str, Any] | None
    before: Value

    def scaled(self, gain: np.ndarray) -> bool:
        """Takes a factor on its outputs in, if there is one for each channel."""
        count = len(self.weight)
        if gain.size == 1:
            by_channel = np.full(count, gain.flat[0])
        elif self.conv is None:
            by_channel = np.ravel(gain)
        else:
            spread = gain.reshape(gain.shape[0], -1)
            if not np.all(spread == spread[:, :1]):
                return False
            by_channel = np.broadcast_to(spread[:, 0], count)
        self.weight = self.weight * by_channel.reshape(-1, *(1,) * (self.weight.ndim - 1))
        self.bias = None if self.bias is None else self.bias * by_channel
        return True

    def built(self, dtype: Any) -> Conv | Linear:
        options: dict[str, Any] = {
            "use_bias": self.bias is not None and bool(np.any(self.bias)),
            "param_dtype": dtype,
            "kernel_init": nnx.initializers.zeros,
            "rngs": nnx.Rngs(0),
        }
        synapse: Conv | Linear
        if self.conv is not None:
            out, inputs, *kernel = self.weight.shape
            synapse = Conv(inputs * self.conv["groups"], out, kernel, **self.conv, **options)
            value = self.weight.transpose(2, 3, 1, 0)
        else:
            out, inputs = self.weight.shape
            synapse = Linear(inputs, out, **options)
            value = self.weight.T
            if self.before.cut is not None:
                value = value.reshape(*self.before.cut, out).transpose(1, 2, 0, 3).reshape(inputs, out)
        synapse.kernel[...] = jnp.asarray(value, dtype)
        if synapse.bias is not None:
            synapse.bias[...] = jnp.asarray(self.bias, dtype)
        return synapse


@dataclasses.dataclass
class Translated:
    """Parts by name, edges with "input" and "output", and the shape of an input that has channels, ours."""

    parts: dict[str, Any]
    edges: list[tuple[str, str]]
    input_shape: Shape | None


def translated(graph: Flat, dt: float, *, inclusive: bool) -> Translated:
    """Every node in turn, from the input on.

    **Raises:** `ValueError` that names the node which cannot be read exactly.
    """
    return _Translator(graph, dt, inclusive).run()


class _Translator:
    def __init__(self, graph: Flat, dt: float, inclusive: bool):
        self.nir = package()
        self.graph, self.dt, self.inclusive = graph, dt, inclusive
        self.parts: dict[str, Any] = {}
        self.gains: dict[str, np.ndarray] = {}  # Factors on the currents of neurons, yet to be given.
        self.values: dict[str, Value] = {}
        self.edges = list(graph.edges)
        self.lead = 0

    def run(self) -> Translated:
        one_dimension = any(isinstance(node, self.nir.Conv1d) for node in self.graph.nodes.values())
        shape = self.graph.shape
        if self._has_batch(shape):
            # Norse 1.1.0 and sinabs write the batch of their sample, or its timesteps, into the shape.
            self.lead, shape = 1, shape[1:]
        if one_dimension and len(shape) == 2:
            # A line of values is a map one high.
            self.parts["as_map"] = Rearrange(shape[::-1], (0, 1), (1, *shape[::-1]))
            self._between(INPUT, "as_map")
            self.values["as_map"] = Value((shape[0], 1, shape[1]))
        self.values[INPUT] = Value(shape)
        for name in self._order():
            self.values[name] = self._part(name, self.graph.nodes[name], self._joined(name))
        after = self._joined(OUTPUT)
        if after.cut is not None:
            channels, height, width = after.cut
            self.parts["in_order"] = Rearrange((height, width, channels), (2, 0, 1), after.shape)
            self._before(OUTPUT, "in_order")
            after = Value(after.shape)
        if one_dimension and after.is_map and after.shape[1] == 1:
            after = Value((after.shape[0], after.shape[2]))
            self.parts["as_line"] = Rearrange(after.shape[::-1], (0, 1), after.shape[::-1])
            self._before(OUTPUT, "as_line")
        for name, gain in self.gains.items():
            self._give(name, gain)
        channels = len(shape) == 3 or "as_map" in self.parts
        return Translated(self.parts, self.edges, (*shape[1:], shape[0]) if channels else None)

    def _has_batch(self, shape: Shape) -> bool:
        """Whether an input's shape has an axis more than what reads it takes."""
        nir = self.nir
        readers = [self.graph.nodes[name] for name in self.graph.out_of(INPUT) if name in self.graph.nodes]
        neurons = [node for node in self.graph.nodes.values() if _neurons.is_neuron(node)]
        if len(shape) == 4:
            return True
        products = readers and all(isinstance(node, nir.Linear | nir.Affine) for node in readers)
        vectors = all(
            math.prod(_neurons.shape_of(node)) == max(_neurons.shape_of(node), default=1) for node in neurons
        )
        return len(shape) == 2 and bool(products) and vectors

    def _between(self, source: str, new: str) -> None:
        self.edges = [(new if a == source else a, b) for a, b in self.edges] + [(source, new)]

    def _before(self, target: str, new: str) -> None:
        self.edges = [(a, new if b == target else b) for a, b in self.edges] + [(new, target)]

    def _into(self, name: str) -> list[str]:
        return [a for a, b in self.edges if b == name]

    def _order(self) -> list[str]:
        """Nodes so that the shape of what enters them is known, as neurons tell theirs."""
        order: list[str] = []
        known = {INPUT, "as_map"}
        left = list(self.graph.nodes)
        while left:
            # All that enters a node should be known; in a circle, something that does.
            ready = [n for n in left if self._into(n) and all(s in known for s in self._into(n))]
            ready = (
                ready
                or [
                    n
                    for n in left
                    if _neurons.is_neuron(self.graph.nodes[n]) and any(s in known for s in self._into(n))
                ][:1]
            )
            ready = ready or [n for n in left if any(s in known for s in self._into(n))][:1]
            if not ready:
                break  # Not reached from the input: the plan says what matters of it.
            order += ready
            known |= set(ready)
            left = [n for n in left if n not in known]
        unread = [n for n in left if any(b == OUTPUT or b in known for a, b in self.edges if a == n)]
        if unread:
            raise ValueError(
                f"node {unread[0]!r}: the input does not reach it; join it by an edge, or leave it out."
            )
        self.edges = [(a, b) for a, b in self.edges if a not in left and b not in left]
        return order

    def _joined(self, name: str) -> Value:
        """What enters a node: the same over all of its edges."""
        sources = [source for source in self._into(name) if source in self.values]
        if not sources:
            raise ValueError(f"node {name!r}: nothing enters it; join it by an edge.")
        found = [self.values[source] for source in sources]
        for source, value in zip(sources, found, strict=True):
            if _squeezed(value.shape) != _squeezed(found[0].shape):
                raise ValueError(
                    f"node {name!r}: {found[0].shape} of {sources[0]!r} and {value.shape} of {source!r} "
                    "enter it, and only equal shapes can be added."
                )
            if value != found[0]:
                raise ValueError(
                    f"node {name!r}: what {sources[0]!r} and {source!r} send was flattened from different "
                    "maps, which cannot be added; flatten both in the same way."
                )
        return found[0]

    def _part(self, name: str, node: Any, value: Value) -> Value:
        nir = self.nir
        if _neurons.is_neuron(node):
            return self._neuron(name, node, value)
        if isinstance(node, nir.Conv1d | nir.Conv2d):
            return self._convolution(name, node, value)
        if isinstance(node, nir.Linear | nir.Affine):
            return self._product(name, node, value)
        if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
            return self._pool(name, node, value)
        if isinstance(node, nir.Flatten):
            return self._flatten(name, node, value)
        if isinstance(node, nir.Scale):
            scale = _numbers(name, "scale", node.scale)
            self.parts[name] = Scale(value.fit(self._spread(name, "scale", scale, value)))
            return value
        remedy = {
            "Threshold": "give the threshold to neurons (nir.IF, nir.LIF)",
            "Delay": "a network of timesteps has no delays; leave the node out or delay the inputs",
        }.get(type(node).__name__, "replace it by nodes of the NIR paper")
        raise ValueError(f"node {name!r}: a {type(node).__name__} cannot be read; {remedy}.")

    def _spread(self, name: str, field: str, array: np.ndarray, value: Value) -> np.ndarray:
        """An array of a node in the shape of what enters it."""
        if array.size == 1:
            return array.reshape(())
        if _squeezed(array.shape) == _squeezed(value.shape):
            return array.reshape(value.shape)
        if array.ndim == len(value.shape) and all(
            a in (1, b) for a, b in zip(array.shape, value.shape, strict=True)
        ):
            return np.broadcast_to(array, value.shape)
        if np.all(array == array.flat[0]):
            return array.ravel()[0].reshape(())
        raise ValueError(
            f"node {name!r}: its {field} has shape {array.shape} where values of {value.shape} enter."
        )

    def _neuron(self, name: str, node: Any, value: Value) -> Value:
        shape = _neurons.shape_of(node)
        if math.prod(shape) > 1 and _squeezed(shape) != _squeezed(value.shape):
            spread = len(shape) == len(value.shape) and all(
                a in (1, b) for a, b in zip(shape, value.shape, strict=True)
            )
            if not spread:
                raise ValueError(
                    f"node {name!r}: it has {shape} neurons, and values of shape {value.shape} enter it."
                )

        self.parts[name], gain = self._made(name, value)
        if not np.all(gain == 1):
            self.gains[name] = self._spread(name, "r", gain, value)
        return value

    def _made(self, name: str, value: Value, **options: Any) -> _neurons.Made:
        def fit(array: np.ndarray) -> Any:
            return value.fit(self._spread(name, "parameters", array, value))

        node = self.graph.nodes[name]
        return _neurons.made(name, node, self.dt, fit, inclusive=self.inclusive, **options)

    def _convolution(self, name: str, node: Any, value: Value) -> Value:
        weight = _numbers(name, "weight", node.weight)
        flat = isinstance(node, self.nir.Conv1d)
        if flat:
            if weight.ndim == 3:
                weight = weight[:, :, None]
            axes = (1, 0)
        else:
            axes = (1, 1)
        if weight.ndim != 4:
            raise ValueError(
                f"node {name!r}: its weight has shape {weight.shape} and must have {4 - flat} axes."
            )
        if not value.is_map:
            raise ValueError(
                f"node {name!r}: a convolution needs a map, and values of shape {value.shape} enter it."
            )

        def both(field: str, neutral: int) -> tuple[int, ...]:
            given = np.ravel(np.asarray(getattr(node, field))).astype(int)
            if flat:
                return (neutral, int(given[0]))
            return tuple(int(v) for v in np.broadcast_to(given, 2))

        padding: Any = node.padding
        if isinstance(padding, bytes):
            padding = padding.decode()
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"node {name!r}: padding must be a number, 'same' or 'valid', got {padding!r}."
                )
        else:
            padding = both("padding", 0)
        groups = int(np.ravel(node.groups)[0])
        stride, dilation = both("stride", 1), both("dilation", 1)
        if weight.shape[1] * groups != value.shape[0]:
            raise ValueError(
                f"node {name!r}: {value.shape[0]} channels enter it, and its {groups} groups of "
                f"{weight.shape[1]} channels take {weight.shape[1] * groups}."
            )
        bias = None if node.bias is None else _numbers(name, "bias", node.bias).ravel()
        if bias is not None and bias.size not in (1, len(weight)):
            raise ValueError(f"node {name!r}: its bias has {bias.size} values for {len(weight)} channels.")
        if bias is not None:
            bias = np.broadcast_to(bias, len(weight))
        if padding == "same" and stride != (1, 1):
            raise ValueError(
                f"node {name!r}: padding 'same' has a meaning at stride 1 only, and it strides {stride}."
            )
        settings = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
        self.parts[name] = Weights(weight, bias, settings, value)
        sides = []
        for axis in (0, 1):
            span = dilation[axis] * (weight.shape[2 + axis] - 1)
            total = span if padding == "same" else 0 if padding == "valid" else 2 * padding[axis]
            sides.append((value.shape[1 + axis] + total - span - 1) // stride[axis] + 1)
        if min(sides) < 1:
            raise ValueError(
                f"node {name!r}: its kernel is larger than the map {value.shape[1:]} that enters it."
            )
        del axes
        return Value((len(weight), *sides))

    def _product(self, name: str, node: Any, value: Value) -> Value:
        weight = _numbers(name, "weight", node.weight)
        if weight.ndim != 2:
            raise ValueError(f"node {name!r}: its weight has shape {weight.shape} and must have two axes.")
        inputs = weight.shape[1]
        if value.shape[-1] != inputs or math.prod(value.shape) != inputs:
            hint = ""
            if math.prod(value.shape) == inputs:
                hint = "; put a Flatten before it whose start_dim is 0, as NIR counts without the batch"
            raise ValueError(
                f"node {name!r}: it takes {inputs} values, and values of shape {value.shape} enter it{hint}."
            )
        bias = getattr(node, "bias", None)
        self.parts[name] = Weights(
            weight,
            None if bias is None else np.broadcast_to(_numbers(name, "bias", bias), len(weight)),
            None,
            value,
        )
        return Value((len(weight),))

    def _pool(self, name: str, node: Any, value: Value) -> Value:
        if not value.is_map:
            raise ValueError(
                f"node {name!r}: pooling needs a map, and values of shape {value.shape} enter it."
            )
        sizes = {
            field: tuple(int(v) for v in np.broadcast_to(np.ravel(np.asarray(getattr(node, field))), 2))
            for field in ("kernel_size", "stride", "padding")
        }
        kernel, stride, padding = sizes["kernel_size"], sizes["stride"], sizes["padding"]
        kind: Literal["sum", "mean"] = "sum" if isinstance(node, self.nir.SumPool2d) else "mean"
        try:
            self.parts[name] = Pool(kernel, stride=stride, padding=padding, kind=kind)
        except ValueError as error:
            raise ValueError(f"node {name!r}: {error}") from error
        sides = [(value.shape[1 + i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in (0, 1)]
        if min(sides) < 1:
            raise ValueError(
                f"node {name!r}: its window is larger than the map {value.shape[1:]} that enters it."
            )
        return Value((value.shape[0], *sides))

    def _flatten(self, name: str, node: Any, value: Value) -> Value:
        rank, lead = len(value.shape), self.lead
        start, end = (int(d) + rank if int(d) < 0 else int(d) - lead for d in (node.start_dim, node.end_dim))
        start = max(start, 0) if lead else start
        if not 0 <= start <= end < rank:
            raise ValueError(
                f"node {name!r}: start_dim {int(node.start_dim)} and end_dim {int(node.end_dim)} do not fit "
                f"values of shape {value.shape}; NIR counts without the batch."
            )
        shape = (*value.shape[:start], math.prod(value.shape[start : end + 1]), *value.shape[end + 1 :])
        if not value.is_map:
            self.parts[name] = Rearrange(value.shape, tuple(range(rank)), shape)
            return Value(shape, value.cut)
        channels, height, width = value.shape
        if len(shape) == 1:
            self.parts[name] = Rearrange((height, width, channels), (0, 1, 2), shape)
            return Value(shape, value.shape)
        if len(shape) == 3:
            self.parts[name] = Rearrange((height, width, channels), (0, 1, 2), (height, width, channels))
            return value
        self.parts[name] = Rearrange((height, width, channels), (2, 0, 1), shape)
        return Value(shape)

    def _give(self, name: str, gain: np.ndarray) -> None:
        """A factor on a neuron's currents: to the weights before it, or to its threshold, or as a node."""
        value = self.values[name]
        weights = self._weights_before(name, gain.size == 1)
        if weights is not None:
            trial = [dataclasses.replace(w) for w in weights]
            if all(w.scaled(gain) for w in trial):
                for w, t in zip(weights, trial, strict=True):
                    w.weight, w.bias = t.weight, t.bias
                return
        self.parts[name], gain = self._made(name, value, absorb=True)
        if np.all(gain == 1):
            return
        gain = self._spread(name, "r", gain, value)
        new = f"{name}_gain"
        while new in self.parts:
            new += "_"
        self.parts[new] = Scale(value.fit(gain))
        self._before(name, new)

    def _weights_before(self, name: str, uniform: bool) -> list[Weights] | None:
        """The weights whose currents go to a node and nowhere else, through pooling, or None."""
        found: list[Weights] = []
        for source in self._into(name):
            if source == INPUT or [b for a, b in self.edges if a == source] != [name]:
                return None
            part = self.parts.get(source)
            if isinstance(part, Weights):
                found.append(part)
            elif isinstance(part, Pool) or (uniform and isinstance(part, Rearrange)):
                more = self._weights_before(source, uniform)
                if more is None:
                    return None
                found += more
            else:
                return None
        return found or None


def _squeezed(shape: Shape) -> Shape:
    return tuple(side for side in shape if side != 1)


def _numbers(name: str, field: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.number):
        raise ValueError(f"node {name!r}: its {field} holds {array.dtype} and must hold numbers.")
    array = array.astype(np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(
            f"node {name!r}: its {field} holds NaN or infinity; take a file of a sound training run."
        )
    return array
