"""The mesh: hops against counting every pair of tiles."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels import sata, spikeflow
from hwmodels.routes import is_projection, routes
from hwmodels.spikeflow.noc import mean_hops, mesh_width
from hwmodels.workload import Layer, Workload


def _placement(sizes, pes_per_tile):
    layers, first = [], 0
    for index, size in enumerate(sizes):
        layers.append(
            spikeflow.LayerPlacement(
                name=str(index),
                column_blocks=size,
                row_blocks=9,
                pes_per_block=1,
                duplicates=1,
                first_pe=first,
                utilisation=1.0,
            )
        )
        first += size
    return spikeflow.Placement(layers=tuple(layers), pes_per_tile=pes_per_tile)


def _counted(placement):
    width = int(np.ceil(np.sqrt(placement.tiles)))
    sources = [(0, 1)]
    hops = []
    for index in range(len(placement.layers)):
        tiles = [
            spikeflow.tile_position(tile, width) for tile in range(*spikeflow.tile_range(placement, index))
        ]
        before = [spikeflow.tile_position(tile, width) for tile in range(*sources[-1])]
        pairs = itertools.product(before, tiles)
        hops.append(np.mean([abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in pairs]))
        sources.append(spikeflow.tile_range(placement, index))
    return hops


def _chain(placement):
    return [mean_hops(placement, index - 1, index) for index in range(len(placement.layers))]


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(1, 9))
def test_hops_equal_a_count_of_all_pairs(sizes, pes_per_tile):
    placement = _placement(sizes, pes_per_tile)
    np.testing.assert_allclose(_chain(placement), _counted(placement), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_traced_hops_equal_the_host(dtype):
    for sizes, pes_per_tile in [((1, 2, 4, 8, 16, 30), 4), ((90, 3, 70), 1), ((5,), 8), ((16, 16), 4)]:
        placement = _placement(sizes, pes_per_tile)
        traced = jax.jit(lambda p, s=sizes: _chain(_placement(s, p)))(jnp.asarray(pes_per_tile, dtype))
        np.testing.assert_allclose(traced, _chain(placement), rtol=1e-5)


def _route_names(workload):
    names = ["input", *(layer.name for layer in workload.layers)]
    return {
        layer.name: (names[route.source + 1], None if route.shortcut is None else names[route.shortcut + 1])
        for layer, route in zip(workload.layers, routes(workload), strict=True)
    }


def test_routes_of_residual_blocks():
    found = _route_names(spikeflow.resnet18())
    assert found["stem"] == ("input", None)
    assert found["stage1.block1.conv2"] == ("stage1.block1.conv1", "stem")
    assert found["stage1.block2.conv2"] == ("stage1.block2.conv1", "stage1.block1.conv2")
    # The projection reads where its block begins, and conv2 reads conv1 and not the projection before it.
    assert found["stage2.block1.projection"] == ("stage1.block2.conv2", None)
    assert found["stage2.block1.conv2"] == ("stage2.block1.conv1", "stage2.block1.projection")
    assert found["fc"] == ("stage4.block2.conv2", None)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_routes_of_a_bottleneck(place):
    """A projection that keeps the size finds its block's beginning, wherever the list puts it."""

    def conv(name, inputs, outputs, **options):
        return Layer.conv(
            name, height=8, width=8, in_channels=inputs, out_channels=outputs, kernel=1, **options
        )

    stem, head = conv("stem", 3, 64), conv("head", 256, 10)
    branch = [conv("a", 64, 64), conv("b", 64, 64)]
    projection = [conv("projection", 64, 256, spiking=False)]
    end = [conv("c", 64, 256, residual_add=True)]
    block = {
        "first": [*projection, *branch, *end],
        "middle": [*branch, *projection, *end],
        "last": [*branch, *end, *projection],
    }[place]
    found = _route_names(Workload([stem, *block, head], 1))
    assert found["projection"] == ("stem", None)
    assert found["a"] == ("stem", None)
    assert found["c"] == ("b", "projection")
    assert found["head"] == ("c", None)


def _listed_last(workload):
    """The same network with every projection behind the addition that it serves, as a run may record it."""
    layers = list(workload.layers)
    for index, layer in enumerate(workload.layers):
        if "projection" in layer.name:
            layers[index], layers[index + 1] = layers[index + 1], layer
    return layers


def test_order_of_a_block_does_not_matter():
    workload = spikeflow.resnet18()
    moved = Workload(_listed_last(workload), workload.timesteps)
    assert [layer.name for layer in moved.layers] != [layer.name for layer in workload.layers]
    assert _route_names(moved) == _route_names(workload)
    costs = [spikeflow.evaluate(w).energy_by_layer_and_component_j for w in (workload, moved)]
    for name, row in costs[0].items():
        for component in set(row) - {"noc"}:
            assert row[component] == costs[1][name][component]


@pytest.mark.parametrize("reorder", [False, True])
def test_an_ann_keeps_its_layers_and_projections(reorder):
    """Nothing spikes in it, and yet its layers are no projections."""
    workload = spikeflow.resnet18(timesteps=1)
    layers = _listed_last(workload) if reorder else workload.layers
    ann = Workload([dataclasses.replace(layer, spiking=False) for layer in layers], 1)
    found = {layer.name for layer in ann.layers if is_projection(layer, ann)}
    assert found == {layer.name for layer in layers if "projection" in layer.name}
    chip = spikeflow.Chip(neuron="relu")
    twin = spikeflow.evaluate(Workload(layers, 1), chip)
    assert spikeflow.evaluate(ann, chip).energy_by_component_j == twin.energy_by_component_j
    plain = spikeflow.vgg(spikeflow.VGG9, timesteps=1)
    ann = Workload([dataclasses.replace(layer, spiking=False) for layer in plain.layers], 1)
    assert spikeflow.evaluate(ann, chip).energy_j == spikeflow.evaluate(plain, chip).energy_j


def test_identity_shortcuts_of_an_ann_are_told_and_no_projections():
    """As records tell: the source of every layer and the origin of every shortcut, and nothing spikes."""

    def conv(name, source, outputs=64, **options):
        sizes = {"height": 4, "width": 4, "in_channels": 64, "out_channels": outputs}
        return Layer.conv(name, source=source, **sizes, **options)

    def kernel(size):
        return {"kernel": size, "padding": size // 2}

    snn = [
        conv("stem", "", **kernel(3)),
        conv("a", "stem", **kernel(3)),
        conv("b", "a", residual_add=True, shortcut="stem", **kernel(3)),
        conv("c", "b", 128, residual_add=True, shortcut="projection", **kernel(3)),
        conv("projection", "b", 128, spiking=False, **kernel(1)),
        Layer.linear("head", in_features=2048, out_features=10, spiking=False, source="c"),
    ]
    ann = Workload([dataclasses.replace(layer, spiking=False) for layer in snn], 1)
    assert [layer.name for layer in ann.layers if is_projection(layer, ann)] == ["projection"]
    twin = Workload(snn, 1)
    chips = (
        spikeflow.Chip(neuron="relu"),
        sata.Accelerator(element="dense", precision=sata.Precision(activation=8, output=8)),
    )
    for chip in chips:
        costs = [chip.cost(workload) for workload in (ann, twin)]
        assert costs[0].energy_by_component_j == costs[1].energy_by_component_j
        assert costs[0].area_by_component_mm2 == costs[1].area_by_component_mm2
    assert costs[0].neuron_updates == 16 * (3 * 64 + 128)  # rectifiers of all but projection and head


def test_shortcuts_travel():
    """One PE a tile: the stem's two tiles send their spikes past the branch, counted by hand."""

    def conv(name, inputs, **options):
        return Layer.conv(name, height=4, width=4, in_channels=inputs, out_channels=64, padding=1, **options)

    def noc_j(residual):
        layers = [conv("stem", 64), conv("a", 64), conv("b", 64, residual_add=residual), conv("c", 64)]
        chip = spikeflow.Chip(pes_per_tile=1)
        return spikeflow.evaluate(Workload(layers, 3), chip).energy_by_layer_and_component_j["b"]["noc"]

    # Tiles 0, 1, 3, 2 of a 2×2 mesh hold stem, a, b, c: a lies one hop from b, the stem two.
    per_hop = 4 * 4 * 64 * 3 * spikeflow.Mesh().hop_bit_j
    assert math.isclose(noc_j(False), per_hop)
    assert math.isclose(noc_j(True), 3 * per_hop)


def test_neighbours_are_one_hop_apart():
    positions = [spikeflow.tile_position(tile, 5) for tile in range(25)]
    assert sorted(positions) == sorted(itertools.product(range(5), repeat=2))
    for (row, column), (next_row, next_column) in itertools.pairwise(positions):
        assert abs(row - next_row) + abs(column - next_column) == 1


@pytest.mark.parametrize(("tiles", "width"), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4), (4096, 64)])
def test_the_mesh_is_the_smallest_square(tiles, width):
    assert mesh_width(tiles) == width
    assert mesh_width(jnp.asarray(tiles, float)) == width


def test_a_chip_of_one_tile_has_no_traffic():
    workload = Workload(spikeflow.vgg(spikeflow.VGG9).layers[:2], 3)
    assert spikeflow.evaluate(workload).energy_by_component_j["noc"] == 0
    spread = spikeflow.evaluate(workload, spikeflow.Chip(pes_per_tile=1))
    # conv2 alone lies one tile further; its 32 · 32 · 64 spikes cross one hop at each of three timesteps.
    bits = 32 * 32 * 64 * 3
    expected = bits * spikeflow.Mesh().hop_bit_j
    assert math.isclose(spread.energy_by_component_j["noc"], expected)
