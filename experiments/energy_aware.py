"""Training that knows what an inference costs: accuracy against energy as the weight of the energy grows."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from experiments import registry
from experiments.figures.energy_aware import pareto_figure
from experiments.output import Result, Run, inputs, require_different
from experiments.parts import (
    make_accelerator,
    make_chip,
    make_dataset,
    make_digits_convnet,
    make_neuron,
    make_training,
)
from jaxsnn.codesign.inference import Inference, Setting
from jaxsnn.codesign.penalties import EnergyPenalty, SpikePenalty
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.workload import Conventions
from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.bit_widths import LearntBits, with_learnt_bits
from jaxsnn.learning.evaluation import mean_spike_rate
from jaxsnn.learning.training import Penalty, TrainConfig
from jaxsnn.network import Network

make_learnt_bits = registry.register(LearntBits)


@registry.experiment("energy_aware", "train with the chip's energy in the loss: accuracy against energy")
def energy_aware(
    run: Run,
    *,
    seeds: tuple[int, ...],
    betas: tuple[float, ...],
    tuning_epochs: int,
    tuning_learning_rate: float,
    exit_entropy: float,
    exit_temperature: float,
    model: Literal["sata", "spikeflow"],
    conventions: Conventions,
    image_size: int,
) -> Result:
    """One network per seed, trained without a penalty; from it, one network per penalty and β, equally long.

    All networks run with the same early exit, and start from the same bits. A penalty is counted in units of
    its own value on the network it starts from, so that β means the same for energy and for spikes.

    **Arguments:**

    - `seeds`: of initial weights and data order; tables show means over them.
    - `betas`: weights of the penalty, above zero; β = 0 is always run.
    - `tuning_epochs`, `tuning_learning_rate`: of the training with a penalty, in place of `TrainConfig`'s.
    - `exit_entropy`: threshold of early exit; `exit_temperature`: τ of its relaxation in training.
    - `model`: whose energy, "sata" or "spikeflow".
    - `conventions`: of the cost model.
    - `image_size`: side of the images, 8 for digits.
    """
    if not seeds or not betas:
        raise ValueError("energy_aware needs at least one of seeds and one of betas, got none.")
    require_different(seeds)
    for beta in betas:
        if not beta > 0:
            raise ValueError(f"energy_aware.betas must be above zero (zero is always run), got {beta}.")
    dataset, training = make_dataset(), make_training()
    tuning = dataclasses.replace(training, epochs=tuning_epochs, learning_rate=tuning_learning_rate)
    accelerator, chip = make_accelerator(), make_chip()
    setting = Setting(training.timesteps, exit_entropy, accelerator if model == "sata" else chip, conventions)
    networks = {seed: _network(image_size, seed) for seed in seeds}
    registry.require_all_used()

    rows, rounded = [], []
    for seed, network in networks.items():
        found, coarser = _sweep(
            run, seed, network, dataset, training, tuning, setting, betas, exit_temperature
        )
        rows += found
        rounded += coarser
    summary = _summary(rows, ("penalty", "beta"))
    coarse = _summary(rounded, ("penalty", "beta", "bits"))
    return Result(
        title="Training with the chip's energy in the loss",
        inputs=inputs(dataset, seeds, training=training, tuning=tuning),
        numbers={
            "model": model,
            "summary": summary,
            "rounded_after_training": coarse,
            "runs": rows,
            "rounded_runs": rounded,
        },
        tables=[_table(summary, coarse, model, len(seeds))],
        figures={"pareto": pareto_figure(summary, coarse)},
    )


def _network(image_size: int, seed: int) -> Network:
    rngs = nnx.Rngs(params=jax.random.key(seed))
    network = make_digits_convnet(neuron=make_neuron, image_size=image_size, rngs=rngs)
    return with_learnt_bits(network, make_learnt_bits)


def _sweep(
    run: Run,
    seed: int,
    network: Network,
    dataset: Dataset,
    training: TrainConfig,
    tuning: TrainConfig,
    setting: Setting,
    betas: Sequence[float],
    temperature: float,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One seed: the networks of all penalties, and those that learnt no widths with their weights rounded."""
    folder = run.checkpoints / f"seed_{seed}"
    run.fit(
        network,
        dataset,
        dataclasses.replace(training, seed=seed),
        checkpoint_dir=folder / "base",
    )
    start = setting.measure(network, dataset.scale(dataset.train_images), dataset.train_labels)
    penalties: list[tuple[str, float, Penalty | None]] = [("none", 0.0, None)]
    for beta in betas:
        energy = EnergyPenalty(
            beta, start.energy_j, setting.entropy, temperature, setting.chip, setting.conventions
        )
        spikes = SpikePenalty(beta, float(mean_spike_rate(start.record)))
        penalties += [("energy", beta, energy), ("spikes", beta, spikes)]

    images, labels = dataset.scale(dataset.test_images), dataset.test_labels
    rows: list[dict[str, Any]] = []
    rounded: list[dict[str, Any]] = []
    reference: Inference | None = None
    for name, beta, penalty in penalties:
        tuned = nnx.clone(network)
        run.console.print(f"seed {seed}, penalty {name}, β = {beta:g}")
        run.fit(
            tuned,
            dataset,
            dataclasses.replace(tuning, seed=seed),
            checkpoint_dir=folder / f"{name}_{beta:g}",
            penalty=penalty,
        )
        measured = setting.measure(tuned, images, labels)
        if reference is None:
            reference = measured
        if name != "energy":  # Those widths are learnt.
            origin = {"seed": seed, "penalty": name, "beta": beta}
            rounded += [origin | row for row in _rounded(tuned, setting, images, labels, reference)]
        saved = setting.by_lever(reference, measured)
        rows.append({"seed": seed, "penalty": name, "beta": beta} | _facts(measured, reference, saved))
    return rows, rounded


def _rounded(
    network: Network, setting: Setting, images: Any, labels: Any, reference: Inference
) -> list[dict[str, Any]]:
    """The same network with all its weights at fewer and fewer bits, not trained again."""
    rows = []
    quantizer = network.layers[0].synapse.quantizer
    for bits in range(quantizer.most, quantizer.least - 1, -1):
        coarse = nnx.clone(network)
        for layer in coarse.layers:
            layer.synapse.quantizer = LearntBits(bits, least=quantizer.least, most=quantizer.most)
        rows.append({"bits": bits} | _facts(setting.measure(coarse, images, labels), reference))
    return rows


def _facts(
    measured: Inference, reference: Inference, saved: dict[str, float] | None = None
) -> dict[str, Any]:
    facts = measured.numbers() | {"energy_over_beta_zero": measured.energy_j / reference.energy_j}
    return facts | {f"saved_by_{lever}": share for lever, share in (saved or {}).items()}


def _summary(rows: Sequence[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Means over the seeds, for each value of `keys`."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, values, strict=True))
        | {
            name: np.mean([row[name] for row in group], axis=0).tolist()
            for name in group[0]
            if name not in (*keys, "seed")
        }
        for values, group in groups.items()
    ]


def _table(
    summary: Sequence[dict[str, Any]], coarse: Sequence[dict[str, Any]], model: str, seeds: int
) -> Table:
    rows = [
        [
            _name(row),
            *_cells(row),
            *(f"{row[f'saved_by_{lever}']:.1%}" for lever in ("bits", "timesteps", "rates")),
        ]
        for row in summary
    ]
    rows += [[f"{_name(row)}, then {row['bits']} bits", *_cells(row), "", "", ""] for row in coarse]
    return Table(
        "Accuracy against energy",
        ["penalty", "accuracy", "energy", "timesteps", "bits", "by bits", "by timesteps", "by rates"],
        rows,
        note=f"Test images, mean of {seeds} seeds. Energy per inference on {model}, β = 0 being 100 %; "
        "the last columns: what each lever saves alone.",
    )


def _name(row: dict[str, Any]) -> str:
    return "β = 0" if row["penalty"] == "none" else f"{row['penalty']}, β = {row['beta']:g}"


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        f"{row['accuracy']:.2%}",
        f"{row['energy_over_beta_zero']:.1%}",
        f"{row['mean_timesteps']:.2f}",
        "/".join(f"{bits:.3g}" for bits in row["weight_bits"]),
    ]
