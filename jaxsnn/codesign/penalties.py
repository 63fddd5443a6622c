"""Costs in the loss: the chip's energy, and the plain norm of the spikes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels.chip import Chip
from jaxsnn.codesign.workload import inference_energy_j
from jaxsnn.learning.early_exit import soft_exit_fractions
from jaxsnn.learning.evaluation import mean_spike_rate
from jaxsnn.network import LayerRecord


def _check_beta(beta: float) -> None:
    if not (np.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta weighs a cost against the loss and must be zero or more, got {beta}.")


# Compared by identity: a chip's leaves need not hash.
@dataclass(frozen=True, eq=False)
class EnergyPenalty:
    r"""$β·E(\mathrm{rates}, T, \mathrm{bits})/E_0$, differentiable to everything in the network.

    The rates differentiate through the spikes' surrogate, T is the expected number of timesteps of soft
    exits, and the bits are those of [`LearntBits`][jaxsnn.learning.bit_widths.LearntBits].

    **Arguments:**

    - `beta`: β ≥ 0, nats for an energy of E₀; zero gives the bits of a training without penalty.
    - `unit_j`: E₀, joule.
    - `entropy`, `temperature`: of [`soft_exit_fractions`][jaxsnn.learning.early_exit.soft_exit_fractions].
    - `chip`: any [`hwmodels.chip.Chip`][]. `conventions`: of its cost model.

    **Raises:** `ValueError` for a negative β and for a unit that is not positive.
    """

    beta: float
    unit_j: float
    entropy: float
    temperature: float
    chip: Chip
    conventions: Any = "corrected"

    def __post_init__(self):
        _check_beta(self.beta)
        if not self.unit_j > 0:
            raise ValueError(
                f"unit_j is the energy that β counts in and must be positive, got {self.unit_j}."
            )

    def __call__(self, outputs: jax.Array, record: Sequence[LayerRecord], params: Any) -> jax.Array:
        if self.beta == 0:  # Zero times a gradient would be compiled in, and change the last bits.
            return jnp.zeros(())
        fractions = soft_exit_fractions(outputs, entropy=self.entropy, temperature=self.temperature)
        # One, and those that follow: fractions whose rounded sum is below one make no fewer than one.
        timesteps = 1 + jnp.sum(fractions * jnp.arange(len(fractions), dtype=fractions.dtype))
        energy_j = inference_energy_j(record, timesteps, self.chip, self.conventions)
        return jnp.asarray(self.beta * (energy_j / self.unit_j))


@dataclass(frozen=True)
class SpikePenalty:
    """`β·s/s₀`, s being the fraction of all neurons that fire: the plain L1 norm of the spikes.

    **Arguments:** `beta`: β ≥ 0. `unit`: s₀, a rate.
    """

    beta: float
    unit: float

    def __post_init__(self):
        _check_beta(self.beta)
        if not self.unit > 0:
            raise ValueError(
                f"unit is the spike rate that β counts in and must be positive, got {self.unit}."
            )

    def __call__(self, outputs: jax.Array, record: Sequence[LayerRecord], params: Any) -> jax.Array:
        return self.beta * mean_spike_rate(tuple(record)) / self.unit
