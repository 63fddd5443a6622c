"""Readers of the file formats that event cameras and cochleas write; each checks what it reads."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Events:
    """The events of one recording, in the order of time.

    - `t_us`: int64, microseconds, (count,).
    - `address`: where each event belongs in a frame: (row, column, polarity), with the origin at the upper
      left and polarity 1 for brighter, or (unit,); int64, (count, axes of the frame).
    """

    t_us: np.ndarray
    address: np.ndarray

    def between(self, start_us: int, stop_us: int) -> "Events":
        """The events at start ≤ t < stop."""
        first, last = np.searchsorted(self.t_us, [start_us, stop_us])
        return Events(self.t_us[first:last], self.address[first:last])


def checked(
    t_us: np.ndarray, address: np.ndarray, shape: tuple[int, ...], where: str, *, sort: bool = False
) -> Events:
    """Events that lie on the sensor and follow one another.

    **Arguments:** `shape`: of a frame. `sort`: put events that run backwards in order, those of one time
    staying as they stand.

    **Raises:** `ValueError`, which begins with `where`, for no events, and with the number of the event for
    an address outside the frame and for a time before that of the event before.
    """
    if len(t_us) == 0:
        raise ValueError(f"{where} holds no events; leave the recording out.")
    outside = ((address < 0) | (address >= np.array(shape))).any(axis=1)
    if outside.any():
        first = int(np.argmax(outside))
        names = ("row", "column", "polarity") if len(shape) == 3 else ("unit",)
        place = ", ".join(f"{name} {value}" for name, value in zip(names, address[first], strict=True))
        raise ValueError(
            f"{where}, event {first}: {place} lies outside the sensor of shape {shape}; the file is damaged "
            "or of another sensor."
        )
    backwards = np.diff(t_us) < 0
    if backwards.any():
        if not sort:
            first = int(np.argmax(backwards)) + 1
            raise ValueError(
                f"{where}, event {first}: its time {t_us[first]} µs lies before {t_us[first - 1]} µs of the "
                "event before; the file is damaged, or pass sort=True to put its events in order."
            )
        order = np.argsort(t_us, kind="stable")
        t_us, address = t_us[order], address[order]
    return Events(t_us, address)


NMNIST_SENSOR = (34, 34, 2)
_NMNIST_OVERFLOW_ROW = 240
_NMNIST_OVERFLOW_US = 2**13


def read_nmnist(path: Path, *, sort: bool = False) -> Events:
    """N-MNIST's own format: five bytes an event (column, row, one bit polarity and 23 bits microseconds).

    A row of 240 is no event but says that the clock of the camera wrapped: 2¹³ µs are added to all that
    follow (Orchard et al., 2015, `Read_Ndataset.m`).

    **Raises:** `ValueError` for a truncated file and as for [`checked`][].
    """
    content = np.frombuffer(path.read_bytes(), np.uint8)
    if len(content) % 5:
        raise ValueError(
            f"{path} is truncated: {len(content)} bytes are no multiple of the five of an event; fetch it "
            "again."
        )
    column, row, *late = content.reshape(-1, 5).astype(np.int64).T
    t_us = (late[0] & 127) << 16 | late[1] << 8 | late[2]
    wrapped = row == _NMNIST_OVERFLOW_ROW
    t_us = t_us + _NMNIST_OVERFLOW_US * np.cumsum(wrapped)
    address = np.stack([row, column, late[0] >> 7], axis=1)
    return checked(t_us[~wrapped], address[~wrapped], NMNIST_SENSOR, str(path), sort=sort)


DVS128_SENSOR = (128, 128, 2)


def read_aedat2(path: Path, *, sort: bool = False) -> Events:
    """AEDAT 2.0 of a DVS128, as CIFAR10-DVS has it: big-endian pairs of an address and microseconds.

    Bit 0 of the address is 1 for darker, bits 1–7 and 8–14 are its two coordinates. CIFAR10-DVS stands
    upright with `row = 127 − bits 1–7`, `column = 127 − bits 8–14` (as SpikingJelly reads it). Addresses with
    bit 15 are no pixels (synchronisation) and left out.

    **Raises:** `ValueError` for another format, a truncated file, and as for [`checked`][].
    """
    version, content = _aedat(path)
    if not version.startswith("2"):
        raise ValueError(f"{path} is AEDAT {version}; the set's own files are AEDAT 2.0.")
    if len(content) % 8:
        raise ValueError(
            f"{path} is truncated: {len(content)} bytes of events are no multiple of eight; fetch it again."
        )
    pairs = np.frombuffer(content, ">u4").astype(np.int64).reshape(-1, 2)
    address, t_us = pairs[(pairs[:, 0] & 0x8000) == 0].T
    beyond = address >> 16
    if beyond.any():
        first = int(np.argmax(beyond > 0))
        raise ValueError(
            f"{path}, event {first}: address {address[first]:#x} is none of a DVS128, whose addresses have "
            "15 bits; the file is damaged or of another sensor."
        )
    place = np.stack([127 - (address >> 1 & 127), 127 - (address >> 8 & 127), 1 - (address & 1)], axis=1)
    return checked(t_us, place, DVS128_SENSOR, str(path), sort=sort)


_PACKET = struct.Struct("<HHIIIIII")
_POLARITY_EVENTS = 1


def read_aedat3(path: Path, *, sort: bool = False) -> Events:
    """AEDAT 3.1 with polarity events of 128 × 128 pixels, as DVS Gesture has it.

    Packets of a 28-byte header and little-endian pairs: bit 0 of the data marks it valid (others are left
    out), bit 1 is 1 for brighter, bits 2–16 are the row, bits 17–31 the column; the microseconds have 31 bits
    and are continued by the header's overflow count. Packets of other kinds of events are passed over.

    **Raises:** `ValueError` for another format, a truncated file, and as for [`checked`][].
    """
    version, content = _aedat(path)
    if not version.startswith("3"):
        raise ValueError(f"{path} is AEDAT {version}; the set's own files are AEDAT 3.1.")
    data, times = [], []
    for overflow, pairs in _packets(path, content):
        valid = pairs[pairs[:, 0] & 1 == 1]
        data.append(valid[:, 0])
        times.append(valid[:, 1] | overflow << 31)
    bits = np.concatenate([np.zeros(0, np.int64), *data])
    t_us = np.concatenate([np.zeros(0, np.int64), *times])
    place = np.stack([bits >> 2 & 0x7FFF, bits >> 17 & 0x7FFF, bits >> 1 & 1], axis=1)
    return checked(t_us, place, DVS128_SENSOR, str(path), sort=sort)


def _packets(path: Path, content: bytes) -> Iterator[tuple[int, np.ndarray]]:
    """(overflows of the clock, int64 (count, 2)) of each packet of polarity events."""
    start, number = 0, 0
    while start < len(content):
        where = f"{path}, packet {number}"
        if start + _PACKET.size > len(content):
            raise ValueError(f"{where}: the file is truncated within its header; fetch it again.")
        kind, _, size, _, overflow, capacity, count, _ = _PACKET.unpack_from(content, start)
        start += _PACKET.size
        if count > capacity or size == 0:
            raise ValueError(
                f"{where}: a header of {count} events of {size} bytes in room for {capacity} is damaged; "
                "fetch the file again."
            )
        if start + size * capacity > len(content):
            raise ValueError(
                f"{where}: the file is truncated: {size * capacity} bytes of events are announced and "
                f"{len(content) - start} are there; fetch it again."
            )
        if kind == _POLARITY_EVENTS:
            if size != 8:
                raise ValueError(f"{where}: a polarity event has 8 bytes, got {size}; the file is damaged.")
            yield overflow, np.frombuffer(content, "<u4", 2 * count, start).astype(np.int64).reshape(-1, 2)
        start += size * capacity
        number += 1


def _aedat(path: Path) -> tuple[str, bytes]:
    """The version that the header says, and what comes after the header."""
    content = path.read_bytes()
    if not content.startswith(b"#!AER-DAT"):
        raise ValueError(f"{path} is no AEDAT file: it does not begin with '#!AER-DAT'.")
    version = content[9 : content.find(b"\n")].decode("ascii", "replace").strip()
    start = 0
    # From 3.0 on the header says where it ends; before, it is the lines that begin with '#'.
    while content[start : start + 1] == b"#":
        stop = content.find(b"\n", start)
        if stop < 0:
            raise ValueError(f"{path} is truncated within its header; fetch it again.")
        line, start = content[start:stop].strip(), stop + 1
        if line == b"#!END-HEADER":
            break
    return version, content[start:]


class SpikeFile:
    """The recordings of an HDF5 file of the Heidelberg sets (SHD, SSC), read one by one.

    `spikes/times` (seconds) and `spikes/units` hold an array for each recording, `labels` its class, and
    `extra/keys` may name the classes.

    **Arguments:** `units`: channels of the cochlea; units lie below.

    **Raises:** `ValueError` for what is no such file.
    """

    def __init__(self, path: Path, units: int):
        self.path, self.units = path, units
        with self._open() as file, self._undamaged(f"{path}"):
            self.labels = np.asarray(self._dataset(file, "labels"))
            count = len(self.labels)
            for name in ("spikes/times", "spikes/units"):
                if len(self._dataset(file, name)) != count:
                    raise ValueError(
                        f"{path}: {name} holds {len(file[name])} recordings and labels {count}; they must "
                        "agree."
                    )
                kind = (file[name].dtype.metadata or {}).get("vlen")
                if isinstance(kind, np.dtype) and not kind.isnative:
                    # h5py returns their bytes unswapped, as other numbers.
                    raise ValueError(
                        f"{path}: {name} holds lists of {kind}, whose order of bytes h5py misreads; "
                        f"write them as {kind.newbyteorder('=')}."
                    )
            self.class_names: tuple[str, ...] | None = None
            if "extra/keys" in file:
                keys = np.asarray(self._dataset(file, "extra/keys")).tolist()
                self.class_names = tuple(
                    key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in keys
                )

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int, *, sort: bool = False) -> Events:
        """One recording; the times are cut to whole microseconds.

        **Raises:** `ValueError` for times that are not finite or negative, and as for [`checked`][].
        """
        where = f"{self.path}, recording {index}"
        with self._open() as file, self._undamaged(where):
            times, units = (np.asarray(file[f"spikes/{name}"][index]) for name in ("times", "units"))
        if times.shape != units.shape or times.ndim != 1 or times.dtype.kind not in "fiu":
            raise ValueError(
                f"{where}: times {times.dtype} {times.shape} and units {units.dtype} {units.shape} must be "
                "numbers, as many of both."
            )
        seconds = times.astype(np.float64)
        wrong = ~(seconds >= 0) | (seconds * 1e6 >= 2.0**63)
        if wrong.any() or units.dtype.kind not in "iu":
            first = int(np.argmax(wrong))
            raise ValueError(
                f"{where}, event {first}: time {times[first]} s and unit {units[first]} must be a number "
                "that is not negative, of microseconds below 2**63, and a whole number."
            )
        t_us = (seconds * 1e6).astype(np.int64)
        return checked(t_us, units.astype(np.int64)[:, None], (self.units,), where, sort=sort)

    @staticmethod
    @contextmanager
    def _undamaged(where: str) -> Iterator[None]:
        """What HDF5's library says of a damaged file, in whatever kind of error, as one sentence."""
        try:
            yield
        except (ArithmeticError, KeyError, MemoryError, OSError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise ValueError(f"{where}: it is damaged and cannot be read ({reason}).") from error

    def _open(self):
        try:
            import h5py
        except ImportError as error:
            raise ValueError("reading HDF5 needs h5py: pip install 'spikechip[data]'.") from error
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path} is damaged or no HDF5 file ({error}).") from error

    def _dataset(self, file, name: str):
        found = file.get(name)
        if found is None or not hasattr(found, "shape") or len(found.shape) != 1:
            raise ValueError(
                f"{self.path} has no list {name!r}; the Heidelberg sets hold spikes/times, spikes/units, "
                "labels."
            )
        return found
