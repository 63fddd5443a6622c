"""`run parity`: what is missing is trained and measured, and one page says how it compares."""

from typing import Any

from experiments import registry
from experiments.figures import parity as figures
from experiments.figures.sata import mitigation_figure
from experiments.output import Result, Run
from experiments.parity import perspective, robustness, tables, targets
from experiments.parity.claims import Claim, claims, claims_table
from experiments.parity.ledger import Ledger, said
from experiments.parity.library import Library
from experiments.parity.measure import Bench, Setting, Subject
from experiments.parity.perspective import Perspective
from experiments.parity.readings import READINGS
from experiments.parity.recipes import Recipe
from experiments.parity.robustness import Robustness, drop
from jaxsnn.data.dataset import Dataset

make_subject = registry.register(Subject)
make_setting = registry.register(Setting)
make_robustness = registry.register(Robustness)
make_perspective = registry.register(Perspective)

KEPT = registry.RESULTS / "parity"
"""Rows that come with the project."""


@registry.experiment("parity", "every table and figure of both papers beside the printed one")
def parity(
    run: Run,
    *,
    datasets: dict[str, Dataset],
    recipes: dict[str, Recipe],
    rows: tuple[str, ...],
    notes: dict[str, str],
) -> Result:
    """Take finished rows, train and measure the missing ones, and compare all with the papers.

    **Arguments:**

    - `datasets`: by the names that recipes use; loaded when a config names them.
    - `recipes`: of the networks, by name.
    - `rows`: patterns such as "table_1_*" of the rows that are made where they are missing, with all the
      training that they need; the others are listed as not run.
    - `notes`: what was cut in a row, by its name.
    """
    setting, robust, outlook = make_setting(), make_robustness(), make_perspective()
    registry.require_all_used()
    bench = Bench(Library(run, recipes, datasets), setting)
    ledger = Ledger(
        run.folder / "rows",
        () if run.fresh else (KEPT,),
        run.console,
        seed=setting.seed,
        make=rows,
        begin=run.piece.before,
    )
    found: dict[str, Any] = {
        **robustness.measure(bench, ledger, robust),
        **perspective.measure(bench, ledger, outlook),
    }
    judged = {reading: claims(found, reading) for reading in robust.readings}
    shown = _tables(found, robust, notes, judged)
    shown.append(tables.wall_times(ledger.rows, ledger.missing))
    title = "Two papers, and what comes out here"
    counted = [
        f"{_count(each, True)} hold, {_count(each, False)} do not and {_count(each, None)} were not run "
        f'under the reading "{reading}"'
        for reading, each in judged.items()
    ]
    verdict = (
        f"Of {len(judged[robust.shown])} claims that carry the papers {'; '.join(counted)}. "
        f"{len(ledger.rows)} rows are measured, {len(ledger.missing)} missing."
    )
    drawn = _figures(found, robust)
    return Result(
        title=title,
        inputs={
            "datasets": {name: data.fingerprint for name, data in datasets.items()},
            "recipes": said(recipes),
            "setting": said(setting),
        },
        numbers={
            "rows": found,
            "claims": {reading: [claim._asdict() for claim in each] for reading, each in judged.items()},
        },
        tables=shown,
        figures=drawn,
        verdict=verdict,
        files={"parity.md": tables.markdown(title, verdict, shown, drawn).encode()},
    )


def _count(found: list[Claim], holds: bool | None) -> int:
    return sum(claim.holds is holds for claim in found)


def _tables(rows: Any, plan: Robustness, notes: dict[str, str], judged: Any) -> list[Any]:
    named_1 = {f"table_1_{name}": paper for name, paper in targets.TABLE_I.items()}
    named_2 = {f"table_2_{name}_{size}": paper for (name, size), paper in targets.TABLE_II.items()}
    found = [
        claims_table(judged),
        tables.robustness_table("Robustness, table I", named_1, rows, plan.shown, notes),
        tables.robustness_table("Robustness, table II", named_2, rows, plan.shown, notes),
        tables.figure_3_table(rows, plan.shown),
        tables.figure_4_table(rows, plan.shown),
        tables.readings_table(rows),
        tables.ablation_table(rows),
        tables.table_2_of_perspective(),
        *(tables.dt_snn_table(name, row) for name, row in tables.exiting_early(rows).items()),
        tables.weight_encoding_table(rows["figure_6b"]) if rows.get("figure_6b") else None,
        tables.lab_table(rows),
        tables.cost_table(),
    ]
    return [table for table in found if table is not None]


def _figures(rows: Any, plan: Robustness) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SATA_figures_4b_5a_5b": mitigation_figure(),
        "SpikeFlow_figure_6a": figures.neuron_area_figure(),
    }
    courses: dict[str, dict[int, tuple[float, float]]] = {}
    for name, row in rows.items():
        if name.startswith("figure_3_") and row is not None:
            _, _, method, timesteps = name.split("_")
            courses.setdefault(method, {})[int(timesteps)] = (
                tables.loss(row, "ideal"),
                tables.loss(row, plan.shown),
            )
    if courses:
        found["figure_3"] = figures.timesteps_figure(courses, plan.shown)
    if (row := rows.get("figure_4")) is not None:
        software = row["software_on_hardware_images"]
        found["figure_4"] = figures.adaptation_figure(
            row["images"],
            {
                name: [drop(software, chips[name]) for chips in row["hardware"]]
                for name in dict.fromkeys(("ideal", plan.shown))
            },
        )
    if study := tables.studied(rows):
        losses: dict[str, list[float | None]] = {
            "paper": [paper.drop for _, paper in study],
            **{reading: [tables.under(row, reading) for row, _ in study] for reading in READINGS},
        }
        columns = [f"{paper.method}, {paper.data}, {paper.rows}×{paper.rows}" for _, paper in study]
        found["readings"] = figures.readings_figure(columns, losses)
    for name, row in tables.exiting_early(rows).items():
        found[f"DT-SNN_{name}"] = figures.early_exit_figure(row)
    if (row := rows.get("figure_6b")) is not None:
        found["figure_6b"] = figures.weight_encoding_figure(
            row["software_on_hardware_images"], row["hardware"]
        )
    return found
