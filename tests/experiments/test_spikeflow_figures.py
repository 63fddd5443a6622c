"""SpikeFlow's pictures draw, and its table of printed numbers is complete."""

import io

import pytest

from experiments.benchmarks import spikeflow_paper
from experiments.figures import spikeflow as figures
from experiments.figures import spikeflow_page
from hwmodels import spikeflow


@pytest.fixture(scope="module")
def workload():
    return spikeflow.vgg(spikeflow.VGG9, hidden=(256,))


@pytest.mark.parametrize("draw", [figures.breakdown_figure, figures.layers_figure, figures.floor_plan_figure])
def test_figures_of_a_cost(draw, workload):
    stream = io.BytesIO()
    draw(spikeflow.evaluate(workload)).savefig(stream, dpi=20)
    assert stream.getvalue().startswith(b"\x89PNG")


def test_floor_plan_draws_every_pe_once(workload):
    cost = spikeflow.evaluate(workload)
    (axes,) = figures.floor_plan_figure(cost).axes
    filled = [patch for patch in axes.patches if patch.get_fill()]
    area = sum(patch.get_width() * patch.get_height() for patch in filled)
    assert area == pytest.approx(0.9 * 0.9 * cost.placement.pes / cost.placement.pes_per_tile)


def test_energy_against_timesteps(workload):
    energy, edp = figures.timesteps_figure(workload, timesteps=range(1, 4)).axes
    heights = [patch.get_y() + patch.get_height() for patch in energy.patches[:3]]
    expected = [1e6 * spikeflow.evaluate(type(workload)(workload.layers, t)).energy_j for t in (1, 2, 3)]
    assert heights == pytest.approx(expected)
    assert edp.lines[0].get_ydata()[0] == 1


def test_printed_numbers():
    rows = {row["quantity"]: row for row in spikeflow_paper.run()["rows"]}
    for work in ("Direct", "TSSL", "LTH", "TDBN"):
        assert abs(rows[f"{work}, nJ"]["difference"]) < 0.025
    assert abs(rows["EDP, T = 4 over 1, corrected"]["difference"]) < 0.05
    assert all(row["why"] for row in rows.values())


def test_the_stored_page_is_what_is_written_today(as_users_run):
    assert spikeflow_page.PATH.read_text() == spikeflow_page.page()
