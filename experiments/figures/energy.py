"""Energy on the modelled chips beside the FLOP estimate."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from hwmodels.workload import Scalar


def energy_figure(estimated_j: float, chips: Mapping[str, Mapping[str, Scalar]]) -> Figure:
    """Estimate and chips on one logarithmic axis, and each chip's energy by component.

    **Arguments:**

    - `estimated_j`: the FLOP estimate.
    - `chips`: for each chip its energy by component, joule.
    """
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, 1 + len(chips))
    energies = {
        name: {part: float(energy) for part, energy in parts.items()} for name, parts in chips.items()
    }
    totals = {"FLOP estimate": estimated_j} | {name: sum(parts.values()) for name, parts in energies.items()}
    axes[0].bar(list(totals), list(totals.values()), color=["#bdbdbd", "#3182bd", "#e6550d"][: len(totals)])
    axes[0].set(yscale="log", ylabel="energy per inference [J]", title="Claimed and spent")
    for panel, (name, parts) in zip(axes[1:], energies.items(), strict=True):
        shares = _largest({part: 100 * value / sum(parts.values()) for part, value in parts.items()})
        panel.barh(list(shares), list(shares.values()))
        panel.set(xlabel="share of energy [%]", title=name)
    return figure


def _largest(shares: Mapping[str, float], least: float = 1.0) -> dict[str, float]:
    """Shares in ascending order, those below `least` percent summed up as "other"."""
    shown = {part.replace("_", " "): share for part, share in shares.items() if share >= least}
    return {"other": 100 - sum(shown.values())} | dict(sorted(shown.items(), key=lambda item: item[1]))
