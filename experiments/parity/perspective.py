"""Rows of "Are SNNs Truly Energy-efficient?", and of what its lab published next, that need a network."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.parity.ledger import Ledger
from experiments.parity.measure import Bench, Subject
from hwmodels import sata, spikeflow
from hwmodels.crossbar import Crossbar, Device
from hwmodels.crossbar.mapping import Calibration, Signs
from hwmodels.early_exit import EarlyExitCost
from jaxsnn.codesign.program import program
from jaxsnn.codesign.workload import to_workload
from jaxsnn.learning.early_exit import accuracy_curve, exit_timesteps
from jaxsnn.learning.pruning import lottery_ticket
from jaxsnn.network import batch_key

Numbers = Mapping[str, Any]

SIGNS: tuple[Signs, ...] = ("offset", "differential", "nice")
GAINS: tuple[Calibration, ...] = ("none", "column")
COSTS: dict[str, Callable[..., EarlyExitCost]] = {
    "SATA": sata.early_exit_cost,
    "SpikeFlow": partial(spikeflow.early_exit_cost, chip=spikeflow.Chip(entropy_module=True)),
}
"""What each published chip asks for inputs that exit early."""
_AT_ONCE = 100
LEAST_LOSS = 0.003
"""Accuracy that early exit may lose: 0.3 points."""


@dataclasses.dataclass(frozen=True)
class Perspective:
    """What is measured; see [`measure`][].

    **Arguments:**

    - `dt_snn`: subjects that exit early, trained with the loss at every timestep, by name.
    - `thresholds`: on the normalised entropy.
    - `weight_encoding`: the subject of figure 6b, with quantised weights; `encoding_bits` of its cells, and
      `adapted` training images for its normalisation.
    - `variants`: the network itself, and subjects of MINT and EfficientLIF-Net, by name.
    - `tickets`: rounds of the lottery, on the recipe `ticket`; 0 draws none.
    """

    dt_snn: dict[str, Subject] = dataclasses.field(default_factory=dict)
    thresholds: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    weight_encoding: Subject | None = None
    encoding_bits: int = 4
    adapted: int = 256
    variants: dict[str, Subject] = dataclasses.field(default_factory=dict)
    ticket: str | None = None
    tickets: int = 0


def measure(bench: Bench, ledger: Ledger, plan: Perspective) -> dict[str, Numbers | None]:
    """All rows that need training, by name: finished ones from the ledger."""
    found: dict[str, Numbers | None] = {}
    for name, subject in plan.dt_snn.items():
        row, given = f"dt_snn_{name}", bench.inputs(subject) | {"thresholds": list(plan.thresholds)}
        found[row] = ledger.row(row, given, partial(_dt_snn, bench, subject, plan.thresholds))
    if plan.weight_encoding is not None:
        given = bench.inputs(plan.weight_encoding) | {"bits": plan.encoding_bits, "adapted": plan.adapted}
        found["figure_6b"] = ledger.row("figure_6b", given, lambda: _weight_encoding(bench, plan))
    for name, subject in plan.variants.items():
        row = f"variant_{name}"
        found[row] = ledger.row(row, bench.inputs(subject), partial(_variant, bench, subject))
    if plan.ticket is not None and plan.tickets:
        subject = Subject(plan.ticket)
        given = bench.inputs(subject) | {"rounds": plan.tickets}
        found["lottery"] = ledger.row("lottery", given, lambda: _lottery(bench, subject, plan.tickets))
    return found


@partial(jax.jit, static_argnames=("graphdef", "timesteps"))
def _outputs(graphdef: Any, state: Any, images: Any, key: Any, timesteps: int) -> Any:
    return nnx.merge(graphdef, state).outputs(images, timesteps=timesteps, key=key)[0]


def _dt_snn(bench: Bench, subject: Subject, thresholds: tuple[float, ...]) -> dict[str, Any]:
    network, timesteps = bench.network(subject), bench.timesteps(subject)
    dataset = bench.library.dataset(subject.recipe)
    count = bench.count(subject, bench.setting.images)
    images, labels = dataset.scale(dataset.test_images[:count]), dataset.test_labels[:count]
    graphdef, state = nnx.split(network)
    outputs = jnp.concatenate(
        [
            _outputs(
                graphdef,
                state,
                jnp.asarray(images[at : at + _AT_ONCE]),
                batch_key(network, bench.data_key, at // _AT_ONCE),
                timesteps,
            )
            for at in range(0, len(images), _AT_ONCE)
        ],
        axis=1,
    )
    by_timesteps = (np.asarray(outputs).argmax(-1) == labels).mean(-1).tolist()
    curve = accuracy_curve(outputs, labels, thresholds)
    good = [point for point in curve if point[2] >= by_timesteps[-1] - LEAST_LOSS]
    chosen = min(good, key=lambda point: point[1]) if good else None
    evaluation = bench.software(subject)
    workload = to_workload(evaluation.record, timesteps)
    found: dict[str, Any] = {
        "accuracy_by_timesteps": by_timesteps,
        "curve": curve,
        "chosen": chosen,
        "spike_rates": {layer.name: float(layer.spike_rate) for layer in evaluation.record if layer.spiking},
        "chips": {},
    }
    for name, cost in COSTS.items():
        rows = []
        for threshold, mean, accuracy in curve:
            leaving = np.bincount(exit_timesteps(outputs, threshold), minlength=timesteps + 1)[1:]
            exits = cost(workload, leaving / leaving.sum())
            rows.append(
                {
                    "threshold": threshold,
                    "mean_timesteps": mean,
                    "accuracy": accuracy,
                    "energy_j": float(exits.energy_j),
                    "latency_s": float(exits.latency_s),
                    "energy_delay_js": float(exits.energy_delay_js),
                }
            )
        by = exits.energy_by_timesteps_j, exits.latency_by_timesteps_s
        found["chips"][name] = {
            "energy_by_timesteps_j": [float(value) for value in by[0]],
            "latency_by_timesteps_s": [float(value) for value in by[1]],
            "exits": rows,
        }
    return found


def _weight_encoding(bench: Bench, plan: Perspective) -> dict[str, Any]:
    """Accuracy of quantised weights on crossbars by how signs are encoded, and after BN adaptation."""
    subject = plan.weight_encoding
    assert subject is not None
    network, images = bench.network(subject), bench.setting.hardware_images
    hardware: dict[str, list[float]] = {}
    for signs, gain, adapts in itertools.product(SIGNS, GAINS, (False, True)):
        design = Crossbar(device=Device(bits=plan.encoding_bits), signs=signs, calibration=gain)
        helps = {"gain per column": gain == "column", "BN adapted": adapts}
        accuracies = []
        for key in bench.setting.chips:
            chip = program(network, design, key)
            if adapts:
                bench.adapt(chip, subject, plan.adapted)
            accuracies.append(bench.test(chip, subject, images).accuracy)
        hardware[", ".join([signs, *(name for name, done in helps.items() if done)])] = accuracies
    return {
        "software": bench.software(subject).accuracy,
        "software_on_hardware_images": bench.software(subject, images).accuracy,
        "hardware": hardware,
    }


def _variant(bench: Bench, subject: Subject) -> dict[str, Any]:
    evaluation = bench.software(subject)
    return {
        "software": evaluation.accuracy,
        "weight_bits": [
            None if layer.weight_bits is None else float(layer.weight_bits) for layer in evaluation.record
        ],
        "spike_rates": {layer.name: float(layer.spike_rate) for layer in evaluation.record if layer.spiking},
    }


def _lottery(bench: Bench, subject: Subject, rounds: int) -> dict[str, Any]:
    recipe, dataset = bench.library.recipes[subject.recipe], bench.library.dataset(subject.recipe)
    training, seen = recipe.legs(dataset)[-1]
    tickets = lottery_ticket(recipe.build(dataset), seen, training, rounds=rounds, prune_per_round=0.5)
    return {"tickets": [{"sparsity": each.sparsity, "accuracy": each.test_accuracy} for each in tickets]}
