"""Area of the chip, by component."""

from hwmodels.rounding import maximum, minimum
from hwmodels.routes import input_pools, is_projection, routes
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
    pooled_bits,
    serial_cycles,
    shortcut_width,
)
from hwmodels.spikeflow.placement import Placement, columns_per_weight, has_bias_row
from hwmodels.workload import Layer, Scalar, Workload

AREA_COMPONENTS = (
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
    "gain",
    "normalisation",
    "entropy",
)
"""The names in every area breakdown."""

PUBLISHED_MEMBRANE_LAYERS = 5
PUBLISHED_WORD_BITS = 22


UNUSED = "unused"
"""The row of an area table for PEs that no layer needs: the rest of the last tile."""


def area_table(
    workload: Workload, chip: Chip, placement: Placement, conventions: Conventions
) -> dict[str, dict[str, Scalar]]:
    """Area by layer and component, in µm². Tiles are divided among layers by their PEs.

    **Source:** SpikeSim: `tile = (X/8)·subtractor + temporary buffer + tile buffer +
    pes_per_tile·(k²·crossbar + (X/8)·(ADC + mux)) + H-tree`, plus 22-bit words for every layer's input and
    for the outputs of the first five layers; every departure is a switch of [`Conventions`][].
    """
    tile = _tile_area(workload, chip, conventions)
    rest: Scalar = placement.tiles
    keeps_encoding = conventions.whole_chip and conventions.encode_once and chip.neuron != "relu"
    table: dict[str, dict[str, Scalar]] = {}
    for index, (layer, placed) in enumerate(zip(workload.layers, placement.layers, strict=True)):
        share = placed.pes / placement.pes_per_tile
        rest = rest - share
        row: dict[str, Scalar] = {name: tile[name] * share for name in AREA_COMPONENTS}
        bit = chip.components.sram_bit_um2
        row["membrane"] = _membrane_bits(workload, index, chip, conventions) * bit
        row["global_buffer"] = _map_bits(workload, index, chip, conventions) * bit
        if keeps_encoding and layer.analog_input:
            row["encoder_memory"] = float(layer.outputs) * chip.membrane_bits * bit
        table[layer.name] = row
    if conventions.whole_chip and chip.entropy_module:
        table[workload.layers[-1].name]["entropy"] = entropy_unit_um2(chip.components)
    table[UNUSED] = {name: tile[name] * rest for name in AREA_COMPONENTS}
    return table


def _tile_area(workload: Workload, chip: Chip, conventions: Conventions) -> dict[str, Scalar]:
    parts, pes = chip.components, chip.pes_per_tile
    rows, columns, kernel = chip.crossbar_rows, chip.crossbar_columns, chip.kernel
    adcs = converters(chip, conventions)
    size: Scalar = 1.0
    width: Scalar = 1.0
    tree: Scalar = 1.0
    if conventions.scaled_parts:
        size, width = rows * columns / REFERENCE_CELLS, columns / REFERENCE_COLUMNS
        # At a fixed pitch an H-tree's total wire grows with the number of its leaves.
        tree = width * pes / REFERENCE_PES
    area: dict[str, Scalar] = dict.fromkeys(AREA_COMPONENTS, 0.0)
    area["crossbar"] = pes * kernel * kernel * chip.cell.area_um2 * size
    area["adc"] = pes * adcs * chip.adc.area_um2 * chip.adc.area_growth(chip.adc_bits)
    area["mux"] = pes * adcs * parts.mux_um2
    area["diff"] = adcs * parts.subtractor_um2
    area["pe_buffer"] = parts.pe_buffer_um2
    area["tile_buffer"] = parts.tile_buffer_um2 * width
    area["h_tree"] = parts.h_tree_um2 * tree
    if not conventions.whole_chip:
        return area
    # Needed when a weight has several columns or an input several cycles, and not present otherwise. A PE
    # delivers one column from each converter at a time, so every converter has its adder.
    several = columns_per_weight(chip, conventions)
    for layer in workload.layers:
        several = maximum(several, serial_cycles(layer, chip))
    area["shift_add"] = pes * adcs * parts.adder_16_bit_um2 * minimum(several - 1, 1)
    area["accumulator"] = adcs * parts.adder_16_bit_um2
    unit = parts.comparator_8_bit_um2 if chip.neuron == "relu" else parts.neuron_um2
    area["neuron"] = columns / chip.channel_sharing * unit
    pools = {(layer.pooling, layer.pool_first): layer for layer in workload.layers if layer.pool > 1}
    if pools:
        area["pooling"] = columns * sum(_pooling_um2(layer, chip) for layer in pools.values())
    if chip.calibration in ("tile", "column"):
        area["gain"] = pes * adcs * parts.multiplier_8_bit_um2
    if any(
        (layer.bias and not has_bias_row(layer, chip)) or layer.norm != "none" for layer in workload.layers
    ):
        area["normalisation"] = columns * parts.adder_16_bit_um2
    if any(layer.norm == "timestep" for layer in workload.layers):
        area["normalisation"] = area["normalisation"] + columns * parts.multiplier_8_bit_um2
    return area


def _pooling_um2(layer: Layer, chip: Chip) -> Scalar:
    """What a column has to pool with; see `_pooling_j` of the energy."""
    parts = chip.components
    if layer.pooling == "average":
        return parts.adder_16_bit_um2 if layer.pool_first else parts.adder_8_bit_um2
    if layer.pool_first:
        return 2 * parts.comparator_8_bit_um2
    return parts.comparator_8_bit_um2 if chip.neuron == "relu" else parts.adder_8_bit_um2 / 8


def _membrane_bits(workload: Workload, index: int, chip: Chip, conventions: Conventions) -> Scalar:
    layer = workload.layers[index]
    width: Scalar = chip.membrane_bits
    if conventions.membrane_everywhere:
        kept = keeps_potential(layer, workload, chip)
    else:
        kept = index < PUBLISHED_MEMBRANE_LAYERS and chip.neuron != "relu"
        width = width if conventions.scaled_parts else PUBLISHED_WORD_BITS
    if not kept:
        return 0.0
    outputs = layer.neurons
    if not conventions.convolution_outputs:
        outputs = (layer.out_height // layer.pool) * (layer.out_width // layer.pool) * layer.out_channels
    return float(outputs) * width / chip.channel_sharing


def _map_bits(workload: Workload, index: int, chip: Chip, conventions: Conventions) -> Scalar:
    layer = workload.layers[index]
    inputs = float(layer.height * layer.width * layer.in_channels)
    if not conventions.binary_maps:
        return inputs * PUBLISHED_WORD_BITS
    if is_projection(layer, workload):
        return 0.0  # a projection reads the map of the branch that it runs beside
    shortcut: Scalar = 0.0  # it waits for its branch
    if layer.residual_add:
        sender = routes(workload)[index].shortcut
        shortcut = float(layer.outputs) * shortcut_width(workload, -1 if sender is None else sender, chip)
    each = input_width(layer, chip) + pooled_bits(input_pools(workload)[index], chip)
    return inputs * each + shortcut + _constant_bits(layer, workload, chip)


def _constant_bits(layer: Layer, workload: Workload, chip: Chip) -> Scalar:
    """Biases, and scales and shifts of normalisation, kept beside the maps."""
    sets: Scalar = int((layer.bias and not has_bias_row(layer, chip)) or layer.norm == "shared")
    if layer.norm == "timestep":
        sets = sets + 2 * workload.timesteps
    return sets * float(layer.out_channels) * chip.membrane_bits


def entropy_unit_um2(parts: Components) -> Scalar:
    """The one exit-decision unit that all classes pass through, as its energy: four products and a sum."""
    return 4 * parts.multiplier_8_bit_um2 + parts.adder_16_bit_um2
