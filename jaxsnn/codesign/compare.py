"""Results side by side: what differs in their numbers, and what differed in their inputs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from jaxsnn.codesign import page
from jaxsnn.codesign.charts import Chart, Point, scatter
from jaxsnn.codesign.on_chip import CSV, chip_rows, fault_in, has_chips, measured_spread, with_spread
from jaxsnn.codesign.provenance import machine, saving, write_csv, write_json
from jaxsnn.codesign.table import Table
from jaxsnn.codesign.units import si

_MOST_ROWS = 60
"""Of the table of all numbers that differ; the others are in `result.json`."""

_APART = ("date", "wall_time_s", "numbers")
"""What is not an input of a result."""


@dataclass(frozen=True)
class Comparison:
    """Results by the name of their folder, the first of which the others are compared with.

    - `folders`: where they were read, in which no comparison is written.
    """

    results: Mapping[str, Mapping[str, Any]]
    folders: Sequence[Path] = ()

    @property
    def verdict(self) -> str:
        """What differs, in one or two sentences."""
        first, *others = self.results
        parts = []
        for other in others:
            changed = len(differences(self.results[first], self.results[other], inputs=True))
            numbers = len(differences(self.results[first], self.results[other], inputs=False))
            inputs = f"{changed} of their inputs" if changed else "none of their inputs"
            parts.append(f"{first} and {other} differ in {inputs} and in {numbers} numbers.")
        return " ".join(parts)

    def tables(self) -> list[Table]:
        """Chips where results have them, inputs that differ, numbers that differ."""
        chips = self._chip_table()
        return [*([chips] if chips.rows else []), self._differing(inputs=True), self._differing(inputs=False)]

    def charts(self) -> list[Chart]:
        """Accuracy against energy of all chips of all results."""
        points = [
            Point(f"{run}: {name}", chip["energy_j"], chip["accuracy"], measured_spread(chip))
            for run, name, chip in self._chips()
        ]
        return [scatter(points)] if points else []

    def numbers(self) -> dict[str, Any]:
        """As JSON: what differs, by its path, each result's value."""
        return {
            kind: {path: list(values) for path, values in self._table(inputs=kind == "inputs").items()}
            for kind in ("inputs", "numbers")
        }

    def save(self, folder: str | PathLike) -> Path:
        """Writes `report.html` and `result.json`, and `result.csv` where results have chips: all or none.

        **Arguments:** `folder`: a new one, or one that holds a comparison, which is replaced.

        **Returns:** the folder.

        **Raises:** `OSError` for a folder that cannot be written to, or that another process writes into;
        `ValueError` for one that holds a result of another kind, or one of those compared.
        """
        folder = Path(folder)
        require_not_compared(folder, self.folders)
        with saving(folder, "a comparison") as scratch:
            self.write(scratch)
        return folder

    def write(self, folder: Path) -> None:
        """What [`Comparison.save`][] writes, right into the folder."""
        rows = [
            {"result": run, **row}
            for run, result in self.results.items()
            if has_chips(result["numbers"])
            for row in chip_rows(result["numbers"])
        ]
        made = machine()
        text = page.render(
            " and ".join(self.results),
            self.tables(),
            made,
            charts=self.charts(),
            verdict=self.verdict,
            links=("result.json", *([CSV] if rows else [])),
        )
        (folder / "report.html").write_text(text, encoding="utf-8")
        if rows:
            write_csv(folder / CSV, rows)
        write_json(folder / "result.json", {"compared": list(self.results), **made, **self.numbers()})

    def _chips(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        for run, result in self.results.items():
            if has_chips(result["numbers"]):
                for name, chip in result["numbers"]["chips"].items():
                    yield run, name, chip

    def _chip_table(self) -> Table:
        base: dict[str, Mapping[str, Any]] = {}
        rows = []
        for run, name, chip in self._chips():
            first = base.setdefault(name, chip)
            rows.append(
                [
                    f"{run}: {name}",
                    with_spread(chip["accuracy"], measured_spread(chip)),
                    "–" if first is chip else f"{100 * (chip['accuracy'] - first['accuracy']):+.2f} points",
                    *(
                        text
                        for key, unit in (("energy_j", "J"), ("latency_s", "s"), ("area_mm2", "mm²"))
                        for text in (_amount(chip[key], unit), _change(first[key], chip[key]))
                    ),
                ]
            )
        columns = ["chip", "accuracy", "change", "energy", "change", "latency", "change", "area", "change"]
        return Table(
            "Chips", columns, rows, note="Changes are from the first result that has a chip of this name."
        )

    def _differing(self, *, inputs: bool) -> Table:
        found = self._table(inputs=inputs)
        title = "What differed in their inputs" if inputs else "Numbers that differ"
        rows = []
        for path, values in list(found.items())[:_MOST_ROWS]:
            change = [] if inputs else [_change(values[0], values[-1])]
            rows.append([path, *(_text(value) for value in values), *change])
        left = len(found) - len(rows)
        note = f"{left} more are in result.json." if left else ""
        if not found:
            note = "Nothing." if inputs else "None."
        return Table(title, ["", *self.results, *([] if inputs else ["change"])], rows, note=note)

    def _table(self, *, inputs: bool) -> dict[str, list[Any]]:
        first, *others = self.results.values()
        paths: dict[str, None] = {}
        for other in others:
            paths |= dict.fromkeys(differences(first, other, inputs=inputs))
        sides = [dict(_leaves(_side(result, inputs=inputs))) for result in self.results.values()]
        return {path: [side.get(path) for side in sides] for path in paths}


def compare(folders: Sequence[str | PathLike]) -> Comparison:
    """Reads the `result.json` of two or more folders.

    ```
    print(compare(["runs/digits", "runs/digits-1a2b3c4d"]).verdict)
    ```

    **Raises:** `ValueError` for fewer folders than two, and for one without a result that can be read.
    """
    if len(folders) < 2:
        raise ValueError(f"compare needs two result folders or more, got {len(folders)}.")
    paths = [Path(folder) for folder in folders]
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise ValueError(f"compare needs different folders, got {', '.join(names)}.")
    return Comparison({name: _read(path) for name, path in zip(names, paths, strict=True)}, paths)


def require_not_compared(
    folder: Path, compared: Sequence[str | PathLike], remedy: str = "give another folder"
) -> None:
    """**Raises:** `ValueError` for a folder that is among those compared, whose result would be lost."""
    for path in map(Path, compared):
        held = path.parent if path.is_file() else path
        if folder.resolve() == held.resolve():
            raise ValueError(
                f"{folder} is one of the results compared, and the comparison would replace it; {remedy}."
            )


def differences(first: Mapping[str, Any], other: Mapping[str, Any], *, inputs: bool) -> list[str]:
    """Paths at which two results differ, in their numbers or in everything else but the date."""
    one, two = (dict(_leaves(_side(result, inputs=inputs))) for result in (first, other))
    return [path for path in {**one, **two} if one.get(path) != two.get(path)]


def _read(folder: Path) -> Mapping[str, Any]:
    path = folder / "result.json" if folder.is_dir() else folder
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise ValueError(
            f"{folder} holds no result.json; give a folder that `evaluate` or `run` wrote."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or no JSON ({error}).") from error
    if not isinstance(found, dict) or not isinstance(found.get("numbers"), dict):
        raise ValueError(f"{path} is no result of `evaluate` or `run`: it has no numbers.")
    fault = fault_in(found["numbers"]) if has_chips(found["numbers"]) else None
    if fault is not None:
        raise ValueError(f"{path} is damaged or was changed: {fault}; make this result again.")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _side(result: Mapping[str, Any], *, inputs: bool) -> Any:
    return {key: part for key, part in result.items() if key not in _APART} if inputs else result["numbers"]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers and texts by path; a gin config by its lines, a list of mappings by position."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(part, dict) for part in value):
        for index, part in enumerate(value):
            yield from _leaves(part, f"{path}[{index}]")
    elif isinstance(value, str) and path == "config":
        for line in value.splitlines():
            name, mark, setting = line.partition(" = ")
            if mark and not line.startswith("#"):
                yield name.strip(), setting.strip()
    else:
        yield path, value


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _amount(value: float, unit: str) -> str:
    return f"{value:.3g} mm²" if unit == "mm²" else si(value, unit)


def _change(before: Any, after: Any) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, after))
    if not numbers or before == 0 or before == after:
        return "–"
    return f"{after / before - 1:+.1%}"
