"""Every notebook runs from top to bottom."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, monkeypatch):
    # A script's folder leads the path, a kernel's is where it stands.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    assert any(cell.cell_type == "code" for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


def test_stored_outputs_are_small_and_without_errors():
    for path in NOTEBOOKS:
        assert path.stat().st_size < 200_000, path
        for cell in nbformat.read(path, as_version=4).cells:
            assert not any(output.output_type == "error" for output in cell.get("outputs", ())), path
