"""Chips found by gradient for a trained network, and network and chip together."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments import registry
from experiments.figures.search import joint_figure, progress_figure
from experiments.hardware_cost import Conventions, inference_energy_j, to_workload
from experiments.output import Result, Run, Table
from experiments.pipeline import (
    make_accelerator,
    make_chip,
    make_dataset,
    make_digits_convnet,
    make_neuron,
    make_training,
)
from hwmodels import sata, spikeflow
from hwmodels.search import Choice, Constraint, Integer, Optimum, minimise
from hwmodels.workload import Workload
from jaxsnn.learning.training import evaluate, fit

SIZES = tuple(range(16, 257, 16))
CHIP = (
    Choice("crossbar_rows", SIZES),
    Choice("crossbar_columns", SIZES),
    Integer("adc_bits", 2, 8, unit="bit"),
    Integer("mux_ratio", 1, 16),
    Integer("pes_per_tile", 1, 32, log=True),
)
ARRAY = (
    Integer("rows", 2, 64, log=True),
    Integer("columns", 2, 64, log=True),
    *(Choice(name, tuple(2**k for k in range(10, 19)), unit="B") for name in ("ifmap", "filter", "ofmap")),
)


@dataclass(frozen=True)
class Search:
    """How chips are searched: the settings of [`hwmodels.search.minimise`][].

    **Arguments:** `restarts`, `steps`, `polished`: see there. `rows_per_code`: most crossbar rows for each
    code of the ADC, which keeps a design from saving on its resolution.
    """

    restarts: int
    steps: int
    polished: int
    rows_per_code: float
    conventions: Conventions
    seed: int

    def chip(
        self, workload: Workload, chip: spikeflow.Chip, area_mm2: float, objective: Callable[[Any], Any]
    ) -> Optimum:
        """The SpikeFlow chip with the least objective of its cost, from `chip` and elsewhere."""

        def cost(design: spikeflow.Chip) -> spikeflow.Cost:
            return spikeflow.evaluate(workload, design, self.conventions)

        return self._minimise(
            lambda design: objective(cost(design)),
            lambda **values: dataclasses.replace(chip, **values),
            CHIP,
            (
                Constraint("area", lambda design: cost(design).area_mm2, upper=area_mm2, unit="mm²"),
                Constraint(
                    "rows per ADC code",
                    lambda design: design.crossbar_rows / 2.0**design.adc_bits,
                    upper=self.rows_per_code,
                ),
            ),
            {parameter.name: getattr(chip, parameter.name) for parameter in CHIP},
        )

    def accelerator(
        self,
        workload: Workload,
        accelerator: sata.Accelerator,
        area_mm2: float,
        objective: Callable[[Any], Any],
    ) -> Optimum:
        """The SATA accelerator with the least objective of its cost."""

        def cost(design: sata.Accelerator) -> sata.InferenceCost:
            return sata.inference_energy(workload, design, conventions=self.conventions)

        def build(rows: Any, columns: Any, **buffers: Any) -> sata.Accelerator:
            return dataclasses.replace(
                accelerator, array=sata.Array(rows, columns), buffers=sata.Buffers(**buffers)
            )

        return self._minimise(
            lambda design: objective(cost(design)),
            build,
            ARRAY,
            (Constraint("area", lambda design: cost(design).area_mm2, upper=area_mm2, unit="mm²"),),
            vars(accelerator.array) | vars(accelerator.buffers),
        )

    def _minimise(self, objective: Any, build: Any, parameters: Any, constraints: Any, start: Any) -> Optimum:
        return minimise(
            objective,
            build,
            parameters,
            key=jax.random.key(self.seed),
            constraints=constraints,
            start=start,
            restarts=self.restarts,
            steps=self.steps,
            polished=self.polished,
        )


def energy_delay(cost: Any) -> Any:
    """Energy-delay product in nanojoule second: in joule second float32 would be near its least number."""
    return cost.energy_j * cost.latency_s * 1e9


make_search = registry.register(Search)


@registry.experiment("search", "find chips by gradient descent, alone and together with the network")
def search(
    run: Run,
    *,
    seed: int,
    betas: tuple[float, ...],
    spikeflow_areas_mm2: tuple[float, ...],
    sata_area_mm2: float,
    conventions: Conventions,
) -> Result:
    """Train a network for each weight of the energy in its loss, and search chips for it.

    **Arguments:**

    - `seed`: of the initial weights and of the searches.
    - `betas`: weights β ≥ 0 of the SpikeFlow chip's energy, relative to that of the first network.
    - `spikeflow_areas_mm2`: area limits of SpikeFlow; the first one holds for the comparison of designs.
    - `sata_area_mm2`: area limit of SATA.
    - `conventions`: of the cost models.
    """
    if not betas or not spikeflow_areas_mm2 or not all(np.isfinite(beta) and beta >= 0 for beta in betas):
        raise ValueError(
            "search needs at least one of spikeflow_areas_mm2, and one of betas, each zero or more; "
            f"got {spikeflow_areas_mm2} and {betas}."
        )
    dataset, training = make_dataset(), make_training()
    accelerator, chip = make_accelerator(), make_chip()
    searcher = make_search(conventions=conventions, seed=seed)
    networks = [
        make_digits_convnet(neuron=make_neuron, rngs=nnx.Rngs(params=jax.random.key(seed))) for _ in betas
    ]
    registry.require_all_used()

    images, labels = dataset.scale(dataset.test_images), dataset.test_labels
    points: list[dict[str, Any]] = []
    compared: dict[str, tuple[Any, Any, Optimum]] = {}
    unit_j = 0.0
    for beta, network in zip(betas, networks, strict=True):
        run.console.print(f"training, β = {beta:g}")
        unit = unit_j

        def penalty(outputs: Any, record: Any, params: Any, beta: float = beta, unit: float = unit) -> Any:
            energy_j = inference_energy_j(record, training.timesteps, chip, conventions)
            return beta * (energy_j / unit)

        fit(
            network,
            dataset,
            training,
            checkpoint_dir=run.checkpoints / f"beta_{beta:g}",
            penalty=penalty if unit else None,
            progress=True,
        )
        found = evaluate(network, images, labels, timesteps=training.timesteps)
        workload = to_workload(found.record, training.timesteps)
        if not unit_j:
            unit_j = float(spikeflow.evaluate(workload, chip, conventions).energy_j)
            run.console.print("searching chips")
            compared = {
                "SpikeFlow": (
                    chip,
                    lambda design, w=workload: spikeflow.evaluate(w, design, conventions),
                    searcher.chip(workload, chip, spikeflow_areas_mm2[0], energy_delay),
                ),
                "SATA": (
                    accelerator,
                    lambda design, w=workload: sata.inference_energy(w, design, conventions=conventions),
                    searcher.accelerator(workload, accelerator, sata_area_mm2, energy_delay),
                ),
            }
        for area in spikeflow_areas_mm2:
            best = searcher.chip(workload, chip, area, lambda cost: cost.energy_j * 1e9)
            points.append(
                {
                    "beta": beta,
                    "area_limit_mm2": area,
                    "accuracy": found.accuracy,
                    "energy_j": best.objective * 1e-9,
                    "area_mm2": best.constrained["area"],
                    "values": best.values,
                    "evaluations": best.evaluations,
                }
            )
    return Result(
        title="Chips found by gradient",
        inputs={
            "dataset": dataset.name,
            "dataset_sha256": dataset.fingerprint,
            "test_images": len(labels),
            "seed": seed,
            "training": dataclasses.asdict(training),
        },
        numbers={
            "designs": {name: _numbers(*design) for name, design in compared.items()},
            "joint": points,
        },
        tables=[*(_table(name, *design) for name, design in compared.items()), _joint_table(points)],
        figures={
            "progress": progress_figure({name: design[2].trace for name, design in compared.items()}),
            "joint": joint_figure(points),
        },
    )


def _costs(cost: Any) -> dict[str, float]:
    return {
        "energy_j": float(cost.energy_j),
        "latency_s": float(cost.latency_s),
        "area_mm2": float(cost.area_mm2),
        "energy_delay_js": float(cost.energy_j) * float(cost.latency_s),
    }


def _numbers(before: Any, measure: Callable[[Any], Any], found: Optimum) -> dict[str, Any]:
    reached = np.isfinite(found.trace)
    return {
        "before": _costs(measure(before)),
        "after": _costs(measure(found.design)),
        "values": found.values,
        "evaluations": found.evaluations,
        "gradients": found.gradients,
        "trace": [float(v) if ok else None for v, ok in zip(found.trace, reached, strict=True)],
    }


def _table(name: str, before: Any, measure: Callable[[Any], Any], found: Optimum) -> Table:
    def value(parameter: str) -> Any:
        for part in (before, getattr(before, "array", None), getattr(before, "buffers", None)):
            if hasattr(part, parameter):
                return getattr(part, parameter)
        raise AttributeError(parameter)

    units = {parameter.name: parameter.unit for parameter in (*CHIP, *ARRAY)}
    rows = [
        [f"{key} [{units[key]}]" if units[key] else key, str(value(key)), str(v)]
        for key, v in found.values.items()
    ]
    old, new = _costs(measure(before)), _costs(measure(found.design))
    labels = {"energy_j": "energy [J]", "latency_s": "latency [s]", "area_mm2": "area [mm²]"}
    labels["energy_delay_js"] = "energy · delay [J s]"
    rows += [[label, f"{old[key]:.3g}", f"{new[key]:.3g}"] for key, label in labels.items()]
    return Table(
        f"{name}: the published design and the one found",
        ["", "before", "after"],
        rows,
        note=f"{found.evaluations} designs measured, {found.gradients} of them with their gradient.",
    )


def _joint_table(points: Sequence[dict[str, Any]]) -> Table:
    return Table(
        "Network and SpikeFlow chip together",
        ["β", "area limit [mm²]", "accuracy", "energy [J]", "area [mm²]", "crossbar", "ADC [bit]"],
        [
            [
                f"{point['beta']:g}",
                f"{point['area_limit_mm2']:g}",
                f"{point['accuracy']:.2%}",
                f"{point['energy_j']:.3g}",
                f"{point['area_mm2']:.3g}",
                f"{point['values']['crossbar_rows']}×{point['values']['crossbar_columns']}",
                str(point["values"]["adc_bits"]),
            ]
            for point in points
        ],
        note="β: weight of the energy in the loss. Chips: least energy under the area limit.",
    )
