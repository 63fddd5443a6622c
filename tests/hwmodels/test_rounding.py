"""Straight-through rounding: exact forward, the slope of what was rounded backward, the dtype kept."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import rounding


@given(st.floats(-1e6, 1e6))
def test_numbers_and_arrays_round_alike(x):
    for function, exact in (
        (rounding.ceil, math.ceil),
        (rounding.floor, math.floor),
        (rounding.round_half_even, round),
    ):
        assert function(x) == exact(x)
        assert isinstance(function(x), int)
        assert float(function(jnp.asarray(x))) == exact(x)


@pytest.mark.parametrize(
    "function", [rounding.ceil, rounding.floor, rounding.round_half_even, rounding.rounded]
)
def test_every_derivative_is_that_of_the_unrounded_number(function):
    def cube(x):
        return function(x) ** 3

    x = jnp.asarray(2.3)
    whole = float(function(x))
    assert jax.jit(jax.grad(cube))(x) == 3 * whole**2
    # The rounded number in the first derivative has a slope again.
    assert jax.grad(jax.grad(cube))(x) == 6 * whole


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16, jnp.float64])
def test_rounded_keeps_the_dtype(dtype):
    x = jnp.asarray([-1.5, -0.4, 0.5, 2.5, 2.6], dtype)
    for out in (rounding.rounded(x), jax.jit(rounding.rounded)(x), jax.vmap(rounding.rounded)(x)):
        assert out.dtype == dtype
        assert np.array_equal(np.asarray(out, np.float64), [-2, 0, 0, 2, 3])
    slope = jax.grad(lambda x: rounding.rounded(x).sum())(x)
    assert slope.dtype == dtype
    assert np.all(np.asarray(slope, np.float64) == 1)


def test_the_derivative_of_the_largest_is_that_of_one_element():
    x = jnp.asarray([[1.0, 4.0], [4.0, -5.0]])
    assert float(rounding.largest(x)) == 4
    np.testing.assert_array_equal(jax.jit(jax.grad(rounding.largest))(x), [[0, 1], [0, 0]])
    assert np.isnan(rounding.largest(x.at[1, 1].set(jnp.nan)))


def test_the_slope_of_a_clipped_number_at_the_ends_is_that_between_them():
    x = jnp.asarray([-1.5, -1.0, 0.0, 1.0, 1.5])
    np.testing.assert_array_equal(rounding.clipped(x, -1, 1), jnp.clip(x, -1, 1))
    np.testing.assert_array_equal(jax.grad(lambda x: rounding.clipped(x, -1, 1).sum())(x), [0, 1, 1, 1, 0])
    assert jnp.isnan(rounding.clipped(jnp.asarray(jnp.nan), 0, 1))
    assert [rounding.clipped(x, 0, 1) for x in (-1, 0.5, 2)] == [0, 0.5, 1]


@pytest.mark.parametrize(("a", "b"), [(64, 64), (65, 64), (4.3, 4), (8.4, 4), (8.0, 4), (65, 32.5)])
def test_a_quotient_is_the_same_number_under_a_trace(a, b):
    assert jax.jit(rounding.ceil_divide)(a, b) == rounding.ceil_divide(a, b)
    if a == round(a) and b == round(b):
        assert rounding.ceil_divide(a, b) == math.ceil(a / b)
