"""Arrays as data sets: what their numbers mean, how they are split, what is refused."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsnn.data.dataset import Dataset, random_split

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (20, 5, 4, 3)).astype(np.uint8)
LABELS = np.arange(20) % 4


def both(data):
    return np.concatenate([data.train_images, data.test_images])


@pytest.mark.parametrize(
    ("images", "seen"),
    [
        (BYTES, BYTES / 255),
        (BYTES.astype(np.int64), BYTES / 255),
        (BYTES.astype(np.uint16) * 257, BYTES / 255),
        (BYTES > 100, (BYTES > 100) * 1.0),
        (BYTES / 7 - 3, BYTES / 7 - 3),
        ((BYTES / 255).astype(np.float16), (BYTES / 255).astype(np.float16)),
        (jnp.asarray(BYTES / 255, jnp.bfloat16), np.asarray(jnp.asarray(BYTES / 255, jnp.bfloat16), float)),
        (BYTES.tolist(), BYTES / 255),
        ((BYTES / 255).tolist(), BYTES / 255),
    ],
    ids=["uint8", "int64", "uint16", "bool", "float64", "float16", "bfloat16", "list", "floats"],
)
def test_what_the_network_sees_of_each_type(images, seen):
    data = Dataset.from_arrays(images, LABELS, test=(images, LABELS), mean=(0.5, 0.25, 0), std=2)
    found = data.scale(data.train_images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (np.asarray(seen, float) - [0.5, 0.25, 0]) / 2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        (LABELS.astype(float), LABELS, None),
        (LABELS[:, None].astype(np.uint8), LABELS, None),
        (LABELS.tolist(), LABELS, None),
        (LABELS * 1000, LABELS * 1000, None),
        (LABELS > 1, LABELS > 1, None),
        (np.array(["cat", "ant", "dog", "bee"])[LABELS], np.array([2, 0, 3, 1])[LABELS], "ant bee cat dog"),
        (
            np.array(["cat", "ant", "dog", "bee"], object)[LABELS],
            np.array([2, 0, 3, 1])[LABELS],
            "ant bee cat dog",
        ),
        (
            np.array(["Käfer".encode(), b"\xfe", b"\xff", b"ant"])[LABELS],
            np.array([0, 1, 2, 3])[LABELS],
            r"Käfer \xfe \xff ant",
        ),
    ],
    ids=["float", "column", "list", "beyond 256", "bool", "names", "objects", "bytes"],
)
def test_labels_of_every_type(labels, numbers, names):
    data = Dataset.from_arrays(BYTES, labels, test=(BYTES[:4], labels[:4]))
    np.testing.assert_array_equal(data.train_labels, numbers)
    np.testing.assert_array_equal(data.test_labels, numbers[:4])
    assert data.classes == np.max(numbers) + 1
    assert data.class_names == (names and tuple(names.split()))


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((20, 6), (6,)), ((20, 6, 5), (6, 5, 1)), ((20, 6, 5, 2), (6, 5, 2))],
)
def test_every_shape(shape, image_shape):
    data = Dataset.from_arrays(np.zeros(shape), LABELS)
    assert data.image_shape == image_shape
    assert data.train_images.shape == (16, *image_shape)
    with pytest.raises(ValueError, match="have no time axis"):
        _ = data.event_shape


def test_timed_examples_are_counts():
    counts = RNG.integers(0, 9, (20, 7, 4, 4, 2))
    for dtype in (np.uint8, np.int64, np.float64):
        data = Dataset.from_arrays(counts.astype(dtype), LABELS, timed=True)
        assert (data.event_shape, data.image_shape) == ((7, 4, 4, 2), (4, 4, 2))
        assert np.sum(data.scale(both(data))) == counts.sum()


def test_the_split_holds_each_image_once_and_is_seeded():
    x, y = np.arange(103, dtype=np.float32)[:, None], np.repeat([0, 1, 2], [80, 20, 3])
    data = Dataset.from_arrays(x, y, test=0.25, seed=3)
    assert len(data.test_labels) == 26
    assert sorted(both(data).ravel()) == list(range(103))
    assert np.array_equal(y[data.test_images.ravel().astype(int)], data.test_labels)
    np.testing.assert_allclose(np.bincount(data.test_labels), [20, 5, 0.75], atol=1)
    assert data.fingerprint == Dataset.from_arrays(x, y, test=0.25, seed=3).fingerprint
    assert data.fingerprint != Dataset.from_arrays(x, y, test=0.25, seed=4).fingerprint
    assert not np.array_equal(np.sort(data.test_labels), data.test_labels)


def test_classes_of_few_images_are_split_too():
    train, test = random_split(np.arange(10), 0.2, 0, "")
    assert (len(train), len(test)) == (8, 2)
    train, test = random_split(np.array([0, 0, 1, 1]), 0.01, 0, "")
    assert (len(train), len(test)) == (3, 1)


def test_a_test_split_of_ones_own_is_left_as_it_is():
    data = Dataset.from_arrays(BYTES, LABELS, test=(BYTES[::-1], LABELS[::-1]), classes=7)
    np.testing.assert_array_equal(data.train_images, BYTES)
    np.testing.assert_array_equal(data.test_images, BYTES[::-1])
    np.testing.assert_array_equal(data.test_labels, LABELS[::-1])
    assert data.classes == 7


def test_the_fingerprint_tells_types_apart():
    floats = Dataset.from_arrays(BYTES.astype(np.float32) / 512, LABELS)
    doubled = Dataset.from_arrays(BYTES.astype(np.float32) / 256, LABELS)
    assert floats.fingerprint != doubled.fingerprint


@pytest.mark.parametrize("kind", ["u2", "f4"])
def test_arrays_of_jax_and_of_another_order_of_bytes_are_the_same_data(kind, as_users_run):
    images, labels = (BYTES * 256.5).astype(kind), LABELS.astype(np.int32)
    right = Dataset("tiny", images, labels, images, labels, 4)
    for made in (jnp.asarray, lambda array: array.astype(array.dtype.newbyteorder())):
        found = Dataset("tiny", made(images), made(labels), made(images), made(labels), 4)
        assert found.fingerprint == right.fingerprint
        assert found.hold_out(0.5, 0).fingerprint == right.hold_out(0.5, 0).fingerprint
        assert found.train_images.dtype.isnative
        mine = Dataset.from_arrays(made(images), LABELS, name="tiny", test=(images, LABELS))
        assert mine.fingerprint == right.fingerprint


def test_floats_that_look_like_bytes_are_warned_about():
    with pytest.warns(UserWarning, match="used as they are; if they are pixels from 0 to 255, pass uint8"):
        Dataset.from_arrays(BYTES.astype(float), LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset.from_arrays(BYTES / 255, LABELS)
        Dataset.from_arrays(BYTES.astype(float) - 1, LABELS)


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (
            (BYTES > 100).astype(np.uint8),
            r"of which 255 is white, .* no more than 1; .* images.astype\(bool\)",
        ),
        (
            (BYTES > 100).astype(np.int64),
            r"of which 255 is white, .* no more than 1; .* images.astype\(bool\)",
        ),
        (BYTES.astype(np.uint16), r"of which 65535 is white, .* no more than 255; .*astype\(np.uint8\)"),
    ],
    ids=["0 and 1", "0 and 1 of int64", "8 bits in 16"],
)
def test_integers_that_fill_little_of_their_scale_are_warned_about(images, remedy):
    with pytest.warns(UserWarning, match=remedy):
        Dataset.from_arrays(images, LABELS)


def test_neither_bytes_nor_darkness_nor_counts_are_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dataset.from_arrays(BYTES, LABELS)
        Dataset.from_arrays(BYTES * 0, LABELS)
        Dataset.from_arrays(BYTES > 100, LABELS)
        Dataset.from_arrays((BYTES > 100).astype(np.uint8), LABELS, timed=True)


@pytest.mark.parametrize(("step", "classes", "missing", "first"), [(1000, 3001, 2997, 1), (2, 7, 3, 1)])
def test_classes_that_label_no_image_are_warned_about(step, classes, missing, first):
    words = (
        f"makes {classes} classes, and {missing} of them label no image, such as {first}; .*return_inverse"
    )
    with pytest.warns(UserWarning, match=words):
        assert Dataset.from_arrays(BYTES, LABELS * step).classes == classes
    with pytest.warns(UserWarning, match="1 of them label no image, such as 0;"):
        Dataset.from_arrays(BYTES, LABELS + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Dataset.from_arrays(BYTES, LABELS * step, classes=classes).classes == classes
        assert Dataset.from_arrays(BYTES, np.unique(LABELS * step, return_inverse=True)[1]).classes == 4
        Dataset.from_arrays(BYTES[:3], LABELS[:3], test=(BYTES, LABELS))


def broken(value):
    images = BYTES / 255
    images[13, 0, 0, 0] = value
    return images


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": broken(np.nan)}, "image 13 holds NaN"),
        ({"x": broken(np.inf)}, "image 13 holds NaN, infinity"),
        ({"x": broken(1e39)}, "image 13 .* beyond float32"),
        ({"x": np.ma.masked_less(BYTES, 9)}, r"the array is masked, first at \[\d+, .*; fill it with"),
        ({"y": np.ma.masked_equal(LABELS, 3)}, r"the array is masked, first at \[3\]; fill it with"),
        ({"x": BYTES[:19]}, "19 images and 20 labels"),
        ({"x": BYTES[:0], "y": LABELS[:0]}, "it is empty"),
        ({"x": BYTES[:1], "y": LABELS[:1]}, "needs two images or more, got 1"),
        ({"x": BYTES.astype(int) * 2}, "0 to 255 and go from 0 to 510; pass uint16"),
        ({"x": BYTES.astype(int) - 9}, "count as pixels of 0 to 255 and go from -9"),
        ({"x": BYTES.astype(np.int8), "timed": True}, "counts of events or spikes, and go from -128 to 127;"),
        ({"x": BYTES * 1j}, "got complex128"),
        ({"x": np.full((20, 2), "a")}, "floats, uint8, uint16 or bool, got <U1"),
        ({"x": [[1], [1, 2]], "y": [0, 1]}, "no array of one shape"),
        ({"x": np.zeros(20)}, r"got shape \(16,\)"),
        ({"x": np.zeros((20, 3)), "timed": True}, r"\(count, timesteps, ...\), got shape \(16, 3\)"),
        ({"y": LABELS - 1}, "go from -1 to 2; number the classes from 0"),
        ({"y": LABELS + 0.5}, "label 0 is 0.5; labels are whole numbers"),
        ({"y": np.where(LABELS, LABELS, np.nan)}, "label 0 is nan"),
        ({"y": np.eye(4)[LABELS]}, r"got shape \(20, 4\); of one-hot rows take argmax"),
        ({"y": LABELS * 0 + 3}, "all of one class, 3"),
        ({"y": [None] * 20}, "labels must be numbers, got object"),
        ({"classes": 3}, "label 3 is outside the 3 classes"),
        ({"test": 0.0}, r"a fraction in \(0, 1\) or a pair"),
        ({"test": 1}, r"a fraction in \(0, 1\) or a pair"),
        ({"test": "a"}, r"a fraction in \(0, 1\) or a pair"),
        ({"test": (BYTES,)}, r"a pair \(x, y\), got 1 parts"),
        ({"test": (BYTES[:, :4], LABELS)}, "they must be alike"),
        ({"test": (BYTES / 255, LABELS)}, "uint8 .* float32 .* they must be alike"),
        ({"test": (BYTES, LABELS + 0.5)}, "test split: label 0 is 0.5"),
        ({"test": (BYTES[:0], LABELS[:0])}, "test split: it is empty"),
        ({"test": (BYTES[:3], LABELS)}, "test split: there are 3 images and 20 labels"),
        ({"test": (BYTES.astype(int) - 9, LABELS)}, "test split: images of int64 count as pixels"),
        ({"classes": 5.5}, "classes must be a whole number, got 5.5"),
        ({"test": (BYTES, ["a"] * 20)}, "one split has names"),
        ({"y": ["a", "b"] * 10, "test": (BYTES, ["c"] * 20)}, "class 'c' that training has not"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"std": 0}, "std must be positive"),
        ({"std": 1e-46}, "std must be positive in float32"),
        ({"mean": 1e39}, "mean must be one finite number"),
        ({"mean": np.nan}, "mean must be one finite number"),
    ],
)
def test_bad_arrays_are_refused_in_a_sentence(arguments, message, as_users_run):
    with pytest.raises(ValueError, match=rf"data set 'arrays'.*{message}") as error:
        Dataset.from_arrays(**({"x": BYTES, "y": LABELS} | arguments))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": LABELS.tolist()}, r"train split: labels must be an array .* got a list; give"),
        ({"test_labels": tuple(LABELS)}, "test split: labels must be an array .* got a tuple"),
        ({"train_images": BYTES.tolist()}, "train split: images must be an array"),
        ({"mean": 0.5}, r"mean must be one finite number, .* as a tuple; got 0\.5"),
        ({"std": ("a",)}, "std must be one finite number"),
        ({"classes": "4"}, "classes must be a whole number, got '4'"),
        ({"train_images": np.ma.masked_less(BYTES, 9)}, "train split: the array is masked, first at"),
        ({"test_labels": np.ma.masked_less(LABELS, 1)}, r"test split: the array is masked, first at \[0\]"),
    ],
)
def test_a_data_set_says_what_its_parts_must_be(as_users_run, change, message):
    parts = {
        "train_images": BYTES,
        "train_labels": LABELS,
        "test_images": BYTES,
        "test_labels": LABELS,
        "classes": 4,
    }
    with pytest.raises(ValueError, match=message):
        Dataset("tiny", **(parts | change))
