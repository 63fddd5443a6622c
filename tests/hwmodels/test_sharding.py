"""Work cut among devices gives what one device gives, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from hwmodels.sharding import distributed
from tests.helpers import run_processes

COMPARE = """
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from hwmodels import spikeflow
from hwmodels.crossbar import Wires, effective_conductance
from hwmodels.sharding import distributed
from hwmodels.workload import Layer, Workload

processes, devices = map(int, sys.argv[1:])
assert (jax.process_count(), len(jax.devices())) == (processes, processes * devices)
mesh = Mesh(np.array(jax.devices()), ("tiles",))
everywhere = NamedSharding(mesh, PartitionSpec())
rng = np.random.default_rng(0)


def difference(function, batch, *shared):
    # Largest relative difference of value and gradients, the batch cut or whole.
    def scalar(function):
        def weighted(batch, *shared):
            found = function(batch, *shared)
            return jnp.sum(found * jnp.cos(jnp.arange(found.size, dtype=found.dtype)).reshape(found.shape))

        return jax.value_and_grad(weighted, argnums=tuple(range(1 + len(shared))))

    whole = jax.jit(scalar(function))(batch, *shared)
    parts = jax.jit(scalar(distributed(function, mesh)), out_shardings=everywhere)(batch, *shared)
    pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b))) / np.max(np.abs(a))) for a, b in pairs)


tiles = rng.uniform(5e-6, 5e-5, (11, 3, 4))  # Neither 8 nor 2 devices divide 11.
wires = jax.tree.map(np.asarray, Wires())
print("tiles", difference(effective_conductance, tiles, wires))


def energy(rate, timesteps):
    layer = Layer.conv("conv1", height=4, width=4, in_channels=2, out_channels=3, padding=1, input_rate=rate)
    cost = spikeflow.evaluate(Workload((layer,), timesteps), spikeflow.Chip(activity="spikes"))
    return cost.energy_j * 1e9


population = rng.uniform(0.1, 0.9, 11)
print("population", difference(jax.vmap(energy, in_axes=(0, None)), population, np.float64(5)))
"""


@pytest.mark.parametrize(("processes", "devices"), [(1, 8), (2, 1)])
def test_a_batch_on_many_devices_is_the_batch_on_one(processes, devices):
    for printed in run_processes(COMPARE, processes, processes, devices, devices=devices):
        found = dict(
            line.split() for line in printed.splitlines() if line.startswith(("tiles", "population"))
        )
        assert len(found) == 2
        for what, difference in found.items():
            assert float(difference) < 1e-13, what


@pytest.mark.parametrize(
    "batch", [jnp.zeros((0, 2)), jnp.float64(1), {"a": jnp.zeros(3), "b": jnp.zeros(4)}], ids=str
)
def test_a_batch_without_one_length_is_refused(batch):
    mesh = Mesh(np.array(jax.devices()[:1]), ("tiles",))
    with pytest.raises(ValueError, match="one length of at least 1"):
        distributed(lambda batch: batch, mesh)(batch)


def test_a_mesh_with_explicit_axes_serves_too():
    mesh = jax.make_mesh((1,), ("tiles",))
    found = jax.jit(distributed(lambda batch, factor: batch * factor, mesh))(jnp.arange(3.0), 2.0)
    np.testing.assert_array_equal(found, [0.0, 2.0, 4.0])
