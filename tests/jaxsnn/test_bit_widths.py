"""Learnt bit widths: whole numbers in range, gradients to the task and to the cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.learning.bit_widths import LearntBits, with_learnt_bits
from jaxsnn.learning.quantization import quantize_uniform
from jaxsnn.models.mlp import mlp
from tests.helpers import finite_difference

KERNEL = jax.random.normal(jax.random.key(0), (6, 5), jnp.float64)


@pytest.mark.parametrize("bits", range(2, 9))
def test_it_starts_at_its_bits_and_quantises_as_the_fixed_rule(bits):
    quantizer = LearntBits(bits)
    assert float(quantizer.bits) == bits
    np.testing.assert_allclose(quantizer(KERNEL), quantize_uniform(KERNEL, bits), rtol=1e-12)
    assert len(np.unique(np.round(quantizer(KERNEL) / jnp.abs(KERNEL).max(), 12))) <= 2**bits - 1


@pytest.mark.parametrize("raw", [-1e3, -0.1, 0.0, 0.1, 1e3])
def test_bits_are_whole_and_in_range_wherever_the_parameter_goes(raw):
    quantizer = LearntBits(4, least=3, most=6)
    quantizer.raw[...] = jnp.float64(raw)
    bits = float(quantizer.bits)
    assert bits == round(bits)
    assert 3 <= bits <= 6
    assert raw < 0 or bits >= 4
    assert raw > 0 or bits <= 5


def test_the_gradient_is_that_of_the_step_size_with_its_rounded_codes():
    """∂w_q/∂s = round(w/s) − w/s, times the slopes of s in b and of b in its parameter."""
    weights = np.asarray(KERNEL)

    def quantised(raw):
        quantizer = LearntBits(5)
        quantizer.raw[...] = raw
        return jnp.sum(quantizer(KERNEL) * jnp.cos(KERNEL))

    raw = LearntBits(5).raw[...]
    step = np.abs(weights).max() / (2**4 - 1)
    residue = np.round(weights / step) - weights / step
    slope_of_step = float(finite_difference(lambda b: np.abs(weights).max() / (2 ** (b - 1) - 1), 5.0))
    share = 1 / (1 + np.exp(-20 * float(raw)))
    slope_of_bits = 20 * 7 * share * (1 - share)
    expected = (residue * np.cos(weights)).sum() * slope_of_step * slope_of_bits
    np.testing.assert_allclose(jax.grad(quantised)(raw), expected, rtol=1e-6)


def test_every_layer_has_bits_of_its_own_and_says_so():
    network = with_learnt_bits(mlp((5,), in_features=16, rngs=nnx.Rngs(0)), lambda: LearntBits(4))
    network.layers[1].synapse.quantizer.raw[...] = jnp.float64(10)
    _, record = network(jnp.ones((2, 4, 4, 1), jnp.float32), timesteps=2)
    assert [float(layer.weight_bits) for layer in record] == [4, 8]
    with pytest.raises(ValueError, match="quantised already"):
        with_learnt_bits(network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 9}, "bits must lie in least … most"),
        ({"bits": 1, "least": 1}, "bits must lie in least … most"),
        ({"bits": 4, "gain": 0.0}, "gain must be positive, got 0.0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LearntBits(**options)
