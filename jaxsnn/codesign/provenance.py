"""What a result was made with, and files that are written whole or not at all."""

import contextlib
import csv
import datetime
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxsnn import __version__
from jaxsnn.learning.identity import described
from jaxsnn.learning.lock import locked

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "equinox",
    "numpy",
    "scikit-learn",
)


def machine() -> dict[str, Any]:
    """The device and the versions that numbers were made with."""
    device = jax.devices()[0]
    return {
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            "spikechip": __version__,
            **{name: found for name in PACKAGES if (found := _version(name)) is not None},
        },
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def processor() -> str | None:
    """What the CPU is called, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or None)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the source tree that this package runs from, "+" behind it where files were changed; None
    for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def parameters(design: Any) -> Any:
    """Every parameter of a chip and of its parts by name, as JSON; a part says its class under "class"."""
    if is_dataclass(design) and not isinstance(design, type):
        found = {each.name: getattr(design, each.name) for each in fields(design) if each.init}
        return {"class": type(design).__name__} | parameters(found)
    if isinstance(design, Mapping):
        return {str(name): parameters(part) for name, part in design.items()}
    if isinstance(design, list | tuple):
        return [parameters(part) for part in design]
    if isinstance(design, Enum):
        return design.value
    if isinstance(design, np.generic | np.ndarray | jax.Array) and design.size <= _MOST_NUMBERS:
        return parameters(plain(design))
    if isinstance(design, float) and not math.isfinite(design):
        return str(design)  # JSON has no such numbers.
    return design if design is None or isinstance(design, bool | int | float | str) else described(design)


_MOST_NUMBERS = 64
"""Of an array that is written out; a larger one is known by its hash."""


def plain(value: Any) -> Any:
    """An array as lists, for JSON."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return np.asarray(value).tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON.")


def write_json(path: Path, content: Any) -> None:
    """Write JSON that another program can read: no NaN, and arrays as lists."""
    path.write_text(json.dumps(content, indent=1, default=plain, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that have the columns of the first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


_FILES = ("result.json", "result.csv", "report.html")
"""What a result consists of, first what vouches for the others."""


@contextlib.contextmanager
def all_or_nothing(folder: Path):
    """A scratch folder whose files move to `folder` when the block ends well, and vanish when it does not.

    An older `result.json` goes first and the new one moves last, so that its presence says that the rest is
    there and belongs to it.
    """
    scratch = folder / ".partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        for path in sorted(scratch.iterdir(), key=lambda path: path.name == "result.json"):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def saving(folder: Path, kind: str, remedy: str = "give another folder") -> Iterator[Path]:
    """[`all_or_nothing`][], for this process alone, in a folder that holds no result of another kind.

    **Arguments:** `kind`: what is written, as [`require_room`][] has it. `remedy`: what errors advise.

    **Raises:** `OSError` for a folder that another process writes into, or that cannot be written to;
    `ValueError` for one that holds another kind of result.
    """
    with locked(folder, remedy):
        require_room(folder, kind, remedy)
        with all_or_nothing(folder) as scratch:
            yield scratch


def require_room(folder: Path, kind: str, remedy: str) -> None:
    """**Raises:** `ValueError` for a folder with a result that is not of the kind, e.g. "an evaluation",
    "a comparison" or "a run of digits": its other files would stay, and seem to belong to the new one."""
    path = folder / "result.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        found = None
    held = _kind_of(found)
    if held != kind:
        raise ValueError(
            f"{folder} holds {held}, and {kind} would mix with it; {remedy}, or remove this one."
        )


def _kind_of(result: Any) -> str:
    """By what each kind alone has."""
    if not isinstance(result, dict):
        return "a result.json that cannot be read"
    if "experiment" in result:
        return f"a run of {result['experiment']}"
    if "compared" in result:
        return "a comparison"
    numbers = result.get("numbers")
    return "an evaluation" if isinstance(numbers, dict) and "chips" in numbers else "another program's result"
