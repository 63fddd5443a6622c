"""What users put where a number belongs."""

import numpy as np
from hypothesis import strategies as st

STRANGE = (
    True,
    None,
    "3",
    "",
    2.0,
    8.5,
    -1,
    0,
    10**12,
    float("nan"),
    float("inf"),
    -float("inf"),
    np.int64(3),
    np.int32(-2),
    np.uint8(2),
    np.float32(2.5),
    np.float64(1.0),
    np.bool_(True),
    np.array(3),
    np.array([3, 1]),
    [2, 1],
    (1, 2, 3),
    (),
    {},
    1j,
)


def mostly(usual: st.SearchStrategy) -> st.SearchStrategy:
    """The usual seven times out of eight, else anything."""
    return st.integers(0, 7).flatmap(lambda lot: usual if lot else st.sampled_from(STRANGE))


def whole(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def pair(value):
    """Two whole numbers, or None."""
    if whole(value):
        return int(value), int(value)
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1 and len(value) == 2:
        return (int(value[0]), int(value[1])) if all(map(whole, value)) else None
    return None


def number(value) -> bool:
    """A real number, NumPy's and 0-d arrays included."""
    if isinstance(value, int | float | np.integer | np.floating):
        return True
    return isinstance(value, np.ndarray) and value.ndim == 0


FLOATS = st.one_of(
    st.floats(-2, 2, width=32),
    st.sampled_from([0.0, -0.0, 1e-40, 1e-30, 1e30, 3e38, 1.0]),
)
VALUES = st.one_of(FLOATS, st.sampled_from([float("nan"), float("inf"), -float("inf")]))
