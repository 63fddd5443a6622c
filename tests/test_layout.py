"""The arrows point one way: experiments -> jaxsnn.codesign -> the rest of jaxsnn and hwmodels, which stay
strangers; gin stays in experiments."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BRIDGE = ROOT / "jaxsnn" / "codesign"
FORBIDDEN = {
    "jaxsnn": {"hwmodels", "experiments", "gin", "jaxsnn.codesign"},
    "jaxsnn/codesign": {"experiments", "gin"},
    "hwmodels": {"jaxsnn", "experiments", "gin", "flax"},
}


def imported(path: Path) -> set[str]:
    """What a file imports, by the first part of each name and by its first two."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {".".join(name.split(".")[:parts]) for name in names for parts in (1, 2)}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_do_not_know_each_other(package):
    files = sorted((ROOT / package).rglob("*.py"))
    if package == "jaxsnn":
        files = [path for path in files if not path.is_relative_to(BRIDGE)]
    assert files
    for path in files:
        assert not imported(path) & FORBIDDEN[package], path
