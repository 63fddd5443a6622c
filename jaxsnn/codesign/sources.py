"""What a command line names: networks, data and chips, from words and files."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.chip import Chip, require_chip
from jaxsnn.data.dataset import Dataset
from jaxsnn.data.datasets import NAMES, load
from jaxsnn.data.event_sets import FINDERS
from jaxsnn.encoding import Direct, Frames
from jaxsnn.interop.torch import load_weights, read_state_dict
from jaxsnn.models.digits import digits_convnet
from jaxsnn.models.mlp import mlp
from jaxsnn.models.vgg import PLANS, vgg
from jaxsnn.network import Network
from jaxsnn.neuron import LIF
from jaxsnn.normalization import BatchNorm

CHIPS: dict[str, Callable[[], Chip]] = {"spikeflow": spikeflow.Chip, "sata": sata.Accelerator}
"""Published chips by name."""

ChipReader = Callable[[Path], Mapping[str, Chip]]
"""Reads chips, by their names, from a file."""

MODELS = ("digits_convnet", "mlp", *PLANS)
"""Networks that a command line can build and train by name."""


def read_chips(words: list[str], from_file: ChipReader | None = None) -> dict[str, Chip]:
    """Chips by name from words such as `spikeflow`, and from files where there is a reader for them.

    **Raises:** `ValueError` for what is neither.
    """
    found: dict[str, Chip] = {}
    for word in words:
        path = Path(word)
        if word.lower() in CHIPS:
            name = {"spikeflow": "SpikeFlow", "sata": "SATA"}[word.lower()]
            new: Mapping[str, Chip] = {name: CHIPS[word.lower()]()}
        elif path.suffix == ".gin" and from_file is None:
            raise ValueError(
                f"{word}: chips from gin files are for `python -m experiments evaluate` in the repository; "
                f"here choose {' or '.join(CHIPS)}, or call jaxsnn.codesign.evaluate with any chip."
            )
        elif path.suffix == ".gin" and from_file is not None:
            new = from_file(path)
        else:
            files = " or a FILE.gin" if from_file is not None else ""
            raise ValueError(f"there is no chip {word!r}; choose {' or '.join(CHIPS)}{files}.")
        for name, chip in new.items():
            if name in found:
                raise ValueError(
                    f"chip {name!r} is given twice; give each chip once, files by different names."
                )
            require_chip(name, chip)
            found[name] = chip
    return found


def read_data(word: str, *, timesteps: int | None = None) -> Dataset:
    """A data set from a name, a folder that is called like one, or an .npz file of arrays x and y.

    Five axes of x are (count, timesteps, height, width, channels): counts of spikes, as they are.

    **Arguments:** `timesteps`: the frames of an event set.

    **Raises:** `ValueError` for what is none of these.
    """
    path = Path(word)
    if path.suffix == ".npz":
        return _read_npz(path)
    folder = path.is_dir()
    name = path.resolve().name.lower().replace("-", "_").removesuffix("_small") if folder else word
    if name not in NAMES:
        _refuse_path(word, folder)
    options: dict[str, Any] = {"path": path} if folder else {}
    if name in FINDERS:
        if timesteps is None:
            raise ValueError(f"data set {name!r} holds events: give --timesteps, the number of frames.")
        options["timesteps"] = timesteps
    return load(name, **options)


_ARRAYS = "arrays x (images) and y (labels), and may hold x_test and y_test"


def _refuse_path(word: str, folder: bool) -> None:
    """**Raises:** `ValueError` for what is a path, and leaves words to [`load`][]."""
    if folder:
        raise ValueError(
            f"folder {word} is not called like a data set; give one that holds a data set's own files and is "
            f"called {', '.join(name for name in NAMES if name != 'digits')}, or FILE.npz."
        )
    if Path(word).suffix or Path(word).is_file():
        raise ValueError(
            f"{word}: a file of data must be an .npz that holds {_ARRAYS}, as numpy.savez(FILE, x=x, y=y) "
            f"writes it; or give a name, of {', '.join(NAMES)}."
        )
    if Path(word).name != word:
        raise ValueError(f"there is no folder {word}.")


def _read_npz(path: Path) -> Dataset:
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    # NumPy's own words advise to unpickle, which runs what a stranger's file says.
    except Exception as error:
        raise ValueError(
            f"{path} is damaged, no .npz file, or holds Python objects, which are never unpickled; it must "
            f"hold {_ARRAYS}, as numpy.savez(FILE, x=x, y=y) writes arrays of numbers or text."
        ) from error
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise ValueError(f"{path} must hold {_ARRAYS}; it holds {', '.join(arrays) or 'nothing'}.")
    given = [name for name in ("x_test", "y_test") if name in arrays]
    if len(given) == 1:
        (lacking,) = {"x_test", "y_test"} - {*given}
        raise ValueError(
            f"{path} holds {given[0]} without {lacking}; a test split needs both, and without both a fifth "
            "of the images is held out."
        )
    test = (arrays["x_test"], arrays["y_test"]) if given else 0.2
    timed = arrays["x"].ndim == 5
    return Dataset.from_arrays(arrays["x"], arrays["y"], test=test, name=path.stem, timed=timed)


def read_network(
    word: str,
    data: Dataset,
    *,
    leak: float = 0.9,
    threshold: float = 1.0,
    seed: int = 0,
    dt: float | Literal["auto"] = "auto",
) -> tuple[Network, bool]:
    """A network from a NIR file, from weights in a .safetensors file, or untrained by a name.

    **Arguments:**

    - `leak`, `threshold`: of the neurons, which a file of weights does not hold.
    - `dt`: what a timestep of a NIR file stands for, as [`jaxsnn.interop.nir.from_nir`][] has it.

    **Returns:** the network, and whether it is trained.

    **Raises:** `ValueError` for what is none of these, and where network and data do not fit.
    """
    path = Path(word)
    neuron = partial(LIF, leak=leak, threshold=threshold)
    if path.suffix == ".nir":
        return _read_nir(path, data, dt), True
    if dt != "auto":
        raise ValueError(f"--dt {dt:g} is for networks of FILE.nir, and {word} has no unit of time.")
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ValueError(f"there is no file {path}.")
        return _fitting(path, data, neuron), True
    if path.suffix or path.exists():
        raise ValueError(
            f"{word}: a network is a .nir file, a .safetensors file, or one of {', '.join(MODELS)}."
        )
    if word not in MODELS:
        raise ValueError(
            f"there is no network {word!r}; give a .nir or .safetensors file, or {', '.join(MODELS)}."
        )
    return _named(word, data, neuron, nnx.Rngs(seed)), False


def _read_nir(path: Path, data: Dataset, dt: float | Literal["auto"]) -> Network:
    from jaxsnn.interop.nir import from_nir

    try:
        import nir
    except ImportError as error:
        raise ValueError("NIR needs the nir package: pip install 'spikechip[interop]'.") from error
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    try:
        graph = nir.read(path)
    except Exception as error:
        raise ValueError(f"{path} is damaged or no NIR file ({error}).") from error
    return from_nir(graph, dt=dt, encoding=_encoding(data))


def _encoding(data: Dataset) -> Any:
    return Frames() if data.timed else Direct()


def _named(word: str, data: Dataset, neuron: Any, rngs: nnx.Rngs, **options: Any) -> Network:
    shape = data.image_shape
    common: dict[str, Any] = {
        "classes": data.classes,
        "neuron": neuron,
        "encoding": _encoding(data),
        "rngs": rngs,
        **options,
    }
    if word == "mlp":
        return mlp(**{"in_features": int(np.prod(shape)), **common})
    if len(shape) != 3 or shape[0] != shape[1]:
        raise ValueError(
            f"{word} takes square images (height, width, channels), and the data are {shape}; take mlp."
        )
    if word == "digits_convnet":
        if shape[2] != 1:
            raise ValueError(
                f"digits_convnet takes images of one channel, and the data have {shape[2]}; take vgg5."
            )
        return digits_convnet(image_size=shape[0], **common)
    return vgg(word, image_size=shape[0], in_channels=shape[2], **common)


def _fitting(path: Path, data: Dataset, neuron: Any) -> Network:
    """The first model that has a place for every tensor."""
    tensors = read_state_dict(path)
    weights = [tensor for tensor in tensors.values() if np.ndim(tensor) in (2, 4)]
    convolutions = [tensor for tensor in weights if tensor.ndim == 4]
    linear = [tensor for tensor in weights if tensor.ndim == 2]
    bias = any(name.endswith(".bias") and name[:-4] + "running_mean" not in tensors for name in tensors)
    norm = BatchNorm if any(name.endswith("running_mean") for name in tensors) else None
    tried = []
    for word in ("mlp",) if not convolutions else (model for model in MODELS if model != "mlp"):
        options: dict[str, Any] = {"norm": norm}
        if word == "mlp":
            options |= {"hidden": [len(tensor) for tensor in linear[:-1]], "use_bias": bias}
        elif word == "digits_convnet":
            options |= {"width": len(convolutions[0])}
        else:
            options |= {"width": len(convolutions[0]) / 64, "use_bias": bias}
        try:
            network = _named(word, data, neuron, nnx.Rngs(0), **options)
            load_weights(network, tensors)
        except ValueError as error:
            tried.append(f"{word}: {str(error).rstrip('.')}")
            continue
        return network
    raise ValueError(
        f"no model fits the tensors of {path} ({'; '.join(tried)}); in Python, build your own Network and "
        "fill it with jaxsnn.interop.torch.load_weights."
    )
