import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels import sata
from hwmodels.sata import memory, technology
from hwmodels.sata.interpolation import MonotoneCubic
from tests.helpers import finite_difference, reference_json

ROWS = reference_json("sata/cacti_sram.json")["rows"]
KERNELS = reference_json("sata/hardware.json")["kernels"]


def test_exact_at_every_point_of_the_grid():
    for row in ROWS:
        ours = sata.sram(row["size_bytes"], row["block_bytes"], row["banks"])
        assert ours.read_j == pytest.approx(row["read_nj"] * 1e-9, rel=1e-12)
        assert ours.write_j == pytest.approx(row["write_nj"] * 1e-9, rel=1e-12)
        assert ours.bank_leakage_w == pytest.approx(row["leakage_mw_per_bank"] * 1e-3, rel=1e-12)
        assert ours.area_mm2 == pytest.approx(row["area_mm2"], rel=1e-12)
        assert ours.access_s == pytest.approx(row["access_ns"] * 1e-9, rel=1e-12)


def test_points_left_out_are_met_within_5_percent_in_the_median_and_25_at_worst():
    grid, errors = memory.grid(), []
    for point in grid:
        sizes = sorted(size for size, width, banks in grid if (width, banks) == point[1:])
        if point[0] in (sizes[0], sizes[-1]):
            continue  # beyond its column nothing is interpolated
        rest = {other: value for other, value in grid.items() if other != point}
        errors.append(np.exp(memory.estimate(rest, *point)) / grid[point] - 1)
    assert len(errors) > 60
    assert (np.median(np.abs(errors), axis=0) < 0.05).all()
    assert np.abs(errors).max() < 0.25


def test_sizes_left_out_altogether_are_met_when_interpolated():
    """Every memory of one size is left out at once: what a size between two grid sizes is asked to do."""
    grid, errors = memory.grid(), []
    for left_out in (8192, 32768, 131072, 262144):
        rest = {point: value for point, value in grid.items() if point[0] != left_out}
        surface = MonotoneCubic(*memory.fill(rest))(float(np.log2(left_out)))
        for (size, width, banks), value in grid.items():
            if size == left_out:
                ours = np.exp(surface[memory.WIDTHS.index(width), memory.BANKS.index(banks)])
                errors.append(np.abs(ours / value - 1))
    assert np.median(errors) < 0.05
    assert np.max(errors) < 0.25


@pytest.mark.parametrize("argument", [0, 1, 2])
def test_memory_slopes_match_finite_differences_everywhere(argument):
    starts = [(5000.0, 12.0, 1.5), (32768.0, 24.0, 3.0), (300000.0, 9.0, 2.5), (100000.0, 20.0, 1.2)]
    for start in starts:

        def total(x, start=start):
            values = list(start)
            values[argument] = x
            cost = sata.sram(*values)
            return sum((jnp if isinstance(v, jax.Array) else np).log(v) for v in vars(cost).values())

        ours = jax.jit(jax.grad(total))(start[argument])
        assert ours == pytest.approx(
            float(finite_difference(lambda x: total(float(x)), start[argument])), 1e-5
        )


def test_slope_is_continuous_across_the_grid():
    slope = jax.jit(jax.vmap(jax.grad(lambda size: sata.sram(size, 32, 2).read_j)))
    knots = jnp.array([2048.0, 32768.0, 147456.0, 524288.0])
    for below, above in zip(slope(knots * (1 - 1e-9)), slope(knots * (1 + 1e-9)), strict=True):
        assert float(below) == pytest.approx(float(above), rel=1e-6)


def test_bus_caps_the_width():
    assert sata.sram(65536, 64, 2).read_j == sata.sram(65536, 32, 2).read_j
    assert sata.sram(65536, 16, 2).read_j < sata.sram(65536, 32, 2).read_j


@pytest.mark.parametrize("kernel", ["register", "comparator", "multiplier", "adder", "subtractor", "andgate"])
def test_component_tables(kernel):
    table = KERNELS[kernel]
    for width, area in table["area_um2"].items():
        ours = technology.power(kernel, int(width))
        assert ours.area_mm2 == pytest.approx(area * 1e-6, rel=1e-15)
        assert ours.dynamic_w == pytest.approx(table["dynamic_mw"][width] * 1e-3, rel=1e-15)
        assert ours.leakage_w == pytest.approx(table["leakage_uw"][width] * 1e-6, rel=1e-15)
        traced = jax.jit(technology.power, static_argnums=0)(kernel, jnp.float64(width))
        np.testing.assert_allclose(traced, ours, rtol=1e-12)
    powers = [technology.power(kernel, width).dynamic_w for width in np.linspace(2.0, 32.0, 61)]
    assert (np.diff(powers) > 0).all()


def test_published_groups_are_the_sums_of_their_components():
    totals = reference_json("sata/hardware.json")["pe_group_totals"]
    precision = technology.Precision()
    for group, expected in totals.items():
        parts = [c for c in technology.SPIKING_ELEMENT if c.group == group]
        powers = [technology.element_power(c, precision) for c in parts]
        gated = sum(p.dynamic_w for c, p in zip(parts, powers, strict=True) if c.gated)
        ungated = sum(p.dynamic_w for c, p in zip(parts, powers, strict=True) if not c.gated)
        assert gated * 1e3 == pytest.approx(expected["dynamic_per_operation_mw"], abs=1e-12)
        assert ungated * 1e3 == pytest.approx(expected["dynamic_ungated_mw"], abs=1e-12)
        assert sum(p.leakage_w for p in powers) * 1e3 == pytest.approx(expected["leakage_mw"], abs=5.1e-7)
        assert sum(p.area_mm2 for p in powers) == pytest.approx(expected["area_mm2"], abs=5.1e-7)


def test_monotone_cubic_against_scipy():
    interpolate = pytest.importorskip("scipy.interpolate")
    x = np.array([0.0, 1.0, 2.5, 3.0, 6.0])
    y = np.array([[0.0, 1.0], [1.0, 0.5], [1.5, 2.0], [4.0, 2.0], [4.5, 7.0]])
    ours, theirs = MonotoneCubic(x, y), interpolate.PchipInterpolator(x, y)
    for at in np.linspace(1.01, 2.99, 7):  # inside; at the ends scipy chooses other slopes
        np.testing.assert_allclose(ours(float(at)), theirs(at), rtol=1e-12)
        np.testing.assert_allclose(ours(jnp.asarray(at)), theirs(at), rtol=1e-12)
    np.testing.assert_allclose(ours(8.0), y[-1] + 2 * (y[-1] - y[-2]) / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 32, 2), r"at least one byte"),
        ((1024, 4, 2), r"blocks have 8 to 64 bytes"),
        ((1024, 32, 8), r"1 to 4 banks"),
    ],
)
def test_bad_memories(arguments, message):
    with pytest.raises(ValueError, match=message):
        sata.sram(*arguments)
