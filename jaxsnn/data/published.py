"""Whether files that call themselves a published data set hold it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxsnn.data.files import Split


@dataclass(frozen=True)
class Source:
    """What is known about a data set that lives in files.

    - `md5`: of the published IDX files once unpacked, (images, labels) of training and of test.
    - `folder`: the name of torchvision's folder of the set.
    """

    classes: int
    counts: tuple[int, int]
    repository: str
    label_bytes: int = 0
    label: str | None = None
    colour: bool = False
    """Whether grey images among its coloured ones take three channels."""
    md5: tuple[tuple[str, str], tuple[str, str]] | None = None
    folder: str | None = None


SOURCES = {
    "mnist": Source(
        10,
        (60_000, 10_000),
        "ylecun/mnist",
        md5=(
            ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
            ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        ),
        folder="MNIST",
    ),
    "fashion_mnist": Source(
        10,
        (60_000, 10_000),
        "zalando-datasets/fashion_mnist",
        md5=(
            ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
            ("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
        folder="FashionMNIST",
    ),
    "cifar10": Source(10, (50_000, 10_000), "uoft-cs/cifar10", label_bytes=1),
    "cifar100": Source(100, (50_000, 10_000), "uoft-cs/cifar100", label_bytes=2, label="fine_label"),
    "tiny_imagenet": Source(200, (100_000, 10_000), "zh-plus/tiny-imagenet", colour=True),
}

_REMEDY = "fetch the files again, or pass complete=False to use them as they are"


def check_published(name: str, source: Source, splits: tuple[Split, Split], place: Path | str) -> None:
    """A set that is complete is the published one, or at least looks like images of all its classes.

    Images and labels are compared with the published checksums. Of a split whose images or labels are the
    published ones the other must be too; a split of neither may be another order or encoding of the set, and
    must be plausible: no image without any contrast among more than a thousand, every class at between half
    and twice its fair share, and neighbouring pixels that resemble each other.

    **Raises:** `ValueError` that names the set, the split and what is wrong with it.
    """
    counts = (len(splits[0][0]), len(splits[1][0]))
    if counts != source.counts:
        raise ValueError(
            f"data set {name!r} should have {source.counts[0]} and {source.counts[1]} images and has "
            f"{counts[0]} and {counts[1]}; pass complete=False to use a part."
        )
    for number, (part, (images, labels)) in enumerate(zip(("training", "test"), splits, strict=True)):
        where = f"data set {name!r} in {place}, {part} split"
        if source.md5 is not None:
            same = [
                _idx_md5(array) == published
                for array, published in zip((images[..., 0], labels), source.md5[number], strict=True)
            ]
            if all(same):
                continue
            if any(same):
                known, other = ("images", "labels") if same[0] else ("labels", "images")
                raise ValueError(
                    f"{where}: its {known} are the published ones and its {other} are not: they are damaged "
                    f"or altered; {_REMEDY}."
                )
        _check_plausible(where, images, labels, source.classes)


def _idx_md5(array: np.ndarray) -> str:
    """Of the IDX file that holds the array."""
    header = b"\x00\x00\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _check_plausible(where: str, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    rows = images.reshape(len(images), -1)
    blank = int(np.sum(rows.min(1) == rows.max(1)))
    if blank > len(images) / 1000:
        raise ValueError(f"{where}: {blank} of {len(images)} images are of one colour; {_REMEDY}.")
    found = np.bincount(labels, minlength=classes)
    fair = len(labels) / classes
    if found.max() > 2 * fair or found.min() < fair / 2:
        raise ValueError(
            f"{where}: its classes have from {found.min()} to {found.max()} images, where {fair:.0f} each "
            f"are fair; {_REMEDY}."
        )
    # A thousand images of the whole split, evenly: noise in a part of them counts as far as it goes.
    sample = images[:: max(1, len(images) // 1000)].astype(np.float32)
    alike = np.array([_resemblance(image) for image in sample])
    noise = float(np.mean(alike < 0.2))
    if noise > 0.01:
        raise ValueError(
            f"{where}: {noise:.0%} of the images look like noise: neighbouring pixels have nothing to do "
            f"with each other; {_REMEDY}."
        )


def _resemblance(image: np.ndarray) -> float:
    """The correlation of horizontal neighbours, 1 for an image without contrast."""
    left, right = image[:, :-1].ravel(), image[:, 1:].ravel()
    spread = left.std() * right.std()
    return 1.0 if spread == 0 else float(np.mean((left - left.mean()) * (right - right.mean())) / spread)
