"""Readings of the method: those that the library has are the library's; all agree where nothing is lost."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.parity.readings import READINGS, Reading, as_read, on_tiles, read
from hwmodels.crossbar import Crossbar, Device, Drift, Variation, Wires, deploy
from hwmodels.crossbar.write_verify import WriteVerify
from jaxsnn.models.digits import digits_convnet

KEY = jax.random.key(3)
DESIGN = Crossbar(rows=8, columns=8)


@pytest.fixture(scope="module")
def network():
    return digits_convnet(width=2, rngs=nnx.Rngs(0))


def kernels(network):
    return jax.tree.leaves(nnx.state(network, nnx.PathContains("kernel")))


def deployed(network, design):
    _, state, _ = nnx.split(network, nnx.PathContains("kernel"), ...)
    return jax.tree.leaves(deploy(state, design, KEY))


@pytest.mark.parametrize(
    ("against", "calibration"),
    [("ideal", "none"), ("kernel mean", "kernel"), ("tile mean", "tile"), ("column mean", "column")],
)
def test_what_the_library_can_do_too_is_the_same(network, against, calibration):
    found = kernels(as_read(network, DESIGN, KEY, Reading(against)))
    wanted = deployed(network, dataclasses.replace(DESIGN, calibration=calibration))
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_every_reading_of_a_perfect_chip_is_the_network(network, reading):
    perfect = Crossbar(rows=8, columns=8, wires=Wires(0.0, 0.0, 0.0, 0.0), device=Device(variation=None))
    for own, seen in zip(kernels(network), kernels(as_read(network, perfect, KEY, reading)), strict=True):
        np.testing.assert_allclose(seen, own, atol=3e-6 * np.abs(own).max())


def test_each_maximum_is_the_one_that_was_meant(network):
    tiles = on_tiles(network, DESIGN, KEY)
    for axes, against in (((-2, -1), "tile max"), ((-2,), "column max")):
        wide = dataclasses.replace(DESIGN, device=Device(g_min_siemens=0.0))
        for one in on_tiles(network, wide, KEY):
            scaled = (
                one.seen * one.meant.max(axes, keepdims=True) / one.seen.max(axes, keepdims=True).clip(1e-30)
            )
            weights = one.plan.join((scaled[0] - scaled[1]) * 20e3) * one.largest
            found = kernels(read(network, [one] * len(tiles), wide, Reading(against)))[0]
            np.testing.assert_allclose(found, weights, rtol=1e-4, atol=1e-6)


def test_attenuation_stays_in_the_weights_or_goes(network):
    mean = [np.abs(kernel).mean() for kernel in kernels(network)]
    ideal = [np.abs(kernel).mean() for kernel in kernels(as_read(network, DESIGN, KEY, Reading()))]
    gained = [
        np.abs(kernel).mean() for kernel in kernels(as_read(network, DESIGN, KEY, Reading("column mean")))
    ]
    assert all(seen < 0.95 * own for own, seen in zip(mean, ideal, strict=True))
    assert all(abs(seen / own - 1) < 0.15 for own, seen in zip(mean, gained, strict=True))


def test_the_same_key_draws_the_same_devices_under_every_reading(network):
    wireless = dataclasses.replace(DESIGN, wires=Wires(0.0, 0.0, 0.0, 0.0))
    before = kernels(as_read(network, wireless, KEY, Reading()))
    after = kernels(as_read(network, wireless, KEY, Reading(variation="read")))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    exact = dataclasses.replace(DESIGN, device=Device(variation=Variation(0.0)))
    assert np.allclose(
        kernels(as_read(network, exact, KEY, Reading()))[0],
        kernels(as_read(network, exact, jax.random.key(4), Reading()))[0],
    )


def test_labels_tell_readings_apart():
    assert len(READINGS) == len(set(READINGS.values()))
    assert "kernel max, variation after the wires" in READINGS


def test_devices_that_a_reading_does_not_know_are_refused(network):
    by_pulses = dataclasses.replace(DESIGN, device=Device(variation=WriteVerify()))
    with pytest.raises(TypeError, match="WriteVerify"):
        on_tiles(network, by_pulses, KEY)
    drifting = dataclasses.replace(DESIGN, device=Device(drift=Drift()))
    with pytest.raises(ValueError, match="drift"):
        on_tiles(network, drifting, KEY)
