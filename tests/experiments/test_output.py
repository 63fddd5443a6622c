"""Results are written whole or not at all."""

import io
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from experiments.figures.png import png
from experiments.output import Run
from jaxsnn.codesign import page
from jaxsnn.codesign.provenance import all_or_nothing, saving, write_json
from jaxsnn.codesign.table import Table
from jaxsnn.learning.config import TrainConfig
from jaxsnn.learning.lock import locked
from tests.jaxsnn.small_runs import dense, few_digits


def test_files_appear_together(tmp_path):
    with all_or_nothing(tmp_path / "run") as scratch:
        (scratch / "result.json").write_text("{}")
        (scratch / "figure.png").write_bytes(b"x")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".partial"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["figure.png", "result.json"]


def test_a_failure_leaves_the_earlier_result_alone(tmp_path):
    (tmp_path / "result.json").write_text("earlier")

    def fail_halfway():
        with all_or_nothing(tmp_path) as scratch:
            (scratch / "result.json").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "earlier"


KILLED = """
import os, pathlib, signal, sys
from jaxsnn.codesign.provenance import all_or_nothing

replace, left = pathlib.Path.replace, int(sys.argv[2])

def replace_and_die(path, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return replace(path, target)

pathlib.Path.replace = replace_and_die
with all_or_nothing(pathlib.Path(sys.argv[1])) as scratch:
    for name in ("report.html", "result.csv", "result.json"):
        (scratch / name).write_text("new")
"""


@pytest.mark.parametrize("moved", [0, 2])
def test_killed_over_an_older_result_no_result_vouches_for_files_of_another(tmp_path, moved):
    for name in ("report.html", "result.csv", "result.json"):
        (tmp_path / name).write_text("old")
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(moved)])
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists()
    with all_or_nothing(tmp_path) as scratch:
        (scratch / "result.json").write_text("newer")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_of_two_processes_that_save_into_one_folder_the_second_is_refused(tmp_path):
    second = (
        "import pathlib, sys; from jaxsnn.codesign.provenance import saving\n"
        "saving(pathlib.Path(sys.argv[1]), 'an evaluation').__enter__()"
    )
    with saving(tmp_path / "out", "an evaluation") as scratch:
        (scratch / "result.json").write_text('{"numbers": {"chips": {}}}')
        process = subprocess.run(
            [sys.executable, "-c", second, str(tmp_path / "out")], capture_output=True, text=True
        )
        assert process.returncode == 1
        assert "another run is writing into" in process.stderr.splitlines()[-1]
        assert process.stderr.splitlines()[-1].endswith("wait for it, or give another folder.")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("held", "kind", "message"),
    [
        (
            '{"experiment": "digits", "numbers": {"chips": {}}}',
            "an evaluation",
            "holds a run of digits, and an",
        ),
        (
            '{"experiment": "digits", "numbers": {}}',
            "a run of search",
            "holds a run of digits, and a run of s",
        ),
        ('{"numbers": {"chips": {}}}', "a comparison", "holds an evaluation, and a comparison would mix"),
        ('{"compared": ["a", "b"], "numbers": {}}', "an evaluation", "holds a comparison"),
        ("{", "an evaluation", "holds a result.json that cannot be read"),
        ('{"numbers": {}}', "an evaluation", "holds another program's result, .*; give another folder"),
    ],
)
def test_a_folder_keeps_a_result_of_another_kind(tmp_path, held, kind, message):
    (tmp_path / "result.json").write_text(held)
    with pytest.raises(ValueError, match=message):
        saving(tmp_path, kind).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == held


def test_json_takes_arrays_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": np.arange(3), "y": np.float32(0.5)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": [0, 1, 2], "y": 0.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"x": float("nan")})


@pytest.mark.parametrize("width", [30, 50, 200])
def test_a_table_wider_than_the_terminal_is_printed_in_parts(width):
    columns = ["layer", *(f"column_{index}" for index in range(9))]
    table = Table("Shares", columns, [["conv1", *(f"+0.{index}21" for index in range(9))]], note="end")
    console = Console(file=io.StringIO(), width=width)
    table.print(console)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = [word for line in lines for word in line.replace("│", " ").replace("┃", " ").split()]
    for cell in (*columns[1:], *table.rows[0][1:]):
        assert words.count(cell) == 1
    assert words.count("conv1") == words.count("layer") == sum("┡" in line for line in lines)
    assert (words[0], words[-1]) == ("Shares", "end")
    assert (sum("┡" in line for line in lines) > 1) == (width < 200)


def test_the_report_needs_no_other_file_and_escapes():
    figure = Figure()
    figure.subplots().plot([0, 1])
    table = Table("t", ["name", "value"], [["<script>", "1"]], note="x & y")
    text = page.render("a < b", [table], {"seed": 0}, figures={"line": png(figure)}, config="a.b = 1")
    assert "<script>1" not in text
    assert "&lt;script&gt;" in text
    assert "data:image/png;base64," in text
    assert "http" not in text
    assert "a.b = 1" in text


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    with locked(tmp_path / "out", "use --out"):
        again = locked(tmp_path / "out", "use --out")
        with pytest.raises(OSError, match=r"another run is writing into .*, or use --out"):
            again.__enter__()
    with locked(tmp_path / "out", "use --out"):
        pass


def test_a_fresh_run_takes_no_checkpoints_from_one_that_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "fit", lambda self, *_, checkpoint_dir, **settings: checkpoint_dir)
    run = Run(tmp_path, Console(), shared=tmp_path / "checkpoints", fresh=True)
    work = dense(), few_digits(), TrainConfig(epochs=1)
    folder = run.fitted(*work)
    (folder / "last" / "1").mkdir(parents=True)
    with locked(folder, "wait"), pytest.raises(OSError, match="another run is writing into"):
        run.fitted(*work)
    assert (folder / "last" / "1").is_dir()
    assert run.fitted(*work) == folder
    assert not (folder / "last").exists()


def test_a_lock_that_was_removed_keeps_nobody_out(tmp_path):
    """As when the folder's last holder ends between the opening of its lock and the locking."""
    with locked(tmp_path, "use --out"):
        (tmp_path / ".lock").unlink()
        with locked(tmp_path, "use --out"):
            again = locked(tmp_path, "use --out")
            with pytest.raises(OSError, match="another run"):
                again.__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_noticed_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file cannot be written to \(it is a file\); use --out"):
        locked(tmp_path / "file", "use --out").__enter__()
    folder = locked(tmp_path / "file" / "out", "use --out")
    with pytest.raises(OSError, match=r"cannot be written to .*; use --out"):
        folder.__enter__()
