"""Converters and the products of layers: every knob shows, and without knobs the matrix comes back."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hwmodels.crossbar import (
    Converters,
    Crossbar,
    Device,
    ReadNoise,
    TileProduct,
    Wires,
    effective_conductance,
    program,
    program_kernels,
    tile_products,
)
from hwmodels.crossbar.programming import program_all
from tests.helpers import finite_difference

KEY = jax.random.key(7)
KERNEL = jax.random.normal(KEY, (3, 3, 2, 5), jnp.float64)
MAPS = (jax.random.uniform(KEY, (3, 6, 5, 2), jnp.float64) < 0.5).astype(jnp.float64)
programmed = jax.jit(program)
CHIPS = {
    signs: programmed(KERNEL, Crossbar(4, 4, partition=partition, signs=signs, calibration="column"), KEY)
    for signs, partition in (("differential", "flatten"), ("offset", "flatten"), ("nice", "kernel-split"))
}
CHIP = CHIPS["differential"]
CALIBRATED = TileProduct(CHIP, Converters(1, 8, full_scale="calibrated"))


def convolution(x, kernel, **settings):
    return jax.lax.conv_general_dilated(x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings)


def convolved(product, x=MAPS):
    return jax.jit(lambda product, x: product.convolve(x, None, (2, 1), (1, 0)))(product, x)


@pytest.mark.parametrize("signs", CHIPS)
@pytest.mark.parametrize("converters", [None, Converters(24, 24)])
def test_many_bits_and_no_noise_give_the_deployed_matrix(signs, converters):
    expected = convolution(MAPS, CHIPS[signs].weights, window_strides=(2, 1), padding=[(1, 1), (0, 0)])
    got = convolved(TileProduct(CHIPS[signs], converters))
    np.testing.assert_allclose(got, expected, atol=1e-10 if converters is None else 1e-4)


@pytest.mark.parametrize("signs", ["differential", "nice"])
@pytest.mark.parametrize("partition", ["flatten", "kernel-split"])
@pytest.mark.parametrize("channels", [8, 6])
def test_tiles_within_a_position_and_across_positions(partition, channels, signs):
    kernel = jax.random.normal(KEY, (3, 2, channels, 3), jnp.float64)
    maps = jax.random.normal(KEY, (2, 5, 4, channels), jnp.float64)
    chip = programmed(kernel, Crossbar(4, 4, partition=partition, signs=signs), KEY)
    expected = convolution(maps, chip.weights, window_strides=(2, 1), padding=[(1, 1), (0, 0)])
    np.testing.assert_allclose(convolved(TileProduct(chip), maps), expected, atol=1e-10)
    rows = maps[:, :3, :2].reshape(2, -1)
    multiplied = rows @ chip.weights.reshape(-1, 3)
    np.testing.assert_allclose(TileProduct(chip).linear(rows), multiplied, atol=1e-10)


def test_an_adc_rounds_every_tile_before_the_sum():
    """Against loops over tiles and columns, written for differential pairs without calibration."""
    kernel = KERNEL[0].reshape(6, 5)
    chip = programmed(kernel, Crossbar(4, 4), KEY)
    x = np.array([[1.0, 0, 1, 1, 0, 1], [0, 1, 1, 0, 0, 0]])
    bits, G = 4, np.asarray(chip.effective)
    full_scale = G.sum(axis=-2).max()
    step = full_scale / (2**bits - 1)
    worth = np.abs(kernel).max() / (1 / 20e3 - 1 / 200e3)
    expected = np.zeros((2, 5))
    for column in range(5):
        for down, rows in enumerate((slice(0, 4), slice(4, 6))):
            for plane, sign in ((0, 1), (1, -1)):
                tile = G[plane, 0, down, column // 4, : rows.stop - rows.start, column % 4]
                expected[:, column] += sign * worth * step * np.round(x[:, rows] @ tile / step)
    got = TileProduct(chip, Converters(None, bits)).linear(jnp.asarray(x))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_every_knob_shows():
    exact = convolved(TileProduct(CHIP))
    error = {
        name: float(jnp.abs(convolved(product, x) - exact).mean())
        for name, product, x in (
            ("adc 8", TileProduct(CHIP, Converters(None, 8)), MAPS),
            ("adc 4", TileProduct(CHIP, Converters(None, 4)), MAPS),
            ("dac 2", TileProduct(CHIP, Converters(2, None)), MAPS * 0.6),
            ("noise 0.01", TileProduct(CHIP, None, ReadNoise(0.01), KEY), MAPS),
            ("noise 0.1", TileProduct(CHIP, None, ReadNoise(0.1), KEY), MAPS),
        )
    }
    assert 0 < error["adc 8"] < error["adc 4"]
    assert 0 < error["noise 0.01"] < error["noise 0.1"]
    without_dac = convolved(TileProduct(CHIP), MAPS * 0.6)
    assert jnp.abs(convolved(TileProduct(CHIP, Converters(2, None)), MAPS * 0.6) - without_dac).max() > 0.05
    thick, thin = (programmed(KERNEL, Crossbar(4, 4, Wires(row=row)), KEY).weights for row in (0.0, 500.0))
    assert jnp.abs(thick - thin).max() > 0.05


def test_read_noise_is_drawn_for_every_input_and_every_key():
    product = TileProduct(CHIP, None, ReadNoise(0.1), KEY)
    same = jnp.ones((2, 6, 5, 2))
    once = convolved(product, same)
    assert not jnp.any(once[0] == once[1])
    assert jnp.array_equal(once, convolved(product, same))
    assert not jnp.any(once == convolved(product.with_key(jax.random.key(1)), same))


@pytest.mark.parametrize("wires", [Wires(0.0, 0.0, 0.0, 0.0), Wires(1e3, 20.0, 40.0, 1e3)])
def test_read_noise_is_that_of_reading_every_device_with_its_own(wires):
    """Against circuits solved for drawn devices: spikes, all rows, one row, dense inputs of either sign."""
    draws, sigma = 3000, 0.01
    kernel = jax.random.uniform(KEY, (16, 12), jnp.float64)
    chip = programmed(kernel, Crossbar(16, 12, wires, Device(variation=None)), KEY)
    random = np.random.default_rng(0)
    x = np.stack([np.ones(16), np.arange(16) % 3 == 0, np.arange(16) == 5, random.normal(size=16)])
    G = chip.conductances[0, 0, 0, 0]
    drawn = G * (1 + sigma * random.standard_normal((draws, 16, 12)))
    exact = x @ np.asarray(jax.jit(effective_conductance)(drawn, wires))
    # Only the plane of positive weights conducts, and one siemens there is worth this much.
    chip = eqx.tree_at(lambda chip: chip.conductances, chip, chip.conductances.at[1].set(0))
    product = TileProduct(chip, None, ReadNoise(sigma), KEY)
    noisy = product.linear(jnp.tile(jnp.asarray(x), (draws, 1))).reshape(draws, *x.shape[:1], 12)
    found = np.asarray(noisy).std(0) / float(chip.encoded.coefficients[0])
    expected = exact.std(0)
    np.testing.assert_allclose(np.sqrt((found**2).mean(-1)), np.sqrt((expected**2).mean(-1)), rtol=0.04)
    np.testing.assert_allclose(found, expected, rtol=0.15)


def test_a_traced_full_scale_is_checked_where_it_is_used():
    with pytest.raises(Exception, match="above zero"):
        jax.jit(lambda scale: Converters(4, input_full_scale=scale).conversion().digital_input(jnp.ones(2)))(
            0.0
        ).block_until_ready()


def test_chunks_change_nothing():
    x = jnp.asarray(np.random.default_rng(0).random((25000, 1, 3, 2)) * np.ones((1, 3, 1, 1)))
    product = TileProduct(CHIP, Converters(4, 6))
    whole = product.convolve(x, None, (1, 1), (0, 0))
    parts = [product.convolve(part, None, (1, 1), (0, 0)) for part in jnp.split(x, 5)]
    np.testing.assert_allclose(whole, jnp.concatenate(parts), atol=1e-12)


def test_a_calibrated_full_scale_is_finer_and_clips():
    worst = TileProduct(CHIP, Converters(None, 5))
    free = TileProduct(CHIP, Converters(None, 5, full_scale="calibrated", percentile=1.0))
    with pytest.raises(ValueError, match="calibrate"):
        free.convolve(MAPS, None, (2, 1), (1, 0))
    # Inputs that never reach full scale, so that the worst case wastes steps.
    faint = MAPS / 4
    calibrated = free.calibrate(faint, stride=(2, 1), padding=(1, 0))
    assert calibrated.adc_full_scale < worst._full_scale()
    exact = convolved(TileProduct(CHIP), faint)
    errors = [jnp.abs(convolved(tiles, faint) - exact).mean() for tiles in (calibrated, worst)]
    assert errors[0] < errors[1]
    exact = convolved(TileProduct(CHIP))
    half = TileProduct(CHIP, Converters(None, 16, full_scale="calibrated", percentile=0.5))
    clipped = convolved(half.calibrate(MAPS, stride=(2, 1), padding=(1, 0)))
    assert jnp.abs(clipped - exact).max() > 0.1


@pytest.mark.parametrize("signs", ["differential", "offset"])
@pytest.mark.parametrize("percentile", [1.0, 0.9])
def test_columns_that_are_not_used_do_not_count_in_calibration(signs, percentile):
    """Against the percentile over all currents of the weights' own columns, whatever the tile's width."""
    converters = Converters(None, 8, full_scale="calibrated", percentile=percentile)
    x = jax.random.uniform(KEY, (2500, 7), jnp.float64)
    kernel = KERNEL[0, 0] @ jnp.ones((5, 3)) + jnp.arange(6.0).reshape(2, 3)
    kernel = jnp.tile(kernel, (4, 1))[:7]
    reached = []
    for columns in (4, 9, 32):
        design = Crossbar(4, columns, device=Device(variation=None), signs=signs)
        (chip,) = program_all([kernel], design, [KEY], solve=lambda G, wires: G)
        reached.append(float(TileProduct(chip, converters).calibrate(x).adc_full_scale))
    held = np.asarray(chip.conductances)[:, 0, :, 0][..., [0, 1, 2, *([31] if signs == "offset" else [])]]
    rows = np.pad(np.asarray(x), ((0, 0), (0, 1))).reshape(-1, 2, 4)
    expected = np.quantile(np.einsum("ndr,pdrc->ndpc", rows, held), percentile)
    np.testing.assert_allclose(reached, expected, rtol=1e-9)


def test_calibration_without_currents_is_refused():
    tiles = TileProduct(CHIP, Converters(1, 8, full_scale="calibrated", percentile=0.5))
    rare = jnp.zeros((8, 18)).at[0, 3].set(1)
    for silent in (jnp.zeros((8, 18)), rare):
        chip = programmed(KERNEL.reshape(18, 5), Crossbar(4, 4), KEY)
        with pytest.raises(Exception, match="calibrated full scale is zero"):
            TileProduct(chip, tiles.converters).calibrate(silent)
    with pytest.raises(ValueError, match="at least one input"):
        tiles.calibrate(MAPS[:0], stride=(2, 1), padding=(1, 0))


def test_calibration_refuses_nan():
    with pytest.raises(Exception, match="inputs to calibrate with are NaN"):
        CALIBRATED.calibrate(MAPS.at[0, 0, 0, 0].set(jnp.nan), stride=(2, 1), padding=(1, 0))


@pytest.mark.parametrize("dtype", [bool, jnp.int8, jnp.uint8, jnp.bfloat16])
def test_spikes_of_any_dtype_give_the_same_currents(dtype):
    product = CALIBRATED.calibrate(MAPS.astype(dtype), stride=(2, 1), padding=(1, 0))
    vectors = MAPS.reshape(-1, 18)
    result = jnp.bfloat16 if dtype == jnp.bfloat16 else jnp.float64
    numbers = ("NHWC", "HWIO", "NHWC")
    last = (((1,), (0,)), ((), ()))
    flat = TileProduct(programmed(KERNEL.reshape(18, 5), Crossbar(4, 4), KEY))
    for call, x in (
        (lambda x: product.linear(x), vectors),
        (lambda x: product.convolve(x, None, (2, 1), (1, 0)), MAPS),
        (
            lambda x: product.conv_general_dilated(x, KERNEL, (2, 1), [(1, 1), (0, 0)], None, None, numbers),
            MAPS,
        ),
        (lambda x: flat.dot_general(x, KERNEL.reshape(18, 5), last), vectors),
    ):
        found, expected = call(x.astype(dtype)), call(x)
        assert (found.dtype, expected.dtype) == (result, jnp.float64)
        np.testing.assert_array_equal(found, expected.astype(result))
        assert jnp.abs(expected - jnp.round(expected)).max() > 0.1
    wide = flat.dot_general(vectors.astype(dtype), KERNEL.reshape(18, 5), last, None, jnp.float32)
    np.testing.assert_array_equal(wide, flat.linear(vectors).astype(jnp.float32))


def test_signed_inputs_need_signed_converters():
    with pytest.raises(Exception, match="signed"):
        convolved(TileProduct(CHIP, Converters(8, 8)), -MAPS).block_until_ready()
    got = convolved(TileProduct(CHIP, Converters(12, 16, signed=True)), -MAPS)
    np.testing.assert_allclose(got, -convolved(TileProduct(CHIP)), atol=5e-3)


def test_flax_layers_take_the_products():
    conv = nnx.Conv(2, 5, (3, 3), strides=2, use_bias=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    linear = nnx.Linear(5, 4, param_dtype=jnp.float64, rngs=nnx.Rngs(1))
    params = {"conv": {"kernel": conv.kernel[...]}, "linear": {"kernel": linear.kernel[...]}}
    products = tile_products(params, Crossbar(4, 4), KEY)
    by_conv, by_linear = products["['conv']['kernel']"], products["['linear']['kernel']"]
    chips = program_kernels(params, Crossbar(4, 4), KEY)
    on_conv, on_linear = chips["['conv']['kernel']"], chips["['linear']['kernel']"]
    expected = convolution(MAPS, on_conv.weights, window_strides=(2, 2), padding="SAME")
    conv.conv_general_dilated = by_conv.conv_general_dilated
    np.testing.assert_allclose(conv(MAPS), expected, atol=1e-10)
    linear.dot_general = by_linear.dot_general
    np.testing.assert_allclose(linear(expected), expected @ on_linear.weights, atol=1e-10)
    linear.dot_general = TileProduct(on_linear, Converters(None, 4, signed=True)).dot_general
    assert jnp.abs(linear(expected) - expected @ on_linear.weights).max() > 1e-3


def test_the_hook_is_lax_convolution():
    """Channels first, dilated kernels, unequal padding: as `jax.lax.conv_general_dilated`."""
    x = MAPS.transpose(0, 3, 1, 2)
    settings = {
        "window_strides": (1, 2),
        "padding": [(2, 1), (0, 3)],
        "rhs_dilation": (2, 1),
        "dimension_numbers": ("NCHW", "HWIO", "NCHW"),
    }
    expected = jax.lax.conv_general_dilated(x, CHIP.weights, **settings)
    got = TileProduct(CHIP).conv_general_dilated(x, CHIP.weights, **settings)
    np.testing.assert_allclose(got, expected, atol=1e-10)


def test_slopes_against_finite_differences():
    """To tiles, noise and inputs where nothing rounds; straight through where it does."""

    def loss(at, converters=None):
        chip = eqx.tree_at(
            lambda chip: (chip.effective, chip.conductances, chip.wires.row),
            CHIP,
            (CHIP.effective * at[0], CHIP.conductances * at[3], at[4]),
        )
        product = TileProduct(chip, converters, ReadNoise(at[1]), KEY)
        return jnp.sum(product.convolve(MAPS[:1] * at[2], None, (2, 2), (0, 0)) ** 2)

    at = np.array([0.9, 0.1, 0.7, 1.1, 20.0])
    slope = jax.jit(jax.grad(loss))(at)
    np.testing.assert_allclose(slope, finite_difference(jax.jit(loss), at, step=1e-5), rtol=1e-6)
    rounded = jax.jit(jax.grad(lambda at: loss(at, Converters(16, 16))))(at)
    np.testing.assert_allclose(rounded, slope, rtol=1e-2)


@pytest.mark.parametrize(("x", "slope"), [(0.0, 1), (0.4, 1), (1.0, 1), (1.5, 0)])
def test_converters_pass_the_whole_slope_within_their_range(x, slope):
    """Spikes are at the ends of the range."""
    dac, signed = (Converters(dac_bits=1, signed=signed).conversion() for signed in (False, True))
    assert jax.grad(dac.digital_input)(x) == slope
    assert jax.grad(signed.digital_input)(-x) == slope
    assert jax.grad(dac.digital_current)(2e-4 * x, jnp.asarray(2e-4)) == slope


def test_the_unit_of_inputs_is_their_full_scale():
    """Twice the inputs with twice the full scale are converted to twice the outputs."""
    x = jax.random.uniform(KEY, MAPS.shape)
    once = convolved(TileProduct(CHIP, Converters(3, 4)), x)
    twice = convolved(TileProduct(CHIP, Converters(3, 4, input_full_scale=2.0)), 2 * x)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-12)
    # Without a DAC nothing holds the inputs to full scale, and the ADC clips their currents.
    for bits in (None, 16):
        free = convolved(TileProduct(CHIP, Converters(bits, 16, input_full_scale=0.25)), x)
        assert jnp.abs(free - convolved(TileProduct(CHIP), x)).max() > 0.1


@pytest.mark.parametrize("shape", [(0, 18), (3, 0, 18)])
def test_no_inputs_give_no_outputs(shape):
    product = TileProduct(CHIP, Converters(1, 8), ReadNoise(0.1), KEY)
    assert product.linear(jnp.zeros(shape)).shape == (*shape[:-1], 5)
    assert product.convolve(MAPS[:0], None, (2, 1), (1, 0)).shape == (0, 3, 3, 5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Converters(adc_bits=0), "adc_bits"),
        (lambda: Converters(dac_bits=0), "dac_bits"),
        (lambda: Converters(adc_bits=True), "integer"),
        (lambda: Converters(dac_bits=True), "integer"),
        (lambda: Converters(adc_bits=1, signed=True), "adc_bits"),
        (lambda: Converters(full_scale="average"), "full_scale"),
        (lambda: Converters(percentile=99.9), "percentile"),
        (lambda: Converters(input_full_scale=0.0), "input_full_scale"),
        (lambda: TileProduct(CHIP, None, ReadNoise(0.1)).convolve(MAPS, None, (1, 1), (0, 0)), "key"),
        (lambda: TileProduct(CHIP).convolve(MAPS, jnp.ones((2, 2)), (1, 1), (0, 0)), "shape"),
        (lambda: TileProduct(CHIP).convolve(MAPS[..., :1], None, (1, 1), (0, 0)), "channels"),
        (lambda: TileProduct(CHIP).convolve(MAPS[:, :2], None, (1, 1), (0, 0)), "fit"),
        (lambda: TileProduct(CHIP).linear(jnp.ones((2, 3))), "features"),
        (lambda: TileProduct(CHIP).calibrate(MAPS), "no converters"),
        (lambda: TileProduct(CHIP, Converters()).calibrate(MAPS[..., :1]), "18 inputs got 9"),
        (
            lambda: TileProduct(CHIP).conv_general_dilated(MAPS, KERNEL, (1, 1), "SAME", (2, 2)),
            "axes",
        ),
        (
            lambda: TileProduct(CHIP).dot_general(MAPS, KERNEL, (((0,), (0,)), ((), ()))),
            "last axis",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(Exception, match=message):
        make()


def test_fixed_products_of_other_bits_and_rules_are_one_program():
    """They multiply as before, and differ in nothing that a compiled program is made for."""
    few, many = TileProduct(CHIP, Converters(None, 4)), TileProduct(CHIP, Converters(None, 6))
    rule = TileProduct(CHIP, Converters(None, 6, full_scale="calibrated", percentile=0.9))
    finer = rule.calibrate(MAPS, stride=(2, 1), padding=(1, 0))
    plans = set()
    for product in (few, many, finer):
        np.testing.assert_allclose(convolved(product.fixed()), convolved(product), rtol=1e-12, atol=1e-14)
        plans.add(jax.tree.structure(product.fixed()))
        assert jax.tree.structure(product) not in plans
    assert len(plans) == 1
    assert len({float(convolved(product.fixed()).sum()) for product in (few, many, finer)}) == 3
    with pytest.raises(ValueError, match=r"calibrate before TileProduct.fixed"):
        few.fixed().calibrate(MAPS)
    with pytest.raises(ValueError, match=r"needs TileProduct.calibrate"):
        rule.fixed()


@pytest.mark.parametrize("converters", [None, Converters(1, None)])
def test_there_is_nothing_to_fix_without_an_adc(converters):
    product = TileProduct(CHIP, converters)
    assert product.fixed() is product


@pytest.mark.parametrize(
    ("converters", "clips"),
    [
        (Converters(1, 8, input_full_scale=0.25), True),
        (Converters(None, 8, input_full_scale=0.25), True),
        (Converters(None, 8, input_full_scale=0.25, full_scale="calibrated"), False),
        (Converters(None, None, input_full_scale=0.25), False),
    ],
)
def test_what_is_clipped_is_counted(converters, clips):
    product = TileProduct(CHIP, converters, adc_full_scale=jnp.asarray(1e-3))
    for each in (product, product.fixed()):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            convolved(each)
            jax.effects_barrier()
        assert any("full scale of 0.25 and are clipped" in str(one.message) for one in said) == clips


def test_columns_without_a_weight_are_read_only_with_their_tile():
    """Five outputs take two tiles of four columns in each plane; noise depends on all devices of a tile."""
    converters = Converters(1, 8)
    plain = TileProduct(CHIP, converters)
    noisy = TileProduct(CHIP, converters, ReadNoise(1e-12), KEY)
    assert [product.tiles.effective.shape[-1] for product in (plain, noisy)] == [2 * 5, 2 * 2 * 4]
    np.testing.assert_allclose(convolved(plain), convolved(noisy), rtol=1e-9)


@pytest.mark.parametrize(("bias", "rows"), [(None, 2), (jnp.arange(5.0) - 2, 3)])
def test_rows_without_an_input_are_left_out(bias, rows):
    """Two channels of each position, and the bias below those of the last, on tiles of eight rows."""
    crossbar = Crossbar(8, 8, partition="kernel-split", signs="nice", bias="row")
    [chip] = program_all([KERNEL], crossbar, [KEY], biases=[bias])
    plain = TileProduct(chip, Converters(1, 8))
    noisy = TileProduct(chip, Converters(1, 8), ReadNoise(1e-12), KEY)
    assert [product.tiles.effective.shape[-2] for product in (plain, noisy)] == [rows, 8]
    np.testing.assert_allclose(convolved(plain), convolved(noisy), rtol=1e-9, atol=1e-12)


def test_a_derivative_keeps_less_than_a_byte_of_each_current(as_users_compile):
    """The currents of all blocks are many times as much as the inputs that they are made of."""
    kernel = jax.random.normal(KEY, (3, 3, 16, 16), jnp.float32)
    (chip,) = program_all([kernel], Crossbar(8, 8), [KEY], solve=lambda G, wires: G)
    product = TileProduct(chip, Converters(adc_bits=6))
    maps = jax.ShapeDtypeStruct((16, 32, 32, 16), jnp.float32)

    def total(product, x):
        return jnp.sum(product.convolve(x, None, (1, 1), (1, 1)) ** 2)

    compiled = jax.jit(jax.grad(total, 1)).lower(product, maps).compile(as_users_compile)
    blocks, _, currents = product.tiles.effective.shape
    assert compiled.memory_analysis().temp_size_in_bytes < blocks * currents * 16 * 32 * 32
