"""The command line as a user meets it: in a process of its own, but for mistakes in a config."""

import json
import subprocess
import sys

import pytest

from experiments import __main__, output, pipeline, registry
from jaxsnn.codesign import cli

SMALL = [
    "digits_convnet.width=4",
    "TrainConfig.epochs=2",
    "digits.draws=2",
    "digits.chips={'SpikeFlow': @Chip(), 'SATA': @Accelerator()}",
    "Chip.crossbar_rows=16",
    "Chip.crossbar_columns=16",
]


def experiments(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
    )


def digits(folder, *bindings):
    return "run", "digits", "--out", str(folder), *(f"--set={binding}" for binding in (*SMALL, *bindings))


def run_digits(folder, *bindings):
    return experiments(*digits(folder, *bindings))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """In two pieces; [`test_the_operative_config_gives_the_same_bits`][] runs in one."""
    folder = tmp_path_factory.mktemp("digits")
    paused = experiments(*digits(folder), "--minutes", 0.001)
    assert paused.returncode == __main__.PAUSED, paused.stderr
    assert "the same command goes on" in paused.stderr
    assert not (folder / "result.json").exists()
    process = run_digits(folder)
    assert process.returncode == 0, process.stderr
    return folder, process.stdout


def test_list_names_every_experiment_and_each_has_a_config():
    listed = experiments("list").stdout
    assert __main__.CATALOGUE
    for name, item in registry.EXPERIMENTS.items():
        assert name in listed
        assert item.config.is_file()


def test_a_run_writes_everything(finished):
    folder, printed = finished
    written = {path.name for path in folder.iterdir()}
    assert written >= {
        "result.json",
        "report.html",
        "operative_config.gin",
        "accuracy.png",
        "energy.png",
        "IR_drop.png",
    }
    for title in ("One chip a row", "Spike rate per layer", "Energy by layer"):
        assert title in printed
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len([name for name in written if name.endswith(".png")])
    assert "http" not in page


def test_a_result_names_its_inputs_and_adds_up(finished):
    result = json.loads((finished[0] / "result.json").read_text())
    assert result["inputs"]["dataset"] == "digits"
    assert len(result["inputs"]["dataset_sha256"]) == 64
    assert result["inputs"]["test_images"] == 359
    assert "jax" in result["versions"]
    numbers = result["numbers"]
    assert set(numbers["chips"]) == set(result["inputs"]["chips"]) == {"SpikeFlow", "SATA"}
    for chip in numbers["chips"].values():
        assert len(chip["accuracies"]) == 2
        assert chip["accuracy"] == pytest.approx(sum(chip["accuracies"]) / 2)
        assert chip["drop"] == pytest.approx(1 - chip["accuracy"] / numbers["software_accuracy"])
        assert sum(chip["energy_by_component_j"].values()) == pytest.approx(chip["energy_j"], rel=1e-6)
        assert sum(chip["energy_by_layer_j"].values()) == pytest.approx(chip["energy_j"], rel=1e-6)
        assert chip["energy_j"] > numbers["estimated_energy_j"]


@pytest.mark.long
def test_the_operative_config_gives_the_same_bits(finished, tmp_path):
    again = experiments("run", "digits", "--out", tmp_path, "--config", finished[0] / "operative_config.gin")
    assert again.returncode == 0, again.stderr
    first, second = (json.loads((folder / "result.json").read_text()) for folder in (finished[0], tmp_path))
    for result, resumed in ((first, 1), (second, 0)):
        assert result["numbers"].pop("resumed_epochs") == {"0": resumed}
        for epoch in result["numbers"]["training"]:
            del epoch["images_per_second"]
    assert first["numbers"] == second["numbers"]


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["TrainConfig.epoch=3"], "did you mean 'epochs'"),
        (["Wires.row=-1.0"], "row"),
        (["TrainConfig.epochs=0"], "epochs must be at least 1"),
        (["load.name='cifar11'"], "unknown data set"),
        (["digits.draws=0"], "draws"),
        (["digits.test_batch=0"], "test_batch"),
        (["digits.chips={}"], "0 chips"),
        (["digits.seeds=(1, 2, 1)"], "seeds must differ, one for each network, got (1, 2, 1)."),
        (["Chip.crossbar_rows=32.5"], "a chip is programmed at whole sizes: Chip.crossbar_rows is 32.5."),
        (["digits.chips={'x': 3}"], "chips['x'] must answer"),
        (["chip/Wires.row=2.0"], "nothing uses the binding chip/Wires.row"),
        (["Wires.row='ten'"], "Wires.row must be a number, got 'ten'"),
        (["LIF.reset='soft'"], "LIF.reset must be one of 'zero', 'subtract', 'none'"),
        (["digits_convnet.image_size=10"], "nothing uses the binding digits_convnet.image_size"),
        (["load.test_fraction=0.0001"], "empty"),
        (["epochs=5"], "nothing uses the binding epochs; did you mean 'TrainConfig.epochs'?"),
        (["load.seed=%sed"], "nothing is bound to %sed; did you mean 'seed'?"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(tmp_path, bindings, message, capsys, as_users_run):
    assert __main__.main([*digits(tmp_path / "out", *bindings)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.parametrize(("given", "expected"), [([], 400), (["digits.test_batch=7"], 7)])
def test_as_many_images_are_tested_at_once_as_the_config_says(tmp_path, monkeypatch, given, expected):
    def evaluate(*_, batch_size, **__):
        raise RuntimeError(f"in batches of {batch_size}")

    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    monkeypatch.setattr(output.Run, "fitted", lambda *_: None)
    options = __main__.parser().parse_args([*digits(tmp_path, *given), "--debug"])
    with pytest.raises(RuntimeError, match=rf"in batches of {expected}\b"):
        cli.run(options)


def test_an_unknown_experiment_names_the_known(tmp_path):
    process = experiments("run", "digitz", "--out", tmp_path)
    assert process.returncode == 2
    assert "did you mean 'digits'" in process.stderr


def test_a_corrupt_checkpoint_is_refused(finished, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for path in (finished[0] / "checkpoints").rglob("*"):
        copy = folder / "checkpoints" / path.relative_to(finished[0] / "checkpoints")
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    process = run_digits(folder)
    assert process.returncode == 2
    assert "checkpoint" in process.stderr
    assert not (folder / "result.json").exists()
