"""Node voltages, currents and power against Kirchhoff's and Ohm's laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Wires, effective_conductance, operating_point

PAPER = (1e3, 5.0, 10.0, 1e3)
RNG = np.random.default_rng(0)
G = jnp.asarray(RNG.uniform(1 / 200e3, 1 / 20e3, (9, 6)))
VOLTAGES = jnp.asarray(RNG.uniform(-1, 1, (4, 9)))
solve = jax.jit(lambda G, V, R: operating_point(G, V, Wires(*R)))


@pytest.mark.parametrize("resistances", [PAPER, (0.0, 0.0, 0.0, 0.0), (0.1, 50.0, 50.0, 1e4)])
def test_laws_of_kirchhoff_and_ohm(resistances):
    driver, row, column, sense = resistances
    point = solve(G, VOLTAGES, resistances)
    u, v, i = point.row_voltages, point.column_voltages, point.device_currents
    close = {"rtol": 1e-9, "atol": 1e-15}
    np.testing.assert_allclose(i, G * (u - v), **close)
    # What flows through each wire segment is what the devices beyond it draw.
    beyond = np.cumsum(i[..., ::-1], axis=-1)[..., ::-1]
    np.testing.assert_allclose(VOLTAGES - u[..., 0], driver * beyond[..., 0], **close)
    np.testing.assert_allclose(u[..., :-1] - u[..., 1:], row * beyond[..., 1:], **close)
    above = np.cumsum(i, axis=-2)
    np.testing.assert_allclose(v[..., :-1, :] - v[..., 1:, :], column * above[..., :-1, :], **close)
    np.testing.assert_allclose(v[..., -1, :], sense * above[..., -1, :], **close)
    np.testing.assert_allclose(point.output_currents, above[..., -1, :], **close)


def test_outputs_are_those_of_the_effective_conductance():
    expected = VOLTAGES @ effective_conductance(G, Wires(*PAPER))
    np.testing.assert_allclose(solve(G, VOLTAGES, PAPER).output_currents, expected, rtol=1e-11)


def test_linear():
    both, one, other = (solve(G, V, PAPER) for V in (VOLTAGES[:2] + VOLTAGES[2:], VOLTAGES[:2], VOLTAGES[2:]))
    for field in ("row_voltages", "column_voltages", "device_currents", "output_currents"):
        expected = getattr(one, field) + getattr(other, field)
        np.testing.assert_allclose(getattr(both, field), expected, rtol=1e-9, atol=1e-15)


def test_power_is_what_everything_dissipates():
    driver, row, column, sense = PAPER
    point = solve(G, VOLTAGES, PAPER)
    i = np.asarray(point.device_currents)
    beyond, above = np.cumsum(i[..., ::-1], axis=-1)[..., ::-1], np.cumsum(i, axis=-2)
    heat = driver * (beyond[..., 0] ** 2).sum(-1) + row * (beyond[..., 1:] ** 2).sum((-2, -1))
    heat += column * (above[..., :-1, :] ** 2).sum((-2, -1)) + sense * (above[..., -1, :] ** 2).sum(-1)
    np.testing.assert_allclose(point.power_w, heat + point.device_power_w.sum((-2, -1)), rtol=1e-11)


def test_power_is_monotone():
    """Rayleigh: no element can conduct better and the network take less power from its sources."""

    def power(G, R):
        return jnp.sum(operating_point(G, VOLTAGES, Wires(*R)).power_w)

    by_G, by_R = jax.jit(jax.grad(power, (0, 1)))(G, jnp.asarray(PAPER))
    assert np.all(by_G >= 0)
    assert np.all(by_R <= 0)
    base = np.asarray(solve(G, VOLTAGES, PAPER).power_w)
    for index in range(4):
        less = tuple(value / (3 if at == index else 1) for at, value in enumerate(PAPER))
        assert np.all(solve(G, VOLTAGES, less).power_w > base)
    assert np.all(solve(G.at[3, 2].mul(2), VOLTAGES, PAPER).power_w >= base)


def test_gradient_of_power_is_the_square_of_the_drop():
    """Cohn's theorem: dP/dG is the squared voltage across the device."""
    by_G = jax.grad(lambda G: operating_point(G, VOLTAGES[0], Wires(*PAPER)).power_w)(G)
    point = solve(G, VOLTAGES, PAPER)
    drop = (point.row_voltages - point.column_voltages)[0]
    np.testing.assert_allclose(by_G, drop**2, rtol=1e-9)


def test_wrong_number_of_voltages():
    with pytest.raises(Exception, match="rows"):
        operating_point(G, jnp.ones(6), Wires())
