"""Event files: what is read of them, against what was written and what tonic reads; and what is refused.

tests/data/reference/tonic holds what tonic answered. With `JAXSNN_TONIC_PYTHON` set to an interpreter with
tonic, it is asked anew.
"""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jaxsnn.data.events import SpikeFile, read_aedat2, read_aedat3, read_nmnist
from tests.jaxsnn import event_files

REFERENCE = Path(__file__).parents[1] / "data" / "reference" / "tonic" / "events.npz"
PEER = Path(__file__).with_name("peers") / "tonic_events.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    event_files.reference_files(folder)
    return folder


@pytest.fixture(scope="module")
def tonic(folder):
    return dict(np.load(REFERENCE))


def place(events):
    """Rows, columns and polarities as tonic's columns (t, x, y, p)."""
    row, column, polarity = events.address.T
    return np.stack([events.t_us, column, row, polarity], 1)


def test_nmnist_is_what_tonic_reads_of_it(folder, tonic):
    np.testing.assert_array_equal(place(read_nmnist(folder / "a.bin")), tonic["nmnist"])


def test_aedat_2_and_3_are_the_addresses_and_times_that_tonic_reads(folder, tonic):
    events = read_aedat2(folder / "a2.aedat")
    row, column, polarity = events.address.T
    ours = (127 - row) << 1 | (127 - column) << 8 | (1 - polarity)
    np.testing.assert_array_equal(np.stack([events.t_us, ours], 1), tonic["aedat2"])
    events = read_aedat3(folder / "a3.aedat")
    row, column, polarity = events.address.T
    ours = column << 17 | row << 2 | polarity << 1 | 1
    np.testing.assert_array_equal(np.stack([events.t_us, ours], 1), tonic["aedat3"])


def test_the_heidelberg_sets_are_what_tonic_reads_of_them(folder, tonic):
    file = SpikeFile(folder / "shd_train.h5", 700)
    assert (len(file), file.class_names) == (2, ("zero", "one"))
    for index in range(2):
        events = file.read(index)
        np.testing.assert_array_equal(events.t_us, tonic[f"shd_{index}"][:, 0])
        np.testing.assert_array_equal(events.address[:, 0], tonic[f"shd_{index}"][:, 1])
        assert file.labels[index] == tonic[f"shd_{index}_label"]


@pytest.mark.parametrize(
    ("write", "read", "side"),
    [
        (event_files.nmnist, read_nmnist, 34),
        (event_files.aedat2, read_aedat2, 128),
        (event_files.aedat3, read_aedat3, 128),
    ],
    ids=["N-MNIST", "AEDAT 2", "AEDAT 3.1"],
)
def test_what_was_written_is_read(tmp_path, write, read, side):
    t_us, *address = events = event_files.some_events(100, seed=5, side=side)
    path = tmp_path / "a"
    path.write_bytes(write(events))
    found = read(path)
    np.testing.assert_array_equal(found.t_us, t_us)
    np.testing.assert_array_equal(found.address, np.stack(address, 1))


def test_nmnists_clock_wraps_add_8192_microseconds_to_what_follows(tmp_path):
    path = tmp_path / "a.bin"
    rows = np.array([3, 240, 4, 240, 5])
    path.write_bytes(event_files.nmnist((np.array([8000, 8191, 100, 8191, 50]), rows, rows * 0, rows * 0)))
    events = read_nmnist(path)
    assert list(events.t_us) == [8000, 8292, 16434]
    assert list(events.address[:, 0]) == [3, 4, 5]


def test_aedat_3_skips_other_packets_and_invalid_events_and_continues_its_clock(tmp_path):
    events = event_files.some_events(10, side=128)
    late = event_files.some_events(4, side=128, seed=6)
    other = event_files.packet(event_files.some_events(3), kind=2)
    invalid = event_files.packet(event_files.some_events(3), valid=0)
    roomy = event_files.packet(events, capacity=12) + bytes(16)
    path = tmp_path / "a.aedat"
    header = event_files.AEDAT3_HEADER
    path.write_bytes(header + other + roomy + invalid + event_files.packet(late, overflow=1))
    found = read_aedat3(path)
    np.testing.assert_array_equal(found.t_us, np.concatenate([events[0], late[0] + 2**31]))


def test_aedat_2_leaves_synchronisation_out(tmp_path):
    events = event_files.some_events(10, side=128)
    content = event_files.aedat2(events)
    path = tmp_path / "a.aedat"
    path.write_bytes(content + np.array([0x8000, events[0][-1]], ">u4").tobytes())
    assert len(read_aedat2(path).t_us) == 10


def changed(part, index, value, **options):
    events = [array.copy() for array in event_files.some_events(20, **options)]
    events[part][index] = value
    return events


NMNIST, AEDAT2, AEDAT3 = (
    write(event_files.some_events(20))
    for write in (event_files.nmnist, event_files.aedat2, event_files.aedat3)
)
BACKWARDS = changed(0, 7, 299_999)


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_nmnist, NMNIST[:-2], "is truncated: 98 bytes are no multiple of the five"),
        (read_nmnist, b"", "holds no events"),
        (
            read_nmnist,
            event_files.nmnist(changed(2, 3, 34)),
            r", event 3: row \d+, column 34, polarity . lies outside",
        ),
        (read_nmnist, event_files.nmnist(changed(1, 3, 239)), ", event 3: row 239"),
        (read_nmnist, event_files.nmnist(BACKWARDS), r", event 8: its time \d+ µs lies before 299999 µs"),
        (read_aedat2, AEDAT2[:-3], "is truncated: 157 bytes of events"),
        (read_aedat2, AEDAT2[:20], "is truncated within its header"),
        (read_aedat2, AEDAT3, "is AEDAT 3.1; the set's own files are AEDAT 2.0"),
        (read_aedat2, b"\x89PNG" + AEDAT2, "is no AEDAT file"),
        (read_aedat2, event_files.aedat2(BACKWARDS), "event 8: its time .* pass sort=True"),
        (
            read_aedat2,
            AEDAT2 + b"\x7f\xff\x00\x00\x00\x04\x93\xe0",
            "event 20: address 0x7fff0000 is none of",
        ),
        (
            read_aedat3,
            AEDAT3[:-3],
            ", packet 2: the file is truncated: 48 bytes of events are announced and 45",
        ),
        (read_aedat3, AEDAT3 + bytes(5), ", packet 3: the file is truncated within its header"),
        (read_aedat3, AEDAT2, "is AEDAT 2.0; the set's own files are AEDAT 3.1"),
        (read_aedat3, event_files.AEDAT3_HEADER, "holds no events"),
        (read_aedat3, event_files.aedat3(changed(1, 3, 128)), "event 3: row 128"),
        (read_aedat3, event_files.aedat3(BACKWARDS), "event 8: its time"),
        (
            read_aedat3,
            event_files.AEDAT3_HEADER + event_files.packet(BACKWARDS, capacity=3),
            "header of 20 events",
        ),
        (
            read_aedat3,
            event_files.AEDAT3_HEADER + event_files.packet(BACKWARDS, size=4),
            "has 8 bytes, got 4",
        ),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(tmp_path, read, content, message):
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}.*{message}") as error:
        read(path)
    assert "\n" not in str(error.value)


def test_events_that_run_backwards_can_be_put_in_order(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(event_files.nmnist(BACKWARDS))
    found = read_nmnist(path, sort=True)
    order = np.argsort(BACKWARDS[0], kind="stable")
    np.testing.assert_array_equal(found.t_us, BACKWARDS[0][order])
    np.testing.assert_array_equal(found.address[:, 0], BACKWARDS[1][order])


def spoken(times, units):
    return [(np.asarray(times, float), np.asarray(units))]


@pytest.mark.parametrize(
    ("recording", "message"),
    [
        (spoken([0.1, 0.2], [3, 700]), "recording 0, event 1: unit 700 lies outside the sensor"),
        (spoken([0.2, 0.1], [3, 4]), "recording 0, event 1: its time"),
        (spoken([0.1, np.nan], [3, 4]), "recording 0, event 1: time nan s"),
        (spoken([-0.1, 0.1], [3, 4]), "recording 0, event 0: time -0.0999"),
        (spoken([], []), "recording 0 holds no events"),
        (
            spoken([0.1, 0.2], [3]),
            r"recording 0: times float16 \(2,\) and units uint16 \(1,\) must be numbers",
        ),
    ],
)
def test_a_bad_recording_of_the_heidelberg_sets_is_named(tmp_path, recording, message):
    path = tmp_path / "shd_train.h5"
    event_files.heidelberg(path, recording, [0])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}, {message}"):
        SpikeFile(path, 700).read(0)


def test_files_that_are_no_heidelberg_set(tmp_path):
    import h5py

    path = tmp_path / "shd_train.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))
    with pytest.raises(ValueError, match="is damaged or no HDF5 file"):
        SpikeFile(path, 700)
    with h5py.File(path, "w") as file:
        file["labels"] = [1, 2]
        file.create_group("spikes/times")
    with pytest.raises(ValueError, match="has no list 'spikes/times'; the Heidelberg sets hold"):
        SpikeFile(path, 700)
    event_files.heidelberg(path, spoken([0.1], [1]), [0, 1])
    with pytest.raises(ValueError, match="spikes/times holds 1 recordings and labels 2; they must agree"):
        SpikeFile(path, 700)
    with h5py.File(path, "w") as file:
        file["labels"] = [0]
        file.create_dataset("spikes/times", (1,), h5py.vlen_dtype(np.dtype("<f8")))[0] = [0.0, 1e20]
        file.create_dataset("spikes/units", (1,), h5py.vlen_dtype(np.dtype("<u2")))[0] = [1, 2]
    with pytest.raises(ValueError, match=r"recording 0, event 1: time 1e\+20 s .* microseconds below"):
        SpikeFile(path, 700).read(0, sort=True)
    with h5py.File(path, "a") as file:
        del file["spikes/times"]
        file.create_dataset("spikes/times", (1,), h5py.vlen_dtype(np.dtype(">f4")))[0] = [0.0, 1.0]
    with pytest.raises(ValueError, match="lists of >f4, whose order of bytes h5py misreads; write them as"):
        SpikeFile(path, 700)
    event_files.heidelberg(path, spoken([0.1], [1]) * 40, [0] * 40)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ValueError, match=f"^{path}"):
        SpikeFile(path, 700).read(39)


@pytest.mark.long
@pytest.mark.skipif("JAXSNN_TONIC_PYTHON" not in os.environ, reason="needs an interpreter with tonic")
def test_tonic_still_reads_the_same(folder, tonic, tmp_path):
    out = tmp_path / "out.npz"
    subprocess.run([os.environ["JAXSNN_TONIC_PYTHON"], str(PEER), str(folder), str(out)], check=True)
    for name, array in np.load(out).items():
        if name != "version":
            np.testing.assert_array_equal(array, tonic[name], err_msg=name)
