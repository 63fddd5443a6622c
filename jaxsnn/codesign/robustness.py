"""What a non-ideal crossbar does to accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels.checks import at_edge
from hwmodels.chip import Arithmetic, Chip, arithmetic
from hwmodels.crossbar import Crossbar
from jaxsnn.codesign.program import fix_converters, program
from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import inputs_of
from jaxsnn.learning.evaluation import Evaluation, evaluate, evaluate_batch
from jaxsnn.network import Network, batch_key


def relative_drop(software: float, hardware: float) -> float:
    """The drop of Table I, "Examining the Robustness of SNNs": `Δ = (SW − HW) / SW`, a fraction.

    0 where software gets nothing right, since there is nothing to lose.
    """
    return (software - hardware) / software if software > 0 else 0.0


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
        """See [`relative_drop`][]."""
        return relative_drop(self.software, self.mean)

    @property
    def spike_rates(self) -> np.ndarray:
        """Mean over the chips of each layer's spike rate, shape (layers,)."""
        return np.mean([[layer.spike_rate for layer in chip.record] for chip in self.chips], axis=0)


_CALIBRATION_IMAGES = 64
# What converters check is raised by the call: such a program enters the persistent compilation cache.
_evaluate_batch = at_edge(evaluate_batch, static_argnames=("graphdef", "timesteps"))


def on_hardware(
    network: Network,
    chip: Chip | Arithmetic | Crossbar,
    dataset: Dataset,
    *,
    software: float,
    timesteps: int,
    keys: Sequence[jax.Array],
    data_key: jax.Array | None = None,
    batch_size: int = 256,
    on_chip: Callable[[], None] = lambda: None,
) -> Robustness:
    """Program one chip from each key, with devices of its own, and test it on the test images.

    **Arguments:**

    - `chip`: as for [`program`][jaxsnn.codesign.program.program]; its converters see the first training
      images. A design without anything random is programmed once.
    - `software`: the network's accuracy without hardware.
    - `keys`: of the devices and of their read noise.
    - `data_key`: for Poisson encoding, the same for every chip: of the test, and of what converters are
      calibrated on.
    - `batch_size`: of the test.
    - `on_chip`: called after each chip, for a progress bar.
    """
    images = dataset.scale(dataset.test_images)
    few = jnp.asarray(dataset.scale(dataset.train_images[:_CALIBRATION_IMAGES]))
    seen = inputs_of(network.encoding, few, timesteps)
    extremes = None
    if network.encoding.constant:
        train = dataset.train_images
        extremes = dataset.scale(np.stack([train.min(axis=0), train.max(axis=0)]))
    chips = []
    for key in keys if arithmetic(chip).random else keys[:1]:
        programmed = program(
            network,
            chip,
            key,
            images=seen,
            timesteps=timesteps,
            extremes=extremes,
            data_key=batch_key(network, data_key, 0),
        )
        fix_converters(programmed)
        chips.append(
            evaluate(
                programmed,
                images,
                dataset.test_labels,
                timesteps=timesteps,
                batch_size=batch_size,
                key=data_key,
                compiled=_evaluate_batch,
            )
        )
        on_chip()
    return Robustness(software=software, chips=tuple(chips))
