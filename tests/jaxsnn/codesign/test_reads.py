"""Read noise of a network on chips: new at every read, and the same however time and batches are cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels.crossbar import Crossbar, Device, ReadNoise, Wires, deploy
from jaxsnn.codesign.program import program
from jaxsnn.codesign.robustness import on_hardware
from jaxsnn.composite import Residual, SharedMembrane
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.learning.early_exit import run_until_sure
from jaxsnn.learning.evaluation import evaluate
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Readout
from tests.jaxsnn.small_runs import dense, few_digits

KEY = jax.random.key(3)
DESIGN = Crossbar(8, 8, Wires(0, 0, 0, 0), Device(variation=None, read_noise=ReadNoise(0.3)))
IMAGES = jnp.asarray(np.random.default_rng(0).random((4, 3, 3, 2)))


def network():
    """A convolution, a shared membrane of a block and a residual pair, and a readout."""
    rngs = nnx.Rngs(1)

    def linear(inputs=18, outputs=4):
        return Linear(inputs, outputs, param_dtype=jnp.float64, rngs=rngs)

    def block(name, synapse):
        return Block(name, synapse, LIF(leak=0.5, threshold=0.3))

    stem = block("stem", Conv(2, 2, param_dtype=jnp.float64, rngs=rngs))
    pair = Residual(block("first", linear(4)), block("second", linear(4)))
    return Network(
        [stem, SharedMembrane([block("alone", linear()), pair]), Block("out", linear(4, 3), Readout())]
    )


def reader():
    """One product of every image, accumulated over time: the mean of T reads."""
    readout = Block("out", Linear(18, 3, param_dtype=jnp.float64, rngs=nnx.Rngs(0)), Readout())
    return program(Network([readout]), DESIGN, KEY)


CHIP = program(network(), DESIGN, KEY)


@nnx.jit(static_argnames=("chunk", "remat"))
def outputs(chip, images, key, chunk=None, remat=False):
    return chip.outputs(images, timesteps=2, key=key, chunk=chunk, remat=remat)[0]


@pytest.mark.parametrize("settings", [{"chunk": 1}, {"chunk": 1, "remat": True}])
def test_how_time_is_cut_changes_nothing(settings):
    whole = outputs(CHIP, IMAGES, KEY)
    np.testing.assert_allclose(outputs(CHIP, IMAGES, KEY, **settings), whole, rtol=1e-9, atol=1e-12)
    # And it is noise, which another key changes.
    assert jnp.abs(whole - outputs(CHIP, IMAGES, jax.random.key(9))).max() > 0.01


def test_the_mean_of_eight_reads_spreads_less_by_the_root_of_eight():
    same = jnp.tile(IMAGES[:1], (4000, 1, 1, 1))
    spreads = np.asarray(reader().outputs(same, timesteps=8)[0].std(axis=1))
    # The deviation of a spread of 4000 draws is 1.1 %.
    np.testing.assert_allclose(spreads[7], spreads[0] / np.sqrt(8), rtol=0.05)


def test_batches_do_not_share_their_reads():
    """Of equal images, the second batch would otherwise have the loss of the first."""
    same, labels = np.tile(IMAGES[:1], (8, 1, 1, 1)), np.zeros(8, int)
    chip = reader()
    both = evaluate(chip, same, labels, timesteps=1, batch_size=4).loss
    first = evaluate(chip, same[:4], labels[:4], timesteps=1, batch_size=4).loss
    assert abs(both - first) > 1e-4


def test_images_that_leave_early_saw_the_reads_of_those_that_stay():
    found = run_until_sure(CHIP, IMAGES, timesteps=2, entropy=0.0, key=KEY)
    expected = outputs(CHIP, IMAGES, jax.random.fold_in(KEY, 0))[-1]
    np.testing.assert_allclose(found.logits, expected, rtol=1e-9, atol=1e-12)


def test_hardware_without_converters_still_reads_with_noise():
    data = few_digits(32)
    accurate, wild = (
        on_hardware(
            dense(),
            Crossbar(32, 16, Wires(0, 0, 0, 0), Device(variation=None, read_noise=noise)),
            data,
            software=1.0,
            timesteps=2,
            keys=[KEY],
        ).chips[0]
        for noise in (ReadNoise(0.0), ReadNoise(5.0))
    )
    assert np.mean(accurate.predictions != wild.predictions) > 0.2


def test_plain_matrices_do_not_hold_read_noise():
    with pytest.raises(ValueError, match=r"cannot hold Device.read_noise.*tile_products"):
        deploy({"kernel": jnp.ones((3, 2))}, DESIGN, KEY)
