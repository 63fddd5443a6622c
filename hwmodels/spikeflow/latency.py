"""Time of one inference: every layer's own time, and how layers overlap."""

import functools
import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp

from hwmodels.rounding import ceil_divide, floor, maximum
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import Conventions
from hwmodels.spikeflow.energy import (
    REFERENCE_MUX,
    evaluations,
    is_encoded_once,
    output_positions,
    read_rounds,
    serial_cycles,
)
from hwmodels.spikeflow.placement import Placement
from hwmodels.workload import Scalar, Workload


def cycle_s(chip: Chip, conventions: Conventions) -> Scalar:
    """Time of one PE cycle, in second.

    Published: `cycle_clocks` whatever the chip. Scaled: the clocks are spent on read rounds, so they grow
    with `mux_ratio`, and a SAR converter adds the clocks of its further bits to every round.
    """
    clocks = chip.cycle_clocks
    if conventions.scaled_parts:
        rounds = read_rounds(chip, conventions)
        extra = chip.adc.conversion_clocks(chip.adc_bits) - 1
        clocks = clocks * rounds / REFERENCE_MUX + rounds * extra
    return clocks / chip.clock_hz


class Timing(NamedTuple):
    """What each layer adds to the latency, and the time between two results, in second."""

    by_layer_s: dict[str, Scalar]
    period_s: Scalar


def timing(workload: Workload, chip: Chip, placement: Placement, conventions: Conventions) -> Timing:
    r"""What each layer adds to the latency (the values sum to it), and the time between two results.

    With $d_l$ the time of layer l in one timestep, $e_l$ the times it runs (T; once when encoded once):

    - sequential: $\sum_l e_l d_l$; the period is the latency.
    - overlapped: layer l+1 starts when a fraction f of layer l's work, $e_l d_l$, is done, and ends no
      earlier than one PE cycle behind it.
    - pipelined: the same within the first timestep, with $d_l$ in place of $e_l d_l$; then the slowest layer
      that runs at every timestep sets the pace, $(T-1)\max_l d_l$ more.
    - published: $\text{int}(f\,o_l^2 C_l)\,T$ PE cycles for every layer but the last, all of it for the last.

    The period of the overlapped and the pipelined schedule is the slowest layer's $e_l d_l$.

    **Source:** SpikeSim's latency script for the last, from which `overlapped` takes its rule (f = 0.75).
    """
    cycle = cycle_s(chip, conventions)
    if not conventions.column_parallel:
        return _published(workload, chip, conventions, cycle)
    timesteps = workload.timesteps
    names = [layer.name for layer in workload.layers]
    once: list[Scalar] = []
    total: list[Scalar] = []
    pace: Scalar = 0.0
    for layer, placed in zip(workload.layers, placement.layers, strict=True):
        positions = ceil_divide(output_positions(layer, conventions), placed.duplicates)
        once.append(positions * serial_cycles(layer, chip) * cycle)
        total.append(once[-1] * evaluations(layer, timesteps, conventions))
        if not is_encoded_once(layer, conventions):
            pace = maximum(pace, once[-1])
    if chip.schedule == "sequential":
        return Timing(by_layer_s=dict(zip(names, total, strict=True)), period_s=_sum(total))

    # What runs before the next layer may start: a timestep in the pipeline, else all of them.
    pipelined = chip.schedule == "pipelined"
    start: Scalar = 0.0
    end: Scalar = 0.0
    waiting: Scalar = 1.0
    by_layer: dict[str, Scalar] = {}
    for layer, duration in zip(workload.layers, once if pipelined else total, strict=True):
        # The last output needs the last input, and takes one more cycle.
        finish = maximum(start + duration, end + cycle)
        paces: Scalar = 0.0
        if pipelined and not is_encoded_once(layer, conventions):
            # The further timesteps are those of the first layer that sets the pace.
            paces = waiting * _indicator(duration == pace)
            waiting = waiting - paces
        by_layer[layer.name] = finish - end + paces * (timesteps - 1) * pace
        start, end = start + chip.pipeline_start * duration, finish
    period: Scalar = 0.0
    for value in total:
        period = maximum(period, value)
    return Timing(by_layer_s=by_layer, period_s=period)


def _published(workload: Workload, chip: Chip, conventions: Conventions, cycle: Scalar) -> Timing:
    by_layer: dict[str, Scalar] = {}
    for layer in workload.layers:
        outputs = output_positions(layer, conventions) * layer.out_channels
        last = layer is workload.layers[-1]
        begun = outputs if last else floor(chip.pipeline_start * outputs)
        by_layer[layer.name] = begun * workload.timesteps * cycle
    return Timing(by_layer_s=by_layer, period_s=_sum(by_layer.values()))


def _sum(values: Iterable[Scalar]) -> Scalar:
    return functools.reduce(operator.add, values)


def _indicator(condition: Any) -> Scalar:
    return float(condition) if isinstance(condition, bool) else jnp.where(condition, 1.0, 0.0)
