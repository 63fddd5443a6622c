"""Trained networks that come with the package, each with its facts."""

import json
from collections.abc import Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.encoding import Direct, Poisson
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.vgg import vgg
from jaxsnn.network import Network
from jaxsnn.neuron import LIF, ReLU, Reset, SharedLIF
from jaxsnn.normalization import BNTT, BatchNorm, TdBN

WEIGHTS = Path(__file__).parent / "weights"

_MODELS = {"digits_convnet": digits_convnet, "vgg": vgg}
_NEURONS = {"LIF": LIF, "ReLU": ReLU, "SharedLIF": SharedLIF}
_NORMS = {"BNTT": BNTT, "BatchNorm": BatchNorm, "TdBN": TdBN}
_ENCODINGS = {"Direct": Direct, "Poisson": Poisson}


def zoo(name: str) -> Network:
    """A trained network by name.

    ```python
    network = jaxsnn.zoo("digits-on-chip")
    jaxsnn.zoo_facts()["digits-on-chip"]["chips"]
    ```

    **Arguments:** `name`: one of [`zoo_facts`][].

    **Returns:** a [`Network`][].

    **Raises:** `ValueError` for a name that there is not, with those that there are.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if name not in _names():
        raise ValueError(f"the zoo has no network {name!r}; it has {', '.join(_names()) or 'none'}.")
    return read(path)[0]


def zoo_facts() -> dict[str, dict[str, Any]]:
    """What is known of every network of the zoo.

    **Returns:** by name, its data, timesteps and training, its accuracy in software, and on each chip its
    accuracy (mean and spread over chips, fractions) and joules an inference.
    """
    return {name: _metadata(WEIGHTS / f"{name}.safetensors")["facts"] for name in _names()}


def _names() -> list[str]:
    return sorted(path.stem for path in WEIGHTS.glob("*.safetensors"))


def as_file(network: Network, model: Mapping[str, Any], facts: Mapping[str, Any]) -> bytes:
    """A safetensors file with a network's arrays, how it is built, and its facts.

    **Arguments:**

    - `model`: what [`build`][] makes the network of.
    - `facts`: JSON-able.

    **Raises:** `ValueError` for a `model` that builds another network than this.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(variable[...]) for name, variable in _arrays(network).items()}
    _fill(build(model), arrays, "the network")
    return save(arrays, {"model": json.dumps(dict(model)), "facts": json.dumps(dict(facts))})


def read(path: str | PathLike) -> tuple[Network, dict[str, Any]]:
    """The network of a file that [`as_file`][] made, and its facts.

    **Raises:** `ValueError` that names the file if it is damaged, no such file, or of another network.
    """
    path = Path(path)
    metadata = _metadata(path)
    network = build(metadata["model"])
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # It is no mapping.
    _fill(network, arrays, str(path))
    return network, metadata["facts"]


def build(model: Mapping[str, Any], rngs: nnx.Rngs | None = None) -> Network:
    """An untrained network from words and numbers.

    **Arguments:**

    - `model`: "name" of the builder ("digits_convnet" or "vgg") and its "options"; "neuron", "norm" and
      "encoding", each with its "name" and options of its own ("norm" may be None). JSON-able.
    - `rngs`: of the initial weights.

    **Raises:** `ValueError` for a name that is none of these.
    """
    neuron = dict(model["neuron"])
    if "reset" in neuron:
        neuron["reset"] = Reset(neuron["reset"])
    norm = model.get("norm")
    return _part(_MODELS, {"name": model["name"], **model["options"]})(
        neuron=_part(_NEURONS, neuron),
        norm=None if norm is None else _part(_NORMS, norm),
        encoding=_part(_ENCODINGS, model["encoding"])(),
        rngs=nnx.Rngs(0) if rngs is None else rngs,
    )


def _part(known: Mapping[str, Any], said: Mapping[str, Any]) -> Any:
    options = dict(said)
    name = options.pop("name")
    if name not in known:
        raise ValueError(f"a network of the zoo is made of {', '.join(known)}; there is no {name!r}.")
    return partial(known[name], **options) if options else known[name]


def _arrays(network: Network) -> dict[str, nnx.Variable]:
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(network))}


def _fill(network: Network, arrays: Mapping[str, np.ndarray], where: str) -> None:
    own = _arrays(network)
    shapes = {name: leaf[...].shape for name, leaf in own.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise ValueError(f"{where} holds the arrays of another network than it says how to build.")
    for name, leaf in own.items():
        if not np.all(np.isfinite(arrays[name])):
            raise ValueError(f"{where}: {name} holds NaN or infinity.")
        leaf[...] = jnp.asarray(arrays[name], leaf[...].dtype)


def _opened(path: Path) -> Any:
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise ValueError("the zoo's files need safetensors: pip install 'spikechip[interop]'.") from error
    try:
        return safe_open(str(path), framework="numpy")
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path} is damaged or no safetensors file ({reason}).") from error


def _metadata(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        said = file.metadata() or {}
    try:
        return {name: json.loads(said[name]) for name in ("model", "facts")}
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} does not say how its network is built; write it with as_file.") from error
