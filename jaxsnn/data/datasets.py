"""Data sets by name, from scikit-learn, from files or from a download."""

import inspect
import os
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from jaxsnn.data import files
from jaxsnn.data.dataset import Dataset
from jaxsnn.data.event_sets import FINDERS, load_events, options_of
from jaxsnn.data.published import SOURCES, Source, check_published

__all__ = ["Dataset", "digits", "load", "stratified_split"]


def stratified_split(labels: np.ndarray, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (train, test) with the same share of every class in both, shuffled by the seed."""
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}.")
    generator = np.random.default_rng(seed)
    train, test = [], []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        cut = round(len(members) * test_fraction)
        test.append(members[:cut])
        train.append(members[cut:])
    return generator.permutation(np.concatenate(train)), generator.permutation(np.concatenate(test))


def digits(*, test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels (UCI optdigits test set), bundled with it.

    **Arguments:** `test_fraction` of each class is held out, chosen by `seed`.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError("the digits come with scikit-learn: pip install 'spikechip[data]'.") from error

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.uint8)
    train, test = stratified_split(labels, test_fraction, seed)
    return Dataset(
        name="digits",
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        classes=10,
    )


def _folder(name: str, path: Path | None) -> Path | None:
    """Where the files lie: `path` or its subfolder NAME, or that subfolder of `JAXSNN_DATA` alone.

    Files right in `JAXSNN_DATA` do not say whose they are: MNIST's and Fashion-MNIST's have the same names.
    """
    given = os.environ.get("JAXSNN_DATA")
    root = path or (Path(given) if given else None)
    if root is None:
        return None
    if not root.is_dir():
        source = "" if path else "JAXSNN_DATA="
        raise ValueError(f"data set {name!r}: {source}{root} is not a folder.")
    inner = root / name
    return inner if inner.is_dir() else path


def _read(name: str, source: Source, folder: Path) -> tuple[files.Split, files.Split] | None:
    """Train and test from whichever layout the folder holds, or None."""
    if source.label_bytes == 0:
        arrays = files.read_idx_set(folder, source.folder)
        if arrays is not None:
            return arrays
    train, test = sorted(folder.glob("train-*.parquet")), sorted(folder.glob("test-*.parquet"))
    test = test or sorted(folder.glob("valid*-*.parquet"))
    if train and test:
        parquet = partial(files.read_parquet, label=source.label, colour=source.colour)
        return parquet(train), parquet(test)
    train = sorted(folder.glob("data_batch_*.bin")) or sorted(folder.glob("train.bin"))
    test = sorted(folder.glob("test_batch.bin")) or sorted(folder.glob("test.bin"))
    if source.label_bytes and train and test:
        read = partial(files.read_cifar_binary, label_bytes=source.label_bytes)
        return read(train), read(test)
    if (folder / "val" / "val_annotations.txt").is_file():
        return files.read_tiny_imagenet(folder)
    return None


def _download(name: str, source: Source) -> tuple[files.Split, files.Split]:
    given = os.environ.get("JAXSNN_DATA")
    place = (
        f"there is no folder {Path(given) / name}" if given else "JAXSNN_DATA names no folder of data sets"
    )
    where = f"{place}; put its files into JAXSNN_DATA's subfolder {name}/, or pass path=..."
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"data set {name!r} is not bundled, and {where}; or download it: "
            "pip install 'spikechip[download]'."
        ) from error
    try:
        found = datasets.load_dataset(source.repository)
    except Exception as error:
        raise ValueError(f"data set {name!r} could not be downloaded ({error}), and {where}.") from error

    def read(split):
        columns = split.column_names
        image, label = ("img" if "img" in columns else "image"), source.label or "label"
        arrays = [
            files.image_bytes(cell, f"{source.repository}, row {row}")
            for row, cell in enumerate(split[image])
        ]
        return files.stack(arrays, list(split[label]), Path(source.repository), colour=source.colour)

    return read(found["train"]), read(found["test" if "test" in found else "valid"])


def _from_files(
    name: str, *, path: Path | None = None, normalize: bool = False, complete: bool = True
) -> Dataset:
    source = SOURCES[name]
    folder = _folder(name, path)
    if folder is None:
        splits = _download(name, source)
    else:
        read = _read(name, source, folder)
        if read is None:
            raise ValueError(
                f"data set {name!r}: {folder} holds no layout that is known (IDX files, train-*.parquet and "
                "test-*.parquet, CIFAR's binary batches, or Tiny ImageNet's folders)."
            )
        splits = read
    (train_images, train_labels), (test_images, test_labels) = splits
    if complete:
        check_published(name, source, splits, folder or source.repository)
    mean, std = (0.0,), (1.0,)
    if normalize:
        # Exact integer sums: the same bits on every machine.
        pixels = train_images.reshape(-1, train_images.shape[-1])
        total = pixels.sum(0, dtype=np.int64).astype(float)
        squares = (
            np.stack([np.bincount(channel, minlength=256) for channel in pixels.T]) @ np.arange(256.0) ** 2
        )
        mean_255 = total / len(pixels)
        mean = tuple((mean_255 / 255).tolist())
        std = tuple((np.sqrt(squares / len(pixels) - mean_255**2) / 255).tolist())
    return Dataset(
        name, train_images, train_labels, test_images, test_labels, source.classes, mean=mean, std=std
    )


def _from_events(name: str, *, path: Path | None = None, timesteps: int | None = None, **options) -> Dataset:
    folder = _folder(name, path)
    if folder is None:
        raise ValueError(
            f"data set {name!r} is read from its own files: pass path=..., or put them into JAXSNN_DATA's "
            f"subfolder {name}/."
        )
    if timesteps is None:
        raise ValueError(f"data set {name!r} holds events: pass timesteps=..., the number of frames.")
    return load_events(name, path=folder, timesteps=timesteps, **options)


_LOADERS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    **{name: partial(_from_files, name) for name in SOURCES},
    **{name: partial(_from_events, name) for name in FINDERS},
}


NAMES = tuple(sorted(_LOADERS))
"""Every name that [`load`][] knows."""


def load(name: str, *, path: str | PathLike | None = None, **options) -> Dataset:
    """A data set by name: digits, mnist, fashion_mnist, cifar10, cifar100, tiny_imagenet; or as frames of
    events nmnist, dvs_gesture, cifar10_dvs, shd, ssc.

    Digits are bundled. The others are read from a folder (IDX under any of its usual names, Parquet in the
    layout of Hugging Face `datasets`, CIFAR's binary batches, Tiny ImageNet's folders), or downloaded by the
    `datasets` package.

    **Arguments:**

    - `name`: one of those above.
    - `path`: folder that holds the files, or a subfolder NAME that does. By default the subfolder NAME of the
      folder in the environment variable `JAXSNN_DATA`, and where there is none, a download.
    - `options`: `normalize` sets the data set's `mean` and `std` to those of its training pixels; `complete`
      requires the published number of images, the published files where their checksums are known (MNIST and
      Fashion-MNIST), and images that are no noise, in classes of similar size, where not. Digits take
      `test_fraction` and `seed` of the split instead, events `timesteps`, the number of frames, and the
      other options of [`jaxsnn.data.event_sets.load_events`][].

    An option of None counts as not given.

    **Returns:** a [`jaxsnn.data.dataset.Dataset`][].

    **Raises:** `ValueError` for an unknown name or option, a missing, damaged or incomplete file.
    """
    return loader_of(name, path=path, **options)()


def loader_of(name: str, *, path: str | PathLike | None = None, **options) -> Callable[[], Dataset]:
    """[`load`][] in two steps: names are checked now, files are read by the call of what is returned."""
    if name not in NAMES:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(NAMES)}.")
    if path is not None:
        if name == "digits":
            raise ValueError("the digits are bundled with scikit-learn and take no path.")
        options["path"] = Path(path)
    options = {option: value for option, value in options.items() if value is not None}
    loader = _LOADERS[name]
    known = options_of(name) if name in FINDERS else list(inspect.signature(loader).parameters)
    for option in options:
        if option not in known:
            raise ValueError(f"data set {name!r} has no option {option!r}; it takes {', '.join(known)}.")
    return partial(loader, **options)
