"""What one inference of a layer does on the chip: operations, cycles and words, each a driver of energy."""

import math
from typing import Any

from hwmodels import rounding
from hwmodels.routes import average_bits
from hwmodels.sata.accelerator import Accelerator
from hwmodels.sata.array import padded_geometry, schedule, simulator_geometry
from hwmodels.sata.conventions import CORRECTIONS
from hwmodels.sata.other_dataflows import OTHER_DATAFLOWS, ptb_counts, spinalflow_counts, whole
from hwmodels.sata.traffic import cycle_statistics, require_count
from hwmodels.workload import Layer

DRIVERS = (
    "macs",
    "image_products",
    "neuron_updates",
    "additions",
    "norm_products",
    "cycles",
    "sram_ifmap_reads",
    "sram_ifmap_writes",
    "sram_filter_reads",
    "sram_filter_writes",
    "sram_ofmap_reads",
    "sram_ofmap_writes",
    "dram_ifmap_reads",
    "dram_filter_reads",
    "dram_ofmap_writes",
)


def layer_activity(
    layer: Layer,
    timesteps: Any,
    chip: Accelerator,
    corrections: frozenset[str],
    dram: str = "exact",
    shortcut: Layer | None = None,
) -> dict[str, Any]:
    """Counts what drives the energy of one layer over all timesteps.

    Memory words are in units of 8 bits when "precision" is corrected, else in words of any width.

    **Arguments:**

    - `layer`: the layer; `input_pool` is 1 where it does not say.
    - `timesteps`: T, traced or not.
    - `chip`: the accelerator.
    - `corrections`: names out of [`CORRECTIONS`][].
    - `dram`: "exact" or "closed_form"; see [`cycle_statistics`][].
    - `shortcut`: the layer that its shortcut comes from; None for the network's input.

    **Returns:** a dictionary with the keys of `DRIVERS`, and "slots": the products that the array could have
    done, were it busy in every cycle, against which utilisation is measured.
    """
    require_count(layer, dram)
    if chip.dataflow in OTHER_DATAFLOWS:
        return _other_activity(layer, timesteps, chip, corrections, dram, shortcut)
    rate, pruned = rounding.as_scalar(layer.input_rate), rounding.as_scalar(layer.weight_sparsity)
    once = layer.analog_input and "analog_input" in corrections
    repeats = 1 if once else timesteps
    padded = "padding" in corrections
    statistics = cycle_statistics(
        layer,
        chip.array,
        chip.buffers,
        chip.dataflow,
        corrected=padded,
        dram=dram,
    )
    pixels = _output_pixels(layer, corrections)
    products = math.prod(layer.kernel) * layer.in_channels * layer.out_channels * pixels
    density = rate * (1 - pruned) if "weight_sparsity" in corrections else rate
    updates = layer.out_channels * pixels * timesteps
    neurons = layer.spiking or "neurons" not in corrections

    pooled = layer.pooled if "neurons" in corrections else 1
    additions = _additions(layer, updates, chip) if "neurons" in corrections else 0
    firing = layer.neurons / layer.outputs if "neurons" in corrections else 1

    p = chip.precision
    in_words = _words(p.image if once else _input_bits(layer, chip, corrections), corrections)
    out_words = _words(_output_bits(layer, chip, corrections), corrections)
    weight_words = _words(p.weight, corrections)

    batched = chip.dataflow == "sata"
    in_times = repeats if "ifmap_timesteps" in corrections or not batched else 1
    weight_times = 1 if batched else repeats
    out_times = timesteps if "ofmap_timesteps" in corrections or not batched else 1
    ofmap_writes = statistics.sram_ofmap_writes
    if ("ofmap_skew" in corrections) != padded and chip.dataflow in ("sata", "os"):
        slip = statistics.folds * (whole(chip.array.rows) + whole(chip.array.columns))
        ofmap_writes = ofmap_writes + (slip if padded else -slip)

    counts: dict[str, Any] = {
        "macs": products * density * repeats,
        "image_products": products * density if once else 0,
        "neuron_updates": updates * firing if neurons else 0,
        "additions": additions,
        "norm_products": 0,
        "cycles": _cycles(layer, chip, statistics, timesteps, repeats, corrections),
        "sram_ifmap_reads": statistics.sram_ifmap_reads * in_words * in_times,
        "sram_filter_reads": statistics.sram_filter_reads * weight_words * weight_times,
        "sram_ofmap_writes": ofmap_writes * out_words * out_times / pooled,
        "dram_ifmap_reads": statistics.dram_ifmap_reads * in_words * in_times,
        "dram_filter_reads": statistics.dram_filter_reads * weight_words * weight_times,
        "dram_ofmap_writes": statistics.dram_ofmap_writes * out_words * out_times / pooled,
        "sram_ifmap_writes": 0,
        "sram_filter_writes": 0,
        "sram_ofmap_reads": 0,
    }
    if "neurons" in corrections:
        _add_constants(counts, layer, timesteps, updates, chip, corrections)
    if "buffer_fills" in corrections:
        counts["sram_ifmap_writes"] = counts["dram_ifmap_reads"]
        counts["sram_filter_writes"] = counts["dram_filter_reads"]
        counts["sram_ofmap_reads"] = counts["dram_ofmap_writes"]
    if "neurons" in corrections:
        counts["sram_ofmap_reads"] = counts["sram_ofmap_reads"] + _shortcut_words(
            layer, shortcut, updates, chip, corrections
        )
    elements = whole(chip.array.rows) * whole(chip.array.columns)
    counts["slots"] = counts["cycles"] * elements
    counts["dense_macs"] = products * repeats
    return counts


def _other_activity(
    layer: Layer,
    timesteps: Any,
    chip: Accelerator,
    corrections: frozenset[str],
    dram: str,
    shortcut: Layer | None,
) -> dict[str, Any]:
    if len(corrections) < len(CORRECTIONS):
        raise ValueError(
            f"layer {layer.name!r}: the dataflow {chip.dataflow!r} has no published convention; "
            "use conventions='corrected'."
        )
    if chip.dataflow == "spinalflow":
        counts = spinalflow_counts(layer, timesteps, chip)
    else:
        counts = ptb_counts(layer, timesteps, chip, dram)
    counts = dict.fromkeys(DRIVERS, 0) | counts
    updates = layer.outputs * timesteps
    counts["additions"] = _additions(layer, updates, chip)
    counts["neuron_updates"] = counts["neuron_updates"] * (layer.neurons / layer.outputs)
    _add_constants(counts, layer, timesteps, updates, chip, corrections)
    counts["sram_ifmap_writes"] = counts["dram_ifmap_reads"]
    counts["sram_filter_writes"] = counts["dram_filter_reads"]
    added = _shortcut_words(layer, shortcut, updates, chip, corrections)
    counts["sram_ofmap_reads"] = counts["dram_ofmap_writes"] + added
    elements = whole(chip.array.rows) * whole(chip.array.columns)
    return counts | {"slots": counts["cycles"] * elements}


def _additions(layer: Layer, updates: Any, chip: Accelerator) -> Any:
    """One addition per output for a shortcut, for pooling, and for a bias or a normalisation's shift.

    A comparison is a subtraction; the OR of spikes takes one bit of it.
    """
    shifted = layer.bias or layer.norm != "none"
    pooling: Any = int(layer.pool > 1)
    if pooling and layer.pooling == "max" and not layer.pool_first and chip.element == "spiking":
        pooling = 1 / rounding.as_scalar(chip.precision.accumulator)
    return updates * (int(layer.residual_add) + pooling + int(shifted))


def _add_constants(
    counts: dict[str, Any],
    layer: Layer,
    timesteps: Any,
    updates: Any,
    chip: Accelerator,
    corrections: frozenset[str],
) -> None:
    """Products of a normalisation of each timestep, and the constants of biases and normalisations.

    Constants come the way of weights. A normalisation that timesteps share is folded into weights and a bias.
    """
    sets = int(layer.bias or layer.norm == "shared")
    if layer.norm == "timestep":
        sets = sets + 2 * timesteps
        counts["norm_products"] = updates
    words = sets * layer.out_channels * _words(chip.precision.accumulator, corrections)
    for memory in ("dram", "sram"):
        counts[f"{memory}_filter_reads"] = counts[f"{memory}_filter_reads"] + words


def _shortcut_words(
    layer: Layer, shortcut: Layer | None, updates: Any, chip: Accelerator, corrections: frozenset[str]
) -> Any:
    """Words of a shortcut's operand, which comes from the output buffer with the bits that it has there."""
    if not layer.residual_add:
        return 0
    if shortcut is None:
        return updates * _words(chip.precision.output, corrections)
    average = _average_bits(shortcut.averaged, chip) if "pooled_inputs" in corrections else 0
    return updates * _words(_sent_bits(shortcut, chip) + average, corrections)


def _words(bits: Any, corrections: frozenset[str]) -> Any:
    """Words that one operand is: of 8 bits, or of any width."""
    return rounding.as_scalar(bits) / 8 if "precision" in corrections else 1


def _output_pixels(layer: Layer, corrections: frozenset[str]) -> int:
    if layer.kind == "linear" and "fully_connected" in corrections:
        return 1
    if "padding" in corrections and layer.kind == "conv":
        return layer.out_height * layer.out_width
    size = (layer.height, layer.width)
    return math.prod((size[a] + 2 - layer.kernel[a]) // layer.stride[a] + 1 for a in (0, 1))


def _input_bits(layer: Layer, chip: Accelerator, corrections: frozenset[str]) -> Any:
    """Spikes, or their averages after pooling: what [`_output_bits`][] of the source wrote."""
    bits = rounding.as_scalar(chip.precision.activation)
    if layer.input_pool is None or "pooled_inputs" not in corrections:
        return bits
    return bits + _average_bits(layer.input_pool, chip)


def _average_bits(pool: int, chip: Accelerator) -> float:
    """What an average of spikes has beyond a spike; activations are rounded to their bits again."""
    return average_bits(pool) if chip.element == "spiking" else 0.0


def _output_bits(layer: Layer, chip: Accelerator, corrections: frozenset[str]) -> Any:
    """Spikes, their averages after pooling, or the partial sums of a layer without neurons."""
    if "neurons" not in corrections:
        return chip.precision.output
    return _sent_bits(layer, chip) + _average_bits(layer.averaged, chip)


def _sent_bits(layer: Layer, chip: Accelerator) -> Any:
    """Bits of one value before a pooling."""
    return rounding.as_scalar(chip.precision.output if layer.spiking else chip.precision.accumulator)


def _cycles(
    layer: Layer,
    chip: Accelerator,
    statistics: Any,
    timesteps: Any,
    repeats: Any,
    corrections: frozenset[str],
) -> Any:
    """Compute cycles of all timesteps, plus the loading of weights where they are loaded once."""
    if chip.dataflow != "sata":
        return (statistics.cycles + 1) * repeats
    run = statistics.sram_ofmap_start_cycle + statistics.sram_ofmap_span_cycles
    if "filter_load" in corrections:
        geometry = padded_geometry(layer) if "padding" in corrections else simulator_geometry(layer)
        rows, columns = whole(chip.array.rows), whole(chip.array.columns)
        load = schedule(geometry, rows, columns, "ws").folds * rows
    else:
        load = statistics.sram_filter_span_cycles
    late = 0
    if layer.analog_input and "analog_input" in corrections:
        late = statistics.folds * (timesteps - 1)  # the neurons still step through time
    return run * repeats + load + late
