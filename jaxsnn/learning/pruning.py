"""Magnitude pruning with masks, and lottery tickets."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsnn.checks import require_choice, require_count
from jaxsnn.data.datasets import Dataset
from jaxsnn.learning.digest import digest
from jaxsnn.learning.quantization import is_kernel, map_kernels
from jaxsnn.learning.training import TrainConfig, fit, split_parameters
from jaxsnn.learning.transform import OnParameters
from jaxsnn.network import Network


def _kernels(params: Any) -> list[np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [np.asarray(leaf) for path, leaf in leaves if is_kernel(path)]


def magnitude_masks(params: Any, sparsity: float, *, scope: str = "global") -> Any:
    """Masks that keep the largest kernel weights: zeros and ones for kernels, ones for other parameters.

    Exactly `round(sparsity · count)` weights are removed; of weights that tie, those that come first in the
    pytree's order, and within a kernel in row-major order.

    **Arguments:**

    - `params`: as from [`jaxsnn.learning.training.split_parameters`][].
    - `sparsity`: fraction of the kernel weights to remove, in [0, 1).
    - `scope`: "global" compares all kernels with each other, "layer" removes the same share of each.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is a fraction in [0, 1), got {sparsity}.")
    require_choice("scope", scope, ("global", "layer"))
    magnitudes = [np.abs(kernel).ravel() for kernel in _kernels(params)]
    if scope == "global":
        kept = np.split(
            _largest(np.concatenate(magnitudes), sparsity), np.cumsum([each.size for each in magnitudes])[:-1]
        )
    else:
        kept = [_largest(each, sparsity) for each in magnitudes]
    masks = iter(kept)

    def mask(kernel):
        return jnp.asarray(next(masks).reshape(kernel.shape), kernel.dtype)

    return map_kernels(mask, params, otherwise=jnp.ones_like)


def _largest(magnitudes: np.ndarray, sparsity: float) -> np.ndarray:
    """Which of the magnitudes stay when the smallest are removed, the first of those that tie."""
    kept = np.ones(magnitudes.size, bool)
    kept[np.argsort(magnitudes, kind="stable")[: round(sparsity * magnitudes.size)]] = False
    return kept


@dataclass(frozen=True)
class Masked(OnParameters):
    """Every parameter times its mask; see [`masked`][]. Equal masks make equal transforms."""

    masks: Any = field(repr=False, compare=False)
    fingerprint: str = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "fingerprint", digest(self.masks)[:16])

    def __call__(self, params: Any, key: Any = None) -> Any:
        return jax.tree.map(lambda value, mask: value * mask, params, self.masks)


def masked(masks: Any) -> Masked:
    """A `transform` for [`jaxsnn.learning.training.fit`][]: the network runs without the removed weights.

    They get no gradient from the loss. The trained network still holds them, with values that do not matter,
    and [`apply_transform`][jaxsnn.learning.transform.apply_transform] writes their zeros:

    ```
    fit(network, dataset, config, transform=masked(masks))
    pruned = apply_transform(network, masked(masks))
    ```

    **Arguments:** `masks`: as from [`magnitude_masks`][].
    """
    return Masked(masks)


def sparsity_of(params: Any) -> float:
    """The fraction of kernel weights that are exactly zero."""
    kernels = _kernels(params)
    return float(sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels))


@dataclass(frozen=True)
class Ticket:
    """One round of [`lottery_ticket`][]: sparsity in training, test accuracy after it, the masks."""

    sparsity: float
    test_accuracy: float
    masks: Any


def lottery_ticket(
    network: Network,
    dataset: Dataset,
    config: TrainConfig,
    *,
    rounds: int,
    prune_per_round: float = 0.2,
    scope: str = "global",
) -> list[Ticket]:
    """Train, remove the smallest weights, rewind the others to their start, and again.

    Frankle and Carbin, 2019; Kim et al., "Exploring lottery ticket hypothesis in SNNs", 2022. Round 0 trains
    the dense network; round r removes a further share of what is left.

    **Arguments:**

    - `network`: ends with the last round's trained weights, the removed ones being zero.
    - `dataset`, `config`: as for [`jaxsnn.learning.training.fit`][], of each round.
    - `rounds`: of pruning, at least 1.
    - `prune_per_round`: the share of the remaining weights that a round removes, between 0 and 1.
    - `scope`: as for [`magnitude_masks`][].

    **Returns:** `rounds + 1` [`Ticket`][]s, dense first.
    """
    require_count("rounds", rounds)
    if not 0 < prune_per_round < 1:
        raise ValueError(f"prune_per_round is a fraction between 0 and 1, got {prune_per_round}.")
    graphdef, initial, rest = split_parameters(network)
    initial, rest = jax.tree.map(jnp.array, (initial, rest))
    masks = jax.tree.map(jnp.ones_like, initial)
    tickets = []
    for number in range(rounds + 1):
        trial = nnx.merge(graphdef, initial, rest, copy=True)
        result = fit(trial, dataset, config, transform=masked(masks))
        trained = masked(masks)(split_parameters(trial)[1])
        tickets.append(Ticket(sparsity_of(trained), result.test_accuracy, masks))
        if number < rounds:
            next_sparsity = 1 - (1 - prune_per_round) ** (number + 1)
            masks = magnitude_masks(trained, next_sparsity, scope=scope)
    nnx.update(network, trained, split_parameters(trial)[2])
    return tickets
