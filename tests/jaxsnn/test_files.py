"""Data sets from files in every layout, written here, and damaged ones."""

import gzip
import io
import os
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxsnn.data.augmentation import augment
from jaxsnn.data.datasets import load
from jaxsnn.data.files import decode, read_idx

RNG = np.random.default_rng(0)


def idx(array):
    header = b"\x00\x00\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def grey(count):
    return RNG.integers(0, 256, (count, 28, 28)).astype(np.uint8), np.arange(count, dtype=np.uint8) % 10


def colour(count, side=32):
    return RNG.integers(0, 256, (count, side, side, 3)).astype(np.uint8), np.arange(
        count, dtype=np.uint8
    ) % 10


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def tiff(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.fixture
def mnist(tmp_path):
    train, test = grey(12), grey(5)
    for prefix, (images, labels) in (("train", train), ("t10k", test)):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path, train, test


def same(data, train, test):
    np.testing.assert_array_equal(data.train_images.reshape(train[0].shape), train[0])
    np.testing.assert_array_equal(data.train_labels, train[1])
    np.testing.assert_array_equal(data.test_images.reshape(test[0].shape), test[0])
    np.testing.assert_array_equal(data.test_labels, test[1])


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files(mnist, name):
    folder, train, test = mnist
    data = load(name, path=folder, complete=False)
    same(data, train, test)
    assert data.image_shape == (28, 28, 1)


def test_the_environment_names_the_folder(mnist, monkeypatch, tmp_path_factory):
    folder, train, test = mnist
    root = tmp_path_factory.mktemp("data")
    (root / "mnist").symlink_to(folder)
    monkeypatch.setenv("JAXSNN_DATA", str(root))
    same(load("mnist", complete=False), train, test)


def test_files_right_in_the_environments_folder_are_of_no_data_set(mnist, monkeypatch):
    """MNIST's and Fashion-MNIST's files have the same names, so the name of a subfolder must tell."""
    monkeypatch.setenv("JAXSNN_DATA", str(mnist[0]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=rf"no folder {mnist[0]}/fashion_mnist; .*subfolder fashion_mnist/"):
        load("fashion_mnist", complete=False)


def test_an_incomplete_set_is_refused(mnist):
    with pytest.raises(ValueError, match="should have 60000 and 10000 images and has 12 and 5"):
        load("mnist", path=mnist[0])


@pytest.mark.parametrize(("name", "label_bytes"), [("cifar10", 1), ("cifar100", 2)])
def test_cifar_binary_batches(tmp_path, name, label_bytes):
    train, test = colour(10), colour(4)

    def records(images, labels):
        fine = np.stack([np.zeros_like(labels)] * (label_bytes - 1) + [labels], axis=1)
        return np.concatenate([fine, images.transpose(0, 3, 1, 2).reshape(len(images), -1)], 1).tobytes()

    if label_bytes == 1:
        for i in range(2):
            half = slice(5 * i, 5 * i + 5)
            (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(records(train[0][half], train[1][half]))
        (tmp_path / "test_batch.bin").write_bytes(records(*test))
    else:
        (tmp_path / "train.bin").write_bytes(records(*train))
        (tmp_path / "test.bin").write_bytes(records(*test))
    same(load(name, path=tmp_path, complete=False), train, test)
    (tmp_path / ("test_batch.bin" if label_bytes == 1 else "test.bin")).write_bytes(b"\x00" * 1000)
    with pytest.raises(ValueError, match=r"truncated: 1000 bytes is no multiple"):
        load(name, path=tmp_path, complete=False)


@pytest.mark.parametrize(
    ("name", "image", "label"),
    [("cifar10", "img", "label"), ("cifar100", "img", "fine_label"), ("mnist", "image", "label")],
)
def test_parquet_files(tmp_path, name, image, label):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    make = grey if name == "mnist" else colour
    train, test = make(6), make(3)
    for split, (images, labels) in (("train", train), ("test", test)):
        cells = [{"bytes": png(one), "path": None} for one in images]
        table = pyarrow.table({image: cells, label: labels.tolist(), "coarse_label": [0] * len(labels)})
        parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    same(load(name, path=tmp_path, complete=False), train, test)
    damaged = tmp_path / "test-00000-of-00001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged or no Parquet file"):
        load(name, path=tmp_path, complete=False)


def test_parquet_columns_and_images_are_checked(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for split in ("train", "test"):
        parquet.write_table(pyarrow.table({"pixels": [1]}), tmp_path / f"{split}-0.parquet")
    with pytest.raises(ValueError, match="no column image or img; it has pixels"):
        load("cifar10", path=tmp_path)


@pytest.mark.parametrize(
    ("cells", "labels", "message"),
    [
        ([{"bytes": b"no image"}], [1], "row 0: the image cannot be decoded"),
        ([{"bytes": png(grey(1)[0][0])}, None], [1, 2], "row 1: column 'img' must hold .* and holds None;"),
        ([png(grey(1)[0][0])], [1], r"row 0: column 'img' must hold .* and holds b'\\x89PNG"),
        ([{"bytes": None, "path": "a.png"}], [1], "row 0: column 'img' must hold .* write it with"),
        ([{"bytes": png(grey(1)[0][0])}] * 2, [1, None], "row 1: column 'label' must hold an integer"),
        ([{"bytes": png(grey(1)[0][0])}], ["cat"], "row 0: .* integer and holds 'cat'; number the classes"),
    ],
)
def test_a_bad_cell_of_a_parquet_file_is_named(tmp_path, cells, labels, message):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for split in ("train", "test"):
        parquet.write_table(pyarrow.table({"img": cells, "label": labels}), tmp_path / f"{split}-0.parquet")
    with pytest.raises(ValueError, match=rf"{tmp_path}/train-0\.parquet, {message}"):
        load("cifar10", path=tmp_path)


def test_grey_images_of_tiny_imagenet_in_parquet_take_three_channels(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images, _ = colour(2, 64)
    cells = [{"bytes": png(images[0])}, {"bytes": png(images[1][..., 0])}]
    for split in ("train", "valid"):
        table = pyarrow.table({"image": cells, "label": [3, 199]})
        parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    data = load("tiny_imagenet", path=tmp_path, complete=False)
    expected = np.stack([images[0], np.repeat(images[1][..., :1], 3, axis=-1)])
    np.testing.assert_array_equal(data.train_images, expected)
    np.testing.assert_array_equal(data.test_images, expected)
    assert list(data.test_labels) == [3, 199]


def test_tiny_imagenets_folders(tmp_path):
    train, (test, _) = colour(4, 64), colour(2, 64)
    for i, name in enumerate(["n01", "n01", "n02", "n02"]):
        folder = tmp_path / "train" / name / "images"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(train[0][i]).save(folder / f"{name}_{i}.JPEG", "JPEG", quality=95)
    (tmp_path / "val" / "images").mkdir(parents=True)
    grey_image = test[1][..., 0]  # Some of its images are grey.
    Image.fromarray(test[0]).save(tmp_path / "val" / "images" / "a.JPEG", "JPEG", quality=95)
    Image.fromarray(grey_image).save(tmp_path / "val" / "images" / "b.JPEG", "JPEG", quality=95)
    annotations = tmp_path / "val" / "val_annotations.txt"
    annotations.write_text("a.JPEG\tn02\t0\t0\t1\t1\nb.JPEG\tn01\t0\t0\t1\t1\n")
    data = load("tiny_imagenet", path=tmp_path, complete=False)
    assert data.image_shape == (64, 64, 3)
    assert list(data.train_labels) == [0, 0, 1, 1]
    assert list(data.test_labels) == [1, 0]
    assert np.array_equal(data.test_images[1, ..., 0], data.test_images[1, ..., 2])
    assert data.classes == 200
    for text, message in [
        ("a.JPEG\tn09\t0\t0\t1\t1\n", r"line 1: it must be .* class that train/ has, and is 'a\.JPEG\\tn09"),
        ("a.JPEG\tn02\t0\t0\t1\t1\n\nb.JPEG\tn01\n", "line 2: it must be .* and is ''; correct or delete"),
        ("b.JPEG\n", r"line 1: it must be .* and is 'b\.JPEG'"),
        ("a.JPEG\tn02\nc.JPEG\tn01\n", r"line 2: .*/val/images/c\.JPEG does not exist; restore the image"),
    ]:
        annotations.write_text(text)
        with pytest.raises(ValueError, match=rf"{annotations}, {message}"):
            load("tiny_imagenet", path=tmp_path, complete=False)
    (tmp_path / "train").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=rf"{tmp_path} has no folder train/; unpack the whole"):
        load("tiny_imagenet", path=tmp_path, complete=False)


def test_grey_images_of_16_bits_are_rounded_to_8():
    """Every value there is, against the fraction of white that it stands for."""
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = decode(png(pixels), "a.png")
    assert found.dtype == np.uint8
    assert np.abs(found / 255 - pixels / 65535).max() <= 0.5 / 255
    with pytest.raises(ValueError, match=r"a\.tiff: the image has pixels of more than 16 bits"):
        decode(tiff(pixels.astype(np.float32)), "a.tiff")


def test_black_and_white_images_are_grey():
    np.testing.assert_array_equal(decode(png(np.array([[True, False]])), "a.png"), [[255, 0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(np.zeros((3, 2), np.uint8))[:-1], r"should hold 18 bytes for shape \(3, 2\) and holds 17"),
        (bytes([0, 0, 8, 4]) + 4 * b"\x00\x01\x00\x00", "should hold 18446744073709551636 bytes for shape"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "not an IDX file of unsigned bytes"),
        (b"", "not an IDX file"),
    ],
)
def test_damaged_idx_files(tmp_path, content, message):
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path)


def test_damaged_gzip_and_labels(mnist):
    folder, _, _ = mnist
    labels = folder / "t10k-labels-idx1-ubyte"
    labels.write_bytes(idx(np.full(5, 11, np.uint8)))
    with pytest.raises(ValueError, match="label 11 is outside the 10 classes"):
        load("mnist", path=folder, complete=False)
    images = folder / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged and cannot be unpacked"):
        load("mnist", path=folder, complete=False)


def test_normalisation_takes_the_training_pixels(mnist):
    folder, train, _ = mnist
    data = load("mnist", path=folder, complete=False, normalize=True)
    scaled = data.scale(data.train_images)
    np.testing.assert_allclose([scaled.mean(), scaled.std()], [0, 1], atol=1e-5)
    np.testing.assert_allclose(data.mean, [train[0].mean() / 255], rtol=1e-12)


def test_a_missing_set_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXSNN_DATA", raising=False)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ValueError, match=r"not bundled.*JAXSNN_DATA names no.*path=.*pip install 'spikechip\[download\]'"
    ):
        load("cifar10")
    with pytest.raises(ValueError, match="holds no layout that is known"):
        load("cifar10", path=tmp_path)
    with pytest.raises(ValueError, match="is not a folder"):
        load("cifar10", path=tmp_path / "absent")
    monkeypatch.setenv("JAXSNN_DATA", str(tmp_path / "absent"))
    with pytest.raises(ValueError, match=rf"JAXSNN_DATA={tmp_path}/absent is not a folder"):
        load("cifar10")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ValueError, match=r"needs Pillow: pip install 'spikechip\[data\]'"):
        decode(b"", "x")
    with pytest.raises(ValueError, match="take no path"):
        load("digits", path=tmp_path)


def test_a_download_goes_through_the_datasets_package(monkeypatch, tmp_path):
    """The package is replaced by a stand-in of its interface: no test may need a network.

    The folder of data sets is asked first, and lacks this one.
    """
    monkeypatch.setenv("JAXSNN_DATA", str(tmp_path))
    train, test = colour(4), colour(2)
    asked = []

    class Part(dict):
        column_names = ("img", "fine_label", "coarse_label")

    def load_dataset(repository):
        asked.append(repository)
        if len(asked) > 1:
            raise ConnectionError("no network")
        parts = {"train": train, "test": test}
        return {
            split: Part(img=[Image.fromarray(x) for x in images], fine_label=labels.tolist())
            for split, (images, labels) in parts.items()
        }

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    same(load("cifar100", complete=False), train, test)
    assert asked == ["uoft-cs/cifar100"]
    with pytest.raises(
        ValueError, match=rf"downloaded \(no network\), and there is no folder {tmp_path}/cifar"
    ):
        load("cifar100")


def test_augmentation_shifts_and_mirrors():
    image = jnp.arange(1, 26, dtype=jnp.uint8).reshape(1, 5, 5, 1)
    images = jnp.tile(image, (200, 1, 1, 1))
    padded = np.pad(np.asarray(image[0, ..., 0]), 2)
    cuts = {padded[i : i + 5, j : j + 5].tobytes() for i in range(5) for j in range(5)}
    moved = np.asarray(jax.jit(lambda x, k: augment(x, k, crop=2))(images, jax.random.key(0)))[..., 0]
    assert {one.tobytes() for one in moved} == cuts
    flipped = np.asarray(augment(images, jax.random.key(1), flip=True))[..., 0]
    mirror = np.asarray(image[0, :, ::-1, 0])
    share = np.mean([np.array_equal(one, mirror) for one in flipped])
    assert 0.35 < share < 0.65
    assert all(np.array_equal(one, mirror) or np.array_equal(one, mirror[:, ::-1]) for one in flipped)
    np.testing.assert_array_equal(augment(images, jax.random.key(1)), images)
    with pytest.raises(ValueError, match="crop is a number of pixels"):
        augment(images, jax.random.key(0), crop=-1)
    with pytest.raises(ValueError, match=r"crop=100 moves examples .* out of their frame; it must be below"):
        augment(images, jax.random.key(0), crop=100)


@pytest.mark.long
@pytest.mark.skipif("JAXSNN_DATA" not in os.environ, reason="needs the real files in JAXSNN_DATA")
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_real_files(name):
    data = load(name, normalize=True)
    assert list(np.bincount(data.test_labels)) == (
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009] if name == "mnist" else [1000] * 10
    )
    published = (0.1307,) if name == "mnist" else (0.4914, 0.4822, 0.4465)
    np.testing.assert_allclose(data.mean, published, atol=2e-3)
