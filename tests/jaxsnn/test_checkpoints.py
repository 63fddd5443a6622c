"""Checkpoints: a run resumes to the bit, and those of another run, or damaged ones, are refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from jaxsnn.layers import Block
from jaxsnn.learning import identity
from jaxsnn.learning.checkpoint import Checkpoints, load_checkpoint
from jaxsnn.learning.training import TrainConfig, evaluate, fit
from jaxsnn.models.digits import digits_convnet
from jaxsnn.normalization import BatchNorm
from tests.jaxsnn.small_runs import dense, few_digits, network, weights

FOUR = TrainConfig(epochs=4, timesteps=1, batch_size=32, learning_rate=1e-3, seed=3)
SUICIDE = """
import os, signal, sys
from pathlib import Path
from jaxsnn.learning import training
from jaxsnn.learning import training
from jaxsnn.learning.checkpoint import Checkpoints
from jaxsnn.learning.training import fit
from tests.jaxsnn.small_runs import dense, few_digits
from tests.jaxsnn.test_checkpoints import FOUR

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

folder, moment = Path(sys.argv[1]), sys.argv[2]
rename, save, batch = Path.rename, Checkpoints.save, training.Progress.batch
last = folder / "last"

def rename_or_kill(path, target):
    if path.parent == last and target == last / "2":
        assert path.is_dir() and (last / "1").is_dir()
        kill()
    return rename(path, target)

def save_and_kill(self, kind, tree, facts):
    save(self, kind, tree, facts)
    done = len(facts["history"])
    if kind == "best" and done > 1:
        assert [entry.name for entry in last.iterdir()] == [str(done - 2)]
        kill()

def batch_and_kill(self, epoch, totals):
    if (epoch, len(totals)) == (2, 2):
        kill()

if moment == "before the rename":
    Path.rename = rename_or_kill
elif moment == "between best and last":
    Checkpoints.save = save_and_kill
elif moment == "within an epoch":
    training.Progress.batch = batch_and_kill
fit(dense(), few_digits(), FOUR, checkpoint_dir=folder)
"""


@pytest.fixture(scope="module")
def unbroken():
    net = dense()
    return fit(net, few_digits(), FOUR), weights(net)


@pytest.mark.parametrize(
    ("moment", "finished_epochs"),
    [("before the rename", 2), ("between best and last", None), ("within an epoch", 2)],
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, unbroken, moment, finished_epochs):
    """kill -9 at a chosen moment; the rest of the run ends where the unbroken one does."""
    straight, straight_weights = unbroken
    if finished_epochs is None:  # Those before the first later epoch that is as good as the best before it.
        loss = [m.loss for m in straight.history]
        finished_epochs = next(i for i in range(1, FOUR.epochs) if loss[i] <= min(loss[:i]))
    process = subprocess.run(
        [sys.executable, "-c", SUICIDE, str(tmp_path), moment],
        env=os.environ | {"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert (tmp_path / "last" / ".writing-2").exists() == (moment == "before the rename")

    net = dense()
    result = fit(net, few_digits(), FOUR, checkpoint_dir=tmp_path)
    assert 1 <= result.resumed_epochs == finished_epochs < FOUR.epochs
    assert weights(net) == straight_weights
    assert [m.loss for m in result.history] == [m.loss for m in straight.history]
    assert [m.test_accuracy for m in result.history] == [m.test_accuracy for m in straight.history]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert len(list((tmp_path / "last").iterdir())) == 1


def test_metrics_cut_short_by_a_kill_are_written_again(tmp_path, monkeypatch):
    """The last epoch's checkpoint was written and its line was not."""

    class Killed(BaseException):
        pass

    write = Checkpoints.write_lines

    def killed(self, name, lines):
        if len(lines) == 2:
            raise Killed
        write(self, name, lines)

    config = TrainConfig(epochs=2, timesteps=1, batch_size=32)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write_lines", killed)
        with pytest.raises(Killed):
            fit(dense(), few_digits(), config, checkpoint_dir=tmp_path)
    path = tmp_path / "metrics.jsonl"
    assert len(path.read_text().splitlines()) == 1
    result = fit(dense(), few_digits(), config, checkpoint_dir=tmp_path)
    assert result.resumed_epochs == 2
    assert [json.loads(line) for line in path.read_text().splitlines()] == [asdict(m) for m in result.history]


def test_the_held_out_images_choose_the_best_and_train_nothing(tmp_path):
    """Here they like an early epoch, and the training loss a later one."""
    data = few_digits()
    config = TrainConfig(epochs=6, timesteps=1, batch_size=24, seed=3, validation=0.25)
    net, without = dense(), dense()
    result = fit(net, data, config, checkpoint_dir=tmp_path)
    split = fit(without, data.hold_out(0.25, seed=3), replace(config, validation=0.0))
    assert weights(net) == weights(without)
    accuracy = [line.validation_accuracy for line in result.history]
    assert accuracy == [line.test_accuracy for line in split.history]

    (facts,) = (tmp_path / "best").glob("*/facts/metadata")
    best = len(json.loads(facts.read_text())["facts"]["history"]) - 1
    assert best == max(range(6), key=lambda epoch: (accuracy[epoch], epoch))
    assert best != np.argmin([line.loss for line in result.history])

    loaded, last = dense(rngs=nnx.Rngs(1)), dense(rngs=nnx.Rngs(1))
    assert load_checkpoint(loaded, tmp_path) == asdict(result.history[best])
    held_out = data.hold_out(0.25, seed=3)
    found = evaluate(loaded, held_out.scale(held_out.test_images), held_out.test_labels, timesteps=1)
    assert found.accuracy == max(accuracy)
    load_checkpoint(last, tmp_path, which="last")
    assert weights(last) == weights(net) != weights(loaded)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fit(network(), few_digits(), TrainConfig(epochs=1, timesteps=1, batch_size=32), checkpoint_dir=folder)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1e-4}, "another run: learning_rate was 0.004 and is 0.0001"),
        ({"seed": 3}, "seed was 0 and is 3"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(finished, change, message):
    config = TrainConfig(**({"epochs": 1, "timesteps": 1, "batch_size": 32} | change))
    with pytest.raises(ValueError, match=message):
        fit(network(), few_digits(), config, checkpoint_dir=finished)


def test_a_finished_run_goes_on_for_more_epochs(tmp_path):
    """And one that was stopped half-way does not: its learning rates were those of fewer epochs."""
    few, more = replace(FOUR, epochs=1), replace(FOUR, epochs=2)
    first = fit(dense(), few_digits(), few, checkpoint_dir=tmp_path)
    longer = fit(dense(), few_digits(), more, checkpoint_dir=tmp_path)
    assert longer.resumed_epochs == 1
    assert longer.history[:1] == first.history
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ValueError, match="epochs was 2 and is 1"):
        fit(dense(), few_digits(), few, checkpoint_dir=tmp_path)

    def stop(metrics):
        raise KeyboardInterrupt

    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fit(dense(), few_digits(), more, checkpoint_dir=stopped, on_epoch=stop)
    with pytest.raises(ValueError, match="epochs was 2 and is 4"):
        fit(dense(), few_digits(), FOUR, checkpoint_dir=stopped)


class Dropping(Block):
    """A layer of a user's own, whose keys and counts are part of a run's state."""

    def __init__(self, block, rngs):
        super().__init__(block.name, block.synapse, block.neuron)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, signal, state, *, start, training=False, current=None):
        dropped = signal.with_values(self.dropout(signal.values, deterministic=not training))
        return super().__call__(dropped, state, start=start, training=training)


def test_dropout_resumes_to_the_bit(tmp_path):
    def dropping():
        net = dense()
        net.layers[1] = Dropping(net.layers[1], nnx.Rngs(7))
        return net

    two = replace(FOUR, epochs=2)
    whole, resumed = dropping(), dropping()
    fit(whole, few_digits(), two)

    def stop(metrics):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(dropping(), few_digits(), two, checkpoint_dir=tmp_path, on_epoch=stop)
    assert fit(resumed, few_digits(), two, checkpoint_dir=tmp_path).resumed_epochs == 1
    assert weights(resumed) == weights(whole)
    loaded = dropping()
    load_checkpoint(loaded, tmp_path, which="last")
    assert weights(loaded) == weights(whole)


def test_a_folder_that_cannot_be_written_to_is_noticed_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written to .* choose another checkpoint_dir"):
        fit(dense(), few_digits(), FOUR, checkpoint_dir=tmp_path / "file" / "run")


def test_a_checkpoint_of_another_network_or_data_set_is_refused(finished):
    config = TrainConfig(epochs=1, timesteps=1, batch_size=32)
    with pytest.raises(ValueError, match=r"another run.*network was"):
        fit(digits_convnet(width=2, rngs=nnx.Rngs(0)), few_digits(), config, checkpoint_dir=finished)
    with pytest.raises(ValueError, match="another run: initial_weights was"):
        fit(network(rngs=nnx.Rngs(1)), few_digits(), config, checkpoint_dir=finished)
    with pytest.raises(ValueError, match="another run: dataset was"):
        fit(network(), few_digits(64), config, checkpoint_dir=finished)


def test_a_checkpoint_is_loaded_into_its_own_architecture_only(finished, tmp_path):
    net = digits_convnet(width=2, rngs=nnx.Rngs(0))
    before = weights(net)
    message = r"\['layers'\]\[0\].*kernel.* is float32 \(3, 3, 1, 4\) there and float32 \(3, 3, 1, 2\) here"
    with pytest.raises(ValueError, match=message):
        load_checkpoint(net, finished)
    with pytest.raises(
        ValueError, match=r"\['layers'\]\[0\].*norm.* is absent there and float32 \(4,\) here"
    ):
        load_checkpoint(network(norm=BatchNorm), finished)
    assert weights(net) == before
    with pytest.raises(ValueError, match="holds no 'best' checkpoint"):
        load_checkpoint(net, tmp_path)
    with pytest.raises(ValueError, match="which must be 'best' or 'last', got 'first'"):
        load_checkpoint(net, finished, which="first")


def test_a_checkpoint_of_another_format_is_refused(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    for facts in tmp_path.glob("*/*/facts/metadata"):
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"format": 1}))
    config = TrainConfig(epochs=1, timesteps=1, batch_size=32)
    for read in (
        lambda: load_checkpoint(network(), tmp_path),
        lambda: fit(network(), few_digits(), config, checkpoint_dir=tmp_path),
    ):
        with pytest.raises(ValueError, match="has format 1 and this version of jaxsnn reads 2"):
            read()


def test_files_stay_below_16_mebibytes_and_give_the_arrays_back(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"one": rng.standard_normal((3000, 1500)), "many": [rng.standard_normal(300_000)] * 9}
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save("last", arrays, {})
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert sum(sizes) > 16 * 2**20 > max(sizes)
    found, _ = checkpoints.restore("last", arrays)
    jax.tree.map(np.testing.assert_array_equal, found, arrays)


def test_a_checkpoint_is_copied_to_another_kind(tmp_path):
    checkpoints, arrays = Checkpoints(tmp_path, {"run": 1}), {"w": np.arange(4.0)}
    with pytest.raises(ValueError, match="holds no 'best' checkpoint to copy"):
        checkpoints.copy("best", "last")
    checkpoints.save("last", {"w": np.zeros(4)}, {"epoch": 1})
    checkpoints.save("best", arrays, {"epoch": 2})
    checkpoints.copy("best", "last")
    for kind in ("best", "last"):
        found, facts = checkpoints.restore(kind, arrays)
        np.testing.assert_array_equal(found["w"], arrays["w"])
        assert facts == {"epoch": 2}
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["1"]


@pytest.mark.parametrize("damage", ["a digit", "a key", "no seal"])
def test_what_is_written_beside_the_arrays_is_sealed(tmp_path, damage):
    """Found by tests/hostile: a flipped digit of the epoch was believed, a flipped key a KeyError."""
    run = Checkpoints(tmp_path, {"run": 1})
    tree = {"w": np.arange(4.0)}
    run.save("last", tree, {"epoch": 3})
    (facts,) = tmp_path.glob("last/*/facts/metadata")
    content = json.loads(facts.read_text())
    if damage == "a digit":
        content["facts"]["epoch"] = 7
    elif damage == "a key":
        content["fbcts"] = content.pop("facts")
    del content["seal"]
    if damage == "a digit":
        content["seal"] = json.loads(facts.read_text())["seal"]
    facts.write_text(json.dumps(content))
    if damage == "no seal":  # as checkpoints of before
        assert run.restore("last", tree)[1] == {"epoch": 3}
        return
    with pytest.raises(ValueError, match=r"is corrupt and cannot be used .*\.$"):
        run.restore("last", tree)


@pytest.mark.parametrize("package", ["jaxsnn", "jax"])
def test_a_checkpoint_of_another_version_is_refused(finished, monkeypatch, package):
    owner = {"jaxsnn": identity, "jax": jax}[package]
    version = owner.__version__
    monkeypatch.setattr(owner, "__version__", "99.0")
    config = TrainConfig(epochs=1, timesteps=1, batch_size=32)
    message = f"another run: {package} was '{version}' and is '99.0'"
    with pytest.raises(ValueError, match=re.escape(message)):
        fit(network(), few_digits(), config, checkpoint_dir=finished)


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_corrupt_checkpoint_is_refused(tmp_path, damage):
    config = TrainConfig(epochs=1, timesteps=1, batch_size=32)
    fit(network(), few_digits(), config, checkpoint_dir=tmp_path)
    files = sorted((f for f in (tmp_path / "last").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    largest = files[-1]
    content = bytearray(largest.read_bytes())
    if damage == "truncate":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 0x55
        largest.write_bytes(content)
    else:
        largest.unlink()
    net = network()
    before = weights(net)
    with pytest.raises(ValueError, match="is corrupt and cannot be used"):
        fit(net, few_digits(), config, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match="is corrupt and cannot be used"):
        load_checkpoint(net, tmp_path, which="last")
    assert weights(net) == before
