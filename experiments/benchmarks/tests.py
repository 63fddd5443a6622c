"""How long the tests take that an older build of this project has and this one still has, in both.

Both builds start without compiled programs, use two workers as `.ci/run` does, and run one after the other. A
test counts as the same by its path, name and parameters.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.benchmarks._builds import ROOT, beside_older


def run() -> dict[str, Any]:
    """Wall and processor time of the tests that both builds have, and how many there are."""
    names: dict[str, list[str]] = {}

    def measure(build: Path, folder: Path) -> dict[str, float]:
        # The older build comes first.
        if not names:
            names["older"], here = _collected(build), set(_collected(ROOT))
            names["both"] = [name for name in names["older"] if name in here]
        return _measured(build, folder, names["both"])

    found = beside_older(measure, rounds=1)
    notes = [
        f"Older: {found['builds']['older']}. This: {found['builds']['this']}.",
        f"Of the older build's {len(names['older']):,} tests the {len(names['both']):,} that are there by "
        "the same name; two workers, nothing compiled before.",
    ]
    return {"title": "Tests that were there before", **found, "notes": notes}


def _measured(build: Path, folder: Path, names: list[str]) -> dict[str, float]:
    folder.mkdir(parents=True)
    listed = folder / "names.txt"
    listed.write_text("\n".join(names))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = _pytest(build, "-n", "2", "-q", f"@{listed}", JAX_COMPILATION_CACHE_DIR=str(folder / "xla"))
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"tests of {build} failed:\n{done.stdout[-3000:]}")
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"tests, wall s": wall, "tests, processor s": worked}


def _collected(build: Path) -> list[str]:
    lines = _pytest(build, "--collect-only").stdout.splitlines()
    return [line for line in lines if "::" in line and line.startswith("tests/")]


def _pytest(build: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=build, env=os.environ | environment, capture_output=True, text=True)
