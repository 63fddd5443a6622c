"""The papers' figures from trained networks, with the papers' axes and series."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hwmodels import spikeflow


def timesteps_figure(losses: Mapping[str, Mapping[int, tuple[float, float]]], shown: str) -> Figure:
    """Figure 3: Δ against timesteps, one panel for each method.

    **Arguments:** `losses`: by method and T, Δ under the exact circuit and under the reading shown.
    """
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(losses), sharey=True))
    for panel, (method, by_timesteps) in zip(panels, losses.items(), strict=True):
        places = np.arange(len(by_timesteps))
        for offset, (name, index) in zip((-0.2, 0.2), (("exact circuit", 0), (shown, 1)), strict=True):
            panel.bar(places + offset, [100 * each[index] for each in by_timesteps.values()], 0.4, label=name)
        panel.set_xticks(places, [str(steps) for steps in by_timesteps])
        panel.set(xlabel="timesteps", title=method)
    panels[0].set_ylabel("Δ [%]")
    panels[0].legend(fontsize="small")
    return figure


def adaptation_figure(images: Sequence[int], losses: Mapping[str, Sequence[float]]) -> Figure:
    """Figure 4: Δ against the images forwarded in noise-aware BN adaptation."""
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, values in losses.items():
        axes.plot(images, [100 * value for value in values], marker="o", label=name)
    axes.set(xlabel="images forwarded", ylabel="Δ [%]", title="BNTT, 64×64: BN adaptation")
    axes.legend(fontsize="small")
    return figure


def readings_figure(columns: Sequence[str], losses: Mapping[str, Sequence[float | None]]) -> Figure:
    """Δ of the paper and of every reading, a line each, in every row of its tables, a column each."""
    labels, values = list(losses), 100 * np.array(list(losses.values()), float)
    figure = Figure(figsize=(1.6 + 0.95 * len(columns), 1.6 + 0.36 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="magma_r", vmin=0, vmax=100, aspect="auto")
    for (line, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                column, line, f"{value:.0f}", ha="center", va="center", color="w" if value > 50 else "k"
            )
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.axhline(0.5, color="k")
    axes.set_title("Δ [%]")
    return figure


def early_exit_figure(row: Mapping[str, Any]) -> Figure:
    """DT-SNN: accuracy against mean timesteps; EDP by timesteps and with early exit, relative to one."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    fixed = row["accuracy_by_timesteps"]
    steps = np.arange(1, len(fixed) + 1)
    left.plot(steps, 100 * np.array(fixed), marker="s", label="all inputs for T")
    curve = np.array(row["curve"])
    left.plot(curve[:, 1], 100 * curve[:, 2], marker="o", label="early exit")
    left.set(xlabel="mean timesteps", ylabel="accuracy [%]")
    left.legend(fontsize="small")
    for index, (name, chip) in enumerate(row["chips"].items()):
        product = np.multiply(chip["energy_by_timesteps_j"], chip["latency_by_timesteps_s"])
        right.plot(steps, product / product[0], marker="s", color=f"C{index}", label=name)
        exits = chip["exits"]
        right.plot(
            [each["mean_timesteps"] for each in exits],
            [each["energy_delay_js"] / product[0] for each in exits],
            marker="o",
            linestyle="--",
            color=f"C{index}",
            label=f"{name}, early exit",
        )
    right.set(xlabel="mean timesteps", ylabel="EDP relative to one timestep")
    right.legend(fontsize="small")
    return figure


def weight_encoding_figure(software: float, hardware: Mapping[str, Sequence[float]]) -> Figure:
    """Figure 6b: accuracy on chips by encoding, with and without BN adaptation."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(
        list(hardware),
        [100 * np.mean(each) for each in hardware.values()],
        yerr=[100 * np.std(each) for each in hardware.values()],
    )
    axes.axhline(100 * software, color="grey", linestyle="--", label="software")
    axes.tick_params("x", rotation=25)
    axes.set(ylabel="accuracy [%]", title="4 bits, 64×64")
    axes.legend(fontsize="small")
    return figure


def neuron_area_figure() -> Figure:
    """Figure 6a: area of the LIF module of ResNet18 under C#n, and the printed reductions."""
    rows = spikeflow.figure_6a()
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    bottom = np.zeros(len(rows))
    for part in ("membrane", "neuron", "encoder_memory"):
        values = np.array([float(row[part]) for row in rows])
        axes.bar([row["sharing"] for row in rows], values, bottom=bottom, label=part.replace("_", " "))
        bottom += values
    first = float(rows[0]["module_mm2"])
    axes.plot(
        [row["sharing"] for row in rows],
        [first / row["paper"] for row in rows],
        marker="x",
        linestyle="none",
        color="k",
        label="printed reduction",
    )
    axes.set(ylabel="area [mm²]", title="6a: LIF module, ResNet18, 64×64 images")
    axes.legend(fontsize="small")
    return figure
