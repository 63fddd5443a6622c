"""Mitigations after training: their parts, mistakes, and the experiment end to end."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.mitigation import Adaptation, available, subsets
from hwmodels.crossbar import Crossbar, Device, Wires, deploy
from jaxsnn.codesign.program import program
from jaxsnn.models.digits import digits_convnet
from jaxsnn.normalization import BNTT
from tests.experiments.test_command_line import experiments

SMALL = (
    "digits_convnet.width=2",
    "TrainConfig.epochs=1",
    "TrainConfig.timesteps=2",
    "Crossbar.rows=8",
    "Crossbar.columns=8",
    "Adaptation.images=(16, 32)",
    "mitigation.draws=2",
    "mitigation.conversion_timesteps=4",
    "mitigation.conversion_images=16",
)


def run(folder, *bindings):
    options = [f"--set={binding}" for binding in (*SMALL, *bindings)]
    return experiments("run", "mitigation", "--out", folder, *options)


def bntt_network():
    return digits_convnet(width=2, norm=lambda channels: BNTT(channels, 3), rngs=nnx.Rngs(0))


def test_only_kernels_change_and_to_those_of_the_chip():
    network, crossbar, key = bntt_network(), Crossbar(rows=8, columns=8), jax.random.key(3)
    chip = program(network, crossbar, key)
    _, kernels, rest = nnx.split(network, nnx.PathContains("kernel"), ...)
    _, chip_kernels, chip_rest = nnx.split(chip, nnx.PathContains("kernel"), ...)
    assert len(jax.tree.leaves(kernels)) == 4
    assert all(
        jnp.array_equal(a, b) for a, b in zip(jax.tree.leaves(rest), jax.tree.leaves(chip_rest), strict=True)
    )
    expected = deploy(kernels, crossbar, key)
    for own, found, wanted in zip(*map(jax.tree.leaves, (kernels, chip_kernels, expected)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert not jnp.allclose(own, found, rtol=1e-3)


def test_a_perfect_chip_keeps_the_kernels():
    perfect = Crossbar(rows=8, columns=8, wires=Wires(0.0, 0.0, 0.0, 0.0), device=Device(variation=None))
    network = bntt_network()
    chip = program(network, perfect, jax.random.key(0))
    for own, found in zip(
        *(jax.tree.leaves(nnx.state(net, nnx.Param)) for net in (network, chip)), strict=True
    ):
        np.testing.assert_allclose(own, found, rtol=1e-5, atol=1e-7)


def test_the_help_that_a_network_can_have():
    assert available("plain") == ("encoding", "gain")
    assert available("BNTT") == available("converted") == ("encoding", "gain", "recalibration")
    assert list(subsets(("a", "b"))) == [(), ("a",), ("b",), ("a", "b")]


@pytest.mark.parametrize("images", [(), (8,), (32, 32), (32, 40)])
def test_adaptation_needs_whole_batches(images):
    with pytest.raises(ValueError, match=r"Adaptation\.images must increase from 0 by at least one batch"):
        Adaptation(images, batch_size=16)


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("mitigation.draws=0", "at least 1; got 0"),
        ("mitigation.conversion_images=2000", "mitigation.conversion_images must lie in 1 … 1438"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, binding, message):
    process = run(tmp_path, binding)
    assert process.returncode == 2
    assert message in process.stderr


@pytest.mark.long
def test_the_experiment_runs_and_every_help_shows(tmp_path):
    process = run(tmp_path)
    assert process.returncode == 0, process.stderr
    assert "Accuracy on chips" in process.stdout
    assert (tmp_path / "mitigation.png").stat().st_size > 1000
    numbers = json.loads((tmp_path / "result.json").read_text())["numbers"]
    assert {name: len(helps) for name, helps in numbers["hardware_accuracies"].items()} == {
        "plain": 4,
        "BN": 8,
        "tdBN": 8,
        "BNTT": 8,
        "converted": 8,
    }
    # The curve begins with the chip as it is and ends with the table's adaptation.
    for name, chips in numbers["adaptation"]["accuracies"].items():
        by_helps = numbers["hardware_accuracies"][name]
        assert [chip[0] for chip in chips] == by_helps["none"]
        assert [chip[-1] for chip in chips] == by_helps["recalibration"]


@pytest.mark.long
def test_a_chip_that_lets_no_current_through_keeps_the_thresholds(tmp_path):
    process = run(tmp_path, "Wires.sense=1e999")
    assert process.returncode == 0, process.stderr
    assert "keep the thresholds of the software (recalibration: 2" in " ".join(process.stdout.split())
    numbers = json.loads((tmp_path / "result.json").read_text())["numbers"]
    by_helps = numbers["hardware_accuracies"]["converted"]
    assert numbers["chips_without_thresholds"]["recalibration"] == 2
    assert by_helps["recalibration"] == by_helps["none"]
