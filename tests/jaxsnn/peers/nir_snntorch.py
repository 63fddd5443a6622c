"""A NIR graph in snnTorch: `python nir_snntorch.py GRAPH INPUT.npz BACK SPIKES.npz`.

Reads GRAPH and the array `x` (T, channels, height, width), writes the spikes of every neuron node and the
output of each step to SPIKES.npz, and the graph as snnTorch exports it to BACK. Needs torch, snntorch, nir.
"""

import sys

import nir
import numpy as np
import snntorch
import torch
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir


def main(graph: str, inputs: str, back: str, spikes: str) -> None:
    module = import_from_nir(nir.read(graph))
    x = torch.tensor(np.load(inputs)["x"], dtype=torch.float32)
    trains: dict[str, list[np.ndarray]] = {"output": []}
    for name, part in module.named_modules():
        if isinstance(part, snntorch.Leaky):
            train = trains[name] = []
            part.register_forward_hook(lambda _module, _args, out, train=train: train.append(out.numpy()))
    state = None
    with torch.no_grad():
        for image in x:
            out, state = module(image, state)
            trains["output"].append(out.numpy())
    np.savez_compressed(spikes, **{name: np.stack(train) for name, train in trains.items()})

    for part in module.modules():
        if isinstance(part, snntorch.Leaky):  # its export asks that threshold and leak have one shape
            part.threshold = torch.full_like(part.beta, float(part.threshold))
    exported = export_to_nir(module, x[0])
    for node in exported.nodes.values():
        for field, value in vars(node).items():
            if isinstance(value, torch.Tensor):  # which a file cannot hold
                setattr(node, field, value.detach().numpy())
    nir.write(back, exported)


if __name__ == "__main__":
    main(*sys.argv[1:])
