"""Griffe extension: short cross-references of docstrings, such as [`LIF`][], get their full paths."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import griffe

REFERENCE = Path(__file__).parents[1] / "reference"
LINK = re.compile(r"\[(`[^`\]]+`|[\w.]+)\]\[([\w.]*)\]")


def rendered_modules() -> set[str]:
    """The modules that the reference shows."""
    pages = (page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    return {name for text in pages for name in re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE)}


class References(griffe.Extension):
    """Resolves a name in its own class and module first, then among all that is shown; else it is no link."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        shown, by_name = index()
        for each in walk(pkg):
            if each.docstring:
                each.docstring.value = LINK.sub(
                    lambda link, each=each: linked(link, each, shown, by_name), each.docstring.value
                )


@cache
def index() -> tuple[set[str], dict[str, list[str]]]:
    """The paths of all that the reference shows, and the same by their last names."""
    modules = rendered_modules()
    packages = [griffe.load(name, search_paths=[REFERENCE.parents[1]]) for name in ("jaxsnn", "hwmodels")]
    shown = {
        each.path
        for pkg in packages
        for each in walk(pkg)
        if each.docstring and each.module.path in modules and not hidden(each)
    }
    by_name: dict[str, list[str]] = {}
    for path in sorted(shown):
        by_name.setdefault(path.rsplit(".", 1)[-1], []).append(path)
    return shown, by_name


def walk(owner: Any) -> Iterator[Any]:
    """An object and all that it defines itself."""
    yield owner
    for member in owner.members.values():
        if not member.is_alias:
            yield from walk(member)


def hidden(each: Any) -> bool:
    """Whether it is private, or a part of something private within its module."""
    inner = each.path.removeprefix(each.module.path)
    return any(part.startswith("_") for part in inner.split(".") if part)


def linked(link: re.Match, each: Any, shown: set[str], by_name: dict[str, list[str]]) -> str:
    """The link with its full path, or the text alone."""
    text = link[1]
    wanted = link[2] or text.strip("`").removesuffix("()")
    owner = each
    candidates = [wanted]
    while owner is not None:
        candidates.append(f"{owner.path}.{wanted}")
        owner = owner.parent
    last = wanted.rsplit(".", 1)[-1]
    named = by_name.get(last, [])
    same_end = [path for path in named if path.endswith(f".{wanted}")]
    if "." in wanted:
        # A public path, such as hwmodels.crossbar.Wires, of what is defined further down.
        package = wanted.rsplit(".", 1)[0]
        same_end += [path for path in named if path.startswith(package)]
    candidates += same_end
    found = next((path for path in candidates if path in shown), None)
    return f"[{text}][{found}]" if found else (text if text.startswith("`") else f"`{text}`")
