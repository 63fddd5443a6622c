"""Event files in the exact layout of the published sets, written from known events."""

import struct

import numpy as np


def some_events(count, *, seed=0, side=34, span_us=300_000, polarities=2):
    """`(t_us, row, column, polarity)` in the order of time; first at 0, last at `span_us`."""
    rng = np.random.default_rng(seed)
    t_us = np.sort(rng.integers(0, span_us, count))
    t_us[0], t_us[-1] = 0, span_us
    return (
        t_us,
        rng.integers(0, side, count),
        rng.integers(0, side, count),
        rng.integers(0, polarities, count),
    )


def nmnist(events):
    """Five bytes an event: column, row, polarity and 23 bits of microseconds."""
    t_us, row, column, polarity = events
    late = [(polarity << 7) | (t_us >> 16), t_us >> 8 & 255, t_us & 255]
    return np.stack([column, row, *late], axis=1).astype(np.uint8).tobytes()


def aedat2(events):
    """AEDAT 2.0 of a DVS128 that stands on its side, as CIFAR10-DVS was recorded."""
    t_us, row, column, polarity = events
    address = (127 - row) << 1 | (127 - column) << 8 | (1 - polarity)
    header = (
        "#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# created Thu Jan 1 00:00:00 1970\r\n"
    )
    return header.encode() + np.stack([address, t_us], axis=1).astype(">u4").tobytes()


def packet(events, *, kind=1, overflow=0, size=8, capacity=None, valid=1):
    t_us, row, column, polarity = events
    data = column << 17 | row << 2 | polarity << 1 | valid
    pairs = np.stack([data, t_us], axis=1).astype("<u4").tobytes()
    count = len(t_us)
    return struct.pack("<HHIIIIII", kind, 1, size, 4, overflow, capacity or count, count, count) + pairs


AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def aedat3(events, *, packets=3):
    """AEDAT 3.1 in packets, as DVS Gesture has it."""
    cuts = np.array_split(np.arange(len(events[0])), packets)
    return AEDAT3_HEADER + b"".join(packet([part[cut] for part in events]) for cut in cuts)


def heidelberg(path, recordings, labels, keys=("zero", "one")):
    """HDF5 as SHD has it, with times in float16 seconds."""
    import h5py

    with h5py.File(path, "w") as file:
        spikes = file.create_group("spikes")
        for name, dtype, part in (("times", np.float16, 0), ("units", np.uint16, 1)):
            data = spikes.create_dataset(name, (len(recordings),), h5py.vlen_dtype(dtype))
            for index, recording in enumerate(recordings):
                data[index] = recording[part].astype(dtype)
        file["labels"] = np.asarray(labels, np.uint16)
        extra = file.create_group("extra")
        extra["keys"] = np.array([key.encode() for key in keys])
        extra["speaker"] = np.zeros(len(labels), np.uint16)


def nmnist_set(folder, train=4, test=2, count=50):
    """A whole set of so many recordings of each of three digits; returns the events of every file."""
    written = {}
    for split, each in (("Train", train), ("Test", test)):
        for digit in range(3):
            place = folder / split / str(digit)
            place.mkdir(parents=True)
            for number in range(each):
                path = place / f"{number:05d}.bin"
                events = some_events(count, seed=len(written))
                path.write_bytes(nmnist(events))
                written[path] = events
    return written


def reference_files(folder):
    """What tonic is asked about: one recording in each format, the times with ties."""
    (folder / "a.bin").write_bytes(nmnist(with_overflows(some_events(400, seed=1))))
    (folder / "a2.aedat").write_bytes(aedat2(some_events(300, seed=2, side=128)))
    (folder / "a3.aedat").write_bytes(aedat3(some_events(300, seed=3, side=128)))
    rng = np.random.default_rng(4)
    spoken = [(np.sort(rng.uniform(0, 1.2, n)), rng.integers(0, 700, n)) for n in (60, 80)]
    heidelberg(folder / "shd_train.h5", spoken, [1, 0])


def with_overflows(events):
    """Two events of row 240 among the others, each of which says that the clock wrapped."""
    t_us, row, column, polarity = (part.copy() for part in events)
    for place in (100, 250):
        row[place] = 240
    return t_us, row, column, polarity
