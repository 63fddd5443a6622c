"""NIR graphs out: NIR's equations in NumPy give what our networks give, and so does what we read back."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.composite import Residual
from jaxsnn.interop.nir import from_nir, to_nir
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.learning.quantization import MintQuantizer
from jaxsnn.network import Network
from jaxsnn.neuron import IF, LIF, CubaLIF, Identity, Integration, ParametricCubaLIF, ParametricLIF, Readout
from jaxsnn.normalization import BatchNorm
from jaxsnn.recurrence import Recurrent

nir = pytest.importorskip("nir")

from tests.jaxsnn.nir_reference import simulate  # noqa: E402  # It needs nir.

DT = 1e-3


def options():
    return {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}


def conv(inputs, out, kernel=3, **more):
    return Conv(inputs, out, kernel, **{"use_bias": True} | more, **options())


def normalised():
    """Batch normalisation, constants of every channel, and a threshold that counts as reached."""
    norm = BatchNorm(3)
    norm.mean[...], norm.variance[...] = np.float32([0.1, -0.2, 0.3]), np.float32([0.5, 2.0, 1.0])
    norm.scale[...], norm.offset[...] = np.float32([1.0, 0.5, 2.0]), np.float32([0.1, 0.2, -0.1])
    leak = np.array([0.5, 0.7, 0.9])
    return [
        Block("a", conv(2, 3), LIF(leak=leak, threshold=leak, inclusive=True), norm=norm, pool=2),
        Block("b", Linear(18, 5, **options()), ParametricLIF(leak=0.6, threshold=0.4)),
        Block("c", Linear(5, 4, **options()), LIF(leak=0.8, threshold=0.2, rest=-0.1)),
    ]


def quantised():
    first = Block("a", conv(2, 4, (3, 1), groups=2, dilation=(2, 1), padding=(2, 0)), IF(threshold=0.7))
    first.synapse.quantizer = MintQuantizer(4)
    last = LIF(leak=0.5, threshold=0.3, integration=Integration.AVERAGE)
    return [first, Block("b", conv(4, 2, (1, 3), stride=(2, 1), padding=(0, 1)), last)]


def residual():
    inner = Residual(
        Block("b", conv(3, 3), LIF(leak=0.5, threshold=0.3)),
        Block("c", conv(3, 4), CubaLIF(leak=0.5, current_leak=0.4, threshold=0.6), pool=2),
        Block("p", conv(3, 4, 1, padding=0), Identity()),
    )
    outer = Residual(
        Block("e", conv(4, 4, padding="same"), IF(threshold=1.1)), Block("f", conv(4, 4), LIF(leak=0.7))
    )
    return [
        Block("a", conv(2, 3), LIF(leak=0.8)),
        inner,
        outer,
        Block("d", Linear(24, 3, **options()), Readout()),
    ]


def recurrent():
    return [
        Recurrent(
            Block("a", Linear(48, 6, **options()), ParametricCubaLIF(current_leak=0.3)), rngs=nnx.Rngs(1)
        ),
        Recurrent(Block("b", Linear(6, 4, **options()), IF(threshold=0.6)), rngs=nnx.Rngs(2)),
    ]


def own_constants():
    """What each neuron or channel may have of its own though r is 1."""
    own = {"leak": np.linspace(0.3, 0.9, 5), "threshold": np.linspace(0.2, 0.6, 5), "rest": 0.1}
    return [
        Block("a", conv(2, 3), LIF(leak=0.8, threshold=np.array([0.3, 0.5, 0.9]), inclusive=True)),
        Block("b", Linear(72, 5, **options()), LIF(integration=Integration.AVERAGE, **own)),
        Block("c", Linear(5, 4, **options()), CubaLIF(leak=0.7, threshold=np.linspace(0.1, 0.4, 4))),
        Block("d", Linear(4, 3, **options()), IF(threshold=np.array([0.1, 0.2, 0.3]))),
    ]


CASES = {make.__name__: make for make in (normalised, quantised, residual, recurrent, own_constants)}
X = np.random.default_rng(3).uniform(0, 2, (10, 1, 6, 4, 2))


@nnx.jit
def unrolled(network, inputs):
    return network.unroll(inputs)


def ordered(graph):
    """Nodes so that each follows what enters it, but for recurrent weights, which come first."""
    order, left = [], list(graph.nodes)
    while left:
        ready = [
            n
            for n in left
            if all(
                a in order or (a.endswith("_neuron") and n.endswith("_recurrent"))
                for a, b in graph.edges
                if b == n
            )
        ]
        order += ready
        left = [n for n in left if n not in ready]
    return order


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_is_written_means_the_same(tmp_path, name, unit):
    if unit and name == "normalised":
        pytest.skip("r = 1 needs one leak for all neurons of a layer")
    network = Network(CASES[name]())
    expected = np.asarray(unrolled(network, jnp.asarray(X)))
    assert np.mean(expected != 0) > 0.02
    graph = to_nir(network, (6, 4, 2), dt=DT, resistance="unit" if unit else "timestep", zero_bias=unit)
    nir.write(tmp_path / "graph.nir", graph)
    read = nir.read(tmp_path / "graph.nir")  # Its own check of shapes passes.
    late = {
        n: read.nodes[n].v_threshold.shape
        for n in read.nodes
        if n.endswith("_neuron") and name == "recurrent"
    }
    found = simulate(read, X[:, 0].transpose(0, 3, 1, 2), DT, ordered(read), late)
    found = np.moveaxis(found, 1, -1) if found.ndim > 2 else found
    np.testing.assert_allclose(found, expected[:, 0], rtol=1e-6, atol=1e-6)
    back = from_nir(read, dt=DT, dtype=jnp.float64)
    np.testing.assert_allclose(unrolled(back, jnp.asarray(X)), expected, rtol=1e-6, atol=1e-6)
    if unit:
        neurons = [node for node in read.nodes.values() if hasattr(node, "r")]
        assert all(np.all(node.r == 1) for node in neurons)
        assert not any(type(node) is nir.Linear for node in read.nodes.values())


def test_a_readout_may_be_left_away():
    network = Network(residual())
    kept, dropped = (to_nir(network, (6, 4, 2), dt=DT, readout=readout) for readout in ("keep", "drop"))
    assert set(kept.nodes) - set(dropped.nodes) == {"d_neuron"}
    potentials = np.asarray(unrolled(network, jnp.asarray(X)))
    currents = np.asarray(unrolled(from_nir(dropped, dt=DT, dtype=jnp.float64), jnp.asarray(X)))
    np.testing.assert_allclose(currents.cumsum(0), potentials, rtol=1e-6)


def test_a_kernel_that_is_no_square_gets_zeros():
    graph = to_nir(Network(quantised()), (6, 4, 2), dt=DT)
    a, b = graph.nodes["a"], graph.nodes["b"]
    assert a.weight.shape == (4, 2, 3, 3)
    assert not np.any(a.weight[:2, 1])
    assert tuple(a.padding) == (2, 1)
    assert not np.any(a.weight[..., [0, 2]])
    assert b.weight.shape == (2, 4, 3, 3)
    assert tuple(graph.nodes["output"].output_type["output"]) == (2, 3, 4)


@pytest.mark.parametrize(
    ("neuron", "shape", "message"),
    [
        (ParametricLIF(leak=np.linspace(0.2, 0.8, 4)), 4, "layer 'a': r = 1 needs one leak for all"),
        (LIF(threshold=np.ones(3)), 4, r"layer 'a': its neurons do not fit .* v_threshold of shape \(3,\)"),
    ],
)
def test_what_r_of_one_cannot_express_is_told_by_its_layer(neuron, shape, message):
    network = Network([Block("a", Linear(6, shape, **options()), neuron)])
    with pytest.raises(ValueError, match=message):
        to_nir(network, (6,), resistance="unit")
