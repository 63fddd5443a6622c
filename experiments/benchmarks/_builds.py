"""An older build of this project beside this one: processes of their own, in turns."""

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

OLDER_BUILD = "d060ba4"
ROOT = Path(__file__).parents[2]

Measure = Callable[[Path, Path], dict[str, float]]
"""`(build, empty folder) -> numbers by what they are`."""


def beside_older(measure: Measure, rounds: int) -> dict[str, Any]:
    """The least of each number of all rounds for both builds, and its ratio; and what the builds are."""
    with tempfile.TemporaryDirectory() as folder:
        older = Path(folder) / "older"
        git("worktree", "add", "--detach", str(older), OLDER_BUILD)
        _name(older)
        try:
            folders = {"older": older, "this": ROOT}
            found: dict[str, dict[str, float]] = {name: {} for name in folders}
            for number in range(rounds):
                for name, build in folders.items():
                    for what, value in measure(build, Path(folder) / f"{name}-{number}").items():
                        found[name][what] = min(value, found[name].get(what, value))
        finally:
            git("worktree", "remove", "--force", str(older))
    rows = [
        {"what": what, "older": value, "this": found["this"][what], "ratio": found["this"][what] / value}
        for what, value in found["older"].items()
    ]
    return {"rows": rows, "builds": {"older": OLDER_BUILD, "this": git("rev-parse", "--short", "HEAD")}}


def _name(build: Path) -> None:
    """Lets a build that is not installed find its own version, as its results name it."""
    project = tomllib.loads((build / "pyproject.toml").read_text())["project"]
    facts = build / f"{project['name']}-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )


def python(build: Path, script: str, *arguments: str, cache: Path | None = None) -> str:
    """The last line that a script prints in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    if cache is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=build,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def git(*arguments: str) -> str:
    """What git says about this project."""
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
