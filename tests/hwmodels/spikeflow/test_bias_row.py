"""A bias in a row of a layer's crossbars: crossbars, reads and conversions, counted by hand."""

import dataclasses

import pytest

from hwmodels import spikeflow
from hwmodels.spikeflow.placement import place
from hwmodels.workload import Layer, Workload

DIGITAL, ROW = spikeflow.Chip(), spikeflow.Chip(bias="row")
T, RATE = 4, 0.1


def workload(channels, bias=True):
    conv = Layer.conv(
        "a", height=6, width=6, in_channels=channels, out_channels=8, padding=1, bias=bias, input_rate=RATE
    )
    last = Layer.linear("b", in_features=288, out_features=3, spiking=False, bias=bias, input_rate=RATE)
    return Workload((conv, last), T)


@pytest.mark.parametrize(
    ("partition", "channels", "blocks"),
    [
        ("kernel-split", 60, (9, 5)),  # A free row of the last position's crossbar.
        ("kernel-split", 64, (10, 5)),  # No free row.
        ("flatten", 64, (10, 5)),
        ("flatten", 63, (9, 5)),  # 567 rows and one.
    ],
)
def test_crossbars_that_rows_take(partition, channels, blocks):
    chip = dataclasses.replace(ROW, partition=partition)
    placed = place(workload(channels), chip).layers
    assert tuple(layer.row_blocks for layer in placed) == blocks
    without = place(workload(channels, bias=False), chip).layers
    assert without[0].row_blocks == 9
    with_adders = place(workload(channels), dataclasses.replace(chip, bias="digital")).layers
    assert [layer.row_blocks for layer in with_adders] == [layer.row_blocks for layer in without]
    cells = placed[0].column_blocks * placed[0].pes_per_block * 9 * 64 * 64
    assert placed[0].utilisation == pytest.approx((9 * channels + 1) * 8 / cells)


def test_it_is_read_and_converted_at_every_evaluation_and_added_by_no_adder():
    work = workload(60)
    before, after = (spikeflow.evaluate(work, chip).energy_by_component_j for chip in (DIGITAL, ROW))
    free = spikeflow.evaluate(workload(60, bias=False), DIGITAL).energy_by_component_j
    reads = T * (36 + 1)  # Positions of both layers; one column block each.
    row_j = ROW.cell.read_j / 64
    assert after["crossbar"] - before["crossbar"] == pytest.approx(reads * ROW.mux_ratio * row_j)
    assert before["normalisation"] > after["normalisation"] == free["normalisation"]
    assert after["global_buffer"] == free["global_buffer"]
    # One PE holds the convolution, and then converts in every cycle; one of five crossbars' single PE too.
    certain = (1 - RATE) ** (9 * 60), (1 - RATE) ** 288
    share = (36 * 1 + 1) / (36 * (1 - certain[0]) + (1 - certain[1]))
    assert after["adc"] / before["adc"] == pytest.approx(share)
    dense = dataclasses.replace(ROW, activity="dense"), dataclasses.replace(DIGITAL, activity="dense")
    energies = [spikeflow.evaluate(work, chip).energy_by_component_j["crossbar"] for chip in dense]
    assert energies[0] == energies[1]  # All rows are charged as it is.


def test_an_adder_that_nothing_needs_takes_no_area():
    areas = [
        spikeflow.evaluate(workload(60), chip).area_by_component_mm2.get("normalisation", 0.0)
        for chip in (DIGITAL, ROW)
    ]
    assert areas[0] > areas[1] == 0


def test_other_words_are_refused(as_users_run):
    with pytest.raises(ValueError, match="bias must be one of 'digital', 'row', got 'column'"):
        spikeflow.Chip(bias="column")
