"""The main job: from images to a chip report."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from matplotlib.figure import Figure
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments import registry
from experiments.figures.accuracy import hardware_accuracy_figure, training_figure
from experiments.figures.crossbar import ir_drop_figure, tile_size_figure, weights_figure
from experiments.figures.energy import energy_figure
from experiments.hardware_cost import Costs, cost_table, hardware_costs
from experiments.output import Result, Run, inputs
from experiments.robustness import accuracy_table, spike_rate_table
from hwmodels import sata, spikeflow
from hwmodels.crossbar import Crossbar, Device, Variation, Wires
from hwmodels.crossbar.mapping import Calibration
from jaxsnn.codesign.robustness import Robustness, on_hardware
from jaxsnn.codesign.workload import Conventions, to_workload
from jaxsnn.data import datasets
from jaxsnn.learning.training import Evaluation, TrainConfig, TrainResult, evaluate, fit
from jaxsnn.models.digits import digits_convnet
from jaxsnn.network import Network
from jaxsnn.neuron import LIF

make_dataset = registry.register(datasets.load, name="load")
make_training = registry.register(TrainConfig)
make_neuron = registry.register(LIF)
make_digits_convnet = registry.register(digits_convnet)
make_crossbar = registry.register(Crossbar)
make_wires = registry.register(Wires)
make_device = registry.register(Device)
registry.register(Variation)
make_accelerator = registry.register(sata.Accelerator, name="Accelerator")
make_chip = registry.register(spikeflow.Chip, name="Chip")

# Every use of randomness gets its own stream of the one seed.
_WEIGHTS, _CHIPS = 0, 1


@registry.experiment("digits", "train an SNN on handwritten digits, put it on chips, report what survives")
def digits(
    run: Run,
    *,
    seed: int,
    draws: int,
    crossbar_sizes: tuple[int, ...],
    calibrations: tuple[Calibration, ...],
    conventions: Conventions,
) -> Result:
    """Train, deploy, measure, cost: every number of the report.

    **Arguments:**

    - `seed`: of the initial weights and of the chips' devices.
    - `draws`: programmed chips per crossbar design.
    - `crossbar_sizes`: rows = columns of the tiles.
    - `calibrations`: digital gain calibrations to compare ("none", "tile", "column").
    - `conventions`: of the cost models, "corrected" or "published".
    """
    key = jax.random.key(seed)
    dataset = make_dataset()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    training = make_training()
    wires, device = make_wires(), make_device()
    accelerator, chip = make_accelerator(), make_chip()
    designs = {
        f"{size}×{size}" + (f", {calibration} gain" if calibration != "none" else ""): make_crossbar(
            rows=size, columns=size, wires=wires, device=device, calibration=calibration
        )
        for calibration in calibrations
        for size in crossbar_sizes
    }
    if not designs:
        raise ValueError("digits needs at least one of crossbar_sizes and one of calibrations, got none.")
    # The same draws for every design: results differ by the design alone.
    chip_keys = _chip_keys(key, draws)
    registry.require_all_used()

    trained = fit(network, dataset, training, checkpoint_dir=run.checkpoints, progress=True)
    software = evaluate(
        network, dataset.scale(dataset.test_images), dataset.test_labels, timesteps=training.timesteps
    )
    chips = _program_chips(run, network, designs, dataset, software, training.timesteps, chip_keys)
    costs = hardware_costs(to_workload(software.record, training.timesteps), accelerator, chip, conventions)

    return Result(
        title="An SNN on digits, and on chips",
        inputs=inputs(dataset, seed, training=training),
        numbers=_numbers(trained, software, chips, costs),
        tables=[accuracy_table(chips), spike_rate_table(software.record, chips), cost_table(costs)],
        figures={
            "training": training_figure(
                [epoch.loss for epoch in trained.history], [epoch.test_accuracy for epoch in trained.history]
            ),
            "accuracy": hardware_accuracy_figure(software.accuracy, chips),
            "energy": energy_figure(
                costs.estimated_j,
                {
                    "SATA": costs.sata.energy_by_component_j,
                    "SpikeFlow": costs.spikeflow.energy_by_component_j,
                },
            ),
            **_circuit_figures(network, designs, chip_keys[0]),
        },
    )


def _chip_keys(key: jax.Array, draws: int) -> list[jax.Array]:
    if draws < 1:
        raise ValueError(
            f"digits.draws is the number of chips to program and must be at least 1, got {draws}."
        )
    return list(jax.random.split(jax.random.fold_in(key, _CHIPS), draws))


def _program_chips(
    run: Run,
    network: Network,
    designs: Mapping[str, Crossbar],
    dataset: datasets.Dataset,
    software: Evaluation,
    timesteps: int,
    keys: Sequence[jax.Array],
) -> dict[str, Robustness]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=run.console,
    ) as progress:
        task = progress.add_task("programming chips", total=len(keys) * len(designs))
        return {
            name: on_hardware(
                network,
                crossbar,
                dataset,
                software=software.accuracy,
                timesteps=timesteps,
                keys=keys,
                on_chip=lambda: progress.advance(task),
            )
            for name, crossbar in designs.items()
        }


def _circuit_figures(network: Network, designs: Mapping[str, Crossbar], key: jax.Array) -> dict[str, Figure]:
    """The largest layer on the designs: its first tile on the first, its weights on all; tiles by size."""
    kernels = nnx.to_pure_dict(nnx.state(network, nnx.Param))
    largest = max(
        (leaf for leaf in jax.tree.leaves(kernels) if leaf.ndim >= 2), key=lambda kernel: kernel.size
    )
    first = next(iter(designs.values()))
    return {
        "IR_drop": ir_drop_figure(largest, first, key),
        "weights": weights_figure(largest, designs, key),
        "tile_size": tile_size_figure(first, key),
    }


def _numbers(
    trained: TrainResult, software: Evaluation, chips: Mapping[str, Robustness], costs: Costs
) -> dict[str, Any]:
    return {
        "software_accuracy": software.accuracy,
        "hardware": {
            name: {
                "accuracies": chip.accuracies,
                "mean_accuracy": chip.mean,
                "accuracy_spread": chip.spread,
                "drop": chip.drop,
            }
            for name, chip in chips.items()
        },
        "spike_rates": {layer.name: float(layer.spike_rate) for layer in software.record if layer.spiking},
        "input_rates": {layer.name: float(layer.input_rate) for layer in software.record},
        "costs": costs.numbers(),
        "resumed_epochs": trained.resumed_epochs,
        "training": [dataclasses.asdict(epoch) for epoch in trained.history],
    }
