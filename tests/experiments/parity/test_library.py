"""Where the networks of recipes begin."""

from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np
import pytest
from rich.console import Console

from experiments.output import Run
from experiments.parity.library import Library
from experiments.parity.recipes import Recipe
from jaxsnn.data import datasets
from jaxsnn.learning.training import TrainConfig
from jaxsnn.models.pretrained import zoo

# Trains nothing.
RUN = cast(Run, SimpleNamespace(console=Console(quiet=True), fitted=lambda *_, **__: None))


def library(**recipes: Recipe) -> Library:
    return Library(RUN, recipes, {"digits": datasets.load("digits", seed=0)})


def recipe(**changes: Any) -> Recipe:
    return Recipe("surrogate", "digits", "digits", (TrainConfig(epochs=1),), leak=0.5, **changes)


def test_a_recipe_goes_on_from_a_network_of_the_zoo():
    found = library(further=recipe(after="digits", seed=7))
    jax.tree.map(np.testing.assert_array_equal, *map(weights, (found["further"], zoo("digits"))))
    assert found.lineage("further") == [found.recipes["further"]]


def test_a_recipe_has_the_name_before_the_zoo():
    found = library(digits=recipe(seed=7), further=recipe(after="digits", seed=8))
    first, second = map(weights, (found["digits"], found["further"]))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert any((one != other).any() for one, other in zip(first, weights(zoo("digits")), strict=True))
    assert found.lineage("further") == [found.recipes["further"], found.recipes["digits"]]


def test_a_start_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"neither a recipe nor a network of the zoo.*digits-on-chip"):
        library(further=recipe(after="no such network"))


def weights(network: Any) -> list[np.ndarray]:
    return [np.asarray(layer.synapse.kernel[...]) for layer in network.layers if hasattr(layer, "synapse")]
