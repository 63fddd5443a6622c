"""Layers on crossbars, PEs and tiles: counts by hand, and laws that hold for any network."""

import math

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import spikeflow
from hwmodels.crossbar.encoding import encode
from hwmodels.workload import Layer, Workload


def _conv(name="conv", **changes):
    sizes = {"height": 8, "width": 8, "in_channels": 128, "out_channels": 200, "padding": 1}
    return Layer.conv(name, **(sizes | changes))


def _placed(layer, chip=None, **options):
    (placed,) = spikeflow.place(Workload([layer], 1), chip or spikeflow.Chip(), **options).layers
    return placed


@pytest.mark.parametrize(
    ("layer", "partition", "column_blocks", "row_blocks", "pes"),
    [
        # ceil(200/64) = 4 column blocks; 9 positions of ceil(128/64) = 2 row blocks; PEs hold 9 crossbars.
        (_conv(), "kernel-split", 4, 18, 8),
        # ceil(9·128/64) = 18 rows of crossbars as well, because 128 is a multiple of 64.
        (_conv(), "flatten", 4, 18, 8),
        # The image: nine crossbars of three rows each, or one of 27.
        (_conv(in_channels=3), "kernel-split", 4, 9, 4),
        (_conv(in_channels=3), "flatten", 4, 1, 4),
        # 1×1: two crossbars per column block, in one PE.
        (_conv(kernel=1, padding=0), "kernel-split", 4, 2, 4),
        # 5×5 takes ceil(25·2/9) = 6 PEs per column block.
        (_conv(kernel=5), "kernel-split", 4, 50, 24),
        # ceil(1000/64) = 16 crossbars fill two PEs.
        (Layer.linear("fc", in_features=1000, out_features=10), "kernel-split", 1, 16, 2),
        (_conv(kernel=(3, 1), padding=0), "flatten", 4, 6, 4),
    ],
)
def test_counts_by_hand(layer, partition, column_blocks, row_blocks, pes):
    placed = _placed(layer, spikeflow.Chip(partition=partition))
    assert placed.column_blocks == column_blocks
    assert placed.row_blocks == row_blocks
    assert placed.pes == placed.working_pes == pes


def test_the_script_gives_every_64_channels_a_pe():
    linear = Layer.linear("fc", in_features=1000, out_features=10)
    assert _placed(linear, conventions=spikeflow.PUBLISHED).pes == 16


def test_stride_changes_the_work_and_not_the_place():
    strided, plain = _conv(stride=2), _conv()
    assert _placed(strided).pes == _placed(plain).pes
    costs = [spikeflow.evaluate(Workload([layer], 1)).energy_by_component_j for layer in (strided, plain)]
    assert math.isclose(costs[1]["crossbar"], 4 * costs[0]["crossbar"])


def test_wide_weights_take_more_columns():
    chip = spikeflow.Chip(weight_bits=8)
    assert _placed(_conv(), chip).column_blocks == 2 * math.ceil(200 / 64)
    assert _placed(_conv(), spikeflow.with_sram(spikeflow.Chip())).column_blocks == 4 * math.ceil(200 / 64)


@pytest.mark.parametrize("outputs", [16, 63, 64, 96])
@pytest.mark.parametrize("partition", ["flatten", "kernel-split"])
@pytest.mark.parametrize("bias", ["digital", "row"])
@pytest.mark.parametrize(
    "weights", [("nice", 4), ("nice", 8), ("differential", 4), ("differential", 8), ("offset", 4)]
)
def test_priced_are_the_crossbars_that_are_programmed(outputs, partition, bias, weights):
    signs, bits = weights
    chip = spikeflow.Chip(signs=signs, weight_bits=bits, partition=partition, bias=bias)
    layer = Layer.conv(
        "conv", height=4, width=4, in_channels=70, out_channels=outputs, kernel=3, padding=1, bias=True
    )
    kernel, constants = jnp.ones((3, 3, 70, outputs)), jnp.ones(outputs) if bias == "row" else None
    held = jax.eval_shape(lambda *given: encode(given[0], chip.crossbar(), bias=given[1]), kernel, constants)
    placed = _placed(layer, chip)
    assert placed.crossbars == math.prod(held.targets.shape[:4])
    cells = placed.working_pes * 9 * 64 * 64
    assert math.isclose(
        placed.utilisation, len(held.coefficients) * (9 * 70 + (bias == "row")) * outputs / cells
    )


# Side of the map, input channels, output channels, kernel.
shapes = st.tuples(st.integers(1, 9), st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 3, 5]))


def _layer(shape, name="conv"):
    side, inputs, outputs, kernel = shape
    sizes = {"height": side, "width": side, "in_channels": inputs, "out_channels": outputs}
    return Layer.conv(name, **sizes, kernel=kernel, padding=kernel // 2)


@given(
    st.lists(shapes, min_size=1, max_size=6),
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(1, 20),
    st.sampled_from(["kernel-split", "flatten"]),
)
def test_everything_fits_and_nothing_overlaps(network, rows, columns, pes_per_tile, partition):
    """In any order of sizes, which the script refuses unless they grow."""
    chip = spikeflow.Chip(
        crossbar_rows=rows,
        crossbar_columns=columns,
        pes_per_tile=pes_per_tile,
        mux_ratio=1,
        partition=partition,
    )
    named = [_layer(shape, f"layer{i}") for i, shape in enumerate(network)]
    placement = spikeflow.place(Workload(named, 1), chip)
    next_pe = 0
    for index, (layer, placed) in enumerate(zip(named, placement.layers, strict=True)):
        assert layer.weights <= placed.crossbars * rows * columns
        assert placed.row_blocks <= placed.pes_per_block * 9 < placed.row_blocks + 9
        assert 0 < placed.utilisation <= 1
        assert placed.first_pe == next_pe
        next_pe += placed.pes
        first, behind = spikeflow.tile_range(placement, index)
        assert first == placed.first_pe // pes_per_tile
        assert behind == -(-next_pe // pes_per_tile)
    assert placement.pes == next_pe
    assert placement.tiles == -(-next_pe // pes_per_tile)


@given(shapes)
def test_flatten_never_needs_more_crossbars(shape):
    split = _placed(_layer(shape), spikeflow.Chip(partition="kernel-split"))
    flat = _placed(_layer(shape), spikeflow.Chip(partition="flatten"))
    assert flat.crossbars <= split.crossbars


def test_residual_blocks_and_their_projections_have_a_place():
    workload = spikeflow.resnet18()
    placement = spikeflow.place(workload, spikeflow.Chip())
    by_name = {layer.name: layer for layer in placement.layers}
    # 1×1, 64 to 128: one crossbar per column block, in a PE each.
    assert by_name["stage2.block1.projection"].pes == 2
    assert by_name["stage2.block1.conv1"].pes == 2
    # 3×3, 512 to 512: eight by eight PEs.
    assert by_name["stage4.block2.conv2"].pes == 64
    assert sum("projection" in name for name in by_name) == 3


def test_duplicates_share_the_work():
    workload = spikeflow.vgg(spikeflow.VGG9)
    plain = spikeflow.evaluate(workload, spikeflow.Chip(schedule="sequential"))
    copies = [4] + [1] * 7
    double = spikeflow.evaluate(workload, spikeflow.Chip(schedule="sequential"), duplicates=copies)
    assert double.placement.pes == plain.placement.pes + 3
    assert math.isclose(double.latency_by_layer_s["conv1"], plain.latency_by_layer_s["conv1"] / 4)
    without_noc = [c.energy_j - c.energy_by_component_j["noc"] for c in (plain, double)]
    assert math.isclose(*without_noc)


def test_balance_finds_the_shortest_period():
    """Against every way of copying three layers within the budget."""
    workload = Workload(
        [
            _conv("a", in_channels=64, out_channels=64, height=12, width=12),
            _conv("b", in_channels=64, out_channels=128),
            _conv("c", in_channels=128, out_channels=128, height=4, width=4),
        ],
        3,
    )
    chip, budget = spikeflow.Chip(), 16
    best = min(
        spikeflow.evaluate(workload, chip, duplicates=(a, b, c)).period_s
        for a in range(1, 10)
        for b in range(1, 10)
        for c in range(1, 10)
        if a + 2 * b + 4 * c <= budget
    )
    copies = spikeflow.balance(workload, chip, budget)
    found = spikeflow.evaluate(workload, chip, duplicates=copies)
    assert found.placement.pes <= budget
    assert math.isclose(found.period_s, best)


def test_balance_and_duplicates_say_what_is_wrong():
    workload = Workload([_conv()], 1)
    with pytest.raises(ValueError, match=r"pes must be at least 8.* got 7"):
        spikeflow.balance(workload, spikeflow.Chip(), 7)
    with pytest.raises(ValueError, match="one entry per layer, 1, got 2"):
        spikeflow.evaluate(workload, duplicates=(1, 1))
    with pytest.raises(ValueError, match="'conv': duplicates must be at least 1, got 0"):
        spikeflow.evaluate(workload, duplicates=(0,))
