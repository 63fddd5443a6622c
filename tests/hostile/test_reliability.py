"""Kills at any moment, two runs in one folder, full disks: nothing half-written, the same bits after all."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxsnn.codesign.provenance import all_or_nothing, write_json
from jaxsnn.learning import lock
from tests.hostile.invariant import TALLY

KILLS = int(os.environ.get("HOSTILE_KILLS", "50"))
"""How often trainings and evaluations are killed in the long run."""

TRAIN = """
import sys
from jaxsnn.learning.training import TrainConfig, fit
from tests.jaxsnn.small_runs import dense, few_digits, weights

network = dense()
config = TrainConfig(epochs=12, timesteps=1, batch_size=16, seed=3)
print("begun", flush=True)
fit(network, few_digits(), config, checkpoint_dir=sys.argv[1])
print(weights(network), flush=True)
"""


WRITE = """
import importlib.util, pathlib, sys, time

spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
folder = pathlib.Path(sys.argv[2])
sys.stdin.read()  # until both are there
try:
    with lock.locked(folder, "use another folder"):
        for part in range(4):
            (folder / f"part{part}").write_text(sys.argv[3])
            time.sleep(0.01)
except OSError as error:
    sys.exit(str(error))
"""


def together(folder):
    """Two processes that write the same files at the same moment: their exit codes, and what they said."""
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, lock.__file__, str(folder), name],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for process in pair:
        process.stdin.close()
    said = [process.stderr.read() for process in pair]
    return sorted(process.wait(60) for process in pair), "".join(said)


@pytest.mark.parametrize("pairs", [3, pytest.param(100, marks=pytest.mark.long)])
def test_of_two_runs_in_one_folder_one_writes_all_and_the_other_says_so(tmp_path, pairs):
    for number in range(pairs):
        folder = tmp_path / str(number)
        codes, said = together(folder)
        # Unless the first had ended before the second began.
        assert codes in ([0, 1], [0, 0]), said
        assert (codes == [0, 1]) == ("another run is writing into" in said)
        written = {path.read_text() for path in folder.glob("part*")}
        assert len(list(folder.glob("part*"))) == 4
        assert len(written) == 1
        TALLY["two runs in one folder"]["right"] += 1


@pytest.mark.parametrize("seed", range(20))
def test_a_full_disk_leaves_the_result_before(tmp_path, monkeypatch, seed):
    def save(value):
        with all_or_nothing(tmp_path) as scratch:
            for index in range(6):
                (scratch / f"part{index}").write_text(value)
            write_json(scratch / "result.json", {"value": value})

    save("old")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write, left = Path.write_text, int(np.random.default_rng(seed).integers(7))

    def full(path, text, *arguments, **settings):
        nonlocal left
        left -= 1
        if left < 0:
            write(path, text[: len(text) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, text, *arguments, **settings)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        save("new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    TALLY["full disks"]["right"] += 1


@pytest.mark.long
def test_a_training_killed_at_random_moments_ends_in_the_same_bits(tmp_path):
    def start(folder):
        return subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    began = time.monotonic()
    whole, _ = start(tmp_path / "whole").communicate()
    seconds = time.monotonic() - began
    assert whole.startswith("begun")
    random, kills, run = np.random.default_rng(0), 0, 0
    while kills < KILLS:
        folder = tmp_path / f"killed{run}"
        run += 1
        printed = ""
        while printed.count("\n") != 2:
            process = start(folder)
            # The last of a run's starts may live; so every run ends.
            wait = seconds * random.uniform(0.1, 1.3) if kills < KILLS else None
            try:
                printed, _ = process.communicate(timeout=wait)
                assert process.returncode == 0
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                TALLY["killed trainings"]["killed"] += 1
        assert printed == whole
        TALLY["killed trainings"]["right"] += 1
        assert not list(folder.glob("**/.writing-*"))


@pytest.mark.long
def test_an_evaluation_killed_at_random_moments_leaves_nothing_half_written(tmp_path):
    random = np.random.default_rng(0)

    def start(folder):
        words = ["evaluate", "--network", "mlp", "--data", "digits", "--epochs", "1", "--chip", "spikeflow"]
        words += ["--draws", "1", "--timesteps", "2", "--out", folder]
        return subprocess.Popen(
            [sys.executable, "-m", "experiments", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def told(folder):
        result = json.loads((folder / "result.json").read_text())
        assert (folder / "report.html").read_text().rstrip().endswith("</html>")
        return json.dumps(result["numbers"], sort_keys=True)

    start(tmp_path / "first").communicate()  # Compiles, and keeps what it compiled.
    began = time.monotonic()
    whole = start(tmp_path / "whole")
    said = whole.communicate()
    assert whole.returncode == 0, said
    seconds, expected = time.monotonic() - began, told(tmp_path / "whole")
    folder, kills = tmp_path / "killed", 0
    while kills < KILLS:
        process = start(folder)
        try:
            # Mostly near the end, where files are written.
            process.communicate(timeout=seconds * (1 - random.beta(1, 4)))
            assert process.returncode == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        if folder.exists() and (folder / "result.json").exists():
            assert told(folder) == expected
            TALLY["killed evaluations"]["right"] += 1
            shutil.rmtree(folder)
        else:
            assert not folder.exists() or not [p for p in folder.iterdir() if not p.name.startswith(".")]
            TALLY["killed evaluations"]["nothing"] += 1
    assert not (folder / "result.json").exists()
    process = start(folder)
    process.communicate()
    assert told(folder) == expected
