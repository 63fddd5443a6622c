"""Cells: statistics of what is drawn, levels, extremes, errors, slopes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import BitResistors, Crossbar, Device, Drift, Faults, ReadNoise, Variation
from hwmodels.crossbar.encoding import encode
from tests.helpers import finite_difference

KEY = jax.random.key(3)
LOW, HIGH = 5e-6, 5e-5


@pytest.mark.parametrize("distribution", ["gaussian", "lognormal"])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.3])
def test_variation_has_the_mean_and_spread_asked_for(distribution, sigma):
    drawn = np.asarray(Variation(sigma, distribution)(jnp.full(40_000, HIGH), KEY)) / HIGH
    # Five standard errors of a mean and of a standard deviation.
    assert abs(drawn.mean() - 1) <= 5 * sigma / 200 + 1e-12
    assert abs(drawn.std() - sigma) <= 10 * sigma / 200 + 1e-12
    assert drawn.min() >= 0


def test_the_same_key_draws_the_same_and_another_key_another():
    device = Device(variation=0.1, faults=Faults(0.1, 0.1, 0.1), drift=Drift(0.1, 1e3, spread=0.1))
    G = jnp.full(50, HIGH)
    assert jnp.array_equal(device.program(G, KEY), device.program(G, KEY))
    assert not jnp.array_equal(device.program(G, KEY), device.program(G, jax.random.key(4)))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_cell_has_as_many_levels_as_its_bits_allow(bits):
    design = Crossbar(501, 1, device=Device(LOW, HIGH, None, bits=bits))
    held = encode(jnp.linspace(0, 1, 501)[:, None], design).targets[0]
    levels = np.unique(np.round((np.asarray(held) - LOW) / (HIGH - LOW), 12))
    np.testing.assert_allclose(levels, np.arange(2**bits) / (2**bits - 1), atol=1e-12)


def test_bit_resistors_are_resistors_in_parallel():
    device = BitResistors(bits=3, unit_ohm=20e3, clear_ohm=1e6)
    conductances = [sum((2**b / 20e3 if number >> b & 1 else 1e-6) for b in range(3)) for number in range(8)]
    np.testing.assert_allclose(device.target(jnp.arange(8.0) / 7), conductances, rtol=1e-12)
    assert device.bits == 3


def test_bit_resistors_have_the_slope_of_the_line_between_their_ends():
    device = BitResistors(bits=4)
    slope = jax.vmap(jax.grad(device.target))(jnp.arange(16.0) / 15)
    np.testing.assert_allclose(slope, 15 / 19.139e3 - 4 / 100e6, rtol=1e-12)


@pytest.mark.parametrize(("kind", "held"), [("stuck_on", HIGH), ("stuck_off", LOW), ("open", 0.0)])
def test_faults_at_their_extremes_and_at_their_rate(kind, held):
    G = jnp.full(20_000, 2e-5)
    low, high = Device(LOW, HIGH).limits(G.dtype)
    np.testing.assert_array_equal(Faults(**{kind: 1.0})(G, low, high, KEY), np.full(20_000, held))
    np.testing.assert_array_equal(Faults(**{kind: 0.0})(G, low, high, KEY), G)
    some = np.asarray(Faults(**{kind: 0.2})(G, low, high, KEY))
    assert set(np.unique(some)) == {held, 2e-5}
    assert abs((some == held).mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 20_000)


def test_a_greater_rate_only_adds_faults():
    G = jnp.full(1000, 2e-5)
    low, high = Device(LOW, HIGH).limits(G.dtype)
    few, many = (Faults(stuck_on=rate)(G, low, high, KEY) == HIGH for rate in (0.1, 0.4))
    assert np.all(many | ~few)
    assert many.sum() > few.sum()


def test_drift_follows_its_power_law():
    G = jnp.asarray([LOW, HIGH])
    held = Drift(exponent=0.1, time_s=1e4, reference_s=1.0)(G, KEY)
    np.testing.assert_allclose(held, G * 10**-0.4, rtol=1e-12)
    np.testing.assert_array_equal(Drift(0.1, 5.0, 5.0)(G, KEY), G)
    spread = Drift(0.1, 1e4, 1.0, spread=0.2)(jnp.full(1000, HIGH), KEY)
    exponents = -np.log(np.asarray(spread) / HIGH) / np.log(1e4)
    assert abs(exponents.std() / 0.1 - 0.2) < 0.03


@pytest.mark.parametrize("number", [np.float32(0.1), np.float64(0.1), np.asarray(0.1), jnp.asarray(0.1), 0.1])
def test_variation_is_any_scalar(number):
    G = jnp.full(5, HIGH)
    expected = Variation(0.1)(G, KEY)
    np.testing.assert_allclose(Device(variation=number).program(G, KEY), expected, rtol=1e-6)
    traced = jax.jit(lambda sigma: Device(variation=sigma).program(G, KEY))
    np.testing.assert_allclose(traced(number), expected, rtol=1e-6)


def test_a_traced_read_noise_is_checked_where_it_is_used():
    with pytest.raises(Exception, match=r"ReadNoise\.sigma"):
        jax.jit(lambda sigma: ReadNoise(sigma)(jnp.ones(2), jnp.ones(2), KEY))(-0.1).block_until_ready()


def test_read_noise_is_that_of_a_sum_over_devices():
    V, G, sigma = np.array([1.0, 0.0, 0.5]), np.array([2.0, 9.0, 4.0]), 0.05
    current = jnp.full(20_000, V @ G)
    noisy = ReadNoise(sigma)(current, jnp.full(20_000, (V * G) @ (V * G)), KEY)
    # Independent draws on every device, summed: what the shortcut stands for.
    draws = G * (1 + sigma * np.random.default_rng(0).standard_normal((20_000, 3)))
    np.testing.assert_allclose(np.std(noisy), np.std(draws @ V), rtol=0.05)
    np.testing.assert_allclose(np.mean(noisy), V @ G, rtol=5e-3)
    assert jax.grad(lambda s: ReadNoise(0.1)(jnp.zeros(1), s, KEY).sum())(jnp.zeros(1))[0] == 0


def test_slopes_of_programming():
    level = jnp.linspace(0.1, 0.9, 6)

    def held(x):
        device = Device(
            x[0],
            x[1],
            Variation(x[2], "lognormal"),
            faults=Faults(0.2, 0.2),
            drift=Drift(x[3], x[4], x[5], x[6]),
        )
        return 1e5 * jnp.sum(device.program(device.target(level), KEY) * jnp.arange(1.0, 7))

    at = np.array([LOW, HIGH, 0.1, 0.05, 1e3, 2.0, 0.2])
    compiled = jax.jit(held)
    np.testing.assert_allclose(jax.jit(jax.grad(held))(at), finite_difference(compiled, at), rtol=1e-6)


def test_slopes_of_bit_resistors():
    numbers = jnp.arange(8.0)

    def held(ohm):
        return 1e5 * jnp.sum(BitResistors(3, ohm[0], ohm[1]).target(numbers / 7) * (1 + numbers))

    at = np.array([19e3, 1e6])
    slope = jax.jit(jax.grad(held))(at)
    np.testing.assert_allclose(slope, finite_difference(jax.jit(held), at, 1e-4), rtol=1e-6)


def test_on_off_ratio():
    assert abs(Device(2e-6, 1e-4).on_off_ratio - 50) < 1e-9
    assert Device(0.0, 1e-4).on_off_ratio == float("inf")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Device(5e-5, 5e-6), "g_min_siemens < g_max_siemens"),
        (lambda: Device(5e-5, 5e-5), "g_min_siemens < g_max_siemens"),
        (lambda: Device(-1e-6, 5e-5), "g_min_siemens"),
        (lambda: Device(float("nan"), 5e-5), "g_min_siemens"),
        (lambda: Device(bits=0), "bits"),
        (lambda: Device(bits=True), "integer"),
        (lambda: BitResistors(bits=0), "bits"),
        (lambda: BitResistors(bits=True), "integer"),
        (lambda: BitResistors(unit_ohm=0), "unit_ohm"),
        (lambda: BitResistors(clear_ohm=0.0), "clear_ohm"),
        (lambda: Device(variation=np.ones(3)), "variation"),
        (lambda: Device(variation=True), "variation"),
        (lambda: Device(variation=np.float32(-0.1)), "sigma"),
        (lambda: Variation(-0.1), "sigma"),
        (lambda: Variation(float("nan")), "sigma"),
        (lambda: Variation(float("inf")), "sigma .* finite .* got inf"),
        (lambda: ReadNoise(float("inf")), "ReadNoise.sigma"),
        (lambda: ReadNoise(-0.1), "ReadNoise.sigma"),
        (lambda: Faults(stuck_on=1.1), "stuck_on"),
        (lambda: Faults(open=-0.1), "open"),
        (lambda: Faults(0.6, 0.6), "add up"),
        (lambda: Drift(time_s=0.0), "time_s"),
        (lambda: Drift(time_s=float("inf")), "all finite, got inf, 1.0 and 0.05"),
        (lambda: Drift(reference_s=float("inf")), "all finite"),
        (lambda: Drift(spread=-1.0), "spread"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "device",
    [
        lambda bad: Device(bad + HIGH, HIGH),
        lambda bad: Device(variation=Variation(-bad)),
        lambda bad: Device(faults=Faults(bad, 1.0)),
        lambda bad: Device(drift=Drift(time_s=-bad)),
        lambda bad: Device(drift=Drift(spread=-bad)),
    ],
)
def test_bad_traced_settings_are_refused_under_jit(device):
    @eqx.filter_jit
    def held(bad):
        made = device(bad)
        return made.program(made.target(jnp.ones(2)), KEY)

    with pytest.raises(Exception, match=r"must|needs|are 0 to 1|zero or more"):
        held(jnp.asarray(0.5)).block_until_ready()
