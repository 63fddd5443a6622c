"""Weights of torch networks, from files that are never unpickled."""

import re
from collections.abc import Iterator, Mapping
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
    """The tensors of a .safetensors file, or of a .pt, .pth or .pth.tar file, loaded by torch `weights_only`.

    A torch file holds a state dict, or a dictionary with one under "state_dict", as SpikeSim's and BNTT's do.
    Beside tensors it may hold NumPy numbers, such as the accuracy in theirs.

    **Raises:** `ValueError` for a file that is damaged, that needs unpickling, or of another kind.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        try:
            from safetensors.numpy import load_file
        except ImportError as error:
            raise ValueError("reading .safetensors needs: pip install 'spikechip[interop]'.") from error
        try:
            return load_file(path)
        except Exception as error:
            raise ValueError(f"{path} is damaged or no safetensors file ({error}).") from error
    if not path.name.endswith((".pt", ".pth", ".pth.tar")):
        raise ValueError(f"{path} must end in .safetensors, .pt, .pth or .pth.tar.")
    try:
        import torch
    except ImportError as error:
        raise ValueError(f"reading {path.name} needs torch; or save it as .safetensors.") from error
    number = np.float64(0).__reduce__()[0]
    numbers = [number, (number, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.float64))]
    try:
        with torch.serialization.safe_globals(numbers):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} holds more than tensors, or is damaged; it was not unpickled.") from error
    tensors = found.get("state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(tensors, Mapping) or not all(hasattr(value, "numpy") for value in tensors.values()):
        keys = f" of {', '.join(map(str, list(found)[:4]))}" if isinstance(found, Mapping) else ""
        raise ValueError(
            f"{path} must hold a mapping from names to tensors, or one under 'state_dict', and holds a "
            f"{type(found).__name__}{keys}; write it with torch.save(model.state_dict(), ...)."
        )
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def _natural(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def load_weights(network: Network, tensors: Mapping[str, np.ndarray]) -> None:
    """Fill a network's kernels, biases and normalisation from a torch state dict, in place and all or none.

    Layers are matched in order: every 4-dimensional `*.weight` is a convolution, every 2-dimensional one a
    linear layer, and `*.running_mean` marks a normalisation; names sort naturally (conv2 before conv10). This
    fits SpikeSim's VGGs (conv1 …, fc1 …) and BNTT's (with bntt1.0 …, bntt_fc.0 …, one per timestep). Kernels
    go from (out, in, h, w) to (h, w, in, out), and the first linear layer after a map from (c, h, w) order
    to (h, w, c).

    **Raises:** `ValueError` that names the tensor, when counts or shapes differ, when a value is not finite,
    and when a tensor of floats has no place in the network. The network is then as it was.
    """
    filled = [*_synapses(network, tensors), *_norms(network, tensors)]
    for names, parameter, value in filled:
        which = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        if parameter[...].shape != value.shape:
            raise ValueError(
                f"{which} has shape {value.shape} where the network needs {parameter[...].shape}."
            )
        if not np.all(np.isfinite(value)):
            raise ValueError(
                f"{which} holds values that are not finite; take a file of a sound training run."
            )
    used = {name for names, _, _ in filled for name in names}
    floats = {name for name, tensor in tensors.items() if jnp.issubdtype(tensor.dtype, jnp.floating)}
    if floats - used:
        raise ValueError(
            f"the network has no place for {', '.join(sorted(floats - used, key=_natural))}; build it with "
            "the layers, biases and normalisation of the file, or leave these tensors out."
        )
    for _, parameter, value in filled:
        parameter[...] = jnp.asarray(value, parameter[...].dtype)


def flatten_order(weight: np.ndarray, channels: int) -> np.ndarray:
    """A (out, c·h·w) weight as an (h·w·c, out) kernel."""
    if weight.shape[1] % channels:
        raise ValueError(f"a linear weight of {weight.shape[1]} inputs does not follow {channels} channels.")
    return weight.reshape(len(weight), channels, -1).transpose(2, 1, 0).reshape(-1, len(weight))


_Filled = Iterator[tuple[list[str], nnx.Variable, np.ndarray]]
"""Names of tensors, the parameter that they fill, and the values as that parameter lays them out."""


def _synapses(network: Network, tensors: Mapping[str, np.ndarray]) -> _Filled:
    synapses = _chain(network)
    channels = [synapse.out_channels for synapse in synapses if isinstance(synapse, Conv)]
    for kind, dimensions in ((Conv, 4), (Linear, 2)):
        found = [name for name in _named(tensors, "weight") if tensors[name].ndim == dimensions]
        layers = [synapse for synapse in synapses if type(synapse) is kind]
        if len(found) != len(layers):
            raise ValueError(
                f"the file has {len(found)} {kind.__name__} weights ({', '.join(found)}) and the network has "
                f"{len(layers)} such layers."
            )
        for index, (name, layer) in enumerate(zip(found, layers, strict=True)):
            tensor = np.asarray(tensors[name])
            if kind is Conv:
                kernel = tensor.transpose(2, 3, 1, 0)
            else:
                first = index == 0 and bool(channels)
                kernel = flatten_order(tensor, channels[-1]) if first else tensor.T
            yield [name], layer.kernel, kernel
            bias = name.removesuffix("weight") + "bias"
            if (bias in tensors) != (layer.bias is not None):
                raise ValueError(f"{bias} is in {'the file' if bias in tensors else 'the network'} only.")
            if layer.bias is not None:
                yield [bias], layer.bias, np.asarray(tensors[bias])


def _named(tensors: Mapping[str, np.ndarray], suffix: str) -> list[str]:
    return sorted((name for name in tensors if name.endswith(suffix)), key=_natural)


def _chain(network: Network) -> list[Conv | Linear]:
    blocks = [
        block
        for layer in network.layers
        for block in (layer.blocks if isinstance(layer, SharedMembrane) else [layer])
    ]
    synapses = []
    for block in blocks:
        if isinstance(block, Residual):
            raise ValueError("residual networks cannot be matched by order; only chains of layers can.")
        synapses.append(block.synapse)
    return synapses


def _norms(network: Network, tensors: Mapping[str, np.ndarray]) -> _Filled:
    stems = [name.removesuffix(".running_mean") for name in _named(tensors, ".running_mean")]
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
            names = [f"{stem}.{suffix}" for stem in members]
            missing = [name for name in names if name not in tensors]
            if missing:
                raise ValueError(f"the file lacks {missing[0]}.")
            parts = [np.asarray(tensors[name]) for name in names]
            if len({part.shape for part in parts}) > 1:
                raise ValueError(f"{group}: its {suffix} differs in shape between timesteps.")
            yield names, getattr(norm, field), np.stack(parts) if isinstance(norm, BNTT) else parts[0]
