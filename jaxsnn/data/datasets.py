"""Data sets by name: images as uint8 in memory, a held-out test split, a fingerprint."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np

Images = np.ndarray
"""uint8, (count, height, width, channels)."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split into training and test.

    **Arguments:**

    - `name`: what tables call it.
    - `train_images`, `test_images`: uint8, (count, height, width, channels).
    - `train_labels`, `test_labels`: uint8, (count,), each below `classes`.
    - `classes`: number of classes.
    - `mean`, `std`: per channel, of pixels in [0, 1]; [`Dataset.scale`][] subtracts and divides. The
      defaults leave pixels in [0, 1].

    **Raises:** `ValueError` for an empty split, for images that are not uint8 (count, height, width,
    channels), and for labels that do not fit.
    """

    name: str
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    classes: int
    mean: tuple[float, ...] = field(default=(0.0,))
    std: tuple[float, ...] = field(default=(1.0,))

    def __post_init__(self):
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            where = f"data set {self.name!r}, {split} split"
            if len(images) == 0:
                raise ValueError(f"{where}: it is empty.")
            if images.ndim != 4 or images.dtype != np.uint8:
                raise ValueError(
                    f"{where}: images must be uint8 (count, height, width, channels), "
                    f"got {images.dtype} {images.shape}."
                )
            if labels.shape != (len(images),) or labels.dtype != np.uint8:
                raise ValueError(
                    f"{where}: labels must be uint8 ({len(images)},), got {labels.dtype} {labels.shape}."
                )
            if labels.max() >= self.classes:
                raise ValueError(f"{where}: label {labels.max()} is outside the {self.classes} classes.")
        if min(self.std) <= 0:
            raise ValueError(f"data set {self.name!r}: std must be positive, got {self.std}.")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every array and the scaling: two data sets with equal fingerprints are the same."""
        digest = hashlib.sha256(repr((self.classes, self.mean, self.std)).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    def scale(self, images):
        """uint8 images (NumPy or JAX) to float32 `(images/255 − mean) / std`."""
        mean, std = (np.asarray(value, np.float32) for value in (self.mean, self.std))
        return (images.astype(np.float32) / np.float32(255) - mean) / std


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
    from sklearn.datasets import load_digits

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


_LOADERS: dict[str, Callable[..., Dataset]] = {"digits": digits}


def load(name: str, *, path: str | PathLike | None = None, **options) -> Dataset:
    """A data set by name.

    **Arguments:**

    - `name`: one of the known names; an unknown one raises `ValueError` with the list.
    - `path`: folder that holds the files, for the sets that are not bundled.
    - `options`: passed to the loader, e.g. `seed` and `test_fraction` for digits.
    """
    if name not in _LOADERS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(sorted(_LOADERS))}.")
    if path is not None:
        options["path"] = Path(path)
    return _LOADERS[name](**options)
