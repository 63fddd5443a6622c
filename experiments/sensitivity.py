"""What should be changed first? The elasticities of energy and of weight errors, part by part."""

from collections.abc import Mapping

import jax
from flax import nnx

from experiments import registry
from experiments.figures.sensitivity import sensitivity_figure
from experiments.output import Result, Run, inputs
from experiments.parts import (
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
from hwmodels.workload import Workload
from jaxsnn.codesign.sensitivity import (
    Sensitivities,
    energy_sensitivities,
    groups_of_kernels,
    kernels_of,
    weight_error_sensitivities,
)
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.workload import Conventions, to_workload
from jaxsnn.learning.training import evaluate

_WEIGHTS, _CHIP = 0, 1

_GIVEN = frozenset({"chip.node_nm", "chip.constants_nm", "chip.kernel"})
"""Numbers of SpikeFlow's model that no designer turns: the technology node, the node that the constants were
measured in, and the kernel that the published buffers were sized for."""


@registry.experiment("sensitivity", "rank what a trained SNN's energy and weight errors depend on")
def sensitivity(run: Run, *, seed: int, shown: int, conventions: Conventions) -> Result:
    """Train, measure the rates, and differentiate what the network costs and loses on its chips.

    **Arguments:**

    - `seed`: of the initial weights and of the crossbar's devices.
    - `shown`: parameters in each table and panel; `result.json` has all.
    - `conventions`: of the cost models, "corrected" or "published".

    **Raises:** `ValueError` for fewer parameters than one.
    """
    if shown < 1:
        raise ValueError(f"sensitivity.shown is the number of parameters to show, at least 1; got {shown}.")
    key = jax.random.key(seed)
    dataset, training = make_dataset(), make_training()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    crossbar = make_crossbar(wires=make_wires(), device=make_device())
    accelerator, chip = make_accelerator(), make_chip()
    registry.require_all_used()

    run.fit(network, dataset, training, checkpoint_dir=run.checkpoints)
    images = dataset.scale(dataset.test_images)
    software = evaluate(network, images, dataset.test_labels, timesteps=training.timesteps)
    workload = to_workload(software.record, training.timesteps)

    def on_sata(workload: Workload, chip: sata.Accelerator) -> sata.InferenceCost:
        return sata.inference_energy(workload, chip, conventions=conventions)

    def on_spikeflow(workload: Workload, chip: spikeflow.Chip) -> spikeflow.Cost:
        return spikeflow.evaluate(workload, chip, conventions=conventions)

    with run.console.status("differentiating"):
        energies = {
            "SATA energy": energy_sensitivities(on_sata, workload, accelerator),
            "SpikeFlow energy": energy_sensitivities(on_spikeflow, workload, chip),
        }
        kernels = kernels_of(network)
        errors, by_layer = weight_error_sensitivities(
            kernels, crossbar, jax.random.fold_in(key, _CHIP), groups_of_kernels(network)
        )
    turned = {
        cost: {kind: found.among(lambda name: name not in _GIVEN) for kind, found in by.items()}
        for cost, by in energies.items()
    }
    shared = {
        f"{cost} by {kind}": found.greatest(shown)
        for cost, by in turned.items()
        for kind, found in by.items()
    }
    return Result(
        title="What should be changed first?",
        inputs=inputs(dataset, seed, training=training),
        numbers={
            "software_accuracy": software.accuracy,
            "elasticities": {cost: by["component"].total for cost, by in turned.items()},
            "elasticities_to_what_is_given": {
                cost: by["component"].among(_GIVEN.__contains__).total for cost, by in energies.items()
            },
            "contributions": {
                cost: {kind: found.parts for kind, found in by.items()} for cost, by in turned.items()
            },
            "weight_errors": errors,
            "weight_error_elasticities": by_layer,
        },
        tables=[
            *(energy_table(title, found) for title, found in shared.items()),
            weight_error_table(errors, by_layer),
        ],
        figures={"sensitivity": sensitivity_figure(shared, by_layer)},
    )


def energy_table(title: str, found: Sensitivities) -> Table:
    """The elasticities of an energy, and what each of its parts contributes to them."""
    return Table(
        f"{title}: percent for one percent",
        ["parameter", "elasticity", *(part.replace("_", " ") for part in found.parts)],
        [
            [
                name.removeprefix("chip."),
                f"{value:+.3f}",
                *(f"{values[name]:+.3f}" for values in found.parts.values()),
            ]
            for name, value in found.total.items()
        ],
        note="Columns: what each part contributes to the elasticity.",
    )


def weight_error_table(errors: Mapping[str, float], elasticities: Mapping[str, Mapping[str, float]]) -> Table:
    """Each layer's weight error on the crossbars, and what it depends on."""
    names = list(next(iter(elasticities.values())))
    return Table(
        "Weight error on the crossbars: percent for one percent",
        ["layer", "error", *(name.split(".")[-1] for name in names)],
        [
            [layer, f"{errors[layer]:.1%}", *(f"{values[name]:+.3f}" for name in names)]
            for layer, values in elasticities.items()
        ],
        note="Error: Σ|w_chip − w| / Σ|w|, of one chip.",
    )
