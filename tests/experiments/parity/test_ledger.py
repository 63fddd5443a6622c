"""A finished row is never measured again, and one of other inputs always is."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from experiments.parity.ledger import Ledger, said
from experiments.pieces import Paused


@pytest.fixture
def counted():
    calls = []

    def compute():
        calls.append(1)
        return {"accuracy": 0.5}

    compute.calls = calls
    return compute


def ledger(folder, *kept, **options):
    return Ledger(folder, kept, Console(file=io.StringIO()), **options)


def test_a_finished_row_is_taken_from_its_file(tmp_path, counted):
    first = ledger(tmp_path).row("one", {"seed": 0}, counted)
    again = ledger(tmp_path).row("one", {"seed": 0}, counted)
    assert first == again == {"accuracy": 0.5}
    assert len(counted.calls) == 1
    record = json.loads((tmp_path / "one.json").read_text())
    assert {"inputs", "device", "commit", "date", "wall_time_s"} <= record.keys()


def test_a_row_names_its_seed_and_its_machine(tmp_path, counted):
    ledger(tmp_path, seed=7).row("one", {"images": 3}, counted)
    record = json.loads((tmp_path / "one.json").read_text())
    assert record["seed"] == 7
    assert record["inputs"] == {"images": 3}
    assert {"device", "commit", "wall_time_s", "date"} <= record.keys()


def test_kept_rows_count_as_finished(tmp_path, counted):
    ledger(tmp_path / "kept").row("one", {"seed": 0}, counted)
    ledger(tmp_path / "new", tmp_path / "kept").row("one", {"seed": 0}, counted)
    assert len(counted.calls) == 1
    assert not (tmp_path / "new").exists()


def test_other_inputs_are_measured_anew(tmp_path, counted):
    ledger(tmp_path).row("one", {"seed": 0}, counted)
    ledger(tmp_path).row("one", {"seed": 1}, counted)
    assert len(counted.calls) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"row": "one"}'])
def test_a_damaged_row_is_measured_anew(tmp_path, counted, text):
    (tmp_path / "one.json").write_text(text)
    assert ledger(tmp_path).row("one", {}, counted) == {"accuracy": 0.5}
    assert len(counted.calls) == 1


def test_a_failure_leaves_no_row(tmp_path):
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        ledger(tmp_path).row("one", {}, fail)
    assert not list(tmp_path.glob("*.json"))


def test_no_row_begins_where_there_is_no_time_and_finished_ones_are_there(tmp_path, counted):
    def over():
        raise Paused

    (tmp_path / "kept").mkdir()
    ledger(tmp_path / "kept").row("one", {}, counted)
    late = ledger(tmp_path, tmp_path / "kept", begin=over)
    assert late.row("one", {}, counted) == {"accuracy": 0.5}
    with pytest.raises(Paused):
        late.row("two", {}, counted)
    assert len(counted.calls) == 1


def test_rows_that_are_not_asked_for_are_named_as_missing(tmp_path, counted):
    only = ledger(tmp_path, make=("table_*",))
    assert only.row("figure_3", {}, counted) is None
    assert only.row("table_1", {}, counted) == {"accuracy": 0.5}
    assert only.missing == ["figure_3"]


def test_a_field_at_its_default_is_not_an_input():
    @dataclasses.dataclass(frozen=True)
    class Before:
        seed: int
        parts: tuple = ()

    later = dataclasses.make_dataclass(
        "Before", [("seed", int), ("parts", tuple, ()), ("added", float, 0.0)], frozen=True
    )
    assert said(Before(1)) == said(later(1)) == {"Before": {"seed": 1}}
    assert said(later(1, (), 0.5)) == {"Before": {"seed": 1, "added": 0.5}}
    assert said({"a": (Before(1), None)}) == {"a": [{"Before": {"seed": 1}}, None]}
