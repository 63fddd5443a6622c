import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels import sata, spikeflow
from hwmodels.crossbar import Wires, effective_conductance
from hwmodels.search import (
    Choice,
    Constraint,
    DivergedError,
    Enumerated,
    InfeasibleError,
    Integer,
    Real,
    minimise,
)
from hwmodels.search.problem import Problem, descend
from hwmodels.workload import Layer, Workload
from tests.helpers import finite_difference

KEY = jax.random.key(0)
FEW = {"restarts": 4, "steps": 12, "polished": 2}
BOX = (Integer("m", 0, 40), Real("x", -5.0, 5.0))


def as_dict(**values):
    return values


def bowl(design):
    return (design["m"] - 17) ** 2 + 3.0 * (design["x"] - 1.25) ** 2 + 0.5 * design["x"] * (design["m"] - 17)


def test_a_quadratic_has_its_minimum_where_algebra_says():
    found = minimise(bowl, as_dict, BOX, key=KEY, **FEW)
    # With m = 17 + k: x = 1.25 - k/12, so the integer optimum is k = 0.
    assert found.values["m"] == 17
    assert found.values["x"] == pytest.approx(1.25, abs=0.01)
    assert found.objective == bowl(found.design)
    assert type(found.values["m"]) is int


def sum_of_squares(design):
    return design["x"] ** 2 + design["y"] ** 2


def total(design):
    return design["x"] + design["y"]


PLANE = (Real("x", -4.0, 4.0), Real("y", -4.0, 4.0))


@pytest.mark.parametrize(
    ("bound", "x"), [({"lower": 3.0}, 1.5), ({"upper": -2.0}, -1.0), ({"lower": 1, "upper": 5}, 0.5)]
)
def test_a_constrained_quadratic_ends_on_its_bound(bound, x):
    sums = Constraint("sum", total, unit="V", **bound)
    found = minimise(
        sum_of_squares, as_dict, PLANE, key=KEY, constraints=(sums,), steps=60, restarts=8, polished=4
    )
    assert found.objective == pytest.approx(2 * x**2, rel=0.02)
    assert max(sums.excesses(found.constrained["sum"])) <= 0
    assert found.constrained == {"sum": total(found.design)}


WEIGHTS, VALUES = np.array([12.0, 7.0, 11.0, 8.0, 9.0]), np.array([24.0, 13.0, 23.0, 15.0, 16.0])
ITEMS = tuple(Integer(f"n{i}", 0, 4) for i in range(5))


def _dot(numbers, design):
    return sum(float(number) * design[f"n{i}"] for i, number in enumerate(numbers))


def minus_value(design):
    return -_dot(VALUES, design)


def weight(design):
    return _dot(WEIGHTS, design)


@pytest.mark.parametrize("capacity", [26.0, 57.0])
def test_a_knapsack_is_packed_as_enumeration_packs_it(capacity):
    counts = np.array(list(itertools.product(range(5), repeat=5)))
    best = (counts @ VALUES)[counts @ WEIGHTS <= capacity].max()
    limit = Constraint("weight", weight, upper=capacity, unit="kg")
    # The value of the last items hangs on parity: no slope leads there, only many polished places do.
    many = {"restarts": 32, "steps": 20, "polished": 16}
    found = minimise(minus_value, as_dict, ITEMS, key=KEY, constraints=(limit,), **many)
    assert -found.objective == best
    assert found.constrained["weight"] <= capacity
    assert found.evaluations < len(counts) / 2


def wells(design):
    """Many local minima, and one that is least."""
    return 0.05 * (design["m"] - 23) ** 2 - 2.0 * jnp.cos(2.1 * design["m"]) + jnp.abs(design["x"])


@settings(max_examples=5)
@given(seed=st.integers(0, 1000), m=st.integers(0, 40), x=st.floats(-5, 5))
def test_results_are_legal_and_no_worse_than_their_start(seed, m, x):
    limit = Constraint("m", lambda design: design["m"], upper=30)
    start = {"m": m, "x": x}
    found = minimise(wells, as_dict, BOX, key=jax.random.key(seed), constraints=(limit,), start=start, **FEW)
    assert 0 <= found.values["m"] <= 30
    assert -5 <= found.values["x"] <= 5
    if m <= 30:
        # The start passes through float64 and back, which may move x by an ulp or two.
        assert found.objective <= float(wells(start)) + 1e-9
    assert np.all(np.diff(found.trace[np.isfinite(found.trace)]) <= 0)
    assert found.objective == pytest.approx(found.trace[-1], rel=1e-12)


def test_every_evaluation_is_counted():
    calls = []

    def counted(design):
        jax.debug.callback(lambda _: calls.append(1), design["m"])
        return bowl(design)

    descent = minimise(counted, as_dict, BOX, key=KEY, restarts=3, steps=5, polished=0)
    jax.effects_barrier()
    assert descent.evaluations == len(descent.trace) == len(calls) - 1 == 3 * 5
    assert descent.gradients == 15
    capped = minimise(bowl, as_dict, BOX, key=KEY, max_evaluations=40, restarts=4, steps=5, polished=4)
    assert capped.evaluations == 40
    assert capped.evaluations_to(capped.objective) <= 40
    assert capped.evaluations_to(-1e9) is None


def test_the_same_key_gives_the_same_search_and_another_key_another():
    first, again, other = (minimise(wells, as_dict, BOX, key=jax.random.key(s), **FEW) for s in (1, 1, 2))
    assert first.values == again.values
    np.testing.assert_array_equal(first.trace, again.trace)
    assert not np.array_equal(first.trace[:4], other.trace[:4])


@pytest.mark.parametrize(
    "changed",
    [
        {"restarts": 5},
        {"steps": 6},
        {"polished": 0},
        {"start": {"m": 3}},
        {"optimizer": optax.sgd(0.05)},
        {"max_evaluations": 30},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_setting_changes_the_search(changed):
    plain = minimise(wells, as_dict, BOX, key=KEY, **FEW)
    found = minimise(wells, as_dict, BOX, key=KEY, **FEW | changed)
    assert not np.array_equal(plain.trace, found.trace)


@pytest.mark.parametrize(
    ("parameter", "area", "bound", "best"),
    [
        (Integer("n", 1, 10), 0.3, 0.9, 3),  # 3 · 0.3 is below 0.9 in float64, and above it in float32.
        (Integer("n", 3, 10), 0.3, 0.9, 3),
        (Choice("n", (0.3, 0.5, 0.7)), 1.0, 0.3, 0.3),
        (Real("n", 0.1, 1.0), 1.0, 0.1, 0.1),
    ],
)
def test_a_design_on_its_bound_is_legal_in_float32_too(parameter, area, bound, best):
    limit = Constraint("area", lambda design: design["n"] * area, upper=bound)
    with jax.enable_x64(False):
        found = minimise(lambda design: -design["n"], as_dict, (parameter,), key=KEY, constraints=(limit,))
    assert found.values["n"] == best
    assert found.constrained["area"] <= bound


def test_infeasible_bounds_are_named_with_what_is_missing():
    bounds = (
        Constraint("sum", total, lower=10.0, unit="mm²"),
        Constraint("x", lambda design: design["x"], upper=9.0),
    )
    with pytest.raises(InfeasibleError) as caught:
        minimise(sum_of_squares, as_dict, PLANE, key=KEY, constraints=bounds, **FEW)
    assert "sum is 8 mm², 2 mm² below the bound of 10 mm² (0.2 times it)" in str(caught.value)
    assert "x = 4.0, y = 4.0" in str(caught.value)
    assert "x is" not in str(caught.value)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda d: jnp.log(d["x"] + 1.0), "the objective is"),
        (lambda d: jnp.sqrt(jnp.abs(d["x"] - 5.0)) * 0 + d["m"] / jnp.maximum(d["m"] - 20, 0), "m = "),
        (lambda d: jnp.sqrt(0.0 * d["x"]), "the slope along x"),
    ],
)
def test_a_diverging_search_stops_and_says_where(objective, message):
    with pytest.raises(DivergedError, match="diverged and was stopped after") as caught:
        minimise(objective, as_dict, BOX, key=KEY, **FEW)
    assert message in str(caught.value)


def test_a_diverging_descent_measures_no_step_more():
    """From 38 in steps of 4 it is at 10, in the eighth step, that the first path meets what is not finite."""
    calls = []

    def edge(design):
        jax.debug.callback(lambda _: calls.append(1), design["m"])
        return jnp.where(design["m"] < 12, jnp.nan, design["m"])

    options = {"restarts": 1, "steps": 200, "optimizer": optax.sgd(0.1), "start": {"m": 38}}
    with pytest.raises(DivergedError, match="after 8 evaluations: the objective is nan at m = 10"):
        minimise(edge, as_dict, (Integer("m", 0, 40),), key=KEY, **options)
    jax.effects_barrier()
    assert len(calls) == 8


KIND = Enumerated("kind", ("a", "b"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parameters": ()}, "at least one parameter"),
        ({"parameters": (BOX[0], BOX[0])}, "'m' more than once"),
        ({"start": {"n": 1}}, "'n', which is no parameter; there are m, x"),
        ({"start": {"m": float("nan")}}, "start sets 'm' to nan; it must be a finite number"),
        ({"parameters": (*BOX, KIND), "start": {"kind": "c"}}, "'kind' to 'c'; it must be one of 'a', 'b'"),
        ({"restarts": 0}, "restarts must be an integer of at least 1; got 0"),
        ({"steps": -1}, "steps must be an integer of at least 0; got -1"),
        ({"polished": -1}, "polished must be an integer of at least 0"),
        ({"max_evaluations": 0}, "max_evaluations must be an integer of at least 1"),
        ({"restarts": 2.5}, "restarts must be an integer of at least 1; got 2.5"),
        ({"start": {"m": None}}, "start sets 'm' to None; it must be a finite number"),
        ({"objective": lambda d: jnp.ones(3) * d["x"]}, r"must be one number, got an array of shape \(3,\)"),
    ],
)
def test_bad_settings_say_what_is_allowed(change, message, as_users_run):
    arguments = {"objective": bowl, "parameters": BOX} | change
    objective, parameters = arguments.pop("objective"), arguments.pop("parameters")
    with pytest.raises(ValueError, match=message):
        minimise(objective, as_dict, parameters, key=KEY, **arguments)


def test_a_seed_is_no_key(as_users_run):
    with pytest.raises(ValueError, match=r"key must be a key of JAX, such as jax\.random\.key\(0\), got 0"):
        minimise(bowl, as_dict, BOX, key=0)


def test_whole_numbers_that_float32_cannot_tell_apart_are_warned_of():
    huge = (Integer("m", 100_000_001, 100_000_011),)
    with jax.enable_x64(False), pytest.warns(UserWarning, match="'m': whole numbers beyond 16777216 cannot"):
        minimise(lambda d: -1.0 * d["m"], as_dict, huge, key=jax.random.key(0), **FEW)
    found = minimise(lambda d: -1.0 * d["m"], as_dict, huge, key=KEY, **FEW)
    assert found.values == {"m": 100_000_011}


NETWORK = Workload(
    (
        Layer.conv("conv1", height=8, width=8, in_channels=3, out_channels=24, padding=1, input_rate=0.3),
        Layer.conv("conv2", height=8, width=8, in_channels=24, out_channels=40, padding=1, input_rate=0.1),
        Layer.linear("fc", in_features=2560, out_features=10, input_rate=0.1),
    ),
    timesteps=4,
)
SIZES = (16, 32, 48, 64, 96, 128)


def chip(crossbar_rows, crossbar_columns, mux_ratio, pes_per_tile):
    return spikeflow.Chip(
        crossbar_rows=crossbar_rows,
        crossbar_columns=crossbar_columns,
        mux_ratio=mux_ratio,
        pes_per_tile=pes_per_tile,
        activity="spikes",
    )


def energy_delay(chip):
    return spikeflow.evaluate(NETWORK, chip).energy_delay_js


def chip_area(chip):
    return spikeflow.evaluate(NETWORK, chip).area_mm2


def test_a_chip_is_as_good_as_the_best_of_all_chips():
    parameters = (
        Choice("crossbar_rows", SIZES),
        Choice("crossbar_columns", SIZES),
        Choice("mux_ratio", (1, 2, 4, 8, 16)),
        Integer("pes_per_tile", 1, 12),
    )
    limit = Constraint("area", chip_area, upper=1.5, unit="mm²")
    found = minimise(
        energy_delay, chip, parameters, key=KEY, constraints=(limit,), restarts=8, steps=12, polished=4
    )
    designs = np.array(list(itertools.product(SIZES, SIZES, (1, 2, 4, 8, 16), range(1, 13))), float)

    def measure(design):
        made = chip(*design)
        return jnp.stack([energy_delay(made), chip_area(made)])

    values = np.asarray(jax.jit(jax.vmap(measure))(designs))
    best = values[values[:, 1] <= 1.5, 0].min()
    assert found.objective <= 1.02 * best
    assert found.objective >= best * (1 - 1e-9)
    assert found.objective == energy_delay(found.design)
    assert all(isinstance(value, int) for value in found.values.values())


def accelerator(rows, columns, ifmap, dataflow):
    return sata.Accelerator(
        array=sata.Array(rows, columns), buffers=sata.Buffers(ifmap=ifmap), dataflow=dataflow
    )


def test_words_are_enumerated_and_sizes_descend():
    def energy(chip):
        return sata.inference_energy(NETWORK, chip).total_j

    parameters = (
        Choice("rows", (4, 16)),
        Choice("columns", (4, 8)),
        Choice("ifmap", (1024, 2048, 4096)),
        Enumerated("dataflow", ("os", "sata")),
    )
    found = minimise(energy, accelerator, parameters, key=KEY, restarts=2, steps=4, polished=1)
    every = itertools.product(*(parameter.values for parameter in parameters))
    assert found.objective == min(energy(accelerator(*values)) for values in every)
    assert found.values["dataflow"] == found.design.dataflow == "sata"


def tile(rows, high_siemens):
    levels = jnp.linspace(0.1, 1.0, 12).reshape(1, -1)
    return jnp.tile(levels, (rows, 1)) * high_siemens


def weight_error(conductances):
    return 1 - jnp.mean(effective_conductance(conductances, Wires()) / conductances)


@pytest.mark.long
def test_a_size_that_fixes_shapes_is_enumerated():
    parameters = (Enumerated("rows", (16, 4, 8)), Real("high_siemens", 1e-6, 1e-4, unit="S", log=True))
    rows_in_all = Constraint("rows", lambda tile: tile.shape[0], lower=8)
    found = minimise(weight_error, tile, parameters, key=KEY, constraints=(rows_in_all,), **FEW)
    # Less current and fewer rows on a wire: less of the signal is lost.
    assert found.values == {"rows": 8, "high_siemens": pytest.approx(1e-6, rel=1e-6)}
    only = minimise(weight_error, lambda rows: tile(rows, 1e-5), parameters[:1], key=KEY)
    assert only.values == {"rows": 4}
    assert only.evaluations == 3


SLOPED = (
    Real("timesteps", 1.0, 9.0),
    Integer("weight_bits", 2, 8),
    Integer("banks", 1, 4),
    Integer("clock_hz", 100_000_000, 1_000_000_000, log=True),
)


def banked(timesteps, weight_bits, banks, clock_hz):
    precision = sata.Precision(weight=weight_bits)
    return timesteps, sata.Accelerator(precision=precision, sram_banks=banks, clock_hz=clock_hz)


def array_energy_delay(design):
    timesteps, chip = design
    cost = sata.inference_energy(Workload(NETWORK.layers, timesteps), chip)
    return cost.total_j * cost.latency_s


def test_slopes_of_the_descent_are_those_of_sata():
    """Along sizes that SATA's model is smooth in, at the rounded design, against central differences."""
    position = jnp.array([0.31, 0.41, 0.4, 0.6], jnp.float64)
    problem = Problem(array_energy_delay, banked, SLOPED, ())
    seen = descend(problem, position[None], steps=1, optimizer=optax.sgd(0.1))
    design = np.asarray(seen.numbers[0, 0])
    assert [parameter.legal(value) for parameter, value in zip(SLOPED, design, strict=True)] == [
        pytest.approx(3.48),
        4,
        2,
        round(1e8 * 10**0.6),
    ]
    along = finite_difference(lambda v: array_energy_delay(banked(*map(float, v))), design, step=1e-5)
    per_range = np.array([8.0, 6.0, 3.0, 1e8 * 10**0.6 * np.log(10)])
    np.testing.assert_allclose(seen.gradients[0, 0], along * per_range, rtol=1e-5)
    assert np.all(along != 0)


def test_a_small_space_is_gone_through():
    """Of 400 designs on a rugged plane the best, each measured once."""
    grid = (Integer("x", -10, 9), Choice("y", tuple(1.5 * n for n in range(20))))
    seen = []

    def rugged(design):
        x, y = jnp.asarray(design["x"], float), jnp.asarray(design["y"], float)
        return (x - 3) ** 2 + (y - 9) ** 2 / 4 + 3 * jnp.cos(2.6 * x) * jnp.cos(1.7 * y)

    found = minimise(rugged, as_dict, grid, key=KEY, progress=lambda *told: seen.append(told))
    x, y = np.meshgrid(np.arange(-10, 10), 1.5 * np.arange(20), indexing="ij")
    values = (x - 3) ** 2 + (y - 9) ** 2 / 4 + 3 * np.cos(2.6 * x) * np.cos(1.7 * y)
    assert found.objective == pytest.approx(values.min(), rel=1e-12)
    assert found.evaluations == values.size
    assert found.gradients == 0
    counts, best = zip(*seen, strict=True)
    assert sorted(counts) == list(counts)
    assert sorted(best, reverse=True) == list(best)
    assert best[-1] == pytest.approx(found.objective, rel=1e-6)
    assert minimise(rugged, as_dict, grid, key=KEY, max_evaluations=30).evaluations == 30


@pytest.mark.parametrize("colour", [0, 1])
@pytest.mark.parametrize("side", [8, 32])
def test_the_best_of_a_small_space_needs_no_hint(side, colour):
    """Nothing leads to it: all its neighbours are as bad as any other design."""
    plane = (Integer("x", 0, side - 1), Integer("y", 0, side - 1))

    def needle(design):
        return jnp.where((design["x"] == 5) & (design["y"] == 2 + colour), -1.0, 0.0)

    found = minimise(needle, as_dict, plane, key=KEY)
    assert found.values == {"x": 5, "y": 2 + colour}
    assert found.evaluations == side**2
