"""The trained networks, each trained once."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import nnx

from experiments.output import Run
from experiments.parity.recipes import Recipe
from jaxsnn.data.dataset import Dataset
from jaxsnn.layers import Block
from jaxsnn.learning.quantization import MintQuantizer
from jaxsnn.learning.training import apply_transform
from jaxsnn.models.pretrained import zoo, zoo_facts
from jaxsnn.network import Network


class Library:
    """Networks by the names of their recipes; each is trained, or restored, when it is first asked for."""

    def __init__(self, run: Run, recipes: Mapping[str, Recipe], datasets: Mapping[str, Dataset]):
        for name, recipe in recipes.items():
            if recipe.data not in datasets:
                raise ValueError(
                    f"recipe {name!r} needs the data set {recipe.data!r}; there are {', '.join(datasets)}."
                )
            if recipe.after is None or recipe.after in recipes:
                continue
            if recipe.after not in zoo_facts():
                raise ValueError(
                    f"recipe {name!r} starts from {recipe.after!r}, which is neither a recipe nor a network "
                    f"of the zoo ({', '.join(zoo_facts())})."
                )
        self._run, self.recipes, self._datasets = run, dict(recipes), datasets
        self._networks: dict[str, Network] = {}
        self._trained: dict[str, Network] = {}

    def dataset(self, name: str) -> Dataset:
        return self._datasets[self.recipes[name].data]

    def lineage(self, name: str) -> list[Recipe]:
        """The recipe, and those that it goes on from; what a network of the zoo goes on from says that one's
        facts."""
        recipe = self.recipes[name]
        return [recipe, *self.lineage(recipe.after)] if recipe.after in self.recipes else [recipe]

    def __getitem__(self, name: str) -> Network:
        """The network as it runs: its weights quantised, if it was trained so."""
        recipe = self.recipes[name]
        network = self._weights(name)
        if recipe.weight_bits is None or recipe.transform is None:
            return network
        return apply_transform(network, recipe.transform)

    def _weights(self, name: str) -> Network:
        if name in self._trained:
            return self._trained[name]
        recipe, dataset = self.recipes[name], self.dataset(name)
        network = recipe.build(dataset)
        if recipe.after is not None:
            start = self._weights(recipe.after) if recipe.after in self.recipes else zoo(recipe.after)
            start_from(network, start, name)
            fit_levels(network)
        for number, (training, seen) in enumerate(recipe.legs(dataset), 1):
            self._run.console.print(
                f"{name}, training {number} of {len(recipe.trainings)}: T = {training.timesteps}, "
                f"{len(seen.train_labels)} images"
            )
            self._run.fitted(network, seen, training, transform=recipe.transform)
        self._trained[name] = network
        return network


def start_from(network: Network, trained: Network, name: str) -> None:
    """Give a network the arrays of a trained one; what it has besides, such as quantisers, stays.

    **Raises:** `ValueError`, naming the recipe, for arrays that do not fit.
    """
    own = dict(nnx.to_flat_state(nnx.state(network)))
    for path, value in nnx.to_flat_state(nnx.state(trained)):
        where = ".".join(map(str, path))
        if path not in own or own[path][...].shape != value[...].shape:
            raise ValueError(
                f"recipe {name!r} cannot start from those weights: {where} of shape {value[...].shape} has "
                "no place in it; give both the same plan, width, method and, with BNTT, timesteps."
            )
        own[path][...] = value[...]


def fit_levels(network: Network) -> None:
    """Start MINT's α of trained weights at twice their mean magnitude: at its default of 1 small weights of
    two bits would all round to zero."""
    for layer in network.layers:
        if isinstance(layer, Block) and isinstance(layer.synapse.quantizer, MintQuantizer):
            kernel = layer.synapse.kernel[...]
            layer.synapse.quantizer.alpha[...] = 2 * jnp.mean(jnp.abs(jnp.tanh(kernel)))
