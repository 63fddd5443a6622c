"""The public names: they exist, the table and the typed imports agree, and nothing is imported too early."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hwmodels
import jaxsnn
from jaxsnn import _namesake

PACKAGES = {"jaxsnn": jaxsnn, "hwmodels": hwmodels}


def typed_imports(package):
    """name -> module, as a type checker reads it."""
    tree = ast.parse(Path(package.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {alias.asname: f"{node.module}" for node in block.body for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there_and_is_typed(package):
    found = PACKAGES[package]
    typed = typed_imports(found)
    assert len(set(found.__all__)) == len(found.__all__)
    for name in found.__all__:
        value = getattr(found, name)
        if name in typed:
            assert getattr(importlib.import_module(typed[name]), name) is value
    assert {name for name in found.__all__ if name not in typed} <= {"__version__", *found._ROOMS}
    assert set(found.__all__) <= set(dir(found))


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_says_what_there_is(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'lif'; it has .*"):
        PACKAGES[package].lif  # noqa: B018  # Looking it up is what is tested.


def test_importing_imports_nothing_else():
    code = "import sys, jaxsnn, hwmodels\nassert not {'jax', 'flax', 'optax', 'equinox'} & set(sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("summary", "refused"),
    [
        ("jaxsnn is an event-based approach to machine-learning-inspired training", True),
        (_namesake._FORMER, False),
    ],
)
def test_another_project_of_this_name_is_refused_in_one_sentence(monkeypatch, summary, refused):
    monkeypatch.setattr(_namesake, "metadata", lambda name: {"Summary": summary, "Version": "0.3.0"})
    if not refused:
        return _namesake.refuse_namesake()
    with pytest.raises(ImportError, match=r"jaxsnn 0\.3\.0 .* cannot share an environment: make a new one"):
        _namesake.refuse_namesake()


ROOMS = (
    "jaxsnn",
    "jaxsnn.codesign",
    "hwmodels.crossbar",
    "hwmodels.spikeflow",
    "hwmodels.sata",
    "hwmodels.search",
)
NO_RETURNS = (inspect.Parameter.empty, None, "None")


def public_functions():
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in sorted(dir(module)):
            value = getattr(module, name)
            ours = getattr(value, "__module__", "").startswith(("jaxsnn", "hwmodels"))
            if ours and not name.startswith("_") and inspect.isfunction(inspect.unwrap(value)):
                yield pytest.param(value, id=f"{room}.{name}")


@pytest.mark.parametrize("function", public_functions())
def test_a_public_function_says_what_it_takes_and_returns(function):
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    named = set(re.findall(r"`(\w+)`", text))
    if signature.parameters:
        assert "**Arguments:**" in text
        assert set(signature.parameters) <= named or "as for" in text or "the others" in text
    assert "**Returns:**" in text or signature.return_annotation in NO_RETURNS
