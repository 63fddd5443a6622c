"""What is no number is refused by name, past the types that these tests check and users do not."""

import numpy as np
import pytest

from hwmodels.crossbar._checks import require, require_integer


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
