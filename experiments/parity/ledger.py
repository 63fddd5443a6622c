"""Finished rows: each is computed once, and says what it was made from."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxsnn.codesign.provenance import machine, plain, write_json


class Ledger:
    """Rows by name, one JSON file each.

    A row is taken from `folder`, or else from one of the `kept` folders, where its inputs are the ones asked
    for; otherwise, where its name fits one of the patterns in `make`, it is computed, and written to
    `folder` before it is used. `begin` is called before and may raise. `seed` is written
    down; what depends on it belongs to the inputs.
    """

    def __init__(
        self,
        folder: Path,
        kept: tuple[Path, ...],
        console: Console,
        *,
        seed: int = 0,
        make: tuple[str, ...] = ("*",),
        begin: Callable[[], None] = lambda: None,
    ):
        self.folder, self._kept, self._console, self._make = folder, kept, console, make
        self._begin, self._seed = begin, seed
        self.rows: dict[str, dict[str, Any]] = {}
        self.missing: list[str] = []

    def row(
        self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]
    ) -> Mapping[str, Any] | None:
        """The numbers of a row; None where it is missing and not to be made."""
        asked = as_json(inputs)
        for place in (self.folder, *self._kept):
            record = _read(place / f"{name}.json")
            if record is not None and record["inputs"] == asked:
                self.rows[name] = record
                return record["numbers"]
        if not any(fnmatchcase(name, pattern) for pattern in self._make):
            self.missing.append(name)
            return None
        self._begin()
        self._console.print(f"row {name}", highlight=False)
        began = time.perf_counter()
        numbers = as_json(compute())
        record = {
            "row": name,
            "seed": self._seed,
            "inputs": asked,
            "numbers": numbers,
            "wall_time_s": round(time.perf_counter() - began, 1),
            **machine(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = self.folder / f".{name}.partial"
        write_json(scratch, record)
        scratch.replace(self.folder / f"{name}.json")
        self.rows[name] = record
        return numbers


def _read(path: Path) -> dict[str, Any] | None:
    """A row's file; None where there is none, or where it is damaged and has to be made anew."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and {"row", "inputs", "numbers", "wall_time_s"} <= record.keys()
    return record if whole else None


def as_json(value: Any) -> Any:
    """What the value is when it comes back from a JSON file."""
    return json.loads(json.dumps(value, default=plain))


def said(value: Any) -> Any:
    """A frozen configuration as its class and the fields that are not at their defaults.

    A field that a later version adds, at its default, leaves it as it is.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            each.name: said(getattr(value, each.name))
            for each in dataclasses.fields(value)
            if not _at_default(each, getattr(value, each.name))
        }
        return {type(value).__name__: fields}
    if isinstance(value, tuple | list):
        return [said(each) for each in value]
    if isinstance(value, Mapping):
        return {key: said(each) for key, each in value.items()}
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _at_default(field: Any, value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return field.default is value or (type(value) is type(field.default) and bool(field.default == value))
    return False
