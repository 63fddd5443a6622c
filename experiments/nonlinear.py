"""A network on chips whose cells are not linear: what it loses, what training on them wins back."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from experiments import registry
from experiments.figures.nonlinear import error_map_figure, law_figure
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
from hwmodels.crossbar import Crossbar, Sinh
from hwmodels.crossbar.mapping import CellModel
from jaxsnn.codesign.noise_aware import NoiseAware
from jaxsnn.codesign.program import program
from jaxsnn.codesign.table import Table
from jaxsnn.learning.training import evaluate
from jaxsnn.network import Network

_WEIGHTS, _CHIPS = 0, 1


@registry.experiment("nonlinear", "an SNN on chips with nonlinear cells, before and after training on them")
def nonlinear(
    run: Run,
    *,
    seed: int,
    draws: int,
    v0s: tuple[float, ...],
    train_v0: float,
    epochs: int,
    learning_rate: float,
    exact_images: int,
) -> Result:
    """Train without a chip and measure on chips of sinh cells; train through some of them, measure again.

    Whole test sets see cells linearised at their mean activity, through which training goes, too; some images
    see them solved exactly.

    **Arguments:**

    - `seed`: of the initial weights and of the chips' devices.
    - `draws`: programmed chips of each kind.
    - `v0s`: of the laws [`hwmodels.crossbar.Sinh`][], volt; linear cells are measured in any case.
    - `train_v0`: of the cells that the network is then trained on.
    - `epochs`, `learning_rate`: of that training; its other settings are those of the first one.
    - `exact_images`: the first test images, on the first chip, for each law solved exactly; 0 for none.

    **Raises:** `ValueError` for fewer chips than one and fewer images than none.
    """
    if draws < 1 or exact_images < 0:
        raise ValueError(
            f"nonlinear.draws is at least 1 chip and nonlinear.exact_images 0 or more; got {draws} and "
            f"{exact_images}."
        )
    key = jax.random.key(seed)
    dataset, training = make_dataset(), make_training()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    linear = make_crossbar(wires=make_wires(), device=make_device(), cell=None, cell_model="mean-activity")
    designs: dict[str, Crossbar] = {
        "linear": linear,
        **{f"Sinh({v0})": dataclasses.replace(linear, cell=Sinh(v0)) for v0 in v0s},
    }
    tuning = dataclasses.replace(training, epochs=epochs, learning_rate=learning_rate, seed=training.seed + 1)
    on_chip = NoiseAware(dataclasses.replace(linear, cell=Sinh(train_v0)))
    registry.require_all_used()

    run.fit(network, dataset, training, checkpoint_dir=run.checkpoints / "plain")
    images = dataset.scale(dataset.test_images)
    chips = jax.random.split(jax.random.fold_in(key, _CHIPS), draws)

    def accuracy(network: Network, count: int | None = None) -> float:
        labels = dataset.test_labels[:count]
        return evaluate(network, images[:count], labels, timesteps=training.timesteps).accuracy

    def on_chips(network: Network) -> dict[str, list[float]]:
        return {
            name: [accuracy(program(network, design, chip)) for chip in chips]
            for name, design in designs.items()
        }

    def exactly(network: Network) -> dict[str, dict[str, float]]:
        """The first images on the first chip, by each model of its cells."""
        found: dict[str, dict[str, float]] = {}
        for name, design in designs.items():
            if exact_images and design.cell is not None:
                models: tuple[CellModel, ...] = ("exact", "mean-activity", "read-voltage")
                by_model = {model: dataclasses.replace(design, cell_model=model) for model in models}
                found[name] = {
                    model: accuracy(program(network, each, chips[0]), exact_images)
                    for model, each in by_model.items()
                }
        return found

    software = accuracy(network)
    with run.console.status("programming chips"):
        before = on_chips(network)
    tuned = nnx.clone(network)
    run.fit(
        tuned,
        dataset,
        tuning,
        transform=on_chip,
        checkpoint_dir=run.checkpoints / "on_chips",
    )
    with run.console.status("programming chips"):
        after = on_chips(tuned)
        exact = exactly(tuned)
    return Result(
        title="An SNN on chips with nonlinear cells",
        inputs=inputs(dataset, seed, training=training),
        numbers={
            "software_accuracy": software,
            "before": before,
            "after": after,
            "trained_on": f"Sinh({train_v0})",
            "first_images": {"count": exact_images, "accuracies": exact},
        },
        tables=[nonlinear_table(software, before, after)],
        figures=_figures(designs, chips[0]),
    )


def _figures(designs: dict[str, Crossbar], key: jax.Array) -> dict[str, Figure]:
    """The laws at the greatest conductance, and the error map of the last one on a tile of random cells."""
    laws = {name: design.cell for name, design in designs.items() if design.cell is not None}
    if not laws:
        return {}
    *_, design = designs.values()
    cell = laws[next(reversed(laws))]
    low, high = design.device.limits(jnp.float32)
    volt = float(design.read_voltage_v)
    tile = jax.random.uniform(key, (design.rows, design.columns), jnp.float32, low, high)
    return {
        "law": law_figure(laws, float(high), volt),
        "error_map": error_map_figure(tile, design.wires, cell, volt, key),
    }


def nonlinear_table(software: float, before: dict[str, list[float]], after: dict[str, list[float]]) -> Table:
    """Mean accuracy by the law of the cells."""
    return Table(
        f"Accuracy on chips (software {software:.2%})",
        ["cells", "trained without a chip", "trained on chips"],
        [[name, f"{np.mean(before[name]):.2%}", f"{np.mean(after[name]):.2%}"] for name in before],
        note="Mean over chips, cells linearised at their mean activity.",
    )
