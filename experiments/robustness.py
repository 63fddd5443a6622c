"""What a non-ideal crossbar does to accuracy."""

from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from hwmodels.crossbar import Crossbar, deploy
from jaxsnn.network import Network


@dataclass(frozen=True)
class Robustness:
    """Accuracy of one network on one crossbar design, over several draws of its devices.

    **Arguments:**

    - `software`: accuracy without hardware, a fraction.
    - `draws`: accuracy of each programmed chip, fractions, shape (draws,).
    """

    software: float
    draws: np.ndarray

    @property
    def mean(self) -> float:
        return float(self.draws.mean())

    @property
    def spread(self) -> float:
        """Standard deviation between chips."""
        return float(self.draws.std(ddof=1)) if len(self.draws) > 1 else 0.0

    @property
    def drop(self) -> float:
        """The drop of Table I, "Examining the Robustness of SNNs": `Δ = (SW − HW) / SW`, a fraction."""
        return (self.software - self.mean) / self.software


def hardware_accuracy(
    network: Network,
    crossbar: Crossbar,
    images: jax.Array,
    labels: jax.Array,
    *,
    timesteps: int,
    draws: int,
    key: jax.Array,
) -> np.ndarray:
    """Program `draws` chips, each with its own device variation, and test each.

    **Returns:** accuracies, shape (draws,), fractions.
    """
    graph, kernels, rest = nnx.split(network, nnx.Param, ...)

    @jax.jit
    def accuracy(key: jax.Array) -> jax.Array:
        chip = nnx.merge(graph, deploy(kernels, crossbar, key), rest)
        logits, _ = chip(images, timesteps=timesteps)
        return (logits.argmax(axis=-1) == labels).mean()

    return np.array([accuracy(k) for k in jax.random.split(key, draws)])
