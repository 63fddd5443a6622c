"""The page: its numbers are the report's, and a browser shows, sorts and fits it."""

import csv
import dataclasses
import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from jaxsnn.codesign import page
from jaxsnn.codesign.charts import Point, scatter
from jaxsnn.codesign.compare import compare
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import number_in
from tests.jaxsnn.codesign.reports import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = report().save(tmp_path_factory.mktemp("report") / "new")
    return folder, (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("98.05% ± 0.54%", 98.05),
        ("268.96 nJ", 268.96e-9),
        ("2.55 µJ", 2.55e-6),
        ("0.669 mm²", 0.669),
        ("1,234", 1234),
        ("−0.5", -0.5),
        ("± 2.52 %", 2.52),
        ("1127×", 1127),
        ("10 MHz", 10e6),
        ("38 ms", 0.038),
        ("3 m", 3),
        ("–", None),
        ("software", None),
    ],
)
def test_a_cell_is_sorted_by_its_number_in_one_unit(text, value):
    assert number_in(text) == (value if value is None else pytest.approx(value))


def test_every_cell_is_on_the_page_and_names_are_escaped(saved):
    _, text = saved
    for table in report().tables():
        for cell in {cell for row in table.rows for cell in row}:
            assert html.escape(cell) in text
    assert "ten <b>" not in text
    assert "http" not in text
    assert "2026-11-28 10:11 UTC" in text
    assert "commit abc123" in text


def test_charts_say_what_they_show_and_words_of_components_are_explained(saved):
    _, text = saved
    (label, *_) = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert "two, 95.0% at 2.00 µJ" in label
    assert "<title>ten &lt;b&gt;, adc: 6.00 nJ, 60.0%</title>" in text
    assert "<dt>adc</dt>" in text
    assert "<dt>glb</dt>" in text
    assert "<dt>noc</dt>" not in text


def test_the_verdict_names_the_best_chip_and_what_needs_less():
    best = "Of 96.0% in software, 95.0% survive on two, where an inference takes 2.00 µJ, 20000 times what "
    least = " one needs least, 1.00 nJ, and keeps 50.0%."
    toy = report()
    assert toy.verdict == best + "a FLOP count claims." + least
    nearly = dataclasses.replace(toy["ten <b>"], by_network=np.array([[0.94, 0.94]]))
    toy = dataclasses.replace(toy, chips={**toy.chips, "ten <b>": nearly})
    assert toy.verdict == best + "a FLOP count claims." + " ten <b> keeps 94.0% for 10.00 nJ." + least


def test_of_blank_inputs_nothing_is_claimed_and_the_report_is_written(tmp_path):
    blank = dataclasses.replace(report(), estimated_energy_j=0.0)
    assert blank.verdict.startswith("Of 96.0% in software, 95.0% survive on two, where an inference takes 2.")
    assert "µJ. one needs least" in blank.verdict
    over = [row[4] for row in blank.tables()[0].rows]
    assert over == ["–"] * 5
    assert (blank.save(tmp_path) / "result.json").exists()


def test_a_spread_that_was_not_measured_is_a_dash(tmp_path):
    drawn = report()
    once = dataclasses.replace(drawn["two"], by_network=np.array([[0.95]]))
    single = dataclasses.replace(drawn, chips={"two": once})
    saved = [each.save(tmp_path / name) for name, each in (("drawn", drawn), ("single", single))]
    chips = [row[1] for row in single.tables()[0].rows]
    assert chips == ["96.00% ± –", "", "95.00% ± –"]
    assert "one programmed chip of each design, which shows no spread." in single.tables()[0].note
    assert drawn.tables()[0].rows[3][1] == "95.00% ± 0.00%"
    assert "two: 95.00% ± –, 2.00 µJ" in (saved[1] / "report.html").read_text()
    assert json.loads((saved[1] / "result.json").read_text())["numbers"]["chips"]["two"]["spread"] == 0
    rows = compare(saved).tables()[0].rows
    assert [row[1] for row in rows if row[0].endswith("two")] == ["95.00% ± 0.00%", "95.00% ± –"]
    assert "single: two: 95.00% ± –" in compare(saved).charts()[0].svg


def test_labels_of_neighbours_do_not_overlap_and_lead_to_their_points():
    chips = [Point(name, 1e-7, 0.9) for name in ("first", "second", "third", "fourth")]
    heights = [
        float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="(?:start|end)">[a-z]+<', scatter(chips).svg)
    ]
    assert len(heights) == 4
    assert min(np.diff(sorted(heights))) >= 13
    assert scatter(chips).svg.count("leader") == 2


def test_result_files_hold_the_same_numbers(saved):
    folder, _ = saved
    numbers = json.loads((folder / "result.json").read_text())["numbers"]
    with (folder / "result.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["chip"] for row in rows] == list(numbers["chips"])
    for row in rows:
        chip = numbers["chips"][row["chip"]]
        for name in ("accuracy", "energy_j", "latency_s", "area_mm2"):
            assert float(row[name]) == chip[name]
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "result.csv", "result.json"]


def test_a_page_without_charts_config_or_rows():
    text = page.render("Nothing", [Table("Empty", ["", "number"], [])], {})
    assert "Operative config" not in text
    assert "<svg" not in text


def browse(text, tmp_path, width=None):
    """What a headless browser leaves of a page, and what its console said."""
    path = tmp_path / "page.html"
    path.write_text(text)
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=2000",
        "--dump-dom",
        path.as_uri(),
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=240)
    return process.stdout, [line for line in process.stderr.splitlines() if "CONSOLE" in line]


SORT = """<script>
const table = document.querySelector("table"), button = table.querySelectorAll("th button")[3], seen = [];
const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent).join("|");
for (let click = 0; click < 2; click++) { button.click(); seen.push(names()) }
document.title = JSON.stringify(seen);
</script>"""

MEASURE = """<!doctype html><iframe style="width:390px;height:800px;border:0"></iframe><script>
const frame = document.querySelector("iframe");
frame.onload = () => { const root = frame.contentDocument.documentElement;
  document.title = JSON.stringify([root.clientWidth, root.scrollWidth]) };
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs the Debian package chromium")
def test_in_a_browser_columns_sort_by_value_and_nothing_complains(saved, tmp_path):
    dom, console = browse(saved[1].replace("</body>", SORT + "</body>"), tmp_path)
    assert console == []
    (title,) = re.findall("<title>(.*?)</title>", dom)[:1]
    up, down = json.loads(html.unescape(title))
    # 0.1, 1, 10 nJ and 2 µJ; what has no energy stays last.
    assert up.split("|") == ["FLOP estimate", "one", "ten <b>", "two", "software"]
    assert down.split("|") == ["two", "ten <b>", "one", "FLOP estimate", "software"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs the Debian package chromium")
def test_in_a_browser_nothing_is_wider_than_a_phone(saved, tmp_path):
    content = json.dumps(saved[1]).replace("</", "<\\/")
    dom, console = browse(MEASURE.replace("PAGE", content), tmp_path)
    assert console == []
    (title,) = re.findall("<title>(.*?)</title>", dom)[:1]
    client, scroll = json.loads(title)
    # A bar for scrolling down takes some of the 390.
    assert client == scroll <= 390
