"""Event files as tonic reads them and cuts them into frames: `python tonic_events.py FOLDER OUT.npz`.

FOLDER holds what `tests/jaxsnn/event_files.reference_files` wrote. Of AEDAT tonic gives addresses and times
(`get_aer_events_from_file`); its camera classes do not read the header that it returns in 1.7.0. Needs tonic.
"""

import sys
from pathlib import Path

import numpy as np
import tonic
from tonic import io, transforms
from tonic.datasets.hsd import SHD
from tonic.datasets.nmnist import NMNIST


def columns(events):
    return np.stack(
        [events[name].astype(np.int64) for name in ("t", "x", "y", "p") if name in events.dtype.names], 1
    )


def aedat(path):
    version, start, _ = io.read_aedat_header_from_file(str(path))
    raw = io.get_aer_events_from_file(str(path), version, start)
    return np.stack([raw["timeStamp"].astype(np.int64), raw["address"].astype(np.int64)], 1)


def main(folder: Path, out: str) -> None:
    found = {"version": np.array(tonic.__version__)}
    events = io.read_mnist_file(str(folder / "a.bin"), NMNIST.dtype)
    found["nmnist"] = columns(events)
    for bins in (1, 7, 10):
        by_time = transforms.ToFrame(NMNIST.sensor_size, n_time_bins=bins)(events)
        by_number = transforms.ToFrame(NMNIST.sensor_size, n_event_bins=bins)(events)
        found[f"nmnist_time_{bins}"], found[f"nmnist_number_{bins}"] = by_time, by_number
    window = transforms.ToFrame(NMNIST.sensor_size, time_window=20_000)(events)
    found["nmnist_window"] = window
    found["aedat2"], found["aedat3"] = aedat(folder / "a2.aedat"), aedat(folder / "a3.aedat")
    spoken = SHD.__new__(SHD)  # Its constructor asks for the downloaded archive.
    spoken.location_on_system, spoken.data_filename = str(folder), "shd_train.h5"
    spoken.transform = spoken.target_transform = None
    for index in range(len(spoken)):
        events, label = spoken[index]
        found[f"shd_{index}"], found[f"shd_{index}_label"] = columns(events), np.array(label)
        frames = transforms.ToFrame(SHD.sensor_size, n_time_bins=20)(events)
        found[f"shd_{index}_frames"] = frames
    np.savez_compressed(out, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
