"""Accuracy, energy and area of networks and their chips in one figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

_MARKERS = "osD^vPX*<>"


def search_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Energy against accuracy on chips; colour: area, marker: the network's β; a ring: on the Pareto front.

    **Arguments:** `rows`, with `beta`, `area_limit_mm2` (None: the published chip), `accuracy`, `energy_j`,
    `area_mm2` and `undominated`.
    """
    figure = Figure(figsize=(7.5, 4.6), layout="constrained")
    axes = figure.subplots()
    areas = [row["area_mm2"] for row in rows]
    betas = sorted({row["beta"] for row in rows})
    for beta, marker in zip(betas, _MARKERS * len(betas), strict=False):
        own = [row for row in rows if row["beta"] == beta]
        energy = [1e9 * row["energy_j"] for row in own]
        accuracy = [100 * row["accuracy"] for row in own]
        dots = axes.scatter(
            energy,
            accuracy,
            c=[row["area_mm2"] for row in own],
            marker=marker,
            s=50,
            vmin=min(areas),
            vmax=max(areas),
            edgecolors=["black" if row["undominated"] else "none" for row in own],
            label=f"β = {beta:g}",
        )
        for row, x, y in zip(own, energy, accuracy, strict=True):
            limit = row["area_limit_mm2"]
            name = "published" if limit is None else f"≤ {limit:g} mm²"
            axes.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=7)
    figure.colorbar(dots, label="area [mm²]")
    axes.margins(0.12)
    axes.set(
        xlabel="energy per inference [nJ]",
        ylabel="accuracy on chips [%]",
        title="Networks and the chips found for them (black edge: Pareto front)",
    )
    axes.legend(fontsize=8)
    return figure
