"""How each network of the papers' tables is made and trained."""

import dataclasses
from typing import Any, Literal

import jax
from flax import nnx

from experiments import registry
from jaxsnn.codesign.noise_aware import NoiseAware
from jaxsnn.data.dataset import Dataset
from jaxsnn.learning.quantization import quantize_uniform, quantized, to_mint
from jaxsnn.learning.training import TrainConfig, Transform
from jaxsnn.models.pretrained import build
from jaxsnn.network import Network
from jaxsnn.neuron import Reset

Method = Literal["ann", "surrogate", "bntt", "tdbn"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network and its training, one leg after the other.

    **Arguments:**

    - `method`: "ann" (ReLU, one timestep), "surrogate" (no normalisation), "bntt" or "tdbn".
    - `data`: the name of one of the experiment's data sets.
    - `plan`, `width`: as for [`vgg`][jaxsnn.models.vgg.vgg]; "digits" is
      [`digits_convnet`][jaxsnn.models.digits.digits_convnet].
    - `leak`, `threshold`, `reset`: of the LIF neurons.
    - `poisson`: gain of Poisson encoding; None shows the analogue image (direct encoding).
    - `trainings`: the legs, each going on from the last one's weights. The timesteps of the last are the
      network's.
    - `images`: training images of each leg, from the first on; None takes all.
    - `watched`: test images of each leg that are looked at after an epoch; None takes all. Rows have their
      own.
    - `after`: another recipe, or a network of [`zoo`][jaxsnn.models.pretrained.zoo], whose trained weights
      are the first leg's start.
    - `share_channels`, `shared`: of EfficientLIF-Net: C#n, and convolutions on one membrane.
    - `mint_bits`, `weight_bits`: quantise by MINT, or the weights alone.
    - `on_chip`: train on modelled chips, see [`NoiseAware`][jaxsnn.codesign.noise_aware.NoiseAware].
    - `seed`: of the initial weights.

    **Raises:** `ValueError` for no training and for images that do not go with the trainings.
    """

    method: Method
    data: str
    plan: str
    trainings: tuple[TrainConfig, ...]
    images: tuple[int | None, ...] | None = None
    watched: tuple[int | None, ...] | None = None
    width: float = 1.0
    leak: float = 0.95
    threshold: float = 1.0
    reset: Reset = Reset.ZERO
    poisson: float | None = None
    after: str | None = None
    share_channels: int = 1
    shared: tuple[tuple[int, int], ...] = ()
    mint_bits: int | None = None
    weight_bits: int | None = None
    on_chip: NoiseAware | None = None
    seed: int = 0

    def __post_init__(self):
        legs = len(self.trainings)
        if not legs or any(
            counts is not None and len(counts) != legs for counts in (self.images, self.watched)
        ):
            raise ValueError(
                "Recipe.trainings needs at least one training, and Recipe.images and watched one number for "
                f"each; got {legs} trainings, images={self.images} and watched={self.watched}."
            )
        if self.weight_bits is not None and self.on_chip is not None:
            raise ValueError(
                "Recipe trains with quantised weights or on chips; leave out weight_bits or on_chip."
            )

    @property
    def timesteps(self) -> int:
        return self.trainings[-1].timesteps

    @property
    def transform(self) -> Transform | None:
        """What the forward pass of the training uses in place of the weights."""
        return self.on_chip if self.weight_bits is None else quantized(quantize_uniform, self.weight_bits)

    def model(self, dataset: Dataset) -> dict[str, Any]:
        """The network in words, as [`build`][jaxsnn.models.pretrained.build] takes it; MINT aside."""
        neuron: dict[str, Any] = {"name": "ReLU"}
        if self.method != "ann":
            neuron = {"name": "LIF", "leak": self.leak, "threshold": self.threshold}
            neuron["reset"] = self.reset.value
            if self.share_channels > 1:
                neuron |= {"name": "SharedLIF", "groups": self.share_channels}
        options: dict[str, Any] = {}
        if self.plan != "digits":
            options = {
                "plan": self.plan,
                "image_size": dataset.image_shape[0],
                "in_channels": dataset.image_shape[-1],
                "classes": dataset.classes,
                "width": self.width,
                "shared": self.shared,
            }
        direct = {"name": "Direct"}
        norms = {"bntt": {"name": "BNTT", "timesteps": self.timesteps}, "tdbn": {"name": "TdBN"}}
        return {
            "name": "digits_convnet" if self.plan == "digits" else "vgg",
            "options": options,
            "neuron": neuron,
            "norm": norms.get(self.method),
            "encoding": direct if self.poisson is None else {"name": "Poisson", "gain": self.poisson},
        }

    def build(self, dataset: Dataset) -> Network:
        """The untrained network."""
        network = build(self.model(dataset), nnx.Rngs(params=jax.random.key(self.seed)))
        return network if self.mint_bits is None else to_mint(network, self.mint_bits)

    def legs(self, dataset: Dataset) -> list[tuple[TrainConfig, Dataset]]:
        """Each training with the images it sees."""
        whole = (None,) * len(self.trainings)
        counts = zip(self.images or whole, self.watched or whole, strict=True)
        seen = [first(dataset, train, test) for train, test in counts]
        return list(zip(self.trainings, seen, strict=True))


make_recipe = registry.register(Recipe)


def first(dataset: Dataset, train: int | None, test: int | None = None) -> Dataset:
    """The data set with the first images of each split alone; None leaves a split whole."""
    parts: dict[str, Any] = {}
    for split, count in (("train", train), ("test", test)):
        images, labels = getattr(dataset, f"{split}_images"), getattr(dataset, f"{split}_labels")
        if count is None:
            continue
        if not 1 <= count <= len(labels):
            raise ValueError(
                f"data set {dataset.name!r} has {len(labels)} {split} images; {count} were asked for."
            )
        parts |= {f"{split}_images": images[:count], f"{split}_labels": labels[:count]}
    return dataclasses.replace(dataset, **parts)
