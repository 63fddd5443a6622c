"""A network through NIR to snnTorch and back: the same spikes in ours, in the peer, and in ours again.

tests/data/reference/nir holds what snnTorch answered. With `JAXSNN_PEER_PYTHON` set to an interpreter with
torch, snntorch and nir, the peer also runs live. No potential comes closer to a threshold than 0.005, so that
rounding decides no spike.
"""

import os
import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.interop.nir import from_nir, to_nir
from jaxsnn.layers import Block, Conv, Linear, pooled, run_neuron
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, Integration, Readout
from jaxsnn.signal import Signal

nir = pytest.importorskip("nir")

REFERENCE = Path(__file__).parents[1] / "data" / "reference" / "nir"
PEER = Path(__file__).with_name("peers") / "nir_snntorch.py"
SHAPE = (4, 4, 2)  # (height, width, channels)
HIDDEN = ("a_neuron", "b_neuron", "c_neuron")


def network(**options):
    """Convolution, pooling and two linear layers; weights from NumPy, whose generator keeps its numbers."""
    rng = np.random.default_rng(0)
    made = {"use_bias": True, "rngs": nnx.Rngs(0)}
    net = Network(
        [
            Block("a", Conv(2, 3, **made), LIF(leak=0.8, **options), pool=2),
            Block("b", Linear(12, 10, **made), LIF(leak=0.5, threshold=0.7, **options)),
            Block("c", Linear(10, 8, **made), LIF(leak=0.9, threshold=0.6, **options)),
            Block("d", Linear(8, 5, **made), Readout()),
        ]
    )
    for layer in net.layers:
        shape = layer.synapse.kernel.shape
        kernel = rng.normal(0.1, 1, shape) / np.sqrt(np.prod(shape[:-1]))
        layer.synapse.kernel[...] = jnp.asarray(kernel, jnp.float32)
        layer.synapse.bias[...] = jnp.asarray(rng.uniform(-0.1, 0.2, shape[-1]), jnp.float32)
    return net


def images():
    """Eight steps of an image that changes in time, channels first."""
    return np.random.default_rng(1).uniform(0, 2, (8, 2, 4, 4)).astype(np.float32)


def cut(graph):
    """The graph without its readout, which snnTorch does not know; `from_nir` puts one at the end."""
    nodes = {name: node for name, node in graph.nodes.items() if name != "d_neuron"}
    edges = [edge for edge in graph.edges if "d_neuron" not in edge]
    return nir.NIRGraph(nodes, [*edges, ("d", "output")], type_check=False)


def spikes(net, x):
    """Spikes of each hidden layer, as NIR lays them out: (time, channels, height, width) or (time, out)."""
    values = jnp.asarray(x.transpose(0, 2, 3, 1)[:, None])
    signal, trains = Signal(values=values, steps=len(x), analog=True), {}
    for layer in net.layers[:-1]:
        out, _ = run_neuron(layer.neuron, layer.drive(signal, start=0), None)
        train = np.asarray(out.values)[:, 0]
        trains[f"{layer.name}_neuron"] = np.moveaxis(train, -1, 1)
        signal = pooled(out, layer.pool)
    return trains


def assert_same(found, expected):
    for name in HIDDEN:
        assert 0.1 < expected[name].mean() < 0.9, f"{name} is silent or saturated"
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def run_peer(python, folder):
    """Our graph and images given to the peer, in this folder: its graph and its spikes."""
    nir.write(folder / "ours.nir", cut(to_nir(network(), SHAPE)))
    np.savez_compressed(folder / "images.npz", x=images())
    files = ("ours.nir", "images.npz", "snntorch.nir", "spikes.npz")
    done = subprocess.run(
        [python, str(PEER), *(str(folder / name) for name in files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["stored", "live"])
def peer(request, tmp_path_factory):
    """A folder with what the peer was given and what it answered."""
    if request.param == "stored":
        return REFERENCE
    python = os.environ.get("JAXSNN_PEER_PYTHON")
    if python is None:
        pytest.skip("JAXSNN_PEER_PYTHON names no interpreter with torch, snntorch and nir")
    folder = tmp_path_factory.mktemp("peer")
    run_peer(python, folder)
    return folder


def test_the_peer_and_the_round_trip_give_our_spikes(peer):
    x = np.load(peer / "images.npz")["x"]
    np.testing.assert_array_equal(x, images())
    theirs = np.load(peer / "spikes.npz")
    back = from_nir(nir.read(peer / "snntorch.nir"))
    assert_same(spikes(network(), x), theirs)
    assert_same(spikes(back, x), theirs)
    assert [layer.neuron.integration for layer in back.layers[:-1]] == [Integration.SUM] * 3


@pytest.mark.parametrize("name", HIDDEN)
def test_another_leak_gives_other_spikes(peer, name):
    """A leak that is 0.1 less shows in the spikes, so agreement is no accident of a dull input."""
    x = np.load(peer / "images.npz")["x"]
    graph = nir.read(peer / "snntorch.nir")
    node = graph.nodes[name]
    leak = 1 - 1e-4 / node.tau
    node.tau = 1e-4 / (1 - (leak - 0.1))
    node.r = node.tau / 1e-4
    assert not np.array_equal(spikes(from_nir(graph), x)[name], np.load(peer / "spikes.npz")[name])
