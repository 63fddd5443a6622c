"""Nonlinear tiles against ngspice, against Newton's method on the node voltages, and against finite
differences.

All cases share one shape, so that each law compiles once: open rows above the first and open columns behind
the last change nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.crossbar import (
    Cubic,
    Law,
    Series,
    Sinh,
    Transistor,
    Wires,
    effective_conductance,
    sense_currents,
)
from tests.helpers import REFERENCE, finite_difference
from tests.hwmodels.crossbar import nonlinear_nodal as second_opinion

SPICE = np.load(REFERENCE / "crossbar" / "nonlinear_public.npz")
CASES = ("sinh_4x3", "sinh_spikes_16x16", "cubic_signed_8x12", "1t1r_spikes_8x8")
LAWS = {"sinh": Sinh, "cubic": Cubic, "1t1r": Transistor}
SIZE, VECTORS = 16, 4
PAPER = (1e3, 5.0, 10.0, 1e3)
WIDE = (1e4, 50.0, 50.0, 1e4)
NMOS = {"kp": 2e-4, "w_over_l": 4.0, "vto": 0.4, "vg": 1.8}


@jax.jit
def currents(cell, G, V, resistances):
    return sense_currents(G, V, Wires(*resistances), cell)


@jax.jit
def gradients(cell, G, V, resistances, C):
    return jax.grad(lambda *circuit: jnp.sum(C * currents(*circuit)), (0, 1, 2, 3))(cell, G, V, resistances)


def of_dtype(dtype, *trees):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), trees)


def padded(G, V):
    """Open cells above and behind; the same voltages for all vectors."""
    G = np.pad(G, ((SIZE - len(G), 0), (0, SIZE - G.shape[1])))
    return G, np.tile(np.pad(V, (SIZE - len(V), 0)), (VECTORS, 1))


def reference(case):
    """Cell, G, V, resistances, currents."""
    law = str(SPICE[f"{case}/law"])
    names = [name.split("p_")[1] for name in SPICE if name.startswith(f"{case}/p_")]
    cell = LAWS[law](**{name: float(SPICE[f"{case}/p_{name}"]) for name in names})
    return cell, *(SPICE[f"{case}/{key}"] for key in ("G", "V", "R", "I_ngspice"))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-6)])
def test_currents_are_those_of_ngspice(case, dtype, tolerance):
    cell, G, V, R, expected = reference(case)
    G, V = padded(G, V)
    found = currents(*of_dtype(dtype, cell, G, V, tuple(R)))
    assert found.dtype == dtype
    error = np.abs(np.asarray(found)[:, : len(expected)] - expected)
    assert error.max() < tolerance * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_references(case):
    cell, G, V, R, expected = reference(case)
    points = SPICE[f"{case}/points"] + [SIZE - len(G), 0]
    C = np.zeros((VECTORS, SIZE))
    C[1, : len(expected)] = SPICE[f"{case}/C"]
    G, V = padded(G, V)
    _, by_G, _, by_R = gradients(*of_dtype(np.float64, cell, G, V, tuple(R), C))
    np.testing.assert_allclose(by_G[tuple(points.T)], SPICE[f"{case}/dG"], rtol=1e-7)
    np.testing.assert_allclose(by_R, SPICE[f"{case}/dR"], rtol=1e-6)


@pytest.mark.parametrize(
    ("cell", "law", "volt"),
    [
        (Sinh(0.05), {"law": second_opinion.sinh(0.05)}, 1.0),
        (Sinh(0.01), {"law": second_opinion.sinh(0.01)}, 1.0),
        (Cubic(1e3), {"law": second_opinion.cubic(1e3)}, 2.0),
        (Transistor(**NMOS), {"transistor": NMOS}, 1.8),
        (Transistor(**NMOS), {"transistor": NMOS}, 2.5),
    ],
    ids=["steep", "steeper", "cubic", "reverse", "saturated"],
)
@pytest.mark.parametrize("wires", [PAPER, WIDE], ids=["paper", "wide"])
def test_steep_saturated_and_signed(cell, law, volt, wires):
    rng = np.random.default_rng(0)
    G = rng.uniform(1e-6, 1e-3, (SIZE, SIZE))
    V = rng.uniform(-volt, volt, (VECTORS, SIZE))
    V[1] = np.where(V[1] > 0, volt, 0)
    expected = np.stack([second_opinion.currents(G, each, wires, **law) for each in V])
    scale = np.abs(expected).max(-1, keepdims=True)
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-5)):
        found = currents(*of_dtype(dtype, cell, G, V, wires))
        np.testing.assert_allclose(np.asarray(found) / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cell", [Sinh(0.2), Cubic(0.7), Transistor(**NMOS)])
def test_gradients_are_finite_differences(cell):
    rng = np.random.default_rng(1)
    G = np.pad(rng.uniform(5e-6, 5e-5, (3, 4)), ((SIZE - 3, 0), (0, SIZE - 4)))
    V = np.zeros((VECTORS, SIZE))
    V[:, -3:] = rng.uniform(-1, 1, (VECTORS, 3))
    C = rng.normal(size=(VECTORS, SIZE))
    circuit = of_dtype(np.float64, cell, G, V, PAPER)
    by_cell, _, by_V, by_R = gradients(*circuit, jnp.asarray(C))

    def value(**changes):
        cell, G, V, R = (
            changes.get(name, part) for name, part in zip(("cell", "G", "V", "R"), circuit, strict=True)
        )
        return jnp.sum(C * currents(*of_dtype(np.float64, cell, G, V, R)))

    leaves, tree = jax.tree.flatten(cell)
    numeric = finite_difference(lambda x: value(cell=jax.tree.unflatten(tree, list(x))), leaves, 1e-4)
    np.testing.assert_allclose(jax.tree.leaves(by_cell), numeric, rtol=1e-6)
    numeric = finite_difference(lambda x: value(R=tuple(x)), PAPER, 1e-3)
    np.testing.assert_allclose(by_R, numeric, rtol=1e-5)
    moved = finite_difference(lambda x: value(V=np.where(np.arange(VECTORS)[:, None] == 2, x, V)), V[2], 1e-4)
    np.testing.assert_allclose(by_V[2, -3:], moved[-3:], rtol=1e-6)


def test_laws_that_are_lines_are_the_linear_tile():
    rng = np.random.default_rng(2)
    G = jnp.asarray(rng.choice([0, 2e-5], (SIZE, SIZE)))
    V = jnp.asarray(rng.uniform(-1, 1, (VECTORS, SIZE)))
    expected = V @ effective_conductance(G, Wires())
    np.testing.assert_allclose(sense_currents(G, V, Wires()), expected, rtol=1e-12)
    found = currents(*of_dtype(np.float64, Cubic(0.0), G, V, PAPER))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-18)


def test_without_wires_the_law_itself_is_summed_and_cuts_carry_nothing():
    rng = np.random.default_rng(3)
    G, V = rng.uniform(1e-6, 1e-4, (SIZE, SIZE)), rng.uniform(-1, 1, (VECTORS, SIZE))
    expected = np.einsum("ij,bi->bj", G, 0.25 * np.sinh(V / 0.25))
    found = currents(*of_dtype(np.float64, Sinh(0.25), G, V, (0, 0, 0, 0)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    found = currents(*of_dtype(np.float64, Sinh(0.25), G, V, (0, np.inf, 0, 0)))
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-12)
    assert not np.any(found[:, 1:])


def test_one_device_and_batch_axes():
    """Outside `jit`: one cell between two resistors, which SciPy solves too."""
    G, V = np.array([1e-5, 1e-3]).reshape(2, 1, 1, 1), np.array([[-2.0], [0.0], [1.5]])
    found = sense_currents(jnp.asarray(G), jnp.asarray(V), Wires(1e3, 5.0, 10.0, 2e3), cell=Sinh(0.02))
    assert found.shape == (2, 3, 1)

    def solved(g, volt):
        return scipy.optimize.brentq(
            lambda i: 0.02 * np.arcsinh(i / (g * 0.02)) + 3e3 * i - volt, -1, 1, xtol=1e-20
        )

    expected = [[[solved(g, volt)] for (volt,) in V] for g in G.ravel()]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-18)
    assert sense_currents(jnp.asarray(G), jnp.zeros((2, 0, 1)), cell=Sinh(0.02)).shape == (2, 0, 1)


@pytest.mark.parametrize(
    "inner", [Sinh(0.03), Cubic(5.0), Law(lambda G, v, p: G * p * jnp.arctan(v / p), 0.1)]
)
def test_series_resistance(inner):
    """The law at the voltage that the resistance leaves, and its derivatives."""
    G, v = jnp.asarray([0.0, 1e-5, 1e-3]), jnp.asarray([0.8, -1.5, 3.0])
    cell = Series(2e3, inner)
    current = cell.current(G, v)
    np.testing.assert_allclose(inner.current(G, v - 2e3 * current), current, rtol=1e-9, atol=1e-15)

    def total(x):
        return float(jnp.sum(Series(x[0], inner).current(G * x[1], v * x[2]) * jnp.asarray([1.0, 2.0, 3.0])))

    by = jax.grad(
        lambda x: jnp.sum(Series(x[0], inner).current(G * x[1], v * x[2]) * jnp.asarray([1.0, 2.0, 3.0]))
    )(jnp.asarray([2e3, 1.0, 1.0]))
    np.testing.assert_allclose(by, finite_difference(total, [2e3, 1.0, 1.0], 1e-5), rtol=1e-6)


def test_series_of_a_resistor_and_a_users_law():
    G, v = jnp.asarray([0.0, 1e-4]), jnp.asarray([1.0, 2.0])
    np.testing.assert_allclose(Series(1e4).current(G, v), [0.0, 1e-4], rtol=1e-12)
    law = Law(lambda G, v, p: G * p["scale"] * jnp.sinh(v / p["scale"]), {"scale": 0.2})
    np.testing.assert_allclose(law.current(G, v), Sinh(0.2).current(G, v), rtol=1e-12)


def test_a_law_that_falls_never_gives_numbers():
    def falling(G, v, *parameters):
        return G * (v - 4 * v**3)

    G, V = jnp.full((1, 1), 1e-3), jnp.asarray([3.0])
    with pytest.raises(ValueError, match="rises with the voltage"):
        sense_currents(G, V, cell=falling)
    assert np.isnan(jax.jit(lambda G, V: sense_currents(G, V, cell=falling))(G, V)).all()
    # A parameter for each device is looked at only where the tile ends up.
    with pytest.raises(RuntimeError, match="did not converge: the residual is"):
        sense_currents(G, V, cell=Law(falling, jnp.ones((1, 1))))
    with pytest.raises(ValueError, match="without current at zero volt"):
        sense_currents(G, V, cell=lambda G, v: G * (v + 1))


def test_traced_parameters_out_of_range_give_nan():
    G, V = jnp.full((1, 1), 1e-3), jnp.asarray([0.5])
    solved = jax.jit(lambda v0: sense_currents(G, V, cell=Sinh(v0)))
    assert np.isfinite(solved(0.2)).all()
    assert np.isnan(solved(-0.2)).all()
    assert np.isnan(solved(jnp.nan)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sinh(0.0), r"Sinh\.v0"),
        (lambda: Sinh(np.nan), r"Sinh\.v0"),
        (lambda: Cubic(-0.1), r"Cubic\.beta"),
        (lambda: Series(-1.0), r"Series\.ohm"),
        (lambda: Series(1.0, Transistor()), r"Series\.law"),
        (lambda: Transistor(kp=0.0), r"Transistor\.kp"),
        (lambda: Transistor(w_over_l=-1.0), r"Transistor\.w_over_l"),
        (lambda: Transistor(vto=0.5, vg=0.4), r"Transistor\.vg must be above the threshold"),
    ],
)
def test_parameters_out_of_range_are_refused(as_users_run, make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("G", "V", "cell", "message"),
    [
        (np.ones((2, 3)), np.ones(3), Sinh(), "one voltage for each row"),
        (np.ones((2, 2, 3)), np.ones((3, 2)), Sinh(), "do not broadcast"),
        (np.ones((2, 3)), np.array([0.0, np.nan]), Sinh(), "NaN or infinite"),
        (np.ones((2, 3)), np.ones(2, complex), Sinh(), "real numbers"),
        (np.ones((2, 3)), np.ones(2), "sinh", "cell must be None"),
        (np.ones((2, 3)), np.ones(2), Sinh, "cell must be None"),
        (np.ones((2, 3)), np.ones(2), Sinh(np.ones(2)), "broadcasts to the devices"),
    ],
)
def test_bad_input_is_refused(as_users_run, G, V, cell, message):
    with pytest.raises(ValueError, match=message):
        sense_currents(jnp.asarray(G), jnp.asarray(V), Wires(), cell)


def steep(seed):
    """Signed voltages up to eighty times v0, wires that take most: cell, G, V, resistances in float32."""
    rng = np.random.default_rng(seed)
    cell = Sinh(10 ** rng.uniform(-1.6, -0.7))
    low, high = [(5e-6, 5e-5), (1e-6, 1e-4), (1e-6, 1e-3)][rng.integers(3)]
    G = np.exp(rng.uniform(np.log(low), np.log(high), (SIZE, SIZE)))
    V = rng.uniform(0.3, 2) * rng.choice([-1, 0, 1], (VECTORS, SIZE))
    V[0] *= rng.random(SIZE)
    wires = 10 ** rng.uniform([2, 0, 0, 2], [4, 1.7, 1.7, 4])
    return of_dtype(np.float32, cell, G, V, tuple(wires))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_float32_keeps_six_digits_where_steep_currents_cancel(seed):
    """Beside float64, for the same numbers; cells carry up to a thousand times what is sensed."""
    single = steep(seed)
    expected = np.asarray(currents(*of_dtype(np.float64, *single)))
    assert np.isfinite(expected).all()
    found = np.asarray(currents(*single))
    if not np.isfinite(found).all():
        cell, G, V, wires = single
        found = sense_currents(G, V, Wires(*wires), cell)
        assert found.dtype == np.float32
    scale = np.abs(expected).max(-1, keepdims=True)
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=2e-6)


def test_what_float32_cannot_solve_is_told_or_solved_in_float64():
    """NaN in a traced program; where values are known, the digits are taken that it needs."""
    cell, G, V, wires = single = steep(113)
    assert np.isnan(currents(*single)).any()
    with jax.enable_x64(False):
        found = sense_currents(G, V, Wires(*wires), cell)
        by_G = jax.grad(lambda G: sense_currents(G, V, Wires(*wires), cell).sum())(G)
    assert found.dtype == by_G.dtype == np.float32
    double = of_dtype(np.float64, *single)
    expected = currents(*double)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    expected = gradients(*double, jnp.ones((VECTORS, SIZE)))[1]
    np.testing.assert_allclose(by_G, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_gradients_of_float32_where_steep_currents_cancel(seed):
    """Iterations alone lost all digits but one of some of these, and said that they had six."""
    single = steep(seed)
    C = np.random.default_rng(seed).normal(size=(VECTORS, SIZE))
    found = gradients(*single, *of_dtype(np.float32, C))
    if not np.isfinite(currents(*single)).all():
        assert np.isnan(found[1]).any()
        return
    expected = gradients(*of_dtype(np.float64, *single, *of_dtype(np.float32, C)))
    for one, other in zip(found[1:3], expected[1:3], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-4 * np.abs(other).max())
