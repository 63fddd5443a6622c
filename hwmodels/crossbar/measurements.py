"""What was measured on a tile, or on a cell."""

import re
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hwmodels.crossbar._csv import read_table
from hwmodels.crossbar.device import Device
from hwmodels.crossbar.laws import Table
from hwmodels.crossbar.write_verify import Incremental, WriteVerify

_WIRES = ("driver", "row", "column", "sense")


class Measurements(eqx.Module):
    """Column currents of one tile under known row voltages.

    **Arguments:**

    - `voltages`: of the row sources, volt, shape (reads, rows).
    - `currents`: into the sense resistors, ampere, shape (reads, columns).
    - `added`: known resistances that were put in series with every driver, every segment of row and of
      column, and every sense resistor during each read, ohm, shape (reads, 4); zeros if None. Reads with a
      load added tell wires from devices, see [`hwmodels.crossbar.fit_devices`][].

    **Raises:** `ValueError` for shapes that do not fit together, for values that are not finite, for negative
    added resistances, and for reads without any voltage.
    """

    voltages: Float[np.ndarray, "reads rows"]
    currents: Float[np.ndarray, "reads columns"]
    added: Float[np.ndarray, "reads 4"]

    def __init__(self, voltages, currents, added=None):
        voltages, currents = (np.asarray(value, np.float64) for value in (voltages, currents))
        added = np.zeros((len(voltages), 4)) if added is None else np.asarray(added, np.float64)
        if voltages.ndim != 2 or currents.ndim != 2 or len(voltages) != len(currents) or 0 in voltages.shape:
            raise ValueError(
                "Measurements needs voltages (reads, rows) and currents (reads, columns) of as many reads; "
                f"got shapes {voltages.shape} and {currents.shape}."
            )
        if added.shape != (len(voltages), 4):
            raise ValueError(
                "Measurements.added has driver, row, column and sense of each read, "
                f"shape ({len(voltages)}, 4); got {added.shape}."
            )
        for name, values in (("voltages", voltages), ("currents", currents), ("added", added)):
            if not np.all(np.isfinite(values)):
                raise ValueError(f"Measurements.{name} holds a value that is NaN or infinite.")
        if np.any(added < 0):
            raise ValueError("Measurements.added are resistances in ohm, zero or more; got a negative one.")
        if np.any(np.all(voltages == 0, axis=1)):
            raise ValueError("Measurements.voltages has a read without any voltage, which measures nothing.")
        self.voltages, self.currents, self.added = voltages, currents, added

    @staticmethod
    def from_csv(path: str | Path) -> "Measurements":
        """Reads from a CSV file, one a line.

        The headers are `V0 [V], V1 [V], …` (or mV) for the rows, `I0 [A], I1 [A], …` (or mA, uA, nA) for the
        columns, and any of `driver [ohm]`, `row [ohm]`, `column [ohm]`, `sense [ohm]` for what was added.

        **Raises:** `ValueError` for a file as [`hwmodels.crossbar._csv.read_table`][] refuses, another
        header, a unit that does not fit, and rows or columns that are not numbered 0, 1, 2 …
        """
        table, name = read_table(path), Path(path).name
        expected = {"V": "volt", "I": "ampere"}
        found: dict[str, dict[int, np.ndarray]] = {"V": {}, "I": {}}
        added = np.zeros((len(next(iter(table.values()))[1]), 4))
        for header, (unit, values) in table.items():
            numbered = re.fullmatch(r"([VI])(\d+)", header)
            if numbered:
                _require_unit(name, header, unit, expected[numbered[1]])
                found[numbered[1]][int(numbered[2])] = values
            elif header in _WIRES:
                _require_unit(name, header, unit, "ohm")
                added[:, _WIRES.index(header)] = values
            else:
                raise ValueError(
                    f"{name}: nothing is called {header!r}; columns are V0 [V] …, I0 [A] …, "
                    f"{', '.join(f'{wire} [ohm]' for wire in _WIRES)}."
                )
        for letter, columns in found.items():
            if not columns or sorted(columns) != list(range(len(columns))):
                raise ValueError(
                    f"{name}: columns {letter}0, {letter}1 … must be numbered without gaps, got "
                    f"{', '.join(f'{letter}{i}' for i in sorted(columns)) or 'none'}."
                )
        voltages, currents = (
            np.stack([columns[i] for i in range(len(columns))], axis=1) for columns in found.values()
        )
        return Measurements(voltages, currents, added)


def device_from_pulses(path: str | Path, **settings) -> Device:
    """A device from a measured curve of conductance against pulse number, programmed by write–verify.

    The CSV file has the columns `pulse` (0, 1, 2 … of each run), `conductance [S]` (or mS, uS, nS), and if
    both were measured `direction` (1 for pulses that raise it, −1 for those that lower it); another run
    begins where `pulse` begins again. The mean step of a pulse as a function of the conductance, on straight
    lines between up to sixteen groups of steps, and its spread become
    [`hwmodels.crossbar.write_verify.Incremental`][]; the range is that of the curve. Without runs downwards,
    steps down are taken to be as large as steps up.

    **Arguments:** `path`: of the file. `settings`: of [`hwmodels.crossbar.WriteVerify`][], voltages and times
    above all; the tolerance is half a mean step unless given.

    **Returns:** a [`hwmodels.crossbar.Device`][].

    **Raises:** `ValueError` for a file without these columns or with other units, pulse numbers with gaps,
    fewer than three pulses, and a curve that does not rise under pulses that raise it.
    """
    table, name = read_table(path), Path(path).name
    if not {"pulse", "conductance"} <= set(table) or set(table) - {"pulse", "conductance", "direction"}:
        raise ValueError(
            f"{name} needs the columns pulse and conductance [S], and direction if it has any; "
            f"got {', '.join(table)}."
        )
    _require_unit(name, "conductance", table["conductance"][0], "siemens")
    for plain in ("pulse", "direction"):
        if plain in table and table[plain][0] is not None:
            raise ValueError(
                f"{name}: {plain} is a plain number without a unit, got one in {table[plain][0]}."
            )
    pulse, G = table["pulse"][1], table["conductance"][1]
    direction = table["direction"][1] if "direction" in table else np.ones_like(pulse)
    if np.any(G < 0):
        raise ValueError(f"{name}: conductance must be zero or more, got {G.min():.4g} S.")
    if not np.all(np.isin(direction, (-1, 1))):
        raise ValueError(f"{name}: direction is 1 for pulses that raise the conductance and -1 for others.")
    follows = (np.diff(pulse) == 1) & (direction[1:] == direction[:-1])
    begins = pulse[1:] == 0
    if pulse[0] != 0 or not np.all(follows | begins):
        line = 2 + int(np.flatnonzero(~(follows | begins))[0]) if pulse[0] == 0 else 1
        raise ValueError(
            f"{name}: pulses of a run count 0, 1, 2 … without gaps; they do not at reading {line}."
        )
    steps = {}
    spreads = []
    for sign, word in ((1, "raise"), (-1, "lower")):
        chosen = follows & (direction[1:] == sign)
        if chosen.sum() == 0 and sign == -1:
            break
        if chosen.sum() < 3:
            raise ValueError(
                f"{name} needs at least three pulses that {word} the conductance, got {chosen.sum()}."
            )
        steps[sign], spread = _steps(
            G[:-1][chosen], sign * np.diff(G)[chosen], f"{name}: pulses that {word} it"
        )
        spreads.append(spread)
    up = steps[1]
    settings.setdefault("tolerance_siemens", 0.5 * float(np.mean(up.values)))
    method = WriteVerify(
        pulses=Incremental(up, steps.get(-1, up), float(np.mean(spreads))),
        low_siemens=float(G.min()),
        high_siemens=float(G.max()),
        **settings,
    )
    return Device(float(G.min()), float(G.max()), method)


def _steps(G, step, what):
    """The mean step by conductance, and the spread around it relative to it."""
    order = np.argsort(G, kind="stable")
    groups = np.array_split(order, int(np.clip(len(G) // 8, 2, 16)))
    places, means = (np.array([values[group].mean() for group in groups]) for values in (G, step))
    places, first = np.unique(places, return_index=True)
    means = means[first]
    if len(places) < 2 or np.mean(step) <= 0:
        raise ValueError(f"{what} must move it, and by {np.mean(step):.3g} S on average they do not.")
    # Straight on to the ends of the curve, beyond the middles of the first and the last group.
    ends = [
        means[i] + (means[j] - means[i]) / (places[j] - places[i]) * (end - places[i])
        for i, j, end in ((0, 1, G.min()), (-1, -2, G.max()))
    ]
    inner = (places > G.min()) & (places < G.max())
    places = np.concatenate([[G.min()], places[inner], [G.max()]])
    means = np.concatenate([ends[:1], means[inner], ends[1:]])
    # Where a curve saturates its mean step is lost in noise; a pulse never goes backwards on average.
    means = np.maximum(means, 1e-3 * means.max())
    expected = np.interp(G, places, means)
    return Table(jnp.asarray(places), jnp.asarray(means)), float(np.std(step - expected) / np.mean(expected))


def _require_unit(file, header, unit, expected):
    if unit != expected:
        got = "has no unit" if unit is None else f"is in {unit}"
        raise ValueError(f"{file}: {header} must be in {expected}, and {got}; write it as {header} [unit].")
