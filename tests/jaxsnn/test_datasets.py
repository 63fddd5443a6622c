"""Data sets: what is loaded, how it is split, and what is refused."""

import hashlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxsnn.data.datasets import Dataset, load, stratified_split


def tiny(**change):
    fields = {
        "name": "tiny",
        "train_images": np.zeros((4, 2, 2, 1), np.uint8),
        "train_labels": np.array([0, 1, 0, 1], np.uint8),
        "test_images": np.zeros((2, 2, 2, 1), np.uint8),
        "test_labels": np.array([0, 1], np.uint8),
        "classes": 2,
    }
    return Dataset(**(fields | change))


def test_digits_are_scikit_learns_and_each_is_used_once():
    data = load("digits")
    assert data.image_shape == (8, 8, 1)
    ours = np.concatenate([data.train_images, data.test_images])[..., 0]
    theirs = load_digits()
    restored = np.round(ours.astype(float) / 255 * 16).reshape(len(ours), -1)
    labels = np.concatenate([data.train_labels, data.test_labels])

    def pairs(rows, targets):
        both = zip(rows.astype(np.uint8), targets, strict=True)
        return sorted((bytes(row), int(target)) for row, target in both)

    assert pairs(restored, labels) == pairs(theirs.data, theirs.target)
    assert len(ours) == 1797


def test_the_split_is_stratified_held_out_and_seeded():
    labels = np.repeat(np.arange(3), [100, 50, 10])
    train, test = stratified_split(labels, 0.2, seed=1)
    assert sorted(np.concatenate([train, test])) == list(range(160))
    assert list(np.bincount(labels[test])) == [20, 10, 2]
    again = stratified_split(labels, 0.2, seed=1)
    other = stratified_split(labels, 0.2, seed=2)
    assert np.array_equal(test, again[1])
    assert not np.array_equal(test, other[1])


def test_held_out_images_come_from_the_training_images_alone():
    data = tiny(
        train_images=np.arange(10, dtype=np.uint8)[:, None, None, None],
        train_labels=np.arange(10, dtype=np.uint8),
        test_images=np.full((2, 1, 1, 1), 99, np.uint8),
        classes=10,
    )
    held = data.hold_out(0.3, seed=1)
    assert (len(held.train_labels), len(held.test_labels)) == (7, 3)
    assert sorted([*held.train_labels, *held.test_labels]) == list(range(10))
    assert np.array_equal(held.train_images.ravel(), held.train_labels)
    assert np.array_equal(held.test_images.ravel(), held.test_labels)
    assert held.fingerprint == data.hold_out(0.3, seed=1).fingerprint
    assert held.fingerprint != data.hold_out(0.3, seed=2).fingerprint


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_holding_out_a_bad_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match=r"a fraction of the images in \(0, 1\), got"):
        tiny().hold_out(fraction, seed=0)


@pytest.mark.parametrize(("fraction", "split"), [(0.01, "test"), (0.99, "train")])
def test_holding_out_nothing_or_everything_is_refused(fraction, split):
    with pytest.raises(ValueError, match=f"{split} split: it is empty"):
        tiny().hold_out(fraction, seed=0)


def test_options_change_the_digits():
    assert len(load("digits", test_fraction=0.5).test_images) in range(890, 908)
    assert load("digits", seed=1).fingerprint != load("digits", seed=0).fingerprint
    assert load("digits", seed=1).fingerprint == load("digits", seed=1).fingerprint
    assert load("digits", seed=None).fingerprint == load("digits").fingerprint


def test_scaling_subtracts_the_mean_and_divides():
    images = np.array([[[[0, 255]]]], np.uint8)
    assert np.array_equal(tiny().scale(images).ravel(), [0.0, 1.0])
    two_channels = {
        f"{split}_images": np.zeros((n, 2, 2, 2), np.uint8) for split, n in (("train", 4), ("test", 2))
    }
    scaled = tiny(**two_channels, mean=(0.5, 0.25), std=(0.5, 0.5)).scale(images)
    np.testing.assert_allclose(scaled.ravel(), [-1.0, 1.5])
    assert scaled.dtype == np.float32
    assert tiny(mean=(0.5,)).fingerprint != tiny().fingerprint


def test_the_fingerprint_sees_one_pixel():
    images = np.zeros((4, 2, 2, 1), np.uint8)
    images[3, 1, 1, 0] = 1
    assert tiny(train_images=images).fingerprint != tiny().fingerprint
    assert len(tiny().fingerprint) == hashlib.sha256().digest_size * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": np.zeros((0, 2, 2, 1), np.uint8), "train_labels": np.zeros(0, np.uint8)},
            "train split: it is empty",
        ),
        ({"test_images": np.zeros((0, 2, 2, 1), np.uint8)}, "test split: it is empty"),
        (
            {"train_images": np.zeros((4, 2, 2, 1), np.float32)},
            "training images are float32 .* must be alike",
        ),
        ({"train_images": np.zeros((4, 2, 2, 1), np.int64)}, "uint8, uint16 or bool, got int64"),
        (
            {"train_images": np.zeros((4, 2, 3, 1), np.uint8)},
            r"\(2, 3, 1\) .*\(2, 2, 1\); they must be alike",
        ),
        ({"train_images": np.zeros(4, np.uint8)}, r"\(count, height, width, channels\), got shape \(4,\)"),
        ({"train_images": np.zeros((4, 0, 2, 1), np.uint8)}, r"images are empty, of shape \(0, 2, 1\)"),
        ({"train_labels": np.zeros(3, np.uint8)}, r"labels must be integers \(4,\)"),
        ({"train_labels": np.zeros(4)}, r"labels must be integers \(4,\), got float64"),
        ({"train_labels": np.array([0, 1, -1, 0])}, "label -1 is outside the 2 classes"),
        ({"mean": (0.1, 0.2, 0.3)}, "mean must be one finite number, or one for each of the 1 channels"),
        ({"test_labels": np.array([0, 2], np.uint8)}, "label 2 is outside the 2 classes"),
        ({"std": (0.0,)}, "std must be positive"),
    ],
)
def test_a_bad_data_set_is_refused(change, message):
    with pytest.raises(ValueError, match=f"'tiny'.*{message}"):
        tiny(**change)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown data set 'digit'; known are .*digits"):
        load("digit")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5])
def test_a_bad_fraction_is_refused(fraction):
    with pytest.raises(ValueError, match="test_fraction must lie between"):
        load("digits", test_fraction=fraction)


@pytest.mark.parametrize(
    ("name", "options"),
    [("digits", "test_fraction, seed"), ("mnist", "path, normalize, complete")],
)
def test_an_unknown_option_lists_the_known(name, options):
    with pytest.raises(ValueError, match=f"data set '{name}' has no option 'sede'; it takes {options}."):
        load(name, sede=3)
