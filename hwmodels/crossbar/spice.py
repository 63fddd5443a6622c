"""Tiles as netlists for ngspice, to check a solution or to go on with it in a circuit simulator."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from hwmodels.checks import is_traced
from hwmodels.crossbar.cells import Cell, Cubic, Linear, Series, Sinh, Transistor, as_cell
from hwmodels.crossbar.circuit import Wires

_TITLE = "* tile of {0} rows and {1} columns: sense currents are those of the sources vs0 to vs{2}"


def to_spice(
    G: Float[Array | np.ndarray, "rows columns"],
    wires: Wires,
    cell: Any,
    V: Float[Array | np.ndarray, " rows"],
) -> str:
    """A netlist of one tile that `ngspice -b` runs: it prints the current into each sense resistor.

    Node `u<i>_<j>` and `v<i>_<j>` are the row's and the column's node at device (i, j). The sources `vs<j>`
    of zero volt below the sense resistors are ammeters. Zero resistances become such sources as well,
    infinite ones and cells of zero conductance are left out.

        Path("tile.cir").write_text(to_spice(G, Wires(), Transistor(), V))

    **Arguments:**

    - `G`: conductances in siemens, shape (rows, columns).
    - `wires`: the parasitic resistances.
    - `cell`: None, [`Sinh`][], [`Cubic`][], [`Transistor`][], or a [`Series`][] resistance before a resistor,
      Sinh or Cubic. Other laws have no SPICE text.
    - `V`: row voltages in volt, shape (rows,).

    **Returns:** the netlist. Numbers have all their digits.

    **Raises:** `ValueError` for more tiles than one, voltages of another shape, values that are traced or
    not finite, and laws without SPICE text.
    """
    law = as_cell(cell)
    if any(map(is_traced, jax.tree.leaves((G, V, wires, law)))):
        raise ValueError("to_spice writes numbers and cannot be traced; call it outside of jit and grad.")
    held, volts = np.asarray(G, np.float64), np.asarray(V, np.float64)
    if held.ndim != 2 or 0 in held.shape:
        raise ValueError(f"to_spice writes one tile, G of shape (rows, columns); got shape {held.shape}.")
    if volts.shape != held.shape[:1]:
        raise ValueError(f"V holds one voltage for each row, shape ({len(held)},); got {volts.shape}.")
    if not (np.all(np.isfinite(held)) and np.all(held >= 0) and np.all(np.isfinite(volts))):
        raise ValueError("G must be finite conductances of zero or more, and V finite voltages.")
    return "\n".join([*_wires(held, wires, volts), *_cells(held, law), *_control(held)]) + "\n"


def _wires(G, wires, V):
    rows, columns = G.shape
    lines = [_TITLE.format(rows, columns, columns - 1)]
    for i in range(rows):
        lines.append(f"V{i} s{i} 0 DC {_number(V[i])}")
        lines += _resistor(f"D{i}", f"s{i}", f"u{i}_0", wires.driver)
        for j in range(1, columns):
            lines += _resistor(f"R{i}_{j}", f"u{i}_{j - 1}", f"u{i}_{j}", wires.row)
    for j in range(columns):
        for i in range(1, rows):
            lines += _resistor(f"C{i}_{j}", f"v{i - 1}_{j}", f"v{i}_{j}", wires.column)
        lines += _resistor(f"S{j}", f"v{rows - 1}_{j}", f"e{j}", wires.sense)
        lines.append(f"VS{j} e{j} 0 DC 0")
    return lines


def _resistor(name, one, other, ohm):
    value = float(ohm)
    if np.isinf(value):
        return []
    return [f"V{name} {one} {other} DC 0" if value == 0 else f"R{name} {one} {other} {_number(value)}"]


def _cells(G, cell):
    parameters = _parameters(cell, G.shape)
    lines: list[str] = []
    models: dict[tuple[str, ...], str] = {}
    for i, j in np.argwhere(G > 0):
        own = {name: _number(value[i, j]) for name, value in parameters.items()}
        lines += _cell(cell, G[i, j], own, f"{i}_{j}", f"u{i}_{j}", f"v{i}_{j}", models)
    for (kp, vto, vg), name in models.items():
        # Junctions that carry nothing: what is left of them is `gmin`.
        lines.append(f".model {name} NMOS(LEVEL=1 VTO={vto} KP={kp} IS=0 GAMMA=0 LAMBDA=0)")
        lines.append(f"VG{name} g{name} 0 DC {vg}")
    return lines


def _parameters(cell: Cell, shape):
    """Each number of a cell, for every device."""
    if isinstance(cell, Series):
        return {
            "ohm": np.broadcast_to(np.asarray(cell.ohm, np.float64), shape),
            **_parameters(cell.law, shape),
        }
    if not isinstance(cell, Linear | Sinh | Cubic | Transistor):
        raise ValueError(
            "to_spice has text for None, Sinh, Cubic, Transistor, and Series before the first three; got "
            f"{type(cell).__name__}."
        )
    return {name: np.broadcast_to(np.asarray(value, np.float64), shape) for name, value in vars(cell).items()}


def _cell(cell, G, own, name, above, below, models):
    """The lines of one device; `models` collects the transistors' models by their parameters."""
    if isinstance(cell, Series):
        inner = _cell(cell.law, G, own, name, f"m{name}", below, models)
        return [*_resistor(f"A{name}", above, f"m{name}", own["ohm"]), *inner]
    across, held = f"V({above},{below})", _number(G)
    if isinstance(cell, Linear):
        return [f"RG{name} {above} {below} {_number(1 / G)}"]
    if isinstance(cell, Sinh):
        return [f"B{name} {above} {below} I={held}*{own['v0']}*sinh({across}/{own['v0']})"]
    if isinstance(cell, Cubic):
        cube = f"{own['beta']}*{across}*{across}*{across}"
        return [f"B{name} {above} {below} I={held}*({across}+{cube})"]
    model = models.setdefault((own["kp"], own["vto"], own["vg"]), f"N{len(models)}")
    return [
        f"RG{name} {above} m{name} {_number(1 / G)}",
        f"M{name} m{name} g{model} {below} 0 {model} W={own['w_over_l']} L=1",
    ]


def _control(G):
    return [
        ".options reltol=1e-12 abstol=1e-18 vntol=1e-14 gmin=1e-18 itl1=1000",
        ".control",
        "set numdgt=16",
        "op",
        *(f"print i(vs{j})" for j in range(G.shape[1])),
        ".endc",
        ".end",
    ]


def _number(value):
    return repr(float(value))
