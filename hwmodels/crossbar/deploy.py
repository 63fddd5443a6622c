"""Parameters of a network in, parameters of the network on programmed crossbars out."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from hwmodels.crossbar.circuit import effective_conductance
from hwmodels.crossbar.mapping import Crossbar, layout


def _component(entry: Any) -> Any:
    """The name in one entry of a pytree path, whatever container it came from."""
    for attribute in ("key", "name", "idx"):
        if hasattr(entry, attribute):
            return getattr(entry, attribute)
    return entry


def is_kernel(path: tuple[Any, ...], leaf: Any) -> bool:
    """Whether a leaf is a weight kernel: "kernel" is a component of its path, and it has two axes or more."""
    return getattr(leaf, "ndim", 0) >= 2 and "kernel" in map(_component, path)


class ProgrammedKernel(eqx.Module):
    """One kernel on its tiles.

    **Arguments:**

    - `conductances`: what the cells hold, siemens, shape (planes, groups, down, across, rows, columns).
    - `effective`: the same tiles as their inputs see them, siemens.
    - `targets`: what was meant, siemens; zero where a tile is unused.
    - `used`: whether a cell holds a weight.
    - `weights`: the kernel that the tiles realise.
    """

    conductances: Float[Array, "planes groups down across rows columns"]
    effective: Float[Array, "planes groups down across rows columns"]
    targets: Float[Array, "planes groups down across rows columns"]
    used: Float[Array, "groups down across rows columns"]
    weights: Float[Array, "*kernel"]


def program(kernel: Float[Array, "*kernel"], crossbar: Crossbar, key: PRNGKeyArray) -> ProgrammedKernel:
    """Puts one kernel on tiles and solves their circuits."""
    return program_all([kernel], crossbar, [key])[0]


def program_all(
    kernels: Sequence[Float[Array, "..."]], crossbar: Crossbar, keys: Sequence[PRNGKeyArray]
) -> list[ProgrammedKernel]:
    """Puts kernels on tiles, each from its own key, and solves the circuits of all tiles in one batch."""
    written = [_write(kernel, crossbar, key) for kernel, key in zip(kernels, keys, strict=True)]
    tiles = [held.reshape(-1, crossbar.rows, crossbar.columns) for held, _, _ in written]
    effective = effective_conductance(jnp.concatenate(tiles), crossbar.wires)
    cuts = np.cumsum([len(tile) for tile in tiles])[:-1]
    return [
        _read_back(kernel, crossbar, held, targets, used, found.reshape(held.shape))
        for kernel, (held, targets, used), found in zip(
            kernels, written, jnp.split(effective, cuts), strict=True
        )
    ]


def _scale(kernel):
    largest = jnp.max(jnp.abs(kernel))
    return jnp.where(largest > 0, largest, 1)


def _write(kernel, crossbar, key):
    """What the cells hold, what was meant, and which cells are in use."""
    plan = layout(kernel.shape, crossbar)
    tiles = plan.cut(kernel)
    used = plan.cut(jnp.ones_like(kernel))
    levels = jnp.maximum(jnp.stack([tiles, -tiles]), 0) / _scale(kernel)
    targets = crossbar.device.target(levels) * used
    return crossbar.device.program(targets, key), targets, used


def _read_back(kernel, crossbar, conductances, targets, used, effective):
    """The kernel that the solved tiles are."""
    plan, device, scale = layout(kernel.shape, crossbar), crossbar.device, _scale(kernel)
    measured = effective
    if crossbar.calibration != "none":
        axes = (-2, -1) if crossbar.calibration == "tile" else (-2,)
        total = measured.sum(axes, keepdims=True)
        measured = measured * targets.sum(axes, keepdims=True) / jnp.where(total > 0, total, 1)
    span = device.target(jnp.ones_like(scale)) - device.target(jnp.zeros_like(scale))
    weights = plan.join((measured[0] - measured[1]) * (scale / span))
    return ProgrammedKernel(conductances, effective, targets, used, weights)


def deploy(params: Any, crossbar: Crossbar, key: PRNGKeyArray) -> Any:
    """Replaces every kernel of a parameter pytree by what programmed crossbars make of it.

    Pure and differentiable: to the parameters, the wires and the devices.

    **Arguments:**

    - `params`: any pytree of arrays. A leaf with two axes or more and with "kernel" in its path is mapped:
      (in, out) or (kernel height, kernel width, in, out). Every other leaf passes through.
    - `crossbar`: the design.
    - `key`: of the devices; each kernel gets its own stream.

    **Returns:** a pytree of the same structure, shapes and dtypes.

    **Raises:** `ValueError` if no leaf is a kernel.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    if not any(is_kernel(path, leaf) for path, leaf in leaves):
        paths = ", ".join(jax.tree_util.keystr(path) for path, _ in leaves[:5]) or "none at all"
        raise ValueError(
            'nothing to deploy: no leaf has "kernel" in its path and at least two axes; '
            f"the first leaves are {paths}."
        )
    values = [leaf for _, leaf in leaves]
    kernels = {index: leaf for index, (path, leaf) in enumerate(leaves) if is_kernel(path, leaf)}
    chips = program_all(
        list(kernels.values()), crossbar, [jax.random.fold_in(key, index) for index in kernels]
    )
    for index, chip in zip(kernels, chips, strict=True):
        values[index] = chip.weights
    return jax.tree_util.tree_unflatten(structure, values)


class KernelReport(eqx.Module):
    """What became of one kernel: see [`deployment_report`][]."""

    name: str = eqx.field(static=True)
    tiles: int = eqx.field(static=True)
    utilisation: float
    attenuation: float
    histogram_edges_siemens: np.ndarray
    histogram: np.ndarray


def deployment_report(params: Any, crossbar: Crossbar, key: PRNGKeyArray) -> tuple[KernelReport, ...]:
    """What [`deploy`][] with the same arguments does to each kernel.

    **Returns:** for every kernel its path, the number of physical tiles, the `utilisation` (fraction of their
    cells that hold a weight), the `attenuation` `ΣG_eff / ΣG` over programmed cells, and a histogram of the
    programmed conductances.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    kernels = {index: jnp.asarray(leaf) for index, (path, leaf) in enumerate(leaves) if is_kernel(path, leaf)}
    chips = jax.jit(program_all)(
        list(kernels.values()), crossbar, [jax.random.fold_in(key, index) for index in kernels]
    )
    return tuple(
        _report(jax.tree_util.keystr(leaves[index][0]), chip)
        for index, chip in zip(kernels, chips, strict=True)
    )


def _report(name: str, chip: ProgrammedKernel) -> KernelReport:
    held = np.asarray(chip.conductances)[np.broadcast_to(chip.used, chip.conductances.shape) > 0]
    histogram, edges = np.histogram(held, bins=32)
    return KernelReport(
        name=name,
        tiles=math.prod(chip.conductances.shape[:-2]),
        utilisation=float(np.mean(chip.used)),
        attenuation=float(chip.effective.sum() / chip.conductances.sum()),
        histogram_edges_siemens=edges,
        histogram=histogram,
    )
