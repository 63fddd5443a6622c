"""Parameters of a network in, parameters of the network on programmed crossbars out."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.checks import require_key
from hwmodels.crossbar._inverse import with_exact_products
from hwmodels.crossbar.circuit import effective_conductance
from hwmodels.crossbar.encoding import encode
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.programming import ProgrammedKernel, Solve, program_all


def _component(entry: Any) -> Any:
    """The name in one entry of a pytree path, whatever container it came from."""
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return entry


def goes_on_tiles(path: tuple[Any, ...], leaf: Any) -> bool:
    """Whether a leaf is a matrix of weights: "kernel" is in its path, and it has two axes or more."""
    return getattr(leaf, "ndim", 0) >= 2 and "kernel" in map(_component, path)


def bias_row(params: Any, crossbar: Crossbar) -> dict[int, int]:
    """Of kernels whose bias gets a row, by their place among the leaves: the place of the bias.

    It is the leaf of the same path with "bias" for "kernel".
    """
    if crossbar.bias == "digital":
        return {}
    leaves = jax.tree_util.tree_leaves_with_path(params)
    places = {tuple(map(_component, path)): index for index, (path, _) in enumerate(leaves)}
    found = {}
    for index, (path, leaf) in enumerate(leaves):
        if goes_on_tiles(path, leaf):
            beside = tuple("bias" if part == "kernel" else part for part in map(_component, path))
            place = places.get(beside)
            if place is not None and jnp.shape(leaves[place][1]) == (leaf.shape[-1],):
                found[index] = place
    return found


def biases_of_batch(params: Any, batch: Mapping[int, Array], crossbar: Crossbar) -> list[Array | None]:
    """Those of the kernels of a batch that get a row, in the kernels' dtype."""
    rows, leaves = bias_row(params, crossbar), jax.tree.leaves(params)
    return [
        jnp.asarray(leaves[rows[index]]).astype(kernel.dtype) if index in rows else None
        for index, kernel in batch.items()
    ]


def kernel_batches(params: Any) -> list[dict[int, Array]]:
    """Kernels by their place among the leaves, one batch for each dtype that circuits are solved in."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = {
        index: jnp.asarray(leaf) for index, (path, leaf) in enumerate(leaves) if goes_on_tiles(path, leaf)
    }
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
    return [
        {index: leaf.astype(dtype) for index, leaf in kernels.items() if dtypes[index] == dtype}
        for dtype in sorted(set(dtypes.values()), key=str)
    ]


Groups = Mapping[str, int] | Sequence[tuple[str, int]]
"""Of grouped convolutions, by the path of the kernel as `jax.tree_util.keystr` writes it."""


def groups_of_batch(params: Any, batch: Mapping[int, Array], groups: Groups) -> list[int]:
    """Those of the kernels of a batch, 1 where nothing is said."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    given = dict(groups)
    unknown = sorted(set(given) - set(paths))
    if unknown:
        raise ValueError(f"groups name {unknown[0]!r}, which is no leaf; there are {', '.join(paths)}.")
    return [given.get(paths[index], 1) for index in batch]


@with_exact_products
def target_tiles(
    params: Any, crossbar: Crossbar, *, groups: Groups = ()
) -> dict[str, Float[Array, "tiles rows columns"]]:
    """The conductances meant for all kernels of a parameter pytree, before any imperfection, in siemens.

    **Returns:** by dtype ("float32"), the tiles in the order in which [`deploy`][] solves them.
    """
    return {
        str(next(iter(batch.values())).dtype): jnp.concatenate(
            [
                encode(kernel, crossbar, parts, bias).targets.reshape(-1, crossbar.rows, crossbar.columns)
                for kernel, parts, bias in zip(
                    batch.values(),
                    groups_of_batch(params, batch, groups),
                    biases_of_batch(params, batch, crossbar),
                    strict=True,
                )
            ]
        )
        for batch in kernel_batches(params)
    }


def program_kernels(
    params: Any,
    crossbar: Crossbar,
    key: PRNGKeyArray,
    *,
    groups: Groups = (),
    solve: Solve = effective_conductance,
) -> dict[str, ProgrammedKernel]:
    """Programs every kernel of a parameter pytree; all circuits are solved in one batch.

    **Arguments:** as for [`deploy`][].

    **Returns:** the programmed kernels by their path, as `jax.tree_util.keystr` writes it.

    **Raises:** as [`deploy`][].
    """
    require_key(key)
    chips: dict[int, ProgrammedKernel] = {}
    for batch in kernel_batches(params):
        keys = [jax.random.fold_in(key, index) for index in batch]
        parts = groups_of_batch(params, batch, groups)
        biases = biases_of_batch(params, batch, crossbar)
        found = program_all(list(batch.values()), crossbar, keys, groups=parts, biases=biases, solve=solve)
        chips.update(zip(batch, found, strict=True))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return {jax.tree_util.keystr(paths[index]): chips[index] for index in sorted(chips)}


def deploy(
    params: Any,
    crossbar: Crossbar,
    key: PRNGKeyArray,
    *,
    groups: Groups = (),
    solve: Solve = effective_conductance,
) -> Any:
    """Replaces every kernel of a parameter pytree by what programmed crossbars make of it.

    Pure and differentiable: to the parameters, the wires and the devices.

    **Arguments:**

    - `params`: any pytree of arrays. A leaf with two axes or more and with "kernel" in its path is mapped:
      (in, out) or (kernel height, kernel width, in, out). Every other leaf passes through. All axes but the
      last two are taken for those of a convolution: three are a convolution in one dimension. No shape tells
      a grouped or depthwise convolution, whose kernel is (height, width, in/groups, out): name it in
      `groups`.
    - `crossbar`: the design. With `bias="row"`, a leaf of a kernel's path with "bias" for "kernel" becomes
      what its row realises.
    - `key`: of the devices; each kernel gets its own stream.
    - `groups`: of grouped convolutions, by the kernel's path as `jax.tree_util.keystr` writes it; see
      [`hwmodels.crossbar.program`][].
    - `solve`: `(G, wires) -> G_eff` of a batch of tiles, by default the exact circuit; see
      [`hwmodels.crossbar.expansion`][] for cheaper ones.

    **Returns:** a pytree of the same structure, shapes and dtypes.

    **Raises:** `ValueError` if no leaf is a kernel, and for devices with read noise or cells solved
    exactly, which no plain matrix holds; an error, also under `jit`, for weights that are NaN or infinite.
    """
    if crossbar.device.read_noise is not None:
        raise ValueError(
            "deploy returns plain matrices, which cannot hold Device.read_noise: multiply by tile_products "
            "(for a network, jaxsnn.codesign.program.programmed), which draw it at each read, or set "
            "read_noise=None."
        )
    if crossbar.reads_exactly:
        raise ValueError(
            "deploy returns plain matrices, which cannot hold nonlinear cells (Crossbar.cell) exactly: "
            'multiply by tile_products, or set Crossbar.cell_model="read-voltage" or "mean-activity".'
        )
    chips = program_kernels(params, crossbar, key, groups=groups, solve=solve)

    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    on_row: dict[str, Any] = {
        jax.tree_util.keystr(paths[bias]): chips[jax.tree_util.keystr(paths[kernel])].bias
        for kernel, bias in bias_row(params, crossbar).items()
    }

    def replaced(path, leaf):
        name = jax.tree_util.keystr(path)
        if name in on_row:
            return on_row[name].astype(leaf.dtype)
        return chips[name].weights.astype(leaf.dtype) if goes_on_tiles(path, leaf) else leaf

    return jax.tree_util.tree_map_with_path(replaced, params)
