"""Hardware accuracy by what was done after training, and along the adaptation of statistics."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure


def mitigation_figure(
    software: Mapping[str, float],
    hardware: Mapping[str, Mapping[str, Sequence[float]]],
    counts: Sequence[int],
    curves: Mapping[str, Sequence[Sequence[float]]],
) -> Figure:
    """Left: mean and spread of each network under each combination. Right: accuracy against images seen."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    bars, course = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    labels = list(dict.fromkeys(helps for by_helps in hardware.values() for helps in by_helps))
    width = 0.85 / len(labels)
    for index, helps in enumerate(labels):
        places = [place for place, by_helps in enumerate(hardware.values()) if helps in by_helps]
        chips = [by_helps[helps] for by_helps in hardware.values() if helps in by_helps]
        bars.bar(
            np.array(places) + (index - (len(labels) - 1) / 2) * width,
            np.mean(chips, axis=1),
            width,
            yerr=np.std(chips, axis=1),
            label=helps,
            color=f"C{index}",
        )
    for place, accuracy in enumerate(software.values()):
        bars.hlines(accuracy, place - 0.45, place + 0.45, color="grey", linestyle="--", linewidth=1)
    bars.set_xticks(range(len(software)), list(software))
    bars.set(ylabel="test accuracy on chips (dashed: software)", ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=4, fontsize=7)
    for name, courses in curves.items():
        course.errorbar(
            counts,
            np.mean(courses, axis=0),
            yerr=np.std(courses, axis=0),
            marker="o",
            markersize=3,
            label=name,
        )
    course.set(xlabel="images that adapted the statistics")
    course.legend(fontsize=8)
    return figure
