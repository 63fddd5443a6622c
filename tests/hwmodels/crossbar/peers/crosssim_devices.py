"""Statistics of 1e5 devices of CrossSim's models, as JSON: run with its folder on PYTHONPATH."""

import json
import sys
from types import SimpleNamespace

import numpy as np
from simulator.backend import ComputeBackend
from simulator.devices.custom.PCM_Joshi import PCMJoshi
from simulator.devices.custom.RRAM_Milo import RRAMMilo
from simulator.devices.custom.RRAM_Wan import RRAMWan
from simulator.devices.custom.SONOS import SONOS


def model(kind, low_us, high_us):
    parameters = SimpleNamespace(
        Gmin_norm=max(low_us, 1e-13) / high_us,
        Gmax_norm=1.0,
        Grange_norm=1 - max(low_us, 1e-13) / high_us,
        clip_conductance=False,
        cell_bits=0,
        time=0,
        Rmin=1e6 / high_us,
        Rmax=1e6 / max(low_us, 1e-13),
        Vread=0.1,
        nonlinear_IV=SimpleNamespace(enable=False),
    )
    return kind(parameters, SimpleNamespace(magnitude=0.0))


def statistics(held):
    return [float(held.mean()), float(held.std()), *map(float, np.quantile(held, [0.05, 0.5, 0.95]))]


def main():
    ComputeBackend(use_gpu=False)
    np.random.seed(0)  # noqa: NPY002  (the generator that CrossSim draws from)
    rows = []
    for name, kind, low, high, levels, days in (
        ("pcm-joshi-2020", PCMJoshi, 0.25, 25.0, (0.25, 12.5, 25.0), (None,)),
        ("rram-milo-2021", RRAMMilo, 50.0, 225.0, (50.0, 140.0, 225.0), (None,)),
        ("rram-wan-2022", RRAMWan, 1.0, 39.2, (4.0, 20.0, 39.2), (None,)),
        ("sonos-agrawal-2022", SONOS, 0.0, 16.0, (0.8, 8.0, 16.0), (0, 1, 2.5, 5, "read")),
    ):
        device = model(kind, low, high)
        for target in levels:
            for day in days:
                given = np.full(100_000, target / high)
                if day is None:
                    held = device.programming_error(given)
                elif day == "read":
                    held = device.read_noise(given)
                else:
                    held = device.drift_error(given, day)
                time_s = 86400.0 * day if isinstance(day, int | float) else day
                # CrossSim's own clipping is the core's: conductances are never negative.
                found = statistics(np.clip(held, 0, None) * high)
                rows.append({"device": name, "target_us": target, "time_s": time_s, "statistics_us": found})
    json.dump({"package": "CrossSim 3.2", "rows": rows}, sys.stdout)


main()
