"""Which tensor of a torch file belongs to which layer, and what its neurons' constants become."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.interop.torch import Unordered, load_weights
from jaxsnn.layers import Block, Linear
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, DelayedLIF, Integration, Reset

STEMS = ("enc_one", "enc_two", "enc_three")


def network(neuron=LIF):
    return Network([Block(f"fc{i}", Linear(3, 3, rngs=nnx.Rngs(i)), neuron()) for i in range(3)])


def tensors(stems=STEMS):
    rng = np.random.default_rng(0)
    return {f"{stem}.weight": rng.normal(size=(3, 3)).astype(np.float32) for stem in stems}


def kernels(net):
    return [np.asarray(layer.synapse.kernel[...]).T for layer in net.layers]


def test_equal_shapes_come_in_the_order_of_the_file():
    net, file = network(), tensors()
    load_weights(net, file)
    for found, expected in zip(kernels(net), file.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_map_needs_no_order():
    net, file = network(), tensors()
    load_weights(net, Unordered(sorted(file.items())), names={f"fc{i}": s for i, s in enumerate(STEMS)})
    for found, expected in zip(kernels(net), file.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_numbers_are_an_order_where_the_file_has_none():
    net, file = network(), tensors(("l2", "l9", "l10"))
    load_weights(net, Unordered(sorted(file.items())))
    for found, expected in zip(kernels(net), file.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


SNNTORCH = {"beta": np.float32(0.7), "threshold": np.float32(0.5), "graded_spikes_factor": np.float32(1)}


def with_neurons(**changes):
    file = tensors()
    for index in range(3):
        values = SNNTORCH | {"reset_mechanism_val": np.array(0)} | changes
        file |= {f"lif{index}.{suffix}": value for suffix, value in values.items()}
    return file


@pytest.mark.parametrize(
    ("make", "file", "options", "message"),
    [
        (
            network,
            Unordered(tensors()),
            {},
            "have one shape, and neither an order nor numbers tell them apart",
        ),
        (
            network,
            tensors(("l2", "l1", "l3")),
            {},
            "the file's order and its numbers disagree about l2.weight",
        ),
        (
            network,
            tensors(),
            {"names": {"fc7": "enc_one"}},
            "names has 'fc7', and the network has the layers fc0",
        ),
        (
            network,
            tensors(),
            {"names": {"fc0": "enc"}},
            "names gives 'enc' for layer 'fc0', and the file has no",
        ),
        (
            network,
            with_neurons(),
            {},
            "lif0 resets by 'subtract' a timestep after the spike, which a LIF with reset=",
        ),
        (
            partial(network, partial(LIF, reset=Reset.SUBTRACT)),
            with_neurons(),
            {},
            r"partial\(DelayedLIF, reset=",
        ),
        (
            partial(network, DelayedLIF),
            with_neurons(),
            {"reset_delay": False},
            r"neuron=partial\(LIF, reset=",
        ),
        (
            network,
            with_neurons(reset_mechanism_val=np.array(1), beta=np.float32(2)),
            {},
            r"leak is the fraction",
        ),
        (
            network,
            with_neurons(reset_mechanism_val=np.array(1), graded_spikes_factor=np.float32(2)),
            {},
            "graded_spikes_factor scales spikes",
        ),
        (
            network,
            tensors() | {"lif0.beta": np.float32(0.5)},
            {},
            r"constants of 1 layers of neurons \(lif0\)",
        ),
    ],
)
def test_what_nothing_tells_apart_is_an_error(make, file, options, message):
    net = make()
    before = kernels(net)
    with pytest.raises(ValueError, match=message):
        load_weights(net, file, **options)
    for old, new in zip(before, kernels(net), strict=True):
        np.testing.assert_array_equal(old, new)


def test_constants_of_neurons_are_used():
    net = network(DelayedLIF)
    load_weights(net, with_neurons(beta=np.float32([0.1, 0.2, 0.3])))
    neuron = net.layers[1].neuron
    np.testing.assert_allclose(neuron.leak[...], [0.1, 0.2, 0.3], rtol=1e-6)
    assert neuron.threshold == 0.5
    jelly = network(partial(LIF, integration=Integration.AVERAGE))
    load_weights(jelly, tensors() | {f"lif{i}.w": np.float32(-1.0) for i in range(3)})
    np.testing.assert_allclose(jelly.layers[0].neuron.leak, 1 - 1 / (1 + np.e), rtol=1e-6)
    assert jnp.isfinite(jelly.unroll(jnp.ones((2, 1, 3)))).all()
