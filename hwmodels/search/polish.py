"""From the designs that descent found to ones that no move nearby improves."""

from collections.abc import Sequence
from itertools import combinations, product

from hwmodels.search.ledger import Ledger, Numbers


def polish(ledger: Ledger, designs: Sequence[Numbers]) -> None:
    """Walks each design to better neighbours until there are none, or the ledger's limit is reached.

    A round changes one parameter at a time, at all distances, and then all that helped at once. Where
    nothing helped, the next round changes pairs of parameters by their nearest steps. Walks that meet go on
    as one.
    """
    singly = dict.fromkeys(designs)
    in_pairs: dict[Numbers, None] = {}
    while (singly or in_pairs) and ledger.left > 0:
        lines = {here: _lines(ledger, here) for here in singly}
        pairs = {here: _pairs(ledger, here) for here in in_pairs}
        ledger.evaluate(move for found in lines.values() for line in found for move in line)
        ledger.evaluate(move for moves in pairs.values() for move in moves)
        together = {here: _together(ledger, here, found) for here, found in lines.items()}
        ledger.evaluate(together.values())

        next_singly: dict[Numbers, None] = {}
        next_pairs: dict[Numbers, None] = {}
        for here, found in lines.items():
            best = min((here, together[here], *(m for line in found for m in line)), key=ledger.rank)
            (next_pairs if best == here else next_singly)[best] = None
        for here, moves in pairs.items():
            best = min((here, *moves), key=ledger.rank)
            if best != here:
                next_singly[best] = None
        singly, in_pairs = next_singly, next_pairs


def _lines(ledger: Ledger, here: Numbers) -> list[list[Numbers]]:
    """For each parameter, the designs that differ in it alone."""
    return [
        [(*here[:i], value, *here[i + 1 :]) for value in parameter.neighbours(here[i])]
        for i, parameter in enumerate(ledger.problem.parameters)
    ]


def _pairs(ledger: Ledger, here: Numbers) -> list[Numbers]:
    """The designs that differ in two parameters by one of their nearest steps."""
    steps = [p.neighbours(value)[:2] for p, value in zip(ledger.problem.parameters, here, strict=True)]
    moves = []
    for i, j in combinations(range(len(here)), 2):
        for first, second in product(steps[i], steps[j]):
            moves.append((*here[:i], first, *here[i + 1 : j], second, *here[j + 1 :]))
    return moves


def _together(ledger: Ledger, here: Numbers, lines: Sequence[Sequence[Numbers]]) -> Numbers:
    """The design that takes from each line its best value."""
    best = [min((here, *line), key=ledger.rank) for line in lines]
    return tuple(design[index] for index, design in enumerate(best))
