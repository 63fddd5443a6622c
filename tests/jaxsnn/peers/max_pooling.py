"""Torch networks with max pooling: `python max_pooling.py PEER FILE.npz` in an environment that has PEER.

PEER is snntorch, which pools currents (as in its tutorial 6), or spikingjelly, which pools spikes (as its
`spiking_vgg`). State dicts, inputs and answers are stored in `tests/data/reference/neurons/max_pooling.npz`.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

STEPS, SIDE = 12, 9


def snntorch():
    import snntorch as snn

    def leaky():
        return snn.Leaky(beta=0.8, threshold=0.6, reset_mechanism="zero", init_hidden=True)

    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(2), leaky(),
        nn.Conv2d(4, 3, 3), nn.MaxPool2d(2), leaky(),
        nn.Flatten(), nn.Linear(3, 5), leaky(),
    )  # fmt: skip


def spikingjelly():
    from spikingjelly.activation_based import layer, neuron

    def fire():
        return neuron.IFNode(v_threshold=0.5)

    return nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), fire(), layer.MaxPool2d(2),
        layer.Conv2d(4, 3, 3, bias=False), fire(), layer.MaxPool2d(2),
        layer.Flatten(), layer.Linear(3, 5, bias=False), fire(),
    )  # fmt: skip


def main(peer: str, out: str) -> None:
    torch.manual_seed(0)
    model = {"snntorch": snntorch, "spikingjelly": spikingjelly}[peer]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1), module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5), module.bias.data.uniform_(-0.1, 0.1)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data *= 2.5
    model.eval()
    inputs = (torch.rand(STEPS, 3, 2, SIDE, SIDE) < 0.5).float()
    with torch.no_grad():
        spikes = torch.stack([model(x) for x in inputs])
    found = {f"{peer}_state/{name}": tensor.numpy() for name, tensor in model.state_dict().items()}
    found |= {
        f"{peer}_inputs": inputs.numpy().astype(np.uint8),
        f"{peer}_spikes": spikes.numpy().astype(np.uint8),
    }
    found[f"{peer}_version"] = np.array(version(peer))
    if Path(out).exists():
        found = dict(np.load(out)) | found
    np.savez_compressed(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
