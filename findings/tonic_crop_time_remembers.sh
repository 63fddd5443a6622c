#!/usr/bin/env bash
# tonic 1.7.0: a CropTime without a max cuts every later recording at the end of the first one it saw.
#
# CropTime(min=...) drops the events before min. Its max is optional: it is described as the time after which events are
# dropped, with no word of what its absence means, so a good guess is "no limit", as min's default of 0 is none. But at
# its first call it takes the last time of that recording and keeps it in its own max. A transform is made once for a
# whole data set, so the first recording that is read decides how much of all the others is kept: the events depend on
# the order of reading (and, with several workers, on which worker reads a recording). Nothing is said.
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
from tonic.transforms import CropTime

print("tonic", tonic.__version__, "numpy", np.__version__)


def recording(milliseconds):
    t = np.arange(0, milliseconds * 1000, 1000)
    return make_structured_array(np.zeros(len(t)), np.zeros(len(t)), t, np.zeros(len(t)))


recordings = {"short": recording(100), "middle": recording(300), "long": recording(1000)}
kept = {}
for order in (("short", "middle", "long"), ("long", "middle", "short")):
    transform = CropTime(min=10_000)  # drop the first 10 ms
    kept[order] = {name: len(transform(recordings[name])) for name in order}
    print("read as", ", ".join(f"{name}: {kept[order][name]} of {len(recordings[name])} events" for name in order))
    print("    max of the transform afterwards:", transform.max)
first, second = kept.values()
as_said = first == {"short": 90, "middle": 90, "long": 90} and second == {"long": 990, "middle": 290, "short": 90}
raise SystemExit(0 if as_said else 1)
PYTHON
