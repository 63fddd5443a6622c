"""Attention between spikes, and the transformer made of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.flops import estimated_energy
from jaxsnn.attention import SpikingAttention, attend
from jaxsnn.codesign import EnergyPenalty, to_workload, workload_of
from jaxsnn.codesign.attention import attention_energy_j, attention_workloads
from jaxsnn.codesign.evaluate import _estimated_j, _on_chip
from jaxsnn.codesign.workload import inference_energy_j
from jaxsnn.data.datasets import load
from jaxsnn.layers import Block, Conv
from jaxsnn.learning.evaluation import Evaluation
from jaxsnn.learning.training import TrainConfig, fit
from jaxsnn.models.spikformer import spikformer
from jaxsnn.neuron import LIF, Readout
from tests.helpers import finite_difference

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 2, 2, 6)  # (time, batch, height, width, channels)
QUERY, KEY, VALUE = RNG.normal(size=(3, *SHAPE))


def by_hand(query, key, value, heads):
    """One timestep, image, head and pair of tokens after another."""
    out = np.zeros(value.shape)
    d = query.shape[-1] // heads
    for t, b in np.ndindex(query.shape[:2]):
        q, k, v = (part[t, b].reshape(-1, part.shape[-1]) for part in (query, key, value))
        o = out[t, b].reshape(-1, value.shape[-1])
        for head in range(heads):
            part = slice(head * d, head * d + d)
            for n, m in np.ndindex(len(q), len(q)):
                o[n, part] += (q[n, part] @ k[m, part]) * v[m, part]
    return out


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_products_are_those_by_hand(heads):
    found = attend(jnp.asarray(QUERY), jnp.asarray(KEY), jnp.asarray(VALUE), heads)
    np.testing.assert_allclose(found, by_hand(QUERY, KEY, VALUE, heads), rtol=1e-12, atol=1e-12)


def test_its_gradient_is_that_of_finite_differences():
    one = tuple(part[:1, :1] for part in (QUERY, KEY, VALUE))
    weight = jnp.asarray(VALUE[1:, :1])
    for number in range(3):

        def cost(x, number=number):
            parts = [jnp.asarray(part) for part in one]
            parts[number] = x
            return jnp.sum(weight * jnp.tanh(attend(*parts, 2)))

        right = finite_difference(lambda x, cost=cost: cost(jnp.asarray(x)), one[number])
        np.testing.assert_allclose(jax.grad(cost)(jnp.asarray(one[number])), right, rtol=1e-6, atol=1e-8)


@nnx.jit(static_argnames="chunk")
def outputs_of(network, images, chunk=None):
    return network.outputs(images, timesteps=3, chunk=chunk)


@pytest.fixture(scope="module")
def run():
    network = spikformer(channels=16, heads=2, rngs=nnx.Rngs(0))
    images = jax.random.uniform(jax.random.key(1), (3, 8, 8, 1), jnp.float32)
    outputs, record = outputs_of(network, images)
    return network, images, outputs, record


def test_the_transformer_says_what_it_asks_of_a_chip(run):
    _, _, _, record = run
    by_name = {layer.name: layer for layer in record}
    assert list(by_name) == [
        *("embed1", "embed2"),
        *("query1", "key1", "value1", "projection1", "mlp1_1", "mlp1_2"),
        "fc",
    ]
    last = by_name["projection1"]
    assert (last.source, last.shortcut, last.attention.key) == ("value1", "embed2", "key1")
    assert [layer.name for layer in record if layer.attention] == ["projection1"]
    assert all(0 < float(layer.spike_rate) < 1 for layer in record if layer.spiking)
    with pytest.raises(
        ValueError, match="'projection1' comes after products of spikes with spikes, which no"
    ):
        to_workload(record, 3)
    with pytest.raises(ValueError, match="'projection1' comes after products"):
        workload_of(run[0], (8, 8, 1), 3)
    rates = {layer.name: float(layer.input_rate) for layer in record}
    workload = workload_of(run[0], (8, 8, 1), 3, rates, attention="apart")
    for chip in (sata.Accelerator(), spikeflow.Chip()):
        energies = chip.cost(workload).energy_by_layer_j
        assert set(energies) == set(by_name)
        assert all(value > 0 for value in energies.values())


def test_time_may_be_cut(run):
    network, images, outputs, _ = run
    found, _ = outputs_of(network, images, chunk=1)
    np.testing.assert_allclose(found, outputs, rtol=1e-5, atol=1e-5)


def test_products_of_spikes_are_priced_on_a_digital_chip(run):
    _, _, _, record = run
    workloads = attention_workloads(record, 3)
    assert list(workloads) == ["projection1: scores", "projection1: mixture"]
    tokens, channels, heads = 16, 16, 2
    for workload in workloads.values():
        (layer,) = workload.layers
        additions = layer.height * layer.width * layer.in_channels * layer.out_channels
        assert heads * additions == tokens**2 * channels
    energies = attention_energy_j(record, 3)
    assert all(value > 0 for value in energies.values())

    def changed(name, rate):
        return tuple(
            dataclasses.replace(layer, spike_rate=rate) if layer.name == name else layer for layer in record
        )

    for name, part in (("query1", "scores"), ("value1", "mixture")):
        low, high = (attention_energy_j(changed(name, rate), 3) for rate in (0.1, 0.9))
        moved = [key for key in energies if low[key] != high[key]]
        assert moved == [f"projection1: {part}"]
        assert low[moved[0]] < high[moved[0]]
    twice = attention_energy_j(record, 6)
    assert all(twice[name] > 1.5 * energies[name] for name in energies)
    with pytest.raises(ValueError, match="multiplies the spikes of 'query1', which is not among the records"):
        attention_workloads(record[3:], 3)
    assert attention_workloads(record[:2], 3) == {}


@pytest.mark.parametrize("crossbars", [True, False])
def test_products_are_in_a_digital_chips_cost_and_beside_a_crossbar_chips(run, crossbars):
    _, _, _, record = run
    chip = spikeflow.Chip() if crossbars else sata.Accelerator()
    one = Evaluation(0.9, 0.1, record, np.zeros(3, np.int32))
    found = _on_chip("chip", chip, [one], [[one]], 3, 1, "corrected")
    products = attention_energy_j(record, 3)
    layers = chip.cost(to_workload(record, 3, attention="apart"))
    assert float(inference_energy_j(record, 3, chip)) == pytest.approx(found.energy_j, rel=1e-6)
    if crossbars:
        assert found.energy_j == float(layers.energy_j)
        assert found.beside_j == pytest.approx(products)
        assert found.numbers()["beside_j"] == found.beside_j
        return
    assert found.beside_j == {}
    assert found.energy_j == pytest.approx(float(layers.energy_j) + sum(products.values()), rel=1e-6)
    assert found.latency_s > float(layers.latency_s)
    assert found.area_mm2 == float(layers.area_mm2)
    assert set(found.cost.energy_by_layer_j) == {layer.name for layer in record} | set(products)
    for parts in (found.cost.energy_by_layer_j, found.cost.energy_by_component_j):
        assert sum(map(float, parts.values())) == pytest.approx(found.energy_j, rel=1e-6)
    assert sum(map(float, found.cost.latency_by_layer_s.values())) == pytest.approx(found.latency_s, rel=1e-6)


def test_a_penalty_sees_the_products(run):
    """Its slope to the queries' rate is that of the scores, as energy is affine in it."""
    record = run[3]
    chip = sata.Accelerator()

    def energy_nj(rate, priced=chip):
        changed = tuple(
            dataclasses.replace(layer, spike_rate=rate) if layer.name == "query1" else layer
            for layer in record
        )
        return 1e9 * inference_energy_j(changed, 3.0, priced)

    slope = float(energy_nj(0.6)) - float(energy_nj(0.4))
    assert slope > 0
    assert float(jax.grad(energy_nj)(0.5)) == pytest.approx(slope / 0.2, rel=1e-3)
    assert energy_nj(0.6, spikeflow.Chip()) == energy_nj(0.4, spikeflow.Chip())
    penalty = EnergyPenalty(1.0, 1e-9, entropy=0.1, temperature=0.1, chip=chip)
    outputs = jnp.zeros((1, 1, 10))  # One timestep is all that there is.
    assert float(penalty(outputs, record, None)) == pytest.approx(
        float(1e9 * inference_energy_j(record, 1, chip)), rel=1e-5
    )
    assert _estimated_j(record, 3) > float(estimated_energy(to_workload(record, 3, attention="apart")))


def block(name, inputs=8, outputs=8, **options):
    neuron = options.pop("neuron", LIF())
    return Block(name, Conv(inputs, outputs, 1, padding=0, rngs=nnx.Rngs(0)), neuron, **options)


def parts(**change):
    return {name: block(name) for name in ("query", "key", "value", "projection")} | change


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"heads": 3}, "'query': 3 heads do not divide its 8 channels"),
        ({}, {"heads": 0}, "'query': 0 heads"),
        ({}, {"scale": 0.0}, "'projection': the scale of attention is positive"),
        ({"key": block("key", 8, 4)}, {}, "'key': 4 channels do not fit the 8"),
        ({"projection": block("projection", 4, 8)}, {}, "'projection': 4 channels do not fit the 8"),
        ({"value": block("value", neuron=Readout())}, {}, "'value': queries, keys and values are spikes"),
        ({"query": block("query", pool=2)}, {}, "'query': queries, keys and values are spikes, not pooled"),
    ],
)
def test_widths_that_do_not_fit_are_refused(change, options, message):
    with pytest.raises(ValueError, match=message):
        SpikingAttention(**parts(**change), neuron=LIF(), **options)


@pytest.mark.parametrize("options", [{"image_size": 9}, {"channels": 31}, {"depth": 0}, {"halvings": -1}])
def test_sizes_that_do_not_divide_are_refused(options):
    with pytest.raises(ValueError, match="halvings must divide image_size"):
        spikformer(rngs=nnx.Rngs(0), **options)


@pytest.mark.long
def test_it_learns_digits():
    config = TrainConfig(epochs=25, timesteps=4, learning_rate=3e-3, schedule="cosine")
    assert fit(spikformer(rngs=nnx.Rngs(0)), load("digits"), config).test_accuracy > 0.9
