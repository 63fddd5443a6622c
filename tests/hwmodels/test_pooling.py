"""What pooling costs on both chips, counted by hand: averages have bits, the largest of spikes is a spike."""

import dataclasses

import pytest

from hwmodels import sata, spikeflow
from hwmodels.sata.activity import layer_activity
from hwmodels.sata.conventions import CORRECTIONS
from hwmodels.workload import Layer, Workload

TIMESTEPS = 3
OUTPUTS, POOLED = 8 * 8 * 6, 4 * 4 * 6


def workload(**pooling):
    first = Layer.conv("a", height=8, width=8, in_channels=2, out_channels=6, padding=1, pool=2, **pooling)
    second = Layer.conv("b", height=4, width=4, in_channels=6, out_channels=4, padding=1)
    return Workload(
        (first, second, Layer.linear("c", in_features=64, out_features=3, spiking=False)), TIMESTEPS
    )


AVERAGE, LARGEST, CURRENTS = workload(), workload(pooling="max"), workload(pooling="max", pool_first=True)


def test_an_or_of_spikes_keeps_one_bit_on_spikeflow():
    chip = spikeflow.Chip()
    parts = chip.components
    average, largest = (spikeflow.evaluate(w, chip).energy_by_component_j for w in (AVERAGE, LARGEST))
    # The mean of four spikes has two more bits: written by the one layer, read by the other.
    bits = TIMESTEPS * 2 * (POOLED + POOLED)
    assert average["global_buffer"] - largest["global_buffer"] == pytest.approx(
        bits * parts.global_buffer_bit_j
    )
    assert average["noc"] >= largest["noc"]  # All on one tile, or travelling.
    assert average["pooling"] == pytest.approx(OUTPUTS * TIMESTEPS * parts.adder_4_bit_j)
    assert largest["pooling"] == pytest.approx(average["pooling"] / 4)
    same = set(average) - {"global_buffer", "noc", "pooling"}
    assert {k: average[k] for k in same} == {k: largest[k] for k in same}


def test_pooled_currents_have_neurons_for_the_pooled_map_alone_on_spikeflow():
    chip = spikeflow.Chip()
    parts = chip.components
    largest, currents = (spikeflow.evaluate(w, chip) for w in (LARGEST, CURRENTS))
    before, after = largest.energy_by_component_j, currents.energy_by_component_j
    per_neuron = 2 * TIMESTEPS * chip.membrane_bits * parts.global_buffer_bit_j
    assert before["membrane"] - after["membrane"] == pytest.approx((OUTPUTS - POOLED) * per_neuron)
    assert after["pooling"] == pytest.approx(OUTPUTS * TIMESTEPS * 2 * parts.comparator_8_bit_j)
    assert after["global_buffer"] == before["global_buffer"]
    assert currents.area_mm2 != largest.area_mm2


@pytest.mark.parametrize("neuron", ["lif", "relu"])
def test_poolings_of_one_chip_stand_side_by_side(neuron):
    """An adder and a comparator where a network averages and takes the largest."""
    chip = dataclasses.replace(spikeflow.Chip(), neuron=neuron)
    steps = 1 if neuron == "relu" else TIMESTEPS
    area = {
        name: spikeflow.evaluate(Workload(w.layers, steps), chip).area_by_component_mm2.get("pooling", 0.0)
        for name, w in (("average", AVERAGE), ("max", LARGEST))
    }
    largest = dataclasses.replace(AVERAGE.layers[1], pool=2, pooling="max")
    last = Layer.linear("c", in_features=16, out_features=3, spiking=False)
    both = Workload((AVERAGE.layers[0], largest, last), steps)
    found = spikeflow.evaluate(both, chip).area_by_component_mm2["pooling"]
    assert found == pytest.approx(area["average"] + area["max"])
    assert area["max"] > 0


@pytest.mark.parametrize("dataflow", ["sata", "os", "spinalflow", "ptb"])
def test_poolings_on_sata(dataflow):
    chip = sata.Accelerator(dataflow=dataflow)
    counted = [
        layer_activity(w.layers[0], TIMESTEPS, chip, frozenset(CORRECTIONS))
        for w in (AVERAGE, LARGEST, CURRENTS)
    ]
    average, largest, currents = counted
    bit = 1 / chip.precision.accumulator
    assert average["additions"] == currents["additions"] == OUTPUTS * TIMESTEPS
    assert largest["additions"] == pytest.approx(OUTPUTS * TIMESTEPS * bit)
    assert average["neuron_updates"] == largest["neuron_updates"] == OUTPUTS * TIMESTEPS
    assert currents["neuron_updates"] == POOLED * TIMESTEPS
    assert largest["dram_ofmap_writes"] == currents["dram_ofmap_writes"]
    if dataflow != "spinalflow":  # Its lists hold addresses.
        wide = (chip.precision.output + 2) / chip.precision.output
        assert average["dram_ofmap_writes"] == pytest.approx(largest["dram_ofmap_writes"] * wide)


def test_a_map_that_was_averaged_and_then_read_has_its_bits_and_an_or_has_not():
    chip, corrections = sata.Accelerator(), frozenset(CORRECTIONS)
    reads = {}
    for name, w in (("average", AVERAGE), ("max", LARGEST)):
        pool = w.layers[0].averaged
        second = dataclasses.replace(w.layers[1], input_pool=pool)
        reads[name] = layer_activity(second, TIMESTEPS, chip, corrections)["dram_ifmap_reads"]
    assert reads["average"] == pytest.approx(3 * reads["max"])
    energies = [sata.inference_energy(w, chip).total_j for w in (AVERAGE, LARGEST)]
    assert energies[0] > energies[1]


def test_other_poolings_are_refused(as_users_run):
    with pytest.raises(ValueError, match="layer 'a': pooling must be 'average' or 'max', got 'min'"):
        workload(pooling="min")


def dropping(side):
    """Pooled by 4, whatever the side: 4, or 7, whose last three rows and columns no window reaches."""
    first = Layer.conv("a", height=side, width=side, in_channels=2, out_channels=6, padding=1, pool=4)
    last = Layer.linear("b", in_features=6, out_features=3, spiking=False)
    return Workload((first, last), TIMESTEPS)


@pytest.mark.parametrize("dataflow", ["sata", "os", "spinalflow", "ptb"])
def test_values_that_a_pooling_drops_are_not_written_by_sata(dataflow):
    chip = sata.Accelerator(dataflow=dataflow)
    dropped, kept = (
        chip.cost(dropping(side)).energy_by_layer_and_component_j["a"]["dram_ofmap"] for side in (7, 4)
    )
    assert dropped == pytest.approx(kept)


def test_values_that_a_pooling_drops_are_not_written_by_spikeflow():
    chip = spikeflow.Chip()
    found = spikeflow.evaluate(dropping(7), chip).energy_by_layer_and_component_j["a"]["global_buffer"]
    # The input is loaded once and read at each timestep; six means of 16 spikes have five bits each.
    bits = (TIMESTEPS + 1) * 7 * 7 * 2 + TIMESTEPS * 6 * 5
    assert found == pytest.approx(bits * chip.components.global_buffer_bit_j)


def block(**stem):
    """A stem, a branch of one layer, and the stem's map added to it."""
    sizes = {"in_channels": 6, "out_channels": 6, "padding": 1}
    first = Layer.conv("a", height=8, width=8, **sizes, source="", pool=2, **stem)
    second = Layer.conv("b", height=4, width=4, **sizes, source="a", residual_add=True, shortcut="a")
    last = Layer.linear("c", in_features=96, out_features=3, spiking=False, source="b")
    return Workload((first, second, last), TIMESTEPS)


@pytest.mark.parametrize("dataflow", ["sata", "os", "ptb"])
def test_an_average_has_its_bits_wherever_it_is_read_on_sata(dataflow):
    """By the branch's kernel, and by the addition: two bits more than a spike."""
    chip = sata.Accelerator(dataflow=dataflow)
    layers = [chip.cost(w).energy_by_layer_and_component_j["b"] for w in (block(), block(pooling="max"))]
    assert layers[0]["dram_ifmap"] == pytest.approx(3 * layers[1]["dram_ifmap"])
    read_j = sata.sram(chip.buffers.ofmap).read_j
    assert layers[0]["glb_ofmap"] - layers[1]["glb_ofmap"] == pytest.approx(
        POOLED * TIMESTEPS * 2 / 8 * read_j
    )


@pytest.mark.parametrize("neuron", ["lif", "relu"])
def test_an_average_has_its_bits_in_a_shortcut_on_spikeflow(neuron):
    """In the buffer's reads and in its area; activations are rounded to their bits again."""
    chip = spikeflow.Chip(neuron=neuron)
    steps = 1 if neuron == "relu" else TIMESTEPS
    bits, further = (chip.activation_bits, 0) if neuron == "relu" else (3, 2)

    def row(w):
        cost = chip.cost(Workload(w.layers, steps))
        return (
            cost.energy_by_layer_and_component_j["b"]["global_buffer"] / chip.components.global_buffer_bit_j,
            cost.area_by_layer_and_component_mm2["b"]["global_buffer"] / chip.components.sram_bit_um2 * 1e6,
        )

    plain = block()
    branch = dataclasses.replace(plain.layers[1], residual_add=False, shortcut=None)
    alone = Workload((plain.layers[0], branch, plain.layers[2]), TIMESTEPS)
    for average, largest, without, times in zip(
        row(plain), row(block(pooling="max")), row(alone), (steps, 1), strict=True
    ):
        assert average - without == pytest.approx(POOLED * bits * times)
        assert average - largest == pytest.approx(2 * POOLED * further * times)


def test_the_sums_of_a_projection_are_read_with_their_bits_by_sata():
    chip = sata.Accelerator()
    plain = block(pooling="max")
    branch = dataclasses.replace(plain.layers[1], shortcut="p")
    projection = Layer.conv(
        "p", height=4, width=4, in_channels=6, out_channels=6, kernel=1, spiking=False, source="a"
    )
    projected = Workload((plain.layers[0], branch, projection, plain.layers[2]), TIMESTEPS)
    read = [chip.cost(w).energy_by_layer_and_component_j["b"]["glb_ofmap"] for w in (projected, plain)]
    bits = chip.precision.accumulator - chip.precision.output
    assert read[0] - read[1] == pytest.approx(POOLED * TIMESTEPS * bits / 8 * sata.sram(32768).read_j)


def test_words_of_any_width_are_words():
    """Without "precision" a constant and an operand of a shortcut are a word each, whatever their bits."""
    layer = Layer.conv("a", height=4, width=4, in_channels=2, out_channels=6, kernel=1, bias=True)
    counts = [
        layer_activity(one, TIMESTEPS, sata.Accelerator(), frozenset(CORRECTIONS) - {"precision"})
        for one in (layer, dataclasses.replace(layer, bias=False))
    ]
    assert counts[0]["dram_filter_reads"] - counts[1]["dram_filter_reads"] == 6
