"""Chips of one design, whose converters are calibrated on what the network is trained on, as it takes it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels.chip import Analog
from hwmodels.crossbar import Converters, Crossbar, Device
from jaxsnn.codesign.program import program
from jaxsnn.codesign.robustness import on_hardware
from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import Frames
from jaxsnn.learning.evaluation import evaluate
from jaxsnn.models.mlp import mlp
from jaxsnn.neuron import LIF

KEY = jax.random.key(3)
RULE = Converters(adc_bits=5, full_scale="calibrated", percentile=0.9)
CHIP = Analog(Crossbar(8, 8, device=Device(variation=0.1)), RULE, RULE)
T = 5


def network(encoding):
    neuron = partial(LIF, threshold=0.5)
    return mlp((8,), in_features=12, classes=3, encoding=encoding, neuron=neuron, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("count", [T, 7])
def test_converters_of_events_are_calibrated_over_time(count):
    """Events that die away: a batch of seven taken for seven timesteps would have other extremes."""
    x = np.random.default_rng(0).uniform(0, 2, (2 * count, T, 12)) * np.linspace(2, 0.2, T)[:, None]
    data = Dataset.from_arrays(x.astype(np.float32), np.arange(2 * count) % 3, test=0.5, timed=True)
    own, options = network(Frames()), {"timesteps": T}
    (found,) = on_hardware(own, CHIP, data, software=1.0, keys=[KEY], **options).chips
    seen = jnp.moveaxis(jnp.asarray(data.scale(data.train_images)), 1, 0)
    chip = program(own, CHIP, KEY, images=seen, **options)
    expected = evaluate(chip, data.scale(data.test_images), data.test_labels, **options)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
