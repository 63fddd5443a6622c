"""The metrics of NeuroBench are those that its package gives of the same network in snnTorch.

tests/data/reference/neurobench holds networks, inputs and what neurobench answered. With
`JAXSNN_NEUROBENCH_PYTHON` set to an interpreter with neurobench, torch and snntorch, it also runs live.
"""

import itertools
import json
import os
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata
from jaxsnn.codesign import evaluate, metrics
from jaxsnn.composite import Residual, SharedMembrane
from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import Direct, Frames, Poisson
from jaxsnn.graph import Graph
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, AdaptiveLIF, CubaLIF, Readout, ReLU, Reset
from jaxsnn.normalization import BatchNorm
from jaxsnn.recurrence import Recurrent

REFERENCE = Path(__file__).parents[2] / "data" / "reference" / "neurobench"
PEER = Path(__file__).parents[1] / "peers" / "neurobench_metrics.py"
ZEROS = nnx.initializers.zeros_init()
CASES = ("events", "pixels", "relu", "silence")


@pytest.fixture(scope="module", params=["stored", "live"])
def peer(request, tmp_path_factory):
    """The layers and answers, and the arrays, of every case."""
    folder = REFERENCE
    if request.param == "live":
        python = os.environ.get("JAXSNN_NEUROBENCH_PYTHON")
        if python is None:
            pytest.skip("JAXSNN_NEUROBENCH_PYTHON names no interpreter with neurobench, torch and snntorch")
        folder = tmp_path_factory.mktemp("neurobench")
        done = subprocess.run([python, str(PEER), str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return json.loads((folder / "answers.json").read_text())["cases"], np.load(folder / "cases.npz")


class Quarters(nnx.Module):
    """Kernels in quarters, as the peer's script has them."""

    bits = 4

    def __call__(self, kernel):
        return jnp.round(kernel * 4) / 4


def neuron_of(layer):
    if layer.get("neuron") in (None, "ReLU"):
        return ReLU() if "neuron" in layer else Readout()
    options = {
        "leak": layer["beta"],
        "threshold": layer.get("threshold", 1.0),
        "reset": Reset(layer["reset"]),
    }
    return CubaLIF(current_leak=layer["alpha"], **options) if "alpha" in layer else LIF(**options)


def network_of(case, name, stored):
    layers = []
    for number, layer in enumerate(case["layers"]):
        made = {"use_bias": layer.get("bias", False), "rngs": nnx.Rngs(0), "kernel_init": ZEROS}
        if "conv" in layer:
            inputs, outputs, *kernel = layer["conv"]
            geometry = {name: layer[name] for name in ("stride", "groups", "dilation") if name in layer}
            padding = layer.get("padding", 0)
            synapse = Conv(inputs, outputs, kernel, padding=padding, **geometry, **made)
        else:
            synapse = Linear(*layer["linear"], **made)
        synapse.kernel[...] = jnp.asarray(stored[f"{name}_kernel{number}"])
        if synapse.bias is not None:
            synapse.bias[...] = jnp.asarray(stored[f"{name}_bias{number}"])
        if layer.get("quantised"):
            synapse.quantizer = Quarters()
        layers.append(Block(f"layer{number}", synapse, neuron_of(layer), pool=layer.get("pool", 1)))
    return Network(layers, encoding=Direct() if case["inputs"]["kind"] == "pixels" else Frames())


def run(peer, name, **options):
    cases, stored = peer
    case, x = cases[name], stored[f"{name}_x"]
    network = network_of(case, name, stored)
    if case["inputs"]["kind"] == "pixels":
        options, x = {"timesteps": x.shape[1]} | options, x[:, 0]
    return metrics(network, x, **{"batch_size": case["inputs"]["batch"]} | options), case["answer"]


@pytest.mark.parametrize("name", CASES)
def test_the_peer_gives_the_same_metrics(peer, name):
    found, answer = run(peer, name)
    operations = answer["SynapticOperations"]
    assert found.dense_operations == operations["Dense"]
    assert found.effective_macs == operations["Effective_MACs"]
    assert found.effective_acs == operations["Effective_ACs"]
    assert found.membrane_updates == answer["MembraneUpdates"]
    assert found.activation_sparsity == pytest.approx(answer["ActivationSparsity"], rel=1e-14)
    assert found.connection_sparsity == answer["ConnectionSparsity"]
    assert found.footprint_bytes == answer["Footprint"] - answer["constants_of_snntorch"]


def test_a_larger_batch_has_fewer_accumulates():
    """Whether a layer multiplies is decided for all samples of a batch: here two events in one pixel do."""
    linear = Linear(2, 3, kernel_init=nnx.initializers.ones_init(), rngs=nnx.Rngs(0))
    network = Network([Block("only", linear, LIF())], Frames())
    events = np.array([[[1, 0]], [[2, 0]]], np.float32)
    alone, together = (metrics(network, events, batch_size=size) for size in (1, 2))
    assert (alone.effective_acs, alone.effective_macs) == (1.5, 1.5)
    assert (together.effective_acs, together.effective_macs) == (0, 3)
    assert (alone.dense_operations, alone.samples, alone.timesteps, alone.batch_size) == (6, 2, 1, 1)


def test_timesteps_multiply_dense_operations(peer):
    two, three = run(peer, "pixels", timesteps=2)[0], run(peer, "pixels")[0]
    assert two.dense_operations / 2 == three.dense_operations / 3
    assert two.membrane_updates < three.membrane_updates
    assert two.footprint_bytes == three.footprint_bytes


def composite():
    """4 × 4 maps of 2 channels: a normalised residual block, then two layers that share a membrane."""

    def block(name, **options):
        kernel = nnx.initializers.constant(0.05)
        return Block(name, Conv(2, 2, kernel_init=kernel, rngs=nnx.Rngs(0)), LIF(), **options)

    shared = SharedMembrane([block("third"), block("fourth")])
    return Network([Residual(block("first", norm=BatchNorm(2)), block("second")), shared], Poisson())


def test_layers_in_layers_are_counted():
    """Against counts by hand: of 16 · 9 taps those within the map are 100, of 2 × 2 channels each."""
    network = composite()
    before = jax.tree.leaves(nnx.state(network))
    images = np.full((3, 4, 4, 2), 0.7, np.float32)
    found = metrics(network, images, timesteps=3, key=jax.random.key(0))
    assert found.dense_operations == 4 * 3 * 100 * 4
    assert 0 < found.effective_acs < found.dense_operations
    assert found.effective_macs == 0
    assert found.footprint_bytes == 4 * (4 * 9 * 2 * 2 + 4 * 2)  # Scale, offset, mean and variance of two.
    neurons = 4 * 32
    assert neurons < found.membrane_updates <= 3 * neurons
    assert 0 < found.activation_sparsity < 1
    key = jax.random.fold_in(jax.random.key(0), 0)
    record = nnx.jit(lambda network: network(jnp.asarray(images), timesteps=3, key=key)[1])(network)
    rates = [float(layer.spike_rate) for layer in record]
    assert 1 - found.activation_sparsity == pytest.approx(np.mean(rates), rel=1e-6)
    inputs = [float(layer.input_rate) for layer in record]
    assert found.effective_acs == pytest.approx(np.mean(inputs) * found.dense_operations, rel=0.2)
    assert all(map(np.array_equal, before, jax.tree.leaves(nnx.state(network))))


def test_recurrent_weights_hear_the_spikes_before():
    """On unit weights all fire in every step: V hears nothing at first and then everything."""
    ones = nnx.initializers.ones_init()
    linear, back = (Linear(size, 4, kernel_init=ones, rngs=nnx.Rngs(0)) for size in (3, 4))
    network = Network([Recurrent(Block("only", linear, AdaptiveLIF(adaptation=0.1)), back)], Frames())
    found = metrics(network, np.ones((2, 3, 3), np.float32))
    assert found.dense_operations == 3 * (12 + 16)
    assert (found.effective_acs, found.effective_macs) == (3 * 12 + 2 * 16, 0)
    assert found.activation_sparsity == 0
    assert found.membrane_updates == 4  # Reset to zero every time; the adaptation beside it is no potential.


def linear(inputs, outputs, seed=0):
    return Linear(inputs, outputs, rngs=nnx.Rngs(seed))


EVENTS = np.random.default_rng(0).integers(0, 3, (5, 10, 6)).astype(np.float32)


def circle():
    """Ten timesteps, which are looked at in two stretches, of a loop as a graph and as a layer."""
    nodes = {"w": linear(6, 4), "n": LIF(threshold=0.3), "v": linear(4, 4, 1)}
    edges = [("input", "w"), ("w", "n"), ("n", "v"), ("v", "n"), ("n", "output")]
    loop = Recurrent(Block("w", linear(6, 4), LIF(threshold=0.3)), linear(4, 4, 1))
    return [
        Network([first, Block("o", linear(4, 3, 2), Readout())], Frames())
        for first in (Graph(nodes, edges), loop)
    ]


def test_a_circle_of_a_graph_has_the_metrics_of_a_recurrent_layer():
    found, expected = (metrics(network, EVENTS, batch_size=3) for network in circle())
    assert found == expected
    assert 0 < found.activation_sparsity < 1


@pytest.mark.parametrize("encoding", [Frames(), Direct()])
def test_neurons_in_a_graph_are_counted(encoding):
    nodes = {"w": linear(6, 4), "n": CubaLIF(threshold=0.3), "v": linear(4, 4, 1), "n2": LIF(threshold=0.1)}
    path = ["input", *nodes, "output"]
    w, n, v, n2 = nodes.values()
    last = Block("o", linear(4, 3, 2), Readout())
    one = Network([Graph(nodes, list(itertools.pairwise(path))), last], encoding)
    other = Network([Block("w", w, n), Block("v", v, n2), last], encoding)
    options = {} if encoding == Frames() else {"timesteps": 10}
    x = EVENTS if encoding == Frames() else EVENTS[:, 0]
    found, expected = (metrics(network, x, batch_size=3, **options) for network in (one, other))
    assert found == expected
    assert 0 < found.activation_sparsity < 1
    assert found.membrane_updates > 8


def test_weights_that_multiply_twice_a_timestep_are_counted_twice():
    """V brings a neuron its own spikes of the step before, and the output those of this one."""
    ones = nnx.initializers.ones_init()
    w, v = (Linear(size, 4, kernel_init=ones, rngs=nnx.Rngs(0)) for size in (3, 4))
    edges = [("input", "w"), ("w", "n"), ("n", "v"), ("v", "n"), ("v", "output")]
    network = Network([Graph({"w": w, "n": LIF(), "v": v}, edges)], Frames())
    found = metrics(network, np.ones((2, 3, 3), np.float32))
    assert found.dense_operations == 3 * (12 + 16 + 16)
    assert found.effective_acs == 3 * 12 + (2 + 3) * 16  # No spikes are before the first step.


def test_a_network_with_a_circle_is_evaluated():
    data = Dataset.from_arrays(np.tile(EVENTS, (4, 1, 1)), np.arange(20) % 3, timed=True)
    one, other = (evaluate(network, data, {"SATA": sata.Accelerator()}, draws=1) for network in circle())
    assert one["SATA"].accuracies == other["SATA"].accuracies
    assert one.metrics == other.metrics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timesteps": None}, "timesteps says how long"),
        ({"timesteps": 0}, "timesteps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"images": np.zeros((0, 3), np.float32)}, "at least one image"),
        ({"images": np.full((2, 3), np.nan, np.float32)}, "NaN"),
        ({"encoding": Frames(), "images": np.zeros((2, 4, 3), np.float32), "timesteps": 5}, "4 frames"),
    ],
)
def test_what_cannot_be_counted_is_said(change, message):
    options = {"timesteps": 1, "images": np.zeros((2, 3), np.float32), "encoding": Direct()} | change
    images, encoding = options.pop("images"), options.pop("encoding")
    linear = Linear(3, 2, kernel_init=ZEROS, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        metrics(Network([Block("only", linear, LIF())], encoding), images, **options)


def test_a_silent_network_has_a_table():
    linear = Linear(3, 2, kernel_init=ZEROS, rngs=nnx.Rngs(0))
    found = metrics(Network([Block("only", linear, LIF())]), np.ones((2, 3), np.float32), timesteps=2)
    assert found.connection_sparsity == found.activation_sparsity == 1
    assert found.effective_macs == found.effective_acs == 0
    assert found.dense_operations == 12
    assert found.membrane_updates == 2  # In the first timestep all, whatever they are.
    assert [row[1] for row in found.table().rows] == ["24.00 B", "1.0000", "1.0000", "12", "0", "0", "2"]
    assert json.dumps(found.numbers())


def test_a_report_holds_the_metrics_of_its_test_inputs():
    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(rng.integers(0, 256, (8, 3), np.uint8), np.arange(8) % 2, test=0.5, mean=0.5)
    layers = [
        Block("a", Linear(3, 4, rngs=nnx.Rngs(0)), LIF()),
        Block("b", Linear(4, 2, rngs=nnx.Rngs(1)), Readout()),
    ]
    network = Network(layers)
    report = evaluate(network, data, {"SATA": sata.Accelerator()}, timesteps=2, draws=1, batch_size=3)
    inputs = data.scale(data.test_images)
    assert report.metrics == metrics(network, inputs, timesteps=2, batch_size=3)
    assert report.metrics != metrics(network, inputs + 1, timesteps=2, batch_size=3)
    assert report.numbers()["metrics"]["footprint_bytes"] == 4 * (3 * 4 + 4 * 2)
    assert "membrane updates" in str(report)
