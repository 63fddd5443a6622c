"""Direct and Poisson encoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnn.encoding import Direct, Poisson

IMAGES = jnp.asarray([[0.0, 0.2, -0.5, 1.0, 1.7]])


def test_direct_is_the_image_once():
    signal = Direct()(IMAGES, start=0, steps=7, key=None)
    assert (signal.steps, signal.constant, signal.analog) == (7, True, True)
    np.testing.assert_array_equal(signal.values[0], IMAGES)


@pytest.mark.parametrize(("gain", "rates"), [(1.0, [0, 0.2, -0.5, 1, 1]), (0.5, [0, 0.1, -0.25, 0.5, 0.85])])
def test_poisson_fires_with_the_pixels_probability_and_sign(gain, rates):
    steps = 20_000
    signal = Poisson(gain)(IMAGES, start=0, steps=steps, key=jax.random.key(0))
    values = np.asarray(signal.values)[:, 0]
    assert set(np.unique(values)) <= {-1.0, 0.0, 1.0}
    assert not signal.constant
    error = 5 * np.sqrt(0.25 / steps)  # five standard deviations of the worst case
    np.testing.assert_allclose(values.mean(0), rates, atol=error)


def test_poisson_does_not_depend_on_how_time_is_cut():
    key = jax.random.key(3)
    whole = Poisson()(IMAGES, start=0, steps=9, key=key).values
    parts = [Poisson()(IMAGES, start=s, steps=3, key=key).values for s in (0, 3, 6)]
    np.testing.assert_array_equal(whole, jnp.concatenate(parts))


def test_steps_are_independent():
    values = np.asarray(Poisson()(jnp.full((1, 4000), 0.5), start=0, steps=2, key=jax.random.key(1)).values)
    assert abs(np.corrcoef(values[0, 0], values[1, 0])[0, 1]) < 0.08


def test_poisson_asks_for_a_key_and_a_positive_gain():
    with pytest.raises(ValueError, match="needs a key"):
        Poisson()(IMAGES, start=0, steps=2, key=None)
    with pytest.raises(ValueError, match="gain of Poisson encoding must be positive"):
        Poisson(-1.0)
