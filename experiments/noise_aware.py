"""Hardware accuracy before and after training on the chip."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from experiments import registry
from experiments.figures.noise_aware import noise_aware_figure
from experiments.output import Result, Run, inputs
from experiments.parts import (
    make_crossbar,
    make_dataset,
    make_device,
    make_digits_convnet,
    make_neuron,
    make_training,
    make_wires,
)
from hwmodels.chip import Analog
from jaxsnn.codesign.folding import folded, undisturbed
from jaxsnn.codesign.noise_aware import NoiseAware
from jaxsnn.codesign.robustness import Robustness, on_hardware
from jaxsnn.codesign.table import Table
from jaxsnn.learning.training import EpochMetrics, evaluate
from jaxsnn.network import Network

make_noise_aware = registry.register(NoiseAware)

_WEIGHTS, _CHIPS = 0, 1


@registry.experiment("noise_aware", "fine-tune an SNN on modelled chips, compare chips before and after")
def noise_aware(
    run: Run, *, seed: int, draws: int, epochs: int, learning_rate: float, periods: tuple[int, ...]
) -> Result:
    """Train without a chip, measure on chips; train on chips, once per period, and measure on the same chips.

    All weights are trained, and nothing else: thresholds stay, no digital gain is added. A network that was
    trained on chips has their attenuation in its weights. What it is in software is therefore said twice: as
    trained, and with each layer's mean attenuation folded into its thresholds
    ([`jaxsnn.codesign.folding.folded`][]), which is the network that its chips approximate.

    **Arguments:**

    - `seed`: of the initial weights and of the chips' devices.
    - `draws`: programmed chips, the same for all networks; training sees others.
    - `epochs`, `learning_rate`: of the training on chips; its other settings are those of the first one.
    - `periods`: `NoiseAware.every` of each network that is trained on chips.

    **Raises:** `ValueError` for fewer chips or periods than one, and for a period given twice.
    """
    if draws < 1:
        raise ValueError(f"noise_aware.draws is the number of chips to program, at least 1; got {draws}.")
    if not periods or len(set(periods)) < len(periods):
        raise ValueError(f"noise_aware.periods needs at least one number of steps, each once; got {periods}.")
    key = jax.random.key(seed)
    dataset = make_dataset()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    training = make_training()
    on_chips = dataclasses.replace(
        training, epochs=epochs, learning_rate=learning_rate, seed=training.seed + 1
    )
    crossbar = make_crossbar(wires=make_wires(), device=make_device())
    transforms = {every: make_noise_aware(crossbar=crossbar, every=every) for every in periods}
    converters = transforms[periods[0]].converters
    chip_keys = list(jax.random.split(jax.random.fold_in(key, _CHIPS), draws))
    registry.require_all_used()

    def software(network: Network) -> float:
        images = dataset.scale(dataset.test_images)
        return evaluate(network, images, dataset.test_labels, timesteps=training.timesteps).accuracy

    def measured(network: Network) -> Measured:
        chips = on_hardware(
            network,
            Analog(crossbar, converters, converters),
            dataset,
            software=plain,
            timesteps=training.timesteps,
            keys=chip_keys,
        )
        return Measured(software(network), software(folded(network, undisturbed(network, crossbar))), chips)

    run.fit(network, dataset, training, checkpoint_dir=run.checkpoints / "plain")
    plain = software(network)
    results = {"plain": measured(network)}
    courses: dict[str, tuple[EpochMetrics, ...]] = {}
    for every, transform in transforms.items():
        name = "solved in every step" if every == 1 else f"solved every {every} steps"
        run.console.print(f"on chips, {name}")
        tuned = nnx.clone(network)
        courses[name] = run.fit(
            tuned,
            dataset,
            on_chips,
            transform=transform,
            checkpoint_dir=run.checkpoints / f"every_{every}",
        ).history
        results[name] = measured(tuned)
    return Result(
        title="An SNN trained on its chip",
        inputs=inputs(dataset, seed, training=training, on_chips=on_chips),
        numbers={
            "networks": {name: found.numbers(results["plain"]) for name, found in results.items()},
            "training_on_chips": {
                name: [dataclasses.asdict(epoch) for epoch in course] for name, course in courses.items()
            },
        },
        tables=[network_table(results)],
        figures={
            "noise_aware": noise_aware_figure(
                plain,
                {name: found.chips for name, found in results.items()},
                {name: [epoch.test_accuracy for epoch in course] for name, course in courses.items()},
            )
        },
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """One network in software, as trained and with its chips' attenuation in its thresholds, and on chips.

    `chips.software` is the plain network's accuracy.
    """

    as_trained: float
    at_scale: float
    chips: Robustness

    @property
    def own(self) -> Robustness:
        """The same chips beside what the network itself does in software, at their scale."""
        return dataclasses.replace(self.chips, software=self.at_scale)

    def drop(self, plain: "Measured") -> float:
        """Δ relative to the network's own software accuracy; the plain one's is that as trained."""
        return self.chips.drop if self is plain else self.own.drop

    def numbers(self, plain: "Measured") -> dict[str, Any]:
        """As JSON; ratios are of the plain network's drop to this one's, None where nothing is lost."""
        drops = {"": self.drop(plain), "_from_plain": self.chips.drop}
        return {
            "software_accuracy_as_trained": self.as_trained,
            "software_accuracy_at_chip_scale": self.at_scale,
            "accuracies": self.chips.accuracies,
            "mean_accuracy": self.chips.mean,
            "accuracy_spread": self.chips.spread,
            **{f"drop{name}": drop for name, drop in drops.items()},
            **{
                f"drop{name}_ratio": plain.chips.drop / drop if drop > 0 else None
                for name, drop in drops.items()
            },
        }


def network_table(results: Mapping[str, Measured]) -> Table:
    """Every network in software and on the same chips."""
    plain = results["plain"]
    return Table(
        "Accuracy",
        ["network", "as trained", "at chip's scale", "hardware", "spread", "drop Δ", "from plain"],
        [
            [
                name,
                f"{found.as_trained:.2%}",
                f"{found.at_scale:.2%}",
                f"{found.chips.mean:.2%}",
                f"± {found.chips.spread:.2%}" if len(found.chips.chips) > 1 else "± –",
                f"{found.drop(plain):.2%}",
                f"{found.chips.drop:.2%}",
            ]
            for name, found in results.items()
        ],
        note=f"{len(plain.chips.chips)} chips, the same for all; spread: standard deviation between them. "
        "Software: with the weights as trained, and with each layer's mean attenuation folded into its "
        "thresholds. Δ = (software − hardware) / software, of the network's own software accuracy (plain: as "
        "trained; others: at the chip's scale), and from the plain one's.",
    )
