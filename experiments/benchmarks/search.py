"""Design-space search beside exhaustive search, random search and Optuna's TPE: evaluations and time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import numpy as np

from hwmodels import spikeflow
from hwmodels.search import Choice, Constraint, minimise
from hwmodels.search.problem import Problem, measure_all

SEEDS = 10
CHUNK = 4096
TOLERANCE = 1.02
BUDGET = 0.05
SETTINGS = {"restarts": 128, "steps": 30, "polished": 32}
TPE_TRIALS = 200

CHIP_WORKLOAD = spikeflow.vgg(spikeflow.VGG9)
SIZES = tuple(range(16, 257, 16))


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


def _chip(**sizes: Any) -> spikeflow.Chip:
    return spikeflow.Chip(activity="spikes", **sizes)


def _chip_cost(chip: spikeflow.Chip) -> spikeflow.Cost:
    return spikeflow.evaluate(CHIP_WORKLOAD, chip)


def _energy_delay(cost: Callable[[Any], Any], design: Any) -> Any:
    found = cost(design)
    # Joule second would be near the smallest number of float32.
    return found.energy_j * found.latency_s * 1e9


def _area(cost: Callable[[Any], Any], design: Any) -> Any:
    return cost(design).area_mm2


SPACES = (
    Space(
        "SpikeFlow, VGG9",
        _chip,
        partial(_energy_delay, _chip_cost),
        (
            Choice("crossbar_rows", SIZES),
            Choice("crossbar_columns", SIZES),
            Choice("adc_bits", tuple(range(2, 9)), unit="bit"),
            Choice("mux_ratio", (1, 2, 3, 4, 6, 8, 12, 16)),
            Choice("pes_per_tile", tuple(range(2, 33, 2))),
        ),
        (
            Constraint("area", partial(_area, _chip_cost), upper=9.0, unit="mm²"),
            Constraint("rows per ADC code", lambda chip: chip.crossbar_rows / 2.0**chip.adc_bits, upper=4.0),
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
        "median ratio": float(np.median(ratios)),
        "worst ratio": max(ratios),
        "evaluations": int(np.median([len(trace) for trace in traces])),
        "evaluations to 2 %": typical if typical < 10**9 else None,
        "seconds": seconds,
        "ratios": " ".join(f"{ratio:.3f}" for ratio in ratios),
    }


def compare(space: Space, seeds: int = SEEDS) -> tuple[list[dict[str, Any]], dict[str, Any]]:
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
            **SETTINGS | settings,
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
    try:
        import optuna  # noqa: F401
    except ImportError:
        return rows, _curves(best, traces) | {"first_s": runs[0][1]}
    begun = time.perf_counter()
    traces["TPE"] = [_tpe(space, objectives, excesses, seed, count=TPE_TRIALS) for seed in range(seeds)]
    tpe_s = (time.perf_counter() - begun) / seeds
    rows.append(_row(space, f"TPE, {TPE_TRIALS} evaluations", best, traces["TPE"], tpe_s))
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
        "ratio": {
            name: [float(v) if np.isfinite(v) else None for v in curve] for name, curve in curves.items()
        },
    }


def run() -> dict:
    """Rows of space, method, ratio to the true optimum, evaluations and seconds; curves beside them."""
    rows: list[dict[str, Any]] = []
    curves: dict[str, Any] = {}
    for space in SPACES:
        found, curves[space.name] = compare(space)
        rows += found
    cold = ", ".join(f"{curve['first_s']:.1f} s on {name}" for name, curve in curves.items())
    notes = [
        f"The least energy-delay product under the constraints, {SEEDS} seeds; ratio 1 is the optimum that "
        "exhaustive search finds. At most 5 % of the space may be spent.",
        "An evaluation is one design measured; a gradient step counts as one, although its backward pass "
        "costs time of its own.",
        f"Seconds are means of the {SEEDS} searches, of which the first one compiles: {cold}. Equal time is "
        "that mean.",
        "Random search and TPE look designs up in the exhaustive table: their seconds hold no evaluation. "
        "Random search at equal time draws as many as the exhaustive search could measure in it.",
        "The curves compare medians at every number of evaluations.",
        "Made by `python -m experiments.benchmarks search`.",
    ]
    if not any(row["method"].startswith("TPE") for row in rows):
        notes.append("Optuna is not installed: no comparison with TPE (pip install optuna).")
    return {"title": "Design-space search", "rows": rows, "notes": notes, "curves": curves}
