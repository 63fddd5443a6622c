"""Scaling between nodes."""

import math
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import spikeflow
from hwmodels.spikeflow.technology import _ENERGY, NODES_NM, Rule, _polynomial

RULES = get_args(Rule)


def test_rules_by_their_definition():
    assert spikeflow.scaling(90, 45, "constant-field") == pytest.approx((0.125, 0.5, 0.25))
    assert spikeflow.scaling(90, 45, "constant-voltage") == pytest.approx((0.5, 0.25, 0.25))
    # 1.2 V at 90 nm, 1.0 V at 45 nm.
    assert spikeflow.scaling(90, 45, "nominal-voltage") == pytest.approx((0.5 / 1.44, 0.5, 0.25))


def test_the_example_of_stillmaker_and_baas():
    """Their corrected example: 1 pJ at 65 nm and 1.3 V becomes 0.1755 pJ at 32 nm and 0.9 V."""
    new = _polynomial(_ENERGY[NODES_NM.index(32.0)], 0.9)
    old = _polynomial(_ENERGY[NODES_NM.index(65.0)], 1.3)
    assert round(new, 4) == 0.4571
    # Their 2.604 carries a rounding of its own: the printed polynomial gives 2.603.
    assert old == pytest.approx(2.604, abs=2e-3)
    assert new / old == pytest.approx(0.1755, abs=2e-4)


@given(st.sampled_from(RULES), st.floats(7, 180), st.floats(7, 180), st.floats(7, 180))
def test_scaling_composes_and_inverts(rule, a, b, c):
    direct = np.array(spikeflow.scaling(a, c, rule))
    via = np.array(spikeflow.scaling(a, b, rule)) * np.array(spikeflow.scaling(b, c, rule))
    np.testing.assert_allclose(direct, via, rtol=1e-9)
    np.testing.assert_allclose(spikeflow.scaling(a, a, rule), 1.0)


@pytest.mark.parametrize("rule", RULES)
def test_smaller_nodes_are_cheaper_smaller_and_faster(rule):
    workload = spikeflow.vgg(spikeflow.VGG9)
    costs = [
        spikeflow.evaluate(workload, spikeflow.scale_to_node(spikeflow.Chip(), node, rule))
        for node in (90, 65, 45, 32)
    ]
    for quantity in ("energy_j", "latency_s", "area_mm2"):
        values = [getattr(cost, quantity) for cost in costs]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("rule", RULES)
def test_traced_nodes_agree_with_the_host(rule):
    for node in (10.0, 28.0, 65.0, 100.0):
        np.testing.assert_allclose(
            spikeflow.scaling(65, jnp.asarray(node), rule), spikeflow.scaling(65, node, rule), rtol=1e-12
        )


def test_cells_that_are_no_transistors_stay():
    workload = spikeflow.vgg(spikeflow.VGG9)

    def areas(chip):
        return spikeflow.evaluate(workload, chip).area_by_component_mm2

    old, new = spikeflow.Chip(), spikeflow.scale_to_node(spikeflow.Chip(), 28)
    assert areas(new)["crossbar"] == areas(old)["crossbar"]
    assert math.isclose(areas(new)["adc"], areas(old)["adc"] * (28 / 65) ** 2)
    # SRAM cells shrink, whichever is asked for first.
    sram = areas(spikeflow.with_sram(old))["crossbar"] * (28 / 65) ** 2
    assert math.isclose(areas(spikeflow.with_sram(new))["crossbar"], sram)
    assert math.isclose(areas(spikeflow.scale_to_node(spikeflow.with_sram(old), 28))["crossbar"], sram)
    assert math.isclose(new.clock_hz, 250e6 * 65 / 28)
    back = spikeflow.evaluate(workload, spikeflow.scale_to_node(new, 65))
    assert math.isclose(back.energy_delay_js, spikeflow.evaluate(workload).energy_delay_js)


def test_the_node_is_a_knob_of_the_chip():
    """Constants follow the node, by the chip's rule; the clock stays where it was set."""
    workload = spikeflow.vgg(spikeflow.VGG9)
    old = spikeflow.evaluate(workload)
    for rule in RULES:
        new = spikeflow.evaluate(workload, spikeflow.Chip(node_nm=28, node_rule=rule))
        factors = spikeflow.scaling(65, 28, rule)
        energy, area = old.energy_by_component_j["adc"], old.area_by_component_mm2["adc"]
        assert math.isclose(new.energy_by_component_j["adc"], energy * factors.energy)
        assert math.isclose(new.area_by_component_mm2["adc"], area * factors.area)
        assert new.latency_s == old.latency_s
    # Constants that were measured at 28 nm say so, and grow.
    measured = spikeflow.evaluate(workload, spikeflow.Chip(constants_nm=28))
    assert measured.energy_by_component_j["adc"] > old.energy_by_component_j["adc"]


def test_bad_nodes_and_rules():
    with pytest.raises(ValueError, match=r"to_nm must lie in \[7, 180\] nm, got 5"):
        spikeflow.scaling(65, 5)
    with pytest.raises(ValueError, match=r"rule must be one of nominal-voltage.*got 'moore'"):
        spikeflow.scaling(65, 28, "moore")
