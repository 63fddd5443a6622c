"""The progress bar of training."""

import time
from typing import Any

import numpy as np


class Progress:
    """A rich bar over all batches with the metrics of the epoch that runs, or nothing."""

    def __init__(self, show: bool, epochs: int, batches: int, batch_size: int):
        self.bar = None
        if show:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self.task = self.bar.add_task("", total=epochs * batches)
            self.batches, self.batch_size = batches, batch_size
            self.tested = ""

    def _begin(self) -> None:
        self.began, self.finished, self.sums = time.perf_counter(), 0, np.zeros(4)

    def __enter__(self):
        if self.bar is not None:
            self.bar.start()
            self._begin()
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.stop()

    def batch(self, epoch: int, totals: list) -> None:
        """Show the means over those batches of the epoch that have finished; none is waited for.

        **Arguments:** `totals`: (loss, accuracy, spike rate, penalty) of each batch that was started.
        """
        if self.bar is None:
            return
        while self.finished < len(totals) and totals[self.finished].is_ready():
            self.sums += np.asarray(totals[self.finished])
            self.finished += 1
        if self.finished == 0:
            return
        loss, accuracy, spike_rate, _ = self.sums / self.finished
        speed = self.finished * self.batch_size / (time.perf_counter() - self.began)
        self.bar.update(
            self.task,
            completed=epoch * self.batches + self.finished,
            description=f"loss {loss:.3f}  accuracy {accuracy:.1%}  spikes {spike_rate:.1%}  "
            f"{speed:.0f} images/s{self.tested}",
        )

    def epoch(self, metrics: Any) -> None:
        """Show a finished epoch, until the next one's first batch."""
        if self.bar is None:
            return
        self.tested = f"  last test {metrics.test_accuracy:.1%}"
        self.bar.update(
            self.task,
            completed=metrics.epoch * self.batches,
            description=f"loss {metrics.loss:.3f}  test {metrics.test_accuracy:.1%}  "
            f"spikes {metrics.spike_rate:.1%}  {metrics.images_per_second:.0f} images/s",
        )
        self._begin()
