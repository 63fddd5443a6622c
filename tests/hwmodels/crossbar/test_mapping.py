"""Kernels on tiles: cutting and joining, signs, slices; every encoding is exact in an ideal circuit."""

import itertools
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.crossbar import BitResistors, Crossbar, Device, Wires, effective_conductance, program
from hwmodels.crossbar.encoding import encode
from hwmodels.crossbar.mapping import layout

KEY = jax.random.key(5)
IDEAL = Wires(0.0, 0.0, 0.0, 0.0)
SIGNS = ("differential", "offset", "nice")
KERNEL = jax.random.normal(KEY, (2, 3, 5, 6), jnp.float64)


@jax.jit
def ideal_weights(kernel, crossbar):
    """What the intended conductances are worth without any circuit: `G_eff = G`."""
    encoded = encode(kernel, crossbar)
    weights = encoded.without_reference(jnp.tensordot(encoded.coefficients, encoded.targets, 1))
    return encoded.plan.join(weights if encoded.correction is None else weights - encoded.correction)


@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple),
    rows=st.integers(1, 8),
    columns=st.integers(2, 8),
    partition=st.sampled_from(["flatten", "kernel-split"]),
    signs=st.sampled_from(SIGNS),
)
def test_join_undoes_cut_with_ragged_edges(shape, rows, columns, partition, signs):
    crossbar = Crossbar(rows, columns, partition=partition, signs=signs)
    plan = layout(shape, crossbar)
    kernel = jnp.asarray(np.arange(1.0, np.prod(shape) + 1).reshape(shape))
    # One program for each shape.
    tiles, joined = jax.jit(lambda kernel: (tiles := plan.cut(kernel), plan.join(tiles)))(kernel)
    np.testing.assert_array_equal(joined, kernel)
    assert (tiles != 0).sum() == kernel.size
    # As many tiles as a count by hand: each position's channels apart, or all inputs in one column.
    positions, inputs = int(np.prod(shape[:-2])), shape[-2]
    down = positions * -(-inputs // rows) if partition == "kernel-split" else -(-positions * inputs // rows)
    assert np.prod(tiles.shape[:3]) == down * -(-shape[-1] // (columns - (signs == "offset")))


@pytest.mark.parametrize(
    ("signs", "partition"),
    [("differential", "flatten"), ("offset", "kernel-split"), ("nice", "kernel-split")],
)
def test_signs_are_exact_in_an_ideal_circuit(signs, partition):
    crossbar = Crossbar(4, 4, IDEAL, Device(variation=None), partition, signs)
    # A tile of no resistance is its devices, so the circuit and its absence agree.
    np.testing.assert_allclose(ideal_weights(KERNEL, crossbar), KERNEL, rtol=1e-11, atol=1e-13)
    chip = jax.jit(program)(KERNEL, crossbar, KEY)
    np.testing.assert_allclose(chip.weights, KERNEL, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("bits", "slices"), [(1, 4), (2, 2), (4, 1), (2, 3)])
@pytest.mark.parametrize("signs", SIGNS)
def test_levels_round_weights_to_their_grid(signs, bits, slices):
    crossbar = Crossbar(4, 4, IDEAL, Device(variation=None, bits=bits), signs=signs, slices=slices)
    total = bits * slices
    steps = {"differential": 2**total - 1, "offset": 2 ** (total - 1) - 1, "nice": 2 ** (total - 1)}[signs]
    largest = np.abs(KERNEL).max()
    grid = np.round(np.asarray(KERNEL) / largest * steps) / steps * largest
    np.testing.assert_allclose(ideal_weights(KERNEL, crossbar), grid, rtol=1e-10, atol=1e-12)
    cells = np.unique(np.asarray(crossbar.device.target(jnp.arange(2.0**bits) / (2**bits - 1))))
    held = np.asarray(encode(KERNEL, crossbar).targets)
    assert np.all(np.isclose(held[held > 0][:, None], cells).any(axis=1))


@pytest.mark.parametrize("signs", SIGNS)
def test_slopes_go_straight_through_levels_and_slices(signs):
    crossbar = Crossbar(4, 4, device=Device(variation=None, bits=2), signs=signs, slices=2)
    C = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    slope = jax.grad(lambda kernel: jnp.sum(C * ideal_weights(kernel, crossbar)))(KERNEL[0, 0, :3, :2])
    # The greatest weight is the scale of all others and has another slope.
    others = np.abs(KERNEL[0, 0, :3, :2]) < np.abs(KERNEL[0, 0, :3, :2]).max()
    np.testing.assert_allclose(slope[others], C[others], rtol=1e-10)


def test_nice_stores_what_spikesim_stores():
    """k in −8..8 of 4 bits; a negative k is stored as k + 8, and 8 per active negative row is subtracted."""
    k = np.array([[-8, -7, -1], [1, 5, 8]])
    low, high = 1e-6, 16e-6
    crossbar = Crossbar(2, 3, device=Device(low, high, None, bits=4), signs="nice")
    encoded = encode(jnp.asarray(k / 8.0), crossbar)
    u = np.where(k < 0, k + 8, k)
    np.testing.assert_allclose(encoded.targets[0, 0, 0, 0], low + u * 1e-6, rtol=1e-12)
    active = np.array([1.0, 1.0])
    stored = active @ u
    diff = (active @ (k < 0)) * 8
    np.testing.assert_array_equal(stored - diff, active @ k)
    np.testing.assert_allclose(active @ ideal_weights(jnp.asarray(k / 8.0), crossbar), (stored - diff) / 8)


def test_bit_resistors_lose_only_what_clear_bits_conduct():
    kernel = jnp.asarray([[-1.0, 0.5], [0.125, -0.25]])
    exact = ideal_weights(kernel, Crossbar(2, 2, device=BitResistors(clear_ohm=1e12), signs="nice"))
    np.testing.assert_allclose(exact, kernel, atol=1e-6)
    leaky = ideal_weights(kernel, Crossbar(2, 2, device=BitResistors(clear_ohm=1e5), signs="nice"))
    assert np.abs(leaky - kernel).max() > 1e-3


def test_a_kernel_of_zeros_stays_zero():
    for signs, bits in itertools.product(SIGNS, (None, 3)):
        crossbar = Crossbar(3, 3, device=Device(variation=None, bits=bits), signs=signs)
        np.testing.assert_allclose(ideal_weights(jnp.zeros((4, 5)), crossbar), 0, atol=1e-15)


@pytest.mark.parametrize("settings", [{"driver": np.ones(2)}, {"row": jnp.ones((1, 1))}])
def test_one_resistance_for_all_tiles(settings):
    (name,) = settings
    with pytest.raises(Exception, match=rf"one resistance|parameter '{name}'"):
        Wires(**settings)
    # Past the types that these tests check and users do not.
    wires = eqx.tree_at(operator.attrgetter(name), Wires(), settings[name])
    with pytest.raises(ValueError, match="one resistance"):
        wires.__check_init__()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_circuits_are_not_solved_in_half_precision(dtype):
    with pytest.raises(ValueError, match="float32 or float64"):
        effective_conductance(jnp.full((3, 2), 1e-5, dtype))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "Crossbar.rows must be an integer of at least 1; got 0"),
        ({"columns": True}, "Crossbar.columns must be an integer"),
        ({"partition": "diagonal"}, "partition"),
        ({"signs": "both"}, "signs"),
        ({"calibration": "row"}, "calibration"),
        ({"slices": 0}, "slices"),
        ({"slices": 2}, "Device.bits"),
        ({"slices": 3, "device": Device(bits=8)}, "20 bits"),
        ({"signs": "offset", "columns": 1}, "reference column"),
        ({"signs": "offset", "device": Device(bits=1)}, "2 bits"),
    ],
)
def test_bad_designs_are_refused(settings, message):
    with pytest.raises(Exception, match=message) as error:
        Crossbar(**settings)
    assert not isinstance(error.value, AssertionError)


def test_a_tile_larger_than_memory_is_refused():
    huge = Crossbar(10**6, 10**6)
    for kernel in (jnp.ones((3, 2)), jnp.ones((3, 3, 2, 2))):
        with pytest.raises(ValueError, match=r"1000000×1000000 is larger than memory.*GiB"):
            jax.eval_shape(program, kernel, huge, KEY)
    with pytest.raises(ValueError, match="larger than memory"):
        jax.eval_shape(effective_conductance, jax.ShapeDtypeStruct((10**6, 10**6), jnp.float32))


@pytest.mark.parametrize("shape", [(3,), (0, 4), (3, 3, 0, 2)])
def test_bad_kernels_are_refused(shape):
    with pytest.raises(ValueError, match="axes"):
        layout(shape, Crossbar())
