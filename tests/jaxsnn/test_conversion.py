"""ANN to SNN: thresholds against a NumPy loop of algorithm 1, and what conversion keeps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.data.datasets import load
from jaxsnn.encoding import Direct, Poisson
from jaxsnn.layers import Block, Linear
from jaxsnn.learning.conversion import SilentLayerError, convert, fold_normalization
from jaxsnn.learning.training import TrainConfig, evaluate, fit
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.resnet import resnet
from jaxsnn.models.vgg import vgg
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, Readout, ReLU, Reset
from jaxsnn.normalization import BNTT, BatchNorm


def ann(use_bias=False):
    options = {"use_bias": use_bias, "param_dtype": jnp.float64}
    sizes = [9, 12, 8, 3]
    neurons = [ReLU(), ReLU(), Readout()]
    blocks = [
        Block(f"fc{i + 1}", Linear(sizes[i], sizes[i + 1], rngs=nnx.Rngs(i), **options), neurons[i])
        for i in range(3)
    ]
    if use_bias:
        for i, block in enumerate(blocks):
            block.synapse.bias[...] = jnp.linspace(-0.2, 0.3, sizes[i + 1])
    return Network(blocks)


IMAGES = np.random.default_rng(0).uniform(0, 1, (7, 3, 3, 1))


def algorithm_1(kernels, biases, images, timesteps, scale_bias):
    """The paper's loop with direct input: θ_l is the largest current while layers below fire."""
    thresholds = []
    for layer in range(len(kernels) - 1):
        potentials = [0.0] * layer
        largest = -np.inf
        for _ in range(timesteps):
            out, scale = images.reshape(len(images), -1), 1.0
            for below in range(layer):
                potentials[below] = (
                    potentials[below] + out @ kernels[below] + scale_bias * biases[below] / scale
                )
                spikes = potentials[below] > thresholds[below]
                potentials[below] = np.where(spikes, 0.0, potentials[below])
                out, scale = spikes.astype(float), scale * thresholds[below]
            largest = max(largest, (out @ kernels[layer] + scale_bias * biases[layer] / scale).max())
        thresholds.append(largest)
    return thresholds


@pytest.mark.parametrize(("use_bias", "bias"), [(False, "scale"), (True, "scale"), (True, "drop")])
def test_thresholds_are_those_of_algorithm_1(use_bias, bias):
    source = ann(use_bias)
    snn, thresholds = convert(
        source, jnp.asarray(IMAGES), timesteps=6, encoding=Direct(), bias=bias, batch_size=4
    )
    kernels = [np.asarray(layer.synapse.kernel[...]) for layer in source.layers]
    biases = [np.asarray(layer.synapse.bias[...]) if use_bias else 0.0 for layer in source.layers]
    expected = algorithm_1(kernels, biases, IMAGES, 6, bias == "scale")
    np.testing.assert_allclose(list(thresholds.values()), expected, rtol=1e-10)
    assert list(thresholds) == ["fc1", "fc2"]
    assert [type(layer.neuron) for layer in snn.layers] == [IF, IF, Readout]
    assert isinstance(source.layers[0].neuron, ReLU)
    for a, b in zip(source.layers, snn.layers, strict=True):
        np.testing.assert_array_equal(a.synapse.kernel[...], b.synapse.kernel[...])


def test_spikes_come_at_the_anns_rates():
    """With soft reset and much time, each layer's rate is its ReLU over the thresholds so far."""
    source = ann(use_bias=True)
    images = jnp.asarray(IMAGES)
    snn, thresholds = convert(
        source, images, timesteps=8, encoding=Direct(), reset=Reset.SUBTRACT, bias="scale"
    )
    scale = np.prod(list(thresholds.values()))
    target, _ = source(images, timesteps=1)
    logits, _ = snn(images, timesteps=4000)
    np.testing.assert_allclose(np.asarray(logits) * scale, target, atol=0.01 * np.abs(target).max())


def test_a_lower_quantile_lowers_the_thresholds():
    _, highest = convert(ann(), jnp.asarray(IMAGES), timesteps=4, encoding=Direct())
    _, lower = convert(ann(), jnp.asarray(IMAGES), timesteps=4, encoding=Direct(), quantile=0.9)
    assert lower["fc1"] < highest["fc1"]
    currents = IMAGES.reshape(7, -1) @ np.asarray(ann().layers[0].synapse.kernel[...])
    np.testing.assert_allclose(lower["fc1"], np.quantile(np.tile(currents, 4), 0.9), rtol=1e-10)


@pytest.mark.parametrize("quantile", [0.7, 0.9, 0.999])
def test_a_quantile_is_that_of_all_currents_whatever_the_batches(quantile):
    images = np.random.default_rng(1).uniform(0, 1, (50, 3, 3, 1))
    options = {"timesteps": 3, "encoding": Direct(), "quantile": quantile}
    found = [
        list(convert(ann(), jnp.asarray(images), batch_size=size, **options)[1].values())
        for size in (50, 16, 7, 1)
    ]
    first, second = (np.asarray(ann().layers[i].synapse.kernel[...]) for i in range(2))
    currents = np.tile(images.reshape(50, -1) @ first, (3, 1, 1))
    threshold = np.quantile(currents, quantile)
    potential, spikes = 0.0, []
    for current in currents:
        potential = potential + current
        spikes.append(potential > threshold)
        potential = np.where(spikes[-1], 0.0, potential)
    expected = [threshold, np.quantile(np.stack(spikes) @ second, quantile)]
    np.testing.assert_allclose(found, np.tile(expected, (4, 1)), rtol=1e-10)


def test_biases_keep_their_ratio_to_inputs_that_a_gain_scales():
    gain, source, images = 0.5, ann(use_bias=True), jnp.asarray(IMAGES)
    key = jax.random.key(0)
    snn, thresholds = convert(
        source, images, timesteps=50, key=key, encoding=Poisson(gain), reset=Reset.SUBTRACT
    )
    np.testing.assert_allclose(snn.layers[0].synapse.bias, gain * source.layers[0].synapse.bias, rtol=1e-12)
    target, _ = source(images, timesteps=1)
    logits = jax.jit(lambda images: snn(images, timesteps=16_000, key=key)[0])(images)
    scale = np.prod(list(thresholds.values())) / gain
    np.testing.assert_allclose(np.asarray(logits) * scale, target, atol=0.03 * np.abs(target).max())


@pytest.mark.long
def test_digits_survive_conversion():
    data = load("digits")
    network = digits_convnet(width=8, neuron=ReLU, rngs=nnx.Rngs(0))
    trained = fit(network, data, TrainConfig(epochs=15, timesteps=1))
    images = jnp.asarray(data.scale(data.train_images[:64]))
    snn, _ = convert(network, images, timesteps=10, key=jax.random.key(0), reset=Reset.SUBTRACT)
    assert isinstance(snn.encoding, Poisson)
    result = evaluate(
        snn, data.test_images, data.test_labels, timesteps=40, key=jax.random.key(1), batch_size=360
    )
    assert trained.test_accuracy > 0.96
    assert result.accuracy > trained.test_accuracy - 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timesteps": 0}, "timesteps must be at least 1, got 0"),
        ({"quantile": 0.0}, r"quantile must lie in \(0, 1\]"),
        ({"bias": "keep"}, "bias must be 'scale' or 'drop'"),
        ({"images": jnp.zeros((0, 3, 3, 1))}, "needs images to find thresholds on, got none"),
    ],
)
def test_bad_options_are_named(change, message):
    arguments = {"images": jnp.asarray(IMAGES), "timesteps": 2, "encoding": Direct()} | change
    with pytest.raises(ValueError, match=message):
        convert(ann(), arguments.pop("images"), **arguments)


def test_a_silent_layer_is_named():
    with pytest.raises(SilentLayerError, match="'fc1' has no positive current"):
        convert(ann(), jnp.zeros((2, 3, 3, 1)), timesteps=2, encoding=Direct())


def residual_net(images, dtype=jnp.float32):
    """A small normalised ResNet with a projection and an identity shortcut, whose statistics have moved."""
    network = resnet(
        ((4, 2), (6, 1)),
        stem=4,
        image_size=8,
        in_channels=1,
        neuron=ReLU,
        norm=BatchNorm,
        param_dtype=dtype,
        rngs=nnx.Rngs(3),
    )
    norms = [module for _, module in nnx.iter_graph(network) if isinstance(module, BatchNorm)]
    for number, norm in enumerate(norms):
        ramp = jnp.linspace(0.5, 1.5, norm.scale.shape[0], dtype=norm.scale.dtype)
        norm.scale[...], norm.offset[...] = ramp, 0.1 * (number % 3) * ramp[::-1]
    train = nnx.jit(lambda network, images: network(images, timesteps=1, training=True)[0])
    for _ in range(3):
        train(network, images)
    return network


def test_a_folded_network_equals_the_normalised_one():
    images = jax.random.uniform(jax.random.key(0), (6, 8, 8, 1), jnp.float64)
    network = residual_net(images, jnp.float64)
    folded = fold_normalization(network)
    assert not jax.tree.leaves(nnx.state(folded, nnx.BatchStat))
    assert jax.tree.leaves(nnx.state(network, nnx.BatchStat))
    # The norm's own variables are float32.
    logits = nnx.jit(lambda network, images: network(images, timesteps=1)[0])
    np.testing.assert_allclose(logits(folded, images), logits(network, images), rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_a_converted_resnet_spikes_at_its_anns_rates():
    """With soft reset and much time, both summands of every residual block are in the same units."""
    images = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1), jnp.float32)
    source = residual_net(images)
    snn, thresholds = convert(source, images, timesteps=8, encoding=Direct(), reset=Reset.SUBTRACT)
    assert list(thresholds) == [f"conv{number}" for number in range(1, 8)]
    outer = np.prod([thresholds[name] for name in ("conv1", "conv3", "conv5", "conv7")])
    target, _ = source(images, timesteps=1)
    logits = jax.jit(lambda images: snn(images, timesteps=1500, chunk=50, remat=True)[0])(images)
    np.testing.assert_allclose(np.asarray(logits) * outer, target, atol=0.02 * np.abs(target).max())


@pytest.mark.long
def test_a_resnet_on_digits_survives_conversion():
    data = load("digits")
    network = resnet(
        ((8, 1), (16, 1)), stem=8, image_size=8, in_channels=1, neuron=ReLU, norm=BatchNorm, rngs=nnx.Rngs(0)
    )
    trained = fit(network, data, TrainConfig(epochs=15, timesteps=1))
    images = jnp.asarray(data.scale(data.train_images[:128]))
    snn, _ = convert(network, images, timesteps=8, encoding=Direct(), reset=Reset.SUBTRACT)
    # Residual nets convert slowly: a block waits for both of its summands.
    result = evaluate(snn, data.test_images, data.test_labels, timesteps=300, batch_size=360)
    assert trained.test_accuracy > 0.96
    assert result.accuracy > trained.test_accuracy - 0.03


SMALL = {"image_size": 4, "in_channels": 1, "rngs": nnx.Rngs(0)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vgg(((2, "P"), ()), neuron=LIF, **SMALL), "nothing was converted"),
        (
            lambda: vgg(((2, "P"), ()), neuron=ReLU, norm=partial(BNTT, timesteps=2), **SMALL),
            "'conv1': a BNTT differs between timesteps",
        ),
        (
            lambda: resnet(((2, 1),), stem=2, neuron=LIF, norm=None, **SMALL),
            "'conv2' of a residual block must end in a ReLU",
        ),
        (
            lambda: vgg(((2, 2, 2), ()), neuron=LIF, shared=[(2, 3)], **SMALL),
            "a SharedMembrane cannot be converted",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        convert(make(), jnp.ones((2, 4, 4, 1)), timesteps=2)
