"""Searches: how fast they get better, and what network and chip reach together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def progress_figure(traces: Mapping[str, np.ndarray]) -> Figure:
    """Best objective so far over the one found, against designs measured.

    **Arguments:** `traces`: by chip, the best so far after each evaluation; infinite before the first.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, trace in traces.items():
        axes.step(np.arange(1, len(trace) + 1), trace / trace[-1], where="post", label=name)
    axes.set(xscale="log", xlabel="designs measured", ylabel="energy · delay over the best found [1]")
    axes.legend()
    return figure


def joint_figure(points: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy against energy, one line per area limit, one marker per network.

    **Arguments:** `points`: with beta, area_limit_mm2, accuracy, energy_j and area_mm2.
    """
    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axes = figure.subplots()
    for limit in sorted({point["area_limit_mm2"] for point in points}):
        chosen = [point for point in points if point["area_limit_mm2"] == limit]
        energies = [point["energy_j"] * 1e9 for point in chosen]
        accuracies = [100 * point["accuracy"] for point in chosen]
        axes.plot(energies, accuracies, marker="o", label=f"area ≤ {limit:g} mm²")
        for point, energy, accuracy in zip(chosen, energies, accuracies, strict=True):
            axes.annotate(
                f"β = {point['beta']:g}, {point['area_mm2']:.2g} mm²", (energy, accuracy), fontsize=6
            )
    axes.set(
        xlabel="energy per inference [nJ]", ylabel="test accuracy [%]", title="Network and chip together"
    )
    axes.legend(fontsize="small")
    return figure


def benchmark_figure(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Median best-so-far over the optimum, of every method on every space.

    **Arguments:** `curves`: as the search benchmark stores them.
    """
    figure = Figure(figsize=(5 * len(curves), 3.6), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (space, curve) in zip(panels, curves.items(), strict=True):
        for method, ratio in curve["ratio"].items():
            values = [np.nan if value is None else value for value in ratio]
            panel.plot(curve["evaluations"], values, label=method)
        panel.axhline(1.02, color="black", linewidth=0.6, linestyle=":")
        panel.set(xscale="log", yscale="log", xlabel="designs measured", ylabel="found over optimum [1]")
        panel.set_title(space)
        panel.legend(fontsize="small")
    return figure
