"""What tests share: reference data that we did not make, and finite differences."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REFERENCE = Path(__file__).parent / "data" / "reference"


def reference_json(name: str) -> Any:
    """The authors' published numbers, e.g. `reference_json("sata/published.json")`."""
    return json.loads((REFERENCE / name).read_text())


def finite_difference(function: Callable[[np.ndarray], Any], at: Any, step: float = 1e-6) -> np.ndarray:
    """Central differences of a scalar function at each element of `at`.

    The step is relative to the element, and absolute where the element is zero.
    """
    at = np.asarray(at, dtype=np.float64)
    gradient = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        delta = np.zeros_like(at)
        delta[index] = step * (abs(at[index]) or 1.0)
        gradient[index] = (float(function(at + delta)) - float(function(at - delta))) / (2 * delta[index])
    return gradient
