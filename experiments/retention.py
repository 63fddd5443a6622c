"""What trained networks keep on measured devices, from a second to ten years, and what gains make up for."""

import dataclasses

import jax
import numpy as np
from flax import nnx

from experiments import registry
from experiments.figures.retention import retention_figure
from experiments.output import Result, Run, inputs
from experiments.parts import (
    make_crossbar,
    make_dataset,
    make_digits_convnet,
    make_neuron,
    make_training,
)
from hwmodels.crossbar import Crossbar, Wires, preset
from jaxsnn.codesign.program import program
from jaxsnn.codesign.table import Table
from jaxsnn.learning.training import evaluate
from jaxsnn.network import Network

CALIBRATIONS = ("none", "kernel", "column")
_WEIGHTS, _CHIPS = 0, 1


@registry.experiment("retention", "accuracy of a trained SNN on measured devices, one second to ten years")
def retention(
    run: Run, *, seed: int, draws: int, devices: tuple[str, ...], times_s: tuple[float, ...]
) -> Result:
    """Train once, program chips of each measured device, and test them as they age.

    The gains are measured anew at every age: none, one for each kernel (global drift compensation), one for
    each column. Read noise and wires are left out, since they do not age: what is lost is the cells'.

    **Arguments:**

    - `seed`: of the initial weights and of the chips' devices.
    - `draws`: chips of each device; all ages and gains see the same ones.
    - `devices`: names of [`hwmodels.crossbar.PRESETS`][] that drift.
    - `times_s`: increasing times since programming, seconds.

    **Raises:** `ValueError` for fewer chips than one, times that do not increase, an unknown device, and one
    that does not drift.
    """
    if draws < 1:
        raise ValueError(f"retention.draws is the number of chips to program, at least 1; got {draws}.")
    if not times_s or times_s[0] < 0 or any(np.diff(times_s) <= 0):
        raise ValueError(f"retention.times_s must increase from zero or more, got {times_s}.")
    fresh = {name: dataclasses.replace(preset(name), read_noise=None) for name in devices}
    for name, device in fresh.items():
        if device.drift is None:
            raise ValueError(f"retention.devices must drift, and {name!r} keeps what it holds; leave it out.")
    key = jax.random.key(seed)
    dataset, training = make_dataset(), make_training()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    designs: dict[str, dict[str, Crossbar]] = {
        name: {gain: make_crossbar(device=device, calibration=gain) for gain in CALIBRATIONS}
        for name, device in fresh.items()
    }
    registry.require_all_used()

    run.fit(network, dataset, training, checkpoint_dir=run.checkpoints)
    images = dataset.scale(dataset.test_images)

    def accuracy(network: Network) -> float:
        return evaluate(network, images, dataset.test_labels, timesteps=training.timesteps).accuracy

    software = accuracy(network)
    chips = jax.random.split(jax.random.fold_in(key, _CHIPS), draws)

    def aged(crossbar: Crossbar, time_s: float) -> list[float]:
        crossbar = dataclasses.replace(crossbar, device=crossbar.device.at(time_s))
        return [accuracy(program(network, crossbar, chip, solve=_without_wires)) for chip in chips]

    found: dict[str, dict[str, list[list[float]]]] = {}
    with run.console.status("ageing chips"):
        for name, by_gain in designs.items():
            found[name] = {
                gain: [aged(crossbar, time) for time in times_s] for gain, crossbar in by_gain.items()
            }
    measured = {name: measured_until_s(name) for name in devices}
    return Result(
        title="What trained networks keep on measured devices",
        inputs=inputs(dataset, seed, training=training),
        numbers={
            "software_accuracy": software,
            "times_s": list(times_s),
            "accuracies": found,
            "measured_until_s": measured,
        },
        tables=[retention_table(software, times_s, found)],
        figures={"retention": retention_figure(software, times_s, found, measured)},
    )


def _without_wires(G: jax.Array, wires: Wires) -> jax.Array:
    return G


def measured_until_s(name: str) -> float | None:
    """The last time at which a preset's cells were measured; None where a law carries on by itself."""
    times = getattr(preset(name).drift, "times_s", None)
    return None if times is None else float(times[-1])


def retention_table(
    software: float, times_s: tuple[float, ...], found: dict[str, dict[str, list[list[float]]]]
) -> Table:
    """Mean accuracy by device and gain, a column for each age."""
    return Table(
        f"Accuracy on chips as they age (software {software:.2%})",
        ["device", "gain", *map(age, times_s)],
        [
            [name, gain, *(f"{np.mean(accuracies):.2%}" for accuracies in by_time)]
            for name, by_gain in found.items()
            for gain, by_time in by_gain.items()
        ],
        note="Mean over chips; gains are measured at each age.",
    )


def age(time_s: float) -> str:
    """A time as people say it."""
    for unit, seconds in (("y", 3.156e7), ("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if time_s >= seconds:
            return f"{time_s / seconds:.3g} {unit}"
    return f"{time_s:.3g} s"
