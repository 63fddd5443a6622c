"""The network: unrolling, its record, shapes, and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.convolution import convolve
from jaxsnn.encoding import Direct, Frames, Poisson
from jaxsnn.layers import Block, Conv, Linear, average_pool, xavier_uniform
from jaxsnn.learning.early_exit import run_until_sure
from jaxsnn.models.digits import digits_convnet
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Neuron, Readout
from jaxsnn.signal import Signal
from tests.helpers import finite_difference


def small(encoding=Direct(), neuron=LIF, dtype=jnp.float64):
    options = {"param_dtype": dtype, "rngs": nnx.Rngs(0)}
    return Network(
        [
            Block("conv1", Conv(2, 3, 3, **options), neuron()),
            Block("conv2", Conv(3, 4, (3, 1), stride=(2, 1), padding=(1, 0), **options), neuron(), pool=2),
            Block("fc1", Linear(4 * 2 * 3, 6, **options), neuron()),
            Block("fc2", Linear(6, 3, **options), Readout()),
        ],
        encoding,
    )


def images(dtype=jnp.float64):
    return jax.random.uniform(jax.random.key(7), (2, 8, 6, 2), dtype)


def numpy_network(network, x, timesteps):
    """The small network by loops, one timestep after the other."""
    kernels = [np.asarray(layer.synapse.kernel[...]) for layer in network.layers]

    def conv(x, kernel, stride, padding):
        x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))
        height = (x.shape[1] - kernel.shape[0]) // stride[0] + 1
        width = (x.shape[2] - kernel.shape[1]) // stride[1] + 1
        out = np.zeros((len(x), height, width, kernel.shape[3]))
        for i in range(height):
            for j in range(width):
                top, left = i * stride[0], j * stride[1]
                patch = x[:, top : top + kernel.shape[0], left : left + kernel.shape[1]]
                out[:, i, j] = np.einsum("bhwc,hwco->bo", patch, kernel)
        return out

    def lif(state, current):
        state = 0.9 * state + current
        spikes = (state > 1).astype(float)
        return np.where(spikes == 1, 0, state), spikes

    u1 = u2 = u3 = u4 = 0.0
    rates = np.zeros(4)
    for _ in range(timesteps):
        u1, s = lif(u1, conv(x, kernels[0], (1, 1), (1, 1)))
        rates[1] += (s != 0).mean() / timesteps
        u2, s = lif(u2, conv(s, kernels[1], (2, 1), (1, 0)))
        s = (s[:, 0::2] + s[:, 1::2]) / 2
        s = (s[:, :, 0::2] + s[:, :, 1::2]) / 2
        rates[2] += (s != 0).mean() / timesteps
        u3, s = lif(u3, s.reshape(2, -1) @ kernels[2])
        rates[3] += (s != 0).mean() / timesteps
        u4 = u4 + s @ kernels[3]
    rates[0] = (x != 0).mean()
    return u4 / timesteps, rates


def test_the_network_is_what_a_loop_computes():
    network, x = small(), images()
    logits, record = nnx.jit(lambda net: net(x, timesteps=6))(network)
    expected, rates = numpy_network(network, np.asarray(x), 6)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(logits, expected, rtol=1e-12)
    np.testing.assert_allclose([float(layer.input_rate) for layer in record], rates, atol=1e-6)


@pytest.mark.parametrize("encoding", [Direct(), Poisson()])
@pytest.mark.parametrize("chunk", [1, 2])
def test_layer_by_layer_equals_step_by_step(encoding, chunk):
    network, x, key = small(encoding), images(), jax.random.key(1)

    def loss(params, chunk):
        net = nnx.merge(graphdef, params)
        logits, record = net(x, timesteps=3, key=key, chunk=chunk)
        return jnp.sum(logits**2), (logits, [layer.input_rate for layer in record])

    graphdef, params = nnx.split(network)
    gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    whole, (logits, rates) = gradient(params, None)
    parts, (logits_parts, rates_parts) = gradient(params, chunk)
    np.testing.assert_allclose(logits, logits_parts, rtol=1e-12)
    np.testing.assert_allclose(rates, rates_parts, atol=1e-6)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
        assert np.abs(a).max() > 0


@pytest.mark.parametrize("chunk", [None, 1])
def test_direct_encoding_convolves_the_image_once(chunk):
    network = small()
    seen = []

    def counted(x, *rest):
        seen.append(x.shape[0])
        return convolve(x, *rest)

    network.layers[0].synapse.product = counted
    network(images(), timesteps=4, chunk=chunk)
    assert seen == [2]


class Smooth(Neuron):
    """A differentiable stand-in: the spike is a sigmoid and the reset follows it."""

    def __call__(self, current, state):
        potential = 0.8 * state + current
        out = jax.nn.sigmoid(3 * (potential - 1))
        return out, potential * (1 - out)


@pytest.mark.parametrize("chunk", [None, 2])
def test_gradients_through_time_match_finite_differences(chunk):
    options = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(1)}
    network = Network(
        [
            Block("conv1", Conv(1, 2, 2, padding=0, **options), Smooth(), pool=2),
            Block("fc1", Linear(2, 3, use_bias=True, **options), Smooth()),
            Block("fc2", Linear(3, 2, **options), Readout()),
        ]
    )
    graphdef, params = nnx.split(network)
    flat, rebuild = jax.flatten_util.ravel_pytree(params)
    x = jax.random.uniform(jax.random.key(2), (2, 3, 3, 1), jnp.float64)

    @jax.jit
    def loss(flat):
        logits, _ = nnx.merge(graphdef, rebuild(flat))(x, timesteps=4, chunk=chunk)
        return jnp.sum(jnp.sin(logits))

    expected = finite_difference(lambda flat: loss(jnp.asarray(flat)), flat)
    np.testing.assert_allclose(jax.grad(loss)(flat), expected, rtol=1e-6, atol=1e-9)


def test_the_record_speaks_of_shapes():
    _, record = small()(images(), timesteps=2)
    facts = [(r.name, r.kind, r.height, r.width, r.in_channels, r.out_channels, r.pool) for r in record]
    assert facts == [
        ("conv1", "conv", 8, 6, 2, 3, 1),
        ("conv2", "conv", 8, 6, 3, 4, 2),
        ("fc1", "linear", 1, 1, 24, 6, 1),
        ("fc2", "linear", 1, 1, 6, 3, 1),
    ]
    assert [r.analog_input for r in record] == [True, False, False, False]
    assert [r.spiking for r in record] == [True, True, True, False]
    assert (record[1].kernel, record[1].stride, record[1].padding) == ((3, 1), (2, 1), (1, 0))


def test_replaced_kernels_take_effect():
    network = small()
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    assert all("kernel" in path for path in paths)
    assert len(paths) == 4
    zeros = nnx.merge(graphdef, jax.tree.map(jnp.zeros_like, params), rest)
    assert not np.any(zeros(images(), timesteps=2)[0])


def test_average_pool_drops_what_does_not_fill_a_patch():
    x = jnp.arange(15.0).reshape(1, 1, 3, 5, 1)
    np.testing.assert_array_equal(average_pool(x, 2)[0, 0, :, :, 0], [[3.0, 5.0]])
    with pytest.raises(ValueError, match="side 4 does not fit a map of 3 × 5"):
        average_pool(x, 4)


def test_xavier_uniform_has_torchs_bound():
    draw = np.asarray(xavier_uniform(2.0)(jax.random.key(0), (3, 3, 16, 32), jnp.float32))
    bound = 2 * np.sqrt(6 / (9 * 16 + 9 * 32))
    assert 0.99 * bound < np.abs(draw).max() <= bound
    np.testing.assert_allclose(draw.std(), bound / np.sqrt(3), rtol=0.03)


def test_dtype_of_the_computation_is_a_choice():
    conv = Conv(2, 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert conv(images(jnp.float32)[None]).dtype == jnp.bfloat16
    assert conv.kernel[...].dtype == jnp.float32


def spiking_to_the_end(encoding=Direct()):
    network = small(encoding)
    network.layers[-1].neuron = LIF(threshold=0.01)
    return network


FRAMES = jax.random.uniform(jax.random.key(3), (5, 2, 8, 6, 2), jnp.float64)


@nnx.jit
def unrolled(network, frames):
    return network.unroll(frames)


@nnx.jit(static_argnames=("chunk", "remat"))
def counted(network, frames, chunk=None, remat=False):
    return network.outputs(frames, timesteps=5, chunk=chunk, remat=remat)


def test_the_spikes_of_a_last_layer_are_counted():
    network = spiking_to_the_end(Frames())
    spikes = np.asarray(unrolled(network, FRAMES))
    assert spikes.shape == (5, 2, 3)
    assert set(np.unique(spikes)) == {0, 1}
    time = np.arange(1, 6)[:, None, None]
    for chunk, remat in ((None, False), (2, True), (1, False)):
        outputs, record = counted(network, FRAMES, chunk=chunk, remat=remat)
        np.testing.assert_allclose(outputs, spikes.cumsum(0) / time, rtol=1e-12)
        assert record[-1].spiking
        np.testing.assert_allclose(record[-1].spike_rate, spikes.mean(), rtol=1e-6)
        assert not record[0].analog_input
        np.testing.assert_allclose(record[0].input_rate, 1, rtol=1e-6)


def test_frames_are_a_readouts_potential_and_exits_see_the_counts():
    network = small(Frames())
    potentials = np.asarray(unrolled(network, FRAMES))
    logits, _ = nnx.jit(lambda net, x: net(x))(network, FRAMES)
    np.testing.assert_allclose(logits, potentials[-1] / 5, rtol=1e-12)
    spiking, images = spiking_to_the_end(), FRAMES[0].astype(jnp.float32)
    result = run_until_sure(spiking, images, timesteps=3, entropy=0.0)
    expected, _ = nnx.jit(lambda net, x: net(x, timesteps=3))(spiking, images)
    np.testing.assert_allclose(result.logits, expected, rtol=1e-6)


def naive_convolution(x, kernel, stride, padding, groups, dilation):
    """Channels last, by loops; padding is ((before, after), (before, after))."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    (kh, kw, depth, out), part = kernel.shape, kernel.shape[3] // groups
    height = (x.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    width = (x.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    result = np.zeros((len(x), height, width, out))
    for r, c, o, i, j in np.ndindex(height, width, out, kh, kw):
        seen = x[:, r * stride[0] + i * dilation[0], c * stride[1] + j * dilation[1]]
        first = o // part * depth
        result[:, r, c, o] += seen[:, first : first + depth] @ kernel[i, j, :, o]
    return result


@pytest.mark.parametrize(
    ("options", "padding"),
    [
        ({"groups": 4, "padding": 1}, ((1, 1), (1, 1))),
        ({"groups": 2, "padding": "same", "dilation": (2, 1)}, ((2, 2), (1, 1))),
        ({"kernel": (2, 4), "padding": "same"}, ((0, 1), (1, 2))),
        ({"kernel": (3, 1), "padding": "valid", "stride": (1, 2)}, ((0, 0), (0, 0))),
    ],
)
def test_groups_dilation_and_named_padding(options, padding):
    conv = Conv(4, 8, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4))
    expected = naive_convolution(
        x, np.asarray(conv.kernel[...]), conv.stride, padding, conv.groups, conv.dilation
    )
    np.testing.assert_allclose(conv(jnp.asarray(x)[None])[0], expected, rtol=1e-10, atol=1e-12)
    block = Block("conv", conv, LIF())
    _, _, (record,) = block(Signal(values=jnp.asarray(x)[None], steps=1, analog=False), None, start=0)
    assert (record.groups, record.dilation) == (conv.groups, conv.dilation)
    shape = (record.padding, record.kernel, record.dilation, record.stride)
    sides = zip((record.height, record.width), *shape, strict=True)
    assert tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, k, d, s in sides) == expected.shape[1:3]


def convolved(sides, kernel, channels=1, **options):
    conv = Conv(channels, 1, kernel, padding=0, rngs=nnx.Rngs(0), **options)
    shape = (1, *sides, channels) if len(sides) > 1 else (1, *sides)
    return Network([Block("c", conv, LIF())])(jnp.zeros(shape), timesteps=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small()(images()), "timesteps says how long an image is shown"),
        (lambda: small().unroll(images()[0, 0]), r"inputs must be \(time, batch"),
        (lambda: small(Frames())(images()[None], timesteps=2), "have 1 frames and 2 timesteps"),
        (lambda: small()(images(), timesteps=0), "timesteps must be at least 1"),
        (lambda: small()(images(), timesteps=2, chunk=0), "chunk must be at least 1"),
        (lambda: small()(images()[0], timesteps=2), r"images must be \(batch, height"),
        (lambda: small()(images()[..., :1], timesteps=2), "'conv1': a convolution of 2 input channels"),
        (lambda: small()(images()[:, :4], timesteps=2), "'fc1': a linear layer of 24 inputs got 12"),
        (lambda: Network([]), "at least one layer"),
        (lambda: Network([LIF()]), "made of Blocks, got LIF; neurons without weights are Neurons"),
        (lambda: Conv(4, 6, groups=3, rngs=nnx.Rngs(0)), "groups must divide the 4 input"),
        (lambda: Conv(1, 1, stride=2, padding="same", rngs=nnx.Rngs(0)), "at stride 1 only"),
        (lambda: LIF(reset="soft"), "reset must be one of 'zero', 'subtract', 'none', got 'soft'"),
        (lambda: LIF(integration="mean"), "integration must be one of 'sum', 'average', got 'mean'"),
        (lambda: LIF(threshold="1"), "constants of neurons are numbers, got '1'"),
        (
            lambda: Network([Block("c", Linear(2, 3, rngs=nnx.Rngs(0)), LIF(leak=np.full(2, 0.5)))])(
                jnp.zeros((1, 2)), timesteps=1
            ),
            r"'c': its neurons do not fit its outputs of shape \(3,\); constants are one for all",
        ),
        (lambda: Conv(1, 1, (3, 3, 3), rngs=nnx.Rngs(0)), "kernel must be an int or a pair"),
        (
            lambda: convolved((3, 3), 5),
            r"'c': a kernel that spans 5 × 5 is larger than the padded map of 3 × 3",
        ),
        (lambda: convolved((4, 9), 2, dilation=(4, 1)), "'c': a kernel that spans 5 × 2 is larger than"),
        (
            lambda: convolved((2,), 1, channels=2),
            r"'c': a convolution of 2 input .* got maps of shape \(2,\)",
        ),
    ],
)
def test_mistakes_are_named(call, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_digits_network_has_the_advertised_layers():
    network = digits_convnet(width=4, rngs=nnx.Rngs(0))
    _, record = nnx.jit(lambda net: net(jnp.zeros((1, 8, 8, 1)), timesteps=1))(network)
    assert [(r.in_channels, r.out_channels) for r in record] == [(1, 4), (4, 8), (128, 16), (16, 10)]
    assert float(record[0].input_rate) == 0.0
