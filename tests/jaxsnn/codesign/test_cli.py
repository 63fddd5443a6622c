"""The console script in this process: what it prints and writes, and how it refuses."""

import json
from itertools import pairwise

import numpy as np
import pytest

from jaxsnn.codesign import cli, compare, sources
from jaxsnn.data.dataset import Dataset
from jaxsnn.encoding import Frames
from tests.jaxsnn.codesign.reports import report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two saved reports that differ in one input and one chip's accuracy."""
    root = tmp_path_factory.mktemp("results")
    for name in ("first", "second"):
        report().save(root / name)
    changed = json.loads((root / "second" / "result.json").read_text())
    changed["inputs"]["dataset"] = "another"
    changed["date"] = "2030-01-01"
    changed["numbers"]["chips"]["two"] |= {"accuracy": 0.9, "energy_j": 1e-6}
    (root / "second" / "result.json").write_text(json.dumps(changed))
    return root


@pytest.fixture
def arrays(tmp_path):
    """An .npz of two classes that one pixel tells apart."""
    labels = np.arange(40) % 2
    path = tmp_path / "toy.npz"
    np.savez(path, x=np.stack([labels, 1 - labels], -1).astype(np.float32), y=labels)
    return path


def refused(capsys, *arguments):
    assert cli.main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.strip().splitlines()
    assert captured.out == ""
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"--chip": "spikeflw"}, "there is no chip 'spikeflw'; choose spikeflow or sata."),
        ({"--chip": "my.gin"}, "chips from gin files are for `python -m experiments evaluate`"),
        ({"--data": "mnits"}, "unknown data set 'mnits'"),
        (
            {"--data": "missing.csv"},
            "missing.csv: a file of data must be an .npz that holds arrays x (images)",
        ),
        ({"--data": "./missing"}, "there is no folder ./missing."),
        ({"--data": "nmnist"}, "data set 'nmnist' holds events: give --timesteps, the number of frames."),
        ({"--dt": "0.001"}, "--dt 0.001 is for networks of FILE.nir"),
        ({"--data": "missing.npz"}, "there is no file missing.npz"),
        ({"--network": "lenet"}, "there is no network 'lenet'; give a .nir or .safetensors file"),
        ({"--network": "missing.nir"}, "there is no file missing.nir"),
        ({"--network": "weights.pt"}, "a network is a .nir file"),
        ({"--network": "vgg5"}, "vgg5 takes square images"),
        ({"--draws": "0"}, "--draws must be at least 1, got 0"),
        ({"--timesteps": "-3"}, "--timesteps must be at least 1"),
        ({"--leak": "2"}, "leak"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    tmp_path, arrays, capsys, as_users_run, options, message
):
    given = {
        "--network": "mlp",
        "--data": str(arrays),
        "--chip": "sata",
        "--out": str(tmp_path / "out"),
    } | options
    assert message in refused(capsys, "evaluate", *(word for pair in given.items() for word in pair))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ({"x": np.ones((4, 2))}, "must hold arrays x (images) and y (labels)"),
        ({"x": np.array([{}] * 4), "y": np.arange(4)}, "holds Python objects"),
        (
            {"x": np.eye(4), "y": np.arange(4), "x_test": np.eye(4)},
            "holds x_test without y_test; a test split",
        ),
        ({"x": np.eye(4), "y": np.arange(4), "y_test": np.arange(4)}, "holds y_test without x_test; a test"),
        (
            {"x": np.eye(4), "y": np.arange(4), "x_test": np.eye(4)[:0], "y_test": np.arange(0)},
            "test split: it is empty",
        ),
        ({"x": np.full((4, 2), np.nan), "y": np.arange(4) % 2}, "NaN"),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path, capsys, held, message):
    path = tmp_path / "wrong.npz"
    np.savez(path, **held)
    assert message in refused(capsys, "evaluate", "--network", "mlp", "--data", path, "--chip", "sata")


def test_a_file_that_is_no_npz_is_refused(tmp_path, capsys):
    path = tmp_path / "wrong.npz"
    path.write_bytes(b"no archive")
    words = refused(capsys, "evaluate", "--network", "mlp", "--data", path, "--chip", "sata")
    assert "damaged" in words
    assert "never unpickled" in words
    assert "allow_pickle" not in words
    other = tmp_path / "array.npy"
    np.save(other, np.eye(2))
    assert "array.npy: a file of data must be an .npz" in refused(
        capsys, "evaluate", "--network", "mlp", "--data", other, "--chip", "sata"
    )


def test_a_folder_of_data_is_called_like_its_set(tmp_path, capsys):
    words = refused(capsys, "evaluate", "--network", "mlp", "--data", tmp_path, "--chip", "sata")
    assert "is not called like a data set; give one that holds a data set's own files and is called" in words


@pytest.mark.parametrize("seed", ["-1", "4294967296", "99999999999999999999", "1.5", "one"])
def test_a_seed_that_a_key_does_not_hold_is_refused(seed, capsys):
    words = ["evaluate", "--network", "mlp", "--data", "digits", "--chip", "sata", "--seed", seed]
    with pytest.raises(SystemExit):
        cli.main(words)
    assert f"--seed: must be a whole number from 0 to 4294967295, got {seed}" in capsys.readouterr().err
    assert cli.parser().parse_args([*words[:-1], "4294967295"]).seed == 2**32 - 1


def test_gaps_in_labels_are_a_warning_of_one_line(tmp_path, capsys):
    path = tmp_path / "gaps.npz"
    np.savez(path, x=np.eye(4)[[0, 1] * 4], y=[0, 4] * 4)
    words = f"evaluate --network mlp --data {path} --chip sata --draws 1 --timesteps 1 --epochs 1 --json"
    assert cli.main(words.split()) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(
        "warning: data set 'gaps': labels go up to 4, which makes 5 classes, and 3"
    )
    assert json.loads(captured.out)["inputs"]["dataset"] == "gaps"


@pytest.mark.parametrize(("given", "timesteps"), [([], 3), (["--timesteps", "2"], 2)])
def test_five_axes_are_frames_for_named_networks_too(tmp_path, capsys, given, timesteps):
    labels = np.arange(12) % 2
    path = tmp_path / "frames.npz"
    np.savez(path, x=np.ones((12, 3, 2, 2, 1), int) * labels[:, None, None, None, None], y=labels)
    data = sources.read_data(str(path))
    assert (data.event_shape, data.image_shape) == ((3, 2, 2, 1), (2, 2, 1))
    assert sources.read_network("mlp", data)[0].encoding == Frames()
    words = f"evaluate --network mlp --data {path} --chip sata --draws 1 --epochs 1 --json".split()
    assert cli.main([*words, *given]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"]["timesteps"] == timesteps


def test_a_nir_file_that_tells_no_timestep_takes_it_from_the_command_line(tmp_path):
    nir = pytest.importorskip("nir")
    ones = np.ones(2, np.float32)
    lif = nir.LIF(tau=0.01 * ones, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)
    nodes = {
        "input": nir.Input({"input": np.array([2])}),
        "weights": nir.Linear(np.eye(2, dtype=np.float32)),
        "neurons": lif,
        "output": nir.Output({"output": np.array([2])}),
    }
    names = list(nodes)
    path = tmp_path / "network.nir"
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(names))))
    data = Dataset.from_arrays(np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], [0, 1, 0, 1], test=0.5)
    with pytest.raises(ValueError, match=r"does not tell its timestep.*on the command line --dt"):
        sources.read_network(str(path), data)
    leaks = {
        float(np.ravel(sources.read_network(str(path), data, dt=dt)[0].layers[0].neuron.leak)[0])
        for dt in (0.001, 0.002)
    }
    np.testing.assert_allclose(sorted(leaks), [0.8, 0.9], rtol=1e-6)
    words = ["evaluate", "--network", str(path), "--data", "digits", "--chip", "sata"]
    assert [cli.parser().parse_args([*words, *dt]).dt for dt in ([], ["--dt", "1e-3"])] == ["auto", 1e-3]


def test_evaluate_trains_by_name_and_writes_what_it_prints(tmp_path, arrays, capsys):
    words = f"evaluate --network mlp --data {arrays} --chip sata --draws 1 --timesteps 1 --epochs 1 --json"
    assert cli.main([*words.split(), "--out", str(tmp_path / "out")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "result.json").read_text())
    assert list(printed["numbers"]["chips"]) == ["SATA"]
    assert printed["inputs"]["dataset"] == "toy"
    assert {"date", "commit", "processor"} <= set(printed)


@pytest.mark.parametrize("bias", [False, True])
def test_weights_of_a_safetensors_file_find_their_network(tmp_path, bias):
    rng = np.random.default_rng(0)
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = {"fc1.weight": rng.normal(size=(5, 2)), "fc2.weight": rng.normal(size=(2, 5))}
    if bias:
        tensors |= {"fc1.bias": rng.normal(size=5), "fc2.bias": rng.normal(size=2)}
    tensors = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    safetensors.save_file(tensors, tmp_path / "weights.safetensors")
    data = Dataset.from_arrays(np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], [0, 1, 0, 1], test=0.5)
    network, trained = sources.read_network(str(tmp_path / "weights.safetensors"), data)
    assert trained
    np.testing.assert_array_equal(network.layers[0].synapse.kernel[...], tensors["fc1.weight"].T)
    tensors["fc2.weight"] = tensors["fc2.weight"][:, :4]
    safetensors.save_file(tensors, tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match=r"no model fits.*mlp: fc2\.weight has shape"):
        sources.read_network(str(tmp_path / "wrong.safetensors"), data)


def test_compare_names_what_differs_and_only_that(results, capsys, tmp_path):
    folders = [str(results / "first"), str(results / "second")]
    assert cli.main(["compare", *folders, "--json", "--out", str(tmp_path / "difference")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["inputs"] == {"inputs.dataset": ["toy", "another"]}
    assert found["numbers"] == {
        "chips.two.accuracy": [0.95, 0.9],
        "chips.two.energy_j": [2e-6, 1e-6],
    }
    page = (tmp_path / "difference" / "report.html").read_text()
    assert "first and second differ in 1 of their inputs and in 2 numbers." in page
    assert "-5.00 points" in page
    assert "-50.0%" in page


def test_compare_lists_every_input_that_differed(tmp_path, arrays, capsys):
    common = f"evaluate --data {arrays} --chip sata --draws 1 --timesteps 1 --json --network mlp"
    words = {
        "base": "--epochs 1",
        "same": "--epochs 1",
        "longer": "--epochs 2",
        "leaky": "--epochs 1 --leak 0.5 --threshold 0.75",
    }
    for name, more in words.items():
        assert cli.main([*common.split(), *more.split(), "--out", str(tmp_path / name)]) == 0
    capsys.readouterr()

    def differing(other):
        return compare.compare([tmp_path / "base", tmp_path / other]).numbers()["inputs"]

    assert differing("same") == {}
    longer = differing("longer")
    assert longer.pop("inputs.network_fingerprints[0].weights")
    assert longer == {"inputs.training.epochs": [1, 2]}
    leaky = differing("leaky")
    assert leaky["inputs.network.leak"] == [0.9, 0.5]
    assert leaky["inputs.network.threshold"] == [1.0, 0.75]
    assert "inputs.network_fingerprints[0].structure" in leaky


def test_a_network_of_a_file_is_known_by_its_content(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    data = tmp_path / "toy.npz"
    np.savez(data, x=np.eye(2, dtype=np.float32)[np.arange(20) % 2], y=np.arange(20) % 2)
    path, found = tmp_path / "weights.safetensors", []
    for scale in (1, 2):
        weights = scale * np.eye(2, dtype=np.float32)
        safetensors.save_file({"fc1.weight": weights, "fc2.weight": weights}, path)
        words = f"evaluate --network {path} --data {data} --chip sata --draws 1 --timesteps 1"
        assert cli.main([*words.split(), "--out", str(tmp_path / str(scale))]) == 0
        found.append(json.loads((tmp_path / str(scale) / "result.json").read_text())["inputs"])
    differ = [name for name in found[0] if found[0][name] != found[1][name]]
    assert sorted(differ) == ["network", "network_fingerprints"]
    assert {
        name for name in found[0]["network"] if found[0]["network"][name] != found[1]["network"][name]
    } == {"file_sha256"}
    assert found[0]["network"]["name"] == "weights.safetensors"
    assert "training" not in found[0]


def kept(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_comparison_replaces_none_of_what_it_compares(results, capsys):
    first, second = results / "first", results / "second"
    before = kept(first)
    assert "is one of the results compared" in refused(capsys, "compare", first, second, "--out", first)
    found = compare.compare([first / "result.json", second])
    with pytest.raises(ValueError, match=r"one of the results compared, .*; give another folder"):
        found.save(first)
    assert kept(first) == before


def test_a_comparison_without_chips_leaves_none_of_one_with_chips(results, tmp_path):
    out = compare.compare([results / "first", results / "second"]).save(tmp_path / "out")
    assert (out / "result.csv").exists()
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"numbers": {"x": name}}))
    compare.compare([tmp_path / "a", tmp_path / "b"]).save(out)
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "result.json"]


def test_an_evaluation_replaces_an_evaluation_alone(results, tmp_path):
    report().save(tmp_path / "out")
    report().save(tmp_path / "out")
    assert sorted(kept(tmp_path / "out")) == ["report.html", "result.csv", "result.json"]
    out = compare.compare([results / "first", results / "second"]).save(tmp_path / "other")
    with pytest.raises(ValueError, match="holds a comparison, and an evaluation would mix with it; give"):
        report().save(out)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file cannot be written to \(it is a file\); give another folder"):
        report().save(tmp_path / "file")


@pytest.mark.parametrize("out", ["file", "file/sub", "comparison"])
def test_where_nothing_can_be_written_nothing_is_read_or_trained(
    results, tmp_path, arrays, capsys, monkeypatch, out
):
    (tmp_path / "file").write_text("")
    folders = [str(results / "first"), str(results / "second")]
    compare.compare(folders).save(tmp_path / "comparison")
    monkeypatch.setattr(cli, "read_data", lambda *_, **__: pytest.fail("read"))
    words = f"evaluate --network mlp --data {arrays} --chip sata --out {tmp_path / out}"
    assert "give another folder with --out" in refused(capsys, *words.split())
    if out != "comparison":
        monkeypatch.setattr(compare, "compare", lambda *_: pytest.fail("read"))
        assert "give another folder with --out" in refused(
            capsys, "compare", *folders, "--out", tmp_path / out
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": None}, "chips.two.accuracy must be a number and is None"),
        ({"latency_s": "3 ms"}, "chips.two.latency_s must be a number and is '3 ms'"),
        ({"energy_j": -1e-6}, "chips.two.energy_j must be above zero and is -1e-06"),
        ({"area_mm2": 10**400}, "chips.two.area_mm2 must be a number"),
        ({"drop": float("nan")}, "damaged or no JSON (NaN is no number of JSON)"),
        ({"label": None}, "chips.two.label must be a text and is None"),
        ({"accuracies": [[0.5, 0.5], [0.5]]}, "chips.two.accuracies must be numbers, one a chip"),
        ({"accuracies": "ab"}, "chips.two.accuracies must be numbers, one a chip"),
    ],
)
def test_a_result_that_was_changed_by_hand_is_refused_by_what_is_wrong(
    results, tmp_path, capsys, change, message
):
    changed = json.loads((results / "second" / "result.json").read_text())
    changed["numbers"]["chips"]["two"] |= change
    (tmp_path / "result.json").write_text(json.dumps(changed))
    line = refused(capsys, "compare", results / "first", tmp_path, "--out", tmp_path / "out")
    assert str(tmp_path / "result.json") in line
    assert message in line
    assert not (tmp_path / "out").exists()


def test_compare_takes_three_and_refuses_one(results, capsys):
    three = compare.compare([results / "first", results / "second", results / "first" / "result.json"])
    assert len(three.tables()[1].columns) == 4
    assert "two result folders or more" in refused(capsys, "compare", results / "first")
    assert "holds no result.json" in refused(capsys, "compare", results, results / "first")


def test_describe_prints_what_the_class_says(capsys):
    assert cli.main(["describe", "wires", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [(entry["name"], entry["unit"]) for entry in entries] == [
        (name, "Ω") for name in ("driver", "row", "column", "sense")
    ]
    assert cli.main(["describe"]) == 0
    assert "Accelerator" in capsys.readouterr().out
    assert "did you mean 'Chip'?" in refused(capsys, "describe", "Chp")


@pytest.mark.parametrize("command", [[], ["evaluate"], ["compare"], ["describe"]])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([*command, "--help"])
    assert left.value.code == 0
    assert "example" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--debug", "describe", "Chip"], ["describe", "Chip", "--debug"]])
def test_debug_stands_before_or_behind_the_command_and_shows_where(words, monkeypatch):
    def fail(*_):
        raise KeyError("somewhere")

    monkeypatch.setattr(cli, "terminal", fail)
    assert cli.main(["describe", "Chip"]) == 2
    with pytest.raises(KeyError, match="somewhere"):
        cli.main(words)
