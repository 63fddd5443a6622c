"""Settling against matrix exponentials, sparse modes and ngspice; its slopes, its trade and bad input.

tests/data/reference/crossbar/transient.json holds what ngspice integrated; where it is installed, it also
runs live.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from hwmodels import spikeflow
from hwmodels.crossbar import (
    Capacitances,
    Crossbar,
    Device,
    Settling,
    Wires,
    effective_conductance,
    elmore_bound,
    program_kernels,
    settled_conductance,
    settling_time,
    slowest_time_constant,
)
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference, reference_json

PEER = Path(__file__).with_name("peers") / "ngspice_transient.py"
KEY = jax.random.key(0)
G = np.random.default_rng(0).uniform(5e-6, 5e-5, (6, 5))
WIRES, FARAD = Wires(1000.0, 5.0, 10.0, 800.0), Capacitances(2e-15, 3e-15, 0.5e-15)


def network(G, wires, farad):
    """Textbook nodal matrices: conductances, capacitances, sources, and the nodes that are sensed."""
    rows, columns = G.shape
    size = 2 * rows * columns
    conductance, capacitance, source = np.zeros((size, size)), np.zeros((size, size)), np.zeros((size, rows))
    row = np.arange(rows * columns).reshape(rows, columns)
    column = row + rows * columns

    def join(matrix, a, b, value):
        matrix[[a, b, a, b], [a, b, b, a]] += np.array([1, 1, -1, -1]) * value

    for i in range(rows):
        conductance[row[i, 0], row[i, 0]] += 1 / wires.driver
        source[row[i, 0], i] = 1 / wires.driver
        for j in range(columns):
            join(conductance, row[i, j], column[i, j], G[i, j])
            join(capacitance, row[i, j], column[i, j], farad.device_farad)
            capacitance[row[i, j], row[i, j]] += farad.row_farad
            capacitance[column[i, j], column[i, j]] += farad.column_farad
            if j + 1 < columns:
                join(conductance, row[i, j], row[i, j + 1], 1 / wires.row)
            if i + 1 < rows:
                join(conductance, column[i, j], column[i + 1, j], 1 / wires.column)
    conductance[column[-1], column[-1]] += 1 / wires.sense
    return conductance, capacitance, source, column[-1]


def transient(G, wires, farad, time):
    conductance, capacitance, source, sensed = network(G, wires, farad)
    settled = np.linalg.solve(conductance, source)
    voltage = settled - scipy.linalg.expm(-time * np.linalg.solve(capacitance, conductance)) @ settled
    return voltage[sensed].T / wires.sense


@pytest.mark.parametrize("time", [1e-12, 1.5e-11, 1e-10, 1e-9])
@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-8), (np.float32, 1e-5)])
def test_a_read_is_the_matrix_exponential(time, dtype, error):
    found = settled_conductance(jnp.asarray(G, dtype), WIRES, FARAD, time)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, transient(G, WIRES, FARAD, time), atol=error * 5e-5)


def test_an_endless_read_is_the_settled_tile_zero_resistances_too():
    for wires in (WIRES, Wires(0.0, 0.0, 10.0, 0.0), Wires(100.0, 0.0, 0.0, 50.0)):
        found = settled_conductance(jnp.asarray(G), wires, FARAD, 1e-6)
        np.testing.assert_allclose(found, effective_conductance(jnp.asarray(G), wires), rtol=1e-8)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-9), (np.float32, 1e-4)])
@pytest.mark.parametrize("farad", [FARAD, Capacitances(0.0, 1e-15, 0.0)])
def test_the_slowest_mode_and_its_bound(dtype, error, farad):
    conductance, capacitance, _, _ = network(G, WIRES, farad)
    slowest = scipy.linalg.eigh(capacitance, conductance, eigvals_only=True)[-1]
    tile = jnp.asarray(G, dtype)
    np.testing.assert_allclose(slowest_time_constant(tile, WIRES, farad), slowest, rtol=error)
    bound = float(elmore_bound(tile, WIRES, farad))
    assert slowest < bound < 1.5 * slowest
    np.testing.assert_allclose(
        settling_time(tile, WIRES, farad, 1e-3, bound=True), bound * np.log(1e3), rtol=1e-5
    )


def test_the_bound_is_an_elmore_delay():
    """Without capacitors across devices, of one resistor and one capacitor chain by hand: R·C."""
    one = jnp.full((1, 1), 1e-5)
    wires, farad = Wires(1e3, 0.0, 0.0, 0.0), Capacitances(1e-15, 0.0, 0.0)
    expected = 1e-15 / (1e-3 + 1e-5)
    np.testing.assert_allclose(elmore_bound(one, wires, farad), expected, rtol=1e-12)
    np.testing.assert_allclose(slowest_time_constant(one, wires, farad), expected, rtol=1e-12)


def test_without_capacitors_nothing_takes_time():
    nothing = Capacitances(0.0, 0.0, 0.0)
    assert float(slowest_time_constant(jnp.asarray(G), WIRES, nothing)) == 0
    found = settled_conductance(jnp.asarray(G), WIRES, nothing, 1e-15)
    np.testing.assert_allclose(found, effective_conductance(jnp.asarray(G), WIRES), rtol=1e-8)


@pytest.fixture(scope="module", params=["stored", "live"])
def ngspice(request):
    if request.param == "stored":
        return reference_json("crossbar/transient.json")
    if shutil.which("ngspice") is None:
        pytest.skip("ngspice is not installed")
    done = subprocess.run([sys.executable, str(PEER)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_currents_are_those_of_ngspice(ngspice):
    wires, farad = Wires(**ngspice["wires"]), Capacitances(**ngspice["capacitances"])
    tile, volts = jnp.asarray(ngspice["conductances"]), np.asarray(ngspice["volts"])
    for time, ampere in zip(ngspice["times_s"], ngspice["ampere"], strict=True):
        found = volts @ np.asarray(settled_conductance(tile, wires, farad, time))
        # ngspice integrates with a step of 0.1 ps.
        np.testing.assert_allclose(found, ampere, atol=2e-5 * np.max(ngspice["ampere"]))


def test_slopes_of_a_read():
    cotangent = np.random.default_rng(1).normal(size=G.shape)
    scale = np.array([1.0, 1.0, 1.0, 1.0, 1e-15, 1e-15, 1e-15, 1e-11, 1e-5, 1e-5])

    def read(x):
        x = x * scale
        tile = jnp.asarray(G).at[2, 1].set(x[8]).at[5, 0].set(x[9])
        found = settled_conductance(tile, Wires(x[0], x[1], x[2], x[3]), Capacitances(x[4], x[5], x[6]), x[7])
        return 1e5 * jnp.sum(cotangent * found)

    at = np.array([1e3, 5.0, 10.0, 800.0, 2.0, 3.0, 0.5, 2.0, 2.0, 3.0])
    slope = jax.jit(jax.grad(read))(at)
    np.testing.assert_allclose(slope, finite_difference(jax.jit(read), at, 1e-4), rtol=1e-5, atol=1e-6)


def test_slopes_of_the_slowest_mode():
    scale = np.array([1.0, 1.0, 1.0, 1.0, 1e-15, 1e-15, 1e-15, 1e-5])

    def slowest(x):
        x = x * scale
        tile = jnp.asarray(G).at[2, 1].set(x[7])
        return 1e11 * slowest_time_constant(
            tile, Wires(x[0], x[1], x[2], x[3]), Capacitances(x[4], x[5], x[6])
        )

    at = np.array([1e3, 5.0, 10.0, 800.0, 2.0, 3.0, 0.5, 2.0])
    slope = jax.jit(jax.grad(slowest))(at)
    np.testing.assert_allclose(slope, finite_difference(jax.jit(slowest), at, 1e-4), rtol=1e-5, atol=1e-9)


def test_a_longer_read_of_a_kernel_is_a_better_one():
    """The knob: weights are wrong in proportion to what has not settled, and the gradient says so."""
    kernel = {"kernel": jax.random.normal(KEY, (6, 5), jnp.float64)}
    ideal = Crossbar(6, 5, device=Device(variation=None))

    @jax.jit
    def error(read_s):
        crossbar = Crossbar(6, 5, device=ideal.device, settling=Settling(read_s))
        found = program_kernels(kernel, crossbar, KEY)["['kernel']"].weights
        return jnp.sum((found - settled) ** 2) / jnp.sum(settled**2)

    settled = program_kernels(kernel, ideal, KEY)["['kernel']"].weights
    errors = [float(error(time)) for time in (2e-13, 1e-12, 5e-12, 1e-10)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.1
    assert errors[-1] < 1e-9
    assert float(jax.grad(lambda x: error(1e-12 * x))(1.0)) < 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Capacitances(row_farad=-1e-15), r"Capacitances\.row_farad is a capacitance in farad"),
        (lambda: Capacitances(device_farad=float("nan")), r"Capacitances\.device_farad"),
        (lambda: Settling(0.0), r"Settling\.read_s is a time"),
        (lambda: settling_time(jnp.asarray(G), WIRES, FARAD, 1.0), r"settling_time\.tolerance"),
        (
            lambda: program_kernels(
                {"kernel": jnp.ones((2, 2))},
                Crossbar(2, 2, settling=Settling(1e-9)),
                KEY,
                solve=lambda G, wires: G,
            ),
            r"Crossbar\.settling",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_traced_capacitance_is_checked_where_it_is_used():
    with pytest.raises(Exception, match=r"Capacitances\.column_farad"):
        jax.jit(lambda c: settled_conductance(jnp.asarray(G), WIRES, Capacitances(column_farad=c), 1e-11))(
            -1e-15
        )


def test_one_knob_of_a_chip_moves_its_accuracy_and_its_latency():
    layers = (
        Layer.linear("a", in_features=64, out_features=64),
        Layer.linear("b", in_features=64, out_features=10),
    )
    workload = Workload(layers, 4)

    def latency(read_s):
        return spikeflow.evaluate(workload, spikeflow.Chip(settling=Settling(read_s))).latency_s

    short, long = latency(1e-9), latency(1e-8)
    published = spikeflow.evaluate(workload, spikeflow.Chip()).latency_s
    assert published < short < long
    np.testing.assert_allclose((long - published) / (short - published), 10, rtol=1e-6)
    assert spikeflow.Chip(settling=Settling(1e-9)).crossbar().settling.read_s == 1e-9
    slope = jax.grad(lambda x: 1e9 * latency(1e-9 * x))(2.0)
    np.testing.assert_allclose(slope, 1e9 * (latency(2.5e-9) - latency(1.5e-9)), rtol=1e-6)
