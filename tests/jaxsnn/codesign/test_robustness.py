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
from jaxsnn.encoding import Direct, Frames, Poisson
from jaxsnn.layers import Block, Linear, synapses
from jaxsnn.learning.evaluation import evaluate
from jaxsnn.models.mlp import mlp
from jaxsnn.network import Network, batch_key
from jaxsnn.neuron import LIF, Readout
from jaxsnn.recurrence import Recurrent

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


IMAGES = np.random.default_rng(1).uniform(0.2, 1, (8, 12)).astype(np.float32)


def full_scales(own, key=KEY, **options):
    chip = program(own, CHIP, key, images=IMAGES, timesteps=T, **options)
    return [float(layer.product.tiles.adc_full_scale) for layer in synapses(chip).values()]


def test_converters_of_spikes_that_are_drawn_are_calibrated_on_the_draws_of_the_test():
    data = Dataset.from_arrays(IMAGES, np.arange(8) % 3, test=0.5)
    own, options, key = network(Poisson()), {"timesteps": T}, jax.random.key(8)
    (found,) = on_hardware(own, CHIP, data, software=1.0, keys=[KEY], data_key=key, **options).chips
    drawn = batch_key(own, key, 0)
    seen = data.scale(data.train_images)
    chip = program(own, CHIP, KEY, images=seen, data_key=drawn, **options)
    expected = evaluate(chip, data.scale(data.test_images), data.test_labels, key=key, **options)
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)


def test_spikes_to_calibrate_on_have_a_stream_of_their_own():
    """They follow the key, as the devices do, and images that are shown as they are have none."""
    own = network(Poisson())
    found = full_scales(own)
    assert found == full_scales(own)
    assert found != full_scales(own, data_key=jax.random.key(1))
    # Streams 0 and 1 are of the kernels, 2 of the reads, 3 of converters as built.
    assert found == full_scales(own, data_key=jax.random.fold_in(KEY, 4))
    constant = network(Direct())
    assert full_scales(constant) == full_scales(constant, data_key=jax.random.key(1))


def test_circles_are_calibrated_on_spikes_that_are_drawn():
    def linear(inputs, outputs):
        return Linear(inputs, outputs, rngs=nnx.Rngs(0))

    layers = [
        Recurrent(Block("w", linear(12, 6), LIF(threshold=0.3)), linear(6, 6)),
        Block("o", linear(6, 3), Readout()),
    ]
    found, other = (full_scales(Network(layers, Poisson()), data_key=jax.random.key(n)) for n in (0, 1))
    assert len(found) == 3
    assert min(found) > 0
    assert found != other
