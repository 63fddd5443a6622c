"""The spike function and its surrogate derivatives, against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnn.surrogate import Arctan, FastSigmoid, Rectangular, Triangular, spike

U = np.array([-1.3, 0.0, 0.4, 0.74, 0.76, 1.0, 1.1, 1.26, 2.0, 3.5])

# (surrogate, derivative at u for a threshold θ), each written from its paper.
FORMULAS = [
    (Triangular(), lambda u, th: np.maximum(0, 1 - np.abs(u - th) / th)),
    (Triangular(scale=0.3), lambda u, th: 0.3 * np.maximum(0, 1 - np.abs(u / th - 1))),
    (Rectangular(width=0.5), lambda u, th: np.where(np.abs(u - th) < 0.25, 2.0, 0.0)),
    (FastSigmoid(slope=10.0), lambda u, th: (1 + 10 * np.abs(u - th)) ** -2.0),
    (Arctan(alpha=2.0), lambda u, th: 1 / (1 + (np.pi * (u - th)) ** 2)),
]


@pytest.mark.parametrize(("surrogate", "formula"), FORMULAS)
@pytest.mark.parametrize("threshold", [1.0, 0.6])
def test_backward_is_the_surrogate_and_forward_the_step(surrogate, formula, threshold):
    u = jnp.asarray(U)
    assert jnp.array_equal(spike(u, threshold, surrogate), jnp.asarray(threshold < U, float))
    gradient = jax.grad(lambda u: spike(u, threshold, surrogate).sum())(u)
    np.testing.assert_allclose(gradient, formula(U, threshold), rtol=1e-13, atol=1e-15)


def test_the_threshold_gets_the_opposite_gradient():
    u = jnp.asarray(U)
    by_u = jax.grad(lambda u: spike(u, 0.7).sum())(u)
    by_threshold = jax.grad(lambda threshold: spike(u, threshold).sum())(jnp.asarray(0.7))
    np.testing.assert_allclose(by_threshold, -by_u.sum(), rtol=1e-13)


def test_a_potential_at_the_threshold_does_not_fire():
    assert float(spike(jnp.asarray(1.0), 1.0)) == 0.0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("surrogate", "name"),
    [(Triangular, "scale"), (Rectangular, "width"), (FastSigmoid, "slope"), (Arctan, "alpha")],
)
def test_a_surrogate_of_no_size_is_refused(surrogate, name, value):
    with pytest.raises(ValueError, match=f"{name} of a {surrogate.__name__} surrogate must be positive"):
        surrogate(value)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_the_dtype_is_kept(dtype):
    u = jnp.asarray(U, dtype)
    assert spike(u, 1.0).dtype == dtype
    for surrogate, _ in FORMULAS:
        assert jax.grad(lambda u, s=surrogate: spike(u, 1.0, s).sum())(u).dtype == dtype
