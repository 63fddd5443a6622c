"""Co-design: the network for the chip, and the chip for the network: accuracy, energy and area."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.progress import Progress

from experiments import registry
from experiments.figures.search import search_figure
from experiments.output import Result, Run, inputs
from experiments.parts import (
    make_chip,
    make_dataset,
    make_device,
    make_digits_convnet,
    make_neuron,
    make_training,
    make_wires,
)
from hwmodels import spikeflow
from hwmodels.search import InfeasibleError, Optimum
from jaxsnn.codesign.inference import Inference, Setting
from jaxsnn.codesign.penalties import EnergyPenalty
from jaxsnn.codesign.program import program
from jaxsnn.codesign.search import ChipSpace, find_chip, mean_weight_errors
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.workload import Conventions, to_workload
from jaxsnn.network import Network

_WEIGHTS, _CHIPS, _PROXY, _SEARCH = range(4)
_CALIBRATION_IMAGES = 64


make_space = registry.register(ChipSpace)


@registry.experiment("search", "find network and chip together: accuracy, energy and area")
def search(
    run: Run,
    *,
    seed: int,
    betas: tuple[float, ...],
    area_limits_mm2: tuple[float, ...],
    draws: int,
    tuning_epochs: int,
    tuning_learning_rate: float,
    exit_entropy: float,
    exit_temperature: float,
    restarts: int,
    steps: int,
    conventions: Conventions,
) -> Result:
    """Search a chip for a trained network, tune networks with its energy in the loss, search one for each.

    What is found is measured on programmed crossbars of its size behind converters of its bits: accuracy,
    and energy at the spike rates and exits on the chip.

    **Arguments:**

    - `seed`: of weights, data order, devices and searches.
    - `betas`: weights of the energy in the loss, above zero; β = 0 is always run.
    - `area_limits_mm2`: a chip is searched below each of them; networks are tuned on that of the greatest.
    - `draws`: programmed chips of each design.
    - `tuning_epochs`, `tuning_learning_rate`: of the training with a penalty, in place of `TrainConfig`'s.
    - `exit_entropy`: threshold of early exit; `exit_temperature`: τ of its relaxation in training.
    - `restarts`, `steps`: of every search.
    - `conventions`: of the cost model.

    **Raises:** `ValueError` for no area limit and fewer draws than one;
    [`hwmodels.search.InfeasibleError`][] where the greatest limit admits no chip.
    """
    if not area_limits_mm2 or min(draws, restarts, steps) < 1:
        raise ValueError(
            "search needs at least one each of area_limits_mm2, draws, restarts and steps; "
            f"got {area_limits_mm2}, {draws}, {restarts} and {steps}."
        )
    for beta in betas:
        if not beta > 0:
            raise ValueError(f"search.betas must be above zero (zero is always run), got {beta}.")
    key = jax.random.key(seed)
    chip_keys = list(jax.random.split(jax.random.fold_in(key, _CHIPS), draws))
    dataset, training = make_dataset(), make_training()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    published, space = make_chip(wires=make_wires(), device=make_device()), make_space()
    tuning = dataclasses.replace(training, epochs=tuning_epochs, learning_rate=tuning_learning_rate)
    registry.require_all_used()

    run.fit(network, dataset, training, checkpoint_dir=run.checkpoints / "base")
    seen = dataset.scale(dataset.train_images), dataset.train_labels
    unseen = dataset.scale(dataset.test_images), dataset.test_labels

    def inference(network: Network, chip: spikeflow.Chip, data: tuple[Any, Any]) -> Inference:
        return Setting(training.timesteps, exit_entropy, chip, conventions).measure(network, *data)

    def find(network: Network, limit_mm2: float) -> Optimum:
        usual = inference(network, published, seen)
        errors = mean_weight_errors(
            network, published.crossbar(), space.crossbar_sizes, jax.random.fold_in(key, _PROXY)
        )
        return find_chip(
            to_workload(usual.record, usual.timesteps),
            **space.of(published, errors),
            key=jax.random.fold_in(key, _SEARCH),
            area_limit_mm2=limit_mm2,
            conventions=conventions,
            restarts=restarts,
            steps=steps,
        )

    limits = sorted(area_limits_mm2, reverse=True)
    target = find(network, limits[0]).design
    unit_j = inference(network, target, seen).energy_j

    def tuned(beta: float) -> Network:
        run.console.print(f"β = {beta:g}")
        penalty = EnergyPenalty(beta, unit_j, exit_entropy, exit_temperature, target, conventions)
        copy = nnx.clone(network)
        folder = run.checkpoints / f"beta_{beta:g}"
        run.fit(copy, dataset, tuning, checkpoint_dir=folder, penalty=penalty)
        return copy

    def on_chips(network: Network, chip: spikeflow.Chip) -> dict[str, Any]:
        few = seen[0][:_CALIBRATION_IMAGES]
        chips = [program(network, chip, key, images=few, timesteps=training.timesteps) for key in chip_keys]
        return facts(chip, [inference(one, chip, unseen) for one in chips], conventions)

    networks = {beta: tuned(beta) for beta in (0.0, *betas)}
    rows: list[dict[str, Any]] = []
    infeasible: list[str] = []
    with Progress(console=run.console) as progress:
        for beta, candidate in progress.track(networks.items(), description="searching chips"):
            software = inference(candidate, published, unseen)
            common = {"beta": beta, "software_accuracy": software.accuracy}
            rows.append(common | {"area_limit_mm2": None} | on_chips(candidate, published))
            for limit in limits:
                try:
                    found = find(candidate, limit)
                except InfeasibleError as error:
                    infeasible.append(f"β = {beta:g}, {limit:g} mm²: {error}")
                    continue
                spent = {"evaluations": found.evaluations}
                rows.append(common | {"area_limit_mm2": limit} | on_chips(candidate, found.design) | spent)
    for row, best in zip(rows, undominated(rows), strict=True):
        row["undominated"] = best
    return Result(
        title="Network and chip, found together",
        inputs=inputs(dataset, seed, training=training, tuning=tuning),
        numbers={"designs_in_space": space.designs, "found": rows, "infeasible": infeasible},
        tables=[search_table(rows, infeasible)],
        figures={"search": search_figure(rows)},
    )


def facts(chip: spikeflow.Chip, measured: Sequence[Inference], conventions: Conventions) -> dict[str, Any]:
    """A design, and the mean of what its programmed chips do."""
    costs = [
        spikeflow.evaluate(to_workload(one.record, one.timesteps), chip, conventions) for one in measured
    ]
    accuracies = [one.accuracy for one in measured]
    return {
        "chip": {name: int(getattr(chip, name)) for name in _SEARCHED},
        "accuracies": accuracies,
        "accuracy": float(np.mean(accuracies)),
        "mean_timesteps": float(np.mean([one.timesteps for one in measured])),
        "energy_j": float(np.mean([cost.energy_j for cost in costs])),
        "latency_s": float(np.mean([cost.latency_s for cost in costs])),
        "area_mm2": float(costs[0].area_mm2),
    }


_SEARCHED = ("crossbar_rows", "crossbar_columns", "adc_bits", "mux_ratio", "pes_per_tile")


def undominated(rows: Sequence[Mapping[str, float]]) -> list[bool]:
    """Which rows no other one beats: none is as accurate, frugal and small, and better in one of these."""
    points = np.array([[-row["accuracy"], row["energy_j"], row["area_mm2"]] for row in rows])
    return [not np.any(np.all(points <= point, axis=1) & np.any(points < point, axis=1)) for point in points]


def search_table(rows: Sequence[Mapping[str, Any]], infeasible: Sequence[str]) -> Table:
    """Every network on the published chip and on those found for it."""
    return Table(
        "Networks and their chips",
        ["network", "chip", "size/ADC/mux/PEs", "accuracy", "T", "nJ", "µs", "mm²", "front"],
        [
            [
                f"β = {row['beta']:g}",
                "published" if row["area_limit_mm2"] is None else f"≤ {row['area_limit_mm2']:g} mm²",
                "/".join(str(row["chip"][name]) for name in _SEARCHED if name != "crossbar_columns"),
                f"{row['accuracy']:.2%}",
                f"{row['mean_timesteps']:.2f}",
                f"{1e9 * row['energy_j']:.1f}",
                f"{1e6 * row['latency_s']:.1f}",
                f"{row['area_mm2']:.2f}",
                "yes" if row["undominated"] else "",
            ]
            for row in rows
        ],
        note=" ".join(
            [
                "Accuracy, T and energy on programmed chips. Front: no other row is as accurate, frugal and "
                "small, and better in one of these.",
                *infeasible,
            ]
        ),
    )
