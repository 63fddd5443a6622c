"""Small spaces, which are gone through instead of descended in."""

from collections.abc import Sequence
from itertools import product

from hwmodels.search.ledger import Ledger
from hwmodels.search.parameters import Choice, Integer, Number, Parameter

# More designs than these take longer than a descent.
_MOST = 1024


def values_of(parameters: Sequence[Parameter], most: int) -> list[Sequence[Number]] | None:
    """The legal values of each parameter; None for reals, and for more than `most` designs or a thousand."""
    found: list[Sequence[Number]] = []
    designs = 1
    for parameter in parameters:
        if isinstance(parameter, Choice):
            found.append(parameter.values)
        elif isinstance(parameter, Integer):
            found.append(range(int(parameter.low), int(parameter.high) + 1))
        else:
            return None
        designs *= len(found[-1])
        if designs > min(most, _MOST):
            return None
    return found


def enumerate_designs(ledger: Ledger, values: Sequence[Sequence[Number]]) -> None:
    """Measures every design of a small space once: whatever its neighbours are, the best is met."""
    ledger.evaluate(product(*values))
