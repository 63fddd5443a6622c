"""Hardware accuracy before and after training on the chip."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
from flax import nnx

from experiments import registry
from experiments.chip_training import NoiseAware, at_scale_of, programmed
from experiments.figures.noise_aware import noise_aware_figure
from experiments.output import Result, Run, Table
from experiments.pipeline import (
    make_crossbar,
    make_dataset,
    make_device,
    make_digits_convnet,
    make_neuron,
    make_training,
    make_wires,
)
from experiments.robustness import accuracy_table, on_hardware
from hwmodels.crossbar import Converters, Crossbar
from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.training import evaluate, fit
from jaxsnn.network import Network

make_noise_aware = registry.register(NoiseAware)
registry.register(Converters)

_WEIGHTS, _CHIPS = 0, 1


@registry.experiment("noise_aware", "fine-tune an SNN on modelled chips, compare chips before and after")
def noise_aware(run: Run, *, seed: int, draws: int, epochs: int, learning_rate: float) -> Result:
    """Train without a chip, measure on chips, train on chips, measure on the same chips again.

    All weights are trained, and nothing else: thresholds stay, no digital gain is added.

    **Arguments:**

    - `seed`: of the initial weights and of the chips' devices.
    - `draws`: programmed chips, the same before and after; training sees others.
    - `epochs`, `learning_rate`: of the training on chips; its other settings are those of the first one.

    **Raises:** `ValueError` for fewer chips than one.
    """
    if draws < 1:
        raise ValueError(f"noise_aware.draws is the number of chips to program, at least 1; got {draws}.")
    key = jax.random.key(seed)
    dataset = make_dataset()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    training = make_training()
    on_chips = dataclasses.replace(
        training, epochs=epochs, learning_rate=learning_rate, seed=training.seed + 1
    )
    crossbar = make_crossbar(wires=make_wires(), device=make_device())
    transform = make_noise_aware(crossbar=crossbar)
    chip_keys = list(jax.random.split(jax.random.fold_in(key, _CHIPS), draws))
    registry.require_all_used()

    def software(network: Network) -> float:
        images = dataset.scale(dataset.test_images)
        return evaluate(network, images, dataset.test_labels, timesteps=training.timesteps).accuracy

    def chips(network: Network):
        return on_hardware(
            network,
            crossbar,
            dataset,
            software=plain,
            timesteps=training.timesteps,
            keys=chip_keys,
            converters=transform.converters,
        )

    fit(network, dataset, training, checkpoint_dir=run.checkpoints / "plain", progress=True)
    plain = software(network)
    before = chips(network)
    tuned = fit(
        network,
        dataset,
        on_chips,
        transform=transform,
        checkpoint_dir=run.checkpoints / "noise_aware",
        progress=True,
    )
    after = chips(network)
    rescaled = software(attenuated(network, crossbar))
    results = {"plain": before, "noise-aware": after}
    numbers: dict[str, Any] = {
        "software_accuracy": plain,
        "noise_aware_software_accuracy": software(network),
        "noise_aware_rescaled_software_accuracy": rescaled,
        "hardware": {
            name: {
                "accuracies": chip.accuracies,
                "mean_accuracy": chip.mean,
                "accuracy_spread": chip.spread,
                "drop": chip.drop,
            }
            for name, chip in results.items()
        },
        "drop_ratio": before.drop / after.drop if after.drop > 0 else None,
        "training_on_chips": [dataclasses.asdict(epoch) for epoch in tuned.history],
    }
    return Result(
        title="An SNN trained on its chip",
        inputs=_inputs(dataset, seed, training, on_chips),
        numbers=numbers,
        tables=[accuracy_table(results), _software_table(numbers)],
        figures={
            "noise_aware": noise_aware_figure(
                plain, results, [epoch.test_accuracy for epoch in tuned.history]
            )
        },
    )


def attenuated(network: Network, crossbar: Crossbar) -> Network:
    """The network in software at the scale of a chip without device variation, see [`at_scale_of`][]."""
    certain = eqx.tree_at(lambda design: design.device.variation, crossbar, None)
    return at_scale_of(network, programmed(network, certain, jax.random.key(0)))


def _inputs(dataset: Dataset, seed: int, *trainings: Any) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "dataset_sha256": dataset.fingerprint,
        "test_images": len(dataset.test_labels),
        "seed": seed,
        "training": [dataclasses.asdict(training) for training in trainings],
    }


def _software_table(numbers: dict[str, Any]) -> Table:
    return Table(
        "Accuracy without hardware",
        ["network", "accuracy"],
        [
            ["plain", f"{numbers['software_accuracy']:.2%}"],
            ["noise-aware, as trained", f"{numbers['noise_aware_software_accuracy']:.2%}"],
            ["noise-aware, at the chip's scale", f"{numbers['noise_aware_rescaled_software_accuracy']:.2%}"],
        ],
        note="Trained on the chip, weights grow to make up for its attenuation. The last row undoes this by "
        "one factor per layer.",
    )
