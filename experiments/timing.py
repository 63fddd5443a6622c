"""Times that are to be compared: taken in turns, so that a machine that slows down slows all of them."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import jax


def in_turns(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each function, called one after the other; the first round compiles.

    The process must have no other work.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in range(repeats + 1):
        for name, function in functions.items():
            began = time.perf_counter()
            jax.block_until_ready(function())
            if round_:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(found) for name, found in seconds.items()}


def seconds_of(function: Callable[[], Any], repeats: int) -> float:
    """Median seconds of one function."""
    return in_turns({"": function}, repeats)[""]
