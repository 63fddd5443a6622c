"""The benchmark of the tests: both builds run those that both have."""

from pathlib import Path
from subprocess import CompletedProcess

import pytest

from experiments.benchmarks import tests as benchmark


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    """Builds of a few tests, without a run; what each was asked to run."""
    asked, status = {}, {"code": 0}

    def run(build, *arguments, **environment):
        if "--collect-only" in arguments:
            gone = ["tests/test_a.py::test_gone"] if build == tmp_path else ["tests/test_a.py::test_new"]
            lines = ["tests/test_a.py::test_kept[a b]", *gone, "", "2 tests collected"]
            return CompletedProcess([], 0, "\n".join(lines))
        asked[build] = Path(arguments[-1].removeprefix("@")).read_text()
        assert environment["JAX_COMPILATION_CACHE_DIR"]
        return CompletedProcess([], status["code"], "1 failed")

    def beside_older(measure, rounds):
        older = measure(tmp_path, tmp_path / "older-0")
        this = measure(benchmark.ROOT, tmp_path / "this-0")
        return {"rows": [older, this], "builds": {"older": "old", "this": "new"}}

    monkeypatch.setattr(benchmark, "_pytest", run)
    monkeypatch.setattr(benchmark, "beside_older", beside_older)
    return asked, status


def test_both_builds_run_what_both_have(pretended):
    asked, _ = pretended
    found = benchmark.run()
    assert list(asked.values()) == ["tests/test_a.py::test_kept[a b]"] * 2
    assert all(row["tests, wall s"] >= 0 for row in found["rows"])
    assert "Of the older build's 2 tests the 1 that are there" in found["notes"][1]


def test_a_failing_test_is_no_measurement(pretended):
    _, status = pretended
    status["code"] = 1
    with pytest.raises(RuntimeError, match="1 failed"):
        benchmark.run()
