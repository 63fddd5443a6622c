"""The experiment on digits, and its configs on MNIST and CIFAR-10 up to the training."""

import json
import sys

import pytest
from rich.console import Console

from experiments import __main__, output, registry
from experiments.output import Run
from experiments.parity.recipes import Recipe, first
from experiments.parity.robustness import Robustness
from jaxsnn.data import datasets
from jaxsnn.learning.training import TrainConfig

FEW = (
    'parity.rows=("table_1_mnist_surrogate", "dt_snn_*")',
    "surrogate/TrainConfig.epochs=1",
    "tdbn/TrainConfig.epochs=1",
    "Setting.images=64",
    "Setting.hardware_images=32",
    "Setting.draws=1",
)


class ReachedError(Exception):
    """The config was used up, and training would begin."""


def test_rows_that_are_missing_are_made_once(tmp_path, capsys):
    options = [f"--set={binding}" for binding in FEW]
    assert __main__.main(["run", "parity", "--out", str(tmp_path), *options]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    rows = result["numbers"]["rows"]
    made = {name for name, row in rows.items() if row is not None}
    # The table's row stands in the figure, too.
    (figure,) = made - {"table_1_mnist_surrogate", "dt_snn_digits"}
    assert figure.startswith("figure_3_surrogate_")
    assert rows[figure] == rows["table_1_mnist_surrogate"]
    assert not (tmp_path / "rows" / f"{figure}.json").exists()
    assert set(rows["dt_snn_digits"]["chips"]) == {"SATA", "SpikeFlow"}
    for chip in rows["dt_snn_digits"]["chips"].values():
        energies = [each["energy_j"] for each in chip["exits"]]
        assert energies == sorted(energies, reverse=True)
        assert chip["energy_by_timesteps_j"] == sorted(chip["energy_by_timesteps_j"])
    page = (tmp_path / "parity.md").read_text()
    assert "| figure_4 | not run |" in page
    assert "surrogate, VGG9/CIFAR-10, T = 30" in page
    assert (tmp_path / "report.html").is_file()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    capsys.readouterr()
    assert __main__.main(["run", "parity", "--out", str(tmp_path), *options]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == before
    assert "training 1 of" not in capsys.readouterr().out


@pytest.mark.long
def test_every_row_on_digits(tmp_path):
    assert __main__.main(["run", "parity", "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert None not in result["numbers"]["rows"].values()


@pytest.mark.parametrize("config", ["parity_cpu", "parity_full"])
def test_every_binding_is_used(config, monkeypatch, tmp_path):
    def fit(*_, **__):
        raise ReachedError

    monkeypatch.setattr(output, "fit", fit)
    experiment = registry.find_experiment("parity")
    # The images of digits stand for those that are not at hand everywhere.
    instead = [f"{name}/load.{what}" for name in ("mnist", "cifar10") for what in ('name="digits"', "seed=0")]
    registry.load(experiment, [*instead, "mnist/load.normalize=None"], registry.CONFIGS / f"{config}.gin")
    with pytest.raises(ReachedError):
        experiment.function(Run(tmp_path, Console(file=sys.stderr), fresh=True))


def test_a_recipe_that_does_not_fit_is_refused(tmp_path):
    training = TrainConfig(epochs=1)
    with pytest.raises(ValueError, match="one number for each"):
        Recipe("ann", "digits", "digits", (training,), images=(1, 2))
    with pytest.raises(ValueError, match="watched"):
        Recipe("ann", "digits", "digits", (training,), watched=(1, 2))
    with pytest.raises(ValueError, match="at least one training"):
        Recipe("ann", "digits", "digits", ())
    with pytest.raises(ValueError, match="train images"):
        first(datasets.load("digits", seed=0), 10**6)
    with pytest.raises(ValueError, match="must be one of ideal"):
        Robustness({}, {}, {}, None, (), "no such reading", 1)
