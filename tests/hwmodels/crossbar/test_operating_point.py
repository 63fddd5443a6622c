"""Node voltages, currents and power against Kirchhoff's and Ohm's laws."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.crossbar import OperatingPoint, Wires, effective_conductance, operating_point
from tests.helpers import finite_difference
from tests.hwmodels.crossbar.nodal import nodal

PAPER = (1e3, 5.0, 10.0, 1e3)
RNG = np.random.default_rng(0)
G = jnp.asarray(RNG.uniform(1 / 200e3, 1 / 20e3, (9, 6)))
VOLTAGES = jnp.asarray(RNG.uniform(-1, 1, (4, 9)))
WEIGHTS = RNG.uniform(0.5, 1.5, 64)
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


def test_more_tiles_than_one_are_refused():
    # Past the types that these tests check and users do not.
    with pytest.raises(ValueError, match=r"of one tile, .* got \(2, .*jax.vmap"):
        inspect.unwrap(operating_point)(jnp.stack([G, G]), VOLTAGES[0], Wires())


def test_wrong_number_of_voltages():
    with pytest.raises(Exception, match="rows"):
        operating_point(G, jnp.ones(6), Wires())


FIELDS = [field.name for field in dataclasses.fields(OperatingPoint)]


def test_slopes_of_every_field():
    """To conductances, inputs and wires, each field weighted so that no element drops out."""
    rng = np.random.default_rng(1)

    @jax.jit
    def values(at):
        point = operating_point(at[:12].reshape(4, 3) * 1e-5, at[12:16], Wires(*at[16:]))
        fields = [getattr(point, name) for name in FIELDS]
        scales = [1.0 if name.endswith("voltages") else 1e4 for name in FIELDS]
        return jnp.stack(
            [
                scale * jnp.sum(field * WEIGHTS[: field.size].reshape(field.shape))
                for scale, field in zip(scales, fields, strict=True)
            ]
        )

    at = np.concatenate([rng.uniform(1, 5, 12), rng.uniform(0.1, 1, 4), [1e3, 50.0, 100.0, 500.0]])
    slopes = jax.jit(jax.jacrev(values))(at)
    assert np.all(np.abs(slopes) > 0)
    for index, slope in enumerate(slopes):
        expected = finite_difference(lambda at, index=index: values(at)[index], at, 1e-5)
        np.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-8)


def test_currents_are_those_of_nodal_analysis():
    """Also where a great resistance all but cuts."""
    for index in range(5):
        R = tuple(1e9 if at == index else value for at, value in enumerate(PAPER))
        expected = np.asarray(VOLTAGES) @ nodal(G, *R)
        np.testing.assert_allclose(solve(G, VOLTAGES, R).output_currents, expected, rtol=1e-6, atol=1e-16)


@pytest.mark.parametrize("index", range(4))
def test_infinite_resistances_are_refused(index):
    R = tuple(np.inf if at == index else value for at, value in enumerate(PAPER))
    with pytest.raises(ValueError, match="finite resistances"):
        operating_point(G, VOLTAGES, Wires(*R))
    with pytest.raises(Exception, match="finite resistances"):
        solve(G, VOLTAGES, R).power_w.block_until_ready()


@pytest.mark.parametrize("shape", [(1, 6), (9, 1)])
def test_a_single_row_or_column_in_float32(shape):
    tile, voltages = G[: shape[0], : shape[1]], VOLTAGES[:, : shape[0]]
    exact = solve(tile, voltages, PAPER)
    point = solve(tile.astype(jnp.float32), voltages.astype(jnp.float32), PAPER)
    expected = np.asarray(voltages) @ nodal(tile, *PAPER)
    np.testing.assert_allclose(exact.output_currents, expected, rtol=1e-10)
    for name in FIELDS:
        found = getattr(point, name)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, getattr(exact, name), rtol=2e-5, atol=1e-9)


def test_vmap_over_tiles():
    tiles = jnp.stack([G, 2 * G, G[::-1]])
    points = jax.jit(jax.vmap(lambda G: operating_point(G, VOLTAGES, Wires(*PAPER))))(tiles)
    for index, tile in enumerate(tiles):
        one = solve(tile, VOLTAGES, PAPER)
        for name in FIELDS:
            np.testing.assert_allclose(
                getattr(points, name)[index], getattr(one, name), rtol=1e-9, atol=1e-18
            )


@given(
    shape=st.sampled_from([(1, 4), (5, 1), (4, 3)]),
    seed=st.integers(0, 2**16),
    resistances=st.tuples(*[st.floats(0.0, 1e4)] * 4),
    scale=st.floats(-3, 3),
)
def test_laws_over_shapes(shape, seed, resistances, scale):
    """Linear in its inputs; by Rayleigh, no part can conduct better and the tile draw less power."""
    rng = np.random.default_rng(seed)
    tile = rng.uniform(0, 5e-5, shape)
    one, other = rng.uniform(-1, 1, (2, shape[0]))
    V = jnp.asarray([one, other, one + scale * other])
    point = solve(jnp.asarray(tile), V, resistances)
    for name in ("row_voltages", "column_voltages", "device_currents", "output_currents"):
        field = getattr(point, name)
        np.testing.assert_allclose(field[2], field[0] + scale * field[1], rtol=1e-9, atol=1e-12)
    power = np.asarray(point.power_w)
    slack = 1e-12 * np.sum(tile) * np.sum(np.asarray(V) ** 2, axis=-1)
    assert np.all(power >= -slack)
    better = tile.copy()
    better[rng.integers(shape[0]), rng.integers(shape[1])] += 1e-5
    assert np.all(solve(jnp.asarray(better), V, resistances).power_w >= power - slack)
    less = list(resistances)
    less[rng.integers(4)] *= 0.5
    assert np.all(solve(jnp.asarray(tile), V, tuple(less)).power_w >= power - slack)
