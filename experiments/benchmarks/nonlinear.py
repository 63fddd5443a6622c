"""Nonlinear tiles beside ngspice on the same deck, and what approximations cost: 64 vectors of spikes."""

import dataclasses
import functools
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels.crossbar import (
    Crossbar,
    Sinh,
    TileProduct,
    Transistor,
    Wires,
    program,
    sense_currents,
    to_spice,
)

_SIZE = 64
_VECTORS = 64
_G = (1 / 200e3, 1 / 20e3)
_CELLS = {"Sinh(0.25), 1 V": (Sinh(0.25), 1.0), "Transistor(), 0.5 V": (Transistor(), 0.5)}


def run() -> dict[str, Any]:
    """Median processor seconds for all vectors, and the greatest error beside the greatest current."""
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    try:
        return _run()
    finally:
        jax.config.update("jax_enable_x64", before)


def _run() -> dict[str, Any]:
    notes = [
        "Processor seconds of all vectors: of all threads of ours, compiled before; of ngspice those of two "
        f"operating points, each a deck of its own, times {_VECTORS // 2}.",
        "Errors of ours are against ngspice, of two vectors; of the models, against exact, all outputs.",
    ]
    rng = np.random.default_rng(0)
    G = rng.uniform(*_G, (_SIZE, _SIZE))
    spikes = rng.integers(0, 2, (_VECTORS, _SIZE)).astype(np.float64)
    rows: list[dict[str, Any]] = []
    for name, (cell, volt) in _CELLS.items():
        spice, seconds = _ngspice(G, cell, volt * spikes[:2], notes)
        if spice is not None:
            rows.append({"cells": name, "solver": "ngspice", "seconds": seconds})
        for dtype in (np.float32, np.float64):
            tile, V = jnp.asarray(G, dtype), jnp.asarray(volt * spikes, dtype)
            rows.append(_ours(name, cell, tile, V, spice, seconds))
    rows += _models(rng)
    return {"title": "Nonlinear crossbars: 64 spike vectors on a 64×64 tile", "rows": rows, "notes": notes}


def _ours(name, cell, G, V, spice, seconds):
    def total(G):
        return jnp.sum(sense_currents(G, V, Wires(), cell))

    gradient = jax.grad(total)
    forward, both = (
        _processor_seconds(function)
        for function in (lambda: sense_currents(G, V, Wires(), cell), lambda: gradient(G))
    )
    row = {
        "cells": name,
        "solver": f"this, {G.dtype.name}",
        "seconds": forward,
        "gradient_over_forward": both / forward,
    }
    if spice is not None:
        currents = np.asarray(sense_currents(G, V[:2], Wires(), cell), np.float64)
        row["times_faster_than_ngspice"] = seconds / forward
        row["error"] = float(np.max(np.abs(currents - spice)) / np.max(np.abs(spice)))
    return row


def _processor_seconds(function):
    """Median of all threads of this process; the first call compiles."""
    jax.block_until_ready(function())
    spent = []
    for _ in range(5):
        began = time.process_time()
        jax.block_until_ready(function())
        spent.append(time.process_time() - began)
    return statistics.median(spent)


def _ngspice(G, cell, V, notes):
    """Currents of a few vectors, and the processor seconds that all would take."""
    if not shutil.which("ngspice"):
        notes.append("ngspice is not installed: skipped.")
        return None, None
    version = subprocess.run(["ngspice", "--version"], capture_output=True, text=True).stdout
    said = f"ngspice: {re.findall(r'ngspice-[0-9.]+', version)[0]}."
    if said not in notes:
        notes.append(said)
    currents = []
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        for voltages in V:
            deck = Path(folder) / "tile.cir"
            deck.write_text(to_spice(G, Wires(), cell, voltages))
            output = subprocess.run(["ngspice", "-b", str(deck)], capture_output=True, text=True).stdout
            currents.append([float(value) for value in re.findall(r"i\(vs\d+\) = (\S+)", output)])
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return np.array(currents), spent * _VECTORS / len(V)


def _models(rng):
    """A layer of 64×64 weights on nonlinear cells, by each model of them, for sparse spikes."""
    weights = jnp.asarray(rng.normal(size=(_SIZE, _SIZE)), jnp.float32)
    x = jnp.asarray(rng.random((_VECTORS, _SIZE)) < 0.2, jnp.float32)
    rows = []
    for v0 in (0.5, 0.25, 0.1):
        design = Crossbar(cell=Sinh(v0), read_voltage_v=0.5, calibration="column")
        exact = None
        for model in ("exact", "mean-activity", "read-voltage"):
            chip = program(weights, dataclasses.replace(design, cell_model=model), jax.random.key(0))
            read = TileProduct(chip).linear
            outputs = read(x)
            exact = outputs if exact is None else exact
            rows.append(
                {
                    "cells": f"layer, Sinh({v0}), 0.5 V",
                    "solver": model,
                    "seconds": _processor_seconds(functools.partial(read, x)),
                    "error": float(jnp.linalg.norm(outputs - exact) / jnp.linalg.norm(exact)),
                }
            )
    return rows
