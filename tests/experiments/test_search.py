"""The co-design experiment: the chips it finds, what dominates what, mistakes, and the run end to end."""

import itertools
import json

import jax
import pytest
from flax import nnx

from experiments.search import undominated
from hwmodels import spikeflow
from hwmodels.crossbar import Crossbar, Device, Wires
from hwmodels.search import InfeasibleError
from hwmodels.workload import Layer, Workload
from jaxsnn.codesign.search import ChipSpace, find_chip, mean_weight_errors
from jaxsnn.models.mlp import mlp
from tests.experiments.test_command_line import experiments

KEY = jax.random.key(3)
BASE = spikeflow.Chip(activity="spikes")
SPACE = ChipSpace(
    crossbar_sizes=(16, 32, 64),
    adc_bits=(4, 5, 6),
    mux_ratios=(1, 4, 8),
    pes_per_tile=(2, 8),
    rows_per_code=1.0,
    weight_error=0.25,
)
ERRORS = (0.1, 0.2, 0.3)
WORKLOAD = Workload(
    (
        Layer.conv("conv1", height=8, width=8, in_channels=1, out_channels=8, padding=1, input_rate=0.3),
        Layer.linear("fc1", in_features=512, out_features=10, input_rate=0.2, spiking=False),
    ),
    timesteps=2.5,
)


def searched(errors, limit_mm2, **settings):
    return find_chip(WORKLOAD, **SPACE.of(BASE, errors), key=KEY, area_limit_mm2=limit_mm2, **settings)


def test_the_chip_found_is_the_best_of_all_legal_ones():
    limit_mm2 = 0.4
    legal = {}
    for size, bits, mux, pes in itertools.product((16, 32, 64), (4, 5, 6), (1, 4, 8), (2, 8)):
        chip = spikeflow.Chip(
            crossbar_rows=size,
            crossbar_columns=size,
            adc_bits=bits,
            mux_ratio=mux,
            pes_per_tile=pes,
            activity="spikes",
        )
        cost = spikeflow.evaluate(WORKLOAD, chip)
        if size <= 2**bits and size < 64 and cost.area_mm2 <= limit_mm2:
            legal[size, bits, mux, pes] = cost.energy_j * cost.latency_s
    assert 1 < len(legal) < 36
    found = searched(ERRORS, limit_mm2, restarts=8, steps=10)
    assert tuple(found.values.values()) == min(legal, key=legal.get)
    # nJ·ms, for a descent in float32.
    assert found.objective == pytest.approx(1e12 * min(legal.values()), rel=1e-9)
    assert found.constrained["area"] <= limit_mm2


def test_a_limit_that_no_chip_keeps_is_named():
    with pytest.raises(InfeasibleError, match=r"area is .* above the bound of 0\.001 mm²"):
        searched(ERRORS, 1e-3, restarts=4, steps=5)
    with pytest.raises(InfeasibleError, match=r"weight error is 0\.5, 0\.25 above the bound of 0\.25"):
        searched((0.5, 0.6, 0.7), 1.0, restarts=4, steps=5)


def test_larger_crossbars_have_larger_weight_errors_and_perfect_ones_none():
    network = mlp((40,), in_features=64, rngs=nnx.Rngs(0))
    errors = mean_weight_errors(network, Crossbar(), (4, 16), KEY)
    assert 0 < errors[0] < errors[1] < 1
    perfect = Crossbar(wires=Wires(0.0, 0.0, 0.0, 0.0), device=Device(variation=None))
    assert max(mean_weight_errors(network, perfect, (4, 16), KEY)) < 1e-6


def test_only_what_nothing_beats_is_on_the_front():
    points = [(0.9, 2.0, 1.0), (0.9, 2.0, 1.5), (0.8, 1.0, 1.0), (0.9, 2.0, 1.0), (0.7, 3.0, 3.0)]
    rows = [dict(zip(("accuracy", "energy_j", "area_mm2"), point, strict=True)) for point in points]
    # Equal rows do not beat one another.
    assert undominated(rows) == [True, False, True, True, False]


def test_a_converter_has_columns_of_its_own_crossbar():
    with pytest.raises(ValueError, match="8 columns cannot share a converter in crossbars of 4"):
        ChipSpace((4, 16), (4, 5), (1, 8), (2, 8), 1.0, 0.3)


SMALL = (
    "digits_convnet.width=2",
    "TrainConfig.epochs=1",
    "search.tuning_epochs=1",
    "search.betas=(1.0,)",
    "search.area_limits_mm2=(1.0, 0.001)",
    "search.draws=1",
    "search.restarts=2",
    "search.steps=2",
    "ChipSpace.crossbar_sizes=(16, 32)",
)


def run(folder, *bindings):
    options = [f"--set={binding}" for binding in (*SMALL, *bindings)]
    return experiments("run", "search", "--out", folder, *options)


def test_a_mistake_is_one_sentence(tmp_path):
    process = run(tmp_path, "search.draws=0")
    assert process.returncode == 2
    assert "at least one each of area_limits_mm2, draws, restarts and steps" in process.stderr


@pytest.mark.long
def test_the_experiment_runs_and_says_which_limit_admits_no_chip(tmp_path):
    process = run(tmp_path)
    assert process.returncode == 0, process.stderr
    assert "Networks and their chips" in process.stdout
    assert (tmp_path / "search.png").stat().st_size > 1000
    numbers = json.loads((tmp_path / "result.json").read_text())["numbers"]
    assert [(row["beta"], row["area_limit_mm2"]) for row in numbers["found"]] == [
        (0.0, None),
        (0.0, 1.0),
        (1.0, None),
        (1.0, 1.0),
    ]
    assert all(row["area_mm2"] <= 1 for row in numbers["found"])
    assert len(numbers["infeasible"]) == 2
    assert all("above the bound of 0.001 mm²" in message for message in numbers["infeasible"])
