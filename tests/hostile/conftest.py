"""As users run: nothing checked but by the code itself, ordinary promotion; and the count at the end."""

import json
import os
from pathlib import Path

import jax
import jaxtyping
import pytest

from jaxsnn.codesign.provenance import machine, write_json
from tests.hostile.invariant import TALLY


@pytest.fixture(autouse=True)
def _as_users_run(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with jax.numpy_dtype_promotion("standard"):
        yield


def pytest_terminal_summary(terminalreporter, config):
    if not TALLY:
        return
    total = {name: dict(counts) | {"tried": sum(counts.values())} for name, counts in TALLY.items()}
    everything = {
        key: sum(c.get(key, 0) for c in total.values()) for key in ("tried", "right", "refused", "altered")
    }
    terminalreporter.section("situations")
    for name, counts in [*sorted(total.items()), ("all", everything)]:
        terminalreporter.line(f"{name:<32}" + "  ".join(f"{key} {counts.get(key, 0)}" for key in everything))
    stored = config.cache.mkdir("hostile") / "tally.json"
    stored.write_text(json.dumps(total | {"all": everything}, indent=1) + "\n")
    terminalreporter.line(f"stored in {stored}")
    if kept := os.environ.get("HOSTILE_RESULT"):
        keep(Path(kept), total)


def keep(path, total):
    """The counts of these subjects, beside those of others that were tried before, as a benchmark's rows."""
    rows = {row["what"]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}
    rows |= {name: {"what": name, **counts} for name, counts in total.items()}
    result = {"title": "Situations, damaged files, kills and full disks", "rows": list(rows.values())}
    write_json(path, result | machine())
