"""Hardware accuracy before, during and after training on the chip."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from experiments.robustness import Robustness


def noise_aware_figure(software: float, chips: Mapping[str, Robustness], epochs: Sequence[float]) -> Figure:
    """Left: accuracy after each epoch on a chip of its own. Right: mean and spread over the same chips."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    course, bars = figure.subplots(1, 2, sharey=True)
    course.plot(np.arange(1, len(epochs) + 1), epochs, marker="o", markersize=3)
    course.set(xlabel="epoch on chips", ylabel="test accuracy on a chip", ylim=(0, 1.02))
    bars.bar(
        list(chips), [chip.mean for chip in chips.values()], yerr=[chip.spread for chip in chips.values()]
    )
    for axes in (course, bars):
        axes.axhline(software, color="grey", linestyle="--", linewidth=1)
    bars.set_title(
        f"{len(next(iter(chips.values())).chips)} chips; dashed: plain network in software", fontsize=9
    )
    return figure
