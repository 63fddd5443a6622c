"""Normalisation layers against NumPy formulas, their statistics, and their adaptation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import Direct, Frames
from jaxsnn.learning.training import TrainConfig, fit
from jaxsnn.models.mlp import mlp
from jaxsnn.models.vgg import vgg
from jaxsnn.normalization import BNTT, BatchNorm, TdBN, adapt_statistics
from tests.jaxsnn.small_runs import dense, few_digits

X = np.random.default_rng(0).normal(1.5, 2.0, (4, 3, 5, 2, 6)).astype(np.float32)
EVAL = {"start": 0, "steps": 4, "training": False}
TRAIN = EVAL | {"training": True}


def test_batch_norm_takes_statistics_over_time_batch_and_space():
    norm = BatchNorm(6, momentum=0.8, epsilon=1e-3)
    norm.scale[...] = jnp.linspace(0.5, 2, 6, dtype=jnp.float32)
    norm.offset[...] = jnp.linspace(-1, 1, 6, dtype=jnp.float32)
    mean, variance = X.mean((0, 1, 2, 3)), X.var((0, 1, 2, 3))
    expected = np.linspace(0.5, 2, 6) * (X - mean) / np.sqrt(variance + 1e-3) + np.linspace(-1, 1, 6)
    np.testing.assert_allclose(norm(jnp.asarray(X), **TRAIN), expected, rtol=1e-4, atol=1e-5)
    count = X.size // 6
    np.testing.assert_allclose(norm.mean[...], 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.variance[...], 0.8 + 0.2 * variance * count / (count - 1), rtol=1e-5)


def test_evaluation_uses_running_statistics_and_changes_nothing():
    norm = BatchNorm(6)
    norm(jnp.asarray(X), **TRAIN)
    mean, variance = np.asarray(norm.mean[...]), np.asarray(norm.variance[...])
    out = norm(jnp.asarray(X), **EVAL)
    np.testing.assert_allclose(out, (X - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(norm.mean[...], mean)


def test_tdbn_scales_by_alpha_and_the_threshold():
    out = TdBN(6, threshold=0.5, alpha=0.7)(jnp.asarray(X), **TRAIN)
    np.testing.assert_allclose(np.std(out, axis=(0, 1, 2, 3)), 0.35, rtol=1e-4)


def test_bntt_normalises_each_timestep_by_itself():
    norm = BNTT(6, timesteps=5)
    norm.scale[...] = jnp.arange(1.0, 31, dtype=jnp.float32).reshape(5, 6)
    axes = (1, 2, 3)
    mean, variance = X.mean(axes), X.var(axes)
    gamma = np.arange(1.0, 31).reshape(5, 6)[:4]
    expected = np.stack([gamma[t] * (X[t] - mean[t]) / np.sqrt(variance[t] + 1e-4) for t in range(4)])
    np.testing.assert_allclose(norm(jnp.asarray(X), **TRAIN), expected, rtol=1e-4, atol=1e-4)
    count = X.size // 24
    np.testing.assert_allclose(norm.mean[...], np.vstack([0.1 * mean, np.zeros((1, 6))]), rtol=1e-5)
    unbiased = 0.9 + 0.1 * variance * count / (count - 1)
    np.testing.assert_allclose(norm.variance[...], np.vstack([unbiased, np.ones((1, 6))]), rtol=1e-5)


def test_bntt_gives_a_constant_current_a_time():
    norm = BNTT(6, timesteps=4)
    norm.scale[...] = jnp.asarray([[1.0], [2.0], [3.0], [4.0]], jnp.float32) * jnp.ones((1, 6), jnp.float32)
    out = norm(jnp.asarray(X[:1]), **TRAIN)
    assert out.shape == X.shape
    np.testing.assert_allclose(out[3], 4 * out[0], rtol=1e-6)


def test_a_constant_current_counts_at_every_timestep():
    constant, repeated = BatchNorm(6), BatchNorm(6)
    one = jnp.asarray(X[:1, :, 0, 0])  # Of 3 values a channel, where it matters whether they count 4 times.
    constant(one, **TRAIN)
    repeated(jnp.repeat(one, 4, axis=0), **TRAIN)
    np.testing.assert_allclose(constant.mean[...], repeated.mean[...], rtol=1e-5)
    np.testing.assert_allclose(constant.variance[...], repeated.variance[...], rtol=1e-5)


@pytest.mark.parametrize("microbatch", [None, 2])
def test_statistics_of_an_image_are_those_of_its_frames(microbatch):
    data = few_digits(16)
    images, tests = np.float32(data.train_images) / 16, np.float32(data.test_images) / 16
    config = TrainConfig(
        epochs=1, timesteps=4, batch_size=4, optimizer="sgd", learning_rate=1e-6, microbatch=microbatch
    )
    found = []
    for timed in (False, True):
        x, held = ((np.repeat(a[:, None], 4, axis=1) if timed else a) for a in (images, tests))
        split = Dataset("few", x, data.train_labels, held, data.test_labels, 10, timed=timed)
        net = dense(norm=BatchNorm, encoding=Frames() if timed else Direct())
        fit(net, split, config)
        found.append(net.layers[0].norm)
    np.testing.assert_allclose(found[0].mean[...], found[1].mean[...], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[0].variance[...], found[1].variance[...], rtol=1e-4)


def test_bntt_refuses_more_timesteps_than_it_has():
    with pytest.raises(ValueError, match="BNTT has 3 timesteps and was run for 4"):
        BNTT(6, timesteps=3)(jnp.asarray(X), **EVAL)
    with pytest.raises(ValueError, match="BNTT has 3 timesteps and was run for 5"):
        bntt_network()(IMAGES, timesteps=5, chunk=2, remat=True)


def bntt_network(norm=partial(BNTT, timesteps=3)):
    return vgg(((3, "P", 4), (5,)), image_size=4, in_channels=1, norm=norm, rngs=nnx.Rngs(0))


IMAGES = jax.random.uniform(jax.random.key(0), (8, 4, 4, 1), jnp.float32)


@pytest.mark.parametrize(("chunk", "remat"), [(1, False), (2, False), (1, True), (2, True)])
def test_bntt_trains_in_chunks_as_in_one(chunk, remat):
    whole, parts = bntt_network(), bntt_network()
    expected = nnx.jit(lambda net: net(IMAGES, timesteps=3, training=True)[0])(whole)
    run = nnx.jit(lambda net: net(IMAGES, timesteps=3, training=True, chunk=chunk, remat=remat)[0])
    logits = run(parts)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(jax.tree.leaves(nnx.state(whole)), jax.tree.leaves(nnx.state(parts)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_statistics_over_time_refuse_chunks_in_training_only():
    network = bntt_network(BatchNorm)
    with pytest.raises(ValueError, match="statistics over all 3 timesteps"):
        network(IMAGES, timesteps=3, chunk=1, training=True)
    whole, chunked = (
        nnx.jit(lambda network, chunk=chunk: network(IMAGES, timesteps=3, chunk=chunk)[0])(network)
        for chunk in (None, 1)
    )
    np.testing.assert_allclose(chunked, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("means_only", [False, True])
def test_adaptation_moves_statistics_and_nothing_else(means_only):
    network = bntt_network()
    weights = jax.tree.map(np.asarray, nnx.state(network, nnx.Param))
    first = network.layers[0]
    adapt_statistics(network, IMAGES, timesteps=3, batch_size=4, means_only=means_only)
    for a, b in zip(jax.tree.leaves(weights), jax.tree.leaves(nnx.state(network, nnx.Param)), strict=True):
        np.testing.assert_array_equal(a, b)
    # The first layer's currents do not depend on statistics, so two batches average by hand.
    current = np.asarray(first.synapse(IMAGES[None]))[0].reshape(2, -1, 3)
    mean, variance = np.zeros(3), np.ones(3)
    for batch in current:
        mean = 0.9 * mean + 0.1 * batch.mean(0)
        variance = 0.9 * variance + 0.1 * batch.var(0, ddof=1)
    np.testing.assert_allclose(first.norm.mean[...], np.tile(mean, (3, 1)), rtol=1e-4, atol=1e-6)
    expected = np.ones(3) if means_only else variance
    np.testing.assert_allclose(first.norm.variance[...], np.tile(expected, (3, 1)), rtol=1e-4)


def test_adaptation_says_when_there_is_nothing_to_do():
    with pytest.raises(ValueError, match="no normalisation layer"):
        adapt_statistics(mlp(in_features=16, rngs=nnx.Rngs(0)), IMAGES, timesteps=1, batch_size=4)
    with pytest.raises(ValueError, match="at least one batch of 64 images, got 8"):
        adapt_statistics(bntt_network(), IMAGES, timesteps=3)
