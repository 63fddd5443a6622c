import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels import sata, spikeflow
from hwmodels.crossbar import Wires, effective_conductance
from hwmodels.sensitivity import contributions, elasticities, named
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference

NETWORK = Workload(
    (
        Layer.conv("conv1", height=8, width=8, in_channels=3, out_channels=20, padding=1, analog_input=True),
        Layer.conv("conv2", height=8, width=8, in_channels=20, out_channels=40, padding=1, input_rate=0.2),
        Layer.linear("fc", in_features=2560, out_features=10, input_rate=0.1, spiking=False),
    ),
    timesteps=4,
)
CHIP = spikeflow.Chip(activity="spikes", adc_bits=5)


def test_powers_have_their_exponents_and_arrays_scale_as_one():
    values = {"x": 3.0, "y": 7, "array": np.array([1.0, 2.0]), "none": 0.0}

    def cost(v):
        return v["x"] ** 2.5 / v["y"] * jnp.sum(v["array"]) ** 3 * jnp.exp(v["none"])

    assert elasticities(cost, values) == pytest.approx({"x": 2.5, "y": -1.0, "array": 3.0, "none": 0.0})


def energy(chip):
    return spikeflow.evaluate(NETWORK, chip).energy_by_component_j


def test_constants_of_energy_share_it_out():
    """Energy is homogeneous of degree one in all constants in joule: Euler's theorem."""
    cost = spikeflow.evaluate(NETWORK, CHIP)
    total = named(elasticities(lambda chip: spikeflow.evaluate(NETWORK, chip).energy_j, CHIP))
    joules = {name: value for name, value in total.items() if name.endswith("_j")}
    assert sum(joules.values()) == pytest.approx(1, rel=1e-12)
    share = cost.energy_by_component_j
    assert joules["adc.energy_j"] == pytest.approx(share["adc"] / cost.energy_j, rel=1e-12)
    assert joules["mesh.hop_bit_j"] == pytest.approx(share["noc"] / cost.energy_j, rel=1e-12)
    parts = contributions(energy, CHIP)
    for name, whole in total.items():
        assert sum(named(part)[name] for part in parts.values()) == pytest.approx(whole, abs=1e-12)
    assert named(parts["adc"])["adc.energy_j"] == pytest.approx(share["adc"] / cost.energy_j)
    assert named(parts["mux"])["adc.energy_j"] == 0


def test_area_and_latency_have_the_degrees_of_their_formulas():
    area = named(elasticities(lambda chip: spikeflow.evaluate(NETWORK, chip).area_mm2, CHIP))
    assert sum(value for name, value in area.items() if name.endswith("_um2")) == pytest.approx(1, rel=1e-12)
    latency = named(elasticities(lambda chip: spikeflow.evaluate(NETWORK, chip).latency_s, CHIP))
    assert latency["clock_hz"] == pytest.approx(-1)
    assert latency["cycle_clocks"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["adc.energy_j", "input_rate", "pipeline_start", "membrane_bits"])
def test_spikeflow_elasticities_are_those_of_finite_differences(name):
    def at(value):
        workload, chip, value = NETWORK, CHIP, float(value)
        if name == "adc.energy_j":
            chip = dataclasses.replace(chip, adc=dataclasses.replace(chip.adc, energy_j=value))
        elif name == "input_rate":
            layer = dataclasses.replace(workload.layers[1], input_rate=value)
            workload = Workload((workload.layers[0], layer, workload.layers[2]), 4)
        else:
            chip = dataclasses.replace(chip, **{name: value})
        return np.log(spikeflow.evaluate(workload, chip).energy_delay_js)

    found = named(elasticities(lambda tree: spikeflow.evaluate(*tree).energy_delay_js, (NETWORK, CHIP)))
    (path,) = [path for path in found if path in (f"1.{name}", f"0.layers.1.{name}")]
    values = named((NETWORK, CHIP))
    expected = float(finite_difference(at, values[path])) * values[path]
    assert found[path] == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found[path] != 0


def test_sata_elasticities_to_rates_are_shares_of_gated_energy():
    chip = sata.Accelerator()
    found = contributions(lambda workload: sata.inference_energy(workload, chip).energy_by_layer_j, NETWORK)

    def at(rate):
        layer = dataclasses.replace(NETWORK.layers[1], input_rate=float(rate))
        return np.log(
            sata.inference_energy(Workload((NETWORK.layers[0], layer, NETWORK.layers[2]), 4), chip).total_j
        )

    own = found["conv2"].layers[1].input_rate
    assert own == pytest.approx(0.2 * float(finite_difference(at, 0.2)), rel=1e-6)
    assert own > 0
    assert found["fc"].layers[1].input_rate == 0


@pytest.mark.long
def test_weight_errors_do_not_change_when_resistances_and_devices_scale_together():
    levels = jnp.linspace(0.1, 1.0, 48).reshape(8, 6)

    def error(tree):
        wires, high = tree
        return 1 - jnp.mean(effective_conductance(levels * high, wires) / (levels * high))

    (wires, high) = elasticities(error, (Wires(), 5e-5))
    assert sum(named(wires).values()) == pytest.approx(high, rel=1e-9)
    assert min(named(wires).values()) > 0

    def at(resistances):
        return np.log(float(error((Wires(*map(float, resistances)), 5e-5))))

    resistances = np.array([1e3, 5.0, 10.0, 1e3])
    expected = finite_difference(at, resistances, step=1e-5) * resistances
    np.testing.assert_allclose(list(named(wires).values()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (lambda v: v["x"] * 0, "not zero, got 0.0"),
        (lambda v: v["x"] / 0.0, "finite and not zero, got inf"),
        (lambda v: jnp.ones(3) * v["x"], r"must be one number, or parts .* got \{'the cost': \(3,\)\}"),
        (lambda v: 1 + jnp.sqrt(v["x"] - 2.0), r"slope of the cost along \['x'\] is not finite at 2.0"),
    ],
)
def test_bad_costs_say_what_is_wrong(cost, message):
    with pytest.raises(ValueError, match=message):
        elasticities(cost, {"x": 2.0})


def test_a_cost_without_parts_is_refused():
    with pytest.raises(ValueError, match="must be one number"):
        contributions(lambda v: {}, {"x": 2.0})


def test_float32_is_enough_for_a_ranking():
    exact = named(elasticities(lambda chip: spikeflow.evaluate(NETWORK, chip).energy_j, CHIP))
    with jax.enable_x64(False):
        single = named(elasticities(lambda chip: spikeflow.evaluate(NETWORK, chip).energy_j, CHIP))
    assert single == pytest.approx(exact, abs=1e-4)
