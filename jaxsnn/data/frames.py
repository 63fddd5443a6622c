"""Events as frames, and sets of recordings that are read when a batch asks for them."""

import contextlib
import hashlib
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxsnn.cache import user_cache
from jaxsnn.checks import is_count, require_choice
from jaxsnn.data.events import Events


@dataclass(frozen=True)
class Binning:
    """How the events of a recording become `timesteps` frames.

    **Arguments:**

    - `timesteps`: number of frames T, at least 1.
    - `by`: "time", frames of ⌊(t_last − t_first)/T⌋ microseconds from the first event on; or "number", frames
      of ⌊count/T⌋ events. In both, what remains goes to the last frame, so that every event is in one.
    - `window_us`: with "time", frames of so many microseconds from the first event on instead, alike for all
      recordings. Events after the last frame are left out; frames after the last event are empty.
    - `values`: "counts" of the events, or "binary", 1 where there is one or more: what a spike can say.

    **Raises:** `ValueError` for values out of range.
    """

    timesteps: int
    by: Literal["time", "number"] = "time"
    window_us: int | None = None
    values: Literal["counts", "binary"] = "counts"

    def __post_init__(self):
        if not is_count(self.timesteps):
            raise ValueError(f"timesteps is the number of frames, at least 1, got {self.timesteps!r}.")
        require_choice("by", self.by, ("time", "number"))
        require_choice("values", self.values, ("counts", "binary"))
        if self.window_us is not None and (self.by != "time" or not is_count(self.window_us)):
            raise ValueError(
                "window_us is the length of frames by time, a whole number of microseconds, 1 µs or more, "
                f"got {self.window_us!r} with by={self.by!r}."
            )

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint16 if self.values == "counts" else np.uint8)

    def frames(self, events: Events, shape: tuple[int, ...], where: str = "recording") -> np.ndarray:
        """The frames (timesteps, *shape), uint16 counts or uint8 zeros and ones.

        **Raises:** `ValueError` for more than 65,535 events in one place of one frame.
        """
        number = self._frame_of(events)
        kept = number < self.timesteps
        places = np.ravel_multi_index(tuple(events.address[kept].T), shape)
        size = math.prod(shape)
        counts = np.bincount(number[kept] * size + places, minlength=self.timesteps * size)
        counts = counts.reshape(self.timesteps, *shape)
        if self.values == "binary":
            return (counts > 0).astype(self.dtype)
        if counts.max() > np.iinfo(self.dtype).max:
            raise ValueError(
                f"{where}: {counts.max()} events in one place of one frame; take more timesteps or "
                "values='binary'."
            )
        return counts.astype(self.dtype)

    def _frame_of(self, events: Events) -> np.ndarray:
        if self.by == "number":
            each = max(1, len(events.t_us) // self.timesteps)
            return np.minimum(np.arange(len(events.t_us)) // each, self.timesteps - 1)
        since = events.t_us - events.t_us[0]
        if self.window_us is not None:
            return since // self.window_us
        each = max(1, int(since[-1]) // self.timesteps)
        return np.minimum(since // each, self.timesteps - 1)


class Recordings:
    """Examples that are read when they are asked for: `len`, `shape`, `dtype` and `[...]` as of an array.

    **Arguments:**

    - `read`: indices (count,) to the examples (count, *shape).
    - `count`, `shape`, `dtype`: of how many, and of one of them.
    - `fingerprint`: SHA-256 of the content, or what computes it when it is asked for.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], np.ndarray],
        count: int,
        shape: tuple[int, ...],
        dtype: Any,
        fingerprint: str | Callable[[], str],
    ):
        self._read, self._fingerprint = read, fingerprint
        self.shape, self.dtype = (count, *shape), np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: Any) -> np.ndarray:
        indices = np.arange(len(self))[np.asarray(chosen) if not isinstance(chosen, slice) else chosen]
        return self._read(indices) if indices.ndim else self._read(indices[None])[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    @property
    def fingerprint(self) -> str:
        if callable(self._fingerprint):
            self._fingerprint = self._fingerprint()
        return self._fingerprint

    def subset(self, indices: np.ndarray) -> "Recordings":
        """Some of the recordings, in this order."""

        def fingerprint() -> str:
            chosen = np.asarray(indices, np.int64).tobytes()
            return hashlib.sha256(self.fingerprint.encode() + chosen).hexdigest()

        return Recordings(
            lambda own: self._read(indices[own]), len(indices), self.shape[1:], self.dtype, fingerprint
        )

    def mapped(self, function: Callable[[np.ndarray], np.ndarray]) -> "Recordings":
        """The same, each batch going through a function that keeps its shape."""
        dtype = function(np.zeros((0, *self.shape[1:]), self.dtype)).dtype
        return Recordings(
            lambda indices: function(self._read(indices)),
            len(self),
            self.shape[1:],
            dtype,
            lambda: self.fingerprint,
        )


@dataclass(frozen=True)
class Source:
    """One split of an event set on disk.

    - `read(i)`: the events of recording i; `count` of them.
    - `labels`: int32, (count,). `shape`: of a frame.
    - `name(i)`: what errors call it.
    - `identity`: tells this source from every other, and from its own files changed.
    """

    read: Callable[[int], Events]
    labels: np.ndarray
    shape: tuple[int, ...]
    name: Callable[[int], str]
    identity: str

    def __len__(self) -> int:
        return len(self.labels)


def identity_of(paths: Sequence[Path], *facts: Any) -> str:
    """Tells files from others, and from themselves after a change, by name, size and time."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr((stats, facts)).encode()).hexdigest()


def recordings(
    source: Source, binning: Binning, *, cache: str | os.PathLike | bool | None, progress: bool | None
) -> Recordings:
    """The frames of a source.

    **Arguments:**

    - `cache`: a folder where the frames of all recordings are kept in one file, from which batches are read
      without holding the rest in memory; the same files and binning find them again. None and True take the
      folder in the environment variable `JAXSNN_CACHE`, or `spikechip/frames` in the user's cache folder.
      False keeps nothing: every batch reads its recordings anew, and a damaged one is found when it is its
      turn.
    - `progress`: show a bar while the frames are made; None does so on a terminal.

    **Raises:** `ValueError` for a recording that cannot be read. Warns when the folder cannot be written or
    is full, and then reads anew as without a cache.
    """

    def one(index: int) -> np.ndarray:
        return binning.frames(source.read(index), source.shape, source.name(index))

    def read(indices: np.ndarray) -> np.ndarray:
        return np.stack([one(int(index)) for index in indices])

    shape = (binning.timesteps, *source.shape)
    if cache is not False:
        folder = cache_folder() if cache is None or cache is True else Path(cache)
        kept = _cached(folder, source, binning, one, shape, progress)
        if kept is not None:
            frames, fingerprint = kept
            return Recordings(lambda indices: frames[indices], len(source), shape, binning.dtype, fingerprint)

    def fingerprint_of_all() -> str:
        digest = hashlib.sha256()
        for index in range(len(source)):
            digest.update(one(index).tobytes())
        return digest.hexdigest()

    return Recordings(read, len(source), shape, binning.dtype, fingerprint_of_all)


def cache_folder() -> Path:
    """Where frames are kept by default."""
    given = os.environ.get("JAXSNN_CACHE")
    return Path(given) if given else user_cache("frames")


_FORMAT = 1
"""Of the cache; a change makes all frames anew."""


class _Unkept(Exception):
    """A folder does not take frames; its cause says why."""


@contextlib.contextmanager
def _keeping():
    """Tells the errors of writing from those of reading recordings."""
    try:
        yield
    except OSError as error:
        raise _Unkept from error


def _cached(folder, source, binning, one, shape, progress) -> tuple[np.ndarray, str] | None:
    key = hashlib.sha256(repr((_FORMAT, source.identity, binning)).encode()).hexdigest()[:32]
    place, facts = folder / f"{key}.npy", folder / f"{key}.json"
    whole = (len(source), *shape)
    try:
        frames = np.load(place, mmap_mode="r", allow_pickle=False)
        fingerprint = json.loads(facts.read_text())["sha256"]
        if frames.shape == whole and frames.dtype == binning.dtype and isinstance(fingerprint, str):
            return frames, fingerprint
    except Exception:
        pass  # Not there, or damaged, which NumPy and JSON say in errors of many kinds: made anew.
    # A name of its own, so that of two processes each writes a whole file.
    partial = folder / f".{key}.{os.getpid()}"
    try:
        fingerprint = _write(partial, whole, binning.dtype, map(one, _counted(len(source), progress)))
        with _keeping():
            facts.write_text(json.dumps({"sha256": fingerprint, "binning": repr(binning)}) + "\n")
            os.replace(partial, place)
            return np.load(place, mmap_mode="r", allow_pickle=False), fingerprint
    except _Unkept as unkept:
        warnings.warn(
            f"event frames cannot be kept in {folder} ({unkept.__cause__}) and are made anew for every "
            "batch; name a folder with cache=... or JAXSNN_CACHE.",
            stacklevel=5,
        )
        return None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _write(path: Path, shape: tuple[int, ...], dtype: np.dtype, rows: Iterable[np.ndarray]) -> str:
    """An `.npy` file of rows that are written as they come, and the SHA-256 of its numbers.

    Not through a memory map: there a full disk is no error but a signal, which ends the process.
    """
    digest = hashlib.sha256()
    with _keeping():
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
    try:
        with _keeping():
            head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, head)
        for row in rows:
            content = row.tobytes()
            digest.update(content)
            with _keeping():
                file.write(content)
        with _keeping():
            file.close()
    finally:
        with contextlib.suppress(OSError):  # What could not be written fails here once more.
            file.close()
    return digest.hexdigest()


def _counted(count: int, progress: bool | None):
    """0 … count − 1, under a bar if wished."""
    if not (sys.stderr.isatty() if progress is None else progress):
        return range(count)
    from rich.console import Console
    from rich.progress import track

    return track(range(count), "making event frames", console=Console(stderr=True), transient=True)
