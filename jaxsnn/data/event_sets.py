"""Event data sets by name, from their own files."""

import csv
import inspect
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxsnn.data.dataset import Dataset, random_split
from jaxsnn.data.events import (
    DVS128_SENSOR,
    NMNIST_SENSOR,
    SpikeFile,
    read_aedat2,
    read_aedat3,
    read_nmnist,
)
from jaxsnn.data.frames import Binning, Source, identity_of, recordings
from jaxsnn.data.pixels import class_numbers

Found = tuple[Source, Source, int, tuple[str, ...] | None]
"""Training, test, number of classes, and their names."""


def _of_files(
    paths: list[Path], labels: list[int], read: Callable[..., Any], shape: tuple[int, ...], sort: bool
) -> Source:
    return Source(
        lambda index: read(paths[index], sort=sort),
        np.asarray(labels, np.int32),
        shape,
        lambda index: str(paths[index]),
        identity_of(paths, sort, labels),
    )


def _inside(folder: Path, names: tuple[str, ...], wanted: str) -> Path:
    """The folder, or the one of a peer's name in it, that holds `wanted`."""
    for place in (folder, *(folder / name for name in names)):
        if (place / wanted).exists():
            return place
    raise ValueError(f"{folder} holds no {wanted}; path must be the folder that the set was unpacked into.")


def nmnist(folder: Path, *, sort: bool) -> Found:
    """N-MNIST: `Train/<digit>/*.bin` and `Test/<digit>/*.bin` (Orchard et al., 2015)."""
    folder = _inside(folder, ("NMNIST",), "Train")
    splits = []
    for split in ("Train", "Test"):
        paths, labels = [], []
        for digit in range(10):
            found = sorted((folder / split / str(digit)).glob("*.bin"))
            paths += found
            labels += [digit] * len(found)
        if not paths:
            raise ValueError(
                f"{folder / split} holds no recordings <digit>/<number>.bin; unpack the set there."
            )
        splits.append(_of_files(paths, labels, read_nmnist, NMNIST_SENSOR, sort))
    return splits[0], splits[1], 10, tuple(map(str, range(10)))


CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def cifar10_dvs(folder: Path, *, sort: bool, test_fraction: float = 0.1, seed: int = 0) -> Found:
    """CIFAR10-DVS: `<class>/*.aedat` (Li et al., 2017), which has no test split: a fraction of each class is
    held out."""
    if not (folder / CIFAR10[0]).is_dir() and (folder / "CIFAR10DVS").is_dir():
        folder = folder / "CIFAR10DVS"
    paths, labels = [], []
    for number, name in enumerate(CIFAR10):
        found = sorted((folder / name).glob("*.aedat"))
        paths += found
        labels += [number] * len(found)
    if not paths:
        raise ValueError(
            f"{folder} holds no recordings <class>/*.aedat, e.g. airplane/; unpack the set there."
        )
    splits = random_split(np.asarray(labels), test_fraction, seed, f"data set 'cifar10_dvs' in {folder}")
    train, test = (
        _of_files([paths[i] for i in chosen], [labels[i] for i in chosen], read_aedat2, DVS128_SENSOR, sort)
        for chosen in splits
    )
    return train, test, 10, CIFAR10


GESTURES = (
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
)


def dvs_gesture(folder: Path, *, sort: bool) -> Found:
    """DVS Gesture (Amir et al., 2017): `trials_to_train.txt` and `trials_to_test.txt` name AEDAT 3.1 files,
    and `<file>_labels.csv` says when each gesture begins and ends: start ≤ t < end."""
    folder = _inside(folder, ("DvsGesture",), "trials_to_train.txt")
    splits = []
    for split in ("train", "test"):
        trials = folder / f"trials_to_{split}.txt"
        if not trials.is_file():
            raise ValueError(f"{trials} does not exist; unpack the whole of DVS Gesture there.")
        gestures = []
        for line in trials.read_text().split():
            path = folder / line
            if path.parent != folder or not path.is_file():
                raise ValueError(f"{trials} names {line!r}, which is no file in {folder}; restore it.")
            gestures += [(path, *row) for row in _gestures(path.with_name(f"{path.stem}_labels.csv"))]
        if not gestures:
            raise ValueError(f"{trials} names no recordings.")
        splits.append(_of_gestures(gestures, sort))
    return splits[0], splits[1], len(GESTURES), GESTURES


def _gestures(path: Path) -> list[tuple[int, int, int]]:
    """(class from 0, start, end in µs) of each gesture in a recording."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; it says when the gestures of its recording begin and end.")
    rows = []
    with path.open(newline="") as file:
        for number, row in enumerate(csv.reader(file), start=1):
            if number == 1 and row[:1] == ["class"]:
                continue
            try:
                kind, start, stop = (int(cell) for cell in row)
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}: it must be 'class,start,end' in whole numbers and is "
                    f"{','.join(row)!r}."
                ) from None
            if not (1 <= kind <= len(GESTURES) and 0 <= start < stop):
                raise ValueError(
                    f"{path}, line {number}: class {kind} from {start} to {stop} µs; classes are 1 to "
                    f"{len(GESTURES)} and end after they start."
                )
            rows.append((kind - 1, start, stop))
    return rows


def _of_gestures(gestures: list[tuple[Path, int, int, int]], sort: bool) -> Source:
    held: dict[Path, Any] = {}

    def read(index: int) -> Any:
        path, _, start, stop = gestures[index]
        if path not in held:  # A dozen gestures lie in one file, one after another.
            held.clear()
            held[path] = read_aedat3(path, sort=sort)
        events = held[path].between(start, stop)
        if len(events.t_us) == 0:
            raise ValueError(
                f"{name(index)}: no event lies there; the file is truncated or its labels are wrong."
            )
        return events

    def name(index: int) -> str:
        path, kind, start, stop = gestures[index]
        return f"{path}, {GESTURES[kind]} from {start} to {stop} µs"

    labels = np.asarray([kind for _, kind, _, _ in gestures], np.int32)
    paths = sorted({path for path, *_ in gestures})
    return Source(read, labels, DVS128_SENSOR, name, identity_of(paths, sort, [g[1:] for g in gestures]))


def heidelberg(name: str, classes: int, folder: Path, *, sort: bool) -> Found:
    """SHD and SSC (Cramer et al., 2020): `NAME_train.h5` and `NAME_test.h5`, 700 units."""
    folder = _inside(folder, ("SHD", "SSC"), f"{name}_train.h5")
    sources, names = [], None
    for split in ("train", "test"):
        path = folder / f"{name}_{split}.h5"
        if not path.is_file():
            raise ValueError(f"{path} does not exist; unpack {path.name}.gz there.")
        file = SpikeFile(path, 700)
        labels = class_numbers(file.labels, str(path))
        sources.append(
            Source(
                partial(file.read, sort=sort),
                labels,
                (700,),
                partial("{}, recording {}".format, path),
                identity_of([path], sort),
            )
        )
        names = names or file.class_names
    return sources[0], sources[1], classes, names if names and len(names) == classes else None


FINDERS: dict[str, Callable[..., Found]] = {
    "nmnist": nmnist,
    "dvs_gesture": dvs_gesture,
    "cifar10_dvs": cifar10_dvs,
    "shd": partial(heidelberg, "shd", 20),
    "ssc": partial(heidelberg, "ssc", 35),
}


def options_of(name: str) -> list[str]:
    """What [`load_events`][] takes for a set."""
    own = list(inspect.signature(FINDERS[name]).parameters)
    common = [option for option in inspect.signature(load_events).parameters if option not in ("name", "own")]
    return common + [option for option in own if option not in ("folder", "name", "classes", "sort")]


def load_events(
    name: str,
    *,
    path: Path,
    timesteps: int,
    by: Literal["time", "number"] = "time",
    window_us: int | None = None,
    values: Literal["counts", "binary"] = "counts",
    sort: bool = False,
    cache: str | PathLike | bool | None = None,
    progress: bool | None = None,
    **own: Any,
) -> Dataset:
    """An event data set as frames.

    **Arguments:**

    - `path`: the folder with the set's own files.
    - `timesteps`, `by`, `window_us`, `values`: see [`jaxsnn.data.frames.Binning`][].
    - `sort`: put events whose times run backwards in order, instead of refusing the file.
    - `cache`, `progress`: see [`jaxsnn.data.frames.recordings`][].
    - `test_fraction`, `seed`: of CIFAR10-DVS, which has no test split of its own.

    **Returns:** a data set whose `event_shape` is (timesteps, rows, columns, 2), polarity last with 1 for
    brighter, or (timesteps, 700) for SHD and SSC.

    **Raises:** `ValueError` that names the file, the place in it and the remedy.
    """
    binning = Binning(timesteps, by, window_us, values)
    train, test, classes, names = FINDERS[name](path, sort=sort, **own)
    frames = [recordings(source, binning, cache=cache, progress=progress) for source in (train, test)]
    return Dataset(
        name,
        frames[0],
        train.labels,
        frames[1],
        test.labels,
        classes,
        timed=True,
        class_names=names,
    )
