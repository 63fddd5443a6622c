"""Frames of events: against tonic's, against a count by hand; kept on disk, and read as they are needed."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxsnn.cache import user_cache
from jaxsnn.data.events import Events, SpikeFile, read_nmnist
from jaxsnn.data.frames import Binning, Recordings, Source, cache_folder, recordings
from tests.jaxsnn import event_files

SHAPE = (34, 34, 2)


@pytest.fixture(scope="module")
def tonic():
    return dict(np.load(Path(__file__).parents[1] / "data" / "reference" / "tonic" / "events.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    event_files.reference_files(folder)
    return folder


@pytest.fixture(scope="module")
def events(folder):
    return read_nmnist(folder / "a.bin")


def by_hand(events, number):
    """Frames from the frame number of each event, one event after another."""
    frames = np.zeros((max(number, default=0) + 1, *SHAPE), int)
    for frame, address in zip(number, events.address, strict=True):
        frames[(frame, *address)] += 1
    return frames


@pytest.mark.parametrize("timesteps", [1, 7, 10])
@pytest.mark.parametrize("by", ["time", "number"])
def test_frames_are_tonics_and_the_last_one_has_what_tonic_leaves_out(events, tonic, by, timesteps):
    found = Binning(timesteps, by).frames(events, SHAPE)
    theirs = tonic[f"nmnist_{by}_{timesteps}"].transpose(0, 2, 3, 1)
    since, count = events.t_us - events.t_us[0], len(events.t_us)
    if by == "time":
        left = since >= timesteps * (since[-1] // timesteps)
    else:
        left = np.arange(count) >= timesteps * (count // timesteps)
    remainder = by_hand(Events(events.t_us[left], events.address[left]), [timesteps - 1] * left.sum())
    np.testing.assert_array_equal(found[:-1], theirs[:-1])
    np.testing.assert_array_equal(found[-1], theirs[-1] + (remainder[-1] if left.any() else 0))
    assert found.sum() == count


def test_frames_of_one_length_are_tonics(events, tonic):
    theirs = tonic["nmnist_window"].transpose(0, 2, 3, 1)
    found = Binning(15, window_us=20_000).frames(events, SHAPE)
    np.testing.assert_array_equal(found, theirs)
    longer = Binning(20, window_us=20_000).frames(events, SHAPE)
    assert longer.sum() == len(events.t_us)
    assert not longer[16:].any()


def test_frames_of_the_heidelberg_sets_are_tonics(folder, tonic):
    for index in range(2):
        found = Binning(20).frames(SpikeFile(folder / "shd_train.h5", 700).read(index), (700,))
        theirs = tonic[f"shd_{index}_frames"][:, 0]
        np.testing.assert_array_equal(found[:-1], theirs[:-1])
        assert found.sum() == len(tonic[f"shd_{index}"])


def test_binary_frames_say_where_there_was_an_event(events):
    counts = Binning(3).frames(events, SHAPE)
    binary = Binning(3, values="binary").frames(events, SHAPE)
    assert binary.dtype == np.uint8
    np.testing.assert_array_equal(binary, counts > 0)
    assert counts.max() > 1


@pytest.mark.parametrize("by", ["time", "number"])
def test_more_frames_than_events(by):
    few = Events(np.array([5, 5, 6]), np.array([[0, 0, 0], [1, 1, 1], [2, 2, 0]]))
    found = Binning(8, by).frames(few, SHAPE)
    assert found.sum() == 3
    assert found.shape == (8, *SHAPE)


def test_a_count_that_does_not_fit_is_refused():
    many = Events(np.zeros(70_000, int), np.zeros((70_000, 3), int))
    with pytest.raises(
        ValueError, match=r"a\.bin: 70000 events in one place of one frame; take more timesteps"
    ):
        Binning(1).frames(many, SHAPE, "a.bin")
    assert Binning(1, values="binary").frames(many, SHAPE).sum() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timesteps": 0}, "timesteps is the number of frames, at least 1, got 0"),
        ({"timesteps": 2.5}, "at least 1, got 2.5"),
        ({"by": "space"}, "by must be 'time' or 'number'"),
        ({"values": "float"}, "values must be 'counts' or 'binary'"),
        ({"window_us": 0}, "1 µs or more, got 0"),
        ({"window_us": 1000.5}, r"a whole number of microseconds, 1 µs or more, got 1000\.5"),
        ({"window_us": float("inf")}, "1 µs or more, got inf"),
        ({"window_us": "1000"}, "1 µs or more, got '1000'"),
        ({"window_us": True}, "1 µs or more, got True"),
        ({"window_us": 5, "by": "number"}, "window_us is the length of frames by time"),
    ],
)
def test_bad_binning_is_refused(as_users_run, options, message):
    with pytest.raises(ValueError, match=message):
        Binning(**({"timesteps": 3} | options))


class Counting:
    """A source that says which of its recordings were read."""

    def __init__(self, count=6):
        self.asked, self.count = [], count

    def source(self, identity="a"):
        def read(index):
            self.asked.append(index)
            t_us, *address = event_files.some_events(30, seed=index)
            return Events(t_us, np.stack(address, 1))

        return Source(read, np.zeros(self.count, np.int32), SHAPE, str, identity)


def made(counting, folder, identity="a", **options):
    return recordings(counting.source(identity), Binning(4, **options), cache=folder, progress=False)


def test_only_what_is_asked_for_is_read():
    counting = Counting()
    frames = made(counting, False)
    assert (frames.shape, len(frames), frames.dtype, counting.asked) == ((6, 4, *SHAPE), 6, np.uint16, [])
    assert frames[np.array([4, 1])].shape == (2, 4, *SHAPE)
    assert counting.asked == [4, 1]
    whole = np.asarray(frames)
    for chosen in (slice(2, 5), [5, 0], -1, np.array([True, False, True, False, False, True]), np.int64(3)):
        np.testing.assert_array_equal(frames[chosen], whole[chosen])
    with pytest.raises(IndexError):
        frames[6]


def test_frames_are_kept_and_found_again(tmp_path):
    first, again = Counting(), Counting()
    frames = made(first, tmp_path)
    assert first.asked == list(range(6))
    found = made(again, tmp_path)
    np.testing.assert_array_equal(found[:], frames[:])
    assert again.asked == []
    assert found.fingerprint == frames.fingerprint == made(Counting(), False).fingerprint
    assert made(again, tmp_path, values="binary").fingerprint != frames.fingerprint
    made(again, tmp_path, identity="changed files")
    assert again.asked == 2 * list(range(6))
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_damaged_cache_is_made_anew(tmp_path):
    right = made(Counting(), tmp_path)[:]
    (kept,) = tmp_path.glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:-100])
    np.testing.assert_array_equal(made(Counting(), tmp_path)[:], right)
    (facts,) = tmp_path.glob("*.json")
    fingerprint = made(Counting(), tmp_path).fingerprint
    damages = [(kept, content) for content in (b"nonsense", b"", b"PK\x03\x04 no archive")]
    damages += [(facts, content) for content in (b"", b"[]", b"null", b'{"sha256": 5}')]
    for path, content in damages:
        path.write_bytes(content)
        found = made(Counting(), tmp_path)
        np.testing.assert_array_equal(found[:], right)
        assert found.fingerprint == fingerprint


def test_nothing_half_made_is_kept(tmp_path):
    def broken(index):
        raise ValueError("damaged")

    source = Source(broken, np.zeros(2, np.int32), SHAPE, str, "a")
    with pytest.raises(ValueError, match="damaged"):
        recordings(source, Binning(4), cache=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_warned_about(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match=r"cannot be kept in .* made anew for every batch; name a folder"):
        frames = made(Counting(), tmp_path / "file" / "inside")
    assert len(frames[:2]) == 2


def test_a_folder_that_fills_up_is_warned_about(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    right, counting = made(Counting(), False), Counting()
    source = counting.source()

    def filling(index):
        if index == 3:  # No file may grow beyond what three recordings take.
            resource.setrlimit(resource.RLIMIT_FSIZE, (3 * right[0].nbytes, before[1]))
        return source.read(index)

    try:
        with pytest.warns(
            UserWarning, match=r"cannot be kept in .*File too large.* made anew for every batch"
        ):
            frames = recordings(replace(source, read=filling), Binning(4), cache=tmp_path, progress=False)
        found = frames[:]  # They are read anew, and so is the limit set.
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(found, right[:])


def test_a_recording_that_is_gone_is_no_fault_of_the_folder(tmp_path):
    def gone(index):
        raise FileNotFoundError("b.bin")

    source = Source(gone, np.zeros(2, np.int32), SHAPE, str, "a")
    with pytest.raises(FileNotFoundError, match=r"b\.bin"):
        recordings(source, Binning(4), cache=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_frames_and_programs_lie_in_one_folder_of_the_users(tmp_path, monkeypatch):
    for name in ("JAXSNN_CACHE", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform != "darwin":
        assert user_cache("xla") == tmp_path / "spikechip" / "xla"
    assert cache_folder() == user_cache("frames")
    monkeypatch.setenv("JAXSNN_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


def test_parts_and_what_is_made_of_them():
    frames = made(Counting(), False)
    part = frames.subset(np.array([3, 1]))
    np.testing.assert_array_equal(part[:], frames[np.array([3, 1])])
    assert part.fingerprint != frames.fingerprint
    assert part.fingerprint == frames.subset(np.array([3, 1])).fingerprint
    doubled = part.mapped(lambda batch: batch.astype(np.float32) * 2)
    assert (doubled.dtype, doubled.shape) == (np.float32, part.shape)
    np.testing.assert_array_equal(doubled[1], 2.0 * frames[1])
    assert isinstance(doubled, Recordings)
