"""Whoever calls without `jit`, in a notebook, waits for the compiler once for each shape."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import (
    Converters,
    Crossbar,
    ReadNoise,
    TileProduct,
    Wires,
    _transfer,
    deploy,
    effective_conductance,
    operating_point,
    program,
)
from hwmodels.crossbar.expansion import Linearised
from hwmodels.crossbar.lumped import Lumped
from hwmodels.sharding import distributed

WIRES = Wires()


def linearised(G):
    return Linearised.at(G[:2], WIRES)(2 * G[:2], WIRES)


def read(G):
    """Two read layers, each with all that has to be found and laid out before."""
    key = jax.random.key(0)
    converters = Converters(full_scale="calibrated")
    dense, convolution = (
        TileProduct(program(kernel, Crossbar(4, 4), key), converters, ReadNoise(), key)
        for kernel in (G[0], G[:30].reshape(3, 2, 5, 35))
    )
    maps = G[:60].reshape(2, 21, 10, 5)
    found = convolution.calibrate(maps).convolve(maps, None, (1, 1), (1, 0))
    return found, dense.calibrate(G[..., 0]).linear(G[..., 0])


on_one_device = distributed(effective_conductance, jax.make_mesh((1,), ("tiles",)))


@pytest.mark.parametrize(
    "function",
    [
        lambda G: effective_conductance(G, WIRES),
        lambda G: jax.grad(lambda G: jnp.sum(effective_conductance(G, WIRES)))(G),
        lambda G: operating_point(G[0], G[0, :, 0], WIRES),
        lambda G: Lumped.at(G, WIRES),
        linearised,
        lambda G: deploy({"kernel": G[0]}, Crossbar(), jax.random.key(0)),
        read,
        lambda G: on_one_device(G, WIRES),
    ],
    ids=[
        "effective_conductance",
        "gradient",
        "operating_point",
        "lumped",
        "linearised",
        "deploy",
        "read",
        "distributed",
    ],
)
def test_a_second_call_compiles_nothing(function):
    compiled = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    # More than one chunk of tiles.
    G = jax.random.uniform(jax.random.key(0), (2, 400, 7, 5), minval=5e-6, maxval=5e-5)
    first, second = G
    function(first)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready(function(second))
        assert not compiled
        jax.jit(lambda G: G + 1)(G)
        assert compiled, "nothing was heard of a compilation"
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_known_tiles_that_march_need_no_elimination():
    """In few lines, and the elimination is only there if a tile needs it."""
    G, resistances = jnp.full((2, 64, 64), 2e-5, jnp.float32), jnp.asarray([1e3, 5, 10, 1e3], jnp.float32)
    both, marched = (_transfer._solved.lower(G, resistances, only) for only in (False, True))
    assert lines(marched) < 0.6 * lines(both) < 0.6 * 2000
    saved = (G, resistances, *jax.eval_shape(lambda G: _flat(_transfer._solved(G, resistances, True)), G))
    adjoints = _transfer._any_adjoint, _transfer._marched_adjoint
    both, marched = (adjoint.lower(saved, G) for adjoint in adjoints)
    assert lines(marched) < 0.6 * lines(both) < 0.6 * 2000


def lines(lowered):
    return lowered.as_text("hlo").count("\n")


def _flat(solved):
    found, saved = solved
    return found, *saved


@pytest.mark.parametrize("device", [2e-5, 0.0], ids=["conducts", "open"])
def test_known_values_give_what_traced_ones_do(device):
    G = jax.random.uniform(jax.random.key(1), (3, 6, 27), minval=5e-6, maxval=5e-5).at[:, 2, 4].set(device)
    arguments = G, jax.tree.map(jnp.asarray, WIRES)

    def value(G, wires):
        found = effective_conductance(G, wires)
        return jnp.sum(1e8 * found**2), found

    known = jax.value_and_grad(value, (0, 1), has_aux=True)
    for eager, traced in zip(
        *(jax.tree.leaves(function(*arguments)) for function in (known, jax.jit(known))), strict=True
    ):
        np.testing.assert_allclose(eager, traced, rtol=1e-8)
