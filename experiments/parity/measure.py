"""What a row of the papers' tables asks of a trained network: accuracy in software and on crossbars."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.parity.ledger import said
from experiments.parity.library import Library
from experiments.parity.readings import Reading, on_tiles, read
from hwmodels.crossbar import Crossbar
from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import Poisson
from jaxsnn.learning.conversion import SilentLayerError, convert
from jaxsnn.learning.evaluation import Evaluation, evaluate
from jaxsnn.network import Network
from jaxsnn.normalization import adapt_statistics

_DATA, _CHIPS, _THRESHOLDS = 0, 1, 2

_STEPS_AT_ONCE = 2000
"""Images times timesteps of one batch, which bounds memory whatever T is."""


def poisson(dataset: Dataset) -> Poisson:
    """Poisson encoding of its pixels: normalised ones reach beyond 1, and the authors' code halves them."""
    return Poisson(0.5 if any(dataset.mean) else 1.0)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network of a row as it is tested.

    **Arguments:**

    - `recipe`: its name.
    - `timesteps`: T of the test; by default those of the training.
    - `converted`: an ANN, converted with thresholds found at this T.
    - `images`: no more test images than these, in software and on chips, where T makes them dear.
    """

    recipe: str
    timesteps: int | None = None
    converted: bool = False
    images: int | None = None


@dataclasses.dataclass(frozen=True)
class Setting:
    """How rows are measured.

    **Arguments:**

    - `images`, `hardware_images`: test images, from the first on, in software and on each chip.
    - `draws`: chips of every design.
    - `threshold_images`: training images on which a conversion's thresholds are found.
    - `seed`: of the devices and of the spikes of Poisson encoding.
    """

    images: int
    hardware_images: int
    draws: int
    threshold_images: int
    seed: int = 0

    def __post_init__(self):
        for each in dataclasses.fields(self):
            least = 0 if each.name == "seed" else 1
            if getattr(self, each.name) < least:
                raise ValueError(
                    f"Setting.{each.name} must be at least {least}, got {getattr(self, each.name)}."
                )

    def key(self, stream: int) -> jax.Array:
        return jax.random.fold_in(jax.random.key(self.seed), stream)

    @property
    def chips(self) -> list[jax.Array]:
        return list(jax.random.split(self.key(_CHIPS), self.draws))


class Bench:
    """The trained networks under test."""

    def __init__(self, library: Library, setting: Setting):
        self.library, self.setting = library, setting
        self._converted: dict[Subject, Network] = {}
        self._tested: dict[tuple[Subject, int], Evaluation] = {}

    @property
    def data_key(self) -> jax.Array:
        """Of the spikes of Poisson encoding, the same for software and every chip."""
        return self.setting.key(_DATA)

    def timesteps(self, subject: Subject) -> int:
        return subject.timesteps or self.library.recipes[subject.recipe].timesteps

    def inputs(self, subject: Subject) -> dict[str, Any]:
        """What a row of this subject is made from: the whole training, the data, the test."""
        data = self.library.dataset(subject.recipe)
        return {
            "subject": said(subject),
            "recipes": said(self.library.lineage(subject.recipe)),
            "data": f"{data.name} {data.fingerprint[:16]}",
            "setting": said(self.setting),
        }

    def ours(self, subject: Subject) -> str:
        """What stands here for the paper's network, in words."""
        recipe = self.library.recipes[subject.recipe]
        width = "" if recipe.width == 1 else f" of width {recipe.width:g}"
        name = f"{recipe.plan}{width}, {recipe.data}"
        if recipe.method == "ann" and not subject.converted:
            return name
        return f"{name}, T = {self.timesteps(subject)}"

    def network(self, subject: Subject) -> Network:
        if not subject.converted:
            return self.library[subject.recipe]
        if subject not in self._converted:
            self._converted[subject] = self._convert(subject, self.library[subject.recipe])
        return self._converted[subject]

    def software(self, subject: Subject, images: int | None = None) -> Evaluation:
        """On test images; by default as many as the setting says."""
        at = (subject, self.count(subject, images or self.setting.images))
        if at not in self._tested:
            self._tested[at] = self.test(self.network(subject), subject, at[1])
        return self._tested[at]

    def count(self, subject: Subject, images: int) -> int:
        """As many of the images as this subject is tested on."""
        return images if subject.images is None else min(images, subject.images)

    def on_chips(
        self,
        subject: Subject,
        crossbar: Crossbar,
        readings: Mapping[str, Reading],
        *,
        adapted: int = 0,
        chips: Sequence[jax.Array] | None = None,
        images: int | None = None,
    ) -> dict[str, list[float]]:
        """Accuracy on each chip under every reading; `adapted` training images move the statistics of its
        normalisation first."""
        images = images or self.setting.hardware_images
        found: dict[str, list[float]] = {name: [] for name in readings}
        for key in self.setting.chips if chips is None else chips:
            solved: dict[Any, Any] = {}
            for name, reading in readings.items():
                rebalanced = subject.converted and reading.thresholds == "chip"
                network = self.library[subject.recipe] if rebalanced else self.network(subject)
                at = (reading.mapped, reading.variation, rebalanced)
                if at not in solved:
                    solved[at] = on_tiles(
                        network, crossbar, key, mapped=reading.mapped, variation=reading.variation
                    )
                network = read(network, solved[at], crossbar, reading)
                if rebalanced:
                    try:
                        network = self._convert(subject, network)
                    except SilentLayerError:
                        found[name].append(self._silent(subject, self.count(subject, images)))
                        continue
                if adapted:
                    self.adapt(network, subject, adapted)
                found[name].append(self.test(network, subject, images).accuracy)
        return found

    def test(self, network: Network, subject: Subject, images: int) -> Evaluation:
        dataset, timesteps = self.library.dataset(subject.recipe), self.timesteps(subject)
        images = self.count(subject, images)
        return evaluate(
            network,
            dataset.scale(dataset.test_images[:images]),
            dataset.test_labels[:images],
            timesteps=timesteps,
            batch_size=max(1, min(256, _STEPS_AT_ONCE // timesteps)),
            key=self.data_key,
        )

    def _convert(self, subject: Subject, ann: Network) -> Network:
        dataset, timesteps = self.library.dataset(subject.recipe), self.timesteps(subject)
        return convert(
            ann,
            dataset.scale(dataset.train_images[: self.setting.threshold_images]),
            timesteps=timesteps,
            key=self.setting.key(_THRESHOLDS),
            encoding=poisson(dataset),
            batch_size=max(1, _STEPS_AT_ONCE // timesteps),
        )[0]

    def adapt(self, network: Network, subject: Subject, images: int) -> None:
        dataset = self.library.dataset(subject.recipe)
        adapt_statistics(
            network,
            dataset.scale(dataset.train_images[:images]),
            timesteps=self.timesteps(subject),
            batch_size=min(50, images),
            key=self.data_key,
        )

    def _silent(self, subject: Subject, images: int) -> float:
        """The accuracy of a network that answers class 0 to every image, as one without spikes does."""
        return float(np.mean(self.library.dataset(subject.recipe).test_labels[:images] == 0))
