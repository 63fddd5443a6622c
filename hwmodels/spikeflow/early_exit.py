"""DT-SNN: inputs leave at different timesteps, so a cost is an expectation over exits."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx

from hwmodels.rounding import as_scalar, is_number
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import Conventions
from hwmodels.spikeflow.cost import evaluate
from hwmodels.workload import Scalar, Workload


class ExpectedCost(eqx.Module):
    """Expectations over the inputs.

    **Arguments:**

    - `timesteps`: mean timestep of exit.
    - `energy_j`, `latency_s`: their means.
    - `edp`: mean of the energy-delay product, joule second. It exceeds the product at the mean exit, because
      the product is convex in T.
    - `edp_of_means`: product of the means.
    """

    timesteps: Scalar
    energy_j: Scalar
    latency_s: Scalar
    edp: Scalar
    edp_of_means: Scalar


def expected_cost(
    workload: Workload,
    chip: Chip,
    exits: Sequence[Scalar],
    conventions: str | Conventions = "corrected",
) -> ExpectedCost:
    r"""Cost of an inference that ends at timestep t with probability $p_t$: $\sum_t p_t\,c(t)$.

    **Arguments:**

    - `workload`: its `timesteps` are ignored; `exits` has the last.
    - `chip`: with `entropy_module=True` the exit decision is charged after every timestep.
    - `exits`: $p_1 \dots p_T$, at least zero, with sum 1.

    - `conventions`: as for [`evaluate`][].

    **Returns:** an [`ExpectedCost`][].

    **Raises:** `ValueError` for no exits, or for probabilities that are negative or do not sum to 1.

    **Source:** Li et al., "Input-Aware Dynamic Timestep Spiking Neural Networks", DAC 2023.
    """
    chances = [as_scalar(p) for p in exits]
    if not chances:
        raise ValueError("exits must have at least one probability, got none.")
    if is_number(*chances) and not (min(chances) >= 0 and abs(sum(chances) - 1) <= 1e-6):
        raise ValueError(f"exits must be probabilities that sum to 1, got {list(exits)}.")
    total: dict[str, Any] = dict.fromkeys(("timesteps", "energy_j", "latency_s", "edp"), 0.0)
    for step, chance in enumerate(chances, start=1):
        cost = evaluate(Workload(layers=workload.layers, timesteps=step), chip, conventions)
        values = {
            "timesteps": step,
            "energy_j": cost.energy_j,
            "latency_s": cost.latency_s,
            "edp": cost.edp,
        }
        total = {name: total[name] + chance * value for name, value in values.items()}
    return ExpectedCost(**total, edp_of_means=total["energy_j"] * total["latency_s"])


def maximum_entropy_exits(mean: int | float, last: int) -> tuple[float, ...]:
    r"""The least committed distribution over 1..`last` with a given mean: $p_t \propto r^t$.

    A paper that prints the mean exit alone leaves the distribution open; this one assumes nothing more.

    **Arguments:** `mean`: in (1, `last`). `last`: the last timestep, at least 2.

    **Returns:** `last` probabilities with sum 1.

    **Raises:** `ValueError` for a mean outside that range.
    """
    if last < 2 or not 1 < mean < last:
        raise ValueError(f"mean must lie strictly between 1 and last = {last}, got {mean}.")
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if _mean(middle, last) < mean else (low, middle)
    weights = [low**step for step in range(last)]
    return tuple(weight / sum(weights) for weight in weights)


def _mean(ratio: float, last: int) -> float:
    weights = [ratio**step for step in range(last)]
    return sum(step * weight for step, weight in enumerate(weights, start=1)) / sum(weights)
