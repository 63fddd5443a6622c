"""Fits: a tile found again, what is not identifiable, exact slopes, CSV files and what is wrong with them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Crossbar, Device, Wires, effective_conductance
from hwmodels.crossbar.fit import NAMES, _Problem, fit_devices
from hwmodels.crossbar.measurements import Measurements, device_from_pulses
from hwmodels.crossbar.write_verify import WriteVerify
from tests.helpers import finite_difference

# Long wires, whose drop is that of the paper's on 64 rows and columns.
TRUTH = Wires(1200.0, 60.0, 90.0, 900.0)
DESIGN = Crossbar(10, 10, wires=Wires(1000.0, 80.0, 80.0, 1000.0))
RNG = np.random.default_rng(1)
TARGETS = RNG.uniform(5e-6, 5e-5, (10, 10))
HELD = TARGETS * (1 + 0.1 * RNG.standard_normal((10, 10)))
NO_LOAD = (0.0, 0.0, 0.0, 0.0)
LOADS = (NO_LOAD, (0.0, 0.0, 0.0, 5e3), (5e3, 0.0, 0.0, 0.0))
solved = jax.jit(effective_conductance)


def measured(loads, noise=0.01, times=1, seed=2):
    """One row after the other at 0.2 V, `times` each."""
    volts = np.tile(0.2 * np.eye(10), (times * len(loads), 1))
    added = np.repeat(loads, 10 * times, axis=0)
    currents = []
    for load in loads:
        wires = Wires(*(getattr(TRUTH, name) + extra for name, extra in zip(NAMES, load, strict=True)))
        matrix = np.asarray(solved(jnp.asarray(HELD), wires))
        currents.append(np.tile(0.2 * matrix, (times, 1)))
    currents = np.concatenate(currents)
    return Measurements(
        volts, currents * (1 + noise * np.random.default_rng(seed).standard_normal(currents.shape)), added
    )


@pytest.fixture(scope="module")
def found():
    return fit_devices(measured(LOADS, times=64), DESIGN, targets=TARGETS)


def test_a_tile_is_found_again(found):
    """1 % noise on every current: all four resistances within 2 %, conductances within 1 %."""
    for name in NAMES:
        assert abs(getattr(found.wires, name) / getattr(TRUTH, name) - 1) < 0.02, found.report()
    assert np.median(abs(found.conductances / HELD - 1)) < 0.01
    assert 0.8 < found.chi_squared < 1.2
    assert all(found.identifiable.values())
    # These data give the row's wires to 3 %, and the report says so of nothing else.
    assert set(found.not_identifiable()) == {"row"}
    assert set(found.not_identifiable(resistances=0.05)) == set()
    assert found.report().count("Not identifiable") == 1
    assert abs(found.device.variation.sigma - 0.1) < 0.03


def test_uncertainty_is_that_of_the_errors():
    """Over draws of the noise, errors of resistances and conductances are as large as they are said to be."""
    wires, cells = [], []
    for seed in range(4):
        found = fit_devices(measured(LOADS, times=4, seed=seed), DESIGN, targets=TARGETS)
        off = [np.log(getattr(found.wires, name) / getattr(TRUTH, name)) for name in NAMES]
        wires.append(np.array(off) / found.wire_errors)
        cells.append((np.log(found.conductances / HELD) / found.conductance_errors).ravel())
    assert 0.4 < np.mean(np.square(wires)) < 2.2
    assert 0.5 < np.mean(np.square(cells)) < 1.8


def test_column_currents_alone_do_not_tell_wires_from_devices():
    """As many numbers as devices: nothing is known of the wires but the design, and the report says so."""
    found = fit_devices(measured((NO_LOAD,)), DESIGN, max_steps=8)
    assert not any(found.identifiable.values())
    np.testing.assert_allclose(found.looseness, 1, rtol=0.05)
    assert found.report().count("Not identifiable") >= 4
    assert "known resistance in series" in found.report()
    assert set(found.not_identifiable()) == {*NAMES, "conductances"}


def test_the_report_names_what_is_known_less_well_than_asked(found):
    asked = float(np.sort(found.wire_errors)[2:].mean())
    loosest = NAMES[int(np.argmax(found.wire_errors))]
    assert set(found.not_identifiable(resistances=asked)) == {loosest}
    assert f"Not identifiable to {100 * asked:g} % from these data: {loosest} (±" in found.report(asked)
    assert "the data: conductances" not in found.report(asked)
    assert "Not identifiable to 0.001 % from these data: conductances" in found.report(1.0, 1e-5)


def test_given_resistances_stay_and_noise_of_the_data_shows():
    design = Crossbar(10, 10, wires=TRUTH)
    found = fit_devices(measured((NO_LOAD,), noise=0.02), design, fixed=NAMES, max_steps=12)
    assert found.wires == TRUTH or all(getattr(found.wires, n) == getattr(TRUTH, n) for n in NAMES)
    assert found.fitted == ()
    assert np.median(abs(found.conductances / HELD - 1)) < 0.04


def test_the_jacobian_is_exact():
    problem = _Problem(measured(LOADS), DESIGN, TARGETS, 0.01, 1e-9, ())
    x = problem.start()
    _, _, gradient, matrix = problem.evaluate(x)
    chosen = np.array([0, 1, 2, 3, 4, 37, 103])

    def cost(part):
        moved = x.copy()
        moved[chosen] = part
        return problem.evaluate(moved, curvature=False)[0]

    np.testing.assert_allclose(
        gradient[chosen], finite_difference(cost, x[chosen], 1e-6), rtol=1e-5, atol=1e-2
    )
    # Of the residuals, column by column: the curvature is JᵀJ.
    for index in (1, 37):
        step = np.zeros_like(x)
        step[index] = 1e-5
        slope = (problem.evaluate(x + step, False)[1] - problem.evaluate(x - step, False)[1]) / 2e-5
        prior = 1.0 if index < 4 else problem.spread**-2
        np.testing.assert_allclose(matrix[index, index], np.sum(slope**2) + prior, rtol=1e-6)


def write_csv(path, reads, units=("V", "A", "ohm")):
    scale = {"V": 1, "mV": 1e3, "A": 1, "uA": 1e6, "ohm": 1}
    headers = (
        [f"V{i} [{units[0]}]" for i in range(10)]
        + [f"I{j} [{units[1]}]" for j in range(10)]
        + [f"sense [{units[2]}]"]
    )
    body = np.concatenate(
        [reads.voltages * scale[units[0]], reads.currents * scale[units[1]], reads.added[:, 3:]], axis=1
    )
    lines = [",".join(headers)] + [",".join(map(repr, map(float, row))) for row in body]
    path.write_text("# a tile\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return lines


def test_a_csv_file_in_any_unit_is_the_same_measurement(tmp_path):
    reads = measured(LOADS[:2])
    write_csv(tmp_path / "tile.csv", reads, ("mV", "uA", "ohm"))
    found = Measurements.from_csv(tmp_path / "tile.csv")
    for name in ("voltages", "currents", "added"):
        np.testing.assert_allclose(getattr(found, name), getattr(reads, name), rtol=1e-12, atol=1e-30)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("V3 [V]", "V3 [A]"), "V3 must be in volt, and is in ampere"),
        (lambda t: t.replace("V3 [V]", "V3"), "V3 must be in volt, and has no unit"),
        (
            lambda t: t.replace("I3 [A]", "I3 [furlong]"),
            "column 'I3' is in 'furlong', which is no known unit",
        ),
        (lambda t: t.replace("I3 [A]", "I13 [A]"), "must be numbered without gaps"),
        (lambda t: t.replace("I3 [A]", "I2 [A]"), "two columns of the same name"),
        (lambda t: t.replace("sense [ohm]", "sunshine [ohm]"), "nothing is called 'sunshine'"),
        (lambda t: t.replace("0.2,", ",", 1), "line 3: V0 is missing"),
        (lambda t: t.replace("0.2,", "nan,", 1), "line 3: V0 must be finite"),
        (lambda t: t.replace("0.2,", "many,", 1), "V0 must be a number, got 'many'"),
        (lambda t: t.replace("0.2,", "0.2,7,", 1), "line 3 has 22 cells, and there are 21 columns"),
        (lambda t: t.splitlines()[1], "at least one of numbers"),
    ],
)
def test_a_csv_file_that_is_wrong(tmp_path, change, message):
    path = tmp_path / "tile.csv"
    write_csv(path, measured((NO_LOAD,)))
    path.write_text(change(path.read_text()), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Measurements.from_csv(path)


def curve(up, down=None, runs=1):
    """Lines of a pulse curve, µS."""
    lines = ["pulse,conductance [uS],direction"]
    for _ in range(runs):
        for values, direction in ((up, 1), *(() if down is None else ((down, -1),))):
            lines += [f"{pulse},{value!r},{direction}" for pulse, value in enumerate(map(float, values))]
    return "\n".join(lines) + "\n"


def test_a_pulse_curve_makes_a_device(tmp_path):
    """Steps that shrink with the state, 1 + 0.2·(40 − G) µS up and 0.1·G down, are read off the curve."""
    up, down = [2.0], [40.0]
    for _ in range(60):
        up.append(up[-1] + 0.1 * (41 - up[-1]))
        down.append(down[-1] - 0.1 * (down[-1] - 1))
    path = tmp_path / "pulses.csv"
    path.write_text(curve(up, down, runs=2))
    device = device_from_pulses(path, write_v=1.2, max_rounds=60)
    method = device.variation
    assert isinstance(method, WriteVerify)
    assert method.write_v == 1.2
    np.testing.assert_allclose(float(device.g_max_siemens), 1e-6 * max(up), rtol=1e-12)
    G = jnp.asarray([10e-6, 20e-6, 30e-6])
    np.testing.assert_allclose(method.pulses.up(G), 0.1 * (41e-6 - G), rtol=0.05)
    np.testing.assert_allclose(method.pulses.down(G), 0.1 * (G - 1e-6), rtol=0.05)
    assert float(method.pulses.sigma) < 0.1
    held = jax.jit(lambda G: device.program(G, jax.random.key(0)))(jnp.full(200, 25e-6))
    assert abs(held / 25e-6 - 1).max() < 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pulse,G [uS]\n0,1\n", "needs the columns pulse and conductance"),
        ("pulse,conductance\n0,1\n1,2\n", "conductance must be in siemens, and has no unit"),
        ("pulse,conductance [V]\n0,1\n1,2\n", "conductance must be in siemens, and is in volt"),
        ("pulse,conductance [uS]\n0,1\n1,2\n3,3\n4,4\n", "without gaps"),
        ("pulse,conductance [uS]\n0,1\n1,2\n", "at least three pulses"),
        ("pulse,conductance [uS]\n0,-1\n1,2\n2,3\n3,4\n", "conductance must be zero or more"),
        ("pulse,conductance [uS]\n" + "".join(f"{i},{9 - i}\n" for i in range(9)), "on average they do not"),
        ("pulse,conductance [uS],direction\n0,1,2\n1,2,2\n", "direction is 1"),
    ],
)
def test_a_pulse_curve_that_is_wrong(tmp_path, text, message):
    (tmp_path / "pulses.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        device_from_pulses(tmp_path / "pulses.csv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Measurements(np.ones((2, 3)), np.ones((3, 2))), "of as many reads"),
        (lambda: Measurements(np.ones((2, 3)), np.full((2, 2), np.nan)), r"Measurements\.currents"),
        (lambda: Measurements(np.zeros((2, 3)), np.ones((2, 2))), "without any voltage"),
        (lambda: Measurements(np.ones((2, 3)), np.ones((2, 2)), -np.ones((2, 4))), r"Measurements\.added"),
        (lambda: fit_devices("nowhere.csv", DESIGN), "there is no file nowhere.csv"),
        (lambda: fit_devices(measured((NO_LOAD,)), Crossbar(9, 10)), "Crossbar has 9 rows"),
        (lambda: fit_devices(measured((NO_LOAD,)), DESIGN, noise=0.0), "noise must be above zero"),
        (lambda: fit_devices(measured((NO_LOAD,)), DESIGN, fixed=("wires",)), "fixed names resistances"),
        (
            lambda: fit_devices(measured((NO_LOAD,)), DESIGN, targets=-TARGETS),
            "targets are conductances above zero",
        ),
    ],
)
def test_bad_input(make, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_design_without_a_variation_fits_too():
    design = Crossbar(10, 10, wires=TRUTH, device=Device(variation=None))
    found = fit_devices(measured((NO_LOAD,)), design, targets=TARGETS, fixed=("row", "column"), max_steps=3)
    assert found.fitted == ("driver", "sense")
