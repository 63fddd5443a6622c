"""Learnt and shared membranes against NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.composite import SharedMembrane
from jaxsnn.layers import Block, Conv
from jaxsnn.models.vgg import vgg
from jaxsnn.neuron import LIF, Integration, ParametricLIF, Reset, SharedLIF
from jaxsnn.normalization import BatchNorm
from jaxsnn.signal import Signal
from tests.helpers import finite_difference

X = np.random.default_rng(1).normal(0.9, 1.2, (5, 2, 3, 6))


def test_channel_groups_take_turns_on_one_membrane():
    neuron = SharedLIF(3, leak=0.6, threshold=0.5, integration=Integration.AVERAGE)
    state = neuron.initial_state(X.shape[1:], jnp.float64)
    assert state.shape == (2, 3, 2)
    u, total = np.zeros((2, 3, 2)), 0
    for t in range(5):
        out, state = neuron(jnp.asarray(X[t]), state)
        for k in range(3):
            u = 0.6 * u + 0.4 * X[t, ..., 2 * k : 2 * k + 2]
            spikes = u > 0.5
            u = np.where(spikes, 0, u)
            np.testing.assert_array_equal(out[..., 2 * k : 2 * k + 2], spikes)
            total += spikes.sum()
    np.testing.assert_allclose(state, u, rtol=1e-12)
    assert total > 0


def test_one_group_is_plain_lif():
    plain, shared = LIF(leak=0.6), SharedLIF(1, leak=0.6)
    state = plain.initial_state(X.shape[1:], jnp.float64)
    a, b = plain(jnp.asarray(X[0]), state), shared(jnp.asarray(X[0]), state)
    np.testing.assert_array_equal(a[0], b[0])


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="4 groups do not divide 6 channels"):
        SharedLIF(4).initial_state((1, 6))
    with pytest.raises(ValueError, match="groups must be at least 1"):
        SharedLIF(0)


@pytest.mark.parametrize("constant", [False, True])
def test_layers_take_turns_on_one_membrane(constant):
    blocks = [
        Block(f"conv{i}", Conv(2, 2, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(i)), LIF(leak=0.8))
        for i in range(3)
    ]
    x = jax.random.normal(jax.random.key(0), (1 if constant else 4, 2, 5, 5, 2), jnp.float64)
    signal = Signal(values=x, steps=4, analog=False)
    out, state, records = SharedMembrane(blocks)(signal, None, start=0)
    u = np.zeros((2, 5, 5, 2))
    for t in range(4):
        spikes = x[0 if constant else t]
        for block in blocks:
            u = 0.8 * u + np.asarray(block.synapse(jnp.asarray(spikes)[None])[0])
            spikes = (u > 1).astype(float)
            u = np.where(spikes == 1, 0, u)
        np.testing.assert_array_equal(out.values[t], spikes)
    np.testing.assert_allclose(state, u, rtol=1e-10)
    assert [record.name for record in records] == ["conv0", "conv1", "conv2"]
    assert 0 < float(out.values.mean()) < 1


def test_a_shared_network_runs_in_chunks_and_trains():
    options = {"image_size": 4, "in_channels": 1, "shared": [(2, 3)], "param_dtype": jnp.float64}
    network = vgg(((2, 3, 3, "P"), (4,)), rngs=nnx.Rngs(0), **options)
    images = jax.random.uniform(jax.random.key(1), (2, 4, 4, 1), jnp.float64) * 2
    whole, record = nnx.jit(lambda net: net(images, timesteps=3))(network)
    parts, _ = nnx.jit(lambda net: net(images, timesteps=3, chunk=1))(network)
    np.testing.assert_allclose(parts, whole, rtol=1e-12)
    assert [layer.name for layer in record] == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    graphdef, params = nnx.split(network)

    def loss(params):
        return jnp.sum(nnx.merge(graphdef, params)(images, timesteps=3)[0] ** 2)

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_shared_membrane_needs_equal_shapes():
    blocks = [
        Block("a", Conv(1, 2, rngs=nnx.Rngs(0)), LIF()),
        Block("b", Conv(2, 3, rngs=nnx.Rngs(0)), LIF()),
    ]
    signal = Signal(values=jnp.ones((1, 1, 4, 4, 1), jnp.float32), steps=1, analog=False)
    with pytest.raises(ValueError, match=r"'b' cannot share a membrane of shape \(4, 4, 2\)"):
        SharedMembrane(blocks)(signal, None, start=0)
    with pytest.raises(ValueError, match="at least two layers, got 1"):
        SharedMembrane(blocks[:1])
    normed = Block("c", Conv(2, 2, rngs=nnx.Rngs(0)), LIF(), norm=BatchNorm(2))
    with pytest.raises(ValueError, match="cannot take statistics over time"):
        SharedMembrane([normed, normed])
    pooled = Block("c", Conv(2, 2, rngs=nnx.Rngs(0)), LIF(), pool=2)
    with pytest.raises(ValueError, match="only the last"):
        SharedMembrane([pooled, pooled])


@pytest.mark.parametrize(("learn_leak", "learn_threshold"), [(True, True), (True, False), (False, True)])
def test_a_parametric_neuron_starts_as_the_plain_one(learn_leak, learn_threshold):
    neuron = ParametricLIF(leak=0.3, threshold=0.7, learn_leak=learn_leak, learn_threshold=learn_threshold)
    plain = LIF(leak=0.3, threshold=0.7)
    assert len(jax.tree.leaves(nnx.state(neuron))) == learn_leak + learn_threshold
    a = b = plain.initial_state(X.shape[1:], jnp.float64)
    for current in jnp.asarray(X):
        (out, a), (expected, b) = neuron(current, a), plain(current, b)
        np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_leak_gets_its_gradient():
    """Below threshold the potential is smooth in the leak: λ·I1 + I2 with λ = sigmoid(a)."""
    graphdef, params = nnx.split(ParametricLIF(leak=0.3, threshold=5.0, learn_threshold=False))

    def potential(logit):
        neuron = nnx.merge(graphdef, jax.tree.map(lambda _: logit, params))
        _, state = neuron(jnp.asarray([1.2]), jnp.asarray([0.0]))
        return neuron(jnp.asarray([0.4]), state)[1][0]

    logit = jnp.asarray(-0.8)
    expected = finite_difference(lambda x: potential(jnp.asarray(x)), -0.8)
    np.testing.assert_allclose(jax.grad(potential)(logit), expected, rtol=1e-7)


@pytest.mark.parametrize("reset", list(Reset))
def test_the_threshold_gets_its_gradient(monkeypatch, reset):
    """With a smooth spike in place of the step, through softplus, the spikes and every reset."""
    monkeypatch.setattr("jaxsnn.neuron.spike", lambda u, threshold, _: jax.nn.sigmoid(3 * (u - threshold)))
    options = {"leak": 0.3, "threshold": 0.7, "learn_leak": False, "detach_reset": False}
    graphdef, params = nnx.split(ParametricLIF(reset=reset, **options))

    def outputs(raw):
        neuron = nnx.merge(graphdef, jax.tree.map(lambda _: raw, params))
        state, total = neuron.initial_state(X.shape[1:], jnp.float64), 0.0
        for current in jnp.asarray(X):
            out, state = neuron(current, state)
            total += jnp.sum(jnp.sin(out + state))
        return total

    expected = finite_difference(lambda raw: outputs(jnp.asarray(raw)), 0.4)
    np.testing.assert_allclose(jax.grad(outputs)(jnp.asarray(0.4)), expected, rtol=1e-7)


def test_the_thresholds_gradient_uses_the_surrogate():
    """One step by hand: o = step(I − θ) with θ = softplus(b), so ∂o/∂b = −surrogate·σ(b)."""
    graphdef, params = nnx.split(ParametricLIF(leak=0.3, threshold=0.7, learn_leak=False))
    raw, currents = 0.4, np.array([0.2, 0.9, 1.1, 2.5])

    def spikes(raw):
        neuron = nnx.merge(graphdef, jax.tree.map(lambda _: raw, params))
        return jnp.sum(neuron(jnp.asarray(currents), jnp.zeros(4))[0])

    threshold = np.log1p(np.exp(raw))
    slope = np.maximum(0, 1 - np.abs(currents - threshold) / threshold).sum()
    np.testing.assert_allclose(jax.grad(spikes)(jnp.asarray(raw)), -slope / (1 + np.exp(-raw)), rtol=1e-12)


def test_a_learnt_leak_cannot_start_at_an_end():
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        ParametricLIF(leak=1.0)
