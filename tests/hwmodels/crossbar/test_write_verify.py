"""Programming by pulses: where it ends, what it costs, its slopes; what is priced is what is held."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import (
    Crossbar,
    Device,
    WriteVerify,
    deployment_report,
    program_kernels,
    programming_cost,
)
from hwmodels.crossbar.laws import Polynomial
from hwmodels.crossbar.write_verify import Adaptive, Incremental
from tests.helpers import finite_difference

KEY = jax.random.key(9)
TARGETS = jnp.linspace(2e-6, 38e-6, 400).reshape(20, 20)
EXACT = Incremental(Polynomial((2e-6,)), Polynomial((2e-6,)), 0.0)
written = jax.jit(lambda method, G, key: method.write(G, key))


def test_without_any_noise_pulses_are_counted_by_hand():
    method = WriteVerify(1.05e-6, 30, EXACT, read_sigma_siemens=0.0)
    found = written(method, TARGETS, KEY)
    steps = np.maximum(np.ceil((np.asarray(TARGETS) - 1e-6 - 1.05e-6) / 2e-6), 0)
    np.testing.assert_array_equal(found.rounds, steps)
    np.testing.assert_array_equal(found.reads, steps + 1)
    np.testing.assert_allclose(found.conductances, 1e-6 + 2e-6 * steps, rtol=1e-12)
    assert np.all(found.done)
    # Before pulse k a cell has 1 + 2·k µS; every read finds what the pulses before left.
    ladder = [np.arange(count + 1) * 2e-6 + 1e-6 for count in steps.ravel().astype(int)]
    pulses = sum(levels[:-1].sum() for levels in ladder) * 1.5**2 * 1e-6
    reads = sum(levels.sum() for levels in ladder) * 0.1**2 * 1e-6
    np.testing.assert_allclose(found.energy_j, pulses + reads, rtol=1e-12)
    expected = 1e-6 * (steps.max(-1) + steps.max(-1) + 1).sum()
    np.testing.assert_allclose(method.time_s(found), expected, rtol=1e-12)


@pytest.mark.parametrize("pulses", [Incremental(Polynomial((2e-6,)), Polynomial((2e-6,))), Adaptive()])
def test_rounds_bring_cells_to_their_targets(pulses):
    found = written(WriteVerify(1e-6, 40, pulses), TARGETS, KEY)
    errors = np.asarray(found.errors)
    assert errors[-1] < 0.1 * errors[0]
    assert np.all(np.diff(errors) < 0.02 * errors[0])
    assert np.mean(found.done) > 0.95
    # A cell is accepted by a noisy read, so it is off by the tolerance and that noise at most.
    off = np.abs(np.asarray(found.conductances - TARGETS))[np.asarray(found.done)]
    assert off.max() < 1e-6 + 6 * 0.2e-6


@pytest.mark.parametrize(
    ("settings", "costs_more"),
    [({"tolerance_siemens": 0.5e-6}, True), ({"write_v": 3.0}, True), ({"read_s": 0.0}, False)],
)
def test_every_knob_moves_the_cost(settings, costs_more):
    base, other = WriteVerify(max_rounds=40), WriteVerify(max_rounds=40, **settings)
    energy = [float(written(method, TARGETS, KEY).energy_j) for method in (base, other)]
    assert (energy[1] > energy[0]) == costs_more
    assert energy[1] != energy[0]


def test_too_few_rounds_leave_cells_where_they_are():
    found = written(WriteVerify(max_rounds=2), TARGETS, KEY)
    assert 0 < np.mean(found.done) < 0.5
    assert np.max(found.rounds) == 2


def test_a_first_guess_saves_pulses():
    blind, low = (
        written(WriteVerify(max_rounds=40, start=start), TARGETS, KEY) for start in ("target", "low")
    )
    assert np.sum(blind.rounds) < 0.6 * np.sum(low.rounds)


def test_slopes_of_what_is_held_and_of_its_energy():
    at = np.asarray([5e-6, 2e-5, 3.3e-5])

    def held(x):
        method = WriteVerify(0.0, 6, Adaptive(x[3]), write_v=x[4], write_s=1e-6 * x[5], read_s=1e-6 * x[6])
        found = method.write(1e-5 * x[:3], KEY)
        return jnp.sum(1e5 * found.conductances * jnp.arange(1.0, 4)) + 1e9 * found.energy_j

    at = np.array([0.5, 2.0, 3.3, 0.7, 1.5, 1.1, 0.9])
    np.testing.assert_allclose(jax.jit(jax.grad(held))(at), finite_difference(jax.jit(held), at), rtol=1e-6)


@pytest.mark.parametrize("start", ["low", "target"])
def test_a_cell_that_is_done_follows_its_target(start):
    """Also at the ends of the range, where the levels of zero and of the greatest weight lie."""
    method = WriteVerify(max_rounds=60, start=start)
    targets = TARGETS.at[0, :10].set(method.low_siemens).at[-1, 10:].set(method.high_siemens)
    slope = jax.grad(lambda G: written(method, G, KEY).conductances.sum())(targets)
    done = np.asarray(written(method, targets, KEY).done)
    assert done[0, :10].any()
    assert done[-1, 10:].any()
    np.testing.assert_array_equal(np.asarray(slope)[done], 1)


def test_biases_and_groups_are_priced_as_they_are_programmed():
    """A bias in a row has cells of its own, and its greatest weight may be that of all."""
    params = {"conv": {"kernel": jax.random.normal(KEY, (2, 2, 1, 4)), "bias": 3 * jnp.ones(4)}}
    groups = {"['conv']['kernel']": 2}
    crossbar = Crossbar(4, 4, device=Device(1e-6, 40e-6, WriteVerify(max_rounds=3)), bias="row")
    cost = programming_cost(params, crossbar, KEY, groups=groups)
    chips = program_kernels(params, crossbar, KEY, groups=groups, solve=lambda G, wires: G)
    held = {name: (c.conductances - c.targets) * c.used for name, c in chips.items()}
    assert cost.cells == 2 * 4 * (4 + 1)
    squares = sum(float(jnp.sum(off**2)) for off in held.values())
    np.testing.assert_allclose(
        cost.weight_errors[-1], np.sqrt(squares / float(cost.cells)) / 39e-6, rtol=1e-4
    )
    reports = deployment_report(params, crossbar, KEY, groups=groups)
    assert [report.tiles for report in reports] == [np.prod(c.targets.shape[:-2]) for c in chips.values()]


@pytest.mark.long
def test_what_is_priced_is_what_the_chip_holds():
    params = {
        "a": {"kernel": jax.random.normal(KEY, (6, 5))},
        "b": {"kernel": jax.random.normal(KEY, (5, 3))},
    }
    method = WriteVerify(max_rounds=40)
    crossbar = Crossbar(4, 4, device=Device(1e-6, 40e-6, method))
    cost = programming_cost(params, crossbar, KEY)
    chips = program_kernels(params, crossbar, KEY, solve=lambda G, wires: G)
    squares = sum(float(jnp.sum(((c.conductances - c.targets) * c.used) ** 2)) for c in chips.values())
    assert cost.cells == 2 * (30 + 15)
    np.testing.assert_allclose(cost.weight_errors[-1], np.sqrt(squares / 90) / 39e-6, rtol=1e-4)
    # Every pulse follows a read, and a last read follows it.
    assert cost.reads == cost.pulses + cost.cells
    assert cost.failed < 5
    assert 0 < cost.parallel_time_s < cost.time_s
    assert cost.energy_j > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WriteVerify(-1e-6), r"WriteVerify\.tolerance_siemens"),
        (lambda: WriteVerify(max_rounds=0), r"WriteVerify\.max_rounds"),
        (lambda: WriteVerify(start="high"), r"WriteVerify\.start"),
        (lambda: WriteVerify(write_v=float("nan")), r"WriteVerify\.write_v"),
        (lambda: WriteVerify(low_siemens=1e-4), "low_siemens below high_siemens"),
        (lambda: Adaptive(2.0), r"Adaptive\.gain"),
        (lambda: Incremental(Polynomial((1.0,)), Polynomial((1.0,)), -0.1), r"Incremental\.sigma"),
        (
            lambda: programming_cost({"kernel": jnp.ones((2, 2))}, Crossbar(2, 2), KEY),
            "must be a WriteVerify",
        ),
    ],
)
def test_bad_input(make, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        make()
