"""The one call: every chip by the same questions, the same bits again, one sentence for what does not fit."""

import dataclasses
import json
import math
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels import sata, spikeflow
from hwmodels.chip import Chip, Cost, Digital
from hwmodels.crossbar import Wires
from hwmodels.search import Choice
from jaxsnn.codesign import EnergyPenalty, evaluate, find_chip, to_workload, workload_of
from jaxsnn.codesign.compare import compare
from jaxsnn.data.dataset import Dataset
from jaxsnn.learning.evaluation import evaluate as alone_on
from jaxsnn.learning.training import TrainConfig, fit
from jaxsnn.neuron import LIF
from tests.jaxsnn.small_runs import dense, few_digits

KEY = jax.random.key(4)


class ToyCost(eqx.Module):
    """A third chip's costs."""

    energy_by_layer_j: dict[str, Any]
    latency_by_layer_s: dict[str, Any]
    area_mm2: Any

    @property
    def energy_j(self):
        return sum(self.energy_by_layer_j.values())

    @property
    def latency_s(self):
        return sum(self.latency_by_layer_s.values())

    @property
    def energy_by_component_j(self):
        return {"cores": self.energy_j}

    @property
    def area_by_component_mm2(self):
        return {"cores": self.area_mm2}


class Toy(eqx.Module):
    """A third chip: cores that add weights of some bits for every spike."""

    cores: Any = 4.0
    bits: Any = 4.0

    @property
    def label(self):
        return "Toy"

    def arithmetic(self):
        return Digital(weight_bits=self.bits)

    def cost(self, workload, conventions="corrected"):
        events = {layer.name: layer.macs * layer.input_rate * workload.timesteps for layer in workload.layers}
        energy = {name: count * self.bits * 1e-15 for name, count in events.items()}
        latency = {name: count / self.cores * 1e-9 for name, count in events.items()}
        return ToyCost(energy, latency, 0.1 * self.cores)


CHIPS = {"Toy": Toy(), "SATA": sata.Accelerator()}


@pytest.fixture(scope="module")
def network():
    trained = dense()
    fit(trained, few_digits(), TrainConfig(epochs=4, batch_size=32, timesteps=2, learning_rate=1e-2))
    return trained


@pytest.fixture(scope="module")
def report(network):
    return evaluate(network, few_digits(), CHIPS, timesteps=2, draws=3, key=KEY)


def test_a_third_chip_needs_no_other_file(report, network):
    """In the evaluation, in the penalty and in the search."""
    assert isinstance(Toy(), Chip)
    toy = report["Toy"]
    assert isinstance(toy.cost, Cost)
    expected = Toy().cost(to_workload(toy.record, 2))
    assert toy.energy_j == pytest.approx(float(expected.energy_j))
    assert (toy.label, toy.area_mm2) == ("Toy", pytest.approx(0.4))
    images = jnp.asarray(few_digits().scale(few_digits().test_images))
    outputs, record = network.outputs(images, timesteps=2)
    penalty = EnergyPenalty(1.0, 1e-12, 0.5, 0.1, Toy())
    assert float(penalty(outputs, record, None)) > 0
    workload = workload_of(network, (8, 8, 1), 2, rates=0.2)
    found = find_chip(
        workload,
        Toy(),
        [Choice("cores", (1, 2, 4, 8)), Choice("bits", (4, 8))],
        key=KEY,
        area_limit_mm2=0.45,
        restarts=2,
        steps=5,
    )
    assert (found.design.cores, found.design.bits) == (4, 4)


def test_a_chip_that_is_no_dataclass_is_searched_by_a_function_that_builds_it():
    toy = SimpleNamespace(label="Toy", arithmetic=Toy().arithmetic, cost=Toy().cost)
    with pytest.raises(TypeError, match=r"is none; give build=, a function"):
        find_chip(workload_of(dense(), (8, 8, 1), 2), toy, [Choice("cores", (1, 2))], key=KEY)


def test_the_report_answers_for_every_chip(report, network):
    for name in CHIPS:
        chip = report[name]
        assert chip.accuracies.shape == (3,)
        assert chip.accuracy == pytest.approx(chip.accuracies.mean())
        assert chip.spread == 0  # Nothing in these chips is drawn.
        assert chip.edp_js == pytest.approx(chip.energy_j * chip.latency_s)
        assert chip.throughput > 0
        assert sum(chip.cost.energy_by_layer_j.values()) == pytest.approx(chip.energy_j)
    data = few_digits()
    alone = alone_on(network, data.scale(data.test_images), data.test_labels, timesteps=2)
    assert report.software_accuracy == alone.accuracy
    assert report.software_spread is None
    with pytest.raises(KeyError, match="there are Toy, SATA"):
        report["SpikeFlow"]
    text = str(report)
    for part in ("software", "FLOP", "Toy", "SATA", "mm²"):
        assert part in text


def test_a_report_is_saved_whole(report, tmp_path):
    folder = report.save(tmp_path / "report")
    numbers = json.loads((folder / "result.json").read_text())
    assert numbers["numbers"]["chips"]["SATA"]["energy_j"] == report["SATA"].energy_j
    assert numbers["inputs"]["dataset_sha256"] == few_digits().fingerprint
    assert {"date", "commit", "device", "versions"} <= numbers.keys()
    assert "SATA" in (folder / "report.html").read_text(encoding="utf-8")
    assert not (folder / ".partial").exists()


def test_every_parameter_of_a_chip_is_an_input(network, tmp_path):
    chip = spikeflow.Chip(crossbar_rows=16, crossbar_columns=16)
    worse = dataclasses.replace(
        chip, wires=Wires(row=500.0), device=dataclasses.replace(chip.device, variation=None)
    )
    folders = [
        bad(network, chips={"X": each, "Toy": Toy(bits=bits)}).save(tmp_path / name)
        for name, each, bits in (("one", chip, 4.0), ("two", worse, 5.0))
    ]
    found = compare(folders)
    inputs = found.numbers()["inputs"]
    assert inputs["inputs.chips.X.wires.row"] == [chip.wires.row, 500.0]
    assert inputs["inputs.chips.X.device.variation.class"] == ["Variation", None]
    assert inputs["inputs.chips.Toy.bits"] == [4.0, 5.0]
    assert not [path for path in inputs if "crossbar_rows" in path or "network" in path]
    assert ["inputs.chips.Toy.bits", "4", "5"] in found.tables()[1].rows


def test_an_older_result_which_knew_chips_by_their_labels_alone_is_compared(report, tmp_path):
    folders = [report.save(tmp_path / name) for name in ("new", "old")]
    older = json.loads((folders[1] / "result.json").read_text())
    older["inputs"]["chips"] = {name: chip["label"] for name, chip in older["inputs"]["chips"].items()}
    del older["inputs"]["network_fingerprints"]
    (folders[1] / "result.json").write_text(json.dumps(older))
    rows = compare(folders).tables()[1].rows
    assert ["inputs.chips.Toy.bits", "4", "–"] in rows
    assert ["inputs.chips.Toy", "–", "Toy"] in rows


def test_crossbars_are_drawn_from_the_key_and_priced_at_their_own_rates(network):
    chip = spikeflow.Chip(crossbar_rows=16, crossbar_columns=16, calibration="column", adc_bits=6)
    chips = {"gain": chip}

    def found(key):
        return evaluate(network, few_digits(), chips, timesteps=2, draws=2, key=key)

    one, again, other = found(KEY), found(KEY), found(jax.random.key(9))
    assert json.dumps(one.numbers(), default=str) == json.dumps(again.numbers(), default=str)
    rates = [report["gain"].spike_rates for report in (one, other)]
    assert rates[0] != rates[1]
    assert one["gain"].energy_j == pytest.approx(
        float(chip.cost(to_workload(one["gain"].record, 2)).energy_j), rel=1e-6
    )


def test_several_trainings_say_what_training_varies():
    networks = [dense(rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    report = evaluate(networks, few_digits(), {"Toy": Toy()}, timesteps=1, draws=2, key=KEY)
    assert report["Toy"].accuracies.shape == (2, 2)
    means = report["Toy"].by_network.mean(axis=1)
    assert report["Toy"].training_spread == pytest.approx(means.std(ddof=1))
    assert report.software_spread is not None
    assert "Between 2 trainings" in str(report)


def test_progress_counts_every_programmed_chip(network):
    seen = []
    evaluate(
        network,
        few_digits(),
        {"Toy": Toy()},
        timesteps=1,
        draws=5,
        key=KEY,
        progress=lambda *counts: seen.append(counts),
    )
    assert seen == [("Toy", 1, 1)]


def test_an_error_of_the_progress_is_no_failure_of_a_chip(network):
    def progress(*counts):
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        evaluate(network, few_digits(), {"Toy": Toy()}, timesteps=1, draws=1, progress=progress)


def test_floats_with_a_mean_are_scaled_as_in_training(network):
    """The data set's own scaling, whatever its pixels are."""
    data = few_digits()
    pixels = data.train_images.astype(np.float32) / 255
    same = Dataset.from_arrays(
        pixels, data.train_labels, test=(data.test_images.astype(np.float32) / 255, data.test_labels)
    )
    one, two = (evaluate(network, each, CHIPS, timesteps=2, draws=1, key=KEY) for each in (data, same))
    assert one.software_accuracy == two.software_accuracy
    assert one["SATA"].energy_j == two["SATA"].energy_j


def bad(own, **changes):
    given = {"network": own, "dataset": few_digits(), "chips": {"Toy": Toy()}, "timesteps": 1, "draws": 1}
    given |= changes
    return evaluate(given.pop("network"), given.pop("dataset"), given.pop("chips"), **given)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"chips": {}}, ValueError, "needs chips by name"),
        ({"chips": {"x": object()}}, TypeError, r"chips\['x'\] must answer .* lacks label"),
        ({"chips": {"x": spikeflow.Chip}}, TypeError, "is a class"),
        ({"draws": 0}, ValueError, "at least 1; got 0"),
        ({"draws": 1.5}, ValueError, "at least 1; got 1.5"),
        ({"key": 0}, ValueError, r"key must be a key of JAX, such as jax.random.key\(0\), got 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1 image and a whole number, got 0"),
        ({"batch_size": 2.5}, ValueError, "batch_size must be at least 1 image and a whole number, got 2.5"),
        ({"timesteps": None}, ValueError, "timesteps says how long"),
        ({"timesteps": 0}, ValueError, "at least 1"),
        ({"dataset": (1, 2)}, TypeError, r"Dataset.from_arrays"),
        ({"network": "net.nir"}, TypeError, "from_nir"),
        (
            {"dataset": Dataset.from_arrays(np.zeros((8, 5, 5, 1), np.uint8), [0, 1] * 4, test=0.5)},
            ValueError,
            r"does not take the inputs of data set 'arrays', of shape \(5, 5, 1\)",
        ),
        (
            {"dataset": Dataset.from_arrays(np.zeros((26, 8, 8, 1), np.uint8), [*range(13)] * 2, test=0.5)},
            ValueError,
            "has 13 classes and the network 10 outputs",
        ),
    ],
)
def test_what_does_not_fit_gets_one_sentence(network, changes, error, message, as_users_run):
    with pytest.raises(error, match=message):
        bad(network, **changes)


class Other(Toy):
    """A chip with an answer of its own."""

    answers: dict[str, Any] = eqx.field(default_factory=dict)

    def cost(self, workload, conventions="corrected"):
        given = super().cost(workload, conventions)
        parts = (*_PARTS, "energy_j", "latency_s", "area_mm2")
        said = {name: getattr(given, name) for name in parts} | self.answers
        return SimpleNamespace(**{name: value for name, value in said.items() if value is not None})


_PARTS = ("energy_by_component_j", "energy_by_layer_j", "latency_by_layer_s", "area_by_component_mm2")


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ({"energy_j": math.nan}, ValueError, "energy_j must be finite and above zero, got nan"),
        ({"energy_j": math.inf}, ValueError, "energy_j must be finite and above zero, got inf"),
        ({"energy_j": 0.0}, ValueError, "energy_j must be finite and above zero, got 0"),
        ({"latency_s": 0.0}, ValueError, "latency_s must be finite and above zero, got 0"),
        ({"latency_s": -1.0}, ValueError, "latency_s must be finite and above zero, got -1"),
        ({"area_mm2": None}, TypeError, "area_mm2 is missing; a cost has energy_j, energy_by_component_j"),
        ({"energy_j": "much"}, TypeError, "energy_j must be a number, got 'much'"),
        ({"energy_j": np.ones(2)}, TypeError, "energy_j must be a number, got array"),
        (
            {"energy_by_component_j": {"a": 5.0}},
            ValueError,
            "energy_by_component_j adds up to 5, and energy_j is",
        ),
        (
            {"area_by_component_mm2": {"a": 0.1}},
            ValueError,
            "area_by_component_mm2 adds up to 0.1, and area_mm2",
        ),
        (
            {"area_by_component_mm2": {"a": -1, "b": 1.4}},
            ValueError,
            r"\['a'\] must be finite and zero or more",
        ),
        ({"latency_by_layer_s": [1.0]}, TypeError, "latency_by_layer_s must map names to numbers"),
    ],
)
def test_what_a_chip_of_ones_own_answers_is_looked_at_once(network, monkeypatch, answers, error, message):
    monkeypatch.setattr(
        sys.modules["jaxsnn.codesign.evaluate"], "on_hardware", lambda *_, **__: pytest.fail("programmed")
    )
    with pytest.raises(error, match=rf"chips\['mine'\]\.cost\(workload, conventions\)\..*{message}"):
        bad(network, chips={"Toy": Toy(), "mine": Other(answers=answers)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arithmetic": lambda _: None}, r"chips\['mine'\].arithmetic\(\) must be an Analog or a Digital"),
        ({"label": None}, r"chips\['mine'\].label must be text, as tables call the chip; got None"),
    ],
)
def test_a_chip_without_arithmetic_or_label_is_named(network, changes, message):
    mine = type("Mine", (), {"label": "Mine", "arithmetic": Toy().arithmetic, "cost": Toy().cost} | changes)
    with pytest.raises(TypeError, match=message):
        bad(network, chips={"mine": mine()})


def test_a_network_too_silent_for_one_chip_keeps_the_others(tmp_path):
    """Converters find nothing to be calibrated on; adders need nothing."""
    silent = dense(neuron=partial(LIF, threshold=1e6))
    crossbars = spikeflow.Chip(calibration="column", full_scale="calibrated")
    with pytest.warns(UserWarning, match=r"report is without chip 'crossbars': .*full scale is zero"):
        report = bad(silent, chips={"crossbars": crossbars, "SATA": sata.Accelerator()})
    assert list(report.chips) == ["SATA"]
    assert (
        "The network is silent: no neuron of fc1 fires in software; train it longer"
        in report.failed["crossbars"]
    )
    assert "could not be tested on crossbars." in report.verdict
    assert ["crossbars", *["–"] * 9] in report.tables()[0].rows
    assert report.failed["crossbars"] in report.tables()[0].note
    numbers = json.loads((report.save(tmp_path) / "result.json").read_text())["numbers"]
    assert numbers["failed"] == report.failed
    with pytest.raises(KeyError, match="could not be tested"):
        report["crossbars"]
    with pytest.raises(ValueError, match=r"chip 'crossbars': .*full scale is zero.* The network is silent"):
        bad(silent, chips={"crossbars": crossbars})


def test_nan_pixels_are_refused():
    pixels = np.zeros((8, 8, 8, 1), np.float32)
    pixels[3, 2, 2] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        Dataset.from_arrays(pixels, [0, 1] * 4, test=0.5)


def test_a_chip_is_the_same_from_a_search_and_by_hand(network):
    """A searched design programs and costs as one that was written down."""
    workload = workload_of(network, (8, 8, 1), 2, rates=0.2)
    found = find_chip(
        workload, spikeflow.Chip(), [Choice("adc_bits", (4, 6))], key=KEY, restarts=1, steps=2
    ).design
    written = dataclasses.replace(spikeflow.Chip(), adc_bits=int(found.adc_bits))
    assert float(found.cost(workload).energy_j) == pytest.approx(float(written.cost(workload).energy_j))
    assert found.arithmetic().converters == written.arithmetic().converters
