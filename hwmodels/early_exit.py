r"""The cost of inference that stops early, as a distribution over inputs.

DT-SNN (Li et al., DAC 2023) stops an input at the first timestep at which its prediction is confident. The
cost of a data set is then the mean over inputs of the cost at their own number of timesteps,
$\sum_t p_t\,\mathrm{cost}(t)$, which is not the cost at the mean number of timesteps where a cost is not
linear in T (an energy-delay product never is).
"""

from collections.abc import Callable, Collection
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from hwmodels import rounding
from hwmodels.checks import is_traced

ExitFractions = Float[Array | np.ndarray, " timesteps"] | Collection[Any]


class EarlyExitCost(eqx.Module):
    """What an inference costs when inputs stop at different timesteps.

    - `energy_j`, `latency_s`, `energy_delay_js`, `timesteps`: means over inputs; the mean energy-delay
      product is not the product of the means.
    - `energy_by_timesteps_j`, `latency_by_timesteps_s`: of an input that stops after 1, 2, .. T timesteps.
    """

    energy_j: Any
    latency_s: Any
    energy_delay_js: Any
    timesteps: Any
    energy_by_timesteps_j: tuple[Any, ...]
    latency_by_timesteps_s: tuple[Any, ...]


def mean_cost(exit_fractions: ExitFractions, cost_at: Callable[[int], tuple[Any, Any]]) -> EarlyExitCost:
    """Mean cost over inputs that stop at different timesteps.

    **Arguments:**

    - `exit_fractions`: p_1 .. p_T, the fraction of inputs that stop after each timestep; they sum to one.
    - `cost_at`: from a number of timesteps to energy in joule and latency in second.

    **Returns:** an [`EarlyExitCost`][]; it differentiates to the fractions.

    **Raises:** `ValueError` for fractions that are negative or do not sum to one.
    """
    fractions = [rounding.as_scalar(fraction) for fraction in exit_fractions]
    if not any(map(is_traced, fractions)):
        known = np.array([float(fraction) for fraction in fractions])
        if known.size == 0 or not (known >= 0).all() or not abs(known.sum() - 1) <= 1e-6:
            raise ValueError(f"exit_fractions must be non-negative and sum to one, got {known.tolist()}.")
    energies, latencies = zip(*(cost_at(t) for t in range(1, len(fractions) + 1)), strict=True)

    def mean(values: Any) -> Any:
        return sum(fraction * value for fraction, value in zip(fractions, values, strict=True))

    return EarlyExitCost(
        energy_j=mean(energies),
        latency_s=mean(latencies),
        energy_delay_js=mean(e * d for e, d in zip(energies, latencies, strict=True)),
        timesteps=mean(range(1, len(fractions) + 1)),
        energy_by_timesteps_j=energies,
        latency_by_timesteps_s=latencies,
    )
