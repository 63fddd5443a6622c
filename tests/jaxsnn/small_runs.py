"""Trainings of seconds, shared by tests."""

from functools import partial

from flax import nnx

from jaxsnn.data.datasets import Dataset, load
from jaxsnn.learning.digest import digest
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.mlp import mlp
from jaxsnn.neuron import LIF


def few_digits(count=96):
    data = load("digits")
    return Dataset(
        "few",
        data.train_images[:count],
        data.train_labels[:count],
        data.test_images[:20],
        data.test_labels[:20],
        10,
    )


def network(**options):
    return digits_convnet(width=4, **({"rngs": nnx.Rngs(0)} | options))


def dense(**options):
    """A network that compiles faster."""
    return mlp((16,), in_features=64, **({"rngs": nnx.Rngs(0), "neuron": partial(LIF, leak=0.5)} | options))


def weights(network):
    return digest(nnx.state(network))
