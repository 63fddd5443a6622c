"""Netlists: what ngspice 39 answered is stored, and with `-m long` it answers again where installed."""

import re
import shutil
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Cubic, Law, Series, Sinh, Transistor, Wires, sense_currents, to_spice
from tests.helpers import REFERENCE

STORED = REFERENCE / "crossbar" / "to_spice_ngspice39.npz"
RNG = np.random.default_rng(11)
G, V = RNG.uniform(5e-6, 5e-5, (5, 4)), RNG.uniform(-1.2, 1.2, 5)
G[1, 2] = 0
CASES = {
    "linear": (None, Wires()),
    "sinh": (Sinh(RNG.uniform(0.1, 0.3, (5, 4))), Wires()),
    "cubic": (Cubic(2.0), Wires(0.0, 5.0, 0.0, 1e3)),
    "1t1r": (Transistor(vg=1.1), Wires(1e3, 50.0, 50.0, 1e4)),
    "series": (Series(5e3, Sinh(0.2)), Wires()),
}


def ngspice(netlist: str, folder) -> np.ndarray:
    """The currents that ngspice prints."""
    path = folder / "tile.cir"
    path.write_text(netlist)
    output = subprocess.run(["ngspice", "-b", str(path)], capture_output=True, text=True).stdout
    return np.array([float(value) for value in re.findall(r"i\(vs\d+\) = (\S+)", output)])


@pytest.mark.parametrize("case", CASES)
def test_currents_are_what_ngspice_made_of_the_netlist(case):
    cell, wires = CASES[case]
    expected = np.load(STORED)[case]
    found = sense_currents(jnp.asarray(G), jnp.asarray(V), wires, cell)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("ngspice"), reason="ngspice is not installed")
@pytest.mark.parametrize("case", CASES)
def test_ngspice_runs_the_netlist(case, tmp_path):
    cell, wires = CASES[case]
    expected = np.load(STORED)[case]
    found = ngspice(to_spice(G, wires, cell, V), tmp_path)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_elements_of_a_netlist():
    text = to_spice(G, Wires(0.0, np.inf, 10.0, 1e3), Transistor(), V)
    lines = text.splitlines()
    assert sum(line.startswith("M") for line in lines) == 19
    assert sum(line.startswith(".model") for line in lines) == 1
    # No driver resistance is a source of zero volt; no resistor stands for a cut row.
    assert "VD0 s0 u0_0 DC 0" in lines
    assert not any(line.startswith("RR") for line in lines)
    assert sum(line.startswith("RC") for line in lines) == 16
    assert f"RG0_0 u0_0 m0_0 {1 / G[0, 0]!r}".replace("np.float64(", "").replace(")", "") in lines
    assert lines[-1] == ".end"


@pytest.mark.parametrize(
    ("G", "V", "cell", "message"),
    [
        (G[None], V, None, "one tile"),
        (G, V[:3], None, "one voltage for each row"),
        (-G, V, None, "zero or more"),
        (G, V * np.nan, None, "finite voltages"),
        (G, V, Law(lambda G, v: G * v), "has text for"),
    ],
)
def test_what_has_no_netlist_is_refused(as_users_run, G, V, cell, message):
    with pytest.raises(ValueError, match=message):
        to_spice(G, Wires(), cell, V)


def test_netlists_are_not_traced():
    with pytest.raises(ValueError, match="cannot be traced"):
        jax.jit(lambda V: len(to_spice(G, Wires(), None, V)))(V)
