"""The convolution's own gradient against XLA's, over shapes, strides and paddings."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

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
