"""README and documentation: their code runs, their commands parse, their links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap
from experiments import __main__ as application
from jaxsnn.codesign import cli
from tests.run_blocks import blocks

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "tutorials" not in path.parts)
RUNNABLE = [path for path in PAGES if blocks(path.read_text())]


def run_blocks(*paths):
    """As a user runs them: float32, and nothing of the tests or the application imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / "run_blocks.py"), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=900,
        env=environment,
        cwd=ROOT.anchor,
    )


def test_the_readme_runs_in_a_fresh_process(tmp_path):
    """Accuracy above chance, joules above zero; what needs a reader's own file is left out."""
    code = blocks((ROOT / "README.md").read_text())[0][1]
    assert len([line for line in code.splitlines() if line.strip() and "import" not in line]) <= 15
    page = tmp_path / "readme.md"
    page.write_text(f"```python\n{code}\n```\n")
    process = run_blocks(page)
    assert process.returncode == 0, process.stderr
    accuracy, spread, energy_j = map(float, process.stdout.split()[-3:])
    assert accuracy > 0.5
    assert spread >= 0
    assert 0 < energy_j < 1e-3


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 700


def test_the_readme_and_the_guide_read_foreign_networks_alike():
    guide = (ROOT / "docs" / "how-to" / "own-network.md").read_text()
    for _, code in blocks((ROOT / "README.md").read_text())[1:]:
        for line in code.splitlines():
            if "import" in line or "from_nir" in line:
                assert line in guide


@pytest.mark.long
def test_the_code_of_the_documentation_runs():
    process = run_blocks(*RUNNABLE)
    assert process.returncode == 0, process.stderr


def commands():
    """Shell lines of all pages, without comments."""
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]:
        text = path.read_text()
        fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        fenced = [code for language, code in fences if language in ("", "bash", "shell")]
        inline = re.findall(r"`((?:spikechip|python -m experiments) [^`]+)`", text)
        for line in [line for block in fenced for line in block.splitlines()] + [
            " ".join(each.split()) for each in inline
        ]:
            words = shlex.split(line, comments=True)
            if words:
                yield path.relative_to(ROOT), words


@pytest.mark.parametrize(("page", "words"), list(commands()), ids=lambda value: str(value)[:40])
def test_commands_parse(page, words):
    if words[:2] == ["python3", "bootstrap.py"]:
        assert words[2] in bootstrap.COMMANDS
    elif words[0] == "spikechip":
        cli.parser().parse_args(words[1:])
    elif words[1:3] == ["-m", "experiments"] and "NAME" not in words:
        application.parser().parse_args(words[3:])


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
