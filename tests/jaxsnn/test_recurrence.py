"""Recurrent layers: the equation, the gradient, records, chunks, exits, and chips."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.crossbar import Crossbar, deploy
from hwmodels.sata.activity import layer_activity
from hwmodels.sata.conventions import CORRECTIONS
from hwmodels.spikeflow.placement import place
from hwmodels.workload import Workload
from jaxsnn.codesign.program import program
from jaxsnn.codesign.workload import to_workload, workload_of
from jaxsnn.encoding import Direct, Frames
from jaxsnn.layers import Block, Conv, Linear, synapses
from jaxsnn.learning.early_exit import run_until_sure
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, AdaptiveLIF, Neuron, ParametricLIF, Readout
from jaxsnn.recurrence import Recurrent
from jaxsnn.signal import Signal

T = 8
X = np.random.default_rng(0).uniform(0, 2, (T, 2, 6))


class Smooth(Neuron):
    """A stand-in without a step: u = 0.6·u₋₁ + I, o = tanh(u)."""

    spiking = False

    def __call__(self, current, state):
        state = 0.6 * state + current
        return jnp.tanh(state), state


def network(neuron=None, encoding=Frames()):
    options = {"param_dtype": jnp.float64}
    hidden = Block(
        "hidden", Linear(6, 5, rngs=nnx.Rngs(0), **options), neuron or LIF(leak=0.8, threshold=0.6)
    )
    last = Block("out", Linear(5, 3, rngs=nnx.Rngs(1), **options), Readout())
    return Network([Recurrent(hidden, rngs=nnx.Rngs(2)), last], encoding)


@nnx.jit(static_argnames=("chunk", "remat"))
def outputs(net, x, chunk=None, remat=False):
    return net.outputs(x, timesteps=T, chunk=chunk, remat=remat)


def kernels(net):
    layer = net.layers[0]
    return [np.asarray(k[...]) for k in (layer.block.synapse.kernel, layer.recurrent.kernel)]


def test_neurons_hear_their_own_spikes_of_the_step_before():
    net = network()
    w, v = kernels(net)
    u, o, spikes = np.zeros((2, 5)), np.zeros((2, 5)), []
    for x in X:
        u = 0.8 * u + x @ w + o @ v
        o = (u > 0.6).astype(float)
        u = u * (1 - o)
        spikes.append(o)
    spikes = np.array(spikes)
    assert 0.05 < spikes.mean() < 0.9
    signal = Signal(values=jnp.asarray(X), steps=T, analog=False)
    found, _, (feedforward, recurrent) = net.layers[0](signal, None, start=0)
    np.testing.assert_array_equal(found.values, spikes)
    np.testing.assert_allclose(feedforward.spike_rate, spikes.mean(), rtol=1e-6)
    np.testing.assert_allclose(recurrent.input_rate, spikes[:-1].sum() / spikes.size, rtol=1e-6)
    assert (recurrent.name, recurrent.recurrent, recurrent.spiking) == ("hidden_recurrent", True, False)
    assert (recurrent.in_channels, recurrent.out_channels, recurrent.source) == (5, 5, "hidden")


@pytest.mark.parametrize("neuron", [LIF(leak=0.8, threshold=0.6), AdaptiveLIF(leak=0.8, threshold=0.5)])
def test_chunks_and_checkpoints_change_no_number(neuron):
    net = network(neuron)
    whole, record = outputs(net, jnp.asarray(X))
    for chunk, remat in ((3, False), (2, True)):
        parts, parts_record = outputs(net, jnp.asarray(X), chunk=chunk, remat=remat)
        np.testing.assert_allclose(parts, whole, rtol=1e-12)
        rates = [(float(r.input_rate), float(r.spike_rate)) for r in parts_record]
        np.testing.assert_allclose(rates, [(r.input_rate, r.spike_rate) for r in record], rtol=1e-6)


def test_the_gradient_through_time_is_the_finite_difference():
    graph, params, rest = nnx.split(network(Smooth()), nnx.Param, ...)
    leaves, tree = jax.tree.flatten(params)

    def loss(leaves, chunk=None):
        net = nnx.merge(graph, jax.tree.unflatten(tree, leaves), rest)
        return jnp.sum(net.outputs(jnp.asarray(X), timesteps=T, chunk=chunk, remat=chunk is not None)[0] ** 2)

    value = jax.jit(loss)
    plain, lean = (jax.jit(jax.grad(lambda leaves, c=c: loss(leaves, c)))(leaves) for c in (None, 2))
    rng = np.random.default_rng(1)
    for index, leaf in enumerate(leaves):
        direction = rng.normal(size=leaf.shape)

        def moved(step, index=index, direction=direction):
            return value([x + step * direction if i == index else x for i, x in enumerate(leaves)])

        difference = (moved(1e-5) - moved(-1e-5)) / 2e-5
        np.testing.assert_allclose(np.sum(plain[index] * direction), difference, rtol=1e-6)
        np.testing.assert_allclose(lean[index], plain[index], rtol=1e-9, atol=1e-12)


def test_recurrent_weights_are_layers_of_a_chip():
    net = network()
    _, record = outputs(net, jnp.asarray(X))
    names = ["hidden", "hidden_recurrent", "out"]
    assert [layer.name for layer in to_workload(record, T).layers] == names
    assert [layer.name for layer in workload_of(net, (6,), T, rates=0.2).layers] == names
    params = nnx.split(net, nnx.Param, ...)[1]
    on_chip = deploy(params, Crossbar(rows=8, columns=8), jax.random.key(0))
    changed = [
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(on_chip), strict=True)
    ]
    assert changed == [True] * 3


def test_recurrent_costs_are_those_of_a_count_by_hand():
    """Rows, the activity of the step before, the addition of both currents and the way that they take."""
    net, x = network(), np.asarray(X)
    _, record = outputs(net, jnp.asarray(X))
    block, back = net.layers[0].block, np.asarray(net.layers[0].recurrent.kernel[...])
    potential, fired = np.zeros((x.shape[1], 5)), np.zeros((x.shape[1], 5))
    before = []
    for current in x @ np.asarray(block.synapse.kernel[...]):
        before.append(fired)
        potential = block.neuron.leak * potential + current + fired @ back
        fired = (potential > block.neuron.threshold).astype(float)
        potential = np.where(fired, 0, potential)
    assert 0 < np.mean(before) < 1
    np.testing.assert_allclose(record[1].input_rate, np.mean(before), rtol=1e-6)
    hidden, recurrent, _ = layers = to_workload(record, T).layers
    assert (recurrent.source, recurrent.spiking, hidden.shortcut) == ("hidden", False, "hidden_recurrent")
    chip = spikeflow.Chip(crossbar_rows=4, crossbar_columns=4, mux_ratio=4, partition="flatten")
    placed = place(Workload(layers, T), chip).layers[1]
    assert (placed.row_blocks, placed.column_blocks) == (2, 2)  # 5 rows, 5 columns.
    alone = tuple(
        dataclasses.replace(layer, residual_add=False, shortcut=None) if layer is hidden else layer
        for layer in layers
    )
    # Not added up, V would be a layer of its own; added up, it has no neurons.
    without = tuple(layer for layer in alone if layer is not recurrent)
    both, apart, less = (
        chip.cost(Workload(each, T)).energy_by_component_j for each in (layers, alone, without)
    )
    assert both["accumulator"] - apart["accumulator"] == pytest.approx(5 * T * chip.components.adder_16_bit_j)
    for name in ("neuron", "membrane"):
        assert both[name] == pytest.approx(less[name])
        assert apart[name] > less[name]
    counts, less = (
        layer_activity(each[0], T, sata.Accelerator(), frozenset(CORRECTIONS)) for each in (layers, alone)
    )
    assert counts["additions"] - less["additions"] == 5 * T


def test_kernels_that_no_cost_model_knows_are_refused_by_name():
    for options in ({"groups": 2}, {"dilation": 2}):
        conv = Conv(2, 2, padding=2, rngs=nnx.Rngs(0), **options)
        inputs = 2 * math.prod(10 - 2 * step for step in conv.dilation)
        last = Linear(inputs, 2, rngs=nnx.Rngs(0))
        net = Network([Block("odd", conv, LIF()), Block("out", last, LIF())])
        with pytest.raises(ValueError, match=r"'odd' has . groups and dilation .*dense kernels alone"):
            workload_of(net, (6, 6, 2), 2)


def test_converters_of_recurrent_weights_are_calibrated_on_all_timesteps():
    net = network()
    chip = spikeflow.Chip(
        crossbar_rows=8, crossbar_columns=8, adc_bits=8, calibration="column", full_scale="calibrated"
    )
    x = jnp.asarray(X, jnp.float32)
    on_chip = program(net, chip, jax.random.key(0), images=x, timesteps=T)
    scales = [layer.product.tiles.adc_full_scale for layer in synapses(on_chip).values()]
    assert len(scales) == 3
    assert all(np.isfinite(float(scale)) and float(scale) > 0 for scale in scales)
    found = on_chip.unroll(x)
    assert np.all(np.isfinite(np.asarray(found)))


def test_exits_keep_the_recurrent_state():
    net = network(encoding=Direct())
    images = jnp.asarray(X[0], jnp.float32)
    logits, _ = nnx.jit(lambda net, x: net(x, timesteps=T))(net, images)
    found = run_until_sure(net, images, timesteps=T, entropy=0.0)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-5)


def test_time_constants_of_every_neuron_are_learnt():
    net = network(ParametricLIF(leak=np.linspace(0.5, 0.9, 5), threshold=0.6))
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(nnx.merge(graph, p, rest)(jnp.asarray(X))[0] ** 2)))(params)
    leaks = nnx.merge(graph, gradient, rest).layers[0].block.neuron.leak_logit[...]
    assert leaks.shape == (5,)
    assert np.all(np.isfinite(leaks))
    assert np.any(leaks != 0)


def test_maps_recur_by_a_convolution():
    block = Block("map", Conv(2, 3, (3, 1), padding=(1, 0), rngs=nnx.Rngs(0)), LIF(), pool=2)
    layer = Recurrent(block, rngs=nnx.Rngs(1))
    assert layer.recurrent.kernel.shape == (3, 1, 3, 3)
    signal = Signal(values=jnp.ones((2, 1, 4, 4, 2), jnp.float32), steps=2, analog=False)
    out, _, records = layer(signal, None, start=0)
    assert out.values.shape == (2, 1, 2, 2, 3)
    assert (records[1].height, records[1].padding) == (4, (1, 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b: Recurrent(b), "'a': give recurrent weights, or rngs"),
        (
            lambda b: Recurrent(b, Linear(3, 4, rngs=nnx.Rngs(0))),
            "'a': its recurrent weights must go from its 4",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(Block("a", Linear(3, 4, rngs=nnx.Rngs(0)), LIF()))
