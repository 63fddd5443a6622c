"""When a run pauses, by a clock of the test's own."""

import subprocess
import sys
import time

import pytest

from experiments import __main__, output, pieces, pipeline
from experiments.pieces import Paused, Piece


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(pieces, "time", clock := Clock())
    return clock


def test_a_part_that_would_not_fit_is_not_begun(clock):
    piece = Piece(minutes=10)
    piece.mark()
    for _ in range(2):
        clock.now += 180
        piece.saved()
    clock.now += 180
    with pytest.raises(Paused, match="the same command goes on"):
        piece.saved()


def test_the_longest_part_counts_and_what_lay_between_does_not(clock):
    piece = Piece(minutes=10)
    clock.now += 200
    piece.mark()
    clock.now += 100
    piece.saved()
    clock.now += 20
    piece.saved()
    clock.now += 200
    with pytest.raises(Paused):
        piece.saved()


def test_work_of_unknown_length_begins_in_the_first_half(clock):
    piece = Piece(minutes=1)
    clock.now += 30
    piece.before()
    clock.now += 1
    with pytest.raises(Paused):
        piece.before()


def test_time_that_passed_before_counts(clock):
    Piece(minutes=1, began=clock.now - 30).before()
    with pytest.raises(Paused):
        Piece(minutes=1, began=clock.now - 31).before()


def test_chips_are_not_begun_in_the_second_half_and_a_pause_is_one_line(tmp_path, monkeypatch, capsys):
    def evaluate(*_, **__):
        raise RuntimeError("begun")

    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    monkeypatch.setattr(output.Run, "fitted", lambda *_: None)
    words = ["run", "digits", "--out", str(tmp_path / "out"), "--minutes", "10"]
    assert __main__.main(words, began=time.monotonic() - 301) == __main__.PAUSED
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("paused before the time was over;")
    assert __main__.main(words) == 2
    assert "begun" in capsys.readouterr().err


def test_the_time_of_a_process_begins_with_it():
    """And not behind its imports, which take seconds."""
    told = (
        "import sys, experiments; print([name for name in ('jax', 'numpy', 'flax') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_without_a_limit_nothing_pauses(clock):
    piece = Piece()
    clock.now += 1e9
    piece.saved()
    piece.before()


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf")])
def test_no_time_is_refused(minutes):
    with pytest.raises(ValueError, match="positive number of minutes"):
        Piece(minutes)


def test_a_run_that_starts_over_is_not_cut(capsys):
    assert __main__.main(["run", "digits", "--fresh", "--minutes", "1"]) == 2
    assert "give one of them" in capsys.readouterr().err
