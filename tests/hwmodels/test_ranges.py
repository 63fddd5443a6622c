"""Refused by name: what is no number in its range, past the types that these tests check and users do not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hwmodels.checks import at_edge
from hwmodels.ranges import (
    LARGEST,
    Range,
    guard,
    interval,
    require,
    require_integer,
    require_ranges,
    require_word,
)


@pytest.mark.parametrize("value", [1, 16, np.int64(5), np.uint8(7)])
def test_integers_of_python_and_numpy(value):
    require_integer("bits", value, 1, 16)
    require_integer("bits", value, 1)


@pytest.mark.parametrize("value", [2.5, 0, 17, True, "8", None, np.float64(3), np.ones(2)])
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError, match=r"bits must be an integer from 1 to 16; got"):
        require_integer("bits", value, 1, 16)


def test_none_where_it_means_something():
    require_integer("bits", None, 1, 16, or_none="a free level")
    with pytest.raises(ValueError, match=r"an integer of at least 1, or None for a free level; got '8'"):
        require_integer("bits", "8", 1, or_none="a free level")


@pytest.mark.parametrize(("value", "shown"), [("5", "'5'"), (None, "None"), (-1.0, "-1.0"), (np.nan, "nan")])
def test_a_number_that_is_none(value, shown):
    with pytest.raises(ValueError, match=f"row must be zero or more, got {shown}"):
        require(lambda row: row >= 0, "row must be zero or more, got {}.", value)


@pytest.mark.parametrize("value", ["32k", b"3", None, float("nan"), (1, 5), -1, 4, object(), np.ones(2) * 1j])
def test_what_is_no_number_in_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^at most three, got .*\.$"):
        require_ranges(Range("at most three.", value, 0, 3))


@pytest.mark.parametrize(
    "value", [2, True, np.float32(2), jnp.int32(2), jnp.bfloat16(2), np.array([0.0, 3.0])]
)
def test_numbers_of_all_kinds_in_range_are_taken(value):
    require_ranges(Range("at most three.", value, 0, 3))


def test_one_number_where_many_mean_nothing():
    require_ranges(Range("one of at most three.", np.array(1.0), 0, 3, one=True))
    with pytest.raises(ValueError, match=r"one of at most three, got \[1\. 1\.\]"):
        require_ranges(Range("one of at most three.", np.ones(2), 0, 3, one=True))


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (interval("layer 'a{b}{}'", 2, 0, 1), "layer 'a{b}{}' must lie in [0, 1], got 2."),
        (Range("at least one.", np.inf, 1, LARGEST), "at least one, got inf; it must be finite."),
        (Range("at least one.", -np.inf, 1, LARGEST), "at least one, got -inf."),
        (Range("finite, of at least one.", np.inf, 1, LARGEST), "finite, of at least one, got inf."),
        (Range("8 bits.", 9, 8, 8, known="it has {} bits, not 8."), "it has 9 bits, not 8."),
    ],
)
def test_a_known_value_is_shown(limit, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        require_ranges(limit)


@pytest.mark.parametrize("value", [-1.0, 2.0, jnp.nan])
def test_traced_ranges(value):
    def limited(rate):
        limits = [Range("a rate is 0 to 1", rate, 0, 1)]
        require_ranges(*limits)
        return guard({"rate": rate}, limits)["rate"]

    assert at_edge(limited)(jnp.float32(0.5)) == 0.5
    with pytest.raises(ValueError, match=r"^a rate is 0 to 1$"):
        at_edge(limited)(jnp.float32(value))
    with pytest.raises(Exception, match="a rate is 0 to 1"):
        jax.block_until_ready(jax.jit(limited)(jnp.float32(value)))


def test_words():
    require_word("bias", "row", ("digital", "row"))
    with pytest.raises(ValueError, match="bias must be one of 'digital', 'row', got 'column'"):
        require_word("bias", "column", ("digital", "row"))
