"""Quantisers against their formulas, their straight-through gradients, and MINT."""

from functools import partial

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxsnn.learning.quantization import (
    MintLIF,
    MintQuantizer,
    quantize_spikesim,
    quantize_uniform,
    quantized,
    to_mint,
)
from jaxsnn.learning.training import TrainConfig, apply_transform, evaluate, fit
from jaxsnn.models.resnet import resnet
from jaxsnn.models.vgg import vgg
from jaxsnn.neuron import IF, LIF, CubaLIF, Integration, ParametricLIF, Reset, SharedLIF
from jaxsnn.surrogate import Arctan
from tests.jaxsnn.small_runs import few_digits

weights = hnp.arrays(np.float64, (17,), elements=st.floats(-1, 1, width=32))


@hypothesis.given(weights, st.integers(2, 8))
def test_spikesims_rule(w, bits):
    x = 2 * (np.round((w + 1) / 2 * (2**bits - 1)) / (2**bits - 1) - 0.5)
    expected = np.round(x * 2 ** (bits - 1)) / 2 ** (bits - 1)
    np.testing.assert_allclose(quantize_spikesim(jnp.asarray(w), bits), expected, atol=1e-12)


def test_spikesims_levels_leave_out_zero():
    """4 bits: the 16 integers −8 … 8 without 0, as NICE encodes them."""
    levels = np.unique(np.asarray(quantize_spikesim(jnp.linspace(-1, 1, 4001), 4)) * 8)
    np.testing.assert_allclose(levels, [k for k in range(-8, 9) if k != 0], atol=1e-9)
    np.testing.assert_allclose(quantize_spikesim(jnp.asarray([-3.0, 3.0]), 4), [-1, 1])


@hypothesis.given(weights, st.integers(2, 8))
def test_the_uniform_rule_is_odd_exact_at_its_levels_and_within_half_a_step(w, bits):
    q = np.asarray(quantize_uniform(jnp.asarray(w), bits))
    step = max(np.abs(w).max(), 1e-300) / (2 ** (bits - 1) - 1)
    assert np.abs(q - w).max() <= step / 2 * (1 + 1e-9)
    assert len(np.unique(np.round(q / step))) <= 2**bits - 1
    np.testing.assert_allclose(quantize_uniform(jnp.asarray(q), bits), q, atol=1e-12)
    np.testing.assert_allclose(quantize_uniform(jnp.asarray(-w), bits), -q, atol=1e-12)


@pytest.mark.parametrize("rule", [quantize_spikesim, quantize_uniform])
def test_gradients_go_straight_through(rule):
    w = jnp.asarray([-0.7, -0.2, 0.05, 0.6])
    np.testing.assert_allclose(
        jax.grad(lambda w: rule(w, 3) @ jnp.arange(4.0))(w), np.arange(4.0), atol=1e-12
    )


def test_mint_quantises_by_its_formula_and_learns_alpha():
    quantizer = MintQuantizer(3, alpha=0.8)
    x = jnp.asarray([-2.0, -0.4, 0.0, 0.3, 5.0])
    n, alpha = 3, float(quantizer.alpha[...])
    expected = alpha / n * np.round(n * np.clip(np.tanh(x) / alpha, -1, 1))
    np.testing.assert_allclose(quantizer(x), expected, atol=1e-12)
    graphdef, state = nnx.split(quantizer)
    gradient = jax.grad(lambda s: nnx.merge(graphdef, s)(x).sum())(state)
    # Where clipped, q = ±α; elsewhere q − tanh(x) stays as it is when α moves by rounding's residue.
    inside = np.abs(np.tanh(x)) < alpha
    by_alpha = np.where(inside, (expected - np.tanh(x)) / alpha, np.sign(x)).sum()
    np.testing.assert_allclose(jax.tree.leaves(gradient)[0], by_alpha, rtol=1e-5)


def test_the_ends_of_a_range_have_the_slope_within():
    """Where to_mint puts the greatest weight of a layer."""
    x = jnp.float32(0.7)
    quantizer = MintQuantizer(4, alpha=float(jnp.tanh(x)))
    np.testing.assert_allclose(jax.grad(quantizer)(x), 1 - jnp.tanh(x) ** 2, rtol=1e-6)
    ends = jnp.asarray([-1.0, 1.0])
    np.testing.assert_allclose(jax.grad(lambda w: quantize_spikesim(w, 3).sum())(ends), 1, atol=1e-12)


@pytest.mark.parametrize("reset", list(Reset))
@pytest.mark.parametrize("integration", list(Integration))
def test_mints_membrane_is_kept_in_few_levels(reset, integration):
    """Fire on the whole sum, reset, leak, quantise what is kept: MINT's published code."""
    quantizer = MintQuantizer(2, alpha=0.9)
    neuron = MintLIF(quantizer, leak=0.6, threshold=0.4, reset=reset, integration=integration)
    share = 0.4 if integration is Integration.AVERAGE else 1.0
    v, fired = np.zeros(50), 0.0
    state = neuron.initial_state((50,), jnp.float64)
    for t in range(5):
        current = np.random.default_rng(t).normal(0.3, 2.5, 50)
        out, state = neuron(jnp.asarray(current), state)
        u = v + share * current
        spikes = u > 0.4
        after = {Reset.ZERO: u * ~spikes, Reset.SUBTRACT: u - 0.4 * spikes, Reset.NONE: u}[reset]
        v = 0.9 * np.round(np.clip(np.tanh(0.6 * after) / 0.9, -1, 1))
        np.testing.assert_array_equal(out, spikes)
        np.testing.assert_allclose(state, v, atol=1e-7)  # α is float32.
        assert set(np.unique(np.round(v, 6))) <= {-0.9, 0.0, 0.9}
        fired += spikes.mean() / 5
    assert 0 < fired < 1
    assert np.any(v)


def small(**options):
    return vgg(((4, "P"), (16,)), image_size=8, in_channels=1, rngs=nnx.Rngs(0), **options)


def test_mint_trains_all_its_parts():
    plain = small()
    network = to_mint(plain, 4)
    images = jnp.asarray(few_digits().scale(few_digits().train_images))
    graphdef, params = nnx.split(network)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(nnx.merge(graphdef, p)(images, timesteps=3)[0] ** 2)))(
        params
    )
    leaves = jax.tree_util.tree_flatten_with_path(gradient)[0]
    alphas = [leaf for path, leaf in leaves if "alpha" in jax.tree_util.keystr(path)]
    assert len(alphas) == 3
    assert all(np.any(leaf) for _, leaf in leaves)
    assert isinstance(network.layers[0].neuron, MintLIF)
    assert not isinstance(plain.layers[0].neuron, MintLIF)
    run = nnx.jit(lambda net: net(images, timesteps=2)[0])
    logits = {bits: np.asarray(run(to_mint(plain, bits))) for bits in (2, 8)}
    assert np.abs(logits[2] - logits[8]).max() > 0


def test_mint_keeps_what_a_neuron_was_set_to():
    chosen = {
        "reset": Reset.SUBTRACT,
        "detach_reset": False,
        "integration": Integration.AVERAGE,
        "surrogate": Arctan(3.0),
    }
    neuron = to_mint(small(neuron=partial(LIF, leak=0.8, **chosen)), 4).layers[0].neuron
    assert {name: getattr(neuron, name) for name in chosen} == chosen
    assert (neuron.leak, neuron.threshold) == (0.5, 0.5)
    assert to_mint(small(neuron=partial(IF, reset=Reset.NONE)), 4).layers[0].neuron.reset is Reset.NONE


def test_mints_leak_draws_to_rest():
    """To where q(λ·v + (1 − λ)·u_rest) = v: for eight bits within a level of tanh's own fixed point."""
    neuron = MintLIF(MintQuantizer(8), rest=0.4, leak=0.5, threshold=0.9)
    state, expected = neuron.initial_state((1,), jnp.float64), 0.4
    np.testing.assert_allclose(state, np.round(127 * np.tanh(0.4)) / 127, rtol=1e-6)
    for _ in range(100):
        _, state = neuron(jnp.zeros(1), state)
        expected = np.tanh(0.5 * expected + 0.2)
    np.testing.assert_allclose(state, expected, atol=1.5 / 127)
    assert state[0] == pytest.approx(0.4, abs=0.05)


def test_mints_neurons_keep_rest_and_what_fires_at_the_threshold():
    neuron = to_mint(small(neuron=partial(LIF, rest=-0.2, inclusive=True)), 4).layers[0].neuron
    assert (neuron.rest, neuron.inclusive) == (-0.2, True)
    each = np.linspace(-0.1, 0.3, 4)
    network = small(neuron=LIF)
    network.layers[0].neuron = LIF(rest=each)
    np.testing.assert_array_equal(to_mint(network, 4).layers[0].neuron.rest[...], each)
    with pytest.raises(ValueError, match=r"layer 'conv1': its rest of 0\.6 would fire by itself"):
        to_mint(small(neuron=partial(LIF, rest=0.6)), 4)


@pytest.mark.parametrize("neuron", [partial(SharedLIF, 2), CubaLIF, ParametricLIF])
def test_mint_refuses_neurons_that_are_more_than_a_leak(neuron):
    name = getattr(neuron, "func", neuron).__name__
    with pytest.raises(ValueError, match=f"'conv1': a {name} has no counterpart in MINT; use LIF or IF"):
        to_mint(small(neuron=neuron), 4)


def test_training_sees_quantised_kernels():
    data = few_digits()
    config = TrainConfig(epochs=1, timesteps=1, batch_size=96)
    coarse = fit(small(), data, config, transform=quantized(quantize_uniform, 2))
    fine = fit(small(), data, config, transform=quantized(quantize_uniform, 12))
    plain = fit(small(), data, config)
    assert abs(fine.history[0].loss - plain.history[0].loss) < 1e-2
    assert abs(coarse.history[0].loss - plain.history[0].loss) > 1e-4


def test_the_network_of_a_quantised_training_can_be_had():
    net, data = small(), few_digits()
    transform = quantized(quantize_uniform, 3)
    result = fit(net, data, TrainConfig(epochs=1, timesteps=1, batch_size=32), transform=transform)
    before = nnx.state(net)
    coarse = apply_transform(net, transform)
    accuracy = evaluate(coarse, data.scale(data.test_images), data.test_labels, timesteps=1).accuracy
    assert accuracy == result.test_accuracy
    for layer, trained in zip(coarse.layers, net.layers, strict=True):
        np.testing.assert_array_equal(layer.synapse.kernel, quantize_uniform(trained.synapse.kernel[...], 3))
        assert len(np.unique(layer.synapse.kernel)) <= 7 < len(np.unique(trained.synapse.kernel))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(nnx.state(net)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_of_other_bits_is_refused(tmp_path):
    config = TrainConfig(epochs=1, timesteps=1, batch_size=96)

    def run(bits):
        transform = quantized(quantize_uniform, bits)
        return fit(small(), few_digits(), config, transform=transform, checkpoint_dir=tmp_path)

    run(2)
    with pytest.raises(ValueError, match=r"another run: transform was .*bits=2\).* and is .*bits=8\)"):
        run(8)
    assert run(2).resumed_epochs == 1


def test_bfloat16_gradients_point_the_same_way():
    """Products in half precision, parameters and their gradients in full."""
    data = few_digits()
    images, labels = jnp.asarray(data.scale(data.train_images)), jnp.asarray(data.train_labels, jnp.int32)

    def gradient(dtype):
        graphdef, params = nnx.split(small(dtype=dtype))

        def loss(params):
            logits, _ = nnx.merge(graphdef, params)(images, timesteps=2)
            return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

        leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(params))
        assert {leaf.dtype for leaf in [*jax.tree.leaves(params), *leaves]} == {jnp.dtype("float32")}
        return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])

    exact, half = gradient(None), gradient(jnp.bfloat16)
    lengths = np.linalg.norm(exact), np.linalg.norm(half)
    assert 0.99 < exact @ half / (lengths[0] * lengths[1]) < 1 - 1e-6
    assert lengths[1] == pytest.approx(lengths[0], rel=0.05)


def test_bfloat16_products_stay_close():
    images = jnp.asarray(few_digits().scale(few_digits().train_images))
    exact, _ = small()(images, timesteps=2)
    half, _ = small(dtype=jnp.bfloat16)(images, timesteps=2)
    assert half.dtype == jnp.float32
    difference = np.abs(np.asarray(exact - half))
    assert 0 < np.median(difference) < 0.05 * np.abs(exact).max()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="at least 2 bits, got 1"):
        quantize_uniform(jnp.ones(2), 1)
    with pytest.raises(ValueError, match="at least 2 bits"):
        MintQuantizer(0)
    for alpha in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="alpha scales a quantiser and must be positive"):
            MintQuantizer(4, alpha=alpha)
    residual = resnet(((2, 1),), stem=2, norm=None, image_size=4, in_channels=1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="a Residual cannot be quantised"):
        to_mint(residual, 4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: quantize_uniform(jnp.ones(2), 2.5),
        lambda: quantize_spikesim(jnp.ones(2), 2.5),
        lambda: quantized(quantize_uniform, 2.5),
        lambda: MintQuantizer(2.5),
    ],
)
def test_a_fraction_of_a_bit_is_refused(as_users_run, call):
    with pytest.raises(ValueError, match=r"whole number of at least 2 bits, got 2\.5"):
        call()
