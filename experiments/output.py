"""What an experiment returns, and how it is written: all of it, or nothing."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from experiments.pieces import Piece
from jaxsnn.codesign.charts import Chart
from jaxsnn.codesign.on_chip import with_spread
from jaxsnn.codesign.table import Table
from jaxsnn.data.dataset import Dataset
from jaxsnn.learning.identity import identity
from jaxsnn.learning.lock import locked
from jaxsnn.learning.training import EpochMetrics, Penalty, TrainConfig, TrainResult, Transform, fit
from jaxsnn.network import Network


@dataclass(frozen=True)
class Result:
    """What an experiment found.

    - `inputs`: what the numbers depend on beside the config, such as a data set's fingerprint.
    - `numbers`: JSON-able, units in the names, fractions never percent.
    - `tables`, `figures` (by file name), `charts`: the same for people.
    - `verdict`: what was found, in plain words.
    - `files`: more files beside the report, by name.
    """

    title: str
    inputs: dict[str, Any]
    numbers: dict[str, Any]
    tables: Sequence[Table]
    figures: dict[str, Figure] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    verdict: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Where a run keeps its files, and how it talks: the one argument of every experiment.

    `shared` is a folder of checkpoints that other runs may go on from; None keeps them in `folder`. `fresh`
    forgets them. `piece` is the time that there is.
    """

    folder: Path
    console: Console
    shared: Path | None = None
    fresh: bool = False
    piece: Piece = field(default_factory=Piece)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def fit(
        self,
        network: Network,
        dataset: Dataset,
        training: TrainConfig,
        *,
        checkpoint_dir: Path,
        transform: Transform | None = None,
        penalty: Penalty | None = None,
    ) -> TrainResult:
        """[`fit`][jaxsnn.learning.training.fit] with progress, which pauses where the time is over."""

        def saved(metrics: EpochMetrics) -> None:
            if metrics.epoch < training.epochs:
                self.piece.saved()

        self.piece.mark()
        return fit(
            network,
            dataset,
            training,
            checkpoint_dir=checkpoint_dir,
            transform=transform,
            penalty=penalty,
            on_epoch=saved,
            progress=True,
        )

    def fitted(
        self,
        network: Network,
        dataset: Dataset,
        training: TrainConfig,
        transform: Transform | None = None,
    ) -> TrainResult:
        """[`fit`][], with checkpoints that belong to what they depend on: the
        initial network, the data and the training, whatever else a config says."""
        said = json.dumps(identity(network, dataset, training, transform), sort_keys=True)
        folder = (self.shared or self.checkpoints) / hashlib.sha256(said.encode()).hexdigest()[:16]
        if self.fresh:
            _forget(folder)
        return self.fit(network, dataset, training, transform=transform, checkpoint_dir=folder)

    def progress(self) -> Progress:
        """A progress bar that fits 80 columns."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )


def require_different(seeds: Sequence[int]) -> None:
    """**Raises:** `ValueError` for a seed that is given twice: one network would count as two."""
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ, one for each network, got {tuple(seeds)}.")


def _forget(folder: Path) -> None:
    """Remove the checkpoints of a training.

    **Raises:** `OSError` where another run is at it, which would lose its epochs and end in the middle.
    """
    with locked(folder, "give another folder with --out"):
        for held in folder.iterdir():
            if held.is_dir():
                shutil.rmtree(held)
            elif held.name != ".lock":
                held.unlink()


def inputs(dataset: Dataset, seed: int | Sequence[int], **trainings: TrainConfig) -> dict[str, Any]:
    """What numbers were made from: the data by name and content, the seed, and every training by name."""
    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset.fingerprint,
        "test_images": len(dataset.test_labels),
        "seed": seed,
        **{name: training.facts() for name, training in trainings.items()},
    }


def mean_and_spread(accuracies: Any) -> str:
    """Mean ± standard deviation over chips, as tables have it; one chip shows none."""
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return with_spread(float(np.mean(accuracies)), spread)
