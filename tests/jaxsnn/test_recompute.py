"""Recomputed activations: the same numbers from less memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.compilation import lean_options
from jaxsnn.models.resnet import resnet, resnet19
from jaxsnn.models.vgg import vgg9
from jaxsnn.recompute import recomputed
from tests.helpers import finite_difference


def temporary_bytes(compiled):
    return compiled.memory_analysis().temp_size_in_bytes


def test_a_chain_of_functions_keeps_its_arguments_alone(as_users_compile):
    def twist(x, weights, count, key):
        for _ in range(count.shape[0]):
            x = jnp.tanh(x @ weights)
        return x + jax.random.uniform(key, dtype=x.dtype), count + 1

    def loss(weights, x, wrap):
        for key in jax.random.split(jax.random.key(0), 6):
            x, _ = wrap(twist)(x, weights, jnp.zeros(4, jnp.int32), key)
        return jnp.sum(x**2)

    # Of norm one or so, or 24 layers would blow rounding up.
    weights = jax.random.normal(jax.random.key(1), (8, 8), jnp.float64) / np.sqrt(8)
    x = jax.random.normal(jax.random.key(2), (512, 8), jnp.float64)
    plain, lean = (
        jax.jit(jax.grad(partial(loss, wrap=wrap))).lower(weights, x).compile(as_users_compile)
        for wrap in (lambda function: function, recomputed)
    )
    np.testing.assert_allclose(lean(weights, x), plain(weights, x), rtol=1e-12)
    assert temporary_bytes(lean) < 0.5 * temporary_bytes(plain)


def test_a_gradient_that_is_not_finite_stays_so():
    gradient = jax.grad(lambda x: jnp.sqrt(recomputed(jnp.sin)(x)))
    assert np.isinf(gradient(0.0))
    expected = finite_difference(lambda x: np.sqrt(np.sin(x)), 0.5)
    np.testing.assert_allclose(gradient(0.5), expected, rtol=1e-6)


def test_spikes_are_kept_in_bits(as_users_compile):
    """Nine in a row, so that a byte is not full; values of other arrays are kept as they are."""

    def pairs(spikes, x):
        return spikes * x, spikes

    def loss(x, spikes, wrap):
        for _ in range(4):
            out, again = wrap(pairs, [spikes])(spikes, x)
            assert again.shape == spikes.shape
            x = jnp.sin(out) + x * again
        return jnp.sum(x)

    x = jax.random.normal(jax.random.key(0), (2, 9), jnp.float64)
    spikes = (x > 0).astype(jnp.float64)
    for argument in (0, 1):
        expected = jax.grad(partial(loss, wrap=lambda function, _: function), argument)(x, spikes)
        np.testing.assert_allclose(
            jax.grad(partial(loss, wrap=recomputed), argument)(x, spikes), expected, rtol=1e-12, atol=1e-12
        )
    _, pull = jax.vjp(lambda spikes: recomputed(pairs, [spikes])(spikes, 2.0)[0], spikes)
    kept = [leaf for leaf in jax.tree.leaves(pull) if getattr(leaf, "dtype", None) == jnp.uint8]
    assert [leaf.shape for leaf in kept] == [(2, 2)]


def test_what_is_one_array_stays_one():
    """A layer's values are its spikes: kept twice, nothing would be won."""

    def twice(x):
        return x + 1, x + 1

    def same(x):
        y = x + 1
        return y, y

    for function in (same, twice):
        a, b = recomputed(function)(jnp.ones(3))
        assert (a is b) == (function is same)


def training_step(network, images, **unrolling):
    """The compiled gradient of a training step, and the statistics after it."""
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)

    def loss(params):
        network = nnx.merge(graphdef, params, rest, copy=True)
        logits, _ = network(images, training=True, **unrolling)
        return jnp.sum(jnp.sin(logits)), nnx.state(network, nnx.BatchStat)

    options = dict(lean_options(unrolling.get("remat", False)))  # As training steps are compiled.
    return params, jax.jit(jax.grad(loss, has_aux=True)).lower(params).compile(options)


def test_a_resnet_with_statistics_over_time_recomputes_layer_by_layer():
    """No chunk is possible here: every normalisation needs all timesteps at once."""
    network = resnet(
        ((2, 3),), stem=2, image_size=4, in_channels=1, param_dtype=jnp.float64, rngs=nnx.Rngs(0)
    )
    images = 2 * jax.random.uniform(jax.random.key(0), (16, 4, 4, 1), jnp.float64)
    params, plain = training_step(network, images, timesteps=3)
    _, lean = training_step(network, images, timesteps=3, remat=True)
    for a, b in zip(jax.tree.leaves(plain(params)), jax.tree.leaves(lean(params)), strict=True):
        assert np.any(a)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # The norm's own variables are float32.
    assert temporary_bytes(lean) < 0.75 * temporary_bytes(plain)


@pytest.mark.long
@pytest.mark.parametrize(("make", "unrolling"), [(resnet19, {}), (partial(vgg9, norm=None), {"chunk": 5})])
def test_a_hundred_timesteps_take_a_fraction_of_the_memory(make, unrolling):
    network = make(width=0.25, rngs=nnx.Rngs(0))
    images = jnp.zeros((2, 32, 32, 3), jnp.float32)
    _, plain = training_step(network, images, timesteps=100)
    _, lean = training_step(network, images, timesteps=100, remat=True, **unrolling)
    assert temporary_bytes(lean) < 0.3 * temporary_bytes(plain)
