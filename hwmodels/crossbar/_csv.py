"""Tables of measurements: CSV files whose headers carry the units."""

import csv
import math
from pathlib import Path

import numpy as np

# What a header may say, by what it means.
_SCALES = {
    "volt": {"V": 1.0, "mV": 1e-3},
    "ampere": {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "µA": 1e-6, "μA": 1e-6, "nA": 1e-9},
    "siemens": {"S": 1.0, "mS": 1e-3, "uS": 1e-6, "µS": 1e-6, "μS": 1e-6, "nS": 1e-9},
    "ohm": {"ohm": 1.0, "Ω": 1.0, "kohm": 1e3, "kΩ": 1e3},
}
_LARGEST_BYTES = 256 * 2**20


def read_table(path: str | Path) -> dict[str, tuple[str | None, np.ndarray]]:
    """The columns of a CSV file by name, each with its unit ("volt" …, None without) and its values in it.

    A header is "name" or "name [unit]". Lines that begin with # are passed over.

    **Raises:** `ValueError` for a file that is missing, empty or too large, an unknown unit, two columns of
    one name, and a cell that is empty or no finite number, by line and column.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; give the path of a CSV file.")
    if path.stat().st_size > _LARGEST_BYTES:
        raise ValueError(
            f"{path.name} is larger than {_LARGEST_BYTES // 2**20} MiB: not a table of measurements."
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text in UTF-8, so no CSV file.") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if not line.startswith("#")]
    rows = list(csv.reader(line for _, line in lines))
    numbers = [number for number, _ in lines]
    if len(rows) < 2:
        raise ValueError(
            f"{path.name} needs a line of headers and at least one of numbers, got {len(rows)} lines."
        )
    headers = [_header(text, path.name) for text in rows[0]]
    names = [name for name, _, _ in headers]
    if len(set(names)) != len(names):
        raise ValueError(f"{path.name} has two columns of the same name; got {', '.join(names)}.")
    values = np.empty((len(rows) - 1, len(headers)))
    for number, row, out in zip(numbers[1:], rows[1:], values, strict=True):
        if len(row) != len(headers):
            raise ValueError(
                f"{path.name}, line {number} has {len(row)} cells, and there are {len(headers)} columns."
            )
        out[:] = [_number(cell, name, number, path.name) for cell, name in zip(row, names, strict=True)]
    return {name: (kind, values[:, index] * scale) for index, (name, kind, scale) in enumerate(headers)}


def _header(text, file):
    name, bracket, unit = text.strip().partition("[")
    if not bracket:
        return name.strip(), None, 1.0
    unit = unit.rstrip("] ").strip()
    for kind, scales in _SCALES.items():
        if unit in scales:
            return name.strip(), kind, scales[unit]
    known = ", ".join(unit for scales in _SCALES.values() for unit in scales if unit.isascii())
    raise ValueError(
        f"{file}: column {name.strip()!r} is in {unit!r}, which is no known unit; there are {known}."
    )


def _number(cell, name, line, file):
    if not cell.strip():
        raise ValueError(f"{file}, line {line}: {name} is missing; leave no gaps, or leave the line out.")
    try:
        number = float(cell)
    except ValueError:
        raise ValueError(f"{file}, line {line}: {name} must be a number, got {cell!r}.") from None
    if not math.isfinite(number):
        raise ValueError(f"{file}, line {line}: {name} must be finite, got {cell!r}.")
    return number
