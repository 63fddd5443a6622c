"""Kernels at the ends of what can be put on a chip: all zero, huge, grouped; inputs beyond full scale."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.crossbar import Converters, Crossbar, Device, TileProduct, Wires, deploy, program, tile_products

KEY = jax.random.key(0)
SIGNS = ("differential", "offset", "nice")
X = jnp.ones((2, 6))


def attenuated(G, wires):
    """In place of the circuit, which is not the subject."""
    return G / (1 + 1e4 * G)


@pytest.mark.parametrize("signs", SIGNS)
def test_a_kernel_of_zeros_is_zero_on_a_chip_and_can_come_to_life(signs):
    design = Crossbar(8, 8, Wires(0, 0, 0, 0), Device(variation=0.3), signs=signs)

    @jax.jit
    def weights(kernel):
        return deploy({"kernel": kernel}, design, KEY, solve=attenuated)["kernel"]

    zeros = jnp.zeros((6, 3))
    assert not jnp.any(weights(zeros))
    chip = jax.jit(program)(zeros, design, KEY)
    assert not jnp.any(TileProduct(chip).linear(X))
    assert not jnp.any(TileProduct(chip, Converters(4, 4)).linear(X))
    slope = jax.jit(jax.grad(lambda kernel: jnp.sum(weights(kernel))))(zeros)
    assert jnp.all(jnp.isfinite(slope))
    assert jnp.any(slope != 0)
    # It is where smaller and smaller kernels go.
    kernel = jax.random.normal(KEY, (6, 3))
    np.testing.assert_allclose(weights(1e-20 * kernel), 1e-20 * weights(kernel), rtol=1e-9)


@pytest.mark.parametrize("signs", SIGNS)
def test_a_huge_kernel_is_right_or_refused(signs):
    design = Crossbar(8, 8, Wires(0, 0, 0, 0), Device(variation=0.1), signs=signs)
    kernel = jax.random.normal(KEY, (6, 3), jnp.float32)

    @jax.jit
    def weights(kernel):
        return deploy({"kernel": kernel}, design, KEY, solve=attenuated)["kernel"]

    np.testing.assert_allclose(weights(1e32 * kernel) / 1e32, weights(kernel), rtol=1e-4, atol=1e-6)
    with pytest.raises(Exception, match="scale overflows the dtype"):
        weights(1e35 * kernel).block_until_ready()


@pytest.mark.parametrize("partition", ["flatten", "kernel-split"])
def test_a_grouped_kernel_takes_the_rows_of_all_its_inputs(partition):
    """Against `jax.lax`, on a chip without imperfections; 6 inputs × 9 taps are 54 rows."""
    design = Crossbar(64, 8, Wires(0, 0, 0, 0), Device(variation=None), partition=partition)
    kernel, x = jax.random.normal(KEY, (3, 3, 2, 6)), jax.random.uniform(KEY, (2, 5, 4, 6))
    params, groups = {"kernel": kernel}, {"['kernel']": 3}
    chip = program(kernel, design, KEY, groups=3)
    assert chip.encoded.plan.groups * chip.encoded.plan.inputs == 54
    assert float(chip.used.sum()) == kernel.size
    found = deploy(params, design, KEY, groups=groups)["kernel"]
    np.testing.assert_allclose(found, kernel, atol=1e-12)
    product = tile_products(params, design, KEY, groups=groups)["['kernel']"]
    expected = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), [(1, 1)] * 2, rhs_dilation=(2, 1), dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=3,
    )  # fmt: skip
    got = product.convolve(x, kernel, (1, 1), (1, 1), groups=3, dilation=(2, 1))
    np.testing.assert_allclose(got, expected, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: program(jnp.ones((3, 3, 1, 4)), Crossbar(signs="offset"), KEY, groups=4),
            "reference column",
        ),
        (lambda: program(jnp.ones((3, 3, 1, 4)), Crossbar(), KEY, groups=3), "divide its 4 outputs"),
        (lambda: deploy({"kernel": X}, Crossbar(), KEY, groups={"kernl": 2}), "'kernl', which is no leaf"),
    ],
)
def test_groups_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


CHIP = program(jnp.asarray(np.random.default_rng(0).normal(size=(6, 3))), Crossbar(8, 8), KEY)


@pytest.mark.parametrize("converters", [Converters(), Converters(8, None), Converters(1, 8)])
@pytest.mark.parametrize("jitted", [False, True])
def test_inputs_beyond_full_scale_are_counted(converters, jitted):
    x = jnp.array([[0.0, 1.0, 7.0, 1.5, 0.0, 1.0]])

    multiply = TileProduct(CHIP, converters).linear

    def run():
        (jax.jit(multiply) if jitted else multiply)(x).block_until_ready()
        jax.effects_barrier()

    with pytest.warns(UserWarning, match=r"2 of 6 inputs are beyond .* full scale of 1 and are clipped"):
        run()


@pytest.mark.parametrize(
    "converters",
    [Converters(input_full_scale=7.0), Converters(None, None), Converters(full_scale="calibrated")],
)
def test_inputs_within_full_scale_are_not_warned_about(converters):
    x = jnp.array([[0.0, 1.0, 7.0, 1.5, 0.0, 1.0]])
    product = TileProduct(CHIP, converters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if converters.full_scale == "calibrated":
            product = product.calibrate(x)
        product.linear(x).block_until_ready()
