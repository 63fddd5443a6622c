"""Derivatives against finite differences in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels import spikeflow
from hwmodels.spikeflow import energy as energy_module
from hwmodels.spikeflow import placement as placement_module
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference

QUANTITIES = ("energy_j", "latency_s", "area_mm2")


def _network(rates=(0.2, 0.1, 0.3), timesteps=4.0):
    """Sizes that fill crossbars, PEs and tiles exactly: there a relaxed count equals the count."""
    shapes = [(16, 64, 64, 1), (16, 64, 128, 2), (8, 128, 128, 1)]
    layers = [
        Layer.conv(
            f"conv{i}",
            height=size,
            width=size,
            in_channels=inputs,
            out_channels=outputs,
            padding=1,
            pool=pool,
            input_rate=rate,
        )
        for i, ((size, inputs, outputs, pool), rate) in enumerate(zip(shapes, rates, strict=True))
    ]
    return Workload([*layers, Layer.linear("fc", in_features=576, out_features=64)], timesteps)


def _logs(cost):
    return jnp.stack([jnp.log(jnp.asarray(getattr(cost, name), float)) for name in QUANTITIES])


def _check(function, at, step=1e-5):
    gradient = jax.jacobian(lambda x: _logs(function(x)))(jnp.asarray(at, float))
    for index in range(len(QUANTITIES)):
        expected = finite_difference(lambda x, i=index: _logs(function(x))[i], at, step)
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-9)
    return np.asarray(gradient)


@pytest.mark.parametrize("schedule", ["overlapped", "pipelined", "sequential"])
def test_timesteps(schedule):
    chip = spikeflow.Chip(schedule=schedule, entropy_module=True)
    gradient = _check(lambda t: spikeflow.evaluate(_network(timesteps=t), chip), 4.0)
    assert gradient[0] > 0
    assert gradient[1] > 0


def test_spike_rates():
    chip = spikeflow.Chip(activity="spikes")
    gradient = _check(
        lambda r: spikeflow.evaluate(_network(rates=(r[0], r[1], r[2])), chip), np.array([0.002, 0.01, 0.05])
    )
    assert (gradient[0] > 0).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("adc_bits", 5.0),
        ("membrane_bits", 12.0),
        ("clock_hz", 3e8),
        ("cycle_clocks", 20.0),
        ("channel_sharing", 2.0),
        ("pipeline_start", 0.6),
    ],
)
def test_smooth_parameters(name, value):
    gradient = _check(lambda x: spikeflow.evaluate(_network(), spikeflow.Chip(**{name: x})), value)
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("kind", ["flash", "sar"])
def test_adc_bits_of_both_kinds(kind):
    adc = spikeflow.Adc(kind=kind)
    _check(lambda b: spikeflow.evaluate(_network(), spikeflow.Chip(adc=adc, adc_bits=b)), 6.0)


@pytest.mark.parametrize("partition", ["kernel-split", "flatten"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crossbar_rows", 64.0),
        ("crossbar_columns", 64.0),
        ("pes_per_tile", 4.0),
        ("kernel", 3.0),
        ("mux_ratio", 8.0),
    ],
)
def test_integer_parameters_are_straight_through(monkeypatch, name, value, partition):
    """Where every count is whole, the straight-through derivative is that of the counts before rounding."""
    # A kernel-split linear layer of 576 inputs fills nine crossbars, that is one PE. Hops are relaxed apart.
    still = spikeflow.Mesh(hop_bit_j=0.0)

    def evaluate(x):
        chip = {"mesh": still, "partition": partition, "pes_per_tile": 4.0} | {name: x}
        return spikeflow.evaluate(_network(), spikeflow.Chip(**chip))

    placed = spikeflow.place(_network(), spikeflow.Chip(partition=partition, pes_per_tile=4.0))
    assert all(layer.utilisation == 1 for layer in placed.layers)
    assert placed.pes == 8
    exact = [getattr(evaluate(value), quantity) for quantity in QUANTITIES]
    gradient = jax.jacobian(lambda x: _logs(evaluate(x)))(value)

    for module in (placement_module, energy_module):
        monkeypatch.setattr(module, "ceil_divide", lambda a, b: a / b)
    relaxed = [getattr(evaluate(value), quantity) for quantity in QUANTITIES]
    np.testing.assert_allclose(relaxed, exact, rtol=1e-12)
    for index in range(len(QUANTITIES)):
        expected = finite_difference(lambda x, i=index: _logs(evaluate(float(x)))[i], value, 1e-6)
        np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-8)
    assert abs(gradient[2]) > 0


def test_hops_follow_their_relaxation():
    """More PEs a tile make fewer tiles, a smaller mesh and fewer hops."""

    def noc_j(pes_per_tile):
        workload = spikeflow.vgg(spikeflow.VGG9)
        return spikeflow.evaluate(workload, spikeflow.Chip(pes_per_tile=pes_per_tile)).energy_by_component_j[
            "noc"
        ]

    value, slope = jax.value_and_grad(noc_j)(2.0)
    np.testing.assert_allclose(value, noc_j(2), rtol=1e-12)
    assert slope < 0
    assert noc_j(16) < noc_j(2)


def test_a_search_by_gradient_finds_a_cheaper_chip():
    workload = spikeflow.vgg(spikeflow.VGG9)

    def loss(log2_size):
        chip = spikeflow.Chip(crossbar_rows=2**log2_size, crossbar_columns=2**log2_size)
        return jnp.log(spikeflow.evaluate(workload, chip).energy_delay_js)

    size, step = jnp.asarray(5.0), jax.jit(jax.grad(loss))
    for _ in range(10):
        size = jnp.clip(size - 0.2 * step(size), 4.0, 8.0)
    assert size > 5.5
    assert spikeflow.evaluate(
        workload, spikeflow.Chip(crossbar_rows=64, crossbar_columns=64)
    ).energy_delay_js < (
        spikeflow.evaluate(workload, spikeflow.Chip(crossbar_rows=32, crossbar_columns=32)).energy_delay_js
    )


def test_gradients_reach_every_constant_in_use():
    def total(components):
        chip = spikeflow.Chip(components=components, entropy_module=True)
        cost = spikeflow.evaluate(spikeflow.vgg(spikeflow.VGG9), chip)
        return cost.energy_j * 1e5 + cost.area_mm2

    constants = jax.tree.map(lambda x: jnp.asarray(x, float), spikeflow.Components())
    gradient = jax.grad(total)(constants)
    unused = {
        name for name, value in vars(gradient).items() if value == 0 and not name.startswith("comparator")
    }
    # Two published energies serve the published conventions alone.
    assert unused == {"subtractor_j", "membrane_fetch_j"}


def test_node_is_differentiable():
    def energy(node):
        return spikeflow.evaluate(_network(), spikeflow.scale_to_node(spikeflow.Chip(), node)).energy_j

    expected = finite_difference(lambda n: energy(float(n)), 50.0, 1e-6)
    np.testing.assert_allclose(jax.grad(energy)(50.0), expected, rtol=1e-5)


def test_mapped_gradients_are_finite():
    def edp(rows, pes, timesteps):
        chip = spikeflow.Chip(crossbar_rows=rows, pes_per_tile=pes, activity="spikes")
        return spikeflow.evaluate(dataclasses.replace(_network(), timesteps=timesteps), chip).energy_delay_js

    designs = jnp.array([[16.0, 1.0, 1.0], [33.0, 7.0, 2.0], [256.0, 8.0, 8.0]])
    gradients = jax.jit(jax.vmap(jax.grad(edp, argnums=(0, 1, 2))))(*designs.T)
    assert all(np.isfinite(g).all() for g in gradients)
