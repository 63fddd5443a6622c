"""Files that call themselves a published set: under which names they are found, and what is damaged."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest

from jaxsnn.data.datasets import load
from jaxsnn.data.published import SOURCES

COUNTS = (200, 100)
RNG = np.random.default_rng(0)
X, Y = np.meshgrid(np.arange(28), np.arange(28))


def blobs(count):
    """Smooth images, of ten classes alike."""
    centres = RNG.uniform(8, 20, (count, 2, 1, 1))
    images = 255 * np.exp(-((X - centres[:, 0]) ** 2 + (Y - centres[:, 1]) ** 2) / 40)
    return images.astype(np.uint8), (np.arange(count) % 10).astype(np.uint8)


def idx(array):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


SPLITS = {"train": blobs(COUNTS[0]), "t10k": blobs(COUNTS[1])}


def files(splits):
    return {
        (split, kind): array
        for split, pair in splits.items()
        for kind, array in zip(("images", "labels"), pair, strict=True)
    }


def write(folder, splits=SPLITS, name="{split}-{kind}-idx{n}-ubyte", packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for (split, kind), array in files(splits).items():
        content = idx(array)
        path = folder / name.format(split=split, kind=kind, n=array.ndim)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(content) if packed else content)


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch):
    """A published set of a few hundred images, with its checksums."""
    md5 = [hashlib.md5(idx(array)).hexdigest() for array in files(SPLITS).values()]
    known = replace(SOURCES["mnist"], counts=COUNTS, md5=((md5[0], md5[1]), (md5[2], md5[3])))
    monkeypatch.setitem(SOURCES, "mnist", known)


def is_right(data):
    np.testing.assert_array_equal(data.train_images[..., 0], SPLITS["train"][0])
    np.testing.assert_array_equal(data.test_labels, SPLITS["t10k"][1])


@pytest.mark.parametrize(
    ("place", "name", "packed"),
    [
        (".", "{split}-{kind}-idx{n}-ubyte", False),
        (".", "{split}-{kind}-idx{n}-ubyte.gz", True),
        (".", "{split}-{kind}.idx{n}-ubyte", False),
        (".", "{split}-{kind}.idx{n}-ubyte.gz", True),
        ("raw", "{split}-{kind}-idx{n}-ubyte", False),
        ("MNIST/raw", "{split}-{kind}-idx{n}-ubyte.gz", True),
        ("mnist", "{split}-{kind}-idx{n}-ubyte", False),
        (".", "{split}-{kind}-idx{n}-ubyte/{split}-{kind}.idx{n}-ubyte", False),
    ],
)
def test_every_usual_name_is_found(tmp_path, place, name, packed):
    write(tmp_path / place, name=name, packed=packed)
    is_right(load("mnist", path=tmp_path))


def test_each_of_two_sets_in_torchvisions_folder_is_found_by_its_name(tmp_path):
    write(tmp_path / "MNIST" / "raw")
    other = {"train": blobs(20), "t10k": blobs(10)}
    write(tmp_path / "FashionMNIST" / "raw", other)
    is_right(load("mnist", path=tmp_path))
    found = load("fashion_mnist", path=tmp_path, complete=False)
    np.testing.assert_array_equal(found.train_images[..., 0], other["train"][0])


@pytest.mark.parametrize("content", [idx(SPLITS["train"][0])[:1000], b"", b"<html>404</html>"])
def test_a_good_packed_file_beside_a_damaged_plain_one_is_used(tmp_path, content):
    write(tmp_path, name="{split}-{kind}-idx{n}-ubyte.gz", packed=True)
    damaged = tmp_path / "train-images-idx3-ubyte"
    damaged.write_bytes(content)
    is_right(load("mnist", path=tmp_path))
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=f"{damaged} "):
        load("mnist", path=tmp_path)


def changed(split="train", kind=0, where=np.s_[3:5], value=0):
    arrays = {name: [array.copy() for array in pair] for name, pair in SPLITS.items()}
    arrays[split][kind][where] = value
    return arrays


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (changed(), "training split: its labels are the published ones and its images are not"),
        (changed(where=np.s_[7, 14, 14], value=1), "its images are not: they are damaged or altered"),
        (
            changed("t10k", 1, np.s_[:2], 9),
            "test split: its images are the published ones and its labels are",
        ),
    ],
    ids=["two images", "one pixel", "labels"],
)
def test_a_changed_copy_of_the_published_set_is_refused(tmp_path, splits, message):
    write(tmp_path, splits)
    with pytest.raises(ValueError, match=rf"'mnist' in .*{message}.*complete=False"):
        load("mnist", path=tmp_path)
    load("mnist", path=tmp_path, complete=False)


def all_new(images=None, labels=None):
    pairs = {"train": blobs(COUNTS[0]), "t10k": blobs(COUNTS[1])}
    return {
        split: (
            own[0] if images is None else images(own[0]),
            own[1][::-1] if labels is None else labels(own[1]),
        )
        for split, own in pairs.items()
    }


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (all_new(np.zeros_like), "200 of 200 images are of one colour"),
        (
            all_new(lambda images: RNG.integers(0, 256, images.shape).astype(np.uint8)),
            "100% .* look like noise",
        ),
        (all_new(labels=np.zeros_like), "classes have from 0 to 200 images, where 20 each are fair"),
        (all_new(labels=lambda labels: np.minimum(labels, 8)), "classes have from 0 to 40 images"),
    ],
    ids=["zeros", "noise", "one class", "a class missing"],
)
def test_an_implausible_set_is_refused(tmp_path, splits, message):
    write(tmp_path, splits)
    with pytest.raises(
        ValueError, match=rf"'mnist' in .*training split: .*{message}.*; fetch the files again"
    ):
        load("mnist", path=tmp_path)


def test_another_order_of_the_published_set_is_plausible(tmp_path):
    write(tmp_path, {name: (images[::-1], labels[::-1]) for name, (images, labels) in SPLITS.items()})
    np.testing.assert_array_equal(load("mnist", path=tmp_path).train_images[::-1, ..., 0], SPLITS["train"][0])
