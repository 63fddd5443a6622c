"""Forward-mode derivatives of circuits, and second ones, against differences and against the adjoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Wires, effective_conductance, sense_currents
from hwmodels.crossbar.cells import Sinh, Transistor

# Eliminated for being narrow, marched, and eliminated for steep fields.
CIRCUITS = {
    "narrow": ((3, 7, 5), 5e-5),
    "marched": ((2, 12, 24), 5e-5),
    "steep": ((1, 12, 24), 5e-2),
}
WIRES = jax.tree.map(jnp.asarray, Wires())
TURNED = jax.tree.map(jnp.asarray, Wires(driver=90.0, row=0.5, column=2.0, sense=70.0))


def circuit(name):
    """A tile and a direction, the wires' own and one for the devices."""
    shape, greatest = CIRCUITS[name]
    rng = np.random.default_rng(0)
    G = rng.uniform(5e-6, greatest, shape)
    return (jnp.asarray(G), WIRES), (jnp.asarray(G * rng.uniform(-1, 1, shape)), TURNED)


def along(start, direction, length):
    return jax.tree.map(lambda point, way: point + length * way, start, direction)


def differences(function, start, direction, length=1e-4):
    ahead, behind = (function(*along(start, direction, sign * length)) for sign in (1, -1))
    return (ahead - behind) / (2 * length)


def close(found, expected, share):
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=share * np.abs(expected).max())


def inner(one, other):
    return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_tangent_is_the_slope_along_a_direction(name):
    start, direction = circuit(name)
    _, tangent = jax.jvp(effective_conductance, start, direction)
    close(tangent, differences(effective_conductance, start, direction), 1e-7)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=tangent.shape))
    _, back = jax.vjp(effective_conductance, *start)
    np.testing.assert_allclose(inner(weights, tangent), inner(back(weights), direction), rtol=1e-10)


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_tangent_of_float32(name):
    start, direction = circuit(name)
    _, expected = jax.jvp(effective_conductance, start, direction)
    single = [jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree) for tree in (start, direction)]
    _, found = jax.jvp(effective_conductance, *single)
    assert found.dtype == jnp.float32
    close(found, expected, 1e-4)


@pytest.mark.parametrize("name", ["narrow", "marched"])
def test_a_hessian_times_a_vector_is_the_slope_of_the_gradient(name):
    (G, _), (way, _) = circuit(name)

    def gradient(G):
        return jax.grad(lambda G: jnp.sum(effective_conductance(G) ** 2) * 1e8)(G)

    found = jax.jit(lambda G, way: jax.jvp(gradient, (G,), (way,))[1])(G, way)
    close(found, differences(jax.jit(gradient), (G,), (way,), 1e-3), 1e-5)


def test_jacobians_agree_whichever_way_they_are_found():
    (G, wires), _ = circuit("narrow")
    forwards, backwards = (
        jax.jit(jacobian(effective_conductance, (0, 1)))(G[0], wires) for jacobian in (jax.jacfwd, jax.jacrev)
    )
    jax.tree.map(lambda one, other: close(one, other, 1e-12), forwards, backwards)


def test_directions_are_mapped_over_marched_tiles_too():
    """`jax.jacfwd` and `jax.hessian` map tangents over a circuit that is not mapped."""
    (G, wires), _ = circuit("marched")

    def current(ohms):
        return 1e6 * effective_conductance(G[:1, :4], Wires(*ohms)).sum()

    ohms = jnp.stack(jax.tree.leaves(wires))
    gradient = jax.jit(jax.grad(current))
    np.testing.assert_allclose(jax.jit(jax.jacfwd(current))(ohms), gradient(ohms), rtol=1e-9)
    found = jax.jit(jax.hessian(current))(ohms)
    steps = 1e-3 * jnp.diag(ohms)
    expected = jnp.stack([(gradient(ohms + way) - gradient(ohms - way)) / (2 * way.sum()) for way in steps])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 24)])
def test_resistances_of_zero_have_a_slope_both_ways(shape):
    """Against one-sided differences; in forward mode no piece of a wire was walked through at zero ohm."""
    G = jnp.asarray(np.random.default_rng(4).uniform(5e-6, 5e-5, shape))

    def current(ohms):
        return 1e6 * effective_conductance(G, Wires(*ohms)).sum()

    none = jnp.zeros(4)
    backwards, forwards = jax.jit(jax.grad(current))(none), jax.jit(jax.jacfwd(current))(none)
    np.testing.assert_allclose(forwards, backwards, rtol=1e-9)
    solved = jax.jit(current)
    ahead = jnp.stack(
        [(4 * solved(way / 2) - 3 * solved(none) - solved(way)) / 1e-1 for way in 1e-1 * jnp.eye(4)]
    )
    np.testing.assert_allclose(forwards, ahead, rtol=1e-5, atol=1e-12)


def test_derivatives_of_mapped_circuits_are_those_of_each():
    (G, wires), (way, _) = circuit("narrow")
    resistances = jax.tree.map(lambda ohm: ohm * jnp.arange(1.0, 4.0), wires)

    def loss(G, wires):
        return jnp.sum(effective_conductance(G, wires) ** 2) * 1e8

    each = [
        jax.grad(loss, (0, 1))(tile, Wires(*ohms))
        for tile, ohms in zip(G, zip(*jax.tree.leaves(resistances), strict=True), strict=True)
    ]
    expected = jax.tree.map(lambda *parts: jnp.stack(parts), *each)
    inside = jax.jit(jax.vmap(jax.grad(loss, (0, 1))))(G, resistances)
    outside = jax.jit(jax.grad(lambda *circuit: jax.vmap(loss)(*circuit).sum(), (0, 1)))(G, resistances)
    for found in (inside, outside):
        jax.tree.map(lambda one, other: close(one, other, 1e-12), found, expected)
    shared = jax.grad(lambda wires: jax.vmap(loss, (0, None))(G, wires).sum())(wires)
    jax.tree.map(lambda one, other: close(one, other, 1e-12), shared, jax.grad(loss, 1)(G, wires))
    mapped = jax.vmap(lambda G, way: jax.jvp(effective_conductance, (G,), (way,))[1])(G, way)
    close(mapped, jax.jvp(effective_conductance, (G,), (way,))[1], 1e-12)


def test_an_open_tile_follows_its_devices():
    none = jnp.zeros((4, 30))
    found, tangent = jax.jvp(effective_conductance, (none,), (jnp.full_like(none, 1e-6),))
    assert not found.any()
    # The first siemens meets no voltage but its own.
    close(tangent, np.full(none.shape, 1e-6), 1e-12)


@pytest.mark.parametrize("law", [Sinh(0.25), Transistor(2e-4, 5.0, 0.4, 1.2)])
def test_the_tangent_of_a_nonlinear_tile(law):
    rng = np.random.default_rng(2)
    given = (jnp.asarray(rng.uniform(5e-6, 5e-5, (7, 5))), jnp.asarray(rng.uniform(-0.5, 0.5, (3, 7))))
    start = (*given, WIRES, jax.tree.map(jnp.asarray, law))
    direction = jax.tree.map(lambda leaf: leaf * jnp.asarray(rng.uniform(-0.3, 0.3, leaf.shape)), start)

    def currents(G, V, wires, law):
        return sense_currents(G, V, wires, cell=law)

    _, tangent = jax.jvp(currents, start, direction)
    close(tangent, differences(currents, start, direction), 1e-7)
    weights = jnp.asarray(rng.normal(size=tangent.shape))
    _, back = jax.vjp(currents, *start)
    np.testing.assert_allclose(inner(weights, tangent), inner(back(weights), direction), rtol=1e-8)


def test_directions_are_followed_in_chunks_of_vectors():
    """More vectors than one chunk of the solver holds."""
    rng = np.random.default_rng(3)
    G, V = jnp.asarray(rng.uniform(5e-6, 5e-5, (32, 32))), jnp.asarray(rng.uniform(0, 0.5, (30, 32)))

    def currents(V):
        return sense_currents(G, V, cell=Sinh(0.25))

    def tangent(V):
        return jax.jvp(currents, (V,), (V,))[1]

    close(tangent(V)[::29], jnp.concatenate([tangent(v[None]) for v in V[::29]]), 1e-8)
