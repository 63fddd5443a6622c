"""Options are counts, positive and one of some words, or are refused by name."""

import json

import jax
import numpy as np
import pytest

from jaxsnn.checks import (
    is_count,
    is_fraction,
    is_number,
    is_positive,
    require_choice,
    require_count,
    require_flag,
    require_key,
)
from jaxsnn.learning.config import TrainConfig


@pytest.mark.parametrize("value", [1, 16, np.int64(5), np.uint8(7)])
def test_counts_of_python_and_numpy(value):
    assert is_count(value)
    require_count("rounds", value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "rounds must be at least 1, got 0"),
        (2.5, "rounds must be a whole number, got 2.5"),
        (True, "rounds must be a whole number, got True"),
        ("3", "rounds must be a whole number, got '3'"),
        (None, "rounds must be a whole number, got None"),
    ],
)
def test_anything_else_is_no_count(value, message):
    assert not is_count(value)
    with pytest.raises(ValueError, match=message):
        require_count("rounds", value)


def test_positive_numbers():
    assert [is_positive(x) for x in (1e-9, 0, -1.0, float("nan"), float("inf"))] == [True, *[False] * 4]


@pytest.mark.parametrize(
    "value", ["1", None, [1.0], np.ones(1), np.str_("1"), 1j, object(), np.bool_(1), 10**400]
)
def test_what_is_no_number_is_neither_positive_nor_a_fraction(as_users_run, value):
    assert not is_number(value)
    assert not is_positive(value)
    assert not is_fraction(value)


def test_numbers_of_numpy_and_jax():
    for value in (1, 0.5, np.float32(0.5), np.int64(1), np.array(0.5), jax.numpy.float32(0.5)):
        assert is_number(value)
        assert is_positive(value)
    assert [is_fraction(x) for x in (0, 0.5, np.float32(0.5), 1, -0.1, float("nan"))] == 3 * [True] + 3 * [
        False
    ]


def test_flags_are_true_or_false():
    require_flag("flip", np.bool_(True))
    with pytest.raises(ValueError, match="flip must be True or False, got 0"):
        require_flag("flip", 0)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (("mean", "sum"), "kind must be 'mean' or 'sum', got 'least'"),
        (("mean", "sum", "max"), "kind must be 'mean', 'sum' or 'max', got 'least'"),
    ],
)
def test_one_of_some_words(choices, message):
    require_choice("kind", "sum", choices)
    with pytest.raises(ValueError, match=message):
        require_choice("kind", "least", choices)


def test_keys_of_jax_of_both_kinds():
    require_key(jax.random.key(0))
    require_key(jax.random.PRNGKey(0))
    for seed in (0, None, np.uint32(0), np.zeros(2, int)):
        with pytest.raises(ValueError, match=r"key must be a key of JAX, such as jax\.random\.key\(0\)"):
            require_key(seed)


def test_numpy_counts_are_told_apart_as_pythons_are(as_users_run):
    given = TrainConfig(
        epochs=np.int64(3),
        chunk=np.int32(2),
        drop=np.float32(0.5),
        decay_at=[np.float32(0.5)],
        flip=np.bool_(1),
    )
    assert hash(given) is not None
    plain = TrainConfig(epochs=3, chunk=2, drop=0.5, decay_at=(0.5,), flip=True)
    assert json.dumps(given.facts()) == json.dumps(plain.facts())
