"""The projection: counts that are published, and limits that arithmetic gives."""

import dataclasses

import pytest

from experiments.scale import Cluster, Job, Measured, job, resnet50, step, vgg16
from hwmodels.crossbar import Crossbar

JOB = Job("net", weights=1000, macs=10**6, activations=500, tiles=64, cells=64)
MEASURED = Measured(tile_s=1e-3, product_flops_per_s=1e10)
USUAL = {"batch": 256, "timesteps": 5}


@pytest.mark.parametrize(
    ("layers", "weights", "macs"),
    # Torchvision's counts of parameters, less biases and normalisation, and of multiply-accumulates.
    [(vgg16(), 138_344_128, 15.47e9), (resnet50(), 25_502_912, 4.09e9)],
    ids=["vgg16", "resnet50"],
)
def test_the_networks_are_the_published_ones(layers, weights, macs):
    counted = job("net", layers, Crossbar())
    assert counted.weights == weights
    assert counted.macs == pytest.approx(macs, rel=0.01)
    # Two devices a weight fill at least this many tiles.
    assert counted.tiles >= 2 * weights / counted.cells


def test_one_device_exchanges_nothing_and_does_everything():
    row = step(JOB, Cluster(flops_per_s=1e9, utilisation=0.5), MEASURED, 1, **USUAL)
    assert row["exchange_s"] == 0
    assert row["network_s"] == pytest.approx(6 * 1e6 * 5 * 256 / 0.5e9)
    assert row["tiles_s"] == pytest.approx(64 * 1e-3 * 1e10 / 1e9)
    assert row["over_plain"] == pytest.approx(1 + row["tiles_s"] / row["network_s"])
    assert row["memory_bytes"] == 4 * (4 * 1000 + 2 * 500 * 5 * 256 + 2 * 64 * 64)


def test_with_free_links_time_falls_with_the_devices_and_with_slow_ones_it_does_not():
    fast, slow = Cluster(link_bytes_per_s=1e30), Cluster(link_bytes_per_s=1.0)
    one = step(JOB, fast, MEASURED, 1, **USUAL)["step_s"]
    assert step(JOB, fast, MEASURED, 64, **USUAL)["step_s"] == pytest.approx(one / 64)
    assert step(JOB, slow, MEASURED, 64, **USUAL)["step_s"] > 1000 * one


def test_more_devices_than_tiles_solve_one_each():
    few, many = (step(JOB, Cluster(), MEASURED, count, **USUAL)["tiles_s"] for count in (64, 640))
    assert few == many


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Cluster)])
def test_every_assumption_changes_the_projection_and_has_a_range(name):
    less = dataclasses.replace(Cluster(), **{name: getattr(Cluster(), name) * 1e-9})
    assert step(JOB, less, MEASURED, 8, **USUAL) != step(JOB, Cluster(), MEASURED, 8, **USUAL)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"Cluster\.{name} must be positive"):
            Cluster(**{name: wrong})


@pytest.mark.parametrize("name", ["devices", "batch", "timesteps"])
def test_nothing_to_do_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        step(JOB, Cluster(), MEASURED, **{"devices": 1} | USUAL | {name: 0})
