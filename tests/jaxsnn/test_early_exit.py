"""DT-SNN: entropy, exits, and the steps that are truly saved."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.encoding import Poisson
from jaxsnn.learning.early_exit import (
    accuracy_curve,
    normalized_entropy,
    run_until_sure,
    soft_exit_fractions,
)
from jaxsnn.models.mlp import mlp
from jaxsnn.models.vgg import vgg
from jaxsnn.normalization import BNTT
from tests.helpers import finite_difference


def network(**options):
    return mlp((20,), in_features=16, classes=4, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)


IMAGES = jax.random.uniform(jax.random.key(0), (30, 4, 4, 1), jnp.float64) * 2


def test_entropy_is_one_for_ignorance_and_zero_for_certainty():
    logits = jnp.asarray([[0.0, 0.0, 0.0], [200.0, 0.0, 0.0], [1.0, 0.0, -1.0]])
    p = np.exp([1.0, 0.0, -1.0]) / np.exp([1.0, 0.0, -1.0]).sum()
    expected = [1.0, 0.0, -(p * np.log(p)).sum() / np.log(3)]
    np.testing.assert_allclose(normalized_entropy(logits), expected, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"encoding": Poisson()}])
def test_each_image_leaves_at_its_first_sure_step(options):
    net, key, T = network(**options), jax.random.key(3), 6
    outputs, _ = net.outputs(IMAGES, timesteps=T, key=jax.random.fold_in(key, 0))
    entropy = np.asarray(normalized_entropy(outputs))
    threshold = float(np.quantile(entropy.min(0), 0.6))
    result = run_until_sure(net, IMAGES, timesteps=T, entropy=threshold, key=key)
    sure = entropy < threshold
    expected = np.where(sure.any(0), sure.argmax(0) + 1, T)
    assert len(set(expected)) > 2
    np.testing.assert_array_equal(result.timesteps, expected)
    np.testing.assert_allclose(
        result.logits, np.asarray(outputs)[expected - 1, np.arange(30)], rtol=1e-10, atol=1e-12
    )
    np.testing.assert_array_equal(result.histogram(T), [(expected == t).sum() for t in range(1, T + 1)])
    assert result.mean_timesteps == expected.mean()


def test_a_batch_that_has_left_is_not_computed_further():
    net = network()
    outputs, _ = net.outputs(IMAGES, timesteps=5)
    entropy = np.asarray(normalized_entropy(outputs))
    order = np.argsort(entropy[1])  # the surest after two steps come first
    threshold = float(entropy[1][order[9]]) * (1 + 1e-9)
    result = run_until_sure(net, IMAGES[order], timesteps=5, entropy=threshold, batch_size=10)
    assert result.steps_computed[0] <= 2
    assert result.steps_computed[2] == 5
    assert run_until_sure(net, IMAGES, timesteps=5, entropy=0.0).steps_computed == (5,)
    assert run_until_sure(net, IMAGES, timesteps=5, entropy=1.0).mean_timesteps < 5


def test_the_curve_agrees_with_running():
    net = network()
    outputs, _ = net.outputs(IMAGES, timesteps=5)
    labels = np.arange(30) % 4
    thresholds = [0.0, float(np.median(normalized_entropy(outputs)[1])), 1.0]
    curve = accuracy_curve(outputs, labels, thresholds)
    for (threshold, mean, accuracy), entropy in zip(curve, thresholds, strict=True):
        result = run_until_sure(net, IMAGES, timesteps=5, entropy=entropy)
        assert threshold == entropy
        assert mean == pytest.approx(result.mean_timesteps)
        assert accuracy == pytest.approx(np.mean(result.logits.argmax(-1) == labels))
    assert curve[0][1] == 5.0


def test_a_network_is_not_run_past_the_timesteps_it_has_parameters_for():
    norm = partial(BNTT, timesteps=2)
    net = vgg(((2, "P"), (4,)), image_size=4, in_channels=1, norm=norm, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="BNTT has 2 timesteps and was run for 6"):
        run_until_sure(net, IMAGES, timesteps=6, entropy=0.0)
    assert run_until_sure(net, IMAGES, timesteps=2, entropy=0.0).steps_computed == (2,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timesteps": 0}, "timesteps must be at least 1"),
        ({"entropy": 1.5}, r"entropy threshold lies in \[0, 1\]"),
        ({"images": IMAGES[:0]}, "needs images, got none"),
    ],
)
def test_bad_options_are_named(change, message):
    arguments = {"images": IMAGES, "timesteps": 2, "entropy": 0.5} | change
    with pytest.raises(ValueError, match=message):
        run_until_sure(network(), arguments.pop("images"), **arguments)


def test_soft_exits_are_the_hard_ones_in_the_sharp_limit():
    net, T = network(), 6
    outputs, _ = net.outputs(IMAGES, timesteps=T)
    threshold = float(np.quantile(np.asarray(normalized_entropy(outputs)).min(0), 0.6))
    hard = run_until_sure(net, IMAGES, timesteps=T, entropy=threshold)
    soft = soft_exit_fractions(outputs, entropy=threshold, temperature=1e-9)
    np.testing.assert_allclose(soft, hard.histogram(T) / 30, atol=1e-12)
    assert 1 < float(soft @ jnp.arange(1.0, T + 1)) < T


@pytest.mark.parametrize("temperature", [1e-6, 0.05, 10.0])
@pytest.mark.parametrize("entropy", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("T", [1, 4])
def test_soft_exits_are_fractions_and_differentiate(T, entropy, temperature):
    outputs = 3 * jax.random.normal(jax.random.key(4), (T, 3, 4), jnp.float64)

    def expected_timesteps(outputs):
        fractions = soft_exit_fractions(outputs, entropy=entropy, temperature=temperature)
        return fractions @ jnp.arange(1.0, T + 1)

    fractions = soft_exit_fractions(outputs, entropy=entropy, temperature=temperature)
    np.testing.assert_allclose(fractions.sum(), 1, rtol=1e-12)
    assert (fractions >= 0).all()
    assert 1 <= float(expected_timesteps(outputs)) <= T
    gradient = jax.grad(expected_timesteps)(outputs)
    assert np.isfinite(gradient).all()
    if temperature >= 0.05:
        expected = finite_difference(jax.jit(expected_timesteps), outputs)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"entropy": 1.5, "temperature": 0.1}, "the entropy threshold lies in"),
        ({"entropy": 0.5, "temperature": 0.0}, "temperature of soft exits must be positive, got 0.0"),
    ],
)
def test_soft_exits_refuse_what_is_no_threshold(options, message):
    with pytest.raises(ValueError, match=message):
        soft_exit_fractions(jnp.zeros((2, 3, 4)), **options)


@pytest.mark.parametrize("shape", [(2, 0, 4), (2, 3, 1)])
def test_soft_exits_refuse_outputs_that_decide_nothing(shape):
    with pytest.raises(ValueError, match="at least one input and two classes"):
        soft_exit_fractions(jnp.zeros(shape), entropy=0.5, temperature=0.1)
