"""Co-design: the network for the chip, and the chip for the network: accuracy, energy and area."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from rich.progress import Progress

from experiments import registry
from experiments.chip_training import programmed
from experiments.energy_aware import EnergyPenalty, Inference, Setting
from experiments.figures.search import search_figure
from experiments.hardware_cost import Conventions, to_workload
from experiments.output import Result, Run, Table, inputs
from experiments.pipeline import (
    make_chip,
    make_crossbar,
    make_dataset,
    make_device,
    make_digits_convnet,
    make_neuron,
    make_training,
    make_wires,
)
from experiments.sensitivity import weight_errors
from hwmodels import spikeflow
from hwmodels.crossbar import Converters, Crossbar
from hwmodels.search import Choice, Constraint, InfeasibleError, Optimum, minimise
from hwmodels.workload import Workload
from jaxsnn.learning.training import fit
from jaxsnn.network import Network

_WEIGHTS, _CHIPS, _PROXY, _SEARCH = range(4)


@dataclass(frozen=True)
class ChipSpace:
    """The chips among which a search may choose.

    **Arguments:**

    - `crossbar_sizes`: rows = columns of a crossbar.
    - `adc_bits`, `mux_ratios`, `pes_per_tile`: of [`hwmodels.spikeflow.Chip`][].
    - `rows_per_code`: the most rows of a crossbar for each code of its converters.
    - `weight_error`: the most that wires and variation may change a weight on average, a fraction.

    **Raises:** `ValueError` for mux ratios beyond the columns of the smallest crossbar.
    """

    crossbar_sizes: tuple[int, ...]
    adc_bits: tuple[int, ...]
    mux_ratios: tuple[int, ...]
    pes_per_tile: tuple[int, ...]
    rows_per_code: float
    weight_error: float

    def __post_init__(self):
        if min(self.crossbar_sizes) < max(self.mux_ratios):
            raise ValueError(
                f"ChipSpace: {max(self.mux_ratios)} columns cannot share a converter in crossbars of "
                f"{min(self.crossbar_sizes)}; drop that mux ratio or that size."
            )

    @property
    def parameters(self) -> tuple[Choice, ...]:
        return (
            Choice("crossbar_size", self.crossbar_sizes),
            Choice("adc_bits", self.adc_bits, unit="bit"),
            Choice("mux_ratio", self.mux_ratios),
            Choice("pes_per_tile", self.pes_per_tile),
        )

    @property
    def designs(self) -> int:
        return int(np.prod([len(parameter.values) for parameter in self.parameters]))


make_space = registry.register(ChipSpace)


def find_chip(
    workload: Workload,
    base: spikeflow.Chip,
    space: ChipSpace,
    errors: Sequence[float],
    area_limit_mm2: float,
    key: jax.Array,
    conventions: Conventions = "corrected",
    **settings: Any,
) -> Optimum:
    """The chip with the least product of energy and latency for one inference.

    **Arguments:**

    - `workload`: of the network, with its rates.
    - `base`: a chip, whose parameters outside the space stand.
    - `errors`: the mean weight error of each of the space's crossbar sizes.
    - `area_limit_mm2`: of the chip.
    - `key`, `settings`: of [`hwmodels.search.minimise`][].

    **Raises:** [`hwmodels.search.InfeasibleError`][].
    """

    def build(crossbar_size: Any, **sizes: Any) -> spikeflow.Chip:
        return dataclasses.replace(base, crossbar_rows=crossbar_size, crossbar_columns=crossbar_size, **sizes)

    def cost(chip: spikeflow.Chip) -> spikeflow.Cost:
        return spikeflow.evaluate(workload, chip, conventions)

    def energy_delay(chip: spikeflow.Chip) -> Any:
        found = cost(chip)
        return found.energy_j * found.latency_s * 1e12  # nJ·ms: joule second would underflow in float32

    def weight_error(chip: spikeflow.Chip) -> Any:
        return jnp.interp(chip.crossbar_rows, np.array(space.crossbar_sizes, float), np.array(errors))

    constraints = (
        Constraint("area", lambda chip: cost(chip).area_mm2, upper=area_limit_mm2, unit="mm²"),
        Constraint("weight error", weight_error, upper=space.weight_error),
        Constraint(
            "rows per ADC code",
            lambda chip: chip.crossbar_rows / 2.0**chip.adc_bits,
            upper=space.rows_per_code,
        ),
    )
    return minimise(energy_delay, build, space.parameters, key=key, constraints=constraints, **settings)


@registry.experiment("search", "find network and chip together: accuracy, energy and area")
def search(
    run: Run,
    *,
    seed: int,
    betas: tuple[float, ...],
    area_limits_mm2: tuple[float, ...],
    draws: int,
    tuning_epochs: int,
    tuning_learning_rate: float,
    exit_entropy: float,
    exit_temperature: float,
    restarts: int,
    steps: int,
    conventions: Conventions,
) -> Result:
    """Search a chip for a trained network, tune networks with its energy in the loss, search one for each.

    What is found is measured on programmed crossbars of its size behind converters of its bits: accuracy,
    and energy at the spike rates and exits on the chip.

    **Arguments:**

    - `seed`: of weights, data order, devices and searches.
    - `betas`: weights of the energy in the loss, above zero; β = 0 is always run.
    - `area_limits_mm2`: a chip is searched below each of them; networks are tuned on that of the greatest.
    - `draws`: programmed chips of each design.
    - `tuning_epochs`, `tuning_learning_rate`: of the training with a penalty, in place of `TrainConfig`'s.
    - `exit_entropy`: threshold of early exit; `exit_temperature`: τ of its relaxation in training.
    - `restarts`, `steps`: of every search.
    - `conventions`: of the cost model.

    **Raises:** `ValueError` for no area limit and fewer draws than one;
    [`hwmodels.search.InfeasibleError`][] where the greatest limit admits no chip.
    """
    if not area_limits_mm2 or draws < 1:
        raise ValueError(
            "search needs at least one of area_limits_mm2 and one of draws; "
            f"got {area_limits_mm2} and {draws}."
        )
    for beta in betas:
        if not beta > 0:
            raise ValueError(f"search.betas must be above zero (zero is always run), got {beta}.")
    key = jax.random.key(seed)
    chip_keys = list(jax.random.split(jax.random.fold_in(key, _CHIPS), draws))
    dataset, training = make_dataset(), make_training()
    network = make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.fold_in(key, _WEIGHTS)))
    published, space = make_chip(), make_space()
    crossbar = make_crossbar(wires=make_wires(), device=make_device(), partition=published.partition)
    registry.require_all_used()
    tuning = dataclasses.replace(training, epochs=tuning_epochs, learning_rate=tuning_learning_rate)

    fit(network, dataset, training, checkpoint_dir=run.checkpoints / "base", progress=True)
    seen = dataset.scale(dataset.train_images), dataset.train_labels
    unseen = dataset.scale(dataset.test_images), dataset.test_labels

    def inference(network: Network, chip: spikeflow.Chip, data: tuple[Any, Any]) -> Inference:
        return Setting(training.timesteps, exit_entropy, chip, conventions).measure(network, *data)

    def find(network: Network, limit_mm2: float) -> Optimum:
        usual = inference(network, published, seen)
        return find_chip(
            to_workload(usual.record, usual.timesteps),
            published,
            space,
            mean_weight_errors(network, crossbar, space.crossbar_sizes, jax.random.fold_in(key, _PROXY)),
            limit_mm2,
            jax.random.fold_in(key, _SEARCH),
            conventions,
            restarts=restarts,
            steps=steps,
        )

    limits = sorted(area_limits_mm2, reverse=True)
    target = find(network, limits[0]).design
    unit_j = inference(network, target, seen).energy_j

    def tuned(beta: float) -> Network:
        run.console.print(f"β = {beta:g}")
        penalty = EnergyPenalty(beta, unit_j, exit_entropy, exit_temperature, target, conventions)
        copy = nnx.clone(network)
        folder = run.checkpoints / f"beta_{beta:g}"
        fit(copy, dataset, tuning, checkpoint_dir=folder, penalty=penalty, progress=True)
        return copy

    def on_chips(network: Network, chip: spikeflow.Chip) -> dict[str, Any]:
        design = sized(crossbar, int(chip.crossbar_rows), int(chip.crossbar_columns))
        converters = Converters(adc_bits=int(chip.adc_bits))
        chips = [programmed(network, design, key, converters=converters) for key in chip_keys]
        return facts(chip, [inference(one, chip, unseen) for one in chips], conventions)

    networks = {beta: tuned(beta) for beta in (0.0, *betas)}
    rows: list[dict[str, Any]] = []
    infeasible: list[str] = []
    with Progress(console=run.console) as progress:
        for beta, candidate in progress.track(networks.items(), description="searching chips"):
            software = inference(candidate, published, unseen)
            common = {"beta": beta, "software_accuracy": software.accuracy}
            rows.append(common | {"area_limit_mm2": None} | on_chips(candidate, published))
            for limit in limits:
                try:
                    found = find(candidate, limit)
                except InfeasibleError as error:
                    infeasible.append(f"β = {beta:g}, {limit:g} mm²: {error}")
                    continue
                spent = {"evaluations": found.evaluations}
                rows.append(common | {"area_limit_mm2": limit} | on_chips(candidate, found.design) | spent)
    for row, best in zip(rows, undominated(rows), strict=True):
        row["undominated"] = best
    return Result(
        title="Network and chip, found together",
        inputs=inputs(dataset, seed, training=training, tuning=tuning),
        numbers={"designs_in_space": space.designs, "found": rows, "infeasible": infeasible},
        tables=[search_table(rows, infeasible)],
        figures={"search": search_figure(rows)},
    )


def sized(crossbar: Crossbar, rows: int, columns: int) -> Crossbar:
    """The same design at another size."""
    return dataclasses.replace(crossbar, rows=rows, columns=columns)


def mean_weight_errors(
    network: Network, crossbar: Crossbar, sizes: Sequence[int], key: jax.Array
) -> list[float]:
    """The mean over the layers of the weight error on square crossbars of each size."""
    kernels = {layer.name: layer.synapse.kernel[...] for layer in network.layers}
    errors = [_weight_errors(kernels, sized(crossbar, size, size), key) for size in sizes]
    return [float(np.mean(list(by_layer.values()))) for by_layer in errors]


_weight_errors = jax.jit(weight_errors)


def facts(chip: spikeflow.Chip, measured: Sequence[Inference], conventions: Conventions) -> dict[str, Any]:
    """A design, and the mean of what its programmed chips do."""
    costs = [
        spikeflow.evaluate(to_workload(one.record, one.timesteps), chip, conventions) for one in measured
    ]
    accuracies = [one.accuracy for one in measured]
    return {
        "chip": {name: int(getattr(chip, name)) for name in _SEARCHED},
        "accuracies": accuracies,
        "accuracy": float(np.mean(accuracies)),
        "mean_timesteps": float(np.mean([one.timesteps for one in measured])),
        "energy_j": float(np.mean([cost.energy_j for cost in costs])),
        "latency_s": float(np.mean([cost.latency_s for cost in costs])),
        "area_mm2": float(costs[0].area_mm2),
    }


_SEARCHED = ("crossbar_rows", "crossbar_columns", "adc_bits", "mux_ratio", "pes_per_tile")


def undominated(rows: Sequence[Mapping[str, float]]) -> list[bool]:
    """Which rows no other one beats: none is as accurate, frugal and small, and better in one of these."""
    points = np.array([[-row["accuracy"], row["energy_j"], row["area_mm2"]] for row in rows])
    return [not np.any(np.all(points <= point, axis=1) & np.any(points < point, axis=1)) for point in points]


def search_table(rows: Sequence[Mapping[str, Any]], infeasible: Sequence[str]) -> Table:
    """Every network on the published chip and on those found for it."""
    return Table(
        "Networks and their chips",
        ["network", "chip", "size/ADC/mux/PEs", "accuracy", "T", "nJ", "µs", "mm²", "front"],
        [
            [
                f"β = {row['beta']:g}",
                "published" if row["area_limit_mm2"] is None else f"≤ {row['area_limit_mm2']:g} mm²",
                "/".join(str(row["chip"][name]) for name in _SEARCHED if name != "crossbar_columns"),
                f"{row['accuracy']:.2%}",
                f"{row['mean_timesteps']:.2f}",
                f"{1e9 * row['energy_j']:.1f}",
                f"{1e6 * row['latency_s']:.1f}",
                f"{row['area_mm2']:.2f}",
                "yes" if row["undominated"] else "",
            ]
            for row in rows
        ],
        note=" ".join(
            [
                "Accuracy, T and energy on programmed chips. Front: no other row is as accurate, frugal and "
                "small, and better in one of these.",
                *infeasible,
            ]
        ),
    )
