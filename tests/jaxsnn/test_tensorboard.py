"""The event file holds the history, once, also after a resume."""

import struct
import sys
from dataclasses import asdict

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxsnn.learning.training import TrainConfig, fit
from tests.jaxsnn.small_runs import dense, few_digits

CONFIG = TrainConfig(epochs=2, timesteps=1, batch_size=32, validation=0.25)


def scalars(folder):
    """`(step, name) -> value` of the folder's only event file of length, checksum, event, checksum, ..."""
    (path,) = folder.iterdir()
    content, at, found = path.read_bytes(), 0, {}
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + length])
        at += 12 + length + 4
        for value in event.summary.value:
            assert (event.step, value.tag) not in found
            found[event.step, value.tag] = value.simple_value
    return found


def expected(history):
    return {
        (line.epoch, name): np.float32(value)
        for line in history
        for name, value in asdict(line).items()
        if name != "epoch" and value is not None
    }


def test_the_event_file_is_the_history(tmp_path):
    result = fit(dense(), few_digits(), CONFIG, tensorboard_dir=tmp_path)
    found = scalars(tmp_path)
    assert found == expected(result.history)
    assert len(found) == 2 * 8


def test_a_resumed_run_writes_every_epoch_once(tmp_path):
    class Killed(BaseException):
        pass

    def kill(metrics):
        raise Killed

    folders = {"checkpoint_dir": tmp_path / "run", "tensorboard_dir": tmp_path / "events"}
    with pytest.raises(Killed):
        fit(dense(), few_digits(), CONFIG, on_epoch=kill, **folders)
    assert {step for step, _ in scalars(folders["tensorboard_dir"])} == {1}
    other = folders["tensorboard_dir"] / "events.out.tfevents.1.other"
    other.write_bytes(b"of another program")
    result = fit(dense(), few_digits(), CONFIG, **folders)
    assert result.resumed_epochs == 1
    assert other.read_bytes() == b"of another program"
    other.unlink()
    assert scalars(folders["tensorboard_dir"]) == expected(result.history)


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r"tensorboard_dir needs: pip install 'spikechip\[tensorboard\]'"):
        fit(dense(), few_digits(), CONFIG, tensorboard_dir=tmp_path)
    fit(dense(), few_digits(), CONFIG)
