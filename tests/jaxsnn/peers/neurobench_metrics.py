"""Networks in snnTorch and what NeuroBench says of them: `python neurobench_metrics.py FOLDER`.

Writes FOLDER/cases.npz, the weights and inputs of every case, and FOLDER/answers.json, its layers, what
neurobench answers, and how it was made. Everything is channels last. Needs neurobench, torch, snntorch.
"""

import datetime
import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import snntorch as snn
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
from neurobench.models import SNNTorchModel, TorchModel
from torch.utils.data import DataLoader, TensorDataset

LIF, ZERO = {"neuron": "Leaky", "beta": 0.5}, {"reset": "zero"}
CASES = {
    # Events of either sign, a bias, average pooling, a stride, a last layer that fires.
    "events": {
        "inputs": {"kind": "events", "shape": [5, 4, 6, 6, 2], "batch": 2},
        "layers": [
            {"conv": [2, 4, 3, 3], "padding": 1, "bias": True, "pool": 2, **LIF, **ZERO},
            {"conv": [4, 6, 3, 3], "padding": 1, "stride": 2, **LIF, **ZERO},
            # No potential exceeds 2θ: what a reset leaves above θ snnTorch resets once more a timestep later.
            {"linear": [24, 10], "bias": True, **LIF, "threshold": 2.0, "reset": "subtract"},
            {"linear": [10, 4], **LIF, **ZERO},
        ],
    },
    # Pixels, sparse and quantised kernels, groups, padding on one side, dilation, a readout without neurons.
    "pixels": {
        "inputs": {"kind": "pixels", "shape": [4, 3, 5, 5, 4], "batch": 4},
        "layers": [
            {"conv": [4, 6, 2, 2], "padding": "same", "groups": 2, "quantised": True, **LIF, **ZERO},
            {"conv": [6, 3, 2, 3], "dilation": [1, 2], "quantised": True, "bias": True, **LIF, **ZERO},
            {"linear": [12, 3], "bias": True},
        ],
    },
    # A network that is not spiking, in which all operations multiply.
    "relu": {
        "inputs": {"kind": "pixels", "shape": [6, 1, 7], "batch": 4},
        "layers": [
            {"linear": [7, 9], "bias": True, "neuron": "ReLU"},
            {"linear": [9, 8], "neuron": "ReLU"},
            {"linear": [8, 3]},
        ],
    },
    # A leaky synapse, few events and silent timesteps, in which what is behind pooling only accumulates.
    "silence": {
        "inputs": {"kind": "rare", "shape": [4, 10, 4, 4, 1], "batch": 2},
        "layers": [
            {"conv": [1, 3, 3, 3], "padding": 1, "pool": 2, "alpha": 0.5, "neuron": "Synaptic", "beta": 0.75}
            | ZERO,
            {"linear": [12, 6], **LIF, **ZERO},
            {"linear": [6, 2], **LIF, **ZERO},
        ],
    },
}


def arrays(case: dict, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Inputs x, (count, time, ...), and kernels and biases of layer i; multiples of 1/64, whose sums hardly
    round. A quantised kernel is rounded to quarters by whoever uses it."""
    kind, shape = case["inputs"]["kind"], case["inputs"]["shape"]
    if kind == "pixels":
        found = {"x": np.repeat(rng.integers(0, 64, (shape[0], 1, *shape[2:])) / 64, shape[1], axis=1)}
    else:
        rare = kind == "rare"
        found = {"x": rng.choice([0, 1, -1], shape, p=[0.9, 0.1, 0] if rare else [0.6, 0.3, 0.1])}
        if rare:
            found["x"][:, 3:8] = 0
    for number, layer in enumerate(case["layers"]):
        sizes = layer.get("conv") or layer["linear"]
        shape = sizes if "linear" in layer else [*sizes[2:], sizes[0] // layer.get("groups", 1), sizes[1]]
        spread = 2 / np.sqrt(np.prod(shape[:-1]))
        found[f"kernel{number}"] = np.round(rng.normal(spread / 6, spread, shape) * 64) / 64
        if layer.get("bias"):
            found[f"bias{number}"] = np.round(rng.uniform(-0.1, 0.3, shape[-1]) * 64) / 64
    return {name: value.astype(np.float32) for name, value in found.items()}


class Peer(torch.nn.Module):
    """The layers of a case; `spiking` returns the pair that NeuroBench's wrapper of snnTorch expects."""

    def __init__(self, case: dict, given: dict[str, np.ndarray], spiking: bool):
        super().__init__()
        self.spiking, self.order = spiking, []
        for number, layer in enumerate(case["layers"]):
            self.add(f"synapse{number}", self.synapse(layer, given, number))
            if "neuron" in layer:
                self.add(f"neuron{number}", self.neuron(layer))
            if "pool" in layer:
                self.add(f"pool{number}", torch.nn.AvgPool2d(layer["pool"]))

    def add(self, name: str, module: torch.nn.Module) -> None:
        self.add_module(name, module)
        self.order.append(name)

    @staticmethod
    def synapse(layer: dict, given: dict[str, np.ndarray], number: int) -> torch.nn.Module:
        kernel, bias = given[f"kernel{number}"], layer.get("bias", False)
        if layer.get("quantised"):
            kernel = np.round(kernel * 4) / 4
        if "linear" in layer:
            module = torch.nn.Linear(*layer["linear"], bias=bias)
        else:
            inputs, outputs, *size = layer["conv"]
            options = {
                name: layer[name] for name in ("padding", "stride", "dilation", "groups") if name in layer
            }
            module = torch.nn.Conv2d(inputs, outputs, tuple(size), bias=bias, **options)
            kernel = kernel.transpose(3, 2, 0, 1)
        with torch.no_grad():
            module.weight.copy_(torch.tensor(kernel.T if "linear" in layer else kernel))
            if bias:
                module.bias.copy_(torch.tensor(given[f"bias{number}"]))
        return module

    @staticmethod
    def neuron(layer: dict) -> torch.nn.Module:
        if layer["neuron"] == "ReLU":
            return torch.nn.ReLU()
        options = {
            "beta": layer["beta"],
            "threshold": layer.get("threshold", 1.0),
            "init_hidden": True,
            "reset_delay": False,
        }
        if "alpha" in layer:
            options["alpha"] = layer["alpha"]
        return getattr(snn, layer["neuron"])(reset_mechanism=layer["reset"], **options)

    def forward(self, x):
        x = x.movedim(-1, 1) if x.ndim == 4 else x
        for name in self.order:
            module = self.get_submodule(name)
            if isinstance(module, torch.nn.Linear) and x.ndim == 4:
                x = x.movedim(1, -1).flatten(1)
            x = module(x)
        return (x, None) if self.spiking else x


def answer(case: dict, given: dict[str, np.ndarray]) -> dict:
    """What neurobench says, and the bytes of snnTorch's own constants in its footprint."""
    spiking = any(layer.get("neuron") in ("Leaky", "Synaptic") for layer in case["layers"])
    net = Peer(case, given, spiking)
    constants = sum(buffer.numel() * buffer.element_size() for buffer in net.buffers())
    x = torch.tensor(given["x"])
    model = SNNTorchModel(net) if spiking else TorchModel(net)
    data = TensorDataset(x if spiking else x[:, 0], torch.zeros(len(x)))
    loader = DataLoader(data, batch_size=case["inputs"]["batch"], shuffle=False)
    listed = [[Footprint, ConnectionSparsity], [ActivationSparsity, MembraneUpdates, SynapticOperations]]
    with torch.no_grad():
        found = Benchmark(model, loader, [], [], listed).run(quiet=True)
    return {**found, "constants_of_snntorch": constants}


def main(folder: str) -> None:
    rng, stored, answers = np.random.default_rng(18), {}, {}
    for name, case in CASES.items():
        given = arrays(case, rng)
        stored |= {f"{name}_{part}": value for part, value in given.items()}
        answers[name] = {**case, "answer": answer(case, given)}
    made = {name: importlib.metadata.version(name) for name in ("neurobench", "snntorch", "torch")}
    made["date"] = datetime.date.today().isoformat()
    np.savez_compressed(Path(folder, "cases.npz"), **stored)
    Path(folder, "answers.json").write_text(
        json.dumps({"made_with": made, "cases": answers}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
