"""Tables of what non-ideal crossbars do to accuracy."""

from collections.abc import Mapping, Sequence

from jaxsnn.codesign.robustness import Robustness
from jaxsnn.codesign.table import Table
from jaxsnn.network import LayerRecord


def accuracy_table(chips: Mapping[str, Robustness]) -> Table:
    """Software against hardware accuracy of every design."""
    return Table(
        "Accuracy",
        ["crossbar", "software", "hardware", "spread", "drop Δ", "chips"],
        [
            [
                name,
                f"{chip.software:.2%}",
                f"{chip.mean:.2%}",
                f"± {chip.spread:.2%}",
                f"{chip.drop:.2%}",
                str(len(chip.chips)),
            ]
            for name, chip in chips.items()
        ],
        note="Δ = (software − hardware) / software. Spread: standard deviation between programmed chips.",
    )


def spike_rate_table(software: Sequence[LayerRecord], chips: Mapping[str, Robustness]) -> Table:
    """Where the activity goes: each layer's spike rate in software and on each design."""
    return Table(
        "Spike rate per layer",
        ["layer", "software", *chips],
        [
            [layer.name, f"{float(layer.spike_rate):.3f}"]
            + [f"{chip.spike_rates[index]:.3f}" for chip in chips.values()]
            for index, layer in enumerate(software)
            if layer.spiking
        ],
        note="Fraction of neurons that fire in one timestep, on test images.",
    )
