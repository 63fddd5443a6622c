"""Elasticities as bars: what a cost depends on most, and through which of its parts."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def sensitivity_figure(
    energies: Mapping[str, Any], weight_errors: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Elasticities of each energy, stacked from its parts, and those of each layer's weight error.

    **Arguments:**

    - `energies`: by title, [`jaxsnn.codesign.sensitivity.Sensitivities`][], the greatest magnitudes first.
    - `weight_errors`: elasticities by parameter for each layer.
    """
    rows = max(len(found.total) for found in energies.values())
    columns = (len(energies) + 1) // 2 + 1
    figure = Figure(figsize=(6 * columns, 2 * (0.3 * rows + 1.4)), layout="constrained")
    grid = figure.add_gridspec(2, columns)
    for index, (title, found) in enumerate(energies.items()):
        panel = figure.add_subplot(grid[index % 2, index // 2])
        _stacked(panel, found.total, found.parts)
        panel.set(title=title)
    last = figure.add_subplot(grid[:, -1])
    names = list(next(iter(weight_errors.values())))
    height = 0.8 / len(weight_errors)
    for index, (layer, values) in enumerate(weight_errors.items()):
        places = np.arange(len(names)) + (index - (len(weight_errors) - 1) / 2) * height
        last.barh(places, [values[name] for name in names], height, label=layer)
    last.set_yticks(range(len(names)), [name.split(".")[-1] for name in names])
    last.invert_yaxis()
    last.legend(fontsize=8)
    last.set(title="weight error, layer by layer")
    for panel in figure.axes:
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set(xlabel="percent for one percent")
        panel.tick_params(axis="y", labelsize=8)
    return figure


def _stacked(panel: Axes, total: Mapping[str, float], parts: Mapping[str, Mapping[str, float]]) -> None:
    """A bar for each parameter: what adds right of zero, what takes away left, and a dot for both."""
    places = np.arange(len(total))
    ends = {1: np.zeros(len(total)), -1: np.zeros(len(total))}
    colours = matplotlib.colormaps["tab20"](range(20))
    for index, (part, values) in enumerate(parts.items()):
        share = np.array([values[name] for name in total])
        colour = colours[2 * index % 20 + index // 10 % 2]
        for sign, end in ends.items():
            width = np.where(share * sign > 0, share, 0.0)
            label = part.replace("_", " ") if sign == 1 else None
            panel.barh(places, width, left=end, color=colour, label=label)
            end += width
    panel.plot(list(total.values()), places, "k.", markersize=5)
    panel.set_yticks(places, [name.removeprefix("chip.") for name in total])
    panel.invert_yaxis()
    panel.legend(fontsize=7, loc="lower right")
