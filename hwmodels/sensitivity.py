r"""The gradient as an answer: by how many percent a cost changes when a parameter changes by one percent.

The elasticity of a cost C to a parameter p is $\partial\ln C/\partial\ln p = (p/C)\,\partial C/\partial p$.
It has no unit, so that parameters of all kinds can be ranked by it. Counts have the slopes that they have
before they are rounded (see `rounding.py`).
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels.rounding import as_scalar

_Tree = TypeVar("_Tree")


def elasticities(cost: Callable[[_Tree], Any], tree: _Tree) -> _Tree:
    """The elasticity of a cost to every number of a pytree.

    **Arguments:**

    - `cost`: a function from the pytree to one number that is not zero.
    - `tree`: hardware, workload, or a tuple of them. An array counts as one parameter, whose elements change
      together.

    **Returns:** the same pytree with the elasticity, a Python float, in place of each number.

    **Raises:** `ValueError` for a cost that is zero or an array, and, with its name, for a cost or a slope
    that is not finite.
    """
    return contributions(lambda tree: {"the cost": cost(tree)}, tree)["the cost"]


def contributions(parts: Callable[[_Tree], Mapping[str, Any]], tree: _Tree) -> dict[str, _Tree]:
    r"""What each part of a cost contributes to its elasticities.

    For $C = \sum_i C_i$ these are $(p/C)\,\partial C_i/\partial p$; over the parts they sum to C's.

    **Arguments:**

    - `parts`: a function from the pytree to the parts of a cost by name, e.g. joules by component.
    - `tree`: as for [`elasticities`][].

    **Returns:** for each part, the pytree of its contributions.

    **Raises:** as [`elasticities`][].
    """
    leaves, structure = jax.tree.flatten(tree)
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    dtype = jnp.result_type(float)
    at = [jnp.asarray(as_scalar(leaf), dtype) for leaf in leaves]

    order: list[str] = []

    def stacked(values: list[jax.Array]) -> jax.Array:
        found = parts(jax.tree.unflatten(structure, values))
        if not found or any(jnp.ndim(part) for part in found.values()):
            shapes = {name: jnp.shape(part) for name, part in found.items()}
            raise ValueError(f"a cost must be one number, or parts that are one number each; got {shapes}.")
        order[:] = found
        return jnp.stack([jnp.asarray(part, dtype) for part in found.values()])

    # One backward pass is compiled, and run for each part.
    @jax.jit
    def pulled(values: list[jax.Array], part: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        costs, pull = jax.vjp(stacked, values)
        return costs, pull(jnp.zeros_like(costs).at[part].set(1))[0]

    costs, _ = pulled(at, jnp.asarray(0))
    total = float(np.sum(np.asarray(costs, np.float64)))
    if not np.isfinite(total) or total == 0:
        raise ValueError(f"an elasticity needs a cost that is finite and not zero, got {total}.")
    found = {}
    for index, part in enumerate(order):
        slopes = pulled(at, jnp.asarray(index))[1]
        shares = [
            _change(name, part, value, slope) / total
            for name, value, slope in zip(names, at, slopes, strict=True)
        ]
        found[part] = jax.tree.unflatten(structure, shares)
    return found


def named(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their path, e.g. `"adc.energy_j"`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _change(name: str, part: str, value: jax.Array, slope: jax.Array) -> float:
    """`p·∂C/∂p`, zero where p is."""
    change = float(np.sum(np.asarray(value, np.float64) * np.asarray(slope, np.float64)))
    if not np.isfinite(change):
        raise ValueError(f"the slope of {part} along {name} is not finite at {np.asarray(value)}.")
    return change
