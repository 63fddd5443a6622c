"""A bias in a row of its own: against the augmented matrix that it is, in rows, currents and slopes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Converters, Crossbar, Device, TileProduct, Wires, deploy, program
from hwmodels.crossbar.mapping import layout
from hwmodels.crossbar.programming import program_all
from hwmodels.crossbar.report import deployment_report
from tests.helpers import finite_difference

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
ROW = Crossbar(rows=4, columns=3, wires=Wires(1e3, 5.0, 10.0, 1e3), bias="row")
KERNEL, BIAS = jnp.asarray(RNG.normal(size=(6, 5))), jnp.asarray(RNG.normal(size=5) * 2)
CONV = jnp.asarray(RNG.normal(size=(2, 2, 3, 5)))


def on_row(kernel, bias, crossbar=ROW):
    (chip,) = program_all([kernel], crossbar, [KEY], biases=[bias])
    return chip


@pytest.mark.parametrize("signs", ["differential", "offset", "nice"])
def test_it_is_the_last_row_of_the_augmented_matrix(signs):
    """The same devices are drawn for both, as their tiles have the same shape."""
    design = dataclasses.replace(ROW, signs=signs, device=Device(variation=0.1))
    found = on_row(KERNEL, BIAS, design)
    whole = program(jnp.concatenate([KERNEL, BIAS[None]]), design, KEY)
    np.testing.assert_allclose(found.weights, whole.weights[:-1], rtol=1e-12)
    np.testing.assert_allclose(found.bias, whole.weights[-1], rtol=1e-12)
    given = {"dense": {"kernel": KERNEL, "bias": BIAS}, "norm": {"bias": BIAS}}
    put = deploy(given, design, jax.random.key(1))
    np.testing.assert_array_equal(put["norm"]["bias"], BIAS)
    assert not np.array_equal(put["dense"]["bias"], BIAS)
    kept = deploy(given, dataclasses.replace(design, bias="digital"), jax.random.key(1))
    np.testing.assert_array_equal(kept["dense"]["bias"], BIAS)


@pytest.mark.parametrize(("partition", "rows"), [("flatten", 4), ("kernel-split", 4), ("kernel-split", 3)])
def test_products_add_it_once_at_every_read(partition, rows):
    """Also where positions fill their tiles (3 rows, 3 channels), and the bias takes tiles of its own."""
    design = dataclasses.replace(ROW, rows=rows, partition=partition)
    chip = on_row(CONV, BIAS, design)
    x = jnp.asarray(RNG.integers(0, 2, size=(2, 4, 4, 3)), float)
    found = TileProduct(chip).convolve(x, CONV, (1, 1), (1, 1))
    expected = jax.lax.conv_general_dilated(
        x, chip.weights, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(found, expected + chip.bias, rtol=1e-9, atol=1e-9)
    blocks = np.prod(chip.targets.shape[1:3])
    free = {"flatten": -(-13 // rows), "kernel-split": 3 * -(-3 // rows) + -(-4 // rows)}
    assert blocks == free[partition]
    assert np.asarray(chip.used).sum() == 13 * 5
    grouped = layout((2, 2, 1, 3), design, 3, bias=True)
    np.testing.assert_array_equal(grouped.bias_of(grouped.cut(jnp.ones((2, 2, 1, 3)), BIAS[:3])), BIAS[:3])


def test_converters_make_room_for_it():
    """The greatest current is with every row driven, the bias's too, even where inputs are small."""
    chip = on_row(KERNEL, BIAS)
    small = Converters(adc_bits=12, input_full_scale=0.25, dac_bits=8)
    x = jnp.full((1, 6), 0.25)
    np.testing.assert_allclose(
        TileProduct(chip, small).linear(x), x @ chip.weights + chip.bias, atol=2e-2 * np.abs(BIAS).max()
    )


@pytest.mark.parametrize("vectors", [3, 1024, 1025, 2500])
@pytest.mark.parametrize("signed", [False, True])
def test_calibration_counts_the_reads_of_its_inputs_alone(vectors, signed):
    """Its row is driven at every read, but not by what fills up the last chunk of inputs."""
    chip = on_row(KERNEL, 4 * BIAS)
    converters = Converters(None, 8, full_scale="calibrated", percentile=0.75, signed=signed)
    x = jax.random.uniform(KEY, (vectors, 6), jnp.float64)
    reached = TileProduct(chip, converters).calibrate(x).adc_full_scale
    rows = np.pad(np.asarray(x), ((0, 0), (0, 1)), constant_values=1)
    rows = np.pad(rows, ((0, 0), (0, 1))).reshape(-1, 2, 4)
    held = np.moveaxis(np.asarray(chip.effective)[:, 0], 2, 3).reshape(2, 2, 4, -1)[..., :5]
    expected = np.quantile(np.einsum("ndr,pdrc->ndpc", rows, held), 0.75)
    np.testing.assert_allclose(reached, expected, rtol=1e-9)


def test_it_differentiates():
    direction = jnp.asarray(RNG.normal(size=5))
    x = jnp.asarray(RNG.uniform(size=(3, 6)))

    @jax.jit
    def loss(bias):
        return jnp.sum(TileProduct(on_row(KERNEL, bias)).linear(x) ** 2)

    slope = jax.grad(loss)(BIAS) @ direction
    expected = finite_difference(lambda t: loss(BIAS + t * direction), 0.0)
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_a_report_programs_what_is_deployed_and_bad_values_are_refused():
    given = {"kernel": KERNEL, "bias": 10 * BIAS}
    (row,) = deployment_report(given, ROW, KEY)
    put = deploy(given, ROW, KEY)["kernel"]
    assert row.weight_error == pytest.approx(float(jnp.linalg.norm(put - KERNEL) / jnp.linalg.norm(KERNEL)))
    with pytest.raises(Exception, match="holds a weight that is NaN or infinite"):
        on_row(KERNEL, BIAS.at[0].set(jnp.nan))
    dead = on_row(jnp.zeros((6, 5)), jnp.zeros(5))
    assert not np.any(dead.bias)
    alive = on_row(jnp.zeros((6, 5)), BIAS)
    assert np.any(alive.bias)


def test_other_words_are_refused(as_users_run):
    with pytest.raises(ValueError, match=r"Crossbar\.bias must be one of 'digital', 'row', got 'column'"):
        Crossbar(bias="column")


def test_a_seed_is_no_key(as_users_run):
    with pytest.raises(ValueError, match=r"key must be a key of JAX, such as jax\.random\.key\(0\), got 0"):
        deploy({"kernel": KERNEL}, ROW, 0)


@pytest.mark.parametrize("signs", ["differential", "offset", "nice"])
@pytest.mark.parametrize("partition", ["flatten", "kernel-split"])
def test_products_know_the_kernel_of_their_tiles(signs, partition):
    """Of a convolution, with and without the row of a bias, of which the kernel has no part."""
    design = dataclasses.replace(ROW, signs=signs, partition=partition, calibration="column")
    for bias in (None, BIAS):
        chip = on_row(CONV, bias, design)
        np.testing.assert_allclose(TileProduct(chip).weights, chip.weights, rtol=1e-9, atol=1e-12)


def test_products_of_grouped_kernels_know_them():
    (chip,) = program_all([CONV[:, :, :1, :3]], dataclasses.replace(ROW, bias="digital"), [KEY], groups=[3])
    np.testing.assert_allclose(TileProduct(chip).weights, chip.weights, rtol=1e-9, atol=1e-12)
