"""What a non-ideal crossbar does to accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from hwmodels.crossbar import Converters, Crossbar
from jaxsnn.codesign.program import calibrated, program, programmed
from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.training import Evaluation, evaluate, split_parameters
from jaxsnn.network import Network


@dataclass(frozen=True)
class Robustness:
    """One network on one crossbar design: what each programmed chip achieved.

    **Arguments:**

    - `software`: accuracy without hardware, a fraction.
    - `chips`: the evaluation of each chip, which differ by the draw of their devices.
    """

    software: float
    chips: tuple[Evaluation, ...]

    @property
    def accuracies(self) -> np.ndarray:
        return np.array([chip.accuracy for chip in self.chips])

    @property
    def mean(self) -> float:
        return float(self.accuracies.mean())

    @property
    def spread(self) -> float:
        """Standard deviation between chips (0 for a single one)."""
        return float(self.accuracies.std(ddof=1)) if len(self.chips) > 1 else 0.0

    @property
    def drop(self) -> float:
        """The drop of Table I, "Examining the Robustness of SNNs": `Δ = (SW − HW) / SW`, a fraction.

        0 where software gets nothing right, since there is nothing to lose.
        """
        return (self.software - self.mean) / self.software if self.software > 0 else 0.0

    @property
    def spike_rates(self) -> np.ndarray:
        """Mean over the chips of each layer's spike rate, shape (layers,)."""
        return np.mean([[layer.spike_rate for layer in chip.record] for chip in self.chips], axis=0)


_CALIBRATION_IMAGES = 64


def on_hardware(
    network: Network,
    crossbar: Crossbar,
    dataset: Dataset,
    *,
    software: float,
    timesteps: int,
    keys: Sequence[jax.Array],
    converters: Converters | None = None,
    on_chip: Callable[[], None] = lambda: None,
) -> Robustness:
    """Program one chip from each key, with a device variation of its own, and test it on the test images.

    **Arguments:**

    - `software`: the network's accuracy without hardware.
    - `converters`: of every tile; None for ideal ones. If their full scale is "calibrated", it is that of
      each chip on the first training images.
    - `on_chip`: called after each chip, for a progress bar.
    """
    graph, kernels, rest = split_parameters(network)
    images = dataset.scale(dataset.test_images)
    chips = []
    for key in keys:
        if converters is None:
            chip = nnx.merge(graph, program(kernels, crossbar, key), rest)
        else:
            chip = programmed(network, crossbar, key, converters=converters)
            if converters.full_scale == "calibrated":
                seen = dataset.scale(dataset.train_images[:_CALIBRATION_IMAGES])
                chip = calibrated(chip, seen, timesteps=timesteps)
        chips.append(evaluate(chip, images, dataset.test_labels, timesteps=timesteps))
        on_chip()
    return Robustness(software=software, chips=tuple(chips))
