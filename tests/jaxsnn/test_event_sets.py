"""The event sets by name, from files in their layout; training and evaluation on them, batch by batch."""

import dataclasses
import gzip
import os
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxsnn
from jaxsnn.data.augmentation import augment
from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import Direct, Frames
from jaxsnn.learning.early_exit import run_until_sure
from jaxsnn.learning.evaluation import evaluate
from jaxsnn.learning.training import TrainConfig, fit
from jaxsnn.models.events import event_convnet
from jaxsnn.models.mlp import mlp
from jaxsnn.neuron import LIF
from tests.jaxsnn import event_files
from tests.jaxsnn.small_runs import weights


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXSNN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def nmnist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nmnist")
    return folder, event_files.nmnist_set(folder)


@pytest.mark.parametrize("cache", [None, False])
def test_nmnist(nmnist, cache):
    folder, written = nmnist
    data = jaxsnn.load("nmnist", path=folder, timesteps=10, cache=cache)
    assert data.event_shape == (10, 34, 34, 2)
    assert data.image_shape == (34, 34, 2)
    assert (data.classes, data.timed) == (10, True)
    assert list(data.train_labels) == [0] * 4 + [1] * 4 + [2] * 4
    assert list(data.test_labels) == [0, 0, 1, 1, 2, 2]
    for images, split in ((data.train_images, "Train"), (data.test_images, "Test")):
        events = [events for path, events in written.items() if path.parts[-3] == split]
        for found, (_, row, column, polarity) in zip(images[:], events, strict=True):
            right = np.zeros((34, 34, 2), int)
            np.add.at(right, (row, column, polarity), 1)
            np.testing.assert_array_equal(found.sum(0), right)
    assert data.scale(data.train_images)[:2].dtype == np.float32
    np.testing.assert_array_equal(data.scale(data.train_images)[:2], data.train_images[:2])


def test_nmnist_is_found_as_tonic_and_the_environment_have_it(nmnist, tmp_path, monkeypatch):
    (tmp_path / "NMNIST").symlink_to(nmnist[0])
    there = jaxsnn.load("nmnist", path=tmp_path, timesteps=2)
    (tmp_path / "nmnist").symlink_to(nmnist[0])
    monkeypatch.setenv("JAXSNN_DATA", str(tmp_path))
    assert jaxsnn.load("nmnist", timesteps=2).fingerprint == there.fingerprint


def test_cifar10_dvs(tmp_path):
    for name in ("airplane", "truck"):
        (tmp_path / name).mkdir()
        for number in range(5):
            events = event_files.some_events(30, seed=number, side=128)
            (tmp_path / name / f"cifar10_{name}_{number}.aedat").write_bytes(event_files.aedat2(events))
    data = jaxsnn.load("cifar10_dvs", path=tmp_path, timesteps=4, test_fraction=0.4)
    assert data.event_shape == (4, 128, 128, 2)
    assert sorted(data.train_labels) == [0] * 3 + [9] * 3
    assert sorted(data.test_labels) == [0] * 2 + [9] * 2
    assert data.train_images[:].sum() == 6 * 30
    assert data.class_names[9] == "truck"
    other = jaxsnn.load("cifar10_dvs", path=tmp_path, timesteps=4, test_fraction=0.4, seed=1)
    assert other.fingerprint != data.fingerprint


@pytest.fixture
def gestures(tmp_path):
    """Two recordings of three gestures each, with events between them that belong to none."""
    for user, split in (("user01", "train"), ("user24", "test")):
        events = event_files.some_events(200, side=128, span_us=1000)
        (tmp_path / f"{user}_led.aedat").write_bytes(event_files.aedat3(events))
        rows = "class,startTime_usec,endTime_usec\n8,0,300\n1,400,700\n11,700,1001\n"
        (tmp_path / f"{user}_led_labels.csv").write_text(rows)
        (tmp_path / f"trials_to_{split}.txt").write_text(f"{user}_led.aedat\n")
    return tmp_path, event_files.some_events(200, side=128, span_us=1000)


def test_dvs_gesture(gestures):
    folder, (t_us, *_) = gestures
    data = jaxsnn.load("dvs_gesture", path=folder, timesteps=3)
    assert data.event_shape == (3, 128, 128, 2)
    assert list(data.train_labels) == list(data.test_labels) == [7, 0, 10]
    spans = [(0, 300), (400, 700), (700, 1001)]
    assert [one.sum() for one in data.train_images[:]] == [((a <= t_us) & (t_us < b)).sum() for a, b in spans]
    assert data.class_names[7] == "arm roll"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("user01_led_labels.csv", "class,start,end\n12,0,5\n", "labels.csv, line 2: class 12 from 0 to 5"),
        (
            "user01_led_labels.csv",
            "1,9,5\n",
            "labels.csv, line 1: class 1 from 9 to 5 µs; .* end after they start",
        ),
        ("user01_led_labels.csv", "1,a,5\n", "line 1: it must be 'class,start,end' .* and is '1,a,5'"),
        ("user01_led_labels.csv", "1,2000,3000\n", "hand clapping from 2000 to 3000 µs: no event lies there"),
        ("user01_led_labels.csv", None, "labels.csv does not exist; it says when"),
        (
            "trials_to_train.txt",
            "../user01_led.aedat\n",
            r"names '\.\./user01_led.aedat', which is no file in",
        ),
        ("trials_to_train.txt", "nobody.aedat\n", "names 'nobody.aedat', which is no file in"),
        ("trials_to_test.txt", "", "names no recordings"),
        ("trials_to_test.txt", None, "does not exist; unpack the whole of DVS Gesture"),
    ],
)
def test_bad_lists_of_gestures_are_refused(gestures, file, text, message):
    path = gestures[0] / file
    path.write_text(text) if text is not None else path.unlink()
    with pytest.raises(ValueError, match=message):
        jaxsnn.load("dvs_gesture", path=gestures[0], timesteps=3)


@pytest.mark.parametrize("name", ["shd", "ssc"])
def test_the_heidelberg_sets(tmp_path, name):
    rng = np.random.default_rng(0)
    spoken = [(np.sort(rng.uniform(0, 1, n)), rng.integers(0, 700, n)) for n in (20, 30, 40)]
    event_files.heidelberg(tmp_path / f"{name}_train.h5", spoken, [3, 1, 19])
    event_files.heidelberg(tmp_path / f"{name}_test.h5", spoken[:1], [2])
    data = jaxsnn.load(name, path=tmp_path, timesteps=8)
    assert (data.event_shape, data.image_shape) == ((8, 700), (700,))
    assert data.classes == (20 if name == "shd" else 35)
    assert list(data.train_labels) == [3, 1, 19]
    assert list(data.train_images[:].sum((1, 2))) == [20, 30, 40]
    (tmp_path / f"{name}_test.h5").unlink()
    with pytest.raises(ValueError, match=rf"{name}_test.h5 does not exist; unpack {name}_test.h5.gz there"):
        jaxsnn.load(name, path=tmp_path, timesteps=8)
    (tmp_path / f"{name}_train.h5").write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="is damaged or no HDF5 file"):
        jaxsnn.load(name, path=tmp_path, timesteps=8)


@pytest.mark.parametrize("name", ["nmnist", "dvs_gesture", "cifar10_dvs", "shd", "ssc"])
def test_an_empty_folder_and_missing_options_are_refused(tmp_path, monkeypatch, name):
    with pytest.raises(
        ValueError, match=f"{re.escape(str(tmp_path))} holds no .*unpacked into|unpack the set there"
    ):
        jaxsnn.load(name, path=tmp_path, timesteps=3)
    with pytest.raises(ValueError, match=f"'{name}' holds events: pass timesteps"):
        jaxsnn.load(name, path=tmp_path)
    with pytest.raises(ValueError, match=f"'{name}' has no option 'normalize'; it takes path, timesteps, by"):
        jaxsnn.load(name, path=tmp_path, timesteps=3, normalize=True)
    monkeypatch.delenv("JAXSNN_DATA", raising=False)
    with pytest.raises(ValueError, match=f"'{name}' is read from its own files: pass path"):
        jaxsnn.load(name, timesteps=3)


def test_a_damaged_recording_is_named_while_loading(tmp_path):
    written = event_files.nmnist_set(tmp_path, train=2, test=1)
    path = next(iter(written))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"^{path} is truncated: 249 bytes"):
        jaxsnn.load("nmnist", path=tmp_path, timesteps=3)


def dense():
    """A network that compiles fast, and fires on few events."""
    neuron = partial(LIF, threshold=0.02)
    return mlp((8,), in_features=34 * 34 * 2, classes=10, encoding=Frames(), neuron=neuron, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def learnt(nmnist, tmp_path_factory):
    """The same training from recordings that are read batch by batch, and from memory."""
    data = jaxsnn.load("nmnist", path=nmnist[0], timesteps=3, cache=False)
    whole = dataclasses.replace(
        data, train_images=np.asarray(data.train_images), test_images=np.asarray(data.test_images)
    )
    config = TrainConfig(epochs=2, batch_size=3, timesteps=3, crop=2, drop=0.1, validation=0.5)
    runs = []
    for each in (data, whole):
        network = dense()
        place = tmp_path_factory.mktemp("run")
        runs.append((each, network, fit(network, each, config, checkpoint_dir=place)))
    return runs


def test_training_reads_what_it_needs_and_gives_the_same_bits(learnt):
    (_, lazy, first), (_, whole, second) = learnt
    assert weights(lazy) == weights(whole) != weights(dense())
    assert [line.loss for line in first.history] == [line.loss for line in second.history]
    assert first.test_accuracy == second.test_accuracy


def test_rates_are_those_of_the_events_and_no_input_is_analogue(learnt):
    (data, network, _), _ = learnt
    found = evaluate(network, data.scale(data.test_images), data.test_labels, timesteps=3, batch_size=3)
    first = found.record[0]
    assert not any(layer.analog_input for layer in found.record)
    np.testing.assert_allclose(first.input_rate, np.mean(data.test_images[:] > 0), rtol=1e-6)
    whole = jnp.moveaxis(jnp.asarray(data.scale(data.test_images)[:]), 1, 0)
    logits, _ = network(whole, timesteps=3)
    assert list(found.predictions) == np.argmax(logits, -1).tolist()
    sure = run_until_sure(network, data.scale(data.test_images), timesteps=3, entropy=0.0, batch_size=3)
    np.testing.assert_allclose(sure.logits, logits, rtol=1e-5, atol=1e-6)


def test_a_network_and_data_that_do_not_fit_are_refused(nmnist):
    data = jaxsnn.load("nmnist", path=nmnist[0], timesteps=3)
    config = TrainConfig(epochs=1, batch_size=4, timesteps=3)
    with pytest.raises(
        ValueError, match=r"holds frames and the network's encoding is Direct\(\); .*encoding=Frames"
    ):
        fit(event_convnet(width=2, encoding=Direct(), rngs=nnx.Rngs(0)), data, config)
    with pytest.raises(ValueError, match="have 3 frames and 4 timesteps were asked for"):
        fit(event_convnet(width=2, rngs=nnx.Rngs(0)), data, dataclasses.replace(config, timesteps=4))
    images = jaxsnn.load("digits")
    with pytest.raises(ValueError, match=r"'digits' holds images and the network's encoding is Frames\(\)"):
        fit(mlp((4,), in_features=64, encoding=Frames(), rngs=nnx.Rngs(0)), images, config)
    with pytest.raises(ValueError, match=r"takes \(count, timesteps, ...\), got shape \(2, 5\)"):
        evaluate(
            mlp((4,), in_features=5, encoding=Frames(), rngs=nnx.Rngs(0)),
            np.zeros((2, 5)),
            [0, 1],
            timesteps=1,
        )


COUNTS = jnp.asarray(np.random.default_rng(0).poisson(2, (200, 2, 4, 5, 2)), jnp.uint16)


def test_events_are_shifted_and_mirrored_as_a_whole():
    key = jax.random.key(0)
    padded = np.pad(np.asarray(COUNTS), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    found = np.asarray(augment(COUNTS, key, crop=1, timed=True))
    shifts = set()
    for number, one in enumerate(found):
        cuts = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if np.array_equal(padded[number, :, i : i + 4, j : j + 5], one)
        ]
        assert cuts
        shifts.update(cuts)
    assert len(shifts) == 9
    mirrored = np.asarray(augment(COUNTS, key, flip=True, timed=True))
    flips = [np.array_equal(a, np.asarray(b)[:, :, ::-1]) for a, b in zip(mirrored, COUNTS, strict=True)]
    assert all(flip or np.array_equal(a, b) for flip, a, b in zip(flips, mirrored, COUNTS, strict=True))
    assert 0.4 < np.mean(flips) < 0.6


def test_each_event_is_lost_with_the_probability_that_was_asked_for():
    kept = np.asarray(augment(COUNTS, jax.random.key(1), drop=0.25, timed=True), int)
    before = np.asarray(COUNTS, int)
    assert (kept <= before).all()
    total = before.sum()
    np.testing.assert_allclose(kept.sum() / total, 0.75, atol=5 * np.sqrt(0.25 * 0.75 / total))
    threes = kept[before == 3]
    np.testing.assert_allclose(
        np.bincount(threes, minlength=4) / len(threes),
        [0.25**3, 3 * 0.75 * 0.25**2, 3 * 0.75**2 * 0.25, 0.75**3],
        atol=5 * np.sqrt(0.25 / len(threes)),
    )


@pytest.mark.parametrize("value", [0.5, -1.0])
def test_what_is_no_count_of_events_loses_none(value):
    data = Dataset.from_arrays(np.where(np.asarray(COUNTS) > 2, value, 1.0), np.arange(200) % 3, timed=True)
    network = mlp((2,), in_features=40, classes=3, encoding=Frames(), rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match=rf"drop loses single events, and .* holds {value}, which is no count"
    ):
        fit(network, data, TrainConfig(epochs=1, timesteps=2, drop=0.1))


def test_units_are_shifted_along_their_axis():
    units = COUNTS[:, :, :, 0, 0]
    found = np.asarray(augment(units, jax.random.key(0), crop=1, timed=True))
    padded = np.pad(np.asarray(units), ((0, 0), (0, 0), (1, 1)))
    for number, one in enumerate(found):
        assert any(np.array_equal(padded[number, :, i : i + 4], one) for i in range(3))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 4), {"flip": True, "timed": True}, "flip mirrors images, and examples .* have no rows"),
        ((2, 4, 4, 1), {"drop": 0.5}, "drop loses events, and these examples are images"),
        ((2, 9), {"crop": 1}, r"move pixels; examples of shape \(9,\) have none"),
        ((2, 3, 4, 4, 2), {"drop": 1.0, "timed": True}, r"in \[0, 1\), got 1.0"),
    ],
)
def test_augmentation_that_makes_no_sense_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        augment(jnp.zeros(shape), jax.random.key(0), **options)


def test_lazy_and_whole_arrays_of_other_sets_have_one_fingerprint_rule():
    frames = np.asarray(COUNTS)
    data = Dataset.from_arrays(frames, np.arange(200) % 3, timed=True)
    assert data.event_shape == (2, 4, 5, 2)
    assert data.fingerprint != Dataset.from_arrays(frames, np.arange(200) % 3).fingerprint


@pytest.mark.skipif("JAXSNN_DATA" not in os.environ, reason="needs real recordings in JAXSNN_DATA")
@pytest.mark.long
def test_real_recordings():
    data = jaxsnn.load("nmnist", path=Path(os.environ["JAXSNN_DATA"]) / "nmnist_small", timesteps=10)
    assert data.event_shape == (10, 34, 34, 2)
    assert (len(data.train_labels), len(data.test_labels)) == (1000, 100)
