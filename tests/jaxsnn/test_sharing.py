"""Learnt and shared membranes against NumPy loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.composite import SharedMembrane
from jaxsnn.layers import Block, Conv
from jaxsnn.models.resnet import resnet, resnet19
from jaxsnn.models.vgg import vgg, vgg5, vgg9
from jaxsnn.neuron import LIF, CubaLIF, Integration, ParametricLIF, ReLU, Reset, SharedLIF
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


def normal(key, shape, dtype):
    """Kernels from NumPy, which compiles nothing."""
    return jnp.asarray(np.random.default_rng(shape).normal(size=shape) / np.sqrt(np.prod(shape[:-1])), dtype)


def convolved(x, block):
    """A block's convolution in NumPy."""
    kernel, side = np.asarray(block.synapse.kernel[...]), block.synapse.kernel_size
    around = [(pad, pad) for pad in (0, *block.synapse.padding, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, around), side, axis=(1, 2))
    rows, columns = block.synapse.stride
    return np.einsum("bhwcij,ijco->bhwo", windows[:, ::rows, ::columns], kernel)


FLOAT64 = {"kernel_init": normal, "param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}


def test_layers_share_one_membrane_among_channel_groups_too():
    """Both sharings at once, as in the authors' code: 2 layers, 2 slices of 4 channels, one state of 2."""
    blocks = [Block(name, Conv(4, 4, **FLOAT64), SharedLIF(2, leak=0.8)) for name in ("a", "b")]
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 4, 4)) * 2
    signal = Signal(values=jnp.asarray(x), steps=3, analog=False)
    out, state, _ = nnx.jit(lambda shared: shared(signal, None, start=0))(SharedMembrane(blocks))
    u = np.zeros((2, 4, 4, 2))
    for t in range(3):
        spikes = x[t]
        for block in blocks:
            current, parts = convolved(spikes, block), []
            for k in (0, 2):
                u = 0.8 * u + current[..., k : k + 2]
                parts.append((u > 1).astype(float))
                u = np.where(parts[-1] == 1, 0, u)
            spikes = np.concatenate(parts, axis=-1)
        np.testing.assert_array_equal(out.values[t], spikes)
    np.testing.assert_allclose(state, u, rtol=1e-10, atol=1e-12)
    assert 0 < float(out.values.mean()) < 1


def test_rates_differentiate_to_the_spikes_that_enter_a_shared_membrane():
    """The first layer's input rate is the mean of the spikes, so each of them has the same share in it."""
    shared = SharedMembrane([Block(name, Conv(2, 2, **FLOAT64), LIF()) for name in ("a", "b")])
    spikes = jnp.asarray(np.random.default_rng(0).random((2, 3, 4, 4, 2)) < 0.5, jnp.float64)

    def rate(spikes):
        signal = Signal(values=spikes, steps=2, analog=False, activity=spikes)
        return shared(signal, None, start=0)[2][0].input_rate

    value, gradient = jax.jit(jax.value_and_grad(rate))(spikes)
    np.testing.assert_allclose(value, spikes.mean(), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.full(spikes.shape, 1 / spikes.size), rtol=1e-12)


def test_the_residual_blocks_of_a_stage_take_turns_on_one_membrane():
    neuron = partial(LIF, leak=0.8, threshold=0.3)
    options = {"image_size": 4, "in_channels": 1, "classes": 3, "neuron": neuron}
    network = resnet(((2, 2), (3, 1)), stem=2, norm=None, shared=True, **options, **FLOAT64)
    images = np.random.default_rng(2).uniform(0, 1, (2, 4, 4, 1))
    stem, *stages, readout = network.layers
    u, potential, rates = [0.0] * 3, 0.0, []

    def fire(which, current):
        u[which] = 0.8 * u[which] + current
        spikes = (u[which] > 0.3).astype(float)
        u[which] = np.where(spikes == 1, 0, u[which])
        rates.append(spikes.mean())
        return spikes

    for _ in range(3):
        spikes = fire(0, convolved(images, stem))
        for which, stage in enumerate(stages, start=1):
            for block in stage.blocks:
                inner = fire(which, convolved(spikes, block.first))
                shortcut = spikes if block.projection is None else convolved(spikes, block.projection)
                spikes = fire(which, convolved(inner, block.second) + shortcut)
        potential = potential + spikes.mean((1, 2)) @ np.asarray(readout.synapse.kernel[...])
    assert [len(stage.blocks) for stage in stages] == [2, 1]
    assert np.sum(np.reshape(rates, (3, -1)), axis=0).min() > 0.1
    logits, _ = nnx.jit(lambda net: net(jnp.asarray(images), timesteps=3))(network)
    np.testing.assert_allclose(logits, potential / 3, rtol=1e-10)


def potentials(make, **options):
    """How many membrane potentials a network keeps for an image, without computing anything."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: make(norm=None, rngs=nnx.Rngs(0), **options)))
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)

    def run(state, image):
        return nnx.merge(graphdef, state).advance(image, None, start=0, steps=1)[1]

    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(run, state, image)))


def test_a_shared_resnet19_keeps_one_state_per_stage():
    stages, fully = [128 * 32 * 32, 256 * 16 * 16, 512 * 8 * 8], 256 + 10
    layers = [6, 6, 4]
    assert potentials(resnet19) == stages[0] + sum(np.multiply(stages, layers)) + fully
    assert potentials(resnet19, shared=True) == stages[0] + sum(stages) + fully


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(vgg5, shared=[(2, 3)], neuron=CubaLIF),
            "'conv2': a CubaLIF has no single membrane potential",
        ),
        (partial(vgg5, shared=[(2, 3)], neuron=ReLU), "'conv2': a ReLU has no single membrane potential"),
        (partial(vgg9, shared=[(2, 3)]), "only the last of the layers that share a membrane may pool"),
        (
            partial(vgg, ((4, 4, 8), ()), shared=[(2, 3)]),
            "'conv3' cannot .* potential has 8 channels and not 4",
        ),
        (partial(resnet19, shared=True, norm=None, neuron=ReLU), "'conv2': a ReLU has no single membrane"),
        (partial(resnet19, shared=True), "cannot take statistics over time; normalise them with BNTT"),
    ],
)
def test_what_cannot_share_is_named_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0)))


def test_a_shared_membrane_needs_equal_shapes():
    blocks = [Block("a", Conv(1, 2, **FLOAT64), LIF()), Block("b", Conv(2, 3, **FLOAT64), LIF())]
    strided = Block("c", Conv(2, 2, stride=2, **FLOAT64), LIF())
    with pytest.raises(ValueError, match=r"'b' cannot share .* 'a': its potential has 3 channels and not 2"):
        SharedMembrane(blocks)
    with pytest.raises(ValueError, match=r"'c' cannot share .* 'a': its kernel, stride and padding change"):
        SharedMembrane([blocks[0], strided])
    with pytest.raises(ValueError, match="at least two layers, got 1"):
        SharedMembrane(blocks[:1])
    normed = Block("c", Conv(2, 2, **FLOAT64), LIF(), norm=BatchNorm(2))
    with pytest.raises(ValueError, match="cannot take statistics over time"):
        SharedMembrane([normed, normed])
    pooled = Block("c", Conv(2, 2, **FLOAT64), LIF(), pool=2)
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
    monkeypatch.setattr(
        "jaxsnn.neuron._lif.spike", lambda u, threshold, *_: jax.nn.sigmoid(3 * (u - threshold))
    )
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
