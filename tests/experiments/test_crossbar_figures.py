"""The crossbar's pictures show what its functions compute."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.figures import crossbar as figures
from experiments.figures.png import png
from hwmodels.crossbar import Crossbar, Device, Wires, program

KEY = jax.random.key(0)
IDEAL = Crossbar(8, 8, wires=Wires(0.0, 0.0, 0.0, 0.0), device=Device(variation=None))


@pytest.fixture(scope="module")
def kernel():
    return jax.random.normal(KEY, (8, 8), jnp.float64)


def test_without_parasitics_every_device_sees_the_whole_volt(kernel):
    figure = figures.ir_drop_figure(program(kernel, IDEAL, KEY))
    _, voltage, current = (np.asarray(axes.images[0].get_array()) for axes in figure.axes[:3])
    conductance = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(voltage, 1.0, rtol=1e-12)
    np.testing.assert_allclose(current, conductance, rtol=1e-12)
    assert png(figure).startswith(b"\x89PNG")


def test_wires_bend_the_cloud_of_weights(kernel):
    designs = {"ideal": IDEAL, "real": Crossbar(8, 8)}
    programmed = {name: program(kernel, design, KEY) for name, design in designs.items()}
    figure = figures.weights_figure(kernel, programmed)
    ideal, real = (axes.lines[1].get_xydata() for axes in figure.axes)
    np.testing.assert_allclose(ideal[:, 0], ideal[:, 1], atol=1e-12)
    assert np.abs(real[:, 1]).sum() < 0.9 * np.abs(real[:, 0]).sum()
    assert png(figure).startswith(b"\x89PNG")


def test_every_weight_lies_within_its_panel(kernel):
    programmed = {name: program(kernel, IDEAL, KEY) for name in ("as it is", "far off")}
    far = programmed["far off"]
    programmed["far off"] = dataclasses.replace(far, weights=3 * far.weights)
    for axes in figures.weights_figure(kernel, programmed).axes:
        dots = axes.lines[1].get_xydata()
        low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
        assert np.all((low < dots) & (dots < high))


def test_larger_tiles_lose_more(kernel):
    kernels = {"small": {"kernel": kernel[:4]}, "large": {"kernel": kernel}}
    name = "['large']['kernel']"
    real = Crossbar(8, 8, device=Device(variation=None))
    figure = figures.tile_size_figure(kernels, name, real, KEY, sizes=(2, 4, 8))
    worst, mean = (line.get_ydata() for line in figure.axes[0].lines)
    (error,) = (line.get_ydata() for line in figure.axes[1].lines)
    assert np.all(np.diff(error) > 0)
    ideal = figures.tile_size_figure(kernels, name, IDEAL, KEY, sizes=(2, 4))
    np.testing.assert_allclose(ideal.axes[1].lines[0].get_ydata(), 0, atol=1e-5)
    assert np.all(np.diff(mean) > 0)
    assert np.all(worst >= mean)
    assert png(figure).startswith(b"\x89PNG")
