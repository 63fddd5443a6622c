"""Whoever calls without `jit`, in a notebook, waits for the compiler once for each shape."""

import jax
import jax.numpy as jnp
import pytest

from hwmodels.crossbar import (
    Converters,
    Crossbar,
    ReadNoise,
    TileProduct,
    Wires,
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
