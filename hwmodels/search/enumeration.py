"""Small spaces, which are gone through instead of descended in."""

from collections.abc import Iterator, Sequence
from itertools import product

from hwmodels.search.parameters import Choice, Integer, Number, Parameter

# More designs than these take longer than a descent.
_MOST = 1024


def all_designs(parameters: Sequence[Parameter], most: int) -> Iterator[tuple[Number, ...]] | None:
    """Every design of a space; None for reals, and for more than `most` designs or a thousand."""
    values: list[Sequence[Number]] = []
    designs = 1
    for parameter in parameters:
        if isinstance(parameter, Choice):
            values.append(parameter.values)
        elif isinstance(parameter, Integer):
            values.append(range(int(parameter.low), int(parameter.high) + 1))
        else:
            return None
        designs *= len(values[-1])
        if designs > min(most, _MOST):
            return None
    return product(*values)
