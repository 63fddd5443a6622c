"""Quantisers against their formulas, their straight-through gradients, and MINT."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
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
from jaxsnn.learning.training import TrainConfig, fit
from jaxsnn.models.resnet import resnet
from jaxsnn.models.vgg import vgg
from tests.jaxsnn.test_training import few_digits

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


def test_mints_membrane_has_few_levels():
    quantizer = MintQuantizer(2, alpha=0.9)
    neuron = MintLIF(quantizer)
    u = np.zeros(50)
    state = neuron.initial_state((50,), jnp.float64)
    for t in range(4):
        current = np.random.default_rng(t).normal(0.3, 0.5, 50)
        out, state = neuron(jnp.asarray(current), state)
        u = np.asarray(quantizer(jnp.asarray(0.5 * u + current)))
        np.testing.assert_array_equal(out, u > 0.5)
        u = np.where(u > 0.5, 0.0, u)
        np.testing.assert_allclose(state, u, atol=1e-12)
    assert len(np.unique(np.round(np.asarray(state), 6))) <= 3


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


def test_training_sees_quantised_kernels():
    data = few_digits()
    config = TrainConfig(epochs=1, timesteps=1, batch_size=96)
    coarse = fit(small(), data, config, transform=quantized(quantize_uniform, 2))
    fine = fit(small(), data, config, transform=quantized(quantize_uniform, 12))
    plain = fit(small(), data, config)
    assert abs(fine.history[0].loss - plain.history[0].loss) < 1e-2
    assert abs(coarse.history[0].loss - plain.history[0].loss) > 1e-4


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
    residual = resnet(((2, 1),), stem=2, norm=None, image_size=4, in_channels=1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="a Residual cannot be quantised"):
        to_mint(residual, 4)
