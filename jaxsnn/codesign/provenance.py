"""What a result was made with, and files that are written whole or not at all."""

import contextlib
import datetime
import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGES = (
    "jaxsnn",
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
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name)) is not None},
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


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


def write_json(path: Path, content: Any) -> None:
    """Write JSON that another program can read: no NaN, and arrays as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return np.asarray(value).tolist()
        raise TypeError(f"{type(value).__name__} cannot be written as JSON.")

    path.write_text(json.dumps(content, indent=1, default=plain, allow_nan=False) + "\n")


@contextlib.contextmanager
def all_or_nothing(folder: Path):
    """A scratch folder whose files move to `folder` when the block ends well, and vanish when it does not.

    `result.json` moves last, so that its presence says that the rest is there.
    """
    scratch = folder / ".partial"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for path in sorted(scratch.iterdir(), key=lambda path: path.name == "result.json"):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
