"""The experiment on nonlinear cells end to end, its mistakes, and its pictures."""

import json

import jax
import jax.numpy as jnp
import pytest

from experiments.figures.nonlinear import error_map_figure, law_figure
from experiments.figures.png import png
from hwmodels.crossbar import Sinh, Transistor, Wires
from tests.experiments.test_command_line import experiments

SMALL = (
    "digits_convnet.width=2",
    "TrainConfig.epochs=1",
    "Crossbar.rows=16",
    "Crossbar.columns=16",
    "nonlinear.draws=1",
    "nonlinear.epochs=1",
    "nonlinear.v0s=(0.3,)",
    "nonlinear.exact_images=1",
)


def run(folder, *bindings):
    options = [f"--set={binding}" for binding in (*SMALL, *bindings)]
    return experiments("run", "nonlinear", "--out", folder, *options)


@pytest.mark.long
def test_the_run_ends_with_accuracies_of_every_law(tmp_path):
    done = run(tmp_path / "out")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "out" / "result.json").read_text())["numbers"]
    assert set(numbers["before"]) == set(numbers["after"]) == {"linear", "Sinh(0.3)"}
    assert set(numbers["first_images"]["accuracies"]["Sinh(0.3)"]) == {
        "exact",
        "mean-activity",
        "read-voltage",
    }
    assert (tmp_path / "out" / "error_map.png").is_file()


def test_mistakes(tmp_path):
    done = run(tmp_path / "out", "nonlinear.draws=0")
    assert done.returncode != 0
    assert "nonlinear.draws is at least 1" in done.stderr


def test_figures():
    figure = law_figure({"Sinh(0.2)": Sinh(0.2), "1T1R": Transistor()}, 5e-5, 0.5)
    assert [line.get_label() for line in figure.axes[0].lines] == ["G·v", "Sinh(0.2)", "1T1R"]
    assert png(figure)
    figure = error_map_figure(jnp.full((4, 4), 2e-5), Wires(), Sinh(0.2), 0.5, jax.random.key(0))
    assert figure.axes[0].images[0].get_array().shape == (4, 4)
