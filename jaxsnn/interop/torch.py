"""Weights of torch networks, from files that are never unpickled."""

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.composite import Residual, SharedMembrane
from jaxsnn.layers import Conv, Linear
from jaxsnn.network import Network
from jaxsnn.normalization import BNTT, BatchNorm, Normalization


def read_state_dict(path: str | PathLike) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors file, or of a .pt/.pth file by torch's `weights_only` loading.

    **Raises:** `ValueError` for a file that is damaged, that needs unpickling, or of another kind.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        try:
            from safetensors.numpy import load_file
        except ImportError as error:
            raise ValueError("reading .safetensors needs: pip install 'jaxsnn[interop]'.") from error
        try:
            return load_file(path)
        except Exception as error:
            raise ValueError(f"{path} is damaged or no safetensors file ({error}).") from error
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(f"{path} must end in .safetensors, .pt or .pth.")
    try:
        import torch
    except ImportError as error:
        raise ValueError(f"reading {path.name} needs torch; or save it as .safetensors.") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} holds more than tensors, or is damaged; it was not unpickled.") from error
    found = found.get("state_dict", found)
    return {name: tensor.numpy() for name, tensor in found.items()}


def _natural(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def load_weights(network: Network, tensors: Mapping[str, np.ndarray]) -> None:
    """Fill a network's kernels, biases and normalisation from a torch state dict, in place.

    Layers are matched in order: every 4-dimensional `*.weight` is a convolution, every 2-dimensional one a
    linear layer, and `*.running_mean` marks a normalisation; names sort naturally (conv2 before conv10). This
    fits SpikeSim's VGGs (conv1 …, fc1 …) and BNTT's (with bntt1.0 …, bntt_fc.0 …, one per timestep). Kernels
    go from (out, in, h, w) to (h, w, in, out), and the first linear layer after a map from (c, h, w) order
    to (h, w, c).

    **Raises:** `ValueError` that names the tensor, when counts or shapes differ.
    """
    synapses = _chain(network)
    names = sorted(tensors, key=_natural)
    for kind, dimensions in ((Conv, 4), (Linear, 2)):
        found = [name for name in names if name.endswith("weight") and tensors[name].ndim == dimensions]
        layers = [synapse for synapse in synapses if type(synapse) is kind]
        if len(found) != len(layers):
            raise ValueError(
                f"the file has {len(found)} {kind.__name__} weights ({', '.join(found)}) and the network has "
                f"{len(layers)} such layers."
            )
        channels = [synapse.out_channels for synapse in synapses if isinstance(synapse, Conv)]
        for index, (name, layer) in enumerate(zip(found, layers, strict=True)):
            tensor = np.asarray(tensors[name])
            if kind is Conv:
                kernel = tensor.transpose(2, 3, 1, 0)
            else:
                first = index == 0 and bool(channels)
                kernel = flatten_order(tensor, channels[-1]) if first else tensor.T
            _assign(layer.kernel, kernel, name)
            bias = name.removesuffix("weight") + "bias"
            if (bias in tensors) != (layer.bias is not None):
                raise ValueError(f"{bias} is in {'the file' if bias in tensors else 'the network'} only.")
            if layer.bias is not None:
                _assign(layer.bias, np.asarray(tensors[bias]), bias)
    _load_norms(network, tensors, names)


def flatten_order(weight: np.ndarray, channels: int) -> np.ndarray:
    """A (out, c·h·w) weight as an (h·w·c, out) kernel."""
    if weight.shape[1] % channels:
        raise ValueError(f"a linear weight of {weight.shape[1]} inputs does not follow {channels} channels.")
    return weight.reshape(len(weight), channels, -1).transpose(2, 1, 0).reshape(-1, len(weight))


def _chain(network: Network) -> list[Conv | Linear]:
    if any(isinstance(layer, Residual) for layer in network.layers):
        raise ValueError("residual networks cannot be matched by order; only chains of layers can.")
    blocks = [
        block
        for layer in network.layers
        for block in (layer.blocks if isinstance(layer, SharedMembrane) else [layer])
    ]
    return [block.synapse for block in blocks]


def _assign(parameter, value: np.ndarray, name: str) -> None:
    if parameter[...].shape != value.shape:
        raise ValueError(f"{name} has shape {value.shape} where the network needs {parameter[...].shape}.")
    parameter[...] = jnp.asarray(value, parameter[...].dtype)


def _load_norms(network: Network, tensors: Mapping[str, np.ndarray], names: list[str]) -> None:
    stems = [name.removesuffix(".running_mean") for name in names if name.endswith(".running_mean")]
    groups: dict[str, list[str]] = {}
    norms = [
        module
        for layer in network.layers
        for _, module in nnx.iter_graph(layer)
        if isinstance(module, Normalization)
    ]
    through_time = any(isinstance(norm, BNTT) for norm in norms)
    for stem in stems:
        groups.setdefault(stem.rsplit(".", 1)[0] if through_time else stem, []).append(stem)
    if len(groups) != len(norms):
        raise ValueError(f"the file has {len(groups)} normalisations and the network has {len(norms)}.")
    for (group, members), norm in zip(groups.items(), norms, strict=True):
        if not isinstance(norm, BNTT | BatchNorm):
            raise ValueError(f"{group}: no rule to load a {type(norm).__name__}.")
        fields = {"scale": "weight", "mean": "running_mean", "variance": "running_var"}
        if isinstance(norm, BatchNorm):
            fields["offset"] = "bias"
        for field, suffix in fields.items():
            missing = [f"{stem}.{suffix}" for stem in members if f"{stem}.{suffix}" not in tensors]
            if missing:
                raise ValueError(f"the file lacks {missing[0]}.")
            values = np.stack([np.asarray(tensors[f"{stem}.{suffix}"]) for stem in members])
            _assign(
                getattr(norm, field), values if isinstance(norm, BNTT) else values[0], f"{group}.{suffix}"
            )
