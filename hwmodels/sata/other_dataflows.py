"""Two other published dataflows on SATA's components, so that a user sees where SATA stands.

Both are counted from what their papers say in words, on the same array, buffers and 28 nm components as SATA.
Their own circuits beyond these have no public constants and are left out of every total: see `NOT_COUNTED`.

- SpinalFlow (Narayanan et al., ISCA 2020): spikes of a receptive field arrive sorted by time, one per cycle;
  every element holds the potential of one output neuron until all its timesteps are done, so that no
  potential and no zero is ever moved, but each spike fetches one weight per element.
- PTB, parallel time batching (Lee et al., HPCA 2022): timesteps are packed into windows; a row of the array
  takes one window of one output pixel, a column one filter, and a weight is fetched once for all windows of a
  fold. An input is skipped when it is silent in all rows of the fold. Time points of a window accumulate one
  per cycle.
"""

import math
from typing import Any

import jax.numpy as jnp

from hwmodels import rounding
from hwmodels.routes import average_bits
from hwmodels.sata.array import padded_geometry
from hwmodels.sata.traffic import cycle_statistics
from hwmodels.workload import Layer

OTHER_DATAFLOWS = ("spinalflow", "ptb")
NOT_COUNTED = {
    "spinalflow": "the sorter that merges spike lists by time, and the assembly of compressed output lists",
    "ptb": "the packing of spikes into windows, and the scheduling of non-overlapping spikes (StSAP)",
}
"""Circuits without public constants: absent from the totals, not zero."""


def _log2(value: Any) -> Any:
    return math.log2(value) if rounding.is_number(value) else jnp.log2(value)


def _select(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, bool):
        return yes if condition else no
    return jnp.where(condition, yes, no)


def spinalflow_counts(layer: Layer, timesteps: Any, chip: Any) -> dict[str, Any]:
    """Drivers of energy of one layer under SpinalFlow, over all timesteps; words of 8 bits.

    A layer's outputs are taken to spike as often as its inputs: their rate is not part of a workload. A list
    entry holds the address of a tap and a timestep. A directly encoded image counts as spikes of its rate.
    """
    g, p = padded_geometry(layer), chip.precision
    rate, pruned = rounding.as_scalar(layer.input_rate), rounding.as_scalar(layer.weight_sparsity)
    elements = whole(chip.array.rows) * whole(chip.array.columns)
    blocks = rounding.ceil_divide(g.filters, elements)
    taps = g.valid(0) * g.valid(1) * g.channels  # over all output pixels; padding never spikes
    spikes = taps * rate * timesteps
    entry = (math.ceil(math.log2(max(g.taps, 2))) + _log2(rounding.maximum(timesteps, 2))) / 8
    outputs = g.pixels * g.filters * timesteps
    weight = rounding.as_scalar(p.weight) / 8
    listed = g.distinct_inputs * rate * timesteps * entry
    again = _select(listed <= rounding.as_scalar(chip.buffers.ifmap), 1, blocks)
    written = outputs * rate * entry if layer.spiking else outputs * rounding.as_scalar(p.accumulator) / 8
    written = written / layer.pooled
    return {
        "macs": spikes * g.filters * (1 - pruned),
        # It sees no zeros, so that its slots are filled by spikes alone.
        "dense_macs": spikes * g.filters * (1 - pruned),
        "neuron_updates": outputs if layer.spiking else 0,
        "cycles": blocks * (spikes + g.pixels * timesteps),
        "sram_ifmap_reads": blocks * spikes * entry,
        "sram_filter_reads": spikes * g.filters * weight,
        "sram_ofmap_writes": written,
        "dram_ifmap_reads": listed * again,
        "dram_filter_reads": g.taps * g.filters * weight,
        "dram_ofmap_writes": written,
    }


def ptb_counts(layer: Layer, timesteps: Any, chip: Any, dram: str) -> dict[str, Any]:
    """Drivers of energy of one layer under parallel time batching, over all timesteps; words of 8 bits.

    A directly encoded image counts as spikes of its rate.
    """
    g, p = padded_geometry(layer), chip.precision
    rate, pruned = rounding.as_scalar(layer.input_rate), rounding.as_scalar(layer.weight_sparsity)
    rows, columns = whole(chip.array.rows), whole(chip.array.columns)
    window = rounding.minimum(rounding.as_scalar(chip.time_window), timesteps)
    windows = rounding.ceil(timesteps / window)
    folds_down = rounding.ceil_divide(g.pixels * windows, rows)
    folds = folds_down * rounding.ceil_divide(g.filters, columns)
    together = rounding.minimum(rows, g.pixels * windows)
    active = 1 - (1 - rate) ** (window * together)
    weight = rounding.as_scalar(p.weight) / 8
    # An average of spikes is read with the bits that it was written with.
    value = (rounding.as_scalar(p.activation) + average_bits(layer.input_pool or 1)) / 8
    words = g.valid(0) * g.valid(1) * g.channels
    outputs = g.pixels * g.filters * timesteps
    statistics = cycle_statistics(layer, chip.array, chip.buffers, "os", corrected=True, dram=dram)
    weights = g.taps * g.filters
    again = _select(statistics.dram_filter_reads > weights, windows, 1)
    bits = rounding.as_scalar(p.output if layer.spiking else p.accumulator) + average_bits(layer.averaged)
    written = outputs * bits / 8 / layer.pooled
    return {
        "macs": words * g.filters * rate * timesteps * (1 - pruned),
        # What is skipped takes no cycle, and its products are not done.
        "dense_macs": layer.macs * timesteps * active,
        "neuron_updates": outputs if layer.spiking else 0,
        "cycles": folds * (g.taps * active * window + rows + columns - 2),
        "sram_ifmap_reads": words * rounding.ceil_divide(g.filters, columns) * timesteps * value,
        "sram_filter_reads": weights * active * folds_down * weight,
        "sram_ofmap_writes": written,
        "dram_ifmap_reads": statistics.dram_ifmap_reads * timesteps * value,
        "dram_filter_reads": statistics.dram_filter_reads * again * weight,
        "dram_ofmap_writes": written,
    }


def whole(size: Any) -> Any:
    """The whole number of rows or columns that a size stands for; straight-through when traced."""
    return rounding.maximum(rounding.round_half_even(size), 1)
