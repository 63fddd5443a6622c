"""Batches that run in parts: the same training in less memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from hwmodels.crossbar import Crossbar, Device, Variation
from jaxsnn.codesign.noise_aware import NoiseAware
from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import Poisson
from jaxsnn.learning.step import Step
from jaxsnn.learning.training import TrainConfig, fit, split_parameters
from jaxsnn.normalization import BatchNorm
from tests.jaxsnn.small_runs import dense, few_digits, weights

SHORT = partial(TrainConfig, epochs=1, timesteps=3, batch_size=32, optimizer="sgd")


def scaled(params, key):
    factor = 1 + jax.random.normal(key, (), jnp.float32) / 4
    return jax.tree.map(lambda weight: factor * weight, params)


def of_weights_and_rates(logits, record, params):
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    return 1e-2 * squares + sum(layer.input_rate for layer in record)


CHIP = NoiseAware(Crossbar(16, 16, device=Device(variation=Variation(0.1))))


@pytest.mark.parametrize(
    "settings", [{}, {"transform": scaled}, {"transform": CHIP}, {"penalty": of_weights_and_rates}]
)
def test_parts_train_as_the_whole(settings):
    start, found = jax.tree.leaves(nnx.state(dense())), {}
    for size in (None, 8):
        net = dense()
        (line,) = fit(net, few_digits(64), SHORT(microbatch=size), **settings).history
        found[size] = jax.tree.leaves(nnx.state(net)), [line.loss, line.penalty, line.spike_rate]
    (whole, of_whole), (parts, of_parts) = found.values()
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(whole, start, strict=True)) > 1e-4
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(of_parts, of_whole, rtol=1e-5)


def test_a_part_as_large_as_the_batch_changes_no_bit():
    nets = [dense(encoding=Poisson()) for _ in range(2)]
    for net, size in zip(nets, (None, 32), strict=True):
        fit(net, few_digits(32), SHORT(microbatch=size))
    assert weights(nets[0]) == weights(nets[1])


def test_every_part_draws_its_own_spikes_and_the_same_again():
    nets = [dense(encoding=Poisson()) for _ in range(3)]
    for net, size in zip(nets, (8, 8, None), strict=True):
        fit(net, few_digits(32), SHORT(microbatch=size))
    assert weights(nets[0]) == weights(nets[1]) != weights(nets[2])


def test_running_averages_forget_once_for_each_part():
    """Of equal images every part has the same mean, so that four steps of the average are known."""
    image, means = few_digits(1).train_images, {}
    data = Dataset(
        "equal", np.repeat(image, 32, axis=0), np.zeros(32, np.uint8), image, np.zeros(1, np.uint8), 10
    )
    for size in (32, 8):
        net = dense(norm=BatchNorm)
        fit(net, data, SHORT(microbatch=size))
        means[size] = np.asarray(net.layers[0].norm.mean[...])
    assert np.abs(means[32]).max() > 1e-4
    np.testing.assert_allclose(means[8], means[32] * (1 - 0.9**4) / (1 - 0.9), rtol=1e-4, atol=1e-7)


def test_memory_grows_with_the_part_and_not_with_the_batch():
    graphdef, params, rest = split_parameters(dense())
    data = few_digits(96)

    def temporary(batch, microbatch):
        config = TrainConfig(timesteps=16, batch_size=batch, microbatch=microbatch)
        step = Step(graphdef, config, optax.sgd(0.1), data.scale, False, None, None, None)
        keys = jax.random.split(jax.random.key(0))
        lowered = jax.jit(step.gradient).lower(
            params, rest, (), data.train_images[:batch], data.train_labels[:batch].astype(np.int32), keys
        )
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(96, 8) < 0.2 * temporary(96, None)
    assert temporary(96, 8) < 1.3 * temporary(16, 8)


def test_a_short_data_set_is_told_what_divides_it():
    with pytest.raises(ValueError, match=r"microbatch must divide a batch of 20 .* got 8"):
        fit(dense(), few_digits(20), SHORT(microbatch=8))
