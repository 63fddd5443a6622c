"""The experiment end to end: training on chips, and what it says of the networks."""

import json

import numpy as np
import pytest

from experiments.noise_aware import Measured
from jaxsnn.codesign.robustness import Robustness
from jaxsnn.learning.training import Evaluation
from tests.experiments.test_command_line import experiments

SMALL = (
    "digits_convnet.width=2",
    "TrainConfig.epochs=1",
    "noise_aware.epochs=1",
    "noise_aware.draws=2",
    "noise_aware.periods=(11, 1)",
    "Crossbar.rows=16",
    "Crossbar.columns=16",
)


def run(folder, *bindings):
    options = [f"--set={binding}" for binding in (*SMALL, *bindings)]
    return experiments("run", "noise_aware", "--out", folder, *options)


def measured(as_trained, at_scale, *accuracies, plain=0.9):
    chips = tuple(Evaluation(accuracy, 0.0, (), np.zeros(1, int)) for accuracy in accuracies)
    return Measured(as_trained, at_scale, Robustness(plain, chips))


def test_drops_are_of_the_networks_own_software_and_of_the_plain_ones():
    plain, tuned = measured(0.9, 0.2, 0.4, 0.5), measured(0.3, 0.8, 0.76, 0.78)
    numbers = tuned.numbers(plain)
    assert numbers["drop"] == pytest.approx((0.8 - 0.77) / 0.8)
    assert numbers["drop_from_plain"] == pytest.approx((0.9 - 0.77) / 0.9)
    assert numbers["drop_ratio"] == pytest.approx(0.5 / (0.03 / 0.8))
    assert numbers["drop_from_plain_ratio"] == pytest.approx(0.45 / 0.13)
    assert plain.numbers(plain)["drop"] == pytest.approx(0.5)
    assert measured(0.9, 0.7, 0.9).numbers(plain)["drop_ratio"] is None


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("noise_aware.draws=0", "at least 1; got 0"),
        ("noise_aware.periods=()", "at least one number of steps"),
        ("noise_aware.periods=(4, 4)", "each once; got (4, 4)"),
    ],
)
@pytest.mark.long
def test_a_mistake_is_one_sentence(tmp_path, binding, message):
    process = run(tmp_path, binding)
    assert process.returncode == 2
    assert message in process.stderr


@pytest.mark.long
def test_the_experiment_runs_resumes_and_adds_up(tmp_path):
    process = run(tmp_path)
    assert process.returncode == 0, process.stderr
    assert "mean attenuation" in process.stdout
    assert (tmp_path / "noise_aware.png").stat().st_size > 1000
    first = json.loads((tmp_path / "result.json").read_text())["numbers"]
    names = ["plain", "solved every 11 steps", "solved in every step"]
    assert list(first["networks"]) == names
    assert list(first["training_on_chips"]) == names[1:]
    plain = first["networks"]["plain"]
    assert plain["drop"] == plain["drop_from_plain"]
    for network in first["networks"].values():
        assert len(network["accuracies"]) == 2
        assert network["mean_accuracy"] == pytest.approx(np.mean(network["accuracies"]))
    for name in names[1:]:
        network = first["networks"][name]
        own = network["software_accuracy_at_chip_scale"]
        assert network["drop"] == pytest.approx((own - network["mean_accuracy"]) / own)
    again = run(tmp_path)  # Everything is restored, nothing is trained.
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "result.json").read_text())["numbers"] == first
