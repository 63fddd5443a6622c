"""Area of the chip, by component."""

from hwmodels.rounding import maximum, minimum
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.components import Components
from hwmodels.spikeflow.conventions import Conventions
from hwmodels.spikeflow.energy import (
    REFERENCE_CELLS,
    REFERENCE_COLUMNS,
    REFERENCE_PES,
    converters,
    input_width,
    keeps_potential,
    serial_cycles,
)
from hwmodels.spikeflow.placement import Placement, columns_per_weight
from hwmodels.workload import Layer, Scalar, Workload

COMPONENTS = (
    "crossbar",
    "adc",
    "mux",
    "diff",
    "shift_add",
    "pe_buffer",
    "tile_buffer",
    "accumulator",
    "h_tree",
    "global_buffer",
    "encoder_memory",
    "membrane",
    "neuron",
    "pooling",
    "entropy",
)
"""The names in every area breakdown."""

PUBLISHED_MEMBRANE_LAYERS = 5
PUBLISHED_WORD_BITS = 22


def chip_area(
    workload: Workload, chip: Chip, placement: Placement, conventions: Conventions
) -> dict[str, Scalar]:
    """Area by component, in µm².

    **Source:** SpikeSim: `tile = (X/8)·subtractor + temporary buffer + tile buffer +
    pes_per_tile·(k²·crossbar + (X/8)·(ADC + mux)) + H-tree`, plus 22-bit words for every layer's input and
    for the outputs of the first five layers; every departure is a switch of [`Conventions`][].
    """
    parts, tiles = chip.components, placement.tiles
    rows, columns, kernel = chip.crossbar_rows, chip.crossbar_columns, chip.kernel
    pes = tiles * chip.pes_per_tile
    adcs = converters(chip, conventions)
    size: Scalar = 1.0
    width: Scalar = 1.0
    tree: Scalar = 1.0
    if conventions.scaled_parts:
        size, width = rows * columns / REFERENCE_CELLS, columns / REFERENCE_COLUMNS
        # At a fixed pitch an H-tree's total wire grows with the number of its leaves.
        tree = width * chip.pes_per_tile / REFERENCE_PES
    area: dict[str, Scalar] = dict.fromkeys(COMPONENTS, 0.0)
    area["crossbar"] = pes * kernel * kernel * chip.cell.area_um2 * size
    area["adc"] = pes * adcs * chip.adc.area_um2 * chip.adc.growth(chip.adc_bits)
    area["mux"] = pes * adcs * parts.mux_um2
    area["diff"] = tiles * adcs * parts.subtractor_um2
    area["pe_buffer"] = tiles * parts.pe_buffer_um2
    area["tile_buffer"] = tiles * parts.tile_buffer_um2 * width
    area["h_tree"] = tiles * parts.h_tree_um2 * tree
    area["membrane"] = parts.sram_bit_um2 * _membrane_bits(workload, chip, conventions)
    area["global_buffer"] = parts.sram_bit_um2 * _map_bits(workload, chip, conventions)
    if conventions.whole_chip:
        _add_whole_chip(area, workload, chip, placement, conventions)
    return area


def _membrane_bits(workload: Workload, chip: Chip, conventions: Conventions) -> Scalar:
    if not conventions.membrane_everywhere:
        kept = [_mapped_outputs(layer, conventions) for layer in workload.layers[:PUBLISHED_MEMBRANE_LAYERS]]
        width: Scalar = chip.membrane_bits if conventions.scaled_parts else PUBLISHED_WORD_BITS
    else:
        kept = [
            _mapped_outputs(layer, conventions)
            for layer in workload.layers
            if keeps_potential(layer, workload, chip)
        ]
        width = chip.membrane_bits
    shared = chip.channel_sharing
    return float(sum(kept)) * width / shared


def _mapped_outputs(layer: Layer, conventions: Conventions) -> int:
    if conventions.convolution_outputs:
        return layer.outputs
    return (layer.out_height // layer.pool) * (layer.out_width // layer.pool) * layer.out_channels


def _map_bits(workload: Workload, chip: Chip, conventions: Conventions) -> Scalar:
    bits: Scalar = 0.0
    for layer in workload.layers:
        projection = not layer.spiking and layer is not workload.layers[-1]
        if projection and conventions.binary_maps:
            continue  # it reads the map of the branch that it runs beside
        inputs = float(layer.height * layer.width * layer.in_channels)
        bits = bits + inputs * (input_width(layer, chip) if conventions.binary_maps else PUBLISHED_WORD_BITS)
        if layer.residual_add and conventions.binary_maps:
            bits = bits + float(layer.outputs)  # the shortcut waits for its branch
    return bits


def _add_whole_chip(
    area: dict[str, Scalar],
    workload: Workload,
    chip: Chip,
    placement: Placement,
    conventions: Conventions,
) -> None:
    parts, tiles, columns = chip.components, placement.tiles, chip.crossbar_columns
    # A PE delivers one column from each converter at a time, so every converter has its adder.
    lanes = tiles * chip.pes_per_tile * converters(chip, conventions)
    # Needed when a weight has several columns or an input several cycles, and not present otherwise.
    several = columns_per_weight(chip, conventions)
    for layer in workload.layers:
        several = maximum(several, serial_cycles(layer, chip))
    area["shift_add"] = lanes * parts.adder_16_bit_um2 * minimum(several - 1, 1)
    area["accumulator"] = tiles * converters(chip, conventions) * parts.adder_16_bit_um2
    units = tiles * columns / chip.channel_sharing
    area["neuron"] = units * (parts.comparator_8_bit_um2 if chip.neuron == "relu" else parts.neuron_um2)
    if chip.neuron != "relu" and conventions.encode_once:
        kept = float(sum(layer.outputs for layer in workload.layers if layer.analog_input))
        area["encoder_memory"] = kept * chip.membrane_bits * parts.sram_bit_um2
    if any(layer.pool > 1 for layer in workload.layers):
        area["pooling"] = tiles * columns * parts.adder_8_bit_um2
    if chip.entropy_module:
        area["entropy"] = entropy_unit_um2(parts)


def entropy_unit_um2(parts: Components) -> Scalar:
    """The one exit-decision unit that all classes pass through, as its energy: four products and a sum."""
    return 4 * parts.multiplier_8_bit_um2 + parts.adder_16_bit_um2
