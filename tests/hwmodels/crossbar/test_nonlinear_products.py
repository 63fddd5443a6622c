"""Layers on tiles of nonlinear cells: exact, and as matrices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import (
    Converters,
    Crossbar,
    Cubic,
    Sinh,
    TileProduct,
    Wires,
    deploy,
    program,
    sense_currents,
    tile_products,
)
from tests.helpers import finite_difference

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
WEIGHTS = jnp.asarray(RNG.normal(size=(12, 5)))
SPIKES = jnp.asarray(RNG.random((6, 12)) < 0.4)
DESIGN = Crossbar(8, 8, cell=Sinh(0.1), read_voltage_v=0.4)


def product(weights, design):
    return TileProduct(program(weights, design, KEY)).linear(SPIKES.astype(weights.dtype))


exact = jax.jit(product)


def with_model(design, model):
    return dataclasses.replace(design, cell_model=model)


def test_exact_products_are_sums_of_the_tiles_currents():
    chip = program(WEIGHTS, DESIGN, KEY)
    volts = np.zeros((6, 16))
    volts[:, :12] = 0.4 * np.asarray(SPIKES)
    total = np.zeros((6, 8))
    for sign in range(2):
        for down in range(2):
            tile = chip.conductances[sign, 0, down, 0]
            seen = jnp.asarray(volts[:, 8 * down : 8 * down + 8])
            found = sense_currents(tile, seen, DESIGN.wires, DESIGN.cell)
            total += float(chip.encoded.coefficients[sign]) * np.asarray(found) / 0.4
    np.testing.assert_allclose(exact(WEIGHTS, DESIGN), total[:, :5], rtol=1e-8)


@pytest.mark.long
def test_cells_that_are_lines_have_one_product():
    line = dataclasses.replace(DESIGN, cell=Cubic(0.0))
    expected = product(WEIGHTS, dataclasses.replace(DESIGN, cell=None))
    for model in ("exact", "mean-activity", "read-voltage"):
        np.testing.assert_allclose(exact(WEIGHTS, with_model(line, model)), expected, rtol=1e-8)


def test_without_wires_the_read_voltage_says_all_about_spikes():
    bare = dataclasses.replace(DESIGN, wires=Wires(0.0, 0.0, 0.0, 0.0))
    expected = exact(WEIGHTS, bare)
    np.testing.assert_allclose(exact(WEIGHTS, with_model(bare, "read-voltage")), expected, rtol=1e-9)
    linear = exact(WEIGHTS, dataclasses.replace(bare, cell=None))
    np.testing.assert_allclose(expected, np.sinh(4) / 4 * linear, rtol=1e-9)


def test_the_mean_activity_is_the_better_matrix():
    wires = Wires(5e3, 5.0, 10.0, 5e3)
    design = dataclasses.replace(DESIGN, activity=0.4, cell=Sinh(0.2), wires=wires)
    expected = exact(WEIGHTS, design)
    near, far = (
        float(jnp.linalg.norm(exact(WEIGHTS, with_model(design, model)) - expected))
        for model in ("mean-activity", "read-voltage")
    )
    assert 0 < near < far


@pytest.mark.long
@pytest.mark.parametrize("model", ["exact", "mean-activity"])
def test_gradients_through_products(model):
    C = jnp.asarray(RNG.normal(size=(6, 5)))

    @jax.jit
    def value(weight, v0, volt):
        design = dataclasses.replace(with_model(DESIGN, model), cell=Sinh(v0), read_voltage_v=volt)
        return jnp.sum(C * product(WEIGHTS.at[3, 2].set(weight), design))

    at = np.array([0.3, 0.1, 0.4])
    numeric = finite_difference(lambda x: value(*x), at, 1e-4)
    np.testing.assert_allclose(jax.grad(value, (0, 1, 2))(*at), numeric, rtol=1e-5)


def test_matrices_are_refused_to_exact_cells_and_given_to_others():
    params = {"kernel": WEIGHTS}
    with pytest.raises(ValueError, match="cell_model"):
        deploy(params, DESIGN, KEY)
    design = with_model(DESIGN, "read-voltage")
    spikes = SPIKES.astype(WEIGHTS.dtype)
    (by_tile,) = tile_products(params, design, KEY).values()
    found = spikes @ deploy(params, design, KEY)["kernel"]
    np.testing.assert_allclose(by_tile.linear(spikes), found, rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": "sinh"}, r"Crossbar\.cell"),
        ({"cell_model": "good"}, r"Crossbar\.cell_model"),
        ({"read_voltage_v": 0.0}, r"Crossbar\.read_voltage_v"),
        ({"activity": 0.0}, r"Crossbar\.activity"),
        ({"activity": 1.5}, r"Crossbar\.activity"),
    ],
)
def test_bad_designs_are_refused(as_users_run, change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DESIGN, **change)


@pytest.mark.parametrize(("law", "signed"), [(Sinh(0.05), False), (Sinh(0.25), True), (Cubic(2.0), False)])
def test_converters_have_room_for_the_currents_of_the_cells(law, signed):
    """Which grow faster than their voltages: inputs of four drew more than four times the current."""
    design = dataclasses.replace(DESIGN, cell=law, read_voltage_v=0.1)
    chip = program(WEIGHTS, design, KEY)
    x = 4 * jnp.asarray(RNG.choice([-1.0, 0.0, 1.0] if signed else [0.0, 1.0], size=(5, 12))).at[0].set(1.0)
    exact = TileProduct(chip)
    fine = Converters(adc_bits=16, dac_bits=8, input_full_scale=4.0, signed=signed)
    found = exact.linear(x)
    np.testing.assert_allclose(TileProduct(chip, fine).linear(x), found, atol=2e-3 * jnp.abs(found).max())

    volts = np.zeros((5, 16))
    volts[:, :12] = 0.1 * np.asarray(x)
    currents = [
        np.asarray(sense_currents(chip.conductances[sign, 0, down, 0], jnp.asarray(seen), design.wires, law))
        for sign in range(2)
        for down, seen in enumerate(np.split(volts, 2, axis=1))
    ]
    # In siemens, as all full scales: per volt of an input of one.
    magnitudes = np.abs(np.stack(currents)[..., :5]) / 0.1
    for percentile in (1.0, 0.8):
        choice = dataclasses.replace(fine, full_scale="calibrated", percentile=percentile)
        reached = TileProduct(chip, choice).calibrate(x).adc_full_scale
        np.testing.assert_allclose(reached, np.quantile(magnitudes, percentile), rtol=1e-8)
    assert TileProduct(chip, fine)._full_scale() >= magnitudes.max()
