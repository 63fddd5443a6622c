#!/usr/bin/env bash
# tonic 1.7.0: ToVoxelGrid and UniformNoise treat all events as ON events when the polarity is a bool.
#
# A bool polarity is tonic's own layout: tonic.io.events_struct, the default of make_structured_array, has it, and so
# have the events that its loaders give for DVSGesture, CIFAR10DVS, DVSLip, DSEC and NERDD.
#
# ToVoxelGrid is documented as the event volume of Zhu et al. 2019, where an ON event adds and an OFF event subtracts.
# It marks OFF events by writing −1 into the polarity field. In a bool field, −1 is stored as True, so OFF events add
# as well and the grid only counts events. The same recording with an int8 polarity gives the signed grid.
#
# UniformNoise is documented to spread noise evenly over x, y, t and p. It draws the polarity from [0, 2) as a float and
# writes that into the field: in a bool field all but an exact 0 are True, so that all noise events are ON events.
#
# (Beside that, the grid loses events: the paper spreads the times over the number of bins less one, so that each event
# counts once; the transform spreads them over all bins and drops the half of the last bin that falls behind its end.)
#
# Nothing is said in any of these cases. A good guess is that a transform of this library reads the layout of its own data sets,
# and that a bool and an int8 polarity mean the same.
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
from tonic.io import events_struct, make_structured_array
from tonic.transforms import ToVoxelGrid, UniformNoise

print("tonic", tonic.__version__, "numpy", np.__version__)
print("polarity of tonic.io.events_struct:", events_struct["p"], " of DVSGesture:", tonic.datasets.DVSGesture.dtype["p"])
rng = np.random.default_rng(0)
np.random.seed(0)
sensor, count = (10, 8, 2), 1000
x, y = rng.integers(0, 10, count), rng.integers(0, 8, count)
t, p = np.sort(rng.integers(0, 10_000, count)), rng.integers(0, 2, count)
own = make_structured_array(x, y, t, p)
wide = own.astype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "i1")])
print(f"recording: {int(p.sum())} ON events, {count - int(p.sum())} OFF events")

negative = {}
for name, events in (("bool", own), ("int8", wide)):
    grid = ToVoxelGrid(sensor_size=sensor, n_time_bins=5)(events)
    negative[name] = int((grid < 0).sum())
    print(f"ToVoxelGrid, {name} polarity: sum {grid.sum():8.1f}, {negative[name]:3d} of {grid.size} cells negative")

# A recording of OFF events only: every value should be at most zero.
off = own.copy()
off["p"] = False
off_sum = ToVoxelGrid(sensor_size=sensor, n_time_bins=5)(off).sum()
print(f"ToVoxelGrid, the {count} events all OFF: sum {off_sum:.1f}")

share = {}
for name, dtype in (("bool", own.dtype), ("int8", wide.dtype)):
    noisy = UniformNoise(sensor_size=sensor, n=10_000)(off.astype(dtype))
    share[name] = int(noisy["p"].astype(int).sum()) / 10_000
    print(f"UniformNoise, {name} polarity: {share[name]:.1%} of the noise are ON events")

as_said = negative["bool"] == 0 and negative["int8"] > 100 and off_sum > 850
as_said = as_said and share["bool"] > 0.999 and abs(share["int8"] - 0.5) < 0.02
raise SystemExit(0 if as_said else 1)
PYTHON
