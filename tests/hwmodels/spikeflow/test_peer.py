"""SpikingJelly's re-implementation of SpikeSim, on one workload in one run; skipped when it is not installed.

What each offers (SpikingJelly 2.0.0, `spikingjelly.activation_based.op_counter.spikesim`):

| | SpikingJelly | here |
| --- | --- | --- |
| energy, dense | convolutions, from a run of the model | all layers, from shapes |
| energy by events | counted on real spikes | expectation from rates |
| latency, area, placement, NoC, buffers | no | yes |
| linear layers, ANN, early exit | no | yes |
| gradients, maps over designs | no | yes |
"""

import numpy as np
import pytest

from hwmodels import spikeflow
from hwmodels.workload import Layer, Workload

torch = pytest.importorskip("torch")
peer = pytest.importorskip("spikingjelly.activation_based.op_counter.spikesim")
neuron = pytest.importorskip("spikingjelly.activation_based.neuron")

SHAPES = [(16, 48, 96), (16, 96, 160), (16, 160, 64)]
RATE, TIMESTEPS = 0.1, 3


def _peer_energy(mode, kernel, spikes):
    """Each convolution on its own random spikes, so that the rate of its input is known."""
    config = peer.SpikeSimEnergyConfig(activity_mode=mode)
    reports = []
    for (_, inputs, outputs), x in zip(SHAPES, spikes, strict=True):
        model = torch.nn.Sequential(
            torch.nn.Conv2d(inputs, outputs, kernel, bias=False), neuron.IFNode(step_mode="s")
        )
        model.eval()
        profiler = peer.SpikeSimEnergyProfiler(config=config)
        with torch.no_grad(), profiler:
            for step in x:
                model(torch.from_numpy(step[None]))
        reports.append(profiler.get_report())
    return reports


def _workload(kernel, rates):
    layers = [
        Layer.conv(
            f"conv{i}",
            height=size,
            width=size,
            in_channels=inputs,
            out_channels=outputs,
            kernel=kernel,
            input_rate=rate,
        )
        for i, ((size, inputs, outputs), rate) in enumerate(zip(SHAPES, rates, strict=True))
    ]
    return Workload(tuple(layers), TIMESTEPS)


@pytest.fixture
def spikes():
    generator = np.random.default_rng(0)
    return [
        (generator.random((TIMESTEPS, inputs, size, size)) < RATE).astype(np.float32)
        for size, inputs, _ in SHAPES
    ]


def test_dense_energy_is_the_published_rule(spikes):
    reports = _peer_energy("dense", 3, spikes)
    cost = spikeflow.evaluate(_workload(3, [RATE] * 3), conventions="published")
    theirs = [report.energy_total_pj * 1e-12 for report in reports]
    np.testing.assert_allclose(list(cost.energy_by_layer_j.values()), theirs, rtol=1e-12)


def test_crossbar_energy_by_events_is_the_expectation(spikes):
    """SpikingJelly charges a driven row 8/64 of a crossbar's read, more where its block is partly filled, so
    that a fully driven block costs its eight reads; here the eight reads scale with the rate."""
    reports = _peer_energy("event", 3, spikes)
    rates = [float(x.mean()) for x in spikes]
    chip = spikeflow.Chip(activity="spikes")
    ours = spikeflow.evaluate(
        _workload(3, rates), chip, conventions="published"
    ).energy_by_layer_and_component_j
    for report, row in zip(reports, ours.values(), strict=True):
        # What is left is noise: at the border a spike meets fewer windows than in the centre.
        assert row["crossbar"] == pytest.approx(report.breakdown_pj["xbar_pj"] * 1e-12, rel=0.03)
