"""The published networks: parameter counts and layer shapes that we did not make."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.mlp import mlp
from jaxsnn.models.resnet import resnet, resnet18, resnet19
from jaxsnn.models.vgg import vgg, vgg5, vgg9, vgg11, vgg16
from jaxsnn.neuron import LIF, ReLU
from jaxsnn.normalization import BNTT, BatchNorm, TdBN
from tests.helpers import reference_json


def describe(make, size, channels, **options):
    """Parameter count and record, without computing anything."""
    network = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0), **options))
    graphdef, state = nnx.split(network)
    images = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)

    def run(state, images):
        return nnx.merge(graphdef, state)(images, timesteps=2, training=True)

    logits, record = jax.eval_shape(run, state, images)
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    return count, record, logits.shape


# torchvision-style CIFAR nets in wide use print 14,728,266 (VGG16-BN, with 4,224 convolution biases and 10 of
# the classifier) and 11,173,962 (ResNet18, 10 classifier biases).
@pytest.mark.parametrize(
    ("make", "published", "biases"), [(vgg16, 14_728_266, 4_224 + 10), (resnet18, 11_173_962, 10)]
)
def test_parameter_counts(make, published, biases):
    count, _, _ = describe(make, 32, 3, norm=BatchNorm)
    assert count == published - biases


def shapes(record):
    return [(layer.height, layer.in_channels, layer.out_channels) for layer in record]


def test_vgg9_has_the_layers_of_the_hardware_script():
    golden = reference_json("spikeflow/ela.json")["golden_vgg9_cifar10_t5"]
    _, record, logits = describe(vgg9, 32, 3, neuron=partial(LIF, leak=0.95), norm=partial(BNTT, timesteps=2))
    convolutions = [layer for layer in record if layer.kind == "conv"]
    expected = list(zip(golden["in_dim"], golden["in_channels"], golden["out_channels"], strict=True))
    assert shapes(convolutions) == expected
    pooled = [layer.height // layer.pool for layer in convolutions]
    assert pooled == golden["out_dim"]
    assert shapes(record)[-2:] == [(1, 4096, 1024), (1, 1024, 10)]
    assert logits == (2, 10)


def test_resnet19_has_the_layers_of_the_published_workload():
    layers = reference_json("sata/published.json")["workloads"]["tdbn"]["layers"]
    expected = [
        (layer["ifmap_height"], layer["channels"], layer["num_filters"], layer["stride"]) for layer in layers
    ]
    _, record, _ = describe(resnet19, 32, 3)
    ours = [
        (layer.height, layer.in_channels, layer.out_channels, layer.stride[0])
        for layer in record
        if not layer.name.startswith("shortcut")
    ]
    assert ours == [*expected, (1, 256, 10, 1)]
    adds = [layer.name for layer in record if layer.residual_add]
    assert adds == [f"conv{2 * i + 3}" for i in range(8)]
    assert [layer.spiking for layer in record if layer.name.startswith("shortcut")] == [False, False]


@pytest.mark.parametrize(
    ("make", "size", "channels", "expected"),
    [
        (vgg5, 28, 1, [(28, 1, 64), (14, 64, 128), (14, 128, 128), (1, 6272, 1024), (1, 1024, 10)]),
        (vgg5, 32, 3, [(32, 3, 64), (16, 64, 128), (16, 128, 128), (1, 8192, 1024), (1, 1024, 10)]),
        (
            vgg11,
            64,
            3,
            [
                *[(64, 3, 64), (32, 64, 128), (16, 128, 256), (16, 256, 256), (8, 256, 512), (8, 512, 512)],
                *[(4, 512, 512), (4, 512, 512), (1, 512, 4096), (1, 4096, 10)],
            ],
        ),
    ],
)
def test_vgg_shapes(make, size, channels, expected):
    _, record, _ = describe(make, size, channels, image_size=size, in_channels=channels)
    assert shapes(record) == expected
    assert record[0].analog_input
    assert not any(layer.analog_input for layer in record[1:])


def test_width_scales_hidden_layers_only():
    _, record, _ = describe(vgg5, 28, 1, image_size=28, in_channels=1, width=0.25, classes=7)
    assert shapes(record) == [(28, 1, 16), (14, 16, 32), (14, 32, 32), (1, 1568, 256), (1, 256, 7)]


SMALL = {"image_size": 4, "in_channels": 1, "classes": 3}
IMAGES = np.random.default_rng(0).uniform(0, 1, (2, 4, 4, 1))


def test_the_ann_twin_has_the_snns_weights():
    plan = ((3, "P"), (5,))
    ann = vgg(plan, neuron=ReLU, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **SMALL)
    snn = vgg(plan, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **SMALL)
    for a, b in zip(jax.tree.leaves(nnx.state(ann)), jax.tree.leaves(nnx.state(snn)), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [np.asarray(layer.synapse.kernel[...]) for layer in ann.layers]
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = np.stack(
        [
            [np.einsum("bhwc,hwco->bo", padded[:, i : i + 3, j : j + 3], kernels[0]) for j in range(4)]
            for i in range(4)
        ]
    ).transpose(2, 0, 1, 3)
    x = np.maximum(x, 0).reshape(2, 2, 2, 2, 2, 3).mean((2, 4)).reshape(2, -1)
    expected = np.maximum(x @ kernels[1], 0) @ kernels[2]
    logits, record = ann(jnp.asarray(IMAGES), timesteps=1)
    np.testing.assert_allclose(logits, expected, rtol=1e-12)
    assert not any(layer.spiking for layer in record)


def test_the_residual_sum_is_before_the_neurons():
    network = resnet(
        ((2, 1), (4, 1)), stem=2, norm=None, neuron=ReLU, param_dtype=jnp.float64, rngs=nnx.Rngs(3), **SMALL
    )
    x = jnp.asarray(IMAGES)
    stem, one, two, readout = network.layers
    relu = jax.nn.relu
    a = relu(stem.synapse(x[None]))
    b = relu(one.second.synapse(relu(one.first.synapse(a))) + a)
    c = relu(two.second.synapse(relu(two.first.synapse(b))) + two.projection.synapse(b))
    expected = readout.synapse(c.mean((2, 3)))[0]
    logits = nnx.jit(lambda net: net(x, timesteps=1)[0])(network)
    np.testing.assert_allclose(logits, expected, rtol=1e-12)


def test_a_resnet_trains_its_statistics_and_runs_step_by_step():
    network = resnet(((2, 1), (4, 1)), stem=2, norm=TdBN, rngs=nnx.Rngs(0), **SMALL)
    x = jnp.asarray(IMAGES, jnp.float32)
    before = jax.tree.leaves(nnx.state(network, nnx.BatchStat))
    nnx.jit(lambda net: net(x, timesteps=3, training=True)[0])(network)
    after = jax.tree.leaves(nnx.state(network, nnx.BatchStat))
    assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    whole, parts = (nnx.jit(lambda net, c=c: net(x, timesteps=3, chunk=c)[0])(network) for c in (None, 1))
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


def test_the_smallest_digits_network_runs():
    network = digits_convnet(width=1, classes=1, image_size=2, rngs=nnx.Rngs(0))
    assert network(jnp.ones((3, 2, 2, 1), jnp.float32), timesteps=1)[0].shape == (3, 1)


def test_an_mlp_flattens_the_image():
    _, record, _ = describe(mlp, 8, 1, hidden=(20, 30), in_features=64, classes=4)
    assert shapes(record) == [(1, 64, 20), (1, 20, 30), (1, 30, 4)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vgg("vgg7", rngs=nnx.Rngs(0)), "unknown VGG 'vgg7'; known are vgg5, vgg9"),
        (lambda: vgg9(image_size=4, rngs=nnx.Rngs(0)), "image of 4 pixels is too small"),
        (lambda: vgg5(shared=[(1, 2)], rngs=nnx.Rngs(0)), "convolutions 1 to 2 cannot share"),
        (lambda: digits_convnet(width=0, rngs=nnx.Rngs(0)), "width must be at least 1, got 0"),
        (lambda: digits_convnet(classes=0, rngs=nnx.Rngs(0)), "classes must be at least 1, got 0"),
        (lambda: digits_convnet(image_size=1, rngs=nnx.Rngs(0)), "image_size must be at least 2, got 1"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
