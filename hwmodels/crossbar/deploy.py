"""Parameters of a network in, parameters of the network on programmed crossbars out."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.programming import ProgrammedKernel, program_all


def _component(entry: Any) -> Any:
    """The name in one entry of a pytree path, whatever container it came from."""
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return entry


def is_kernel(path: tuple[Any, ...], leaf: Any) -> bool:
    """Whether a leaf is a weight kernel: "kernel" is a component of its path, and it has two axes or more."""
    return getattr(leaf, "ndim", 0) >= 2 and "kernel" in map(_component, path)


def program_kernels(params: Any, crossbar: Crossbar, key: PRNGKeyArray) -> dict[str, ProgrammedKernel]:
    """Programs every kernel of a parameter pytree; all circuits are solved in one batch.

    **Arguments:** as for [`deploy`][].

    **Returns:** the programmed kernels by their path, as `jax.tree_util.keystr` writes it.

    **Raises:** as [`deploy`][].
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = {index: jnp.asarray(leaf) for index, (path, leaf) in enumerate(leaves) if is_kernel(path, leaf)}
    if not kernels:
        paths = ", ".join(jax.tree_util.keystr(path) for path, _ in leaves[:5]) or "none at all"
        raise ValueError(
            'nothing to deploy: no leaf has "kernel" in its path and at least two axes; '
            f"the first leaves are {paths}."
        )
    for index, leaf in kernels.items():
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            name = jax.tree_util.keystr(leaves[index][0])
            raise ValueError(f"a kernel must be of a floating dtype, but {name} is {leaf.dtype}.")
    # The circuit is solved in float32 at least; a batch has one dtype.
    single = jnp.dtype(jnp.float32)
    dtypes = {i: leaf.dtype if leaf.dtype.itemsize >= 4 else single for i, leaf in kernels.items()}
    chips: dict[int, ProgrammedKernel] = {}
    for dtype in sorted(set(dtypes.values()), key=str):
        chosen = [index for index in kernels if dtypes[index] == dtype]
        found = program_all(
            [kernels[index].astype(dtype) for index in chosen],
            crossbar,
            [jax.random.fold_in(key, index) for index in chosen],
        )
        chips.update(zip(chosen, found, strict=True))
    return {jax.tree_util.keystr(leaves[index][0]): chips[index] for index in kernels}


def deploy(params: Any, crossbar: Crossbar, key: PRNGKeyArray) -> Any:
    """Replaces every kernel of a parameter pytree by what programmed crossbars make of it.

    Pure and differentiable: to the parameters, the wires and the devices.

    **Arguments:**

    - `params`: any pytree of arrays. A leaf with two axes or more and with "kernel" in its path is mapped:
      (in, out) or (kernel height, kernel width, in, out). Every other leaf passes through.
    - `crossbar`: the design.
    - `key`: of the devices; each kernel gets its own stream.

    **Returns:** a pytree of the same structure, shapes and dtypes.

    **Raises:** `ValueError` if no leaf is a kernel; an error, also under `jit`, for weights that are NaN or
    infinite.
    """
    chips = program_kernels(params, crossbar, key)

    def replaced(path, leaf):
        name = jax.tree_util.keystr(path)
        return chips[name].weights.astype(leaf.dtype) if is_kernel(path, leaf) else leaf

    return jax.tree_util.tree_map_with_path(replaced, params)
