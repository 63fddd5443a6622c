"""A folder for one process at a time."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

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
    with _held(folder, remedy) as lock:
        try:
            yield folder
        finally:
            # Windows removes no open file.
            with contextlib.suppress(PermissionError):
                Path(lock.name).unlink(missing_ok=True)
            # A run that wrote nothing leaves nothing.
            if made and not any(folder.iterdir()):
                with contextlib.suppress(OSError):  # The next run is in it already.
                    folder.rmdir()


def _held(folder: Path, remedy: str) -> TextIO:
    """The folder's lock file, open and locked."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / ".lock").open("a")
        except OSError as error:
            reason = "it is a file" if folder.is_file() else error.strerror
            raise OSError(f"{folder} cannot be written to ({reason}); {remedy}.") from error
        if fcntl is None:
            return lock
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise OSError(f"another run is writing into {folder}; wait for it, or {remedy}.") from error
        # Whoever held it may have removed it before it was ours; then it keeps nobody out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name)):
                return lock
        lock.close()
