"""Retention end to end, its mistakes, and the pictures of real tiles."""

import json

import jax
import numpy as np
import pytest

from experiments.figures import devices as figures
from experiments.figures.png import png
from experiments.figures.retention import retention_figure
from experiments.retention import age, measured_until_s
from hwmodels.crossbar import Capacitances, Crossbar, Device, Wires
from hwmodels.crossbar.fit import fit_devices
from hwmodels.crossbar.measurements import Measurements
from tests.experiments.test_command_line import experiments

SMALL = (
    "digits_convnet.width=2",
    "TrainConfig.epochs=1",
    "Crossbar.rows=16",
    "Crossbar.columns=16",
    "retention.draws=1",
    'retention.devices=("pcm-joshi-2020",)',
    "retention.times_s=(1.0, 3e8)",
)


def run(folder, *bindings):
    options = [f"--set={binding}" for binding in (*SMALL, *bindings)]
    return experiments("run", "retention", "--out", folder, *options)


def test_the_run_ends_with_accuracies_of_every_age(tmp_path):
    done = run(tmp_path / "out")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "out" / "result.json").read_text())["numbers"]
    assert set(numbers["accuracies"]["pcm-joshi-2020"]) == {"none", "kernel", "column"}
    assert np.shape(numbers["accuracies"]["pcm-joshi-2020"]["none"]) == (2, 1)
    assert (tmp_path / "out" / "retention.png").is_file()


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("retention.draws=0", "retention.draws"),
        ("retention.times_s=(2.0, 1.0)", "retention.times_s must increase"),
        ('retention.devices=("rram-milo-2021",)', "keeps what it holds"),
    ],
)
def test_mistakes(tmp_path, binding, message):
    done = run(tmp_path / "out", binding)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_was_not_measured_is_grey():
    accuracies = {name: {"none": [[0.9, 0.8], [0.5, 0.4]]} for name in ("pcm-joshi-2020", "rram-wan-2022")}
    until = {name: measured_until_s(name) for name in accuracies}
    assert until == {"pcm-joshi-2020": None, "rram-wan-2022": 2 * 86400.0}
    figure = retention_figure(0.95, (1.0, 1e7), accuracies, until)
    law, held = figure.axes
    np.testing.assert_allclose(law.lines[1].get_ydata(), [0.85, 0.45])
    assert len(held.patches) == len(law.patches) + 1
    assert png(figure).startswith(b"\x89PNG")
    assert [age(time) for time in (1.0, 3600.0, 3.156e8)] == ["1 s", "1 h", "10 y"]


def test_larger_tiles_settle_later():
    figure = figures.settling_figure(Wires(), Capacitances(), Device(), jax.random.key(0), sizes=(4, 8))
    bound, slowest = (line.get_ydata() for line in figure.axes[0].lines)
    assert slowest[1] > slowest[0]
    assert np.all(bound > slowest)
    # Devices' capacitors let the step through, so a current may pass its end on the way.
    for line in figure.axes[1].lines:
        assert line.get_ydata()[-1] < 0.01


def test_residuals_are_drawn_with_what_is_not_identifiable():
    rng = np.random.default_rng(0)
    volts = 0.2 * np.eye(4)
    reads = Measurements(volts, volts @ rng.uniform(5e-6, 5e-5, (4, 3)))
    found = fit_devices(reads, Crossbar(4, 3), max_steps=3)
    figure = figures.residuals_figure(found)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), found.residuals)
    assert len(figure.axes[2].patches) == 4
    assert png(figure).startswith(b"\x89PNG")
