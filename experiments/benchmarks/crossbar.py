"""The crossbar solver beside badcrossbar, a sparse LU and ngspice: time and error of a 64×64 tile."""

import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.timing import in_turns, seconds_of
from hwmodels.crossbar import Wires, effective_conductance
from hwmodels.crossbar._march import _BLOCK, hold
from hwmodels.crossbar._transfer import _FEWEST_COLUMNS
from hwmodels.sharding import distributed

_WIRES = (1e3, 5.0, 10.0, 1e3)
_G = (1 / 200e3, 1 / 20e3)


def run() -> dict[str, Any]:
    """Median time per tile, ratios to ours, and the greatest relative error of an element."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    try:
        return _run()
    finally:
        jax.config.update("jax_enable_x64", before)


def _run() -> dict[str, Any]:
    notes = [
        "All elements of G_eff of one tile; ours solves a batch of 64 tiles. Errors against the sparse LU.",
        "badcrossbar's terminals are one more segment of each wire: its error is against the sparse LU with "
        "a row segment as driver and a column segment as sense resistor.",
    ]
    tile = np.random.default_rng(0).uniform(*_G, (64, 64))
    rows: list[dict[str, Any]] = []
    reference = None
    if importlib.util.find_spec("scipy"):
        seconds, reference = seconds_of(lambda: _sparse_lu(tile), 5), _sparse_lu(tile)
        rows.append({"solver": "SciPy sparse LU", "size": 64, "ms_per_tile": 1e3 * seconds})
    else:
        notes.append("SciPy is not installed: skipped, and with it all errors.")
    rows += _badcrossbar(tile, notes)
    rows += _ngspice(tile, reference, notes)
    rate = {dtype: _product_rate(dtype) for dtype in (np.float32, np.float64)}
    for dtype in (np.float32, np.float64):
        for size in (16, 32, 64, 128, 256):
            rows.append(_ours(size, dtype, tile, reference, rate[dtype]))
    rows += _distributed(notes)
    ours = {row["dtype"]: row["ms_per_tile"] for row in rows if row["size"] == 64 and row["solver"] == "this"}
    for row in rows:
        if row["size"] == 64 and not row["solver"].startswith("this"):
            row["times_ours_float32"] = row["ms_per_tile"] / ours["float32"]
            row["times_ours_float64"] = row["ms_per_tile"] / ours["float64"]
    for dtype, value in rate.items():
        notes.append(f"Matrix products of this machine in {dtype.__name__}: {value / 1e9:.0f} GFLOP/s.")
    return {"title": "Effective conductance of a crossbar tile", "rows": rows, "notes": notes}


def _product_rate(dtype: Any) -> float:
    matrix = jnp.ones((1536, 1536), dtype)
    product = jax.jit(jnp.matmul)
    return 2 * 1536**3 / seconds_of(lambda: product(matrix, matrix), 7)


def _operations(rows: int, columns: int) -> float:
    """Operations of the march and of the inverse at its end for one tile; of columns a multiple of the block.

    The inverse of n×n and the product of n×n with n×m count 2·n³ and 2·n²·m.
    """
    ends = 2 * columns // _BLOCK
    # Within blocks, to and from their ends, between them, and the two sums of a row.
    each = columns * _BLOCK + 4 * columns + ends * (ends + 1) + 2 * columns
    return 2 * rows * columns * each + 2 * columns**3 + 2 * columns**2 * rows


def _ours(
    size: int, dtype: Any, tile: np.ndarray, reference: np.ndarray | None, rate: float
) -> dict[str, Any]:
    batch = max(2, 64 * 64 * 64 // size**2)
    tiles = np.random.default_rng(1).uniform(*_G, (batch, size, size))
    if size == 64:
        tiles[0] = tile
    G = jnp.asarray(tiles, dtype)
    wires = Wires(*map(dtype, _WIRES))
    row = _row("this", effective_conductance, G, wires)
    seconds = batch / row["tiles_per_s"]
    if size >= _FEWEST_COLUMNS and hold(G, jnp.asarray(_WIRES, dtype)):
        row["mflop"] = _operations(size, size) / 1e6
        row["of_product_rate"] = _operations(size, size) * batch / seconds / rate
    if size == 64 and reference is not None:
        found = np.asarray(jax.jit(effective_conductance)(G, wires)[0], np.float64)
        row["error"] = float(np.max(np.abs(found / reference - 1)))
    return row


def _row(solver: str, solve: Callable[..., Any], G: Any, wires: Wires) -> dict[str, Any]:
    """The solution, and its value with the derivatives to all devices and resistances."""
    forward = jax.jit(solve)
    gradient = jax.jit(jax.value_and_grad(lambda G, wires: jnp.sum(solve(G, wires)), (0, 1)))
    seconds = in_turns({"forward": lambda: forward(G, wires), "both": lambda: gradient(G, wires)}, 11)
    return {
        "solver": solver,
        "size": G.shape[-1],
        "dtype": G.dtype.name,
        "ms_per_tile": 1e3 * seconds["forward"] / len(G),
        "tiles_per_s": len(G) / seconds["forward"],
        "gradient_over_forward": seconds["both"] / seconds["forward"],
    }


def _distributed(notes: list[str]) -> list[dict[str, Any]]:
    """The same 64×64 tiles, cut among as many virtual devices as there are cores, in a process of its own."""
    cores = os.cpu_count() or 1
    if jax.default_backend() != "cpu" or cores == 1:
        return []
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={cores}"
    process = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import print_distributed; print_distributed()"],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
    )
    if process.returncode:
        notes.append(f"Virtual devices: {process.stderr.strip().splitlines()[-1]}")
        return []
    notes.append(
        f"{cores} devices: `hwmodels.sharding.distributed` on virtual ones, XLA_FLAGS={flags.strip()}."
    )
    return json.loads(process.stdout)


def print_distributed() -> None:
    """What [`_distributed`][] asks its process for, as JSON."""
    mesh = jax.make_mesh((len(jax.devices()),), ("tiles",))
    solve = distributed(effective_conductance, mesh)
    rows = []
    dtypes: tuple[Any, ...] = (np.float32, np.float64)
    for dtype in dtypes:
        G = jnp.asarray(np.random.default_rng(1).uniform(*_G, (64, 64, 64)), dtype)
        wires = Wires(*map(dtype, _WIRES))
        rows.append(_row(f"this, {len(jax.devices())} devices", solve, G, wires))
    print(json.dumps(rows))


def _sparse_lu(tile: np.ndarray, resistances: tuple[float, ...] = _WIRES) -> np.ndarray:
    """Nodal analysis with one factorisation and one right-hand side per row."""
    import scipy.sparse
    import scipy.sparse.linalg

    driver, row, column, sense = resistances
    rows, columns = tile.shape
    upper = np.arange(tile.size).reshape(tile.shape)
    lower = upper + tile.size
    wires = [(1 / row, upper[:, :-1], upper[:, 1:]), (1 / column, lower[:-1], lower[1:])]
    edges = [(np.full(a.size, g), a.ravel(), b.ravel()) for g, a, b in wires]
    edges.append((tile.ravel(), upper.ravel(), lower.ravel()))
    g, a, b = (np.concatenate(part) for part in zip(*edges, strict=True))
    ends = np.concatenate([upper[:, 0], lower[-1]])
    grounded = np.concatenate([np.full(rows, 1 / driver), np.full(columns, 1 / sense)])
    matrix = scipy.sparse.coo_matrix(
        (np.r_[g, g, -g, -g, grounded], (np.r_[a, b, a, b, ends], np.r_[a, b, b, a, ends]))
    ).tocsc()
    sources = np.zeros((2 * tile.size, rows))
    sources[upper[:, 0], np.arange(rows)] = 1 / driver
    return scipy.sparse.linalg.splu(matrix).solve(sources)[lower[-1]].T / sense


def _badcrossbar(tile: np.ndarray, notes: list[str]) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import badcrossbar

            compute = badcrossbar.compute
        except (ImportError, AttributeError):
            notes.append("badcrossbar is not installed: skipped.")
            return []
        logging.getLogger("badcrossbar").setLevel(logging.ERROR)
        logging.disable(logging.WARNING)
        _, row, column, _ = _WIRES

        def currents() -> np.ndarray:
            found = compute(np.eye(64), 1 / tile, r_i_word_line=row, r_i_bit_line=column)
            return np.asarray(found.currents.output)

        seconds, found = seconds_of(currents, 5), currents()
        logging.disable(logging.NOTSET)
    result = {"solver": "badcrossbar", "size": 64, "ms_per_tile": 1e3 * seconds}
    if importlib.util.find_spec("scipy"):
        reference = _sparse_lu(tile, (row, row, column, column))
        result["error"] = float(np.max(np.abs(found / reference - 1)))
    return [result]


def _ngspice(tile: np.ndarray, reference: np.ndarray | None, notes: list[str]) -> list[dict[str, Any]]:
    """One operating point for one row, times the number of rows: a whole tile takes minutes."""
    if not shutil.which("ngspice"):
        notes.append("ngspice is not installed: skipped.")
        return []
    driver, row, column, sense = _WIRES
    rows, columns = tile.shape
    lines = ["* one driven row", *(f"V{i} s{i} 0 {1 if i == 0 else 0}" for i in range(rows))]
    lines += [f"RD{i} s{i} u{i}_0 {driver}" for i in range(rows)]
    lines += [f"RS{j} v{rows - 1}_{j} 0 {sense}" for j in range(columns)]
    for i in range(rows):
        for j in range(columns):
            lines.append(f"RG{i}_{j} u{i}_{j} v{i}_{j} {float(1 / tile[i, j])!r}")
            if j:
                lines.append(f"RR{i}_{j} u{i}_{j - 1} u{i}_{j} {row}")
            if i:
                lines.append(f"RC{i}_{j} v{i - 1}_{j} v{i}_{j} {column}")
    prints = [f"print v(v{rows - 1}_{j})" for j in range(columns)]
    lines += [".control", "set numdgt=15", "op", *prints, ".endc", ".end"]
    with tempfile.TemporaryDirectory() as folder:
        netlist = Path(folder) / "tile.cir"
        netlist.write_text("\n".join(lines))
        start = time.perf_counter()
        try:
            output = subprocess.run(
                ["ngspice", "-b", str(netlist)], capture_output=True, text=True, timeout=120
            ).stdout
        except subprocess.TimeoutExpired:
            notes.append("ngspice took more than two minutes for one row: skipped.")
            return []
        seconds = time.perf_counter() - start
    found = [float(line.split("=")[1]) for line in output.splitlines() if line.startswith("v(v")]
    result: dict[str, Any] = {"solver": "ngspice", "size": 64, "ms_per_tile": 1e3 * seconds * rows}
    if found and reference is not None:
        result["error"] = float(np.max(np.abs(np.array(found) / sense / reference[0] - 1)))
    notes.append(f"ngspice: measured with one driven row ({seconds:.2f} s), times {rows} rows.")
    return [result]
