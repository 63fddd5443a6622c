"""Measured cells against aihwkit and CrossSim, their retention, its compensation, slopes and bad input.

tests/data/reference/crossbar/device_statistics.json holds what the two drew. With `JAXSNN_AIHWKIT_PYTHON` set
to an interpreter with aihwkit, or `JAXSNN_CROSSSIM` to the folder of CrossSim, they also run live.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Crossbar, Device, ReadNoise, TileProduct, Variation, Wires
from hwmodels.crossbar.laws import InversePower, Logarithmic, Polynomial, Saturating, Table
from hwmodels.crossbar.presets import PRESETS, preset
from hwmodels.crossbar.programming import program_all
from hwmodels.crossbar.retention import ProgrammingError, Relaxation, StateDrift
from tests.helpers import finite_difference, reference_json

KEY = jax.random.key(5)
PEERS = Path(__file__).with_name("peers")
DAY_S = 86400.0
DRIFTING = [name for name in PRESETS if preset(name).drift is not None]
held = jax.jit(lambda device, G, key: device.program(G, key))
NO_WIRES = Wires(0.0, 0.0, 0.0, 0.0)


def program(kernel, crossbar, solve=lambda G, wires: G):
    """Without a circuit to solve, unless told how."""
    return program_all([kernel], crossbar, [KEY], solve=solve)[0]


@pytest.fixture(scope="module", params=["stored", "live"])
def peers(request):
    """Rows of statistics by peer."""
    if request.param == "stored":
        return reference_json("crossbar/device_statistics.json")
    found = {}
    python, folder = (os.environ.get(name) for name in ("JAXSNN_AIHWKIT_PYTHON", "JAXSNN_CROSSSIM"))
    if python is not None:
        found["aihwkit"] = run_peer(python, "aihwkit_devices.py")
    if folder is not None:
        found["crosssim"] = run_peer(sys.executable, "crosssim_devices.py", PYTHONPATH=folder)
    if not found:
        pytest.skip("neither JAXSNN_AIHWKIT_PYTHON nor JAXSNN_CROSSSIM is set")
    return found


def run_peer(python, script, **variables):
    environment = {**os.environ, **variables}
    done = subprocess.run([python, str(PEERS / script)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def drawn(row):
    """Mean, standard deviation and quantiles of 1e5 of our devices, µS, as the row asks for."""
    device, G = preset(row["device"]), jnp.full(100_000, 1e-6 * row["target_us"])
    if row["time_s"] is None:
        cells = device.variation(G, KEY)
    elif row["time_s"] == "read":
        cells = jnp.maximum(G + device.read_noise.law(G) * jax.random.normal(KEY, G.shape), 0)
    else:
        cells = held(device.at(row["time_s"]), G, KEY)
    cells = 1e6 * np.asarray(cells)
    return [cells.mean(), cells.std(), *np.quantile(cells, [0.05, 0.5, 0.95])]


def test_statistics_are_those_of_the_peers(peers):
    for peer, known in peers.items():
        if peer == "note":
            continue
        for row in known["rows"]:
            if (peer, row["device"]) == ("crosssim", "rram-wan-2022"):
                continue
            expected, spread = row["statistics_us"], row["statistics_us"][1]
            # Five standard errors of a mean, of a standard deviation, and of quantiles; of both samples.
            errors = np.array([1.0, 0.9, 2.2, 1.3, 2.2]) * spread / np.sqrt(100_000)
            np.testing.assert_array_less(
                abs(np.subtract(drawn(row), expected)), 5 * np.sqrt(2) * errors + 1e-5, err_msg=str(row)
            )


def test_two_readings_of_one_figure_differ_by_what_the_docstring_says(peers):
    rows = [row for row in peers.get("crosssim", {"rows": []})["rows"] if row["device"] == "rram-wan-2022"]
    for row in rows:
        law = preset("rram-wan-2022").variation.sigma
        assert abs(1e6 * law(jnp.asarray(1e-6 * row["target_us"])) - row["statistics_us"][1]) < 0.9


@pytest.mark.parametrize("name", DRIFTING)
def test_cells_spread_with_time_and_never_below_zero(name):
    device = preset(name)
    low, high = device.limits(jnp.float64)
    G = low + 0.6 * (high - low) * jnp.ones(20_000)
    early, late = (np.asarray(held(device.at(time), G, KEY)) for time in (1.0, DAY_S))
    assert late.std() / late.mean() > 1.05 * early.std() / early.mean()
    assert late.min() >= 0
    np.testing.assert_array_equal(held(device.at(DAY_S), G, KEY), late)


@pytest.mark.parametrize("name", ["rram-wan-2022", "sonos-agrawal-2022"])
def test_beyond_what_was_measured_nothing_moves(name):
    device, G = preset(name), jnp.full(10, 1e-5)
    late, later = (held(device.at(time), G, KEY) for time in (5 * DAY_S, 3650 * DAY_S))
    np.testing.assert_array_equal(late, later)


def test_gain_makes_up_for_drift_and_the_finer_the_better():
    kernel = jax.random.normal(KEY, (24, 10), jnp.float64)

    def error(calibration):
        device = preset("pcm-nandakumar-2019").at(365 * DAY_S)
        crossbar = Crossbar(12, 12, wires=NO_WIRES, device=device, calibration=calibration)
        found = program(kernel, crossbar).weights
        return float(jnp.abs(found - kernel).mean() / jnp.abs(kernel).mean())

    none, kernelwise, column = (error(calibration) for calibration in ("none", "kernel", "column"))
    assert none > 1.5 * kernelwise
    assert column < kernelwise


def test_one_gain_for_all_tiles_of_a_kernel():
    kernel = jax.random.normal(KEY, (24, 10), jnp.float64)
    chip = program(kernel, Crossbar(12, 12, calibration="kernel"), lambda G, wires: 0.7 * G)
    assert len(np.unique(chip.gain)) == 1
    np.testing.assert_allclose(chip.gain.ravel()[0], chip.targets.sum() / chip.effective.sum(), rtol=1e-12)


def test_read_noise_of_the_state_is_that_of_a_sum_over_devices():
    device = preset("sonos-agrawal-2022")
    kernel = jax.random.normal(KEY, (6, 3), jnp.float64)
    chip = program(kernel, Crossbar(6, 3, wires=NO_WIRES, device=device))
    x = jnp.broadcast_to(jnp.asarray([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]), (20_000, 6))
    noisy = TileProduct(chip, read_noise=device.read_noise, key=KEY).linear(x)
    G = np.asarray(chip.conductances)[:, 0, 0, 0]
    worth = np.asarray(chip.encoded.coefficients)
    draws = np.random.default_rng(0).standard_normal((20_000, *G.shape)) * np.asarray(
        device.read_noise.law(jnp.asarray(G))
    )
    expected = np.einsum("p,npij,i->nj", worth, draws, np.asarray(x[0]))
    np.testing.assert_allclose(np.std(noisy, axis=0), expected.std(axis=0), rtol=0.03)


def test_laws_are_their_equations():
    G = jnp.asarray([1e-6, 2e-5])
    np.testing.assert_allclose(Polynomial((1.0, 2.0, 3.0), 1e-5)(G), [1.23, 17.0], rtol=1e-12)
    np.testing.assert_allclose(Saturating(2.0, 1e-5)(G), 2 * (1 - np.exp([-0.1, -2.0])), rtol=1e-12)
    np.testing.assert_allclose(Logarithmic(-1.0, 0.5, -0.1, 2.0, 1e-5)(G), [2.0, -0.1], rtol=1e-12)
    np.testing.assert_allclose(InversePower(0.1, 0.5, 0.2, 1e-5)(G), [0.2, 0.1 / np.sqrt(2)], rtol=1e-12)
    np.testing.assert_allclose(Table([0.0, 1e-5], [1.0, 3.0])(G), [1.2, 3.0], rtol=1e-12)


def test_slopes_of_state_errors():
    target = jnp.linspace(2e-6, 2.2e-5, 5)

    def left(x):
        programming = ProgrammingError(Polynomial((x[0], x[1]), 1e-5), x[2])
        drift = StateDrift(
            Logarithmic(-0.015, x[3], 0.0, 1.0, 2e-5),
            Saturating(x[4], 2e-5),
            InversePower(x[5], 0.6, 1.0, 2e-5),
            x[6],
            x[7],
        )
        spread = Relaxation((1.0, 1e3), (Saturating(x[8], 1e-5), Saturating(x[9], 1e-5)), time_s=x[6])
        held = Device(0.0, 5e-5, programming, drift=drift).program(target, KEY)
        return 1e5 * jnp.sum((held + spread(target, KEY)) * jnp.arange(1.0, 6))

    at = np.array([1e-7, 2e-7, 0.9, 0.05, 0.01, 0.008, 100.0, 20.0, 2e-7, 9e-7])
    slope = jax.jit(jax.grad(left))(at)
    np.testing.assert_allclose(slope, finite_difference(jax.jit(left), at, 1e-5), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: preset("flash"), "there is no device 'flash'; there are memristor-bhattacharjee, pcm"),
        (lambda: Device().at(1.0), "a device with drift"),
        (lambda: preset("pcm-joshi-2020").at(-1.0), r"StateDrift\.time_s is the time since programming"),
        (lambda: preset("rram-wan-2022").at(float("nan")), r"Relaxation\.time_s"),
        (lambda: StateDrift(Saturating(1.0, 1.0), Saturating(1.0, 1.0), read_s=0.0), r"StateDrift\.read_s"),
        (lambda: Relaxation((1.0, 1.0), (Saturating(1.0, 1.0),) * 2), r"Relaxation\.times_s"),
        (lambda: Relaxation((1.0, np.nan), (Saturating(1.0, 1.0),) * 2), r"Relaxation\.times_s"),
        (lambda: Relaxation((0.0, 1.0), (Saturating(1.0, 1.0),) * 2), 'spacing="log"'),
        (lambda: Relaxation((1.0, 2.0), (Saturating(1.0, 1.0),)), "one spread"),
        (lambda: ProgrammingError(Saturating(1.0, 1.0), -1.0), r"ProgrammingError\.scale"),
        (lambda: Polynomial(()), r"Polynomial\.coefficients"),
        (lambda: Saturating(1.0, 0.0), r"Saturating\.scale_siemens"),
        (lambda: Table([1.0, 1.0], [1.0, 2.0]), r"Table\.siemens must increase"),
        (lambda: Table([1.0], [1.0]), "at least two conductances"),
        (lambda: Device(variation=ReadNoise()), r"Device\.variation"),
    ],
)
def test_bad_input(make, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_traced_time_is_checked_where_it_is_used():
    device = preset("pcm-joshi-2020")
    with pytest.raises(Exception, match=r"StateDrift\.time_s"):
        jax.jit(lambda time: device.at(time).program(jnp.full(2, 1e-5), KEY))(-1.0).block_until_ready()


def test_a_plain_variation_is_what_it_was():
    G = jnp.full(5, 2e-5)
    np.testing.assert_array_equal(Device(variation=0.1).program(G, KEY), Variation(0.1)(G, KEY))
