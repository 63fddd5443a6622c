"""Accuracy on measured devices as they age."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

_COLOURS = {"none": "#b2182b", "kernel": "#2166ac", "column": "#1b7837"}


def retention_figure(
    software: float,
    times_s: Sequence[float],
    accuracies: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    measured_until_s: Mapping[str, float | None],
) -> Figure:
    """A panel for each device, a line for each gain, mean and range; grey where nothing was measured.

    **Arguments:** `accuracies`: by device and gain, for each time those of all chips.
    """
    figure = Figure(figsize=(3.4 * len(accuracies), 3.4), layout="constrained")
    panels = figure.subplots(1, len(accuracies), squeeze=False, sharey=True)[0]
    for axes, (name, by_gain) in zip(panels, accuracies.items(), strict=True):
        axes.axhline(software, color="grey", linewidth=1, linestyle=":")
        for gain, by_time in by_gain.items():
            values = np.asarray(by_time)
            colour = _COLOURS.get(gain)
            axes.plot(times_s, values.mean(1), "o-", markersize=3, color=colour, label=f"gain: {gain}")
            axes.fill_between(times_s, values.min(1), values.max(1), color=colour, alpha=0.15, linewidth=0)
        end = measured_until_s[name]
        if end is not None and end < times_s[-1]:
            axes.axvspan(end, times_s[-1], color="grey", alpha=0.15, linewidth=0)
        axes.set(title=name, xlabel="time since programming [s]", xscale="log")
        axes.title.set_fontsize("medium")
    panels[0].set(ylabel="accuracy")
    panels[0].legend(fontsize=8)
    return figure
