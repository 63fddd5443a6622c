"""Converters as built: their codes against textbook models, every knob in accuracy and in cost, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels import spikeflow
from hwmodels.adc import Adc, AsBuilt
from hwmodels.crossbar import Converters, Crossbar, TileProduct, tile_products
from hwmodels.crossbar.programming import program_all
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference

KEY = jax.random.key(2)
KINDS = ("flash", "sar", "ramp")
# As good as none, for what is not looked at.
FINE = AsBuilt(mismatch=1e-9, offset=1e-9, gain_error=0.0, noise=1e-9)
drawn = jax.jit(
    lambda adc, key, bits, signed: adc.draw(key, bits, signed, (), 3, jnp.float64), static_argnums=(2, 3)
)
codes = jax.jit(lambda bank, x, key: bank.codes(x, key))


def build(**settings):
    return dataclasses.replace(FINE, **settings)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_build_rounds_as_the_ideal_converter(kind, signed):
    x = jnp.broadcast_to(jnp.linspace(-9.3, 9.3, 301)[:, None], (301, 3))
    found = codes(drawn(Adc(kind, build=FINE), KEY, 3 + signed, signed), x, KEY)
    np.testing.assert_array_equal(found, np.clip(np.round(x), -7 if signed else 0, 7))


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_those_of_the_circuit(kind):
    """Against decisions one by one, in NumPy, from the same components."""
    bank = drawn(Adc(kind, build=build(mismatch=0.2, offset=0.05, gain_error=0.1)), KEY, 3, False)
    x = np.random.default_rng(0).uniform(-1, 9, (200, 3))
    found = np.asarray(codes(bank, jnp.asarray(x), KEY))
    levels, gain, offsets = (np.asarray(leaf) for leaf in (bank.levels, bank.gain, bank.offsets))
    for column in range(3):
        for vector in range(200):
            given = gain[column] * x[vector, column] + offsets[column]
            if kind == "sar":
                code, level = 0, 0.0
                for bit in (2, 1, 0):
                    if given >= level + levels[column, bit] - 0.5:
                        code, level = code + 2**bit, level + levels[column, bit]
            else:
                code = sum(given >= k - 0.5 + levels[column, k - 1] for k in range(1, 8))
            assert found[vector, column] == code


def test_unit_elements_of_a_ramp_are_shared_and_those_of_others_are_not():
    ramp, flash = (
        drawn(Adc(kind, build=build(mismatch=0.1)), KEY, 4, False).levels for kind in ("ramp", "flash")
    )
    np.testing.assert_allclose(np.ptp(ramp, axis=0), 0, atol=1e-6)
    assert np.ptp(flash, axis=0).max() > 0.1


@pytest.mark.parametrize(("kind", "expected"), [("flash", 0.5 * 0.03 * np.sqrt(255)), ("sar", None)])
def test_nonlinearity_is_that_of_a_random_walk_and_of_binary_weights(kind, expected):
    """Mid-scale σ of the INL: half of m·√N for a ladder; for binary capacitors, by the law of errors."""
    bank = jax.jit(
        lambda key: Adc(kind, build=build(mismatch=0.03)).draw(key, 8, False, (), 2000, jnp.float64)
    )(KEY)
    if kind == "flash":
        spread = np.std(np.asarray(bank.levels)[:, 127])
    else:
        units = 2.0 ** np.arange(8)
        share = units[7] / 255
        # Of C7/ΣC: its own capacitors against all others.
        expected = 255 * 0.03 * np.sqrt(share * (1 - share) / 255)
        spread = np.std(np.asarray(bank.levels)[:, 7])
    np.testing.assert_allclose(spread, expected, rtol=0.08)


def product(**settings):
    chip = program_all(
        [jax.random.normal(KEY, (16, 6), jnp.float64)], Crossbar(16, 6), [KEY], solve=lambda G, wires: G
    )[0]
    return TileProduct(chip, Converters(1, **settings), key=KEY, converter_key=KEY)


INPUTS = (jax.random.uniform(KEY, (64, 16)) < 0.5).astype(jnp.float64)


@pytest.mark.parametrize(
    ("precision", "kind", "coarse"),
    [
        ("mismatch", "flash", 0.2),
        ("mismatch", "sar", 0.2),
        ("mismatch", "ramp", 0.2),
        ("offset", "sar", 0.05),
        ("noise", "sar", 0.05),
        ("adc_bits", "sar", 4),
    ],
)
def test_a_knob_moves_accuracy_and_cost(precision, kind, coarse):
    """One object: worse products are cheaper conversions or smaller converters."""

    def measured(value):
        bits = value if precision == "adc_bits" else 7
        adc = Adc(kind, build=FINE if precision == "adc_bits" else build(**{precision: value}))
        found = product(adc_bits=bits, adc=adc).linear(INPUTS)
        chip = spikeflow.Chip(
            adc_bits=bits,
            adc=dataclasses.replace(
                adc, build=AsBuilt(**({} if precision == "adc_bits" else {precision: value}))
            ),
        )
        cost = spikeflow.evaluate(WORKLOAD, chip)
        exact = product(adc_bits=None).linear(INPUTS)
        return float(jnp.abs(found - exact).mean()), float(cost.energy_j), float(cost.area_mm2)

    fine = 8 if precision == "adc_bits" else {"mismatch": 0.01, "offset": 0.005, "noise": 0.002}[precision]
    precise, rough = measured(fine), measured(coarse)
    assert rough[0] > 1.3 * precise[0]
    if precision != "offset":
        assert rough[1] < 0.999 * precise[1]
    if precision != "noise":
        assert rough[2] < 0.999 * precise[2]


WORKLOAD = Workload(
    (
        Layer.linear("fc", in_features=64, out_features=64),
        Layer.linear("out", in_features=64, out_features=10),
    ),
    4,
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reference_build_costs_what_the_published_converter_does(kind):
    plain, built = Adc(kind), Adc(kind, build=AsBuilt())
    for bits in (4, 6):
        np.testing.assert_allclose(built.conversion_j(bits), plain.conversion_j(bits), rtol=1e-14)
        np.testing.assert_allclose(built.converter_um2(bits), plain.converter_um2(bits), rtol=1e-14)
    assert [Adc(kind).conversion_clocks(4) for kind in KINDS] == [1, 4, 16]
    assert Adc(kind).conversion_s(4, 1e8) == Adc(kind).conversion_clocks(4) / 1e8


def test_sampling_is_thermal_noise_and_charge():
    built = AsBuilt(noise=1e-12, sampling_farad=50e-15, full_scale_v=0.5)
    np.testing.assert_allclose(built.total_noise, np.sqrt(1.380649e-23 * 300 / 50e-15) / 0.5, rtol=1e-6)
    more = Adc("sar", build=AsBuilt(sampling_farad=50e-15)).conversion_j(4) - Adc("sar").conversion_j(4)
    np.testing.assert_allclose(more, 50e-15, rtol=1e-9)


def test_slopes_of_the_cost():
    def cost(x):
        adc = Adc("sar", build=AsBuilt(x[0], x[1], 0.0, x[2], x[3], x[4]))
        return 1e12 * adc.conversion_j(x[5]) + adc.converter_um2(x[5])

    at = np.array([0.02, 0.004, 0.003, 2e-14, 0.9, 5.0])
    np.testing.assert_allclose(jax.grad(cost)(at), finite_difference(cost, at, 1e-4), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_of_codes_are_those_of_what_is_rounded(kind):
    """Straight-through: to the input, and to every error by the distance of the decision level."""
    x = jnp.asarray([[2.2, 3.4, 5.1]])

    def found(x, gain_error, offset):
        return codes(
            drawn(Adc(kind, build=build(gain_error=gain_error, offset=offset)), KEY, 3, False), x, KEY
        ).sum()

    at = (x, 0.01, 0.01)
    slopes = jax.grad(found, (0, 1, 2))(*at)
    bank = drawn(Adc(kind, build=build(gain_error=0.01, offset=0.01)), KEY, 3, False)
    np.testing.assert_allclose(slopes[0], bank.gain[None], rtol=1e-12)
    np.testing.assert_allclose(slopes[1], ((bank.gain - 1) / 0.01 * x).sum(), rtol=1e-9)
    assert abs(slopes[2]) > 0.1
    beyond = jax.grad(lambda x: codes(bank, x, KEY).sum())(jnp.asarray([[-2.0, 9.0, 20.0]]))
    np.testing.assert_array_equal(beyond, 0)


def test_a_chip_keeps_its_converters_and_neighbours_share_them():
    kernel = {"kernel": jax.random.normal(KEY, (16, 6), jnp.float64)}
    settings = {"adc": Adc("sar", build=build(gain_error=0.1)), "adc_bits": 8, "columns_per_adc": 4}

    def bank(key):
        made = tile_products(
            kernel,
            Crossbar(16, 6),
            key,
            converters=Converters(1, **settings),
            read_key=KEY,
            solve=lambda G, wires: G,
        )
        return np.asarray(made["['kernel']"].drawn.gain)[0]

    first = bank(KEY)
    np.testing.assert_array_equal(first, bank(KEY))
    assert not np.array_equal(first, bank(jax.random.key(3)))
    # Two signs of one tile: columns 0 to 3 have one converter, 4 and 5 the next, then anew.
    assert len(np.unique(first)) == 4
    assert first[0] == first[3] != first[4] == first[5] != first[6]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AsBuilt(mismatch=0.0), r"AsBuilt\.mismatch must be above zero"),
        (lambda: AsBuilt(noise=-1.0), r"AsBuilt\.noise must be above zero"),
        (lambda: AsBuilt(gain_error=-0.1), r"AsBuilt\.gain_error"),
        (lambda: AsBuilt(sampling_farad=-1e-15), r"AsBuilt\.sampling_farad"),
        (lambda: AsBuilt(offset=float("nan")), r"AsBuilt\.offset"),
        (lambda: Converters(adc=Adc(build=FINE), adc_bits=None), "needs adc_bits"),
        (lambda: Converters(columns_per_adc=0), r"Converters\.columns_per_adc"),
        (lambda: Adc().draw(KEY, 4, False, (), 2, jnp.float32), r"Adc\.build"),
        (lambda: Adc("cyclic"), r"Adc\.kind must be one of 'flash', 'sar', 'ramp', got 'cyclic'"),
        (lambda: Adc(energy_j=-1.0), r"Adc\.energy_j must lie in .*, got -1"),
        (lambda: Adc(area_um2=float("nan")), r"Adc\.area_um2 must lie in .*, got nan"),
        (lambda: Adc(reference_bits=0), r"Adc\.reference_bits must lie in \[1, 16\], got 0"),
        (lambda: Adc(capacitor_share=2.0), r"Adc\.capacitor_share must lie in \[0, 1\], got 2"),
    ],
)
def test_bad_input(make, message, as_users_run):
    with pytest.raises(ValueError, match=message):
        make()
