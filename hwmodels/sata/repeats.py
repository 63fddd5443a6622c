"""How long ago each word of a block was demanded, so that a phase is found by one comparison."""

import math

import numpy as np

from hwmodels.sata.order import Order, Stretch

_MOST_WORDS = 2**18
"""Of a block whose distances are kept."""
_MOST_KEPT = 2**22
_USES = 8
"""Blocks of a kind for which it pays to compare all their addresses."""


class Repeats:
    """Distances of the demands of "is" to those of the same words before, kept once for each kind of block.

    Blocks in the middle of a row are alike, together with their predecessors, and so are others that begin at
    the same column, but in the rows at the edges; see [`Order`][hwmodels.sata.order.Order].
    """

    def __init__(self, order: Order):
        self.order = order
        self.known: dict[tuple[str, int], np.ndarray] = {}
        self.places = np.arange(0, dtype=np.int32)
        kinds = order.geometry.out_width // math.gcd(order.geometry.out_width, order.width)
        self.all_kinds = kinds * order.block <= _MOST_KEPT and order.lanes // order.width >= _USES * kinds

    @staticmethod
    def serves(order: Order, passes: int, capacity: int) -> bool:
        """Whether a phase may be shorter than a block, and a block is small enough to be kept."""
        return order.dataflow == "is" and passes == 1 and capacity <= order.block <= _MOST_WORDS

    def length(self, start: int, capacity: int, guess: int) -> int | None:
        """Length of the phase that begins at `start`; None where it is longer than a block, or the pass, or
        meets a block of a kind that is not kept."""
        order = self.order
        most = min(order.block, order.size - start)
        for size in dict.fromkeys((min(guess, most), most)):
            parts, at = [], start
            while at < start + size:
                block, offset = divmod(at, order.block)
                distances = self._distances(block)
                if distances is None:
                    return None
                parts.append(distances[offset : offset + start + size - at])
                at += len(parts[-1])
            distances = parts[0] if len(parts) == 1 else np.concatenate(parts)
            if len(self.places) < size:
                self.places = np.arange(size, dtype=np.int32)
            # New are words that were last demanded before the phase.
            new = np.flatnonzero(distances > self.places[:size])
            if len(new) >= capacity:
                return int(new[capacity - 1]) + 1
        return None

    def _distances(self, block: int) -> np.ndarray | None:
        """To the last demand of the same word in this or the previous block; 0 for a null."""
        order, g = self.order, self.order.geometry
        first = (block - 1) * order.width
        rows, along = False, False
        if block > 0 and first + 2 * order.width <= order.lanes:
            rows, along = order.alike(Stretch(first, (0, 0)), first + 2 * order.width)
        key = ("block", block)
        if rows:
            key = ("row", -1) if along else ("column", (first + order.width) % g.out_width)
        if key not in self.known and not (along or self.all_kinds):
            return None
        if key not in self.known:
            begin = max(block - 1, 0) * order.block
            addresses = order.addresses(begin, min((block + 1) * order.block, order.size))
            by_word = np.argsort(addresses, kind="stable")
            same = addresses[by_word[1:]] == addresses[by_word[:-1]]
            distances = np.full(addresses.size, np.iinfo(np.int32).max, np.int32)
            later = by_word[1:][same]
            distances[later] = later - by_word[:-1][same]
            distances[addresses < 0] = 0
            self.known[key] = distances[block * order.block - begin :]
        return self.known[key]
