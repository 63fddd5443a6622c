"""Design-space search beside exhaustive search, random search and Optuna's TPE: evaluations and time."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels import sata, spikeflow
from hwmodels.search import Choice, Constraint, minimise
from hwmodels.search.problem import Problem, measure_all
from hwmodels.workload import Workload

SEEDS = 10
CHUNK = 4096
TOLERANCE = 1.02
BUDGET = 0.05
TPE_SECONDS = 300
"""For the seeds of Optuna's TPE at equal evaluations, whose trials take longer the more there were."""

CHIP_LAYERS = spikeflow.vgg(spikeflow.VGG9).layers
SIZES = tuple(range(32, 257, 32))
TIMESTEPS = (2, 4, 6, 8, 10)
RESOLUTION = Constraint("resolution", lambda design: _resolution(design), lower=7.0, unit="bit")
"""A stand-in for accuracy: a rate of T timesteps has T + 1 values, a weight of b bits has 2^b."""


@dataclass(frozen=True)
class Space:
    """A space of designs small enough to measure all of them."""

    name: str
    build: Callable[..., Any]
    objective: Callable[[Any], Any]
    parameters: tuple[Choice, ...]
    constraints: tuple[Constraint, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(parameter.values) for parameter in self.parameters)

    @property
    def problem(self) -> Problem:
        return Problem(self.objective, self.build, self.parameters, self.constraints)

    def measure(self) -> np.ndarray:
        """Measures of all designs, in the order of their indices."""
        designs = np.array(list(product(*(parameter.values for parameter in self.parameters))), np.float32)
        padded = np.concatenate([designs, designs[: -len(designs) % CHUNK]])
        parts = [measure_all(self.problem, part) for part in padded.reshape(-1, CHUNK, designs.shape[1])]
        return np.concatenate([np.asarray(part) for part in parts])[: len(designs)]


class Design(NamedTuple):
    """What a search turns: a chip, and how long the network runs on it."""

    chip: Any
    timesteps: Any
    weight_bits: Any


def _resolution(design: Design) -> Any:
    return jnp.log2(1 + jnp.asarray(design.timesteps, jnp.result_type(float))) + design.weight_bits


def _chip(timesteps: Any, weight_bits: Any, **sizes: Any) -> Design:
    chip = spikeflow.Chip(activity="spikes", weight_bits=weight_bits, **sizes)
    return Design(chip, timesteps, weight_bits)


def _chip_cost(design: Design) -> spikeflow.Cost:
    return spikeflow.evaluate(Workload(CHIP_LAYERS, design.timesteps), design.chip)


def _chip_energy_delay(design: Design) -> Any:
    found = _chip_cost(design)
    # Joule second would be near the smallest number of float32.
    return found.energy_j * found.latency_s * 1e9


def _array(
    rows: Any, columns: Any, ifmap: Any, filter: Any, ofmap: Any, timesteps: Any, weight_bits: Any
) -> Design:
    accelerator = sata.Accelerator(
        array=sata.Array(rows, columns),
        buffers=sata.Buffers(ifmap=ifmap, filter=filter, ofmap=ofmap),
        precision=sata.Precision(weight=weight_bits),
    )
    return Design(accelerator, timesteps, weight_bits)


def _array_cost(design: Design) -> sata.InferenceCost:
    return sata.inference_energy(Workload(CHIP_LAYERS, design.timesteps), design.chip)


def _array_energy_delay(design: Design) -> Any:
    found = _array_cost(design)
    return found.total_j * found.latency_s * 1e9


SPACES = (
    Space(
        "SpikeFlow, VGG9",
        _chip,
        _chip_energy_delay,
        (
            Choice("crossbar_rows", SIZES),
            Choice("crossbar_columns", SIZES),
            Choice("adc_bits", tuple(range(2, 9)), unit="bit"),
            Choice("mux_ratio", (1, 2, 3, 4, 6, 8, 12, 16)),
            Choice("pes_per_tile", (2, 4, 8, 12, 16, 24, 32)),
            Choice("timesteps", TIMESTEPS),
            Choice("weight_bits", (2, 4, 6, 8), unit="bit"),
        ),
        (
            Constraint("area", lambda design: _chip_cost(design).area_mm2, upper=9.0, unit="mm²"),
            Constraint(
                "rows per ADC code",
                lambda design: design.chip.crossbar_rows / 2.0**design.chip.adc_bits,
                upper=4.0,
            ),
            RESOLUTION,
        ),
    ),
    Space(
        "SATA, VGG9",
        _array,
        _array_energy_delay,
        (
            Choice("rows", (4, 8, 12, 16, 24, 32, 48, 64)),
            Choice("columns", (4, 8, 12, 16, 24, 32, 48, 64)),
            Choice("ifmap", (8192, 32768, 131072, 524288), unit="byte"),
            Choice("filter", (16384, 65536, 262144, 1048576), unit="byte"),
            Choice("ofmap", (8192, 32768, 131072, 524288), unit="byte"),
            Choice("timesteps", TIMESTEPS),
            Choice("weight_bits", (2, 3, 4, 5, 6, 8), unit="bit"),
        ),
        (
            Constraint("area", lambda design: _array_cost(design).area_mm2, upper=2.0, unit="mm²"),
            RESOLUTION,
        ),
    ),
)


def _random(space: Space, objectives: np.ndarray, count: int, seed: int) -> np.ndarray:
    chosen = np.random.default_rng(seed).integers(0, objectives.size, count)
    return np.minimum.accumulate(objectives.ravel()[chosen])


def _tpe(
    space: Space,
    objectives: np.ndarray,
    excesses: np.ndarray,
    seed: int,
    *,
    count: int | None = None,
    seconds: float | None = None,
) -> np.ndarray:
    """Optuna's TPE with its constraints, which looks its measures up in the table of all designs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seen: list[float] = []

    def trial(trial: Any) -> float:
        index = tuple(
            trial.suggest_int(parameter.name, 0, size - 1)
            for parameter, size in zip(space.parameters, space.shape, strict=True)
        )
        for number, excess in enumerate(excesses[index]):
            trial.set_constraint(str(number), float(excess))
        seen.append(float(objectives[index]))
        # The sampler wants a number where a constraint is missed, and goes by the excess.
        return seen[-1] if np.isfinite(seen[-1]) else 1e9

    sampler = optuna.samplers.TPESampler(seed=seed)
    optuna.create_study(sampler=sampler).optimize(trial, n_trials=count, timeout=seconds)
    return np.minimum.accumulate(seen)


def _tpe_at_equal_evaluations(
    space: Space, objectives: np.ndarray, excesses: np.ndarray, counts: Sequence[int], seconds: float
) -> tuple[list[np.ndarray], float]:
    """One trace for each seed that starts before the seconds are over, and the mean time of these.

    A seed whose seconds end before its trials do has a shorter trace, and only the first one is then kept.
    """
    begun = time.perf_counter()
    traces: list[np.ndarray] = []
    ends: list[float] = []
    for seed, count in enumerate(counts):
        left = seconds - (time.perf_counter() - begun)
        if left <= 0:
            break
        trace = _tpe(space, objectives, excesses, seed, count=count, seconds=left)
        if len(trace) < count and traces:
            break
        traces.append(trace)
        ends.append(time.perf_counter() - begun)
    return traces, ends[-1] / len(traces)


def _finite(ratio: Any) -> float | None:
    """None for no legal design."""
    return float(ratio) if np.isfinite(ratio) else None


def _row(
    space: Space, method: str, best: float, traces: Sequence[np.ndarray], seconds: float | None
) -> dict[str, Any]:
    ratios = [float(trace[-1] / best) for trace in traces]
    hits = [np.flatnonzero(trace <= TOLERANCE * best) for trace in traces]
    reached = sorted(int(hit[0]) + 1 if hit.size else 10**9 for hit in hits)
    typical = reached[len(reached) // 2]
    return {
        "space": space.name,
        "method": method,
        "within 2 %": f"{sum(ratio <= TOLERANCE for ratio in ratios)}/{len(ratios)}",
        "median ratio": _finite(np.median(ratios)),
        "worst ratio": _finite(max(ratios)),
        "evaluations": int(np.median([len(trace) for trace in traces])),
        "evaluations to 2 %": typical if typical < 10**9 else None,
        "seconds": seconds,
        "ratios": " ".join(f"{ratio:.3f}" for ratio in ratios),
    }


def compare(
    space: Space, seeds: int = SEEDS, tpe_seconds: float = TPE_SECONDS
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All methods on one space: rows of the table, and the curves of best-so-far over optimum."""
    start = time.perf_counter()
    measures = space.measure()
    exhaustive_s = time.perf_counter() - start
    excesses = np.stack(space.problem.excess(list(measures.T)), axis=1)
    objectives = np.where(excesses.max(axis=1) <= 0, measures[:, 0], np.inf).reshape(space.shape)
    excesses = excesses.reshape(*space.shape, -1)
    best = float(objectives.min())
    limit = int(BUDGET * objectives.size)

    def ours(seed: int, **settings: Any) -> tuple[np.ndarray, float]:
        begun = time.perf_counter()
        found = minimise(
            space.objective,
            space.build,
            space.parameters,
            key=jax.random.key(seed),
            constraints=space.constraints,
            max_evaluations=limit,
            **settings,
        )
        return found.trace, time.perf_counter() - begun

    runs = [ours(seed) for seed in range(seeds)]
    mean_s = float(np.mean([seconds for _, seconds in runs]))
    traces: dict[str, list[np.ndarray]] = {"gradients and polish": [trace for trace, _ in runs]}
    counts = [len(trace) for trace in traces["gradients and polish"]]
    rows = [
        _row(space, "exhaustive", best, [np.array([best])], exhaustive_s) | {"evaluations": objectives.size},
        _row(space, "gradients and polish", best, traces["gradients and polish"], mean_s),
    ]
    alone = [ours(seed, polished=0) for seed in range(seeds)]
    rows.append(
        _row(space, "gradients alone", best, [t for t, _ in alone], float(np.mean([s for _, s in alone])))
    )
    alone = [ours(seed, steps=0) for seed in range(seeds)]
    rows.append(
        _row(space, "polish alone", best, [t for t, _ in alone], float(np.mean([s for _, s in alone])))
    )

    traces["random"] = [_random(space, objectives, n, seed) for seed, n in enumerate(counts)]
    rows.append(_row(space, "random, equal evaluations", best, traces["random"], None))
    # What random search could measure in that time, at the rate of the exhaustive one.
    many = int(mean_s * objectives.size / exhaustive_s)
    drawn = [_random(space, objectives, many, seed) for seed in range(seeds)]
    rows.append(_row(space, "random, equal time", best, drawn, mean_s))
    if importlib.util.find_spec("optuna") is None:
        return rows, _curves(best, traces) | {"first_s": runs[0][1]}
    traces["TPE"], tpe_s = _tpe_at_equal_evaluations(space, objectives, excesses, counts, tpe_seconds)
    rows.append(_row(space, "TPE, equal evaluations", best, traces["TPE"], tpe_s))
    timed = [_tpe(space, objectives, excesses, seed, seconds=mean_s) for seed in range(seeds)]
    rows.append(_row(space, "TPE, equal time", best, timed, mean_s))
    return rows, _curves(best, traces) | {"first_s": runs[0][1]}


def _curves(best: float, traces: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Median over the seeds of best-so-far over optimum, at growing counts; null before a legal design."""
    longest = max(len(trace) for runs in traces.values() for trace in runs)
    counts = np.unique(np.geomspace(1, longest, 40).round().astype(int))
    curves = {
        name: np.median([[t[min(n, len(t)) - 1] / best for n in counts] for t in runs], axis=0)
        for name, runs in traces.items()
    }
    return {
        "evaluations": counts.tolist(),
        "ratio": {name: [_finite(v) for v in curve] for name, curve in curves.items()},
    }


def run(seeds: int = SEEDS, tpe_seconds: float = TPE_SECONDS) -> dict:
    """Rows of space, method, ratio to the true optimum, evaluations and seconds; curves beside them.

    **Arguments:** `seeds`: of every method. `tpe_seconds`: on each space, for TPE at equal evaluations.
    """
    rows: list[dict[str, Any]] = []
    curves: dict[str, Any] = {}
    for space in SPACES:
        found, curves[space.name] = compare(space, seeds, tpe_seconds)
        rows += found
    cold = ", ".join(f"{curve['first_s']:.1f} s on {name}" for name, curve in curves.items())
    notes = [
        f"The least energy-delay product under the constraints, {seeds} seeds; ratio 1 is the optimum that "
        "exhaustive search finds. At most 5 % of the space may be spent.",
        "An evaluation is one design measured; a gradient step counts as one, although its backward pass "
        "costs time of its own.",
        f"Seconds are means of the {seeds} searches, of which the first one compiles: {cold}. Equal time is "
        "that mean.",
        "Random search and TPE look designs up in the exhaustive table: their seconds hold no evaluation. "
        "Random search at equal time draws as many as the exhaustive search could measure in it.",
        f"TPE at equal evaluations: as many seeds as fit in {tpe_seconds:g} s on each space; a run cut "
        "short by them shows in its number of evaluations.",
        "T and weight bits are bounded from below by log2(T + 1) + bits, a stand-in for accuracy.",
        "The curves compare medians at every number of evaluations. A ratio that is missing or inf: no legal "
        "design was found.",
        "Made by `python -m experiments.benchmarks search`.",
    ]
    if not any(row["method"].startswith("TPE") for row in rows):
        notes.append("Optuna is not installed: no comparison with TPE (pip install optuna).")
    return {"title": "Design-space search", "rows": rows, "notes": notes, "curves": curves}
