"""Wheel and sdist: what they hold, and that they work in a clean environment, far from the sources."""

import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import jaxsnn
from tests.run_blocks import blocks

ROOT = Path(__file__).parents[1]


def test_no_message_says_to_install_another_projects_package():
    wanted = "pip install " + "jaxsnn", "pip install '" + "jaxsnn"
    for path in (
        path for name in ("jaxsnn", "hwmodels", "experiments") for path in (ROOT / name).rglob("*.py")
    ):
        assert not any(each in path.read_text() for each in wanted), path


def test_extras_that_messages_name_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "spikechip"
    for path in (path for name in ("jaxsnn", "hwmodels") for path in (ROOT / name).rglob("*.py")):
        for part in path.read_text().split("spikechip[")[1:]:
            assert set(part.split("]")[0].split(",")) <= set(project["optional-dependencies"]), path


def test_the_changelog_has_this_version():
    assert f"## {jaxsnn.__version__} " in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with wheel and sdist."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, timeout=600)
    return folder


@pytest.mark.long
def test_wheel_and_sdist_hold_the_two_packages_and_their_data(built):
    (wheel,) = built.glob("spikechip-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"jaxsnn", "hwmodels"}
    for package in ("jaxsnn", "hwmodels"):
        kept = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / package).rglob("*")
            if path.suffix in (".py", ".json", ".jinja", ".npz") or path.name == "py.typed"
        }
        assert kept <= names
    (sdist,) = built.glob("spikechip-*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "jaxsnn/codesign/report.html.jinja"} <= held


@pytest.mark.long
def test_the_wheel_runs_the_readme_in_a_clean_environment(built, tmp_path):
    (wheel,) = built.glob("spikechip-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    scripts = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    pip = [scripts / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", str(wheel)], check=True, timeout=900)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*words):
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
        )

    for absent in ("experiments", "gin", "matplotlib", "sklearn"):
        assert run(scripts / "python", "-c", f"import {absent}").returncode != 0
    script = tmp_path / "readme.py"
    script.write_text(blocks((ROOT / "README.md").read_text())[0][1])
    process = run(scripts / "python", script)
    assert process.returncode == 0, process.stderr
    assert float(process.stdout.split()[-1]) > 0
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    process = run(scripts / "spikechip", "compare", "report", "report")
    assert process.returncode == 2
    assert "different folders" in process.stderr
    described = run(scripts / "spikechip", "describe", "Chip")
    assert "crossbar_rows" in described.stdout
