"""Results are written whole or not at all."""

import io
import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from experiments.figures.png import png
from jaxsnn.codesign import page
from jaxsnn.codesign.provenance import all_or_nothing, write_json
from jaxsnn.codesign.table import Table
from jaxsnn.learning.lock import locked


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


def test_a_folder_that_cannot_be_written_to_is_noticed_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    folder = locked(tmp_path / "file" / "out", "use --out")
    with pytest.raises(OSError, match=r"cannot be written to .*; use --out"):
        folder.__enter__()
