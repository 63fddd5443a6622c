"""The cost of SATA inference that stops early; see [`hwmodels.early_exit`][]."""

from collections.abc import Collection
from typing import Any

from hwmodels.early_exit import EarlyExitCost, ExitFractions, mean_cost
from hwmodels.sata.accelerator import Accelerator
from hwmodels.sata.inference import inference_energy
from hwmodels.workload import Workload


def early_exit_cost(
    workload: Workload,
    exit_fractions: ExitFractions,
    accelerator: Accelerator | None = None,
    *,
    conventions: str | Collection[str] = "corrected",
    dram: str = "exact",
) -> EarlyExitCost:
    """Mean cost over inputs that stop at different timesteps.

    The comparison of an entropy with a threshold is not charged: the paper calls it negligible.

    **Arguments:**

    - `workload`: its own `timesteps` are ignored.
    - `exit_fractions`: p_1 .. p_T, the fraction of inputs that stop after each timestep; they sum to one.
    - `accelerator`, `conventions`, `dram`: as in [`inference_energy`][].

    **Returns:** an [`EarlyExitCost`][]; it differentiates to the fractions.

    **Raises:** `ValueError` for fractions that are negative or do not sum to one.

    **Source:** Li et al., "Input-Aware Dynamic Timestep Spiking Neural Networks", DAC 2023.
    """

    def cost_at(timesteps: int) -> tuple[Any, Any]:
        network = Workload(layers=workload.layers, timesteps=timesteps)
        cost = inference_energy(network, accelerator, conventions=conventions, dram=dram)
        return cost.total_j, cost.latency_s

    return mean_cost(exit_fractions, cost_at)
