"""The cost of SpikeFlow inference that stops early; see [`hwmodels.early_exit`][]."""

from typing import Any

from hwmodels.early_exit import EarlyExitCost, ExitFractions, mean_cost
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import Conventions
from hwmodels.spikeflow.cost import evaluate
from hwmodels.workload import Workload


def early_exit_cost(
    workload: Workload,
    exit_fractions: ExitFractions,
    chip: Chip | None = None,
    *,
    conventions: str | Conventions = "corrected",
) -> EarlyExitCost:
    """Mean cost over inputs that stop at different timesteps.

    **Arguments:**

    - `workload`: its own `timesteps` are ignored.
    - `exit_fractions`: p_1 .. p_T, the fraction of inputs that stop after each timestep; they sum to one.
    - `chip`, `conventions`: as for [`evaluate`][]. With `entropy_module=True` the exit decision is charged
      after every timestep.

    **Returns:** an [`EarlyExitCost`][]; it differentiates to the fractions.

    **Raises:** `ValueError` for fractions that are negative or do not sum to one.

    **Source:** Li et al., "Input-Aware Dynamic Timestep Spiking Neural Networks", DAC 2023.
    """

    def cost_at(timesteps: int) -> tuple[Any, Any]:
        cost = evaluate(Workload(layers=workload.layers, timesteps=timesteps), chip, conventions)
        return cost.energy_j, cost.latency_s

    return mean_cost(exit_fractions, cost_at)


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
