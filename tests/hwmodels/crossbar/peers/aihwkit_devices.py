"""Statistics of 1e5 devices of aihwkit's noise models, as JSON: run with a Python that has aihwkit."""

import json
import sys

import aihwkit
import numpy as np
import torch
from aihwkit.inference import PCMLikeNoiseModel
from aihwkit.inference.noise.reram import ReRamWan2022NoiseModel

DAY_S = 86400.0


def statistics(held):
    held = held.numpy().astype(float)
    return [float(held.mean()), float(held.std()), *map(float, np.quantile(held, [0.05, 0.5, 0.95]))]


def drawn(model, g_us, time_s):
    target = torch.full((100_000,), float(g_us))
    programmed = model.apply_programming_noise_to_conductance(target.clone())
    if time_s is None:
        return statistics(programmed)
    coefficients = model.generate_drift_coefficients(target.clone())
    return statistics(model.apply_drift_noise_to_conductance(programmed, coefficients, time_s))


def main():
    torch.manual_seed(0)
    pcm, rram = PCMLikeNoiseModel(g_max=25.0), ReRamWan2022NoiseModel(g_max=40.0)
    rows = [("pcm-nandakumar-2019", pcm, g, t) for g in (1.25, 12.5, 25.0) for t in (0.0, 3600.0, 3.15e7)]
    rows += [("rram-wan-2022", rram, g, t) for g in (4.0, 20.0, 40.0) for t in (1.0, DAY_S, 2 * DAY_S)]
    found = [
        {"device": name, "target_us": g, "time_s": t, "statistics_us": drawn(model, g, t)}
        for name, model, g, t in rows
    ]
    json.dump({"package": f"aihwkit {aihwkit.__version__}", "rows": found}, sys.stdout)


main()
