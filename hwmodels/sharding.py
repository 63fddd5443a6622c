"""Work cut among devices: tiles to solve, designs to price, seeds to try."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec


def distributed(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """The same function, its batch cut among the devices of a mesh.

    Every device runs `function` on its part of the batch; nothing is exchanged but, in the backward pass, the
    sum of the gradients of the shared arguments. A batch that the devices do not divide is filled up with
    copies of its last element. Differentiable and jittable, also over several processes
    (`jax.distributed.initialize`).

    E.g. `distributed(effective_conductance, mesh)(G, wires)` for tiles, as `solve=` of
    [`hwmodels.crossbar.deploy`][] takes it, and `distributed(jax.vmap(cost), mesh)(chips)` for a population.

    **Arguments:**

    - `function`: `(batch, *shared) -> result`; the leading axes of all arrays of the batch and of the result
      are the same, and its elements do not depend on one another.
    - `mesh`: its devices; all its axes are used as one.

    **Returns:** a function of the same arguments. Keep it: each one compiles on its own.

    **Raises:** `ValueError`, when called, for a batch that is empty or whose arrays differ in length.
    """
    # `jax.make_mesh` makes explicit axes, for which every argument would have to be sharded beforehand.
    mesh = Mesh(mesh.devices, mesh.axis_names)
    cut, everywhere = PartitionSpec(mesh.axis_names), PartitionSpec()

    # Compiled here, once for each shape: outside of `jit` a `shard_map` is compiled in every call.
    @jax.jit
    def parts(batch: Any, *shared: Any) -> Any:
        specs = (cut, *(everywhere for _ in shared))
        each = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=cut, check_vma=False)
        return each(batch, *shared)

    def run(batch: Any, *shared: Any) -> Any:
        lengths = sorted({jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(batch)})
        if len(lengths) != 1 or lengths[0] in ((), (0,)):
            raise ValueError(f"a batch to distribute has one length of at least 1, got {lengths}.")
        count = lengths[0][0]
        missing = -count % mesh.size
        filled = jax.tree.map(lambda leaf: _filled(jnp.asarray(leaf), missing), batch)
        return jax.tree.map(lambda leaf: leaf[:count], parts(filled, *shared))

    return run


def _filled(leaf: jax.Array, missing: int) -> jax.Array:
    return jnp.pad(leaf, ((0, missing), *((0, 0) for _ in leaf.shape[1:])), mode="edge") if missing else leaf
