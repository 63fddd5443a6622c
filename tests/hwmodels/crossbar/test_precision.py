"""Circuits are multiplied out in all their bits also where an accelerator would take fewer."""

import jax
import jax.numpy as jnp
import pytest

from hwmodels.crossbar import Wires, effective_conductance, operating_point
from hwmodels.crossbar.lumped import lumped_conductance


def power(G, wires):
    return operating_point(G[0], jnp.ones(len(G[0]), G.dtype), wires).power_w


@pytest.mark.parametrize("columns", [8, 32])
@pytest.mark.parametrize("function", [effective_conductance, lumped_conductance, power])
def test_every_product_is_exact_forwards_and_backwards(function, columns):
    def scalar(G, wires):
        return jnp.sum(function(G, wires) ** 2)

    G = jnp.full((2, 40, columns), 1e-5, jnp.float32)
    wires = jax.tree.map(jnp.float32, Wires())
    backwards = jax.jit(jax.value_and_grad(scalar, (0, 1))).lower(G, wires)
    forwards = jax.jit(lambda *circuit: jax.jvp(scalar, circuit, circuit)).lower(G, wires)
    for program in (backwards.as_text(), forwards.as_text()):
        products = program.count("stablehlo.dot_general")
        assert products > 5
        assert program.count("precision = [HIGHEST, HIGHEST]") == products


def test_what_is_set_for_circuits_does_not_stay_set():
    effective_conductance(jnp.full((40, 32), 1e-5))
    assert jax.config.jax_default_matmul_precision is None
