"""What can be done for a trained network on its chip without training it again, each alone and combined."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.progress import Progress

from experiments import registry
from experiments.figures.mitigation import mitigation_figure
from experiments.output import Result, Run, inputs, mean_and_spread
from experiments.parts import (
    make_crossbar,
    make_dataset,
    make_device,
    make_digits_convnet,
    make_neuron,
    make_training,
    make_wires,
)
from hwmodels.crossbar import Crossbar
from jaxsnn.codesign.program import program
from jaxsnn.codesign.table import Table
from jaxsnn.encoding import Direct
from jaxsnn.learning.conversion import SilentLayerError, convert
from jaxsnn.learning.training import evaluate
from jaxsnn.network import Network
from jaxsnn.neuron import ReLU, Reset
from jaxsnn.normalization import BNTT, BatchNorm, Normalization, TdBN, adapt_statistics

ENCODING, GAIN, RECALIBRATION = "encoding", "gain", "recalibration"
PLAIN, CONVERTED = "plain", "converted"

_WEIGHTS, _CHIPS = 0, 1


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """Noise-aware BN adaptation: how many images pass, and how many at once.

    **Arguments:** `images`: increasing numbers of training images at which accuracy is measured; the last one
    is what the table's adaptation uses. `batch_size`: each batch moves the running statistics once.

    **Raises:** `ValueError` for numbers that do not increase from at least one batch on.
    """

    images: tuple[int, ...]
    batch_size: int

    def __post_init__(self):
        steps = np.diff([0, *self.images])
        if self.batch_size < 1 or not self.images or np.any(steps < self.batch_size):
            raise ValueError(
                "Adaptation.images must increase from 0 by at least one batch (Adaptation.batch_size) each, "
                f"got {self.images} and batches of {self.batch_size}."
            )


make_adaptation = registry.register(Adaptation)


@registry.experiment("mitigation", "help trained SNNs on their chips without training: alone and combined")
def mitigation(
    run: Run, *, seed: int, draws: int, conversion_timesteps: int, conversion_images: int, quantile: float
) -> Result:
    """Train networks of each normalisation and an ANN, put them on chips, and help them there.

    - encoding: signs by SpikeSim's non-ideality-aware weight encoding instead of a differential pair.
    - gain: one digital gain per column.
    - recalibration, with a normalisation: its running statistics follow some images seen on the chip
      (Bhattacharjee et al., "Examining the Robustness of SNNs", section IV-E).
    - recalibration, of the converted network: the ANN is converted after its kernels were programmed, so that
      the thresholds are those of the non-ideal currents. On a chip that silences a layer there are none; it
      keeps those of the software.

    **Arguments:**

    - `seed`: of the initial weights and of the chips' devices.
    - `draws`: programmed chips, the same for every combination.
    - `conversion_timesteps`: T of the converted network.
    - `conversion_images`, `quantile`: of the search for its thresholds.

    **Raises:** `ValueError` for fewer chips than one, and for more images than the training set has.
    """
    if draws < 1:
        raise ValueError(f"mitigation.draws is the number of chips to program, at least 1; got {draws}.")
    key = jax.random.key(seed)
    dataset, training, adaptation = make_dataset(), make_training(), make_adaptation()
    for name, count in (
        ("Adaptation.images", adaptation.images[-1]),
        ("mitigation.conversion_images", conversion_images),
    ):
        if not 1 <= count <= len(dataset.train_labels):
            raise ValueError(
                f"{name} must lie in 1 … {len(dataset.train_labels)}, the training images; got {count}."
            )
    threshold = make_neuron().threshold
    norms: dict[str, Callable[[int], Normalization] | None] = {
        PLAIN: None,
        "BN": BatchNorm,
        "tdBN": partial(TdBN, threshold=threshold),
        "BNTT": partial(BNTT, timesteps=training.timesteps),
    }
    weights_key = jax.random.fold_in(key, _WEIGHTS)

    def build(neuron: Callable[[], Any], norm: Callable[[int], Normalization] | None) -> Network:
        return make_digits_convnet(neuron=neuron, norm=norm, rngs=nnx.Rngs(params=weights_key))

    networks = {name: build(make_neuron, norm) for name, norm in norms.items()}
    ann = build(ReLU, None)
    circuit = {"wires": make_wires(), "device": make_device()}

    def design(helps: tuple[str, ...]) -> Crossbar:
        return make_crossbar(
            **circuit,
            signs="nice" if ENCODING in helps else "differential",
            calibration="column" if GAIN in helps else "none",
        )

    designs = {helps: design(helps) for helps in subsets((ENCODING, GAIN))}
    chip_keys = list(jax.random.split(jax.random.fold_in(key, _CHIPS), draws))
    registry.require_all_used()

    for name, network in networks.items():
        run.fit(network, dataset, training, checkpoint_dir=run.checkpoints / name)
    as_ann = dataclasses.replace(training, timesteps=1)
    run.fit(ann, dataset, as_ann, checkpoint_dir=run.checkpoints / "ann")
    images = dataset.scale(dataset.train_images)

    def converted(ann: Network) -> Network:
        few = jnp.asarray(images[:conversion_images])
        timesteps = conversion_timesteps
        return convert(
            ann, few, timesteps=timesteps, encoding=Direct(), quantile=quantile, reset=Reset.SUBTRACT
        )[0]

    networks[CONVERTED] = converted(ann)
    silenced: Counter[str] = Counter()

    def accuracy(network: Network, name: str) -> float:
        timesteps = conversion_timesteps if name == CONVERTED else training.timesteps
        test = dataset.scale(dataset.test_images)
        return evaluate(network, test, dataset.test_labels, timesteps=timesteps).accuracy

    def on_chip(name: str, helps: tuple[str, ...], key: jax.Array) -> Network:
        crossbar = designs[tuple(help for help in helps if help in (ENCODING, GAIN))]
        if RECALIBRATION in helps and name == CONVERTED:
            try:
                return converted(program(ann, crossbar, key))
            except SilentLayerError:
                silenced[label(helps)] += 1
                return program(networks[name], crossbar, key)
        chip = program(networks[name], crossbar, key)
        if RECALIBRATION in helps:
            adapt_statistics(
                chip,
                images[: adaptation.images[-1]],
                timesteps=training.timesteps,
                batch_size=adaptation.batch_size,
            )
        return chip

    def curve(name: str, key: jax.Array) -> list[float]:
        chip = program(networks[name], designs[()], key)
        found = [accuracy(chip, name)]
        for start, stop in zip((0, *adaptation.images), adaptation.images, strict=False):
            adapt_statistics(
                chip, images[start:stop], timesteps=training.timesteps, batch_size=adaptation.batch_size
            )
            found.append(accuracy(chip, name))
        return found

    software = {name: accuracy(network, name) for name, network in networks.items()}
    cases = [(name, helps) for name in networks for helps in subsets(available(name))]
    hardware: dict[str, dict[str, list[float]]] = {name: {} for name in networks}
    with Progress(console=run.console) as progress:
        for name, helps in progress.track(cases, description="helping networks on chips"):
            hardware[name][label(helps)] = [accuracy(on_chip(name, helps, key), name) for key in chip_keys]
        normalised = [name for name in networks if norms.get(name) is not None]
        curves = {
            name: [curve(name, key) for key in chip_keys]
            for name in progress.track(normalised, description="adapting image by image")
        }
    counts = [0, *adaptation.images]
    return Result(
        title="Trained SNNs helped on their chips",
        inputs=inputs(dataset, seed, training=training, ann=as_ann),
        numbers={
            "software_accuracy": software,
            "hardware_accuracies": hardware,
            "chips_without_thresholds": silenced,
            "adaptation": {"images": counts, "accuracies": curves},
        },
        tables=[mitigation_table(software, hardware, silenced), adaptation_table(counts, curves)],
        figures={"mitigation": mitigation_figure(software, hardware, counts, curves)},
    )


def available(name: str) -> tuple[str, ...]:
    """What can be done for a network: without statistics or found thresholds, none can be found anew."""
    return (ENCODING, GAIN) if name == PLAIN else (ENCODING, GAIN, RECALIBRATION)


def subsets(helps: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All combinations, from none to all."""
    for size in range(len(helps) + 1):
        yield from combinations(helps, size)


def label(helps: Sequence[str]) -> str:
    return " + ".join(helps) or "none"


def mitigation_table(
    software: Mapping[str, float],
    hardware: Mapping[str, Mapping[str, Sequence[float]]],
    silenced: Mapping[str, int],
) -> Table:
    """Hardware accuracy of every combination; `silenced` chips gave a converted network no thresholds."""

    def cell(name: str, helps: str) -> str:
        return mean_and_spread(hardware[name][helps]) if helps in hardware[name] else "–"

    rows = [["software", *(f"{accuracy:.2%}" for accuracy in software.values())]]
    for helps in map(label, subsets((ENCODING, GAIN, RECALIBRATION))):
        rows.append([helps, *(cell(name, helps) for name in software)])
    note = (
        "Mean ± standard deviation over chips. Recalibration: BN statistics adapted on the chip, or "
        "thresholds of the converted network found on the chip."
    )
    if silenced:
        kept = ", ".join(f"{helps}: {chips}" for helps, chips in silenced.items())
        note += f" Chips that silence one of its layers keep the thresholds of the software ({kept})."
    return Table("Accuracy on chips", ["done after training", *software], rows, note=note)


def adaptation_table(counts: Sequence[int], curves: Mapping[str, Sequence[Sequence[float]]]) -> Table:
    """Accuracy against the number of images that adapted the statistics."""
    return Table(
        "Accuracy after adaptation of the statistics",
        ["images", *curves],
        [
            [str(count), *(mean_and_spread(np.asarray(chips)[:, index]) for chips in curves.values())]
            for index, count in enumerate(counts)
        ],
        note="Differential pairs without digital gain.",
    )
