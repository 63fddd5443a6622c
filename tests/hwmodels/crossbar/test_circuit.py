"""The effective conductance against SPICE, against nodal analysis, and against the laws of circuits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwmodels.crossbar import Wires, effective_conductance
from hwmodels.crossbar._march import hold, march
from hwmodels.crossbar._row import recurrences
from hwmodels.crossbar.lumped import lumped_conductance
from tests.helpers import REFERENCE, finite_difference
from tests.hwmodels.crossbar.nodal import nodal

SPICE = np.load(REFERENCE / "crossbar" / "spice_public.npz")
CASES = ("pub_8x8", "pub_16x8", "pub_32x32", "pub_64x64")
G_MIN, G_MAX = 1 / 200e3, 1 / 20e3
PAPER = (1e3, 5.0, 10.0, 1e3)
# Wires of 0.01 to 50 ohm and terminals of 0.1 ohm to 10 kilohm, and none at all.
EXTREMES = (
    (1e4, 50.0, 50.0, 1e4),
    (0.1, 0.01, 0.01, 0.1),
    (1e4, 0.01, 0.01, 1e4),
    (0.1, 50.0, 50.0, 0.1),
    (0.1, 0.01, 50.0, 1e4),
    (1e4, 50.0, 0.01, 0.1),
    (0.0, 5.0, 0.0, 1e4),
    (1e3, 0.0, 10.0, 0.0),
)


@jax.jit
def solve(G, resistances):
    return effective_conductance(G, Wires(*resistances))


marched = jax.jit(lambda G, resistances: march(G, resistances, recurrences(G, *resistances[:2]))[0])


def relative_error(found, expected):
    found, expected = np.asarray(found, np.float64), np.asarray(expected)
    # Nothing conducts so little: the second opinion's rounding where no current flows at all.
    zero = np.abs(expected) < 1e-20
    assert np.all(np.abs(found[zero]) < 1e-20)
    return np.max(np.abs(found[~zero] / expected[~zero] - 1), initial=0)


def devices(rng, rows, columns):
    """Tiles of every kind: uniform, all on, all off, on or off, mostly open."""
    shape = (rows, columns)
    return np.stack(
        [
            rng.uniform(G_MIN, G_MAX, shape),
            np.full(shape, G_MAX),
            np.full(shape, G_MIN),
            rng.choice([G_MIN, G_MAX], shape),
            rng.choice([0, G_MAX], shape, p=[0.7, 0.3]),
        ]
    )


@pytest.mark.parametrize("case", CASES)
def test_nodal_analysis_of_these_tests_is_spice(case):
    found = nodal(SPICE[f"{case}/G"], *SPICE[f"{case}/R"])
    assert relative_error(found, SPICE[f"{case}/G_eff_ngspice"]) < 1e-12


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_is_spice(case, dtype, tolerance):
    found = solve(jnp.asarray(SPICE[f"{case}/G"], dtype), tuple(map(float, SPICE[f"{case}/R"])))
    assert found.dtype == dtype
    assert relative_error(found, SPICE[f"{case}/G_eff_ngspice"]) < tolerance


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 5), (5, 3), (17, 12)])
def test_any_shape_and_extreme_wires(shape):
    rng = np.random.default_rng(0)
    tiles = devices(rng, *shape)
    for resistances in (PAPER, *EXTREMES):
        expected = np.stack([nodal(tile, *resistances) for tile in tiles])
        assert relative_error(solve(jnp.asarray(tiles), resistances), expected) < 1e-10
        if shape in [(1, 9), (17, 12)]:
            assert relative_error(solve(jnp.asarray(tiles, jnp.float32), resistances), expected) < 1e-5


@pytest.mark.parametrize("resistances", [EXTREMES[2], EXTREMES[4]])
def test_extremes_of_a_large_tile(resistances):
    tiles = devices(np.random.default_rng(1), 128, 128)[:4]
    inputs = [0, 70, 127]
    expected = np.stack([nodal(tile, *resistances, inputs) for tile in tiles])
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-5)):
        found = solve(jnp.asarray(tiles, dtype), resistances)
        assert relative_error(found[:, jnp.asarray(inputs)], expected) < tolerance


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_a_tile_of_256(dtype, tolerance):
    tile = np.random.default_rng(1).uniform(G_MIN, G_MAX, (256, 256))
    inputs = [0, 100, 255]
    for resistances in (PAPER, *EXTREMES):
        expected = nodal(tile, *resistances, inputs)
        found = solve(jnp.asarray(tile, dtype), resistances)
        assert relative_error(found[jnp.asarray(inputs)], expected) < tolerance


@pytest.mark.parametrize("cut", range(4))
def test_infinite_resistance_cuts(cut):
    G = np.random.default_rng(2).uniform(G_MIN, G_MAX, (5, 3, 5))
    resistances = tuple(np.inf if index == cut else value for index, value in enumerate(PAPER))
    expected = np.stack([nodal(tile, *resistances) for tile in G])
    assert relative_error(solve(jnp.asarray(G), resistances), expected) < 1e-10


def test_large_resistance_tends_to_infinite():
    G = jnp.asarray(np.random.default_rng(2).uniform(G_MIN, G_MAX, (5, 3, 5)))
    cut, nearly = solve(G, (1e3, np.inf, 10.0, 1e3)), solve(G, (1e3, 1e14, 10.0, 1e3))
    np.testing.assert_allclose(nearly, cut, atol=1e-13)


def test_leading_axes_and_chunks_do_not_matter():
    tiles = jnp.asarray(np.random.default_rng(3).uniform(G_MIN, G_MAX, (5, 7, 64, 32)))
    found = solve(tiles, PAPER)
    assert found.shape == tiles.shape
    np.testing.assert_allclose(found[4, 5], solve(tiles[4, 5], PAPER), rtol=1e-13)
    assert effective_conductance(tiles[:0], Wires()).shape == (0, 7, 64, 32)


def test_vmap_of_marches_over_wires_twice():
    rng = np.random.default_rng(4)
    tiles, wires = rng.uniform(G_MIN, G_MAX, (2, 3, 27)), rng.uniform(1, 100, (2, 2, 4))
    over_wires = jax.vmap(lambda G, R: effective_conductance(G, Wires(*R)), (None, 0))
    found = jax.jit(jax.vmap(over_wires))(jnp.asarray(tiles), jnp.asarray(wires))
    for tile, choices, each in zip(tiles, wires, found, strict=True):
        expected = np.stack([nodal(tile, *resistances) for resistances in choices])
        assert relative_error(each, expected) < 1e-10


def test_vmap_over_tiles_and_wires():
    rng = np.random.default_rng(4)
    tiles = jnp.asarray(rng.uniform(G_MIN, G_MAX, (2, 3, 5)))
    wires = jnp.asarray(rng.uniform(0, 100, (2, 4)))
    found = jax.vmap(lambda G, r: effective_conductance(G, Wires(*r)))(tiles, wires)
    for tile, resistances, each in zip(tiles, wires, found, strict=True):
        assert relative_error(each, nodal(tile, *resistances)) < 1e-10


def test_gradient_is_that_of_the_reference():
    G, R, C = (jnp.asarray(SPICE[f"gpub_8x6/{name}"]) for name in ("G", "R", "C"))
    value, (by_G, by_R) = jax.value_and_grad(lambda G, R: jnp.sum(C * solve(G, tuple(R))), (0, 1))(G, R)
    np.testing.assert_allclose(value, SPICE["gpub_8x6/f"], rtol=1e-10)
    np.testing.assert_allclose(by_G, SPICE["gpub_8x6/df_dG"], rtol=1e-8)
    np.testing.assert_allclose(by_R, SPICE["gpub_8x6/df_dR"], rtol=1e-8)


@pytest.mark.parametrize("shape", [(9, 5), (1, 3)])
def test_gradient_is_the_finite_difference(shape):
    rng = np.random.default_rng(5)
    weights = jnp.asarray(rng.normal(size=shape) * 1e5)
    G = rng.uniform(G_MIN, G_MAX, shape)

    @jax.jit
    def value(G, R):
        return jnp.sum(weights * effective_conductance(G, Wires(*R)))

    by_G, by_R = jax.grad(value, (0, 1))(jnp.asarray(G), jnp.asarray(PAPER))
    numeric = finite_difference(lambda g: value(jnp.asarray(g), jnp.asarray(PAPER)), G, 1e-5)
    np.testing.assert_allclose(by_G, numeric, rtol=1e-6, atol=1e-6 * np.abs(numeric).max())
    numeric = finite_difference(lambda r: value(jnp.asarray(G), jnp.asarray(r)), PAPER, 1e-5)
    np.testing.assert_allclose(by_R, numeric, rtol=1e-6, atol=1e-9 * np.abs(numeric).max())


def test_gradient_at_zero_resistance_and_open_devices():
    rng = np.random.default_rng(6)
    G = rng.choice([0, G_MAX], (3, 5))
    value = jax.jit(lambda G, R: 1e5 * jnp.sum(effective_conductance(G, Wires(*R)) ** 2))
    by_G, by_R = jax.grad(value, (0, 1))(jnp.asarray(G), jnp.zeros(4))
    for index in range(4):
        step = np.zeros(4)
        step[index] = 1e-3
        forward = (value(jnp.asarray(G), jnp.asarray(step)) - value(jnp.asarray(G), jnp.zeros(4))) / 1e-3
        np.testing.assert_allclose(by_R[index], forward, rtol=1e-4)
    assert np.all(np.isfinite(by_G))


def test_float32_gradient_of_many_tiles_is_that_of_each():
    """Many chunks: the adjoint repeats the solution chunk by chunk.

    An element near zero is a difference of terms as large as the largest element, so that sets the scale.
    """
    tiles = np.random.default_rng(7).uniform(G_MIN, G_MAX, (1100, 64, 2))
    value = jax.grad(lambda G: jnp.sum(1e10 * effective_conductance(G, Wires()) ** 2))
    many = np.asarray(jax.jit(value)(jnp.asarray(np.tile(tiles, (10, 1, 1)), jnp.float32)), np.float64)
    one = np.asarray(jax.jit(value)(jnp.asarray(tiles[:3])))
    scale = np.abs(one).max()
    np.testing.assert_allclose(many[:3] / scale, one / scale, rtol=0, atol=3e-6)
    np.testing.assert_allclose(many[-1100:][:3] / scale, one / scale, rtol=0, atol=3e-6)


def test_which_tiles_are_marched():
    paper = jnp.asarray(PAPER)
    tile = jnp.asarray(np.random.default_rng(8).uniform(G_MIN, G_MAX, (64, 64)))
    assert hold(tile, paper)
    assert hold(tile.astype(jnp.float32), paper.astype(jnp.float32))
    # Dead rows and columns are as good as none; one dead device carries only what its neighbours leak.
    assert hold(tile.at[3].set(0).at[:, 5].set(0), paper)
    assert not hold(tile.at[3, 5].set(0), paper)
    for index in range(1, 4):
        assert not hold(tile, paper.at[index].set(1e7).at[0].set(1e7 if index == 3 else 1e3))
    # One answer for a mapped batch, or both ways would be gone for each of its tiles.
    mapped = str(jax.make_jaxpr(jax.vmap(lambda G: effective_conductance(G, Wires())))(tile[None]))
    assert "cond[" in mapped
    both = jnp.stack([tile, tile.at[3, 5].set(0)])
    assert not jax.vmap(hold, (0, None))(both, paper).any()


@given(
    arrays(np.float64, (2, 17, 27), elements=st.floats(1e-6, 1e-4)),
    st.tuples(*(st.one_of(st.just(0.0), st.floats(1e-2, largest)) for largest in (1e4, 50, 50, 1e4))),
)
def test_marching_is_nodal_analysis(G, resistances):
    expected = np.stack([nodal(tile, *resistances) for tile in G])
    for dtype, tolerance in ((jnp.float64, 1e-10), (jnp.float32, 1e-5)):
        tiles, values = jnp.asarray(G, dtype), jnp.asarray(resistances, dtype)
        assert hold(tiles, values)
        assert relative_error(marched(tiles, values), expected) < tolerance
        assert relative_error(solve(tiles, tuple(values)), expected) < tolerance


@pytest.mark.parametrize("row", [5.0, 0.0])
def test_gradient_of_a_march_is_the_finite_difference(row):
    """Also where the row wires have no resistance, and so no power that would tell their derivative."""
    rng = np.random.default_rng(9)
    weights = jnp.asarray(rng.normal(size=(6, 27)) * 1e5)
    G, R = rng.uniform(G_MIN, G_MAX, (6, 27)), np.array([1e3, row, 10.0, 1e3])
    assert hold(jnp.asarray(G), jnp.asarray(R))

    @jax.jit
    def value(G, R):
        return jnp.sum(weights * effective_conductance(G, Wires(*R)))

    by_G, by_R = jax.grad(value, (0, 1))(jnp.asarray(G), jnp.asarray(R))
    numeric = finite_difference(lambda g: value(jnp.asarray(g), jnp.asarray(R)), G, 1e-5)
    np.testing.assert_allclose(by_G, numeric, rtol=1e-6, atol=1e-6 * np.abs(numeric).max())
    for index in range(4):
        step = np.zeros(4)
        step[index] = 1e-3
        after, before = value(jnp.asarray(G), jnp.asarray(R + step)), value(jnp.asarray(G), jnp.asarray(R))
        np.testing.assert_allclose(by_R[index], (after - before) / 1e-3, rtol=1e-4)


def test_float32_gradient_of_a_march():
    tiles = np.random.default_rng(10).uniform(G_MIN, G_MAX, (3, 17, 27))
    gradient = jax.jit(jax.grad(lambda G, R: jnp.sum(1e5 * effective_conductance(G, Wires(*R))), (0, 1)))
    exact = gradient(jnp.asarray(tiles), jnp.asarray(PAPER))
    found = gradient(jnp.asarray(tiles, jnp.float32), jnp.asarray(PAPER, jnp.float32))
    for single, double in zip(found, exact, strict=True):
        np.testing.assert_allclose(single, double, rtol=1e-4, atol=3e-6 * np.abs(double).max())


def test_memory_is_bounded():
    tiles = jax.ShapeDtypeStruct((4096, 64, 64), jnp.float32)
    compiled = jax.jit(jax.grad(lambda G: jnp.sum(effective_conductance(G, Wires())))).lower(tiles).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2**32


conductances = st.one_of(st.just(0.0), st.floats(1e-7, 1e-3))
ohms = st.one_of(st.just(0.0), st.floats(1e-2, 1e5))
# The shapes and the number of tiles are those of the tests above, so that nothing compiles anew.
tiles = st.sampled_from([(1, 9), (9, 1), (3, 5), (5, 3)]).flatmap(
    lambda shape: arrays(np.float64, (5, *shape), elements=conductances)
)


@given(tiles, st.tuples(ohms, ohms, ohms, ohms))
def test_laws(G, resistances):
    found = np.asarray(solve(jnp.asarray(G), resistances))
    # Passive: a row delivers no more, and a column collects no more, than without parasitics.
    assert np.all(found >= 0)
    assert np.all(found.sum(-1) <= G.sum(-1) * (1 + 1e-12))
    assert np.all(found.sum(-2) <= G.sum(-2) * (1 + 1e-12))
    # A dead row or column stays dead.
    assert np.all(found.sum(-1)[G.sum(-1) == 0] == 0)
    assert np.all(found.sum(-2)[G.sum(-2) == 0] == 0)
    # Reciprocal: turned over and seen from the sense end, rows and columns change roles.
    driver, row, column, sense = resistances
    turned = solve(jnp.asarray(_turned(G)), (sense, column, row, driver))
    np.testing.assert_allclose(_turned(np.asarray(turned)), found, rtol=1e-9, atol=1e-18)


def _turned(tiles):
    return tiles[:, ::-1, ::-1].swapaxes(-1, -2)


@given(tiles, st.floats(0, 1e5))
def test_known_solutions(G, sense):
    np.testing.assert_array_equal(solve(jnp.asarray(G), (0.0, 0.0, 0.0, 0.0)), G)
    # Every column is a voltage divider.
    expected = G / (1 + sense * G.sum(-2, keepdims=True))
    np.testing.assert_allclose(solve(jnp.asarray(G), (0.0, 0.0, 0.0, sense)), expected, rtol=1e-12)


@pytest.mark.parametrize("index", range(4))
def test_every_resistance_matters(index):
    G = jnp.full((5, 3, 5), G_MAX)
    more = tuple(value * (2 if at == index else 1) for at, value in enumerate(PAPER))
    assert np.all(np.asarray(solve(G, more)).sum() < np.asarray(solve(G, PAPER)).sum() * 0.9999)


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_bad_wires(value):
    for name in ("driver", "row", "column", "sense"):
        with pytest.raises(ValueError, match=f"Wires.{name} is a resistance"):
            Wires(**{name: value})
    with pytest.raises(Exception, match="a wire resistance is negative or NaN"):
        solve(jnp.full((5, 3, 5), G_MAX), (1e3, value, 10.0, 1e3))


@pytest.mark.parametrize("value", [-1e-9, np.nan, np.inf])
def test_bad_conductance(value):
    with pytest.raises(Exception, match="a device conductance is negative, NaN or infinite"):
        solve(jnp.full((5, 3, 5), G_MAX).at[1, 2, 3].set(value), PAPER)


def test_bad_shape_and_dtype():
    with pytest.raises(ValueError, match="at least one row"):
        effective_conductance(jnp.zeros((3, 0)), Wires())
    with pytest.raises(Exception, match=r"rows|axes"):
        effective_conductance(jnp.zeros(3), Wires())
    with pytest.raises(Exception, match="Float"):
        effective_conductance(jnp.zeros((3, 3), int), Wires())


@pytest.mark.parametrize("solve", [effective_conductance, lumped_conductance])
@pytest.mark.parametrize("side", [8, 64])
def test_of_no_tiles_there_is_no_solution(solve, side):
    """And no slope: a kernel on no tile of a batch is no error."""
    none = jnp.zeros((0, side, side))
    assert solve(none, Wires()).shape == none.shape
    by_G, by_wires = jax.grad(lambda G, wires: solve(G, wires).sum(), (0, 1))(none, Wires())
    assert by_G.shape == none.shape
    assert not any(map(float, jax.tree.leaves(by_wires)))
