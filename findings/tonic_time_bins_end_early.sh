#!/usr/bin/env bash
# tonic 1.7.0: ToFrame(n_time_bins=…) and SliceByTimeBins leave out the end of a recording.
#
# They are documented as a fixed number of bins of `duration / bins · (1 + overlap)`, "amount of bins stays the same":
# a good guess is that the bins span the recording, and that an overlap lets them see more of it, not less.
#
# The length of a bin is the whole part of `duration / bins`, in the unit of the time stamps. With milliseconds, as many
# recordings that were binned before have them, 10 bins of a recording of 19 ms are 1 ms each: they end after 10 ms, and
# about half of the events are in none. (In microseconds a recording is so long that hardly an event is missing.)
#
# With an overlap the bins are longer, but they follow each other at `length · (1 + overlap) · (1 − overlap)`, less than
# the length: with 0.5 and 10 bins of a second's recording the last 0.175 s are in no bin, whatever the unit. From an
# overlap of one ninth on (with 10 bins), the more overlap, the more is lost.
#
# Nothing is said in either case, and how much is missing differs from recording to recording.
#
# Exits 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip install --quiet --disable-pip-version-check"
$pip numpy==2.4.6 h5py==3.16.0 scipy==1.17.1 typing_extensions==4.16.0 tqdm==4.70.1 requests==2.34.2 2>/dev/null
# Its audio transforms need more packages, the event transforms these.
$pip --no-deps tonic==1.7.0 importRosbag==1.0.4 expelliarmus==1.1.12 2>/dev/null
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import tonic
from tonic.io import make_structured_array
from tonic.transforms import ToFrame

print("tonic", tonic.__version__, "numpy", np.__version__)
BINS = 10


def seen(duration, overlap=0.0):
    """One event at each time stamp: the fraction of the recording, and of the events, that is in some bin."""
    t = np.arange(duration + 1)
    # The column tells where in the recording an event lies.
    x = t * 100 // (duration + 1)
    events = make_structured_array(x, np.zeros_like(x), t, np.ones_like(x))
    frames = ToFrame(sensor_size=(100, 1, 2), n_time_bins=BINS, overlap=overlap)(events)
    assert len(frames) == BINS
    columns = frames.sum((0, 1, 2))
    return np.count_nonzero(columns) / 100, min(1.0, columns.sum() / len(t))


by_unit = {}
for duration, unit in ((19, "19 ms in milliseconds"), (19_000, "19 ms in microseconds")):
    by_unit[unit] = seen(duration)[1]
    print(f"no overlap, {unit}: {by_unit[unit]:.1%} of the events are in a bin")
by_overlap = {}
for overlap in (0.0, 0.1, 0.25, 0.5, 0.75):
    by_overlap[overlap] = seen(1_000_000, overlap)[0]
    print(f"1 s in microseconds, overlap {overlap}: {by_overlap[overlap]:.0%} of the recording is in a bin")

as_said = 0.45 < by_unit["19 ms in milliseconds"] < 0.55 and by_unit["19 ms in microseconds"] > 0.999
as_said = as_said and by_overlap[0.0] == 1 and 0.81 <= by_overlap[0.5] <= 0.84
as_said = as_said and by_overlap[0.75] < by_overlap[0.5] < by_overlap[0.25]
raise SystemExit(0 if as_said else 1)
PYTHON
