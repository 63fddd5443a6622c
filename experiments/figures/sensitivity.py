"""Elasticities as bars: what a cost depends on most."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure


def sensitivity_figure(
    energies: Mapping[str, Mapping[str, float]],
    weight_errors: Mapping[str, Mapping[str, float]],
    shown: int,
) -> Figure:
    """The greatest elasticities of each energy, and those of each layer's weight error.

    **Arguments:**

    - `energies`: elasticities by parameter for each chip, the greatest magnitudes first.
    - `weight_errors`: elasticities by parameter for each layer.
    - `shown`: bars of an energy.
    """
    figure = Figure(figsize=(6 * len(energies) + 5, 0.32 * shown + 1.4), layout="constrained")
    *panels, last = figure.subplots(1, len(energies) + 1)
    for panel, (cost, elasticities) in zip(panels, energies.items(), strict=True):
        top = {name.removeprefix("chip."): value for name, value in list(elasticities.items())[:shown][::-1]}
        panel.barh(list(top), list(top.values()), color=["C0" if v > 0 else "C3" for v in top.values()])
        panel.set(title=cost)
    names = list(next(iter(weight_errors.values())))
    height = 0.8 / len(weight_errors)
    for index, (layer, values) in enumerate(weight_errors.items()):
        places = np.arange(len(names)) + (index - (len(weight_errors) - 1) / 2) * height
        last.barh(places, [values[name] for name in names], height, label=layer)
    last.set_yticks(range(len(names)), [name.split(".")[-1] for name in names])
    last.invert_yaxis()
    last.legend(fontsize=8)
    last.set(title="weight error")
    for panel in (*panels, last):
        panel.axvline(0, color="grey", linewidth=0.8)
        panel.set(xlabel="percent for one percent")
        panel.tick_params(axis="y", labelsize=8)
    return figure
