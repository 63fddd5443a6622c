"""What an experiment returns, and how it is written: all of it, or nothing."""

import contextlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as RichTable

from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.training import TrainConfig

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


@dataclass(frozen=True)
class Table:
    """A table as people read it: the cells are formatted text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def print(self, console: Console) -> None:
        """Prints it; if it is too wide, columns that fit beside the first one at a time."""
        parts = [[0] if self.columns else []]
        room = console.options.update(max_width=sys.maxsize)
        for column in range(1, len(self.columns)):
            wider = self._of([*parts[-1], column])
            if len(parts[-1]) > 1 and console.measure(wider, options=room).minimum > console.width:
                parts.append([0])
            parts[-1].append(column)
        for part in parts:
            table = self._of(part)
            table.title = self.title if part is parts[0] else None
            table.caption = self.note or None if part is parts[-1] else None
            console.print(table)

    def _of(self, columns: Sequence[int]) -> RichTable:
        table = RichTable(title_justify="left")
        for column in columns:
            texts = [self.columns[column], *(row[column] for row in self.rows)]
            table.add_column(
                self.columns[column],
                justify="right" if column else "left",
                overflow="fold",
                # The library would fold a long word before it breaks a sentence.
                no_wrap=not any(" " in text for text in texts),
            )
        for row in self.rows:
            table.add_row(*(row[column] for column in columns))
        return table


def console() -> Console:
    """The terminal; a log, which has no width, is wide."""
    found = Console()
    if not found.is_terminal:
        found.width = 200
    return found


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    - `inputs`: what the numbers depend on beside the config, such as a data set's fingerprint.
    - `numbers`: JSON-able, units in the names, fractions never percent.
    - `tables`, `figures` (by file name): the same for people.
    """

    title: str
    inputs: dict[str, Any]
    numbers: dict[str, Any]
    tables: Sequence[Table]
    figures: dict[str, Figure] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Where a run keeps its files, and how it talks: the one argument of every experiment."""

    folder: Path
    console: Console

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


def inputs(dataset: Dataset, seed: int | Sequence[int], **trainings: TrainConfig) -> dict[str, Any]:
    """What numbers were made from: the data by name and content, the seed, and every training by name."""
    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset.fingerprint,
        "test_images": len(dataset.test_labels),
        "seed": seed,
        **{name: asdict(training) for name, training in trainings.items()},
    }


def machine() -> dict[str, Any]:
    """The device and the versions that numbers were made with."""
    device = jax.devices()[0]
    return {
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
    }


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
