"""Max pooling of spikes, currents and analogue maps: against torch's networks, NumPy, and in records."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels.routes import is_projection
from jaxsnn.codesign.workload import workload_of
from jaxsnn.composite import SharedMembrane
from jaxsnn.encoding import Direct, Frames
from jaxsnn.graph import Graph
from jaxsnn.interop.torch import load_weights
from jaxsnn.layers import Block, Conv, Linear, Neurons
from jaxsnn.learning.conversion import convert
from jaxsnn.models.vgg import vgg
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, Identity, Readout, ReLU
from jaxsnn.normalization import BatchNorm
from jaxsnn.operations import Pool
from tests.helpers import REFERENCE

ANSWERS = np.load(REFERENCE / "neurons" / "max_pooling.npz")
RNGS = nnx.Rngs(0)


def patches(x, side=2):
    """(..., height, width, channels) as patches, (..., h, w, side², channels)."""
    *lead, height, width, channels = x.shape
    h, w = height // side, width // side
    cut = x[..., : h * side, : w * side, :].reshape(*lead, h, side, w, side, channels)
    return np.moveaxis(cut, -4, -3).reshape(*lead, h, w, side * side, channels)


def of_snntorch():
    neuron = partial(LIF, leak=0.1, threshold=0.3)  # The file has others.
    pool = {"pool": 2, "pooling": "max", "pool_first": True}
    return Network(
        [
            Block("conv1", Conv(2, 4, use_bias=True, rngs=RNGS), neuron(), **pool),
            Block("conv2", Conv(4, 3, padding=0, use_bias=True, rngs=RNGS), neuron(), **pool),
            Block("fc", Linear(3, 5, use_bias=True, rngs=RNGS), neuron()),
        ],
        Frames(),
    )


def of_spikingjelly():
    neuron = partial(IF, threshold=0.5, inclusive=True)
    pool = {"pool": 2, "pooling": "max"}
    return Network(
        [
            Block("conv1", Conv(2, 4, rngs=RNGS), neuron(), norm=BatchNorm(4), **pool),
            Block("conv2", Conv(4, 3, padding=0, rngs=RNGS), neuron(), **pool),
            Block("fc", Linear(3, 5, rngs=RNGS), neuron()),
        ],
        Frames(),
    )


@pytest.mark.parametrize(("peer", "make"), [("snntorch", of_snntorch), ("spikingjelly", of_spikingjelly)])
def test_a_torch_network_with_max_pooling_fires_the_same_spikes(peer, make):
    network = make()
    prefix = f"{peer}_state/"
    load_weights(network, {k.removeprefix(prefix): ANSWERS[k] for k in ANSWERS if k.startswith(prefix)})
    inputs = np.moveaxis(ANSWERS[f"{peer}_inputs"], 2, -1).astype(np.float32)
    spikes = jax.jit(lambda x: network.unroll(x))(inputs)
    assert 0.1 < ANSWERS[f"{peer}_spikes"].mean() < 0.9
    np.testing.assert_array_equal(spikes, ANSWERS[f"{peer}_spikes"])


def two(**options):
    return Network(
        [
            Block("conv", Conv(1, 3, rngs=nnx.Rngs(1)), LIF(threshold=0.5), **options),
            Block("fc", Linear(12 if options else 75, 4, rngs=nnx.Rngs(2)), Readout()),
        ]
    )


def test_the_largest_of_spikes_is_their_or_and_the_rates_are_those_of_the_pooled_map():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 5, 5, 1)), jnp.float32)
    whole = two()
    spikes = np.asarray(
        whole.layers[0](whole.encoding(images, start=0, steps=6, key=None), None, start=0)[0].values
    )
    for first in (False, True):
        network = two(pool=2, pooling="max", pool_first=first)
        out, _, (record,) = network.layers[0](
            network.encoding(images, start=0, steps=6, key=None), None, start=0
        )
        if not first:
            np.testing.assert_array_equal(out.values, patches(spikes).max(axis=-2))
            np.testing.assert_allclose(record.spike_rate, spikes.mean())
        assert set(np.unique(out.values)) == {0, 1}
        _, records = network(images, timesteps=6)
        np.testing.assert_allclose(records[1].input_rate, np.mean(out.values))
        np.testing.assert_allclose(out.activity, out.values)
        facts = records[0].pool, records[0].pooling, records[0].pool_first, records[1].input_pool
        assert facts == (2, "max", first, 1)


def test_currents_are_pooled_before_neurons():
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 5, 5, 1)), jnp.float32)
    network = two(pool=2, pooling="max", pool_first=True)
    conv = network.layers[0].synapse
    currents = patches(np.asarray(conv(images[None]))[0]).max(axis=-2)
    potential, expected = np.zeros_like(currents), []
    for _ in range(6):
        potential = np.float32(network.layers[0].neuron.leak) * potential + currents
        expected.append(potential > 0.5)
        potential = np.where(expected[-1], 0, potential)
    out, _, _ = network.layers[0](network.encoding(images, start=0, steps=6, key=None), None, start=0)
    np.testing.assert_array_equal(out.values, expected)


def test_the_gradient_goes_to_the_first_of_equals_as_in_torch():
    x = jnp.asarray([[0.0, 1, 1, 1], [0, 0, 1, 0]]).reshape(1, 1, 2, 4, 1)
    slope = jax.grad(lambda x: Pool(2, kind="max")._windows(x, jax.lax.max).sum())(x)
    np.testing.assert_array_equal(slope[0, 0, :, :, 0], [[0, 1, 1, 0], [0, 0, 0, 0]])


def test_plans_have_max_pooling(as_users_run):
    options = {"image_size": 8, "width": 0.05, "rngs": nnx.Rngs(0)}
    plan = ((64, "P", 64, "M", 64, "GAP"), ())
    kinds = [b.pooling for b in vgg(plan, **options).layers]
    assert kinds == ["average", "max", "average", "average"]
    kinds = [b.pooling for b in vgg(plan, pooling="max", **options).layers]
    assert kinds == ["max", "max", "average", "average"]
    with pytest.raises(ValueError, match="poolings are 'P', 'M' and 'GAP', got 'X'"):
        vgg(((64, "X"), ()), **options)
    for plan_of_none in ((("P", 8), ()), ((8, "M", "M"), ())):
        with pytest.raises(ValueError, match="pools a convolution's map, and before it comes"):
            vgg(plan_of_none, **options)
    with pytest.raises(ValueError, match="'conv1': pooling must be 'average' or 'max', got 'min'"):
        vgg(plan, pooling="min", **options)


def test_workloads_and_graphs_say_how_maps_are_pooled():
    network = vgg(((4, "M", 4, "P"), ()), image_size=8, in_channels=1, rngs=nnx.Rngs(0))
    layers = workload_of(network, (8, 8, 1), timesteps=2, rates=0.5).layers
    assert [(x.pooling, x.averaged, x.input_pool) for x in layers] == [
        ("max", 1, 1), ("average", 2, 1), ("average", 1, 2)
    ]  # fmt: skip
    for order, first in ((["conv", "pool", "lif"], True), (["conv", "lif", "pool"], False)):
        nodes = {"conv": Conv(1, 2, rngs=RNGS), "lif": LIF(), "pool": Pool(2, kind="max")}
        graph = Graph(nodes, list(zip(["input", *order], [*order, "output"], strict=True)))
        network = Network([graph, Block("fc", Linear(8, 2, rngs=RNGS), Readout())])
        conv, fc = workload_of(network, (4, 4, 1), timesteps=2).layers
        assert (conv.pool, conv.pooling, conv.pool_first, fc.input_pool) == (2, "max", first, 1)
        assert conv.neurons == (8 if first else 32)


def ann(pooling="max"):
    return Network(
        [
            Block("conv", Conv(1, 3, rngs=nnx.Rngs(4)), ReLU(), pool=2, pooling=pooling),
            Block("fc", Linear(12, 4, rngs=nnx.Rngs(5)), Readout()),
        ]
    )


def test_converted_max_pooling_is_exact_behind_a_direct_encoding(as_users_run):
    """The largest current's neuron fires at the largest rate; an OR of spikes fires more often."""
    images = jnp.asarray(np.random.default_rng(1).uniform(size=(3, 4, 4, 1)), jnp.float32)
    options = {"timesteps": 64, "encoding": Direct()}
    rates = {}
    for kind in ("currents", "spikes"):
        snn, thresholds = convert(ann(), images, max_pooling=kind, **options)
        out, _, _ = snn.layers[0](snn.encoding(images, start=0, steps=64, key=None), None, start=0)
        rates[kind] = np.asarray(out.values).mean(axis=0)
    plain, found = convert(ann("average"), images, **options)
    assert thresholds == found  # Of all currents, pooled or not.
    plain.layers[0].pool = 1
    out, _, _ = plain.layers[0](plain.encoding(images, start=0, steps=64, key=None), None, start=0)
    np.testing.assert_array_equal(
        rates["currents"], patches(np.asarray(out.values).mean(axis=0)).max(axis=-2)
    )
    assert (rates["spikes"] >= rates["currents"]).all()
    assert (rates["spikes"] > rates["currents"]).any()
    with pytest.raises(ValueError, match="max_pooling must be 'currents' or 'spikes', got 'or'"):
        convert(ann(), images, max_pooling="or", **options)


def test_max_pooling_is_refused_where_it_cannot_be():
    nir = pytest.importorskip("nir")
    assert not any("max" in name.lower() for name in dir(nir)), "write max pooling as this nir has it"
    from jaxsnn.interop.nir import to_nir

    with pytest.raises(ValueError, match=r"'conv_pool': nir 1\.0\.8 has no node for max pooling; train with"):
        to_nir(two(pool=2, pooling="max"), (5, 5, 1))
    blocks = [
        Block(n, Conv(2, 2, rngs=RNGS), LIF(), pool=p, pool_first=True) for n, p in (("a", 1), ("b", 2))
    ]
    with pytest.raises(ValueError, match="'b' shares its membrane and cannot pool before"):
        SharedMembrane(blocks)
    with pytest.raises(ValueError, match=r"layer 'c': a pooling of \(9, 9\) does not fit"):
        Network([Block("c", Conv(1, 2, rngs=RNGS), Identity(), pool=9, pooling="max")])(
            jnp.zeros((1, 5, 5, 1)), timesteps=1
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Block("a", Conv(1, 1, rngs=RNGS), LIF(), pool=0),
            "'a': pool must be at least 1 and a whole",
        ),
        (
            lambda: Block("a", Conv(1, 1, rngs=RNGS), LIF(), pool=2.0),
            "'a': pool must be at least 1 and a whole",
        ),
        (
            lambda: Block("a", Linear(4, 4, rngs=RNGS), LIF(), pool=2),
            "'a': a linear layer has no map to pool",
        ),
        (lambda: Pool(2.5), "kernel must be an int or a pair of ints, at least 1; got 2.5"),
        (lambda: Pool(2, stride=(1, 2, 3)), "stride must be an int or a pair"),
        (lambda: Pool(2, kind="max", padding=2), "padding of max pooling is at most half of its kernel"),
        (lambda: Conv(1, 1, 0, rngs=RNGS), "kernel must be an int or a pair of ints, at least 1; got 0"),
        (lambda: Conv(1, 1, padding=-1, rngs=RNGS), "padding must be an int or a pair of ints, at least 0"),
        (lambda: Conv(1, 0, rngs=RNGS), "out_channels must be at least 1"),
    ],
)
def test_sizes_that_are_none_are_refused(as_users_run, make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_numpy_numbers_are_sizes(as_users_run):
    two = np.int64(2)
    block = Block("a", Conv(1, two, two, stride=two, padding=np.array([1, 0]), rngs=RNGS), LIF(), pool=two)
    assert (block.synapse.kernel_size, block.synapse.padding, block.pool) == ((2, 2), (1, 0), 2)
    assert (Pool(two).kernel, Pool([two, 3]).kernel) == ((2, 2), (2, 3))


def test_weights_without_neurons_of_their_own_are_no_projection():
    """Their neurons stand behind a pooling, in a layer of their own, and are priced."""
    layers = [
        Block("conv", Conv(1, 4, rngs=RNGS), Identity()),
        Pool(2, kind="max"),
        Neurons("lif", LIF()),
        Block("fc", Linear(64, 3, rngs=RNGS), Readout()),
    ]
    work = workload_of(Network(layers), (8, 8, 1), 2, rates=0.3)
    assert not any(is_projection(layer, work) for layer in work.layers)
