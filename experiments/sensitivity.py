"""What should I change first? The gradients of cost and error, normalised, as tables and bars."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments import registry
from experiments.figures.sensitivity import sensitivity_figure
from experiments.hardware_cost import Conventions, to_workload
from experiments.output import Result, Run, Table
from experiments.pipeline import (
    make_accelerator,
    make_chip,
    make_crossbar,
    make_dataset,
    make_device,
    make_digits_convnet,
    make_neuron,
    make_training,
    make_wires,
)
from hwmodels import sata, spikeflow
from hwmodels.crossbar import Crossbar
from hwmodels.crossbar.deploy import program_kernels
from hwmodels.sensitivity import contributions, named
from hwmodels.workload import Workload
from jaxsnn.learning.training import evaluate, fit, split_parameters

CONSTANTS = (
    "_j",
    "_um2",
    "_nm",
    "_per_round",
    "_share",
    "_start",
    "clock_hz",
    "cycle_clocks",
    "weight_sparsity",
)
"""Endings of what the technology gives, and a designer does not choose."""

Elasticities = dict[str, dict[str, float]]
"""By parameter, and then what each part of the cost contributes."""


@registry.experiment(
    "sensitivity", "gradients of cost and error by layer and component: what to change first"
)
def sensitivity(run: Run, *, seed: int, shown: int, crossbar_size: int, conventions: Conventions) -> Result:
    """Train, then differentiate every cost to every parameter of chip and network.

    **Arguments:**

    - `seed`: of the initial weights.
    - `shown`: parameters in each table and chart, those that weigh most; the result holds all of them.
    - `crossbar_size`: rows = columns of the tiles, for the error that wires and devices make.
    - `conventions`: of the cost models.
    """
    if shown < 1:
        raise ValueError(f"sensitivity.shown is a number of parameters, at least 1, got {shown}.")
    key = jax.random.key(seed)
    dataset, training = make_dataset(), make_training()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=key))
    accelerator, chip = make_accelerator(), make_chip()
    # Without variation: what is lost for certain.
    device = dataclasses.replace(make_device(), variation=None)
    crossbar = make_crossbar(rows=crossbar_size, columns=crossbar_size, wires=make_wires(), device=device)
    registry.require_all_used()
    fit(network, dataset, training, checkpoint_dir=run.checkpoints, progress=True)
    found = evaluate(
        network, dataset.scale(dataset.test_images), dataset.test_labels, timesteps=training.timesteps
    )
    workload = to_workload(found.record, training.timesteps)

    run.console.print("differentiating costs and errors")
    costs = cost_elasticities(workload, accelerator, chip, conventions)
    costs["weight error under IR drop"] = error_elasticities(split_parameters(network)[1], crossbar, key)
    tables = [
        _table(f"{cost}: what to change first", chosen, shown)
        for cost, parameters in costs.items()
        if (chosen := {name: parts for name, parts in parameters.items() if not name.endswith(CONSTANTS)})
    ]
    constants = {
        f"{name} ({cost})": parts
        for cost, parameters in costs.items()
        for name, parts in parameters.items()
        if name.endswith(CONSTANTS)
    }
    tables.append(_table("Constants of the technology", constants, shown))
    return Result(
        title="What should I change first?",
        inputs={
            "dataset": dataset.name,
            "dataset_sha256": dataset.fingerprint,
            "test_images": len(dataset.test_labels),
            "seed": seed,
            "training": dataclasses.asdict(training),
        },
        numbers={
            "software_accuracy": found.accuracy,
            "elasticities": {
                cost: {name: sum(parts.values()) for name, parts in parameters.items()}
                for cost, parameters in costs.items()
            },
            "contributions": costs,
        },
        tables=tables,
        figures={
            "sensitivity": sensitivity_figure(
                {
                    cost: {
                        name: sum(parts.values())
                        for name, parts in parameters.items()
                        if not name.endswith(CONSTANTS)
                    }
                    for cost, parameters in costs.items()
                },
                shown,
            )
        },
    )


def cost_elasticities(
    workload: Workload, accelerator: sata.Accelerator, chip: spikeflow.Chip, conventions: Conventions
) -> dict[str, Elasticities]:
    """Elasticities of SATA's energy and of SpikeFlow's energy, latency and area, split by component.

    **Returns:** by cost, and then by parameter of chip and network.
    """
    on_spikeflow = (workload, chip)

    def on_chip(tree: Any) -> spikeflow.Cost:
        return spikeflow.evaluate(tree[0], tree[1], conventions)

    found: dict[str, dict[str, Any]] = {
        "SATA energy": contributions(
            lambda tree: sata.inference_energy(*tree, conventions=conventions).energy_by_component_j,
            (workload, accelerator),
        ),
        "SpikeFlow energy": contributions(lambda tree: on_chip(tree).energy_by_component_j, on_spikeflow),
        "SpikeFlow latency": contributions(lambda tree: on_chip(tree).latency_by_component_s, on_spikeflow),
        "SpikeFlow area": contributions(lambda tree: on_chip(tree).area_by_component_mm2, on_spikeflow),
    }
    return {
        cost: _by_parameter({part: _network_and_chip(*tree) for part, tree in parts.items()})
        for cost, parts in found.items()
    }


def error_elasticities(params: Any, crossbar: Crossbar, key: jax.Array) -> Elasticities:
    """Elasticities of the mean over the kernels of their relative weight error, split by kernel.

    The error of a kernel is `‖w on chip − w‖ / ‖w‖`. **Returns:** by parameter of the crossbar.
    """

    def errors(crossbar: Crossbar) -> dict[str, jax.Array]:
        kernels = program_kernels(params, crossbar, key)
        given = {
            jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        }
        return {
            _layer_name(name): jnp.linalg.norm(kernel.weights - given[name])
            / jnp.linalg.norm(given[name])
            / len(kernels)
            for name, kernel in kernels.items()
        }

    return _by_parameter({part: named(tree) for part, tree in contributions(errors, crossbar).items()})


def _layer_name(path: str) -> str:
    """ "['layers'][0]['synapse']['kernel']" as "kernel 0"."""
    numbers = [entry for entry in path.replace("]", "").split("[") if entry.isdigit()]
    return f"kernel {'.'.join(numbers)}" if numbers else path


def _network_and_chip(workload: Workload, chip: Any) -> dict[str, float]:
    layers = {
        f"{layer.name}.{name}": value
        for layer in workload.layers
        for name, value in (("input_rate", layer.input_rate), ("weight_sparsity", layer.weight_sparsity))
    }
    return {"timesteps": workload.timesteps} | layers | named(chip)  # type: ignore[return-value]


def _by_parameter(parts: Mapping[str, Mapping[str, float]]) -> Elasticities:
    """Parameters that matter, the weightiest first, and in each the parts that it acts on."""
    names = next(iter(parts.values()))
    table = {
        name: {part: values[name] for part, values in parts.items() if values[name] != 0} for name in names
    }
    order = sorted(table, key=lambda name: -abs(sum(table[name].values())))
    return {name: table[name] for name in order if table[name]}


def _table(title: str, parameters: Elasticities, shown: int) -> Table:
    def through(parts: Mapping[str, float]) -> str:
        largest = sorted(parts, key=lambda part: -abs(parts[part]))[:3]
        return ", ".join(f"{part} {parts[part]:+.2f}" for part in largest)

    rows = sorted(parameters.items(), key=lambda item: -abs(sum(item[1].values())))[:shown]
    return Table(
        title,
        ["parameter", "% per %", "mostly through"],
        [[name, f"{sum(parts.values()):+.3f}", through(parts)] for name, parts in rows],
        note="Change of the cost in percent when the parameter grows by one percent.",
    )
