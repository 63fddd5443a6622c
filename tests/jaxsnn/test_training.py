"""Training: it learns, it repeats itself, and it refuses what is wrong."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxsnn.data.datasets import load
from jaxsnn.encoding import Poisson
from jaxsnn.learning import training
from jaxsnn.learning.progress import Progress
from jaxsnn.learning.training import EpochMetrics, TrainConfig, evaluate, fit, split_parameters
from jaxsnn.models.digits import digits_convnet
from jaxsnn.neuron import LIF
from tests.helpers import with_devices
from tests.jaxsnn.small_runs import dense, few_digits, network, weights

SHORT = TrainConfig(epochs=3, timesteps=2, batch_size=32, decay_at=(0.4,))


@pytest.mark.long
def test_digits_are_learnt():
    """As CI's main job does."""
    data = load("digits")
    net = digits_convnet(rngs=nnx.Rngs(1))
    result = fit(net, data, TrainConfig(epochs=10, seed=1))
    assert result.test_accuracy >= 0.96
    test = evaluate(net, data.test_images, data.test_labels, timesteps=5)
    assert test.accuracy == result.test_accuracy
    assert test.accuracy == np.mean(test.predictions == data.test_labels)
    assert all(0 < float(layer.input_rate) <= 1 for layer in test.record)


def test_the_same_seed_gives_the_same_bits():
    runs = []
    for seed in (5, 5, 6):
        net = dense(encoding=Poisson())
        fit(net, few_digits(), TrainConfig(epochs=2, timesteps=2, batch_size=32, seed=seed))
        runs.append(weights(net))
    assert runs[0] == runs[1] != runs[2]


def test_the_transform_is_what_the_forward_pass_sees():
    """A transform to zero weights gives the loss of ignorance; the identity changes nothing."""
    config = TrainConfig(epochs=1, timesteps=2, batch_size=32)
    plain, same, zero = dense(), dense(), dense()
    fit(plain, few_digits(), config)
    fit(same, few_digits(), config, transform=lambda params, key: jax.tree.map(lambda w: w * 1, params))
    assert weights(plain) == weights(same)
    before = weights(zero)
    result = fit(zero, few_digits(), config, transform=lambda p, key: jax.tree.map(lambda w: w * 0, p))
    assert result.history[0].loss == pytest.approx(np.log(10), rel=1e-6)
    assert weights(zero) == before


def test_training_changes_what_its_settings_say():
    def trained(**change):
        net = dense()
        settings = {"epochs": 2, "timesteps": 1, "batch_size": 32, "decay_at": ()} | change
        fit(net, few_digits(), TrainConfig(**settings))
        return weights(net)

    changes = [
        {},
        {"learning_rate": 1e-3},
        {"optimizer": "sgd"},
        {"decay_at": (0.5,)},
        {"timesteps": 2},
        {"batch_size": 48},
        {"schedule": "cosine"},
        {"weight_decay": 0.1},
        {"label_smoothing": 0.2},
        {"crop": 1},
        {"flip": True},
    ]
    assert len({trained(**change) for change in changes}) == len(changes)


def test_the_learning_rate_steps_down():
    schedule = TrainConfig(epochs=8, learning_rate=1.0, decay_at=(0.5, 0.75), decay_factor=0.1).rate(10)
    rates = [float(schedule(step)) for step in (0, 39, 40, 59, 60, 79)]
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_a_short_run_decays_within_an_epoch_and_never_at_its_start():
    one, three = (TrainConfig(epochs=epochs, learning_rate=1.0).rate(8) for epochs in (1, 3))
    rates = [float(one(step)) for step in range(8)]
    np.testing.assert_allclose(rates, [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)
    rates = [float(three(step)) for step in range(24)]
    np.testing.assert_allclose(rates, [1] * 12 + [0.1] * 6 + [0.01] * 6, rtol=1e-6)
    assert float(TrainConfig(epochs=1, learning_rate=1.0).rate(1)(0)) == 1


def test_the_cosine_ends_at_zero():
    rate = TrainConfig(epochs=4, learning_rate=2.0, schedule="cosine").rate(10)
    np.testing.assert_allclose([float(rate(step)) for step in (0, 20, 40)], [2, 1, 0], atol=1e-6)


def test_recomputing_changes_memory_and_not_the_numbers():
    graphdef, params = nnx.split(network())
    images = jnp.asarray(few_digits().scale(few_digits().train_images))

    def gradient(**unrolling):
        def loss(params):
            return nnx.merge(graphdef, params)(images, timesteps=16, **unrolling)[0][:, 0].sum()

        compiled = jax.jit(jax.grad(loss)).lower(params).compile()
        return compiled(params), compiled.memory_analysis().temp_size_in_bytes

    plain, plain_bytes = gradient()
    recomputed, recomputed_bytes = gradient(chunk=3, remat=True)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(recomputed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert recomputed_bytes < 0.5 * plain_bytes


def test_label_smoothing_is_the_formula():
    config = TrainConfig(epochs=1, timesteps=1, label_smoothing=0.3, batch_size=96)
    net = dense()
    logits, _ = net(jnp.asarray(few_digits().scale(few_digits().train_images)), timesteps=1)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    labels = few_digits().train_labels
    expected = -np.mean(0.7 * log_p[np.arange(96), labels] + 0.3 * log_p.mean(1))
    assert fit(net, few_digits(), config).history[0].loss == pytest.approx(expected, rel=1e-5)


PARALLEL = """
import jax, numpy as np
from jaxsnn.models.vgg import vgg
from jaxsnn.normalization import BatchNorm
from tests.jaxsnn.test_training import TrainConfig, few_digits, fit, nnx

assert len(jax.devices()) == 8
runs = []
for devices, microbatch in ((1, None), (8, None), (1, 16), (8, 16)):
    net = vgg(((4, "P", 8), (16,)), image_size=8, in_channels=1, norm=BatchNorm, rngs=nnx.Rngs(0))
    cut = {"devices": devices, "microbatch": microbatch}
    fit(net, few_digits(), TrainConfig(epochs=1, timesteps=2, batch_size=32, optimizer="sgd", **cut))
    runs.append(jax.tree.leaves(nnx.state(net)))
replicated = all(len(leaf.sharding.device_set) == 8 for run in runs[1::2] for leaf in run)
pairs = [pair for one in (0, 2) for pair in zip(runs[one], runs[one + 1], strict=True)]
print(replicated, max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs))
"""


@pytest.mark.long
def test_eight_devices_train_as_one():
    """Three optimiser steps with statistics of the whole batch, and of parts: equal to rounding."""
    flags = with_devices(8)
    result = subprocess.run(
        [sys.executable, "-c", PARALLEL],
        capture_output=True,
        text=True,
        env=os.environ | {"XLA_FLAGS": flags},
        cwd=Path(__file__).parents[2],
        check=True,
    )
    replicated, difference = result.stdout.split()
    assert replicated == "True"
    assert float(difference) < 1e-5


def test_too_many_devices_are_refused():
    with pytest.raises(ValueError, match="training on 32 devices was asked for"):
        fit(network(), few_digits(), TrainConfig(epochs=1, devices=32))


def test_evaluation_does_not_depend_on_the_batch_size():
    data, net = few_digits(), dense()
    whole = evaluate(net, data.train_images, data.train_labels, timesteps=2)
    parts = evaluate(net, data.train_images, data.train_labels, timesteps=2, batch_size=36)
    np.testing.assert_array_equal(whole.predictions, parts.predictions)
    np.testing.assert_allclose(whole.loss, parts.loss, rtol=1e-6)
    for a, b in zip(whole.record, parts.record, strict=True):
        np.testing.assert_allclose(a.input_rate, b.input_rate, rtol=1e-5)
    floats = evaluate(net, data.scale(data.train_images), data.train_labels, timesteps=2)
    np.testing.assert_array_equal(whole.predictions, floats.predictions)


def test_weights_that_are_not_finite_are_named():
    net, data = network(), few_digits()
    graphdef, params, rest = split_parameters(net)
    params["layers"][1]["synapse"]["kernel"][...] = jnp.full((3, 3, 4, 8), jnp.nan)
    broken = nnx.merge(graphdef, params, rest)
    with pytest.raises(ValueError, match=r"layers.*1.*kernel.*holds NaN or infinity"):
        evaluate(broken, data.test_images, data.test_labels, timesteps=1)
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        fit(broken, data, SHORT)


def test_divergence_stops_with_a_message(tmp_path):
    def overflow(params, key):
        return jax.tree.map(lambda w: w * 1e38 * 1e38, params)

    config = TrainConfig(epochs=2, timesteps=1)
    with pytest.raises(
        ValueError, match=r"training diverged in epoch 1: the loss is nan; lower learning_rate"
    ):
        fit(network(), few_digits(), config, checkpoint_dir=tmp_path, transform=overflow)
    assert not (tmp_path / "last").exists()


def test_divergence_stops_within_the_epoch(monkeypatch):
    net, steps = dense(), []
    before = weights(net)
    step = training.train_step
    monkeypatch.setattr(training, "train_step", lambda *arguments: steps.append(0) or step(*arguments))
    config = TrainConfig(epochs=1, timesteps=1, batch_size=3, learning_rate=1e38)
    with pytest.raises(ValueError, match=r"diverged in epoch 1: .*lower learning_rate \(1e\+38\)"):
        fit(net, few_digits(), config)
    assert len(steps) <= 16
    assert weights(net) == before


def test_weights_that_turn_nan_behind_a_finite_loss_stop_training():
    """NaN is not above a threshold, so that a hidden layer of NaN is silent and the loss log 10."""

    def penalty(outputs, record, params):
        return 0 * jnp.sqrt(0 * jnp.sum(jax.tree.leaves(params)[0]))  # Its derivative is 0·∞.

    net = dense()
    before = weights(net)
    config = TrainConfig(epochs=1, timesteps=1, batch_size=96)
    with pytest.raises(ValueError, match=r"diverged in epoch 1: parameter \['layers'\]\[0\].* holds NaN"):
        fit(net, few_digits(), config, penalty=penalty)
    assert weights(net) == before


def test_progress_shows_the_epoch_so_far_and_waits_for_no_batch():
    class Running:
        def is_ready(self):
            return False

    def finished(*values):
        return jax.block_until_ready(jnp.asarray(values, jnp.float32))

    first, second = finished(2.0, 0.25, 0.1, 0.0), finished(1.0, 0.75, 0.3, 0.0)
    with Progress(True, epochs=2, batches=4, batch_size=8) as progress:
        (task,) = progress.bar.tasks
        progress.batch(0, [Running()])
        assert (task.completed, task.description) == (0, "")
        progress.batch(0, [first])
        assert task.description.startswith("loss 2.000 acc 25.0% spikes 10% ")
        progress.batch(0, [first, second, Running(), second])
        assert task.completed == 2
        assert task.description.startswith("loss 1.500 acc 50.0% spikes 20% ")
        assert task.description.endswith("/s")
        progress.epoch(EpochMetrics(1, 1.2, 0.6, 0.55, 0.2, 1e-3, 1234.0))
        assert task.completed == 4
        assert task.description == "loss 1.200 acc 60.0% test 55.0% spikes 20% 1234/s"
        progress.batch(1, [second])
        assert task.completed == 5
        assert task.description.startswith("loss 1.000 acc 75.0% test 55.0% spikes 30% ")
        assert task.fields["epoch"] == "2/2"


def test_progress_fits_80_columns_and_tells_what_was_restored(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with Progress(True, epochs=30, batches=22, batch_size=64, resumed=12) as progress:
        progress.bar.console.width = 80
        progress.epoch(EpochMetrics(13, 12.345, 1.0, 1.0, 1.0, 1e-3, 123456.0))
    restored, line = capsys.readouterr().out.strip().splitlines()[-2:]
    assert restored == "12 of 30 epochs restored from a checkpoint"
    assert line.startswith("epoch 13/30")
    assert line.endswith("loss 12.345 acc 100.0% test 100.0% spikes 100% 123k/s")
    assert len(line) <= 80


def test_progress_shows_loss_accuracy_and_speed(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    config = TrainConfig(epochs=1, timesteps=1, batch_size=32)
    last = fit(network(), few_digits(), config, progress=True).history[-1]
    shown = " ".join(capsys.readouterr().out.split())
    assert "epoch 1/1 " in shown
    assert f" loss {last.loss:.3f} acc {last.train_accuracy:.1%} test {last.test_accuracy:.1%} " in shown
    assert f" spikes {last.spike_rate:.0%} {last.images_per_second:.0f}/s" in shown


@pytest.mark.parametrize("classes", [5, 12])
def test_outputs_that_are_not_the_classes_are_refused_before_training(tmp_path, classes):
    net = network(classes=classes, encoding=Poisson())
    before = weights(net)
    with pytest.raises(ValueError, match=f"the network has {classes} outputs and data set 'few' has 10"):
        fit(net, few_digits(), SHORT, checkpoint_dir=tmp_path)
    assert weights(net) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"timesteps": -1}, "timesteps must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive and finite"),
        ({"optimizer": "adamm"}, "optimizer must be 'adam', 'sgd', another optimiser of optax .* 'adamm'"),
        ({"optimizer": "global_norm"}, "another optimiser of optax that takes a learning rate"),
        ({"optimizer": 3}, "optimizer must be a name, a function .* got 3"),
        ({"decay_at": (0.5, 1.0)}, "decay_at are fractions"),
        ({"schedule": "linear"}, "schedule must be 'step' or 'cosine'"),
        ({"label_smoothing": 1.0}, "label_smoothing is a fraction"),
        ({"validation": 1.0}, "validation is a fraction of the images"),
        ({"devices": 3}, "3 devices do not divide a batch of 64"),
        ({"microbatch": 0}, "microbatch must be at least 1, got 0"),
        ({"microbatch": 48}, "microbatch must divide a batch of 64 and be a multiple of devices=1, got 48"),
        ({"microbatch": 8, "devices": 16}, "multiple of devices=16, got 8"),
        ({"weight_decay": -1.0}, "weight_decay must be zero or more and finite, got -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay must be zero or more"),
        ({"decay_factor": -2.0}, "decay_factor must be positive and finite, got -2.0"),
        ({"decay_factor": float("nan")}, "decay_factor must be positive"),
        ({"crop": -1}, "crop must be at least 0, got -1"),
        ({"chunk": 0}, "chunk must be at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"chunk": 2.5}, "chunk must be a whole number, got 2.5"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"seed": 2**32}, r"seed must be below 2\*\*32, got 4294967296"),
        ({"flip": "no"}, "flip must be True or False, got 'no'"),
        ({"remat": 1}, "remat must be True or False, got 1"),
        ({"learning_rate": "a"}, "learning_rate must be positive and finite, got 'a'"),
        ({"learning_rate": None}, "learning_rate must be positive and finite, got None"),
        ({"learning_rate": True}, "learning_rate must be positive and finite, got True"),
        ({"decay_factor": "a"}, "decay_factor must be positive and finite, got 'a'"),
        ({"weight_decay": "a"}, "weight_decay must be zero or more and finite, got 'a'"),
        ({"label_smoothing": "a"}, r"label_smoothing is a fraction in \[0, 1\), got 'a'"),
        ({"drop": None}, r"drop is the fraction of events to lose, in \[0, 1\), got None"),
        ({"validation": "x"}, r"validation is a fraction of the images in \[0, 1\), got 'x'"),
        ({"decay_at": 0.5}, r"decay_at are fractions .* as a tuple, such as \(0\.5, 0\.75\), got 0\.5"),
        ({"decay_at": "ab"}, "decay_at are fractions of the epochs .* got 'ab'"),
        ({"decay_at": ("a",)}, "decay_at are fractions of the epochs"),
        ({"loss_at": None}, "loss_at must be 'last' or 'every', got None"),
    ],
)
def test_a_bad_configuration_is_refused(as_users_run, change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)


@pytest.mark.parametrize(("validation", "held"), [(0.01, 0), (0.99, 16)])
def test_validation_that_leaves_a_side_empty_is_told_by_its_name(validation, held):
    config = TrainConfig(epochs=1, timesteps=1, validation=validation)
    message = f"validation={validation} of 16 training images holds out {held}; .* from 1/16 to 15/16, or 0"
    with pytest.raises(ValueError, match=message):
        fit(dense(), few_digits(16), config)


def test_evaluating_nothing_is_refused():
    with pytest.raises(ValueError, match="as many labels as images, got 0 and 0"):
        evaluate(network(), np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.uint8), timesteps=1)


@pytest.mark.parametrize(("labels", "span"), [([0, 5], "from 0 to 5"), ([-1, 4], "from -1 to 4")])
def test_labels_without_an_output_are_refused(labels, span):
    net, images = network(classes=5), few_digits().test_images[:2]
    with pytest.raises(ValueError, match=f"labels must lie in 0 … 4.* 5 outputs.*{span}"):
        evaluate(net, images, np.asarray(labels), timesteps=1)
    assert evaluate(net, images, np.asarray([0, 4]), timesteps=1).predictions.max() < 5


def test_a_network_in_which_nothing_fires_is_told_of():
    silent = network(neuron=partial(LIF, threshold=1e6))
    config = TrainConfig(epochs=1, timesteps=1, batch_size=48)
    with pytest.warns(
        UserWarning, match=r"the same loss, 2\.3026: no spike reaches the readout\. Lower the thr"
    ):
        fit(silent, few_digits(), config)


def test_a_network_that_fires_is_not_warned_of(recwarn):
    firing = network(neuron=partial(LIF, threshold=0.1))
    fit(firing, few_digits(), TrainConfig(epochs=1, timesteps=1, batch_size=48))
    assert not [warning for warning in recwarn if "no spike" in str(warning.message)]


def test_any_optax_transformation_trains(tmp_path):
    """By its name, as a function of the rate and ready made: the same steps, apart from a plain one's."""
    data = few_digits()

    def trained(optimizer, **options):
        net = dense()
        fit(net, data, TrainConfig(epochs=1, timesteps=1, batch_size=48, optimizer=optimizer), **options)
        return weights(net)

    rate = TrainConfig(epochs=1).rate(2)
    named = trained("lion")
    assert named == trained(optax.lion, checkpoint_dir=tmp_path) == trained(optax.lion(rate))
    assert named != trained(partial(optax.lion, weight_decay=0.5))
    with pytest.raises(ValueError, match="optimizer"):
        trained("lion", checkpoint_dir=tmp_path)
