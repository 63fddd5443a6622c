"""The lumped model of a tile: exact without wires, exact where it was expanded, near the exact derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Wires, effective_conductance
from hwmodels.crossbar.expansion import Reused
from hwmodels.crossbar.lumped import Lumped, lumped_conductance
from tests.helpers import finite_difference
from tests.hwmodels.crossbar.nodal import nodal

KEYS = jax.random.split(jax.random.key(0), 3)
G = jax.random.uniform(KEYS[0], (1, 5, 4), jnp.float64, 5e-6, 5e-5)
# As large beside so few devices as the paper's are beside 64.
WIRES = (1e4, 50.0, 100.0, 1e4)
MODEL, EXPAND, KEEP = jax.jit(lumped_conductance), jax.jit(Lumped.at), jax.jit(Reused.at)


@pytest.mark.parametrize("wires", [(1e3, 0.0, 0.0, 2e3), (0.0, 0.0, 0.0, 1e3), (0.0, 0.0, 0.0, 0.0)])
def test_without_wires_inside_the_model_is_the_circuit(wires):
    np.testing.assert_allclose(MODEL(G, Wires(*wires))[0], nodal(G[0], *wires), rtol=1e-9)


def test_it_is_exact_where_it_was_expanded_and_open_devices_stay_open():
    opened = G.at[:, 3].set(0.0)
    expansion = EXPAND(opened, Wires(*WIRES))
    found = expansion(opened, Wires(*WIRES))
    np.testing.assert_allclose(found[0], nodal(opened[0], *WIRES), rtol=1e-9, atol=1e-20)
    assert float(jnp.abs(found[:, 3]).max()) == 0
    assert bool(jnp.isfinite(expansion(G, Wires(*WIRES))).all())
    assert float(jnp.abs(EXPAND(0 * G, Wires(*WIRES))(0 * G, Wires(*WIRES))).max()) == 0


@pytest.mark.parametrize("cut", range(4))
def test_what_an_infinite_resistance_cuts_off_is_nothing(cut):
    wires = Wires(*(np.inf if index == cut else ohm for index, ohm in enumerate(WIRES)))
    expansion = EXPAND(G, wires)
    exact = jax.jit(effective_conductance)(G, wires)
    assert bool(jnp.any(exact > 0)) == (cut in (1, 2))
    np.testing.assert_allclose(expansion(G, wires), exact, rtol=1e-9, atol=1e-20)
    assert bool(jnp.isfinite(jax.grad(lambda G: jnp.sum(expansion(G, wires)))(G)).all())


def test_its_derivative_is_that_of_its_value():
    expansion = EXPAND(G, Wires(*WIRES))
    weight = jax.random.normal(KEYS[1], G.shape, jnp.float64)

    @jax.jit
    def value(levels):
        return jnp.sum(weight * expansion(levels * 1e-5, Wires(*WIRES))) * 1e5

    at = G * 1e5
    np.testing.assert_allclose(jax.grad(value)(at), finite_difference(value, at), rtol=1e-6)


def test_it_is_nearer_to_the_circuit_than_kept_attenuations():
    """On devices drawn anew: values, and gradients of a random loss by central differences of the circuit."""
    drawn = G * (1 + 0.1 * jax.random.normal(KEYS[1], G.shape, jnp.float64))
    cotangent = np.asarray(jax.random.normal(KEYS[2], G.shape, jnp.float64))
    exact = nodal(drawn[0], *WIRES)
    slope = finite_difference(lambda held: np.sum(cotangent[0] * nodal(held, *WIRES)), drawn[0], step=1e-4)
    errors = {}
    for expand in (KEEP, EXPAND):
        expansion = expand(G, Wires(*WIRES))
        value, pull = jax.vjp(lambda held, expansion=expansion: expansion(held, Wires(*WIRES)), drawn)
        pairs = ((value[0], exact), (pull(jnp.asarray(cotangent))[0][0], slope))
        errors[expand] = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]
    for lumped, kept in zip(errors[EXPAND], errors[KEEP], strict=True):
        assert lumped < kept / 3
