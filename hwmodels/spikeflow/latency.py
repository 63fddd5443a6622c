"""Time of one inference: every layer's own time, and how layers overlap."""

import functools
import operator
from collections.abc import Iterable, Sequence
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

LATENCY_COMPONENTS = ("read", "mux", "adc", "bit_serial")
"""The names in every latency breakdown.

- `read`: one read round for each output position: crossbar, flash conversion, DIFF, H-tree and buffers. The
  tool times a PE cycle as a whole, 26 clocks, so these cannot be told apart.
- `mux`: the further read rounds, which columns take because they share a converter.
- `adc`: the further clocks of a SAR or ramp conversion.
- `bit_serial`: the further PE cycles of an input of several bits that enter one by one.
"""


def cycle_parts_s(chip: Chip, conventions: Conventions) -> tuple[Scalar, dict[str, Scalar]]:
    """Time of one PE cycle in second, and its shares by [`LATENCY_COMPONENTS`][], which sum to one.

    Published: `cycle_clocks` whatever the chip. Scaled: the clocks are spent on read rounds, so they grow
    with `mux_ratio`, and a SAR or ramp converter adds its further clocks to every round. All rounds are
    taken to last equally long. `Chip.settling` adds the time of its read to every round.
    """
    rounds = read_rounds(chip, conventions)
    clocks = chip.cycle_clocks
    serial: Scalar = 0.0
    if conventions.scaled_parts:
        clocks = clocks * rounds / REFERENCE_MUX
        serial = rounds * (chip.adc.conversion_clocks(chip.adc_bits) - 1)
    whole = clocks + serial
    if chip.settling is not None:
        settling = rounds * chip.settling.read_s * chip.clock_hz
        clocks, whole = clocks + settling, whole + settling
    reading = clocks / whole
    first = reading / maximum(rounds, 1)
    return whole / chip.clock_hz, {
        "read": first,
        "mux": reading - first,
        "adc": serial / whole,
    }


class Timing(NamedTuple):
    """What each layer adds to the latency and by which component, how long each layer works on one
    inference, and the time between two results, all in second."""

    table_s: dict[str, dict[str, Scalar]]
    busy_s: dict[str, Scalar]
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

    What a layer adds is divided among components as its PE cycles are; see [`LATENCY_COMPONENTS`][].

    **Source:** SpikeSim's latency script for the last, from which `overlapped` takes its rule (f = 0.75).
    """
    cycle, shares = cycle_parts_s(chip, conventions)
    if not conventions.column_parallel:
        return _published(workload, chip, conventions, cycle, shares)
    timesteps = workload.timesteps
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
        return Timing(_table(workload, chip, total, shares), _named(workload, total), _sum(total))

    # What runs before the next layer may start: a timestep in the pipeline, else all of them.
    pipelined = chip.schedule == "pipelined"
    start: Scalar = 0.0
    end: Scalar = 0.0
    waiting: Scalar = 1.0
    added: list[Scalar] = []
    for layer, duration in zip(workload.layers, once if pipelined else total, strict=True):
        # The last output needs the last input, and takes one more cycle.
        finish = maximum(start + duration, end + cycle)
        paces: Scalar = 0.0
        if pipelined and not is_encoded_once(layer, conventions):
            # The further timesteps are those of the first layer that sets the pace.
            paces = waiting * _indicator(duration == pace)
            waiting = waiting - paces
        added.append(finish - end + paces * (timesteps - 1) * pace)
        start, end = start + chip.pipeline_start * duration, finish
    period: Scalar = 0.0
    for value in total:
        period = maximum(period, value)
    return Timing(_table(workload, chip, added, shares), _named(workload, total), period)


def _table(
    workload: Workload, chip: Chip, added: Sequence[Scalar], shares: dict[str, Scalar]
) -> dict[str, dict[str, Scalar]]:
    """Divides what each layer adds to the latency among components."""
    table: dict[str, dict[str, Scalar]] = {}
    for layer, value in zip(workload.layers, added, strict=True):
        first = value / serial_cycles(layer, chip)
        row = {name: first * share for name, share in shares.items()}
        table[layer.name] = row | {"bit_serial": value - first}
    return table


def _named(workload: Workload, values: Sequence[Scalar]) -> dict[str, Scalar]:
    return {layer.name: value for layer, value in zip(workload.layers, values, strict=True)}


def _published(
    workload: Workload, chip: Chip, conventions: Conventions, cycle: Scalar, shares: dict[str, Scalar]
) -> Timing:
    table: dict[str, dict[str, Scalar]] = {}
    busy: dict[str, Scalar] = {}
    for layer in workload.layers:
        outputs = output_positions(layer, conventions) * layer.out_channels
        last = layer is workload.layers[-1]
        begun = outputs if last else floor(chip.pipeline_start * outputs)
        added = begun * workload.timesteps * cycle
        # The script has no bit-serial inputs.
        table[layer.name] = {name: added * share for name, share in shares.items()} | {"bit_serial": 0.0}
        busy[layer.name] = outputs * workload.timesteps * cycle
    return Timing(table, busy, _sum(value for row in table.values() for value in row.values()))


def _sum(values: Iterable[Scalar]) -> Scalar:
    return functools.reduce(operator.add, values)


def _indicator(condition: Any) -> Scalar:
    return float(condition) if isinstance(condition, bool) else jnp.where(condition, 1.0, 0.0)
