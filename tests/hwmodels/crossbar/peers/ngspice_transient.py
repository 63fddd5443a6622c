"""A step on a small tile with capacitors, integrated by ngspice: currents that are sensed, as JSON."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WIRES = {"driver": 1000.0, "row": 50.0, "column": 100.0, "sense": 800.0}
FARAD = {"row_farad": 20e-15, "column_farad": 30e-15, "device_farad": 5e-15}
TIMES_S = (2e-11, 1e-10, 4e-10)


def netlist(G, volts):
    rows, columns = G.shape
    lines = ["* step response of a crossbar tile"]
    for i in range(rows):
        lines += [f"V{i} s{i} 0 {volts[i]!r}", f"Rd{i} s{i} r{i}_0 {WIRES['driver']!r}"]
        for j in range(columns):
            lines += [
                f"Rg{i}_{j} r{i}_{j} c{i}_{j} {float(1 / G[i, j])!r}",
                f"Cg{i}_{j} r{i}_{j} c{i}_{j} {FARAD['device_farad']!r}",
                f"Cr{i}_{j} r{i}_{j} 0 {FARAD['row_farad']!r}",
                f"Cc{i}_{j} c{i}_{j} 0 {FARAD['column_farad']!r}",
            ]
            if j + 1 < columns:
                lines.append(f"Rr{i}_{j} r{i}_{j} r{i}_{j + 1} {WIRES['row']!r}")
            if i + 1 < rows:
                lines.append(f"Rc{i}_{j} c{i}_{j} c{i + 1}_{j} {WIRES['column']!r}")
    lines += [f"Rs{j} c{rows - 1}_{j} 0 {WIRES['sense']!r}" for j in range(columns)]
    # From discharged capacitors: the sources step at zero.
    lines += [
        ".options reltol=1e-7 abstol=1e-18 vntol=1e-12",
        f".tran 1e-13 {TIMES_S[-1] * 1.01!r} 0 1e-13 uic",
    ]
    for k, time in enumerate(TIMES_S):
        lines += [f".meas tran v{k}_{j} find v(c{rows - 1}_{j}) at={time!r}" for j in range(columns)]
    return "\n".join([*lines, ".end", ""])


def main():
    rng = np.random.default_rng(0)
    G, volts = rng.uniform(5e-6, 5e-5, (4, 3)), [0.1, 0.2, 0.0, 0.3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tile.cir"
        path.write_text(netlist(G, volts))
        done = subprocess.run(["ngspice", "-b", str(path)], capture_output=True, text=True, check=True)
        version = subprocess.run(["ngspice", "--version"], capture_output=True, text=True, check=True).stdout
    found = dict(re.findall(r"^(v\d+_\d+)\s*=\s*(\S+)", done.stdout, re.MULTILINE))
    ampere = [
        [float(found[f"v{k}_{j}"]) / WIRES["sense"] for j in range(G.shape[1])] for k in range(len(TIMES_S))
    ]
    json.dump(
        {
            "package": re.search(r"ngspice-\d+", version)[0],
            "conductances": G.tolist(),
            "volts": volts,
            "wires": WIRES,
            "capacitances": FARAD,
            "times_s": TIMES_S,
            "ampere": ampere,
        },
        sys.stdout,
        indent=1,
    )


main()
