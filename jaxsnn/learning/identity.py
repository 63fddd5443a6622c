"""What tells one training run from another."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxsnn import __version__
from jaxsnn.data.dataset import Dataset
from jaxsnn.learning.config import TrainConfig, without_addresses
from jaxsnn.learning.digest import digest
from jaxsnn.learning.transform import Transform
from jaxsnn.network import Network


def identity(
    network: Network,
    dataset: Dataset,
    config: TrainConfig,
    transform: Transform | None = None,
    penalty: Any = None,
) -> dict[str, Any]:
    """What a training run depends on, JSON-able: two runs with the same identity do the same.

    **Arguments:** as for [`fit`][jaxsnn.learning.training.fit]; `network` before the training.
    """
    found = fingerprint(network)
    facts = config.facts() | {
        "network": found["structure"],
        "initial_weights": found["weights"],
        "transform": described(transform),
        "penalty": described(penalty),
        "dataset": f"{dataset.name} {dataset.fingerprint[:16]}",
        "jaxsnn": __version__,
        "jax": jax.__version__,
    }
    return json.loads(json.dumps(facts))


def fingerprint(network: Network) -> dict[str, str]:
    """What tells one network from another: a hash of its `structure`, and one of its `weights`."""
    graphdef, state = nnx.split(network)
    shapes = [
        (jax.tree_util.keystr(path), str(leaf.dtype), leaf.shape)
        for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]
    ]
    said = without_addresses(f"{shapes} {graphdef}")
    return {"structure": hashlib.sha256(said.encode()).hexdigest()[:16], "weights": digest(state)[:16]}


def described(value: Any) -> str:
    """Text by which two values can be told apart, the same in every process."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = ", ".join(
            f"{each.name}={described(getattr(value, each.name))}" for each in fields(value) if each.repr
        )
        return f"{type(value).__name__}({parts})"
    if type(value) in (tuple, list):
        return f"({', '.join(map(described, value))})"
    if isinstance(value, np.ndarray | jax.Array):
        return f"array {digest(value)[:16]}"
    return without_addresses(repr(value))
