"""Weights of torch networks, from files that are never unpickled."""

import math
import re
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.composite import Residual, SharedMembrane
from jaxsnn.layers import Block, Conv, Linear, Neurons
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, DelayedLIF, ParametricLIF, Reset
from jaxsnn.neuron._constants import as_constant, check_leak, check_threshold
from jaxsnn.normalization import BNTT, BatchNorm, Normalization
from jaxsnn.operations import Operation


def read_state_dict(path: str | PathLike) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors file, or of a .pt, .pth or .pth.tar file, loaded by torch `weights_only`.

    A torch file holds a state dict, or a dictionary with one under "state_dict", as SpikeSim's and BNTT's do.
    Beside tensors it may hold NumPy numbers, such as the accuracy in theirs.

    **Raises:** `ValueError` for a file that is missing or damaged, that needs unpickling, or of another kind.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        try:
            from safetensors.numpy import load_file
        except ImportError as error:
            raise ValueError("reading .safetensors needs: pip install 'spikechip[interop]'.") from error
        try:
            return Unordered(load_file(path))
        except FileNotFoundError as error:
            raise ValueError(f"there is no file {path}.") from error
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"{path} is damaged or no safetensors file ({reason}).") from error
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
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}.") from error
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


class Unordered(dict):
    """Tensors whose order says nothing, as safetensors sorts them."""


def _natural(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def load_weights(
    network: Network,
    tensors: Mapping[str, np.ndarray],
    *,
    names: Mapping[str, str] | None = None,
    reset_delay: bool = True,
) -> None:
    """Fill a network from a torch state dict, in place and all or none.

    Every 4-dimensional `*.weight` is a convolution, every 2-dimensional one a linear layer, and
    `*.running_mean` marks a normalisation. They are matched in the order of the state dict, which is that of
    the torch modules. A .safetensors file has no order: there, numbered names go by their numbers (conv2
    before conv10), and others by their shapes. This fits SpikeSim's VGGs (conv1 …, fc1 …) and BNTT's (with
    bntt1.0 …, bntt_fc.0 …, one per timestep). Kernels go from (out, in, h, w) to (h, w, in, out), and the
    first linear layer after a map from (c, h, w) order to (h, w, c).

    snnTorch's `beta` and `threshold` become the neurons' leak and threshold, SpikingJelly's `w` of a
    ParametricLIFNode the leak 1 − sigmoid(w).

    **Arguments:**

    - `network`: filled in place.
    - `tensors`: from [`read_state_dict`][] or `state_dict()`, as NumPy arrays.
    - `names`: the file's module for layers by name, e.g. `{"conv1": "encoder.first"}`, in place of any order.
    - `reset_delay`: of snnTorch's neurons, which their state dict does not hold.

    **Raises:** `ValueError` that names the tensor, when counts or shapes differ, when order and numbers
    disagree or nothing tells equal shapes apart, when a value is not finite, when a tensor of floats has no
    place in the network, and when snnTorch's reset is not that of the network's neurons. The network is then
    as it was.
    """
    constants, consumed = _constants(network, tensors, reset_delay)
    filled = [*_synapses(network, tensors, names or {}), *_norms(network, tensors)]
    for members, parameter, value in filled:
        which = members[0] if len(members) == 1 else f"{members[0]} to {members[-1]}"
        if parameter[...].shape != value.shape:
            raise ValueError(
                f"{which} has shape {value.shape} where the network needs {parameter[...].shape}."
            )
        if not np.all(np.isfinite(value)):
            raise ValueError(
                f"{which} holds values that are not finite; take a file of a sound training run."
            )
    used = {name for members, _, _ in filled for name in members} | consumed
    floats = {name for name, tensor in tensors.items() if jnp.issubdtype(tensor.dtype, jnp.floating)}
    if floats - used:
        raise ValueError(
            f"the network has no place for {', '.join(sorted(floats - used, key=_natural))}; build it with "
            "the layers, biases and normalisation of the file, or leave these tensors out."
        )
    for _, parameter, value in filled:
        parameter[...] = jnp.asarray(value, parameter[...].dtype)
    for neuron, field, value in constants:
        setattr(neuron, field, value)


def flatten_order(weight: np.ndarray, channels: int) -> np.ndarray:
    """A (out, c·h·w) weight as an (h·w·c, out) kernel."""
    if weight.shape[1] % channels:
        raise ValueError(f"a linear weight of {weight.shape[1]} inputs does not follow {channels} channels.")
    return weight.reshape(len(weight), channels, -1).transpose(2, 1, 0).reshape(-1, len(weight))


_Filled = Iterator[tuple[list[str], nnx.Variable, np.ndarray]]
"""Names of tensors, the parameter that they fill, and the values as that parameter lays them out."""


def _synapses(network: Network, tensors: Mapping[str, np.ndarray], names: Mapping[str, str]) -> _Filled:
    by_name = _chain(network)
    unknown = sorted(set(names) - set(by_name))
    if unknown:
        raise ValueError(f"names has {unknown[0]!r}, and the network has the layers {', '.join(by_name)}.")
    channels = [synapse.out_channels for synapse in by_name.values() if isinstance(synapse, Conv)]
    for kind, dimensions in ((Conv, 4), (Linear, 2)):
        found = [n for n in tensors if n.endswith("weight") and np.ndim(tensors[n]) == dimensions]
        chosen = {name: synapse for name, synapse in by_name.items() if type(synapse) is kind}
        layers = list(chosen.values())
        if len(found) != len(layers):
            raise ValueError(
                f"the file has {len(found)} {kind.__name__} weights ({', '.join(found)}) and the network has "
                f"{len(layers)} such layers."
            )
        wanted = [(layer.out_channels, math.prod(layer.kernel.shape[:-1])) for layer in layers]
        have = {n: (len(tensors[n]), math.prod(np.shape(tensors[n])[1:])) for n in found}
        fixed = {i: _of(tensors, names[n], n) for i, n in enumerate(chosen) if n in names}
        found = _matched(wanted, have, fixed, isinstance(tensors, Unordered))
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


def _of(tensors: Mapping[str, np.ndarray], stem: str, layer: str) -> str:
    for name in (f"{stem}.weight", stem):
        if name in tensors:
            return name
    raise ValueError(f"names gives {stem!r} for layer {layer!r}, and the file has no {stem}.weight.")


def _matched(
    wanted: list[Any], have: Mapping[str, Any], fixed: Mapping[int, str], unordered: bool
) -> list[str]:
    """A name of the file for each layer: by the file's order, or where it has none by numbers and shapes."""
    free = [name for name in have if name not in fixed.values()]
    places = [index for index in range(len(wanted)) if index not in fixed]
    numbered: list[str] = []
    left = sorted(free, key=_natural)
    for index in places:
        fitting = [name for name in left if have[name] == wanted[index]] or left[:1]
        kinds = {re.sub(r"\d+", "#", name) for name in fitting}
        if unordered and len(kinds) > 1:
            raise ValueError(
                f"{', '.join(fitting)} have one shape, and neither an order nor numbers tell them apart; "
                "give load_weights(names={layer: module})."
            )
        numbered.append(fitting[0])
        left.remove(fitting[0])
    for first, second in zip(free, numbered, strict=True):
        alike = re.sub(r"\d+", "#", first) == re.sub(r"\d+", "#", second)
        if not unordered and first != second and alike and have[first] == have[second]:
            raise ValueError(
                f"the file's order and its numbers disagree about {first} and {second}; give "
                "load_weights(names={layer: module})."
            )
    taken = numbered if unordered or [have[n] for n in free] != [wanted[i] for i in places] else free
    result = dict(fixed) | dict(zip(places, taken, strict=True))
    return [result[index] for index in range(len(wanted))]


def _constants(
    network: Network, tensors: Mapping[str, np.ndarray], reset_delay: bool
) -> tuple[list[tuple[Any, str, Any]], set[str]]:
    """What the neurons become, and the tensors that say so."""
    stems = [name.removesuffix(".beta") for name in tensors if name.endswith(".beta")]
    learnt = [n.removesuffix(".w") for n in tensors if n.endswith(".w") and np.ndim(tensors[n]) == 0]
    if not stems and not learnt:
        return [], set()
    neurons = [
        module for layer in network.layers for _, module in nnx.iter_graph(layer) if isinstance(module, LIF)
    ]
    every = stems + learnt
    if len(every) != len(neurons):
        raise ValueError(
            f"the file has constants of {len(every)} layers of neurons ({', '.join(every)}) and the network "
            f"has {len(neurons)} that fire; a last layer that fires is Block(..., LIF())."
        )
    made: list[tuple[Any, str, Any]] = []
    used: set[str] = set()
    for stem, neuron in zip(every, neurons, strict=True):
        if isinstance(neuron, ParametricLIF):
            raise ValueError(f"{stem}: its constants belong to fixed neurons; build the network with LIF.")
        if stem in learnt:
            made.append(
                (neuron, "leak", as_constant(1 - 1 / (1 + np.exp(-np.float64(tensors[f"{stem}.w"])))))
            )
            used.add(f"{stem}.w")
            continue
        _check_reset(stem, neuron, tensors.get(f"{stem}.reset_mechanism_val"), reset_delay)
        for suffix, field in (("beta", "leak"), ("threshold", "threshold")):
            value = tensors.get(f"{stem}.{suffix}")
            if value is not None:
                values = np.asarray(value, np.float64)
                (check_leak if field == "leak" else check_threshold)(values)
                made.append((neuron, field, as_constant(values)))
        graded = tensors.get(f"{stem}.graded_spikes_factor")
        if graded is not None and not np.all(np.asarray(graded) == 1):
            raise ValueError(
                f"{stem}.graded_spikes_factor scales spikes by {graded}, which no chip's spikes have."
            )
        used |= {f"{stem}.{s}" for s in ("beta", "threshold", "graded_spikes_factor", "reset_mechanism_val")}
    return made, used


def _check_reset(stem: str, neuron: LIF, code: Any, reset_delay: bool) -> None:
    """snnTorch's reset of a layer against that of our neurons."""
    if code is None:
        return
    reset = {0: Reset.SUBTRACT, 1: Reset.ZERO, 2: Reset.NONE}[int(np.ravel(code)[0])]
    delayed = reset is Reset.SUBTRACT and reset_delay
    if neuron.reset is not reset or isinstance(neuron, DelayedLIF) != delayed:
        kind = "DelayedLIF" if delayed else "LIF"
        raise ValueError(
            f"{stem} resets by {reset.value!r}{' a timestep after the spike' if delayed else ''}, which a "
            f"{type(neuron).__name__} with reset={neuron.reset.value!r} does not; build the network with "
            f"neuron=partial({kind}, reset=Reset.{reset.name}), or say reset_delay=False if the model has "
            "that."
        )


def _chain(network: Network) -> dict[str, Conv | Linear]:
    blocks = [
        block
        for layer in network.layers
        for block in (layer.blocks if isinstance(layer, SharedMembrane) else [layer])
    ]
    synapses: dict[str, Conv | Linear] = {}
    for block in blocks:
        if isinstance(block, Residual):
            raise ValueError("residual networks cannot be matched by order; only chains of layers can.")
        if isinstance(block, Block):
            synapses[block.name] = block.synapse
        elif not isinstance(block, Operation | Neurons):
            raise ValueError(
                f"a {type(block).__name__} cannot be matched by order; only chains of layers can."
            )
    return synapses


def _norms(network: Network, tensors: Mapping[str, np.ndarray]) -> _Filled:
    stems = [name.removesuffix(".running_mean") for name in tensors if name.endswith(".running_mean")]
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
    groups = {group: sorted(members, key=_natural) for group, members in groups.items()}
    if len(groups) != len(norms):
        raise ValueError(f"the file has {len(groups)} normalisations and the network has {len(norms)}.")
    wanted = [norm.mean.shape[-1] if isinstance(norm, BNTT | BatchNorm) else 0 for norm in norms]
    have = {group: np.size(tensors[f"{members[0]}.running_mean"]) for group, members in groups.items()}
    order = _matched(wanted, have, {}, isinstance(tensors, Unordered))
    for group, norm in zip(order, norms, strict=True):
        members = groups[group]
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
