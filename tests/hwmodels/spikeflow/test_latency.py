"""Schedules against a simulation that steps through every layer and timestep."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import spikeflow
from hwmodels.workload import Layer, Workload

CYCLE_S = 26 / 250e6


def _workload(sizes, timesteps, analog):
    layers = [
        Layer.conv(
            f"layer{i}",
            height=n,
            width=1,
            in_channels=8,
            out_channels=8,
            kernel=1,
            analog_input=analog and i == 0,
        )
        for i, n in enumerate(sizes)
    ]
    return Workload(layers, timesteps)


def _simulated(sizes, timesteps, start_fraction, analog):
    """Start and end of each (timestep, layer): a layer waits for itself and for the layer before."""
    ends = {}
    for t in range(timesteps):
        before_start = before_end = before = 0.0
        for i, size in enumerate(sizes):
            duration = 0.0 if analog and i == 0 and t > 0 else float(size)
            start = max(before_start + start_fraction * before, ends.get((t - 1, i), 0.0))
            end = max(start + duration, before_end + (1.0 if duration else 0.0))
            ends[t, i] = end
            before_start, before_end, before = start, end, duration
    return ends[timesteps - 1, len(sizes) - 1] * CYCLE_S


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 6))
def test_pipeline_of_whole_layers_is_the_classic_flow_shop(sizes, timesteps):
    chip = spikeflow.Chip(schedule="pipelined", pipeline_start=1.0)
    cost = spikeflow.evaluate(_workload(sizes, timesteps, analog=False), chip)
    assert math.isclose(cost.latency_s, _simulated(sizes, timesteps, 1.0, analog=False), rel_tol=1e-9)
    assert math.isclose(cost.latency_s, (sum(sizes) + (timesteps - 1) * max(sizes)) * CYCLE_S, rel_tol=1e-9)


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 6),
    st.floats(0.1, 1.0),
    st.booleans(),
)
def test_overlap_beats_a_sequence_and_a_pipeline_beats_overlap(sizes, timesteps, fraction, analog):
    workload = _workload(sizes, timesteps, analog)
    pipelined, overlapped, sequential = (
        spikeflow.evaluate(workload, spikeflow.Chip(schedule=schedule, pipeline_start=fraction))
        for schedule in ("pipelined", "overlapped", "sequential")
    )
    cycles = [max(1, size) * (1 if analog and i == 0 else timesteps) for i, size in enumerate(sizes)]
    assert math.isclose(sequential.latency_s, sum(cycles) * CYCLE_S, rel_tol=1e-9)
    assert overlapped.latency_s <= sequential.latency_s * (1 + 1e-12)
    if not analog:
        # In the pipeline every timestep closes with a cycle behind its input; overlapped layers close once.
        # Behind an image that is encoded once the overlapped order may win: it need not see all of it first.
        assert pipelined.latency_s <= overlapped.latency_s + len(sizes) * CYCLE_S
    assert overlapped.latency_s >= max(cycles) * CYCLE_S * (1 - 1e-12)
    assert math.isclose(pipelined.period_s, max(cycles) * CYCLE_S, rel_tol=1e-9)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.floats(0.1, 1.0))
def test_one_timestep_overlaps_as_simulated(sizes, fraction):
    for schedule in ("pipelined", "overlapped"):
        chip = spikeflow.Chip(schedule=schedule, pipeline_start=fraction)
        cost = spikeflow.evaluate(_workload(sizes, 1, analog=False), chip)
        assert math.isclose(cost.latency_s, _simulated(sizes, 1, fraction, analog=False), rel_tol=1e-9)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(1, 6), st.floats(0.1, 1.0))
def test_pipelined_timesteps_as_simulated(sizes, timesteps, fraction):
    chip = spikeflow.Chip(schedule="pipelined", pipeline_start=fraction)
    cost = spikeflow.evaluate(_workload(sizes, timesteps, analog=False), chip)
    assert math.isclose(cost.latency_s, _simulated(sizes, timesteps, fraction, analog=False), rel_tol=1e-9)


@pytest.mark.parametrize("schedule", ["overlapped", "pipelined"])
def test_period_is_set_by_the_slowest_layer(schedule):
    cost = spikeflow.evaluate(_workload((4, 30, 7), 3, analog=False), spikeflow.Chip(schedule=schedule))
    assert math.isclose(cost.throughput, 1 / (90 * CYCLE_S))
