"""Energy of one inference: what every component of every layer is charged."""

from hwmodels.rounding import as_scalar, ceil_divide, clipped
from hwmodels.routes import Route, average_bits, is_projection
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.components import Components
from hwmodels.spikeflow.conventions import Conventions
from hwmodels.spikeflow.noc import mean_hops
from hwmodels.spikeflow.placement import LayerPlacement, Placement, columns_per_weight, has_bias_row
from hwmodels.workload import Layer, Scalar, Workload

ENERGY_COMPONENTS = (
    "crossbar",
    "adc",
    "mux",
    "diff",
    "shift_add",
    "pe_buffer",
    "tile_buffer",
    "accumulator",
    "h_tree",
    "noc",
    "global_buffer",
    "membrane",
    "neuron",
    "pooling",
    "gain",
    "normalisation",
    "entropy",
)
"""The names in every energy breakdown."""

# The sizes at which the script's constants hold (see `components.py`).
REFERENCE_CELLS = 64 * 64
REFERENCE_COLUMNS = 64
REFERENCE_PES = 8
REFERENCE_MUX = 8
REFERENCE_ADCS = 8
REFERENCE_MEMBRANE_BITS = 22


def output_positions(layer: Layer, conventions: Conventions) -> int:
    """Positions of the output map that the crossbars compute, one timestep."""
    if conventions.convolution_outputs:
        return layer.out_height * layer.out_width
    return (layer.out_height // layer.pool) * (layer.out_width // layer.pool)


def input_width(layer: Layer, chip: Chip) -> Scalar:
    """Bits of one value of the layer's input map."""
    return chip.input_bits if layer.analog_input else sent_width(chip)


def sent_width(chip: Chip) -> Scalar:
    """Bits of what one neuron sends: a spike, or an ANN's activation."""
    return chip.activation_bits if chip.neuron == "relu" else 1


def shortcut_width(workload: Workload, sender: int, chip: Chip) -> Scalar:
    """Bits of one value of a shortcut that no projection sends; of the network's input for sender -1."""
    if sender < 0:
        return input_width(workload.layers[0], chip)
    return sent_width(chip) + pooled_bits(workload.layers[sender].averaged, chip)


def serial_cycles(layer: Layer, chip: Chip) -> Scalar:
    """PE cycles that one output position takes: an activation's bits enter one by one, a spike at once."""
    return chip.encoder_cycles if layer.analog_input else sent_width(chip)


def evaluations(layer: Layer, timesteps: Scalar, conventions: Conventions) -> Scalar:
    """How often the layer's crossbars run in one inference: T, or once under direct encoding."""
    return 1 if is_encoded_once(layer, conventions) else timesteps


def is_encoded_once(layer: Layer, conventions: Conventions) -> bool:
    """Whether the layer's crossbars run once per inference, and not at every timestep."""
    return layer.analog_input and conventions.encode_once


def read_rounds(chip: Chip, conventions: Conventions) -> Scalar:
    """Read rounds of a PE cycle: each converter reads its columns in turn."""
    return chip.mux_ratio if conventions.mux_rounds else chip.crossbar_columns / 8


def converters(chip: Chip, conventions: Conventions) -> Scalar:
    """Converters of a PE, the last of which may serve fewer columns."""
    if conventions.mux_rounds:
        return ceil_divide(chip.crossbar_columns, chip.mux_ratio)
    return chip.crossbar_columns / 8


def cell_read_j(chip: Chip, conventions: Conventions) -> Scalar:
    """Energy of one read of a 64×64 crossbar with all rows driven, in joule."""
    corrected = chip.cell.cacti_read_j
    return chip.cell.read_j if corrected is None or not conventions.cacti_cells else corrected


def keeps_potential(layer: Layer, workload: Workload, chip: Chip) -> bool:
    """Whether the layer's outputs have a membrane: spiking layers, and the readout that accumulates."""
    return chip.neuron != "relu" and not is_projection(layer, workload)


def layer_energy(
    workload: Workload,
    index: int,
    chip: Chip,
    placement: Placement,
    route: Route,
    input_pool: int,
    conventions: Conventions,
) -> dict[str, Scalar]:
    """Energy of one layer over the whole inference, by component, in joule.

    **Source:** SpikeSim's rule is PE cycles × T × PE-cycle energy, with
    `PE cycle = H-tree + memory fetch + neuron + tile buffer + (X/8)·(k²·crossbar + (X/8)·(ADC + mux) +
    16·subtractor + temporary buffer)`; every departure is a switch of [`Conventions`][].
    """
    layer, placed = workload.layers[index], placement.layers[index]
    parts, timesteps = chip.components, workload.timesteps
    positions = output_positions(layer, conventions)
    runs = evaluations(layer, timesteps, conventions) * serial_cycles(layer, chip)
    pe_cycles = placed.working_pes * float(positions) * runs
    crossbar_cycles = placed.crossbars * float(positions) * runs
    rounds, adcs = read_rounds(chip, conventions), converters(chip, conventions)
    rows, columns = chip.crossbar_rows, chip.crossbar_columns
    driven, converting = _activity(layer, chip, placed, conventions)
    neurons = layer.neurons / layer.outputs if conventions.convolution_outputs else 1.0

    size: Scalar = 1.0
    width: Scalar = 1.0
    tree: Scalar = 1.0
    fetch: Scalar = 1.0
    lanes: Scalar = 1.0
    if conventions.scaled_parts:
        size = rows * columns / REFERENCE_CELLS
        width = columns / REFERENCE_COLUMNS
        # At a fixed pitch an H-tree's root-to-leaf path grows as the square root of its leaves.
        tree = width * (chip.pes_per_tile / REFERENCE_PES) ** 0.5
        fetch = chip.membrane_bits / REFERENCE_MEMBRANE_BITS
        lanes = adcs / REFERENCE_ADCS
    energy: dict[str, Scalar] = dict.fromkeys(ENERGY_COMPONENTS, 0.0)
    energy["crossbar"] = crossbar_cycles * rounds * cell_read_j(chip, conventions) * size * driven
    if has_bias_row(layer, chip) and not _charges_all_rows(chip, conventions):
        reads = placed.column_blocks * float(positions) * evaluations(layer, timesteps, conventions)
        row_j = cell_read_j(chip, conventions) * size / rows
        energy["crossbar"] = energy["crossbar"] + reads * rounds * row_j
    conversions = pe_cycles * rounds * adcs * converting
    energy["adc"] = conversions * chip.adc.energy_j * chip.adc.energy_growth(chip.adc_bits)
    energy["mux"] = conversions * parts.mux_j
    subtraction_j = parts.adder_8_bit_j if conventions.diff_energy else parts.subtractor_j
    subtractions = pe_cycles * rounds * parts.subtractors_per_round * lanes
    energy["diff"] = subtractions * subtraction_j * converting
    energy["pe_buffer"] = pe_cycles * rounds * parts.pe_buffer_j * lanes
    energy["tile_buffer"] = pe_cycles * parts.tile_buffer_j * width
    energy["h_tree"] = pe_cycles * parts.h_tree_j * tree

    if conventions.neuron_per_output:
        # A block of outputs meets its neurons once a timestep, however many PEs and input bits fed it.
        has_neuron = int(not is_projection(layer, workload))
        blocks = placed.column_blocks * float(positions) * timesteps * has_neuron * neurons
    else:
        blocks = pe_cycles
    if chip.neuron == "relu":
        energy["neuron"] = blocks * columns * parts.comparator_8_bit_j
    else:
        energy["neuron"] = blocks * parts.neuron_j * width
        energy["membrane"] = blocks * parts.membrane_fetch_j * fetch * width
        if conventions.membrane_words:
            kept = float(positions * layer.out_channels * keeps_potential(layer, workload, chip)) * neurons
            energy["membrane"] = 2 * kept * timesteps * chip.membrane_bits * parts.global_buffer_bit_j
    if conventions.whole_chip:
        _add_whole_chip(energy, workload, index, chip, placement, route, input_pool, conventions)
        if chip.calibration in ("tile", "column"):  # One of a whole kernel scales its thresholds.
            energy["gain"] = conversions * parts.multiplier_8_bit_j
    return energy


def _add_whole_chip(
    energy: dict[str, Scalar],
    workload: Workload,
    index: int,
    chip: Chip,
    placement: Placement,
    route: Route,
    input_pool: int,
    conventions: Conventions,
) -> None:
    layer, placed, parts = workload.layers[index], placement.layers[index], chip.components
    timesteps = workload.timesteps
    evaluated = evaluations(layer, timesteps, conventions)
    serial = serial_cycles(layer, chip)
    outputs = float(layer.outputs)
    slices = columns_per_weight(chip, conventions)

    # One addition joins each further column slice or input bit to the sum, and each further PE of a block.
    energy["shift_add"] = (
        outputs * evaluated * placed.pes_per_block * (slices * serial - 1) * parts.adder_16_bit_j
    )
    energy["accumulator"] = (
        outputs * evaluated * (placed.pes_per_block - 1) + outputs * timesteps * int(layer.residual_add)
    ) * parts.adder_16_bit_j

    last = layer is workload.layers[-1]
    inputs = float(layer.height * layer.width * layer.in_channels)
    each = input_width(layer, chip) + pooled_bits(input_pool, chip)
    read_bits = inputs * each * evaluated
    if index == 0:
        read_bits = read_bits + inputs * each  # the input is loaded once
    # A projection's sums go on to the addition, and no map of them is kept.
    no_map = last or is_projection(layer, workload)
    sent = sent_width(chip) + pooled_bits(layer.averaged, chip)
    written_bits = 0.0 if no_map else outputs / layer.pooled * sent * timesteps
    travelling = inputs * each * evaluated * mean_hops(placement, route.source, index)
    if route.shortcut is not None:
        # Values out of the buffer, or the sums of a projection.
        each_added = chip.membrane_bits if route.projected else shortcut_width(workload, route.shortcut, chip)
        shortcut_bits = outputs * timesteps * each_added
        read_bits = read_bits if route.projected else read_bits + shortcut_bits
        travelling = travelling + shortcut_bits * mean_hops(placement, route.shortcut, index)
    if is_encoded_once(layer, conventions):
        # The result of the one evaluation is written once and read at every timestep.
        kept = outputs * chip.membrane_bits
        read_bits, written_bits = read_bits + kept * timesteps, written_bits + kept
    # A bias, and a normalisation that all timesteps share, are one addition; one of each timestep multiplies.
    every = outputs * timesteps
    added = layer.bias and not has_bias_row(layer, chip)
    constants: Scalar = float(layer.out_channels) * int(added or layer.norm == "shared")
    energy["normalisation"] = every * int(added or layer.norm != "none") * parts.adder_16_bit_j
    if layer.norm == "timestep":
        energy["normalisation"] = energy["normalisation"] + every * parts.multiplier_8_bit_j
        constants = constants + 2.0 * layer.out_channels * timesteps
    read_bits = read_bits + constants * chip.membrane_bits
    energy["global_buffer"] = (read_bits + written_bits) * parts.global_buffer_bit_j
    energy["noc"] = travelling * chip.mesh.hop_bit_j
    if layer.pool > 1:
        energy["pooling"] = outputs * timesteps * _pooling_j(layer, chip)
    if last and chip.entropy_module:
        energy["entropy"] = layer.out_channels * timesteps * entropy_class_j(parts)


def _pooling_j(layer: Layer, chip: Chip) -> Scalar:
    """One value into a pooled one. The OR of spikes takes one bit of an adder, and the largest current, of 16
    bits, two comparisons of 8."""
    parts = chip.components
    if layer.pooling == "average":
        return parts.adder_16_bit_j if layer.pool_first else parts.adder_4_bit_j
    if layer.pool_first:
        return 2 * parts.comparator_8_bit_j
    return parts.comparator_8_bit_j if chip.neuron == "relu" else parts.adder_4_bit_j / 4


def pooled_bits(pool: int, chip: Chip) -> float:
    """What an average of spikes has beyond a spike; activations are rounded to their bits again."""
    return 0.0 if chip.neuron == "relu" else average_bits(pool)


def entropy_class_j(parts: Components) -> Scalar:
    """The exit decision of DT-SNN for one class: an exponential and a logarithm by table, two products, one
    sum; the two table look-ups are charged as one product each."""
    return 4 * parts.multiplier_8_bit_j + parts.adder_16_bit_j


def _activity(
    layer: Layer, chip: Chip, placed: LayerPlacement, conventions: Conventions
) -> tuple[Scalar, Scalar]:
    """Fraction of input rows that are driven, and fraction of PE cycles in which a converter is needed."""
    if _charges_all_rows(chip, conventions):
        return 1.0, 1.0
    rate = layer.input_rate
    inputs = layer.kernel[0] * layer.kernel[1] * float(layer.in_channels) / placed.pes_per_block
    converting = 1.0 - clipped(1.0 - as_scalar(rate), 0.0, 1.0) ** inputs
    if has_bias_row(layer, chip):  # The PE that has it converts in every cycle.
        converting = converting + (1.0 - converting) / placed.pes_per_block
    return rate, converting


def _charges_all_rows(chip: Chip, conventions: Conventions) -> bool:
    return (chip.activity or ("spikes" if conventions.measured_rates else "dense")) == "dense"
