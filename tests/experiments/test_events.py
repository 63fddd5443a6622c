"""The experiment on event recordings."""

import json

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.events import standard_error
from tests.jaxsnn.event_files import nmnist_set


def test_absent_files_are_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("JAXSNN_DATA", raising=False)
    assert main(["run", "events", "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "'nmnist' is read from its own files" in message
    assert message.count("\n") == 1


def test_the_standard_error_is_that_of_draws_of_a_coin():
    found = np.random.default_rng(0).binomial(100, 0.9, 20_000) / 100
    assert standard_error(0.9, 100) == pytest.approx(0.03)
    np.testing.assert_allclose(found.std(), standard_error(0.9, 100), rtol=0.02)


@pytest.mark.long
def test_recordings_become_numbers_of_chips(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXSNN_CACHE", str(tmp_path / "cache"))
    nmnist_set(tmp_path / "nmnist", count=200)
    settings = {
        "load.path": f'"{tmp_path / "nmnist"}"',
        "events.seeds": "(0, 1)",
        "events.draws": "2",
        "event_convnet.width": "2",
        "LIF.threshold": "0.02",
        "TrainConfig.epochs": "1",
        "TrainConfig.batch_size": "4",
    }
    bindings = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    assert main(["run", "events", *bindings, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    numbers = result["numbers"]
    assert result["inputs"]["event_shape"] == [5, 34, 34, 2]
    assert len(numbers["software_accuracies"]) == 2
    assert numbers["test_recordings"] == 6
    assert 0 < numbers["input_rates"]["conv1"] < 0.1
    for chip in numbers["chips"].values():
        assert np.shape(chip["accuracies"]) == (2, 2)
        assert chip["energy_j"] > 0
