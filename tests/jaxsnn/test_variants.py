"""A neuron and a circuit give the same with and without jit, and on device arrays."""

import chex
import jax.numpy as jnp

from hwmodels.crossbar import Wires, effective_conductance
from jaxsnn.neuron import LIF


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_a_step_of_lif(self):
        neuron = LIF(leak=0.5, threshold=1.0)
        current, potential = jnp.array([0.2, 0.9, 1.5]), jnp.array([1.0, 0.4, -0.6])
        before = 0.5 * potential + current
        fired = (before > 1.0).astype(before.dtype)
        found = self.variant(lambda current, potential: neuron(current, potential))(current, potential)
        chex.assert_trees_all_close(found, (fired, before * (1 - fired)), rtol=1e-12)

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_one_device_between_its_resistors(self):
        solve = self.variant(lambda G: effective_conductance(G, Wires(1e3, 5.0, 10.0, 1e3)))
        found = solve(jnp.full((1, 1), 1e-4))
        chex.assert_shape(found, (1, 1))
        # One device has its driver and its sense resistor in series, and no segment of a wire.
        chex.assert_trees_all_close(found, jnp.full((1, 1), 1 / (1e4 + 2e3)), rtol=1e-9)
