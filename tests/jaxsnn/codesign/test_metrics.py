"""The metrics of NeuroBench are those that its package gives of the same network in snnTorch.

tests/data/reference/neurobench holds networks, inputs and what neurobench answered. With
`JAXSNN_NEUROBENCH_PYTHON` set to an interpreter with neurobench, torch and snntorch, it also runs live.
"""

import json
import os
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsnn.codesign import metrics
from jaxsnn.composite import Residual, SharedMembrane
from jaxsnn.encoding import Direct, Frames, Poisson
from jaxsnn.layers import Block, Conv, Linear
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, CubaLIF, Readout, ReLU, Reset
from jaxsnn.normalization import BatchNorm

REFERENCE = Path(__file__).parents[2] / "data" / "reference" / "neurobench"
PEER = Path(__file__).parents[1] / "peers" / "neurobench_metrics.py"
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
    options = {"leak": layer["beta"], "threshold": layer.get("threshold", 1.0), "reset": Reset(layer["reset"])}
    return CubaLIF(current_leak=layer["alpha"], **options) if "alpha" in layer else LIF(**options)


def network_of(case, name, stored):
    layers = []
    for number, layer in enumerate(case["layers"]):
        made = {"use_bias": layer.get("bias", False), "rngs": nnx.Rngs(0)}
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
