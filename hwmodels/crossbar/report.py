"""What a deployment makes of each kernel, in numbers."""

import math
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from hwmodels.crossbar.deploy import Groups, bias_row, goes_on_tiles, program_kernels
from hwmodels.crossbar.mapping import Crossbar
from hwmodels.crossbar.programming import ProgrammedKernel

_BINS = 32


class KernelReport(eqx.Module):
    """What became of one kernel.

    **Arguments:**

    - `name`: its path in the parameters.
    - `tiles`: physical tiles, those of both signs and all slices.
    - `utilisation`: fraction of their cells that are in use.
    - `attenuation`: `ΣG_eff / ΣG` over programmed cells, 1 without parasitics; NaN if every cell is open.
    - `weight_error`: root mean square of (weight on the chip − weight), over the root mean square weight.
    - `histogram_edges_siemens`, `histogram`: cells in use by their programmed conductance.
    """

    name: str = eqx.field(static=True)
    tiles: int = eqx.field(static=True)
    utilisation: float
    attenuation: float
    weight_error: float
    histogram_edges_siemens: np.ndarray
    histogram: np.ndarray


def deployment_report(
    params: Any, crossbar: Crossbar, key: PRNGKeyArray, *, groups: Groups = ()
) -> tuple[KernelReport, ...]:
    """What [`hwmodels.crossbar.deploy`][] with the same arguments does to each kernel.

    **Arguments:** as for `deploy`.

    **Returns:** a [`KernelReport`][] for every kernel. All histograms of one call share their edges.

    **Raises:** as `deploy`.
    """
    given = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    rows = {list(given)[place] for place in bias_row(params, crossbar).values()}
    kernels = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if goes_on_tiles(path, leaf) or jax.tree_util.keystr(path) in rows else 0.0,
        params,
    )
    chips = program_kernels(kernels, crossbar, key, groups=groups)
    held = {name: _cells(chip) for name, chip in chips.items()}
    largest = max((float(cells.max()) for cells in held.values()), default=0.0)
    edges = np.linspace(0.0, largest or 1.0, _BINS + 1)
    return tuple(_report(name, np.asarray(given[name]), chips[name], held[name], edges) for name in held)


def _cells(chip: ProgrammedKernel) -> np.ndarray:
    conductances = np.asarray(chip.conductances)
    return conductances[np.broadcast_to(np.asarray(chip.used), conductances.shape) > 0]


def _report(
    name: str, kernel: np.ndarray, chip: ProgrammedKernel, cells: np.ndarray, edges: np.ndarray
) -> KernelReport:
    total = cells.sum(dtype=np.float64)
    error = np.asarray(chip.weights, np.float64) - kernel.astype(np.float64)
    norm = np.linalg.norm(kernel.astype(np.float64))
    return KernelReport(
        name=name,
        tiles=math.prod(chip.conductances.shape[:-2]),
        utilisation=float(np.mean(chip.used)),
        attenuation=float(np.sum(np.asarray(chip.effective), dtype=np.float64) / total)
        if total > 0
        else math.nan,
        weight_error=float(np.linalg.norm(error) / norm) if norm > 0 else float(np.linalg.norm(error)),
        histogram_edges_siemens=edges,
        histogram=np.histogram(cells, bins=edges)[0],
    )
