"""Costs as expectations over exits."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import spikeflow

NETWORK = spikeflow.vgg(spikeflow.VGG9)
CHIP = spikeflow.Chip(entropy_module=True)


def test_everyone_leaving_at_t_costs_t():
    for step in (1, 3):
        exits = [0.0] * 4
        exits[step - 1] = 1.0
        expected = spikeflow.early_exit_cost(NETWORK, exits, CHIP)
        cost = spikeflow.evaluate(dataclasses.replace(NETWORK, timesteps=step), CHIP)
        assert expected.timesteps == step
        assert math.isclose(expected.energy_j, cost.energy_j)
        assert math.isclose(expected.energy_delay_js, cost.energy_delay_js)
        assert math.isclose(expected.energy_j * expected.latency_s, cost.energy_delay_js)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=5))
def test_expectation_is_linear_and_its_product_convex(weights):
    exits = np.array(weights) / sum(weights)
    expected = spikeflow.early_exit_cost(NETWORK, exits.tolist(), CHIP)
    mean = float(exits @ np.arange(1, len(exits) + 1))
    assert math.isclose(expected.timesteps, mean)
    # Cost is affine in T, so the mean energy is the energy at the mean; their product is not.
    at_mean = spikeflow.evaluate(dataclasses.replace(NETWORK, timesteps=mean), CHIP)
    assert math.isclose(expected.energy_j, at_mean.energy_j, rel_tol=1e-9)
    assert math.isclose(expected.latency_s, at_mean.latency_s, rel_tol=1e-9)
    assert expected.energy_delay_js > expected.energy_j * expected.latency_s


def test_it_differentiates_to_the_fractions():
    slope = jax.jit(jax.grad(lambda p: spikeflow.early_exit_cost(NETWORK, p).energy_j))(jnp.array([0.4, 0.6]))
    single = [spikeflow.evaluate(dataclasses.replace(NETWORK, timesteps=t)).energy_j for t in (1, 2)]
    assert slope == pytest.approx(single, rel=1e-12)


@given(st.integers(2, 12), st.floats(0.02, 0.98))
def test_maximum_entropy_exits(last, position):
    mean = 1 + position * (last - 1)
    exits = np.array(spikeflow.maximum_entropy_exits(mean, last))
    steps = np.arange(1, last + 1)
    assert math.isclose(exits.sum(), 1, rel_tol=1e-9)
    assert math.isclose(exits @ steps, mean, rel_tol=1e-6)
    # No move of probability that keeps sum and mean raises the entropy.
    if last > 2:
        move = np.zeros(last)
        move[:3] = [1, -2, 1]
        slope = -(move @ np.log(exits))
        assert abs(slope) < 1e-6


def test_entropy_module_is_negligible_but_counted():
    """DT-SNN's authors call its energy negligible; here it is below a ten-thousandth."""
    cost = spikeflow.evaluate(NETWORK, CHIP)
    assert 0 < cost.energy_by_component_j["entropy"] < 1e-4 * cost.energy_j
    assert 0 < cost.area_by_component_mm2["entropy"] < 1e-3 * cost.area_mm2


def test_bad_exits():
    with pytest.raises(ValueError, match="sum to one"):
        spikeflow.early_exit_cost(NETWORK, [0.5, 0.4], CHIP)
    with pytest.raises(ValueError, match="sum to one"):
        spikeflow.early_exit_cost(NETWORK, [1.5, -0.5], CHIP)
    with pytest.raises(ValueError, match="sum to one"):
        spikeflow.early_exit_cost(NETWORK, [], CHIP)
    with pytest.raises(ValueError, match="sum to one"):
        spikeflow.early_exit_cost(NETWORK, jnp.array([0.5, 0.4]), CHIP)
    with pytest.raises(ValueError, match="strictly between 1 and last = 4, got 4"):
        spikeflow.maximum_entropy_exits(4, 4)
