"""What the cycle simulator reports for a layer: cycles, SRAM words and DRAM words."""

from functools import lru_cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from hwmodels import rounding
from hwmodels.sata.array import (
    Array,
    Buffers,
    Schedule,
    padded_geometry,
    schedule,
    simulator_geometry,
)
from hwmodels.sata.dram import dram_counts
from hwmodels.sata.geometry import Geometry
from hwmodels.sata.relaxation import relaxed_dram_counts
from hwmodels.workload import Layer, Scalar

DATAFLOWS = ("sata", "os", "ws", "is")


class CycleStatistics(eqx.Module):
    """What one timestep of one layer asks of the array and its memories (words are one byte).

    - `sram_ifmap_reads`, `sram_filter_reads`, `sram_ofmap_writes`: words between array and buffers.
    - `dram_ifmap_reads`, `dram_filter_reads`, `dram_ofmap_writes`: words between buffers and DRAM.
    - `cycles`: the run's total; of "sata" the end of the last ofmap write plus the span of the filter reads,
      as the energy model charges one timestep.
    - `sram_ifmap_start_cycle`, `sram_filter_start_cycle`, `sram_ofmap_start_cycle`: of the first access.
    - `sram_ifmap_span_cycles`, `sram_filter_span_cycles`, `sram_ofmap_span_cycles`: the cycle of the last
      access less that of the first.
    - `folds`: times that the array is refilled.
    - `mapping_efficiency`, `compute_utilisation`, `overall_utilisation`: fractions of the array that is
      mapped, that computes while it is mapped, and of both.
    """

    sram_ifmap_reads: Scalar
    sram_filter_reads: Scalar
    sram_ofmap_writes: Scalar
    dram_ifmap_reads: Scalar
    dram_filter_reads: Scalar
    dram_ofmap_writes: Scalar
    cycles: Scalar
    sram_ifmap_start_cycle: Scalar
    sram_ifmap_span_cycles: Scalar
    sram_filter_start_cycle: Scalar
    sram_filter_span_cycles: Scalar
    sram_ofmap_start_cycle: Scalar
    sram_ofmap_span_cycles: Scalar
    folds: Scalar
    mapping_efficiency: Scalar
    compute_utilisation: Scalar
    overall_utilisation: Scalar


def _statistics(ifmap: Schedule, weights: Schedule, dram: Any, merged: bool) -> CycleStatistics:
    filter_span = weights.filter_stop - weights.filter_start
    return CycleStatistics(
        sram_ifmap_reads=ifmap.ifmap_reads,
        sram_filter_reads=weights.filter_reads,
        sram_ofmap_writes=ifmap.ofmap_writes,
        dram_ifmap_reads=dram[0],
        dram_filter_reads=dram[1],
        dram_ofmap_writes=dram[2],
        cycles=ifmap.ofmap_stop + filter_span if merged else ifmap.cycles,
        sram_ifmap_start_cycle=ifmap.ifmap_start,
        sram_ifmap_span_cycles=ifmap.ifmap_stop - ifmap.ifmap_start,
        sram_filter_start_cycle=weights.filter_start,
        sram_filter_span_cycles=filter_span,
        sram_ofmap_start_cycle=ifmap.ofmap_start,
        sram_ofmap_span_cycles=ifmap.ofmap_stop - ifmap.ofmap_start,
        folds=ifmap.folds,
        mapping_efficiency=ifmap.mapping_efficiency,
        compute_utilisation=ifmap.compute_utilisation,
        overall_utilisation=ifmap.overall_utilisation,
    )


@lru_cache(maxsize=65536)
def _exact_dram(
    geometry: Geometry, rows: int, columns: int, buffers: tuple[int, int, int], dataflow: str
) -> tuple[int, int, int]:
    if dataflow == "sata":  # weights come once and in order
        ifmap, _, ofmap = dram_counts(geometry, rows, columns, buffers, "os")
        return ifmap, geometry.taps * geometry.filters, ofmap
    return dram_counts(geometry, rows, columns, buffers, dataflow)


@lru_cache(maxsize=65536)
def _exact(
    geometry: Geometry,
    rows: int,
    columns: int,
    buffers: tuple[int, int, int],
    dataflow: str,
    corrected: bool,
) -> CycleStatistics:
    stationary = "os" if dataflow == "sata" else dataflow
    ifmap = schedule(geometry, rows, columns, stationary, corrected=corrected)
    weights = schedule(geometry, rows, columns, "ws", corrected=corrected) if dataflow == "sata" else ifmap
    dram = _exact_dram(geometry, rows, columns, buffers, dataflow)
    return _statistics(ifmap, weights, dram, dataflow == "sata")


def _host_counts(geometry: Geometry, dataflow: str, sizes: Any) -> np.ndarray:
    sizes = np.asarray(sizes)
    counts = np.empty((*sizes.shape[:-1], 3), sizes.dtype)
    for index in np.ndindex(sizes.shape[:-1]):
        rows, columns, *buffers = (int(size) for size in np.rint(sizes[index]))
        counts[index] = _exact_dram(geometry, rows, columns, tuple(buffers), dataflow)
    return counts


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _traced_dram(geometry: Geometry, dataflow: str, sizes: jax.Array) -> jax.Array:
    """Exact counts of traced sizes (rows, columns, three buffers), by a callback to the host."""
    out = jax.ShapeDtypeStruct((3,), sizes.dtype)
    return jax.pure_callback(
        partial(_host_counts, geometry, dataflow), out, sizes, vmap_method="broadcast_all"
    )


@_traced_dram.defjvp
def _traced_dram_jvp(geometry, dataflow, primals, tangents):
    (sizes,), (tangent,) = primals, tangents

    def relaxed(sizes):
        return jnp.stack(
            [
                jnp.asarray(c, sizes.dtype)
                for c in relaxed_dram_counts(geometry, sizes[0], sizes[1], tuple(sizes[2:]), dataflow)
            ]
        )

    return _traced_dram(geometry, dataflow, sizes), jax.jvp(relaxed, (sizes,), (tangent,))[1]


def require_count(layer: Layer, dram: str) -> None:
    """Raises `ValueError` that names the layer for an unknown way to count DRAM words."""
    if dram not in ("exact", "closed_form"):
        raise ValueError(f"layer {layer.name!r}: unknown dram count {dram!r}; choose exact or closed_form.")


def cycle_statistics(
    layer: Layer,
    array: Array,
    buffers: Buffers,
    dataflow: str = "sata",
    *,
    corrected: bool = False,
    dram: str = "exact",
) -> CycleStatistics:
    r"""Counts cycles and memory words of one timestep of a layer, as the authors' simulator does.

    On numbers every count is an exact `int`. On traced array and buffer sizes the values are the same, as far
    as the float type can hold them, and the derivatives are those of the closed forms without roundings.

    **Arguments:**

    - `layer`: shape of the work; only its integers matter here.
    - `array`, `buffers`: the machine.
    - `dataflow`: "os", "ws" or "is" for what stays in the array, or "sata": ifmap and ofmap as in "os", the
      filters as in "ws" (each weight fetched once).
    - `corrected`: see the layer's own padding and output size, fetch no null words and write each result
      once. Without it, the simulator's view: the unpadded map with its overhanging windows.
    - `dram`: "exact" follows the address order on the host, phase by phase, and each kind of phase once
      ([`flush_misses`][hwmodels.sata.flushes.flush_misses]): exact at every size, in seconds and at most a
      few hundred megabytes where a pass makes hundreds of millions of demands. "closed_form" approximates
      the three DRAM counts by formulas that compile and vectorise, for sweeps.

    **Returns:** a [`CycleStatistics`][].

    **Raises:** `ValueError` that names the layer for a kernel larger than the map the simulator sees, and
    for an unknown `dataflow` or `dram`.

    Source: SATA_Sim (`modified scale-sim v2`), columns of `cycle-stat.yaml`.
    """
    if dataflow not in DATAFLOWS:
        raise ValueError(
            f"layer {layer.name!r}: unknown dataflow {dataflow!r}; choose one of {', '.join(DATAFLOWS)}."
        )
    require_count(layer, dram)
    geometry = padded_geometry(layer) if corrected else simulator_geometry(layer)
    sizes = [
        rounding.maximum(rounding.round_half_even(size), least)
        for size, least in (
            (array.rows, 1),
            (array.columns, 1),
            (buffers.ifmap, 100),
            (buffers.filter, 100),
            (buffers.ofmap, 2),
        )
    ]
    if rounding.is_number(*sizes) and dram == "exact":
        return _exact(geometry, sizes[0], sizes[1], tuple(sizes[2:]), dataflow, corrected)

    rows, columns = sizes[:2]
    stationary = "os" if dataflow == "sata" else dataflow
    ifmap = schedule(geometry, rows, columns, stationary, corrected=corrected)
    weights = schedule(geometry, rows, columns, "ws", corrected=corrected) if dataflow == "sata" else ifmap
    counts: Any
    if dram == "exact":
        dtype = jnp.result_type(float)
        counts = _traced_dram(geometry, dataflow, jnp.stack([jnp.asarray(s, dtype) for s in sizes]))
    else:
        counts = relaxed_dram_counts(geometry, rows, columns, tuple(sizes[2:]), dataflow)
    return _statistics(ifmap, weights, counts, dataflow == "sata")
