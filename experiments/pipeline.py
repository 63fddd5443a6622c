"""The main job: from images to a chip report."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx
from matplotlib.figure import Figure

from experiments import registry
from experiments.figures.accuracy import hardware_accuracy_figure, training_figure
from experiments.figures.crossbar import ir_drop_figure, tile_size_figure, weights_figure
from experiments.figures.energy import energy_figure
from experiments.output import Result, Run, inputs, require_different
from experiments.parts import make_dataset, make_digits_convnet, make_neuron, make_training
from hwmodels.chip import Analog, Chip, arithmetic, require_chip
from hwmodels.crossbar import program_kernels
from jaxsnn.codesign import evaluate
from jaxsnn.codesign.report import Report
from jaxsnn.codesign.workload import Conventions
from jaxsnn.learning.quantization import settled
from jaxsnn.network import Network

# Every use of randomness gets its own stream of the one seed.
_WEIGHTS, _CHIPS = 0, 1


@registry.experiment("digits", "train an SNN on handwritten digits, put it on chips, report what survives")
def digits(
    run: Run,
    *,
    seeds: tuple[int, ...],
    draws: int,
    chips: dict[str, Any],
    conventions: Conventions,
    network: Callable[..., Network] = make_digits_convnet,
    test_batch: int = 256,
) -> Result:
    """Train, program, test, price: every number of the report, one chip a row.

    **Arguments:**

    - `seeds`: one network each, of its initial weights and data order. The first is also the seed of devices.
    - `draws`: programmed chips of every design.
    - `chips`: by the names that tables call them, e.g. `{"SpikeFlow": @Chip()}`.
    - `conventions`: of the cost models, "corrected" or "published".
    - `network`: makes one for the data's size, channels and classes, e.g. `@spikformer`.
    - `test_batch`: test images at once; each size that the batches have is compiled for each design.

    **Raises:** `ValueError` for no seeds, no chips, and fewer draws or test images at once than one;
    `TypeError` for what is no chip.
    """
    if not seeds or not chips or draws < 1 or test_batch < 1:
        raise ValueError(
            "digits needs at least one of seeds, of chips, of draws and of test_batch, "
            f"got seeds={seeds}, {len(chips)} chips, draws={draws} and test_batch={test_batch}."
        )
    require_different(seeds)
    for name, chip in chips.items():
        require_chip(name, chip)
    dataset, training = make_dataset(), make_training()
    networks = {
        seed: network(
            neuron=make_neuron,
            image_size=dataset.image_shape[0],
            in_channels=dataset.image_shape[-1],
            classes=dataset.classes,
            rngs=nnx.Rngs(params=jax.random.fold_in(jax.random.key(seed), _WEIGHTS)),
        )
        for seed in seeds
    }
    key = jax.random.fold_in(jax.random.key(seeds[0]), _CHIPS)
    registry.require_all_used()

    trained = {
        seed: run.fitted(made, dataset, dataclasses.replace(training, seed=seed))
        for seed, made in networks.items()
    }
    first = trained[seeds[0]]
    run.piece.before()
    with run.progress() as progress:
        task = progress.add_task("programming chips", total=len(chips))

        def on_chip(name: str, done: int, total: int) -> None:
            share = list(chips).index(name) + done / total
            progress.update(task, completed=share, description=name)

        report = evaluate(
            list(networks.values()),
            dataset,
            chips,
            timesteps=training.timesteps,
            batch_size=test_batch,
            draws=draws,
            key=key,
            conventions=conventions,
            progress=on_chip,
        )
    return Result(
        title=f"An SNN on {dataset.name}, and on chips",
        # Their parameters are in the config.
        inputs=inputs(dataset, seeds, training=training)
        | {"chips": {name: chip.label for name, chip in chips.items()}},
        numbers=report.numbers()
        | {
            "resumed_epochs": {str(seed): result.resumed_epochs for seed, result in trained.items()},
            "training": [dataclasses.asdict(epoch) for epoch in first.history],
        },
        tables=report.tables(),
        charts=report.charts(),
        verdict=report.verdict,
        figures={
            "training": training_figure(
                [epoch.loss for epoch in first.history], [epoch.test_accuracy for epoch in first.history]
            ),
            "accuracy": hardware_accuracy_figure(report.software_accuracy, report.chips),
            "energy": energy_figure(
                report.estimated_energy_j,
                {name: found.cost.energy_by_component_j for name, found in _ends(report).items()},
            ),
            **_circuit_figures(networks[seeds[0]], chips, key),
        },
    )


def _ends(report: Report) -> dict[str, Any]:
    """The chips of least and of greatest energy."""
    order = sorted(report.chips.values(), key=lambda chip: chip.energy_j)
    return {chip.name: chip for chip in (order[0], order[-1])}


def _circuit_figures(network: Network, chips: Mapping[str, Chip], key: jax.Array) -> dict[str, Figure]:
    """The largest layer on the crossbars: its first tile on the first, its weights on all, tiles by size."""
    designs = {
        name: made.crossbar for name, chip in chips.items() if isinstance(made := arithmetic(chip), Analog)
    }
    if not designs:
        return {}
    # All kernels, as the evaluation programs them: nothing is compiled for the pictures.
    kernels = nnx.state(settled(network), nnx.PathContains("kernel"))
    found = {name: program_kernels(kernels, design, key) for name, design in designs.items()}
    path, largest = max(jax.tree_util.tree_leaves_with_path(kernels), key=lambda leaf: leaf[1].size)
    shown = jax.tree_util.keystr(path)
    programmed = {name: chip[shown] for name, chip in found.items()}
    return {
        "IR_drop": ir_drop_figure(next(iter(programmed.values()))),
        "weights": weights_figure(largest, programmed),
        "tile_size": tile_size_figure(kernels, shown, next(iter(designs.values())), key),
    }
