"""The papers' figures: how near, and what the model says where it cannot be near."""

import math

import pytest

from hwmodels import spikeflow
from tests.helpers import reference_json


def _row(rows, key, value):
    return next(row for row in rows if row[key] == value)


def test_figure_4a():
    rows = spikeflow.figure_4a()
    script = _row(rows, "counting", "published script")
    assert math.isclose(script["edp"], 16)
    ours, paper = _row(rows, "counting", "corrected"), _row(rows, "counting", "paper")
    assert ours["edp"] == pytest.approx(paper["edp"], rel=0.05)
    assert ours["dt_snn"] == pytest.approx(paper["dt_snn"], rel=0.05)
    # At the mean exit the saving would be overstated.
    assert ours["dt_snn_at_mean"] > ours["dt_snn"]


def test_figure_6a_stays_below_n():
    """And the printed pair cannot come from one fixed part and one that shrinks with n."""
    c1, c2, c4 = spikeflow.figure_6a()
    assert 1 < c2["reduction"] < 2 < c4["reduction"] < 4
    fixed = c1["encoder_memory"]
    assert fixed == c2["encoder_memory"] == c4["encoder_memory"]
    for row, count in ((c2, 2), (c4, 4)):
        share = fixed / c1["module_mm2"]
        assert math.isclose(row["reduction"], 1 / (share + (1 - share) / count))
    assert 1 / c2["paper"] - 1 / c4["paper"] > 1 / 2 - 1 / 4


def test_neuron_area_share_is_above_the_spikesim_papers_floor():
    for row in spikeflow.neuron_area_share():
        assert row["published"] > 0.11
        assert row["corrected"] > row["published"]


def test_correction_sizes_name_every_switch_and_its_size():
    size = spikeflow.correction_sizes(spikeflow.vgg(spikeflow.VGG9, hidden=(1024,)))
    assert list(size) == [*spikeflow.Conventions.names(), "all"]
    assert size["encode_once"]["energy_alone"] < 0
    assert size["packed_pes"]["area_alone"] < 0
    assert size["membrane_everywhere"]["area_alone"] > 0
    assert size["column_parallel"]["latency_alone"] < -0.9
    # These differ from the script only on another chip than its own.
    for name in ("weight_slices", "mux_rounds", "scaled_parts"):
        assert all(value == 0 for value in size[name].values())
    other = spikeflow.Chip(crossbar_rows=32, crossbar_columns=32, weight_bits=8)
    elsewhere = spikeflow.correction_sizes(spikeflow.vgg(spikeflow.VGG9), other)
    for name in ("weight_slices", "mux_rounds", "scaled_parts"):
        assert elsewhere[name]["energy_alone"] != 0


def test_snn_against_ann():
    """A bit-serial ANN of b bits drives the crossbars as an SNN at T = b; the potentials come on top."""
    workload = spikeflow.vgg(spikeflow.VGG9)
    snn, late, ann = spikeflow.snn_against_ann(workload, timesteps=(4, 16), bits=4)
    potentials = spikeflow.evaluate(workload).energy_by_component_j["membrane"] * 4 / 5
    assert snn["energy_j"] - potentials == pytest.approx(ann["energy_j"], rel=0.1)
    assert snn["energy_j"] > ann["energy_j"]
    assert 3.5 < late["energy_j"] / snn["energy_j"] < 4
    assert ann["area_mm2"] < snn["area_mm2"]


def test_cells_and_sizes():
    workload = spikeflow.vgg(spikeflow.VGG9)
    rram, sram = spikeflow.sram_against_rram(workload)
    assert sram["area_mm2"] > rram["area_mm2"]
    assert sram["energy_j"] > rram["energy_j"]
    # Four columns a weight: not even a free read would pay for four times the converters.
    assert sram["break_even_read_j"] < 0
    sizes = spikeflow.crossbar_sizes(workload)
    assert [row["crossbar"] for row in sizes] == [32, 64, 128]
    assert [row["tiles"] for row in sizes] == sorted((row["tiles"] for row in sizes), reverse=True)


def test_designer_table_covers_the_network():
    workload = spikeflow.resnet18()
    rows = spikeflow.designer_table(workload)
    assert [row["layer"] for row in rows] == [layer.name for layer in workload.layers]
    assert math.isclose(sum(row["energy_share"] for row in rows), 1)
    assert math.isclose(sum(row["energy_j"] for row in rows), spikeflow.evaluate(workload).energy_j)


def test_network_builders():
    golden = reference_json("spikeflow/ela.json")["golden_vgg9_cifar10_t5"]
    convolutions = [layer for layer in spikeflow.vgg(spikeflow.VGG9).layers if layer.kind == "conv"]
    assert [layer.in_channels for layer in convolutions] == golden["in_channels"]
    assert [layer.out_channels for layer in convolutions] == golden["out_channels"]
    assert [layer.height for layer in convolutions] == golden["in_dim"]
    assert [layer.out_height // layer.pool for layer in convolutions] == golden["out_dim"]
    # Torchvision's VGG16 and ResNet18 hold 14,710,464 convolution weights (biases aside), and 11,159,232 with
    # a 3×3 instead of a 7×7 stem.
    vgg16 = [layer for layer in spikeflow.vgg(spikeflow.VGG16).layers if layer.kind == "conv"]
    assert sum(layer.weights for layer in vgg16) == 14_710_464
    resnet = [layer for layer in spikeflow.resnet18().layers if layer.kind == "conv"]
    assert sum(layer.weights for layer in resnet) == 11_166_912 - 64 * 3 * (49 - 9)
