"""Time of an optimiser step against the number of accelerators."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure


def scale_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel a network: its parts stacked, and the ideal line.

    **Arguments:** `rows`: what `experiments.scale.step` returned.
    """
    names = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(4.5 * len(names), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        mine = [row for row in rows if row["network"] == name]
        devices = [row["devices"] for row in mine]
        for part, label in (("network_s", "network"), ("tiles_s", "tiles"), ("exchange_s", "exchange")):
            axes.plot(devices, [row[part] for row in mine], "o:", markersize=3, label=label)
        axes.plot(devices, [row["step_s"] for row in mine], "k.-", label="step")
        ideal = [mine[0]["step_s"] * devices[0] / count for count in devices]
        axes.plot(devices, ideal, color="#bdbdbd", label="ideal")
        shown = [row["step_s"] for row in mine] + ideal
        axes.set(
            xscale="log",
            yscale="log",
            ylim=(min(shown) / 30, 2 * max(shown)),
            xlabel="accelerators (assumed)",
            ylabel="projected time [s]",
            title=name,
        )
        axes.set_xticks(devices, [str(count) for count in devices])
        axes.minorticks_off()
        axes.legend(fontsize=7)
    return figure
