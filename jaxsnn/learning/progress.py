"""The progress bar of training."""

from typing import Any


class Progress:
    """A rich bar over all batches with the last epoch's metrics, or nothing."""

    def __init__(self, show: bool, epochs: int, batches: int):
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
            self.batches = batches

    def __enter__(self):
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.stop()

    def batch(self, epoch: int, totals: list) -> None:
        if self.bar is not None:
            self.bar.update(self.task, completed=epoch * self.batches + len(totals))

    def epoch(self, metrics: Any) -> None:
        if self.bar is not None:
            self.bar.update(
                self.task,
                description=f"loss {metrics.loss:.3f}  test {metrics.test_accuracy:.1%}  "
                f"spikes {metrics.spike_rate:.1%}  {metrics.images_per_second:.0f} images/s",
            )
