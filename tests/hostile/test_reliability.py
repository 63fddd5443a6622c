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

MAIN_JOB = """
seed = 3
digits.seeds = (%seed,)
digits.draws = 1
digits.conventions = "corrected"
digits.chips = {"SpikeFlow": @Chip(), "SATA": @Accelerator()}
load.name = "digits"
digits_convnet.width = 2
TrainConfig.epochs = 6
TrainConfig.timesteps = 2
"""
"""The main job, small: its folder, its checkpoints and its report are those of any run."""


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


def started(*words):
    """A command of the experiments, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def told(folder):
    """What a result says, but for how long it took and how often it was interrupted."""
    numbers = json.loads((folder / "result.json").read_text())["numbers"]
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    numbers.pop("resumed_epochs", None)
    for epoch in numbers.get("training", ()):
        epoch.pop("images_per_second")
    return json.dumps(numbers, sort_keys=True)


def undisturbed(start, folder):
    """A run that nobody kills: its seconds once everything is compiled, and what it tells."""
    start(folder / "first").communicate()
    began = time.monotonic()
    process = start(folder / "whole")
    said = process.communicate()
    assert process.returncode == 0, said
    return time.monotonic() - began, told(folder / "whole")


@pytest.mark.long
def test_a_main_job_killed_at_random_moments_ends_in_the_same_bits(tmp_path):
    config = tmp_path / "small.gin"
    config.write_text(MAIN_JOB)

    def start(folder):
        return started("run", "digits", "--config", config, "--out", folder)

    seconds, expected = undisturbed(start, tmp_path)
    random, kills, run = np.random.default_rng(0), 0, 0
    while kills < KILLS:
        folder, before = tmp_path / f"killed{run}", kills
        run += 1
        while not (folder / "result.json").exists():
            process = start(folder)
            # The last of a run's starts may live; so every run ends.
            wait = seconds * random.uniform(0.1, 1.3) if kills < KILLS else None
            try:
                said = process.communicate(timeout=wait)
                assert process.returncode == 0, said
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
        assert told(folder) == expected
        assert not list(folder.glob("**/.writing-*"))
        TALLY["killed main jobs"]["right"] += kills - before


@pytest.mark.long
def test_an_evaluation_killed_at_random_moments_leaves_nothing_half_written(tmp_path):
    def start(folder):
        words = ["evaluate", "--network", "mlp", "--data", "digits", "--epochs", "1", "--chip", "spikeflow"]
        return started(*words, "--draws", "1", "--timesteps", "2", "--out", folder)

    seconds, expected = undisturbed(start, tmp_path)
    random, folder, kills = np.random.default_rng(0), tmp_path / "killed", 0
    while kills < KILLS:
        process, killed = start(folder), False
        try:
            # Mostly near the end, where files are written.
            said = process.communicate(timeout=seconds * (1 - random.beta(1, 4)))
            assert process.returncode == 0, said
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed = True
        kills += killed
        if (folder / "result.json").exists():
            assert told(folder) == expected
            shutil.rmtree(folder)
        else:
            assert not folder.exists() or not [p for p in folder.iterdir() if not p.name.startswith(".")]
        TALLY["killed evaluations"]["right"] += killed
    process = start(folder)
    said = process.communicate()
    assert process.returncode == 0, said
    assert told(folder) == expected
