"""Expansions of the circuit: exact where expanded, order of the error, slopes, open devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Crossbar, Device, Wires, deploy, effective_conductance
from hwmodels.crossbar.deploy import target_tiles
from hwmodels.crossbar.expansion import Linearised, Reused

WIRES = Wires(200.0, 30.0, 70.0, 400.0)  # All four different, so that a mirrored one is noticed.
RANDOM = np.random.default_rng(4)
POINT = jnp.asarray(RANDOM.uniform(5e-6, 5e-5, (2, 3, 5)))
STEP = jnp.asarray(RANDOM.uniform(-2e-5, 2e-5, (2, 3, 5)))
COTANGENT = jnp.asarray(RANDOM.normal(size=(2, 3, 5)))
BOTH = pytest.mark.parametrize("expansion", [Reused, Linearised])
exact = jax.jit(effective_conductance)
AT = {expansion: jax.jit(expansion.at) for expansion in (Reused, Linearised)}


@BOTH
def test_exact_where_it_was_expanded(expansion):
    found = AT[expansion](POINT, WIRES)
    np.testing.assert_array_equal(found(POINT, WIRES), found.effective)
    np.testing.assert_allclose(found(POINT, WIRES), exact(POINT, WIRES), rtol=1e-12)


@pytest.mark.parametrize(("expansion", "order"), [(Reused, 1), (Linearised, 2)])
def test_order_of_the_error(expansion, order):
    """Halving the step halves the error of `Reused` and quarters that of `Linearised`."""
    found = AT[expansion](POINT, WIRES)
    errors = [
        jnp.linalg.norm(found(POINT + t * STEP, WIRES) - exact(POINT + t * STEP, WIRES)) for t in (2e-3, 1e-3)
    ]
    assert float(errors[0] / errors[1]) == pytest.approx(2**order, rel=0.01)


def test_the_slope_of_the_tangent_is_that_of_the_circuit():
    found = AT[Linearised](POINT, WIRES)
    slope = jax.grad(lambda G: jnp.sum(COTANGENT * found(G, WIRES)))(POINT)
    true = jax.grad(lambda G: jnp.sum(COTANGENT * exact(G, WIRES)))(POINT)
    np.testing.assert_allclose(slope, true, rtol=1e-9, atol=1e-12)


def test_reuse_is_nearer_than_doing_nothing():
    """A tenth of variation: the effect of a device on itself is most of it."""
    drawn = POINT * (1 + 0.1 * jnp.asarray(RANDOM.normal(size=POINT.shape)))
    found, true = AT[Reused](POINT, WIRES), exact(drawn, WIRES)
    error = jnp.linalg.norm(found(drawn, WIRES) - true)
    assert error < 0.5 * jnp.linalg.norm(found.effective - true)


@BOTH
def test_open_devices_have_a_finite_positive_slope(expansion):
    point = POINT.at[0, 1, 2].set(0.0).at[1].set(0.0)
    found = AT[expansion](point, WIRES)
    slope = jax.grad(lambda G: jnp.sum(found(G, WIRES)[0, 1, 2]))(point)
    assert bool(jnp.all(jnp.isfinite(found(point, WIRES))))
    assert float(slope[0, 1, 2]) > 0


@BOTH
def test_wires_and_the_point_get_no_gradient(expansion):
    def value(point, driver):
        wires = Wires(driver, 30.0, 70.0, 400.0)
        return jnp.sum(expansion.at(point, wires)(POINT, wires))

    by_point, by_driver = jax.jit(jax.grad(value, (0, 1)))(POINT * 1.1, 200.0)
    assert not jnp.any(by_point)
    assert not jnp.any(by_driver)


def test_the_tangent_refuses_infinite_resistances():
    with pytest.raises(ValueError, match="finite resistances"):
        Linearised.at(POINT, Wires(row=np.inf))


def test_deploy_solves_as_it_is_told():
    """Without variation the chip is where the expansion is exact; with it, every knob shows."""
    params = {"a": {"kernel": COTANGENT[0]}, "b": {"kernel": COTANGENT[1]}}
    key = jax.random.key(3)

    @jax.jit
    def kernels(crossbar):
        tiles = target_tiles(params, crossbar)["float64"]
        solvers = [effective_conductance, *(kind.at(tiles, crossbar.wires) for kind in (Reused, Linearised))]
        return [deploy(params, crossbar, key, solve=solve)["a"]["kernel"] for solve in solvers]

    true, *others = kernels(Crossbar(4, 4, WIRES, Device(variation=0.0)))
    for ours in others:
        np.testing.assert_allclose(ours, true, rtol=1e-9)
    assert len({kernel.tobytes() for kernel in map(np.asarray, kernels(Crossbar(4, 4, WIRES)))}) == 3
