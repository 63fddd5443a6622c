"""The published networks: parameter counts and layer shapes that we did not make."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.layers import Block, Linear
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.mlp import mlp
from jaxsnn.models.resnet import resnet, resnet18, resnet19
from jaxsnn.models.vgg import vgg, vgg5, vgg9, vgg11, vgg16
from jaxsnn.neuron import LIF, Readout, ReLU
from jaxsnn.normalization import BNTT, BatchNorm, TdBN
from jaxsnn.signal import Signal
from tests.helpers import reference_json


def describe(make, size, channels, timesteps=2, **options):
    """Parameter count and record, without computing anything."""
    network = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0), **options))
    graphdef, state = nnx.split(network)
    images = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)

    def run(state, images):
        return nnx.merge(graphdef, state)(images, timesteps=timesteps, training=True)

    logits, record = jax.eval_shape(run, state, images)
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    return count, record, logits.shape


# torchvision-style CIFAR nets in wide use print 14,728,266 (VGG16-BN, with 4,224 convolution biases and 10 of
# the classifier) and 11,173,962 (ResNet18, 10 classifier biases).
@pytest.mark.parametrize(
    ("make", "published", "biases"), [(vgg16, 14_728_266, 4_224 + 10), (resnet18, 11_173_962, 10)]
)
def test_parameter_counts_with_batch_norm(make, published, biases):
    count, _, _ = describe(make, 32, 3, norm=BatchNorm)
    assert count == published - biases


# Weights of the 3×3 convolutions, counted by hand from the architectures (c_in·c_out each), those of 1×1
# projections, the hidden linear layers, and the side of the map before them for images of 28, 32 and 64.
ARCHITECTURES = {
    vgg5: (3 * 64 + 64 * 128 + 128 * 128, 0, (128, 1024), (7, 8, 16)),
    vgg9: (
        3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256,
        0,
        (256, 1024),
        (3, 4, 8),
    ),
    vgg11: (
        3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512,
        0,
        (512, 4096),
        (1, 1, 1),
    ),
    vgg16: (
        3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 512 + 5 * 512 * 512,
        0,
        (512,),
        (1, 1, 1),
    ),
    resnet18: (
        3 * 64
        + 4 * 64 * 64
        + (64 * 128 + 3 * 128 * 128)
        + (128 * 256 + 3 * 256 * 256)
        + (256 * 512 + 3 * 512 * 512),
        64 * 128 + 128 * 256 + 256 * 512,
        (512,),
        (1, 1, 1),
    ),
    resnet19: (
        3 * 128 + 6 * 128 * 128 + (128 * 256 + 5 * 256 * 256) + (256 * 512 + 3 * 512 * 512),
        128 * 256 + 256 * 512,
        (512, 256),
        (3, 4, 8),
    ),
}


@pytest.mark.parametrize("which", [0, 1, 2], ids=["28", "32", "64"])
@pytest.mark.parametrize("make", ARCHITECTURES)
def test_parameter_counts_and_shapes_at_every_image_size(make, which):
    size = (28, 32, 64)[which]
    convolutions, projections, hidden, sides = ARCHITECTURES[make]
    units = [sides[which] ** 2 * hidden[0], *hidden[1:], 10]
    count, record, logits = describe(make, size, 3, timesteps=1, image_size=size, norm=None)
    linear = [layer for layer in record if layer.kind == "linear"]
    assert [(layer.in_channels, layer.out_channels) for layer in linear] == list(pairwise(units))
    assert count == 9 * convolutions + projections + sum(a * b for a, b in pairwise(units))
    assert record[0].height == size
    assert logits == (2, 10)


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


def gains(make, **options):
    network = nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0), **options))
    return [module.gain for _, module in nnx.iter_graph(network) if isinstance(module, BatchNorm)]


def test_tdbn_takes_the_threshold_of_the_neurons_and_the_number_of_branches():
    theta, branch = 0.25, 0.25 / np.sqrt(2)
    options = SMALL | {"neuron": partial(LIF, threshold=theta)}
    small = partial(resnet, ((2, 1), (4, 1)), stem=2)
    # The stem; an identity block; a block with projection.
    expected = [theta, theta, branch, theta, branch, branch]
    np.testing.assert_allclose(sorted(gains(small, **options)), sorted(expected), rtol=1e-12)
    network = nnx.eval_shape(lambda: small(rngs=nnx.Rngs(0), **options))
    for block in network.layers[1:3]:
        np.testing.assert_allclose([block.first.norm.gain, block.second.norm.gain], [theta, branch])
    assert gains(small, norm=partial(TdBN, alpha=1.0), **options) == [theta] * 6
    assert sorted(gains(small, **SMALL))[-1] == 1.0
    plan = ((2,), (3,))
    assert gains(vgg, plan=plan, norm=TdBN, **options) == [theta, theta]
    assert gains(vgg, plan=plan, norm=partial(TdBN, threshold=0.7), **options) == [0.7, 0.7]
    options = {"neuron": options["neuron"], "norm": TdBN}
    assert gains(mlp, in_features=4, **options) == [theta]
    assert gains(digits_convnet, **options) == [theta] * 3


def test_the_sum_of_two_normalised_branches_has_the_thresholds_spread():
    """Zheng et al. want N(0, θ²) before all neurons; two branches of α = 1 have twice the variance."""
    generator = np.random.default_rng(0)
    options = SMALL | {
        "image_size": 8,
        "neuron": partial(LIF, threshold=0.25),
        "kernel_init": lambda key, shape, dtype: jnp.asarray(generator.normal(size=shape), dtype),
    }
    block = resnet(((8, 1), (64, 1)), stem=8, rngs=nnx.Rngs(0), **options).layers[2]
    block.second.neuron, block.second.pool = Readout(), 1  # After one step its potential is the current.
    spikes = jnp.asarray(generator.random((1, 16, 8, 8, 8)) < 0.3, jnp.float32)
    signal = Signal(values=spikes, steps=1, analog=False)
    summed = nnx.jit(lambda block: block(signal, None, start=0, training=True)[0].values)(block)
    np.testing.assert_allclose(np.var(summed), 0.25**2, rtol=0.1)


def test_the_smallest_digits_network_runs():
    network = digits_convnet(width=1, classes=1, image_size=2, rngs=nnx.Rngs(0))
    assert network(jnp.ones((3, 2, 2, 1), jnp.float32), timesteps=1)[0].shape == (3, 1)


def test_an_mlp_flattens_the_image():
    count, record, _ = describe(mlp, 8, 1, hidden=(20, 30), in_features=64, classes=4)
    assert shapes(record) == [(1, 64, 20), (1, 20, 30), (1, 30, 4)]
    assert count == 64 * 20 + 20 * 30 + 30 * 4


def test_an_mlp_takes_width_norm_and_biases_as_a_vgg():
    norm = partial(BNTT, timesteps=2)
    options = {"hidden": (20, 30), "in_features": 64, "classes": 4, "width": 0.5}
    count, record, _ = describe(mlp, 8, 1, norm=norm, use_bias=True, **options)
    assert shapes(record) == [(1, 64, 10), (1, 10, 15), (1, 15, 4)]
    assert count == (64 + 1) * 10 + (10 + 1) * 15 + (15 + 1) * 4 + 2 * (10 + 15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vgg("vgg7", rngs=nnx.Rngs(0)), "unknown VGG 'vgg7'; known are vgg5, vgg9"),
        (lambda: vgg9(image_size=4, rngs=nnx.Rngs(0)), "image of 4 pixels is too small"),
        (lambda: vgg5(shared=[(1, 2)], rngs=nnx.Rngs(0)), "convolutions 1 to 2 cannot share"),
        (lambda: vgg5(width=0.0, rngs=nnx.Rngs(0)), "width .* must be positive and finite, got 0.0"),
        (lambda: vgg5(width=-1.0, rngs=nnx.Rngs(0)), "width .* must be positive and finite, got -1.0"),
        (lambda: resnet18(width=0.0, rngs=nnx.Rngs(0)), "width .* must be positive and finite, got 0.0"),
        (lambda: mlp(width=float("nan"), in_features=4, rngs=nnx.Rngs(0)), "width .* finite, got nan"),
        (
            lambda: resnet19(image_size=4, rngs=nnx.Rngs(0)),
            "4 pixels is too small .* side 1, cannot be pooled",
        ),
        (lambda: digits_convnet(width=0, rngs=nnx.Rngs(0)), "width must be at least 1, got 0"),
        (lambda: digits_convnet(classes=0, rngs=nnx.Rngs(0)), "classes must be at least 1, got 0"),
        (lambda: digits_convnet(image_size=1, rngs=nnx.Rngs(0)), "image_size must be at least 2, got 1"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(call)


@pytest.mark.parametrize("norm_on", ["all", "conv"])
def test_a_vgg_may_normalise_its_convolutions_alone(norm_on):
    network = vgg("vgg5", width=0.05, norm=BatchNorm, norm_on=norm_on, image_size=16, rngs=nnx.Rngs(0))
    blocks = [layer for layer in network.layers[:-1] if isinstance(layer, Block)]
    flat = [isinstance(block.synapse, Linear) for block in blocks]
    assert any(flat)
    assert [block.norm is None for block in blocks] == [norm_on == "conv" and one for one in flat]
