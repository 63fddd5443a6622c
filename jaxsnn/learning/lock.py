"""A folder for one process at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None  # type: ignore[assignment]  # A module elsewhere.


@contextlib.contextmanager
def locked(folder: Path, remedy: str) -> Iterator[Path]:
    """The folder, created when absent, for this process alone, until the block or the process ends.

    **Arguments:** `remedy`: what errors advise, e.g. "give another folder with --out".

    **Raises:** `OSError` for a folder that another run holds, or that cannot be written to.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise OSError(f"{folder} cannot be written to ({error.strerror}); {remedy}.") from error
    with lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OSError(f"another run is writing into {folder}; wait for it, or {remedy}.") from error
        try:
            yield folder
        finally:
            # A run that wrote nothing leaves nothing.
            if [path.name for path in folder.iterdir()] == [".lock"]:
                (folder / ".lock").unlink()
                if made:
                    folder.rmdir()
