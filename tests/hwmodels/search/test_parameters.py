import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.search import Choice, Constraint, Enumerated, Integer, Real

PARAMETERS = [
    Real("x", -2.0, 3.0),
    Real("f", 1e6, 1e9, unit="Hz", log=True),
    Integer("n", 1, 100),
    Integer("bytes", 100, 1_000_000, log=True),
    Choice("size", (8, 16, 32, 64, 100)),
]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
@given(value=st.floats(-1e7, 1e10))
def test_the_projection_is_idempotent_and_nearest(parameter, value):
    legal = parameter.legal(value)
    assert parameter.legal(legal) == legal
    assert all(abs(legal - value) <= abs(other - value) for other in parameter.neighbours(legal))


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
@given(u=st.floats(0, 1))
def test_every_position_has_a_legal_value(parameter, u):
    value = float(parameter.at(jnp.asarray(u)))
    assert parameter.legal(value) == pytest.approx(value, rel=1e-12)
    assert float(parameter.at(jnp.asarray(parameter.position(value)))) == pytest.approx(value, rel=1e-12)
    neighbours = parameter.neighbours(parameter.legal(value))
    assert len(set(neighbours)) == len(neighbours) > 0
    assert all(parameter.legal(other) == other != value for other in neighbours)


def test_slopes_are_those_before_rounding():
    def slope(parameter, u):
        return float(jax.grad(lambda u: parameter.at(u))(u))

    assert slope(Integer("n", 1, 101), 0.3217) == pytest.approx(100)
    assert slope(Real("x", 2.0, 8.0, log=True), 0.5) == pytest.approx(4 * np.log(4))
    # Between 16 and 64, the third and the fourth of five: 48 over a quarter of the range.
    assert slope(Choice("c", (1, 4, 16, 64, 100)), 0.6) == pytest.approx(48 * 4)


def test_a_search_over_one_parameter_reaches_both_ends():
    parameter = Integer("n", 3, 20)
    assert [int(parameter.at(jnp.asarray(u))) for u in (0.0, 1.0)] == [3, 20]
    assert set(parameter.neighbours(3)) == {4, 5, 7, 11, 19}


def test_lists_of_values_are_read_as_tuples():
    assert Choice("size", [8, 16]) == Choice("size", (8, 16))
    assert Enumerated("reuse", ["a", "b"]) == Enumerated("reuse", ("a", "b"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real("x", 1.0, 1.0), "'x': bounds must be finite and low < high, got 1.0 and 1.0"),
        (lambda: Real("x", 0.0, float("inf")), "finite"),
        (lambda: Real("x", 0.0, 1.0, log=True), "'x': a logarithmic scale needs low > 0, got 0.0"),
        (lambda: Integer("n", 0.5, 3), "'n': low must be a whole number, got 0.5"),
        (lambda: Integer("n", float("nan"), 3), "'n': bounds must be finite"),
        (lambda: Choice("c", (1, float("inf"))), "increasing numbers, got (1, inf)"),
        (lambda: Choice("c", (4,)), "two or more increasing numbers"),
        (lambda: Choice("c", (4, 2)), "increasing"),
        (lambda: Enumerated("e", ()), "'e': there must be at least one value"),
        (lambda: Enumerated("e", ([1], [2])), "'e': values need a hash"),
        (lambda: Constraint("area", float), "'area' needs upper, lower or both"),
        (lambda: Constraint("area", float, upper=1.0, lower=2.0), "lower ≤ upper"),
        (lambda: Constraint("area", float, upper=float("nan")), "upper=nan"),
        (lambda: Constraint("area", float, upper=float("inf")), "finite numbers with lower ≤ upper"),
    ],
)
def test_bad_parameters_say_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
