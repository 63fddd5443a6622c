"""Where every layer's data come from: as the layers say, and by their shapes where they do not."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from hwmodels.workload import Layer, Workload

_Map = tuple[int, int, int]


class Route(NamedTuple):
    """Where a layer's data come from: indices of layers, -1 for the entrance of the chip at tile 0.

    `shortcut` is None without a residual addition; `projected` says that a projection sends it.
    """

    source: int
    shortcut: int | None
    projected: bool


def is_projection(layer: Layer, workload: Workload) -> bool:
    """Whether the layer projects a shortcut: it has no spiking neurons, and is not the readout.

    In an ANN nothing spikes. There it is a shortcut that no layer reads its input from; where sources are not
    told, a convolution next to an addition of the same output map that does not read the map of the layer
    before.
    """
    layers = workload.layers
    told = [other.shortcut for other in layers if other.shortcut is not None]
    guessed = any(other.residual_add and other.shortcut is None for other in layers)
    if told or (layer.source is not None and not guessed):
        read = not _spikes(workload) and any(other.source == layer.name for other in layers)
        return layer.name in told and layer.source is not None and not layer.spiking and not read
    if layer.spiking or layer is layers[-1]:
        return False
    if _spikes(workload):
        return True
    index = next(i for i, other in enumerate(layers) if other is layer)
    beside = [layers[i] for i in (index - 1, index + 1) if i >= 0]
    added = any(other.residual_add and _output(other) == _output(layer) for other in beside)
    return layer.kind == "conv" and index > 0 and added and _input(layer) != _pooled(layers[index - 1])


def has_neurons(layer: Layer, workload: Workload) -> bool:
    """Whether neurons follow; where nothing spikes, an ANN's, after all but projections and the readout."""
    if _spikes(workload):
        return layer.spiking
    return layer is not workload.layers[-1] and not is_projection(layer, workload)


def routes(workload: Workload) -> tuple[Route, ...]:
    """Who sends each layer its inputs and its shortcut: as the layers say.

    Where they do not: a chain, but for residual blocks. A block begins at the layer of the last addition;
    before the first addition, at the earliest layer whose map has the shape asked for. A projection reads the
    map at which its block begins. It belongs to the next addition, or to the one listed right before it when
    that one has its output map and it does not read that one's.
    """
    layers = workload.layers
    found: list[Route] = []
    main: list[int] = []  # layers on the main path
    begin, begin_before, projection = None, None, None

    def beginning(shape: _Map, known: int | None) -> int:
        if known is not None:
            return known
        return next((index for index in main if _pooled(layers[index]) == shape), -1)

    for index, layer in enumerate(layers):
        before = main[-1] if main else -1
        if is_projection(layer, workload):
            last = layers[before]
            trails = before == index - 1 >= 0 and last.residual_add and _output(last) == _output(layer)
            if trails and _input(layer) != _pooled(last):
                found[before] = Route(found[before].source, index, True)
                found.append(Route(beginning(_input(layer), begin_before), None, False))
            else:
                found.append(Route(beginning(_input(layer), begin), None, False))
                projection = index
            continue
        shortcut = None
        if layer.residual_add:
            shortcut = beginning(_output(layer), begin) if projection is None else projection
        found.append(Route(before, shortcut, layer.residual_add and projection is not None))
        if layer.residual_add:
            begin_before, begin, projection = begin, index, None
        main.append(index)
    return _told(workload, found)


def _told(workload: Workload, guessed: Sequence[Route]) -> tuple[Route, ...]:
    places = {"": -1} | {layer.name: index for index, layer in enumerate(workload.layers)}
    found = []
    for layer, guess in zip(workload.layers, guessed, strict=True):
        source = guess.source if layer.source is None else places[layer.source]
        shortcut, projected = guess.shortcut, guess.projected
        if layer.shortcut is not None:
            shortcut = places[layer.shortcut]
            projected = shortcut >= 0 and is_projection(workload.layers[shortcut], workload)
        found.append(Route(source, shortcut, projected))
    return tuple(found)


def input_pools(workload: Workload) -> tuple[int, ...]:
    """Side of the average pooling that each layer's input went through; 1 for none."""
    sources = [
        workload.layers[route.source].averaged if route.source >= 0 else 1 for route in routes(workload)
    ]
    return tuple(
        own if layer.input_pool is None else layer.input_pool
        for layer, own in zip(workload.layers, sources, strict=True)
    )


def _spikes(workload: Workload) -> bool:
    """Whether it is no ANN's."""
    return any(layer.spiking for layer in workload.layers)


def average_bits(pool: int) -> float:
    """Bits that the mean of pool² spikes or activations has more than one of them: $2 log_2 pool$."""
    return 2 * math.log2(pool)


def _input(layer: Layer) -> _Map:
    return layer.height, layer.width, layer.in_channels


def _output(layer: Layer) -> _Map:
    return layer.out_height, layer.out_width, layer.out_channels


def _pooled(layer: Layer) -> _Map:
    return layer.out_height // layer.pool, layer.out_width // layer.pool, layer.out_channels
