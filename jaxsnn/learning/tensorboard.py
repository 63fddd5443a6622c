"""A run's metrics as TensorBoard scalars."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

_SUFFIX = ".jaxsnn"


@contextmanager
def scalars(directory: str | PathLike | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that writes one epoch's metrics, at step `epoch`, to an event file in `directory`.

    The file replaces the one an earlier call left there: a resumed run writes its restored epochs again. With
    None as directory nothing is written.

    **Raises:** `ImportError` when tensorboardX is missing.
    """
    if directory is None:
        yield lambda metrics: None
        return
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError("tensorboard_dir needs: pip install 'spikechip[tensorboard]'.") from error

    for old in Path(directory).glob(f"events.out.tfevents.*{_SUFFIX}"):
        old.unlink()
    # The purge makes a TensorBoard that is already open forget what the replaced file held.
    with SummaryWriter(str(directory), purge_step=1, flush_secs=1, filename_suffix=_SUFFIX) as writer:

        def write(metrics: Mapping[str, Any]) -> None:
            for name, value in metrics.items():
                if name != "epoch" and value is not None:
                    writer.add_scalar(name, value, metrics["epoch"])

        yield write
