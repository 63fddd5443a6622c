"""The progress bar of training."""

import time
from typing import Any

import numpy as np


class Progress:
    """A rich bar over all batches with the metrics of the epoch that runs, or nothing."""

    def __init__(self, show: bool, epochs: int, batches: int, batch_size: int, resumed: int = 0):
        self.bar = None
        if show:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            # Fits 80 columns.
            self.bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(6),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self.epochs, self.batches, self.batch_size = epochs, batches, batch_size
            self.task = self.bar.add_task("", total=epochs * batches, epoch=f"{resumed}/{epochs}")
            self.tested, self.resumed = "", resumed

    def _begin(self) -> None:
        self.began, self.finished, self.sums = time.perf_counter(), 0, np.zeros(4)

    def __enter__(self):
        if self.bar is not None:
            if self.resumed:
                self.bar.console.print(f"{self.resumed} of {self.epochs} epochs restored from a checkpoint")
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
            epoch=f"{epoch + 1}/{self.epochs}",
            description=f"loss {loss:.3f} acc {accuracy:.1%}{self.tested} spikes {spike_rate:.0%} "
            f"{_short(speed)}/s",
        )

    def epoch(self, metrics: Any) -> None:
        """Show a finished epoch, until the next one's first batch."""
        if self.bar is None:
            return
        self.tested = f" test {metrics.test_accuracy:.1%}"
        self.bar.update(
            self.task,
            completed=metrics.epoch * self.batches,
            epoch=f"{metrics.epoch}/{self.epochs}",
            description=f"loss {metrics.loss:.3f} acc {metrics.train_accuracy:.1%}{self.tested} "
            f"spikes {metrics.spike_rate:.0%} {_short(metrics.images_per_second)}/s",
        )
        self._begin()


def _short(speed: float) -> str:
    """Images per second in four characters."""
    return f"{speed:.0f}" if speed < 9999.5 else f"{speed / 1000:.0f}k"
