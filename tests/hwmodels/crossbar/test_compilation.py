"""Whoever calls without `jit`, in a notebook, waits for the compiler once for each shape."""

import jax
import jax.numpy as jnp
import pytest

from hwmodels.crossbar import Crossbar, Wires, deploy, effective_conductance, operating_point
from hwmodels.crossbar.expansion import Linearised
from hwmodels.crossbar.lumped import Lumped

WIRES = Wires()


def linearised(G):
    return Linearised.at(G[:2], WIRES)(2 * G[:2], WIRES)


@pytest.mark.parametrize(
    "function",
    [
        lambda G: effective_conductance(G, WIRES),
        lambda G: jax.grad(lambda G: jnp.sum(effective_conductance(G, WIRES)))(G),
        lambda G: operating_point(G[0], G[0, :, 0], WIRES),
        lambda G: Lumped.at(G, WIRES),
        linearised,
        lambda G: deploy({"kernel": G[0]}, Crossbar(), jax.random.key(0)),
    ],
    ids=["effective_conductance", "gradient", "operating_point", "lumped", "linearised", "deploy"],
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
