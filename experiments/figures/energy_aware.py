"""Accuracy against energy."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure


def pareto_figure(summary: Sequence[Mapping[str, Any]], rounded: Sequence[Mapping[str, Any]]) -> Figure:
    """Every network as a dot: penalised by energy, penalised by spikes, and not at all.

    **Arguments:**

    - `summary`: rows with `penalty`, `beta`, `energy_over_beta_zero` and `accuracy`.
    - `rounded`: networks that learnt no widths at fewer `bits`, same columns.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    series = {
        "energy in the loss": ("o-", "#e6550d", [row for row in summary if row["penalty"] == "energy"]),
        "spikes in the loss (L1)": ("s-", "#3182bd", [row for row in summary if row["penalty"] == "spikes"]),
        "β = 0": ("*", "black", [row for row in summary if row["penalty"] == "none"]),
        "β = 0, rounded after training": (
            "x:",
            "#969696",
            [row for row in rounded if row["penalty"] == "none"],
        ),
    }
    for beta in sorted({row["beta"] for row in rounded if row["penalty"] == "spikes"}):
        chosen = [row for row in rounded if (row["penalty"], row["beta"]) == ("spikes", beta)]
        series[f"L1, β = {beta:g}, rounded after training"] = ("+:", "#9ecae1", chosen)
    for label, (style, color, rows) in series.items():
        energy = [100 * row["energy_over_beta_zero"] for row in rows]
        accuracy = [100 * row["accuracy"] for row in rows]
        axes.plot(energy, accuracy, style, color=color, label=label)
        for row, x, y in zip(rows, energy, accuracy, strict=True):
            text = f"{row['bits']} bit" if "bits" in row else f"β = {row['beta']:g}"
            below = row.get("penalty") in ("none", "spikes")
            offset = (4, -10) if below else (4, 4)
            axes.annotate(text, (x, y), xytext=offset, textcoords="offset points", fontsize=7)
    best = max(row["accuracy"] for row in summary)
    axes.set(
        xlabel="energy per inference [% of β = 0]",
        ylabel="test accuracy [%]",
        ylim=(max(0, 100 * best - 8), 100.2),
        title="What energy buys",
    )
    axes.legend(loc="lower right", fontsize=8)
    return figure
