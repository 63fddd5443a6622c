"""Small spaces, which are gone through instead of descended in."""

from collections.abc import Sequence
from itertools import product

from hwmodels.search.ledger import Ledger, Numbers
from hwmodels.search.parameters import Choice, Integer, Number, Parameter

# More designs than these take longer than a descent.
_MOST = 1024
# Of a space that is gone through in full.
_FEW = 64


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
    """Measures a small space: all of a few dozen designs, of more those of one colour and what lies around.

    Coloured like a chessboard, a design has neighbours of the other colour alone. Those of one colour are
    measured, then all neighbours of the better half of them. The best design is met if any of its neighbours
    is in that half.
    """
    places = list(product(*(range(len(each)) for each in values)))

    def design(place: Sequence[int]) -> Numbers:
        return tuple(each[index] for each, index in zip(values, place, strict=True))

    if len(places) <= _FEW:
        ledger.evaluate(map(design, places))
        return
    of_one_colour = [place for place in places if sum(place) % 2 == 0]
    ledger.evaluate(map(design, of_one_colour))
    better = sorted(of_one_colour, key=lambda place: ledger.rank(design(place)))[: len(of_one_colour) // 2]
    # The last measurement, without tracing, is one more.
    around = [
        place
        for near in better
        for axis in range(len(values))
        for place in (_moved(near, axis, -1), _moved(near, axis, 1))
        if 0 <= place[axis] < len(values[axis])
    ]
    around = list(dict.fromkeys(around))[: len(places) - len(of_one_colour) - 2]
    ledger.evaluate(map(design, around))


def _moved(place: Sequence[int], axis: int, step: int) -> tuple[int, ...]:
    return (*place[:axis], place[axis] + step, *place[axis + 1 :])
