"""Accuracy in training and on hardware."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from jaxsnn.codesign.on_chip import OnChip


def hardware_accuracy_figure(software: float, chips: Mapping[str, OnChip]) -> Figure:
    """Accuracy on each chip: a dot for each programmed one, a bar for their mean."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.axhline(100 * software, color="black", linewidth=1, label="software")
    for position, chip in enumerate(chips.values()):
        axes.bar(position, 100 * chip.accuracy, width=0.6, color="#9ecae1")
        dots = 100 * chip.by_network.ravel()
        axes.plot([position] * len(dots), dots, ".", color="#08519c", alpha=0.6)
    axes.set_xticks(range(len(chips)), list(chips), rotation=20, ha="right")
    axes.set_ylabel("test accuracy [%]")
    axes.set_ylim(0, 102)
    axes.set_title("One dot per programmed chip")
    axes.legend(loc="lower right")
    return figure


def training_figure(loss: Sequence[float], accuracy: Sequence[float]) -> Figure:
    """Loss and test accuracy by epoch."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = range(1, len(loss) + 1)
    left.plot(epochs, loss)
    left.set(xlabel="epoch", ylabel="training loss", yscale="log")
    right.plot(epochs, [100 * value for value in accuracy])
    right.set(xlabel="epoch", ylabel="test accuracy [%]")
    return figure
