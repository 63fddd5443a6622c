"""The streamed quantile against NumPy's of everything at once."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnn.learning.quantile import streamed_quantile


@hypothesis.given(
    st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.integers(1, 60), elements=st.floats(-3, 3, width=32))
    ),
    st.floats(0, 1),
    st.integers(1, 60),
)
def test_it_is_numpys_however_the_numbers_are_cut(numbers, quantile, size):
    numbers = np.round(numbers, 1)  # With many ties.
    parts = [numbers[start : start + size] for start in range(0, len(numbers), size)]
    expected = np.quantile(numbers.astype(np.float64), quantile)
    np.testing.assert_allclose(streamed_quantile(lambda: parts, quantile), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float32, np.float64])
def test_far_apart_numbers_of_any_dtype(dtype):
    numbers = np.concatenate([np.geomspace(1e-30, 1e30, 999), -np.geomspace(1e-30, 1e30, 999), [0.0, -0.0]])
    numbers = np.random.default_rng(0).permutation(numbers).astype(dtype).reshape(8, 250)
    for quantile in (0.0, 0.1, 0.5, 0.77, 0.999, 1.0):
        expected = np.quantile(numbers.astype(np.float64), quantile)
        assert streamed_quantile(lambda: iter(numbers), quantile) == pytest.approx(expected, rel=1e-9)


def test_what_has_no_quantile():
    assert np.isnan(streamed_quantile(lambda: [np.array([1.0, np.nan])], 0.5))
    with pytest.raises(ValueError, match="a quantile needs numbers, got none"):
        streamed_quantile(lambda: [], 0.5)
