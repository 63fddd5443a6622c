"""A user's `jax_numpy_rank_promotion="raise"` is for the user's code."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.crossbar import Converters, Crossbar, Device, ReadNoise, Wires, deploy, effective_conductance
from hwmodels.crossbar import TileProduct as Tiles
from hwmodels.crossbar import program as programmed
from jaxsnn.layers import Block, Linear
from jaxsnn.network import Network
from jaxsnn.neuron import Readout
from jaxsnn.normalization import BatchNorm

KERNEL = jax.random.normal(jax.random.key(0), (6, 3))
DESIGN = Crossbar(
    4, 4, signs="offset", calibration="column", device=Device(bits=2, read_noise=ReadNoise(0.1))
)


def slope_of_conductance():
    G = jnp.full((2, 3, 2), 1e-5)
    return jax.grad(lambda G: effective_conductance(G, Wires()).sum())(G)


def network():
    linear = Linear(4, 3, use_bias=True, rngs=nnx.Rngs(0))
    net = Network([Block("out", linear, Readout(), norm=BatchNorm(3))])
    return nnx.grad(lambda net: net(jnp.ones((2, 4)), timesteps=2, training=True)[0].sum())(net)


def on_tiles():
    chip = programmed(KERNEL, DESIGN, jax.random.key(0))
    return Tiles(chip, Converters(2, 4), ReadNoise(0.1), jax.random.key(1)).linear(jnp.ones((3, 6)))


@pytest.mark.parametrize(
    "run",
    [
        slope_of_conductance,
        network,
        on_tiles,
        lambda: deploy({"kernel": KERNEL}, Crossbar(4, 4), jax.random.key(0)),
        lambda: sata.inference_energy(sata.vgg9(), sata.Accelerator()).total_j,
        lambda: spikeflow.evaluate(sata.vgg9(), spikeflow.Chip()).energy_j,
    ],
)
def test_ranks_may_be_promoted_inside(run):
    with jax.numpy_rank_promotion("raise"):
        jax.block_until_ready(run())
