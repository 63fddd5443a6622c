"""Elasticities as bars."""

from collections.abc import Mapping

from matplotlib.figure import Figure


def sensitivity_figure(elasticities: Mapping[str, Mapping[str, float]], shown: int) -> Figure:
    """For each cost, the parameters that weigh most.

    **Arguments:** `elasticities`: by cost and parameter. `shown`: bars for each cost.
    """
    figure = Figure(figsize=(4.2 * len(elasticities), 0.6 + 0.32 * shown), layout="constrained")
    panels = figure.subplots(1, len(elasticities), squeeze=False)[0]
    for panel, (cost, values) in zip(panels, elasticities.items(), strict=True):
        largest = sorted(values, key=lambda name: abs(values[name]))[-shown:]
        heights = [values[name] for name in largest]
        panel.barh(largest, heights, color=["#e6550d" if height > 0 else "#3182bd" for height in heights])
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set(xlabel="change of cost [% per %]", title=cost)
        panel.tick_params(axis="y", labelsize="small")
    return figure
