"""The authors' script and Table II of "Are SNNs Truly Energy-efficient?", by the published conventions."""

import math

import jax
import pytest

from hwmodels import spikeflow
from tests.helpers import reference_json
from tests.hwmodels.spikeflow.networks import golden_vgg9, table_ii


@pytest.mark.parametrize("x64", [True, False])
def test_golden_vgg9(x64):
    golden = reference_json("spikeflow/ela.json")["golden_vgg9_cifar10_t5"]
    with jax.enable_x64(x64):
        cost = spikeflow.evaluate(golden_vgg9(), spikeflow.Chip(), conventions="published")
    assert cost.placement.pes == golden["pes"]
    assert cost.placement.tiles == golden["tiles"]
    assert math.isclose(cost.energy_j * 1e12, golden["energy_pj"], rel_tol=1e-12)
    assert math.isclose(cost.area_mm2 * 1e6, golden["area_um2"], rel_tol=1e-12)
    assert math.isclose(cost.latency_s * 1e9, golden["latency_ns"], rel_tol=1e-12)


@pytest.mark.parametrize("work", ["Direct", "TSSL", "LTH", "TDBN"])
def test_table_ii_to_the_printed_digits(work):
    (row,) = [row for row in reference_json("spikeflow/ela.json")["table_ii"] if row["work"] == work]
    cost = spikeflow.evaluate(table_ii(work.lower(), row["timesteps"]), conventions="published")
    energy_nj = cost.energy_j * 1e9
    # Direct, TSSL and TDBN are printed rounded; LTH's 2.651e5 is printed 2.6e5, that is, cut off.
    digits = energy_nj / 1e4
    assert row["printed_nj"] / 1e4 in (round(digits), int(digits))
    assert float(f"{energy_nj:.3e}") == row["computed_nj"]


@pytest.mark.parametrize(("work", "label"), [("sbp", "S-BP"), ("bntt", "BNTT")])
def test_table_ii_rows_with_unknown_layers_are_not_reached(work, label):
    """The printed rows ask for 4.5 to 4.7 µJ a timestep; SATA's list of these networks gives the 3.18 µJ of
    the golden VGG9. The authors' own list is unknown, and nothing is tuned to it; the nearest found is in
    `experiments/benchmarks/spikeflow_paper.py`, at 5.09 µJ."""
    (row,) = [row for row in reference_json("spikeflow/ela.json")["table_ii"] if row["work"] == label]
    per_timestep_nj = (
        spikeflow.evaluate(table_ii(work, row["timesteps"]), conventions="published").energy_j
        * 1e9
        / row["timesteps"]
    )
    golden = reference_json("spikeflow/ela.json")["golden_vgg9_cifar10_t5"]
    assert per_timestep_nj == pytest.approx(golden["energy_pj"] * 1e-3 / golden["timesteps"])
    assert per_timestep_nj < row["printed_nj"] / row["timesteps"]


def test_breakdowns_sum_to_the_totals():
    for conventions in ("published", "corrected"):
        cost = spikeflow.evaluate(golden_vgg9(), conventions=conventions)
        assert math.isclose(sum(cost.energy_by_layer_j.values()), cost.energy_j, rel_tol=1e-12)
        assert math.isclose(sum(cost.energy_by_component_j.values()), cost.energy_j, rel_tol=1e-12)
        assert math.isclose(sum(cost.area_by_component_mm2.values()), cost.area_mm2, rel_tol=1e-12)
        assert math.isclose(sum(cost.latency_by_layer_s.values()), cost.latency_s, rel_tol=1e-12)
        assert math.isclose(sum(cost.latency_by_component_s.values()), cost.latency_s, rel_tol=1e-12)
