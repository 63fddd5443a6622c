"""What should be changed first? The elasticities of energy and of weight errors, part by part."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments import registry
from experiments.figures.sensitivity import sensitivity_figure
from experiments.hardware_cost import Conventions, to_workload
from experiments.output import Result, Run, Table, inputs
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
from hwmodels.crossbar import Crossbar, deploy
from hwmodels.sensitivity import contributions, named
from hwmodels.workload import Workload
from jaxsnn.learning.training import evaluate, fit

_WEIGHTS, _CHIP = 0, 1


_GIVEN = frozenset({"chip.node_nm", "chip.constants_nm", "chip.kernel"})
"""Numbers of SpikeFlow's model that no designer turns: the technology node, the node that the constants were
measured in, and the kernel that the published buffers were sized for."""


@dataclasses.dataclass(frozen=True)
class Sensitivities:
    """Elasticities of one cost: by how many percent it changes for one percent of a parameter.

    - `total`: by parameter, the greatest magnitudes first; zeros are left out.
    - `parts`: for each part of the cost (components, or layers), what it contributes to each of them.
    """

    total: dict[str, float]
    parts: dict[str, dict[str, float]]

    def among(self, chosen: Callable[[str], bool]) -> "Sensitivities":
        """Those to some of the parameters."""
        return Sensitivities(
            {name: value for name, value in self.total.items() if chosen(name)},
            {
                part: {name: value for name, value in values.items() if chosen(name)}
                for part, values in self.parts.items()
            },
        )

    def greatest(self, count: int) -> "Sensitivities":
        """Those to the parameters that matter most, without the parts that have none of them."""
        names = list(self.total)[:count]
        kept = self.among(names.__contains__)
        least = 1e-3 * max(map(abs, kept.total.values()), default=0.0)
        return Sensitivities(
            kept.total,
            {
                part: values
                for part, values in kept.parts.items()
                if max(map(abs, values.values()), default=0.0) > least
            },
        )


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

    fit(network, dataset, training, checkpoint_dir=run.checkpoints, progress=True)
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
        kernels = {layer.name: layer.synapse.kernel[...] for layer in network.layers}
        errors, by_layer = weight_error_sensitivities(kernels, crossbar, jax.random.fold_in(key, _CHIP))
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


def energy_sensitivities(
    cost: Callable[[Workload, Any], Any], workload: Workload, chip: Any
) -> dict[str, Sensitivities]:
    """How the energy of one inference depends on every number of a chip, on the rates and on T.

    **Arguments:** `cost`: of a workload on a chip, with `energy_by_component_j` and `energy_by_layer_j`.

    **Returns:** the same elasticities split "component" by component and "layer" by layer.
    """
    tree = {
        "chip": chip,
        "rate": {layer.name: layer.input_rate for layer in workload.layers},
        "timesteps": workload.timesteps,
    }

    def costs(tree: dict[str, Any]) -> Any:
        layers = tuple(
            dataclasses.replace(layer, input_rate=tree["rate"][layer.name]) for layer in workload.layers
        )
        return cost(Workload(layers, tree["timesteps"]), tree["chip"])

    def split(kind: str) -> Sensitivities:
        return _sensitivities(contributions(lambda tree: getattr(costs(tree), f"energy_by_{kind}_j"), tree))

    return {kind: split(kind) for kind in ("component", "layer")}


def _sensitivities(found: Mapping[str, Any]) -> Sensitivities:
    parts = {part: named(tree) for part, tree in found.items()}
    total = {name: sum(values[name] for values in parts.values()) for name in next(iter(parts.values()))}
    order = sorted((name for name, value in total.items() if value), key=lambda name: -abs(total[name]))
    return Sensitivities(
        {name: total[name] for name in order},
        {part: {name: values[name] for name in order} for part, values in parts.items()},
    )


def weight_errors(kernels: Mapping[str, jax.Array], crossbar: Crossbar, key: jax.Array) -> dict[str, Any]:
    """Each layer's mean error of a weight on the chip, `Σ|w_chip − w| / Σ|w|`: a fraction."""
    chip = deploy({name: {"kernel": kernel} for name, kernel in kernels.items()}, crossbar, key)
    return {
        name: jnp.sum(jnp.abs(chip[name]["kernel"] - kernel)) / jnp.sum(jnp.abs(kernel))
        for name, kernel in kernels.items()
    }


def weight_error_sensitivities(
    kernels: Mapping[str, jax.Array], crossbar: Crossbar, key: jax.Array
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Each layer's weight error, and its elasticities to the numbers of the crossbar's wires and devices."""
    errors = {name: float(error) for name, error in jax.jit(weight_errors)(kernels, crossbar, key).items()}
    found = contributions(lambda crossbar: weight_errors(kernels, crossbar, key), crossbar)
    total = sum(errors.values())
    return errors, {
        layer: {name: share * total / errors[layer] for name, share in named(tree).items()}
        for layer, tree in found.items()
    }


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
