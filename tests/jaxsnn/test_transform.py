"""Transforms and penalties in training: traced once, seen by test images, told apart by checkpoints."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.learning.training import TrainConfig, fit, split_parameters
from jaxsnn.learning.transform import Transform
from tests.jaxsnn.small_runs import dense, few_digits


@dataclass(frozen=True, eq=False)
class Counting(Transform):
    """Counts how often it is traced; test images see zero weights."""

    traced: list
    factor: float = 1.0

    def evaluation(self):
        return replace(self, factor=0.0)

    def apply(self, network, state, key):
        self.traced.append(self.factor)
        graph, params, rest = split_parameters(network)
        return nnx.merge(graph, jax.tree.map(lambda w: w * self.factor, params), rest, copy=True)


class Once(Counting):
    """The same object for test images, as most transforms are."""

    def evaluation(self):
        return self


def test_test_images_see_what_the_transform_says():
    data = few_digits()
    config = TrainConfig(epochs=2, timesteps=2, batch_size=32)
    history = fit(dense(), data, config, transform=Counting([])).history
    ignorant = float(np.mean(data.test_labels == 0))
    assert [epoch.test_accuracy for epoch in history] == [ignorant, ignorant]
    assert history[-1].train_accuracy > ignorant


def test_a_transform_is_traced_in_the_first_epoch_alone():
    transform, counts = Once([]), []
    config = TrainConfig(epochs=3, timesteps=1, batch_size=32)
    fit(
        dense(),
        few_digits(),
        config,
        transform=transform,
        on_epoch=lambda _: counts.append(len(transform.traced)),
    )
    assert counts[0] > 0
    assert counts == [counts[0]] * 3


@dataclass(frozen=True, eq=False)
class Priced:
    beta: float
    prices: Any = None

    def __call__(self, outputs, record, params):
        return self.beta * jnp.mean(outputs**2)


def named_penalty(outputs, record, params):
    return jnp.mean(outputs**2)


def test_a_checkpoint_of_another_penalty_is_refused(tmp_path):
    config = TrainConfig(epochs=1, timesteps=1, batch_size=32)

    def resumed(penalty):
        return fit(dense(), few_digits(), config, checkpoint_dir=tmp_path, penalty=penalty).resumed_epochs

    assert resumed(Priced(1.0, np.arange(2))) == 0
    assert resumed(Priced(1.0, np.arange(2))) == 1
    others = [Priced(2.0, np.arange(2)), Priced(1.0, np.arange(2.0)), Priced(1.0, Priced(1.0))]
    for other in (None, named_penalty, *others):
        with pytest.raises(ValueError, match="another run: penalty was"):
            resumed(other)
