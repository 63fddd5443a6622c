"""The convolution's own gradient against XLA's, over shapes, strides and paddings."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn import winograd
from jaxsnn.convolution import convolve
from jaxsnn.layers import Conv, Linear

side = st.integers(1, 3)


@hypothesis.settings(max_examples=8)
@hypothesis.given(
    kernel=st.tuples(side, side),
    stride=st.tuples(side, side),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    extra=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    channels=st.tuples(side, side),
)
def test_gradients_equal_the_stock_convolution(kernel, stride, padding, extra, channels):
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (2, kernel[0] + extra[0], kernel[1] + extra[1], channels[0]), jnp.float64)
    k = jax.random.normal(keys[1], (*kernel, *channels), jnp.float64)

    def stock(x, k):
        pads = [(p, p) for p in padding]
        return jax.lax.conv_general_dilated(x, k, stride, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    @jax.jit
    def both(x, k):
        value, pull = jax.vjp(lambda x, k: convolve(x, k, stride, padding), x, k)
        expected, stock_pull = jax.vjp(stock, x, k)
        cotangent = jnp.sin(jnp.arange(value.size, dtype=jnp.float64)).reshape(value.shape)
        return (value, *pull(cotangent)), (expected, *stock_pull(cotangent))

    for ours, theirs in zip(*both(x, k), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def _with_gradients(convolution):
    def run(x, kernel, gradient):
        value, pull = jax.vjp(convolution, x, kernel)
        return value, *pull(gradient)

    return jax.jit(run)


def _random(padding, *shape, channels):
    keys = jax.random.split(jax.random.key(1), 3)
    out = tuple(side + 2 * pad - 2 for side, pad in zip(shape[1:], padding, strict=True))
    shapes = (*shape, channels[0]), (3, 3, *channels), (shape[0], *out, channels[1])
    return [jax.random.normal(key, s, jnp.float64) for key, s in zip(keys, shapes, strict=True)]


def _stock(padding):
    pads = [(pad, pad) for pad in padding]
    return lambda x, kernel: jax.lax.conv_general_dilated(
        x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize(
    ("shape", "padding"), [((5, 7, 4), (1, 2)), ((3, 5, 8), (0, 1)), ((1, 1, 1), (1, 1)), ((4, 6, 6), (2, 1))]
)
def test_winograd_equals_the_stock_convolution_for_any_blocks(monkeypatch, shape, padding):
    """Odd and even maps, and batches that do not fill their last block."""
    monkeypatch.setattr(winograd, "_ROWS", 24)
    x, kernel, gradient = _random(padding, *shape, channels=(3, 2))

    @jax.jit
    def ours(x, kernel, gradient):
        return winograd.forward(x, kernel, padding), *winograd.backward(x, kernel, padding, gradient)

    expected = _with_gradients(_stock(padding))(x, kernel, gradient)
    for mine, stock in zip(ours(x, kernel, gradient), expected, strict=True):
        np.testing.assert_allclose(mine, stock, rtol=1e-10, atol=1e-10)


def test_wide_convolutions_in_float32_are_exact_to_rounding():
    """40 and 33 channels take Winograd's path; beside float64 it errs by the rounding of float32."""
    arrays = _random((1, 1), 8, 9, 6, channels=(40, 33))
    single = _with_gradients(lambda x, kernel: convolve(x, kernel, (1, 1), (1, 1)))(
        *(array.astype(jnp.float32) for array in arrays)
    )
    for mine, stock in zip(single, _with_gradients(_stock((1, 1)))(*arrays), strict=True):
        np.testing.assert_allclose(mine, stock, rtol=0, atol=2e-6 * np.max(np.abs(stock)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_the_gradient_keeps_its_dtype_under_vmap(dtype):
    x = jnp.ones((3, 2, 5, 5, 2), dtype)
    kernel = jnp.ones((3, 3, 2, 4), dtype)
    gradient = jax.vmap(jax.grad(lambda x, k: convolve(x, k, (1, 1), (1, 1)).sum(), 1), (0, None))(x, kernel)
    assert gradient.shape == (3, 3, 3, 2, 4)
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(np.asarray(gradient[0, 1, 1], float), 50.0)


def test_a_layers_product_can_be_replaced():
    """A chip's product takes the place of the exact one and sees x, kernel, stride and padding."""
    seen = []

    def halved(x, kernel, *geometry):
        seen.append(geometry)
        return 0.5 * (convolve(x, kernel, *geometry) if geometry else x @ kernel)

    x = jnp.ones((1, 1, 4, 4, 2), jnp.float32)
    for make in (lambda **o: Conv(2, 3, stride=2, **o), lambda **o: Linear(32, 3, **o)):
        exact, chip = make(rngs=nnx.Rngs(0)), make(rngs=nnx.Rngs(0), product=halved)
        np.testing.assert_allclose(chip(x), 0.5 * exact(x), rtol=1e-6)
    assert seen == [((2, 2), (1, 1)), ()]
