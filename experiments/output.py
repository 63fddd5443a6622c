"""What an experiment returns, and how it is written: all of it, or nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console

from jaxsnn.codesign.table import Table
from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.training import TrainConfig


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
