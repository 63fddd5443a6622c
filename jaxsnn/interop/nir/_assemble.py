"""Parts and edges as layers of a network: blocks where they follow one another, graphs elsewhere."""

import math
from typing import Any

import numpy as np

from jaxsnn.graph import Graph
from jaxsnn.interop.nir._flat import INPUT, OUTPUT
from jaxsnn.interop.nir._nodes import Translated, Weights
from jaxsnn.layers import Block, Conv, Linear, Neurons
from jaxsnn.neuron import Identity, Neuron
from jaxsnn.operations import Operation, Pool, Rearrange
from jaxsnn.recurrence import Recurrent


def layers(network: Translated, dtype: Any, *, bias_at_start: bool) -> list[Any]:
    """The layers of a translated graph; `bias_at_start` of its loops.

    **Raises:** `ValueError` for circles without neurons.
    """
    parts, edges = dict(network.parts), list(network.edges)
    _merge_pools_into_convolutions(parts, edges)
    _merge_sums_into_weights(parts, edges)
    _drop_flattening(parts, edges)
    built = {name: part.built(dtype) if isinstance(part, Weights) else part for name, part in parts.items()}
    return _chained(built, edges, bias_at_start)


def _readers(edges: list[tuple[str, str]], name: str) -> list[str]:
    return [b for a, b in edges if a == name]


def _sources(edges: list[tuple[str, str]], name: str) -> list[str]:
    return [a for a, b in edges if b == name]


def _skip(parts: dict[str, Any], edges: list[tuple[str, str]], name: str) -> None:
    """Takes a node out; what entered it goes on to those that read it."""
    into, out_of = _sources(edges, name), _readers(edges, name)
    edges[:] = [e for e in edges if name not in e] + [(a, b) for a in into for b in out_of]
    del parts[name]


def _alone(edges: list[tuple[str, str]], source: str, target: str) -> bool:
    """Whether an edge is all that leaves its source and all that enters its target."""
    return _readers(edges, source) == [target] and _sources(edges, target) == [source]


def _merge_pools_into_convolutions(parts: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """Pooling right before neurons is a larger convolution with a larger stride, which a crossbar has in one.

    A window of p at stride q over a kernel of k at stride s is a kernel of k + (p − 1)·s at stride s·q.
    """
    for name in list(parts):
        pool = parts[name]
        if not isinstance(pool, Pool) or pool.kind == "max" or pool.padding != (0, 0):
            continue
        (source, *more), readers = _sources(edges, name) or [INPUT], _readers(edges, name)
        conv = parts.get(source)
        before_neurons = len(readers) == 1 and isinstance(parts.get(readers[0]), Neuron)
        if more or not isinstance(conv, Weights) or conv.conv is None or not before_neurons:
            continue
        if (
            not _alone(edges, source, name)
            or conv.conv["dilation"] != (1, 1)
            or conv.conv["padding"] == "same"
        ):
            continue
        stride, (rows, columns) = conv.conv["stride"], conv.weight.shape[2:]
        shape = (rows + (pool.kernel[0] - 1) * stride[0], columns + (pool.kernel[1] - 1) * stride[1])
        wide = np.zeros((*conv.weight.shape[:2], *shape))
        for i, j in np.ndindex(*pool.kernel):
            top, left = i * stride[0], j * stride[1]
            wide[:, :, top : top + rows, left : left + columns] += conv.weight
        share = 1 / math.prod(pool.kernel) if pool.kind == "mean" else 1.0
        bias = None if conv.bias is None else conv.bias * math.prod(pool.kernel) * share
        settings = conv.conv | {"stride": (stride[0] * pool.stride[0], stride[1] * pool.stride[1])}
        parts[source] = Weights(wide * share, bias, settings, conv.before)
        _skip(parts, edges, name)


def _merge_sums_into_weights(parts: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """A sum of square patches is their mean, which a block has, and the next weights times their size."""
    for name in list(parts):
        pool = parts[name]
        if not isinstance(pool, Pool) or pool.kind != "sum":
            continue
        mean = Pool(pool.kernel, stride=pool.stride, padding=pool.padding)
        readers = _next_weights(parts, edges, name)
        if not mean.plain or not readers:
            continue
        for reader in readers:
            old = parts[reader]
            parts[reader] = Weights(old.weight * math.prod(pool.kernel), old.bias, old.conv, old.before)
        parts[name] = mean


def _next_weights(parts: dict[str, Any], edges: list[tuple[str, str]], name: str) -> list[str]:
    """The weights that read a node and nothing else, through changes of shape; none if others read it too."""
    found: list[str] = []
    for reader in _readers(edges, name):
        part = parts.get(reader)
        if _sources(edges, reader) != [name]:
            return []
        if isinstance(part, Weights):
            found.append(reader)
        elif isinstance(part, Rearrange) and (further := _next_weights(parts, edges, reader)):
            found += further
        else:
            return []
    return found


def _drop_flattening(parts: dict[str, Any], edges: list[tuple[str, str]]) -> None:
    """Products flatten what they get, so that a change of shape before them alone says nothing."""
    for name in list(parts):
        part, readers = parts[name], _readers(edges, name)
        products = [isinstance(parts.get(r), Weights) and parts[r].conv is None for r in readers]
        only = all(_sources(edges, reader) == [name] for reader in readers)
        if isinstance(part, Rearrange) and part.keeps_order and readers and all(products) and only:
            _skip(parts, edges, name)


def _chained(parts: dict[str, Any], edges: list[tuple[str, str]], bias_at_start: bool) -> list[Any]:
    """Layers from both ends on as long as one follows the other; between them, a graph."""
    recurrent = _recurrent_weights(parts, edges)
    straight = [e for e in edges if not any(end in recurrent.values() for end in e)]
    front = _run(INPUT, straight, forward=True)
    if front and front[-1] == OUTPUT:
        return _blocks(front[:-1], parts, recurrent, bias_at_start)
    back = _run(OUTPUT, straight, forward=False)[::-1]
    # Weights belong to the neurons that they drive, so the graph between takes both.
    while front and not isinstance(parts[front[-1]], Neuron):
        front.pop()
    while back and (back[0] == OUTPUT or not isinstance(parts[back[0]], Conv | Linear)):
        back.pop(0)
    outer = {*front, *back}
    middle = {name: part for name, part in parts.items() if name not in outer}
    for name in outer:
        if name in recurrent:
            del middle[recurrent[name]]
    start, end = (front[-1] if front else INPUT), (back[0] if back else OUTPUT)
    inner = []
    for a, b in edges:
        if (a in middle or a == start) and (b in middle or b == end):
            inner.append(("input" if a == start and a not in middle else a, "output" if b == end else b))
    return [
        *_blocks(front, parts, recurrent, bias_at_start),
        Graph(middle, inner, bias_at_start=bias_at_start),
        *_blocks(back, parts, recurrent, bias_at_start),
    ]


def _recurrent_weights(parts: dict[str, Any], edges: list[tuple[str, str]]) -> dict[str, str]:
    """Neurons and the weights that carry their spikes back to them and to nowhere else."""
    found: dict[str, str] = {}
    for name, part in parts.items():
        into, out_of = _sources(edges, name), _readers(edges, name)
        back = isinstance(part, Conv | Linear) and len(into) == 1 and into == out_of and into[0] not in found
        if back and isinstance(parts.get(into[0]), Neuron):
            found[into[0]] = name
    return found


def _run(start: str, edges: list[tuple[str, str]], forward: bool) -> list[str]:
    """The nodes that follow, each the only one after the one before it and hearing nothing else."""
    here, there = (_readers, _sources) if forward else (_sources, _readers)
    found: list[str] = []
    at = start
    while True:
        following = here(edges, at)
        if len(following) != 1 or there(edges, following[0]) != [at] or following[0] in found:
            return found
        at = following[0]
        if not forward and at == INPUT:
            return found
        found.append(at)
        if at == OUTPUT:
            return found


def _blocks(
    names: list[str], parts: dict[str, Any], recurrent: dict[str, str], bias_at_start: bool
) -> list[Any]:
    made: list[Any] = []
    left = [name for name in names if name not in (INPUT, OUTPUT)]
    while left:
        name = left.pop(0)
        part = parts[name]
        if isinstance(part, Operation):
            made.append(part)
            continue
        if isinstance(part, Neuron):
            if name in recurrent:
                back = recurrent[name]
                edges = [(INPUT, name), (name, back), (back, name), (name, OUTPUT)]
                made.append(Graph({name: part, back: parts[back]}, edges, bias_at_start=bias_at_start))
            else:
                made.append(Neurons(name, part))
            continue
        neuron: Neuron = Identity()
        back_name = None
        if left and isinstance(parts[left[0]], Neuron):
            back_name = recurrent.get(left[0])
            neuron = parts[left.pop(0)]
        pool = 1
        following = parts[left[0]] if left else None
        if isinstance(following, Pool) and following.plain and following.kind == "mean":
            pool = parts[left.pop(0)].kernel[0]
        block = Block(name, part, neuron, pool=pool)
        if back_name is None:
            made.append(block)
        else:
            made.append(Recurrent(block, parts[back_name], bias_at_start=bias_at_start))
    return made
