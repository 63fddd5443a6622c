"""The search and the sensitivity report as a user runs them, and their figures."""

import json
import subprocess
import sys

import numpy as np
import pytest

from experiments.figures import search as figures
from experiments.figures.sensitivity import sensitivity_figure

SMALL = ("digits_convnet.width=4", "TrainConfig.epochs=1", "TrainConfig.timesteps=2")


def run(name, folder, *bindings):
    options = [f"--set={binding}" for binding in (*SMALL, *bindings)]
    return subprocess.run(
        [sys.executable, "-m", "experiments", "run", name, "--out", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=900,
    )


def numbers(process, folder):
    assert process.returncode == 0, process.stderr
    return json.loads((folder / "result.json").read_text())["numbers"]


def test_search_finds_better_chips_within_their_area(tmp_path):
    process = run(
        "search",
        tmp_path,
        "search.betas=(0.0,)",
        "search.spikeflow_areas_mm2=(0.9,)",
        "Search.restarts=4",
        "Search.steps=4",
        "Search.polished=1",
    )
    found = numbers(process, tmp_path)
    for design in found["designs"].values():
        assert design["after"]["energy_delay_js"] < design["before"]["energy_delay_js"]
        assert design["evaluations"] == len(design["trace"])
        assert design["gradients"] == 16
    assert found["designs"]["SpikeFlow"]["after"]["area_mm2"] <= 0.9
    (point,) = found["joint"]
    assert point["area_mm2"] <= 0.9
    assert point["values"]["crossbar_rows"] / 2 ** point["values"]["adc_bits"] <= 4
    assert {"progress.png", "joint.png"} <= {path.name for path in tmp_path.iterdir()}
    assert "Network and SpikeFlow chip together" in process.stdout


def test_sensitivity_shares_every_cost_out(tmp_path):
    found = numbers(run("sensitivity", tmp_path, "sensitivity.crossbar_size=8"), tmp_path)
    elasticities = found["elasticities"]
    constants = [v for name, v in elasticities["SpikeFlow energy"].items() if name.endswith("_j")]
    assert sum(constants) == pytest.approx(1, abs=1e-4)
    assert elasticities["SpikeFlow latency"]["clock_hz"] == pytest.approx(-1, abs=1e-4)
    assert elasticities["SATA energy"]["timesteps"] > 0
    error = elasticities["weight error under IR drop"]
    resistances = sum(v for name, v in error.items() if name.startswith("wires"))
    devices = sum(v for name, v in error.items() if name.endswith("_siemens"))
    assert resistances == pytest.approx(devices, abs=1e-3)
    assert (tmp_path / "sensitivity.png").is_file()


def test_a_mistake_is_one_sentence(tmp_path):
    for name, binding, message in (
        ("search", "search.betas=()", "at least one"),
        ("sensitivity", "sensitivity.shown=0", "at least 1, got 0"),
    ):
        process = run(name, tmp_path / name, binding)
        assert process.returncode == 2
        assert message in process.stderr


def test_figures_name_their_axes():
    curve = {"evaluations": [1, 2], "ratio": {"a": [None, 1.0]}}
    point = {"beta": 0.0, "area_limit_mm2": 1.0, "accuracy": 0.9, "energy_j": 1e-8, "area_mm2": 0.5}
    for figure in (
        figures.benchmark_figure({"space": curve}),
        figures.progress_figure({"chip": np.array([np.inf, 2.0, 1.0])}),
        figures.joint_figure([point]),
        sensitivity_figure({"cost": {"x": 1.0, "y": -2.0, "z": 0.1}}, 2),
    ):
        assert all("[" in axes.get_xlabel() or "[" in axes.get_ylabel() for axes in figure.axes)
    (panel,) = sensitivity_figure({"cost": {"x": 1.0, "y": -2.0, "z": 0.1}}, 2).axes
    assert [bar.get_width() for bar in panel.patches] == [1.0, -2.0]
