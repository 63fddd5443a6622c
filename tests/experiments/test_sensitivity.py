"""The sensitivity report: its elasticities against finite differences, mistakes, and the run end to end."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.crossbar import Crossbar, Device, Variation, Wires
from hwmodels.workload import Layer, Workload
from jaxsnn import LIF, Block, Conv, Linear, Network, Readout
from jaxsnn.codesign import program
from jaxsnn.codesign.sensitivity import (
    energy_sensitivities,
    groups_of_kernels,
    kernels_of,
    weight_error_sensitivities,
    weight_errors,
)
from tests.experiments.test_command_line import experiments
from tests.helpers import finite_difference

WORKLOAD = Workload(
    (
        Layer.conv("conv1", height=8, width=8, in_channels=2, out_channels=20, padding=1, input_rate=0.3),
        Layer.linear("fc1", in_features=1280, out_features=10, input_rate=0.1, spiking=False),
    ),
    timesteps=4,
)
KEY = jax.random.key(1)
KERNELS = {
    "fc1": jax.random.normal(jax.random.key(2), (6, 5), jnp.float64),
    "fc2": jax.random.normal(jax.random.key(3), (5, 3), jnp.float64),
}
SMALL = ("digits_convnet.width=2", "TrainConfig.epochs=1", "Crossbar.rows=8", "Crossbar.columns=8")


def run(folder, *bindings):
    options = [f"--set={binding}" for binding in (*SMALL, *bindings)]
    return experiments("run", "sensitivity", "--out", folder, *options)


@pytest.mark.parametrize(
    ("cost", "chip", "total"),
    [
        (sata.inference_energy, sata.Accelerator(), "total_j"),
        (spikeflow.evaluate, spikeflow.Chip(activity="spikes"), "energy_j"),
    ],
)
def test_energy_depends_on_a_rate_as_finite_differences_say(cost, chip, total):
    found = energy_sensitivities(cost, WORKLOAD, chip)

    def at(rate):
        layer = dataclasses.replace(WORKLOAD.layers[1], input_rate=float(rate))
        return np.log(getattr(cost(Workload((WORKLOAD.layers[0], layer), 4), chip), total))

    # Of a total this little depends on the rate: a wider step lifts the difference above its rounding.
    expected = 0.1 * float(finite_difference(at, 0.1, step=1e-3))
    for sensitivities in found.values():
        assert sensitivities.total["rate.fc1"] == pytest.approx(expected, rel=1e-6)
        assert expected > 0
        own = sum(values["rate.fc1"] for values in sensitivities.parts.values())
        assert own == pytest.approx(expected, rel=1e-6)
        magnitudes = [abs(value) for value in sensitivities.total.values()]
        assert magnitudes == sorted(magnitudes, reverse=True)
    # What a rate costs, its own layer pays.
    acting = {layer for layer, values in found["layer"].parts.items() if values["rate.fc1"]}
    assert acting == {"fc1"}
    shown = found["layer"].greatest(3)
    assert list(shown.total) == list(found["layer"].total)[:3]
    for name, value in shown.total.items():
        assert sum(values[name] for values in shown.parts.values()) == pytest.approx(value, abs=1e-2)


@pytest.mark.long
def test_weight_errors_depend_on_wires_as_finite_differences_say():
    def crossbar(sense=1e3):
        return Crossbar(8, 8, Wires(sense=sense), Device(variation=Variation(0.1)))

    errors, found = weight_error_sensitivities(KERNELS, crossbar(), KEY)
    for layer, values in found.items():
        slope = finite_difference(
            lambda sense, layer=layer: np.log(
                float(weight_errors(KERNELS, crossbar(float(sense)), KEY)[layer])
            ),
            1e3,
        )
        assert values["wires.sense"] == pytest.approx(1e3 * float(slope), rel=1e-5)
        assert 0 < errors[layer] < 1


def test_without_wires_and_variation_there_is_no_error():
    perfect = Crossbar(8, 8, Wires(0.0, 0.0, 0.0, 0.0), Device(variation=None))
    assert max(map(float, weight_errors(KERNELS, perfect, KEY).values())) < 1e-12
    with pytest.raises(ValueError, match=r"finite and not zero|not finite"):
        weight_error_sensitivities(
            {"fc1": jnp.zeros((4, 4))}, Crossbar(8, 8, device=Device(variation=None)), KEY
        )


def test_a_layer_of_zeros_has_no_error_and_spoils_no_other():
    kernels = KERNELS | {"pruned": jnp.zeros((4, 3), jnp.float64)}
    crossbar = Crossbar(8, 8, device=Device(variation=None))
    errors, found = weight_error_sensitivities(kernels, crossbar, KEY)
    alone, of_alone = weight_error_sensitivities(KERNELS, crossbar, KEY)
    assert errors["pruned"] == 0
    assert set(found["pruned"].values()) == {0.0}
    assert alone["fc1"] > 0
    for layer in KERNELS:
        assert errors[layer] == pytest.approx(alone[layer], rel=1e-9)
        assert found[layer] == pytest.approx(of_alone[layer], rel=1e-6, abs=1e-9)


def test_a_mistake_is_one_sentence(tmp_path):
    process = run(tmp_path, "sensitivity.shown=0")
    assert process.returncode == 2
    assert "at least 1; got 0" in process.stderr


@pytest.mark.long
def test_the_experiment_runs(tmp_path):
    process = run(tmp_path)
    assert process.returncode == 0, process.stderr
    assert "Weight error on the crossbars" in process.stdout
    assert (tmp_path / "sensitivity.png").stat().st_size > 1000
    numbers = json.loads((tmp_path / "result.json").read_text())["numbers"]
    assert set(numbers["weight_errors"]) == {"conv1", "conv2", "fc1", "fc2"}
    # Energy is proportional to no constant alone, and grows with T.
    for chip, elasticities in numbers["elasticities"].items():
        assert 0 < elasticities["timesteps"] <= 1
        # Both chips gate by spikes.
        assert elasticities["rate.fc1"] > 0, chip
        assert not {"chip.node_nm", "chip.constants_nm", "chip.kernel"} & elasticities.keys()
    given = numbers["elasticities_to_what_is_given"]
    assert given["SATA energy"] == {}
    assert given["SpikeFlow energy"]["chip.node_nm"] > 0
    for chip, kinds in numbers["contributions"].items():
        for parts in kinds.values():
            for name, value in numbers["elasticities"][chip].items():
                assert sum(values[name] for values in parts.values()) == pytest.approx(value, abs=1e-5)


def test_weight_errors_are_those_of_grouped_kernels_too():
    """On the tiles of a block-diagonal matrix, as the network itself is programmed."""
    rngs = nnx.Rngs(0)
    network = Network(
        [
            Block("a", Conv(8, 8, groups=8, rngs=rngs), LIF(leak=0.5)),
            Block("o", Linear(128, 4, rngs=rngs), Readout()),
        ]
    )
    crossbar = Crossbar(32, 32, device=Device(variation=None))
    found = weight_errors(kernels_of(network), crossbar, KEY, groups_of_kernels(network))
    on_chip = kernels_of(program(network, crossbar, KEY))
    for name, kernel in kernels_of(network).items():
        expected = jnp.abs(on_chip[name] - kernel).sum() / jnp.abs(kernel).sum()
        np.testing.assert_allclose(found[name], expected, rtol=1e-5)
