"""Hardware accuracy before, during and after training on the chip."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from jaxsnn.codesign.robustness import Robustness


def noise_aware_figure(
    software: float, chips: Mapping[str, Robustness], courses: Mapping[str, Sequence[float]]
) -> Figure:
    """Left: accuracy after each epoch on a chip of its own. Right: mean and spread over the same chips.

    **Arguments:** `software`: accuracy of the plain network. `chips`: of each network. `courses`: of those
    that were trained on chips.
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    course, bars = figure.subplots(1, 2, sharey=True)
    for index, (name, epochs) in enumerate(courses.items(), start=1):
        course.plot(np.arange(1, len(epochs) + 1), epochs, "o-", color=f"C{index}", markersize=3, label=name)
    course.legend(fontsize=8)
    course.set(xlabel="epoch on chips", ylabel="test accuracy on a chip", ylim=(0, 1.02))
    bars.bar(
        [name.removeprefix("solved ") for name in chips],
        [chip.mean for chip in chips.values()],
        yerr=[chip.spread for chip in chips.values()],
        color=[f"C{index}" for index in range(len(chips))],
    )
    bars.tick_params(axis="x", labelsize=8)
    for axes in (course, bars):
        axes.axhline(software, color="grey", linestyle="--", linewidth=1)
    bars.set_title(
        f"{len(next(iter(chips.values())).chips)} chips; dashed: plain network in software", fontsize=9
    )
    return figure
