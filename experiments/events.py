"""Event recordings: a network trained on their frames, and on chips, where they are spikes from the start."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import nnx
from rich.progress import Progress

from experiments import registry
from experiments.figures.accuracy import training_figure
from experiments.output import Result, Run, inputs, require_different
from experiments.parts import make_accelerator, make_chip, make_dataset, make_neuron, make_training
from jaxsnn.codesign import evaluate
from jaxsnn.codesign.report import Report
from jaxsnn.codesign.table import Table
from jaxsnn.learning.training import TrainResult
from jaxsnn.models.events import event_convnet

make_event_convnet = registry.register(event_convnet)

_CHIPS = 1


@registry.experiment(
    "events",
    "train on N-MNIST's recordings, put the network on chips; needs its files (load.path or JAXSNN_DATA)",
)
def events(run: Run, *, seeds: tuple[int, ...], draws: int) -> Result:
    """Train a network from each seed, test them on recordings that no training saw, and put them on chips.

    No input is analogue: the first layer's crossbars see the events themselves, and every rate, the input's
    too, is measured on the test recordings.

    **Arguments:**

    - `seeds`: one training each: initial weights and order of the recordings.
    - `draws`: programmed chips of every design for each network.
    """
    if not seeds or draws < 1:
        raise ValueError(
            f"events needs at least one of seeds (trainings) and of draws (chips); got {seeds} and {draws}."
        )
    require_different(seeds)
    dataset = make_dataset()
    networks = [
        make_event_convnet(
            image_size=dataset.image_shape[0],
            in_channels=dataset.image_shape[-1],
            classes=dataset.classes,
            neuron=make_neuron,
            rngs=nnx.Rngs(seed),
        )
        for seed in seeds
    ]
    training = make_training()
    chip, accelerator = make_chip(), make_accelerator()
    chips = {
        "SpikeFlow": chip,
        "SpikeFlow, column gain": dataclasses.replace(chip, calibration="column"),
        "SATA": accelerator,
    }
    make_neuron()
    registry.require_all_used()

    trained = [
        run.fit(
            network,
            dataset,
            dataclasses.replace(training, seed=seed),
            checkpoint_dir=run.checkpoints / str(seed),
        )
        for seed, network in zip(seeds, networks, strict=True)
    ]
    with Progress(console=run.console) as bar:
        tasks: dict[str, Any] = {name: bar.add_task(f"programming {name}") for name in chips}
        report = evaluate(
            networks,
            dataset,
            chips,
            timesteps=training.timesteps,
            draws=draws,
            key=jax.random.fold_in(jax.random.key(seeds[0]), _CHIPS),
            progress=lambda name, done, total: bar.update(tasks[name], completed=done, total=total),
        )
    history = trained[0].history
    return Result(
        title="Event recordings on chips",
        inputs=inputs(dataset, list(seeds), training=training) | {"event_shape": dataset.event_shape},
        numbers=_numbers(report, trained, len(dataset.test_labels)),
        tables=[accuracy_table(report, len(dataset.test_labels)), *report.tables()],
        figures={
            "training": training_figure(
                [epoch.loss for epoch in history], [epoch.test_accuracy for epoch in history]
            )
        },
    )


def standard_error(accuracy: float, count: int) -> float:
    """Of a fraction that was found on `count` independent recordings: `√(p(1 − p)/count)`."""
    return float(np.sqrt(accuracy * (1 - accuracy) / count))


def _numbers(report: Report, trained: list[TrainResult], count: int) -> dict[str, Any]:
    return report.numbers() | {
        "test_recordings": count,
        "software_standard_error": standard_error(report.software_accuracy, count),
        "training": [[dataclasses.asdict(epoch) for epoch in one.history] for one in trained],
    }


def accuracy_table(report: Report, count: int) -> Table:
    """What is known of the accuracy: of each network, and how far so few recordings can tell."""
    error = standard_error(report.software_accuracy, count)
    accuracies = [one.accuracy for one in report.software]
    return Table(
        "Test accuracy in software",
        ["network", "test accuracy"],
        [[f"seed {number + 1}", f"{accuracy:.1%}"] for number, accuracy in enumerate(accuracies)]
        + [["mean", f"{report.software_accuracy:.1%}"]],
        note=f"{count} test recordings, the same for every network: the standard error of an accuracy is "
        f"{error:.1%}, and two networks that differ by less than twice that are not told apart.",
    )
