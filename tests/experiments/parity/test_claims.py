"""Claims are judged by the rows, and a missing row is not a verdict."""

import pytest

from experiments.parity import targets
from experiments.parity.claims import claims
from experiments.parity.robustness import drop
from experiments.parity.tables import markdown, readings_table, robustness_table, verdict
from jaxsnn.codesign.table import Table

SHOWN = "kernel max"


def row(software, hardware):
    """One accuracy on two chips, or one of each chip."""
    chips = [hardware] * 2 if isinstance(hardware, float) else hardware
    return {
        "ours": "digits",
        "software": software,
        "software_on_hardware_images": software,
        "hardware": {"ideal": [0.1, 0.1], SHOWN: chips},
    }


def as_printed():
    """Rows that hold what the robustness paper prints."""
    rows = {f"table_1_{name}": row(each.software, each.hardware) for name, each in targets.TABLE_I.items()}
    rows |= {
        f"table_2_{name}_{size}": row(each.software, each.hardware)
        for (name, size), each in targets.TABLE_II.items()
    }
    rows |= {f"figure_3_surrogate_{steps}": row(0.8, 0.8 - steps / 50) for steps in (10, 20, 30)}
    rows |= {f"figure_3_conversion_{steps}": row(0.9, 0.85) for steps in (100, 250, 500)}
    adapted = [{"ideal": [0.1], SHOWN: [accuracy]} for accuracy in (0.1, 0.5, 0.85)]
    rows["figure_4"] = {"software_on_hardware_images": 0.9, "images": [0, 10, 20], "hardware": adapted}
    rows["dt_snn_cifar10"] = {"accuracy_by_timesteps": [0.8, 0.88, 0.89, 0.9], "chosen": (0.2, 1.5, 0.899)}
    return rows


def judged(rows):
    return {claim.says: claim.holds for claim in claims(rows, SHOWN)}


def test_the_papers_own_numbers_bear_out_their_claims():
    assert set(judged(as_printed()).values()) == {True}


@pytest.mark.parametrize(
    ("claim", "changed"),
    [
        ("ANNs and converted networks lose little", {"table_1_cifar_ann": row(0.9, 0.5)}),
        (
            "networks trained by surrogate gradients lose much more",
            {"table_1_cifar_surrogate": row(0.9, 0.85)},
        ),
        # Seven points more than the ANN: more, and not much more.
        (
            "networks trained by surrogate gradients lose much more",
            {"table_1_cifar_surrogate": row(0.9, 0.78)},
        ),
        ("BNTT collapses", {"table_1_mnist_bntt": row(0.99, 0.9)}),
        ("more timesteps hurt surrogate-trained networks", {"figure_3_surrogate_30": row(0.8, 0.8)}),
        ("conversion does not depend on the timesteps", {"figure_3_conversion_500": row(0.9, 0.2)}),
        ("smaller crossbars help", {"table_2_surrogate_32": row(0.9, 0.01)}),
        (
            "DT-SNN keeps accuracy (0.3 points) with half the timesteps",
            {"dt_snn_cifar10": {"accuracy_by_timesteps": [0.1, 0.2, 0.3, 0.9], "chosen": None}},
        ),
    ],
)
def test_other_numbers_do_not(claim, changed):
    found = judged(as_printed() | changed)
    assert found.pop(claim) is False
    assert set(found.values()) == {True}


def test_an_order_is_judged_by_the_spread_of_chips():
    """15 points fewer on smaller tiles are an order where chips agree, and none where they differ by 30."""

    def smaller_help(chips):
        return judged(
            as_printed() | {"table_2_surrogate_32": row(0.8, chips), "table_2_surrogate_64": row(0.8, 0.45)}
        )["smaller crossbars help"]

    assert smaller_help([0.56, 0.6, 0.58])
    assert not smaller_help([0.3, 0.6, 0.84])


def test_a_worse_ann_on_smaller_crossbars_counts_only_beyond_the_spread():
    for chips, holds in (([0.5, 0.7, 0.9], True), ([0.7, 0.7, 0.7], False)):
        rows = as_printed() | {"table_2_ann_32": row(0.9, chips), "table_2_ann_64": row(0.9, 0.85)}
        assert judged(rows)["smaller crossbars help"] is holds


def test_smaller_crossbars_that_help_one_network_alone_say_so():
    def evidence(rows):
        return next(claim.evidence for claim in claims(rows, SHOWN) if claim.says == "smaller crossbars help")

    assert "alone" not in evidence(as_printed())
    assert "by the surrogate row alone" in evidence(as_printed() | {"table_2_ann_32": row(0.9, 0.84)})


def test_without_rows_nothing_that_needs_training_is_judged():
    found = judged({})
    assert {claim for claim, holds in found.items() if holds is not None} == {
        "estimates overstate the gains",
        "data movement dominates SATA",
        "the LIF module's area matters on SpikeSim (above 11 %)",
    }


def test_a_row_is_judged_by_the_size_of_its_loss():
    assert verdict(0.8, 0.7) == "agrees: loses much"
    assert verdict(0.8, 0.05) == "differs: little, not much"
    assert drop(0.8, [0.4, 0.4]) == pytest.approx(0.5)
    assert drop(0.0, [0.0]) == 0


def test_tables_say_what_was_not_run():
    rows = as_printed()
    rows["table_1_mnist_ann"] = None
    printed = {f"table_1_{name}": paper for name, paper in targets.TABLE_I.items()}
    table = robustness_table("Table I", printed, rows, SHOWN, {"table_1_cifar_ann": "a quarter"})
    assert "not run" in table.rows[0]
    assert table.rows[1][-1] == "a quarter"
    assert {len(cells) for cells in table.rows} == {len(table.columns)}


def test_readings_stand_beside_the_rows_that_they_were_tried_on():
    tried = {"software": 0.9934, "hardware": {"ideal": [0.1], SHOWN: [0.99]}}
    table = readings_table({"readings_mnist_ann_64": tried})
    by_reading = {cells[0]: cells[1:] for cells in table.rows}
    assert by_reading["ideal"] == ["89.9%", "0 of 1"]
    assert by_reading[SHOWN] == ["0.3%", "1 of 1"]
    assert by_reading["tile max"] == ["–", "0 of 0"]
    assert by_reading["ideal, thresholds found on the chip"] == by_reading["ideal"]


def test_markdown_keeps_every_cell():
    text = markdown("Title", "Said.", [Table("T", ["a", "b"], [["x|y", "1"]], note="n")], ["figure_3"])
    wanted = ["# Title", "Said.", "## T", "| a | b |", "| x\\|y | 1 |", "n", "![figure 3](figure_3.png)"]
    assert set(wanted) <= set(text.splitlines())
