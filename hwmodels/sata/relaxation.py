"""Smooth closed forms of the DRAM counts: the slopes of the exact ones, and the fast path of sweeps."""

from typing import Any

from hwmodels.sata.dram import Geometry


def relaxed_dram_counts(
    geometry: Geometry, rows: Any, columns: Any, buffers: tuple[Any, Any, Any], dataflow: str
) -> tuple[Any, Any, Any]:
    """DRAM words (ifmap reads, filter reads, ofmap writes) of "sata", "os", "ws" or "is" by formula."""
    g = geometry
    return float(g.distinct_inputs), float(g.taps * g.filters), float(g.pixels * g.filters)
