import matplotlib.figure
import pytest

from experiments.figures import sata as figures
from hwmodels import sata

NETWORK = sata.vgg9(timesteps=4)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.layer_figure(sata.inference_energy(NETWORK)),
        lambda: figures.utilisation_figure(NETWORK),
        figures.mitigation_figure,
        lambda: figures.correction_figure(NETWORK),
        lambda: figures.dataflow_figure(NETWORK),
    ],
)
def test_figures_are_drawn_with_their_axes_named(draw, tmp_path):
    figure = draw()
    assert isinstance(figure, matplotlib.figure.Figure)
    assert any("[" in axes.get_ylabel() + axes.get_xlabel() or axes.get_xlabel() for axes in figure.axes)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_stacks_show_the_whole_energy():
    cost = sata.inference_energy(NETWORK)
    whole = figures.layer_figure(cost).axes[1]
    assert sum(bar.get_height() for bar in whole.patches) == pytest.approx(cost.total_j * 1e6)


def test_the_stored_page_is_what_is_written_today(as_users_run):
    assert figures.PATH.read_text() == figures.page()
