"""Misses of the authors' read buffer, phase by phase, without writing down the addresses of a pass.

The read buffers of the authors' cycle simulator (a modified SCALE-Sim v2) forget everything at once: a word
hits when it was demanded since the last flush, and the moment the buffer holds its capacity in distinct words
it is emptied. How often a word is fetched therefore depends on the order of addresses, for which no closed
form is exact. A phase, from one flush to the next, is followed address by address, but each kind of phase
only once: those that begin alike in another place of the map are as long. A walk that begins a phase as it
began one before is periodic from there to the end of what is alike, and is cut short.
"""

import numpy as np

from hwmodels.sata.order import Order
from hwmodels.sata.repeats import Repeats

CHUNK = 2**20
"""Demands that are held at once."""


def _first_demands(addresses: np.ndarray) -> np.ndarray:
    """Where each word is demanded first, in order of time; nulls left out."""
    if not addresses.size:
        return addresses
    valid = addresses >= 0
    order = np.arange(addresses.size, dtype=np.int32)
    if not valid.all():
        order, addresses = order[valid], addresses[valid]
    least = addresses.min(initial=np.iinfo(addresses.dtype).max)
    spread = int(addresses.max(initial=least)) - int(least) + 1
    if spread > 8 * addresses.size:
        return order[np.sort(np.unique(addresses, return_index=True)[1])]
    place, count = addresses - least, np.arange(addresses.size, dtype=np.int32)
    table = np.empty(spread, np.int32)
    table[place[::-1]] = count[::-1]  # the last one written stays, which is the first
    return order[table[place] == count]


def phase(order: Order, start: int, end: int, capacity: int, guess: int) -> tuple[int | None, int]:
    """Length and misses of the phase that begins at `start`; no length if `end` comes before it is over."""
    held, at = np.empty(0, np.int64), start
    while at < end:
        stop = min(at + min(guess, CHUNK), end)
        addresses = order.addresses(at, stop)
        first = _first_demands(addresses)
        if held.size:
            first = first[~_among(addresses[first], held)]
        if held.size + first.size >= capacity:
            return at + int(first[capacity - held.size - 1]) + 1 - start, capacity
        held = np.sort(np.concatenate([held, addresses[first]]))
        at = stop
    return None, held.size


def long_phase(order: Order, start: int, end: int, capacity: int, guess: int) -> tuple[int | None, int]:
    """The same as [`phase`][] where a phase covers whole blocks of pixels, of which places are enough.

    A whole block demands all channels of the places under its windows, so that words are looked at only in
    the blocks where the phase begins and ends.
    """
    g = order.geometry
    start_of_pass = start // order.size * order.size
    stop = min((start - start_of_pass) // order.block * order.block + order.block, order.size) + start_of_pass
    if start != stop - order.block:
        addresses = order.addresses(start, stop)
        begun = addresses[_first_demands(addresses)]
    else:
        begun, stop = np.empty(0, np.int64), start
    if begun.size >= capacity:
        return phase(order, start, end, capacity, guess)
    begun = np.sort(begun)
    begun_places, begun_words = np.unique(begun // g.channels, return_counts=True)
    whole, count, at = np.empty(0, np.int64), begun.size, stop
    while at < end:
        pixel = at % order.size // order.times
        blocks = max(min(guess, g.channels * CHUNK) // order.block + 1, 1)
        beyond = min(pixel + blocks * order.width, g.pixels)
        places = order.places(pixel, beyond)
        per_pixel, places = places.shape[1], places.ravel()
        first = _first_demands(places)
        first = first[~_among(places[first], whole)]
        new = places[first]
        words = np.full(new.size, g.channels)
        known = _among(new, begun_places)
        words[known] -= begun_words[np.searchsorted(begun_places, new[known])]
        total = count + np.cumsum(words)
        if new.size and total[-1] >= capacity:
            block = first[np.searchsorted(total, capacity)] // (per_pixel * order.width)
            before = np.searchsorted(first, block * per_pixel * order.width)
            count = total[before - 1] if before else count
            whole = np.sort(np.concatenate([whole, new[:before]]))
            at += int(block) * order.block
            addresses = order.addresses(at, at + min(order.block, order.size - at % order.size))
            first = _first_demands(addresses)
            words = addresses[first]
            first = first[~_among(words, begun) & ~_among(words // g.channels, whole)]
            return at + int(first[capacity - count - 1]) + 1 - start, capacity
        count = int(total[-1]) if new.size else count
        whole = np.sort(np.concatenate([whole, new]))
        at += (beyond - pixel) * order.times
    return None, count


def _among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which values are among sorted ones."""
    if not known.size:
        return np.zeros(values.size, bool)
    return known[np.minimum(np.searchsorted(known, values), known.size - 1)] == values


class _Walk:
    """A position, how many phases ended before it, and what is known of phases."""

    def __init__(self, order: Order, passes: int, capacity: int):
        self.order, self.capacity, self.total = order, capacity, order.size * passes
        self.repeats = Repeats(order) if Repeats.serves(order, passes, capacity) else None
        self.here = self.phases = 0
        self.guess = 2 * capacity
        self.lengths: dict[tuple, int] = {}
        self.begun: dict[tuple, tuple[int, int]] = {}
        self.passes: dict[int, tuple[int, int]] = {}

    def _skip(self, then: int, phases_then: int, repeats: int) -> None:
        self.here, self.phases = (
            self.here + repeats * (self.here - then),
            self.phases + repeats * (self.phases - phases_then),
        )

    def by_pass(self) -> None:
        """Called at the first phase of a pass: skips passes that begin like one before."""
        start = self.here % self.order.size
        self.begun.clear()
        if start in self.passes:
            then, phases_then = self.passes[start]
            self._skip(then, phases_then, (self.total - self.here) // (self.here - then))
            self.passes.clear()
        self.passes[start] = (self.here, self.phases)

    def by_distinct(self) -> bool:
        """Skips phases in which every demand is a miss."""
        order, start = self.order, self.here % self.order.size
        end = order.distinct_until(start)
        before = order.valid_before(start)
        repeats = (order.valid_before(end) - before) // self.capacity
        if repeats < 1:
            return False
        low, high, wanted = start, end, before + repeats * self.capacity
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if order.valid_before(middle) < wanted else (low, middle)
        self.here, self.phases = self.here + high - start, self.phases + repeats
        self.begun.clear()
        return True

    def by_row(self) -> None:
        """Skips periods of a walk down the rows of the map."""
        order, start = self.order, self.here % self.order.size
        begin = order.stretch(start)
        if begin is None:
            self.begun.clear()
            return
        key = (*begin.within, begin.first % order.geometry.out_width)
        if key in self.begun:
            then, phases_then = self.begun[key]
            pixels = (self.here - then) // order.per_pixel(start)
            reach = order.reach(start - (self.here - then), start)
            repeats = (order.last_alike - reach) // pixels
            if repeats > 0:
                self._skip(then, phases_then, repeats)
                self.begun.clear()
        self.begun[key] = (self.here, self.phases)

    def length(self) -> int | None:
        """How long the phase is that begins here; None if the demands end before it does."""
        order, start = self.order, self.here % self.order.size
        begin = order.stretch(start)
        if (known := self.lengths.get(("pass", start))) is not None:
            self.begun.clear()
            return known
        keys: list[tuple] = []
        if begin is not None:
            keys = [("row", *begin.within, begin.first % order.geometry.out_width), ("along", *begin.within)]
            for key, along in zip(keys, (False, True), strict=True):
                known = self.lengths.get(key)
                if known is not None and order.alike(begin, order.reach(start, start + known))[along]:
                    return known
        length = None
        if self.repeats is not None:
            length = self.repeats.length(self.here, self.capacity, self.guess)
        follow = long_phase if order.dataflow != "ws" and self.guess > 2 * order.block else phase
        if length is None:
            length, _ = follow(order, self.here, self.total, self.capacity, self.guess)
        if length is None:
            return None
        self.guess = length + length // 8 + 1
        alike = (False, False)
        if begin is not None:
            alike = order.alike(begin, order.reach(start, start + length))
        if not alike[0]:
            self.begun.clear()
        self.lengths[keys[alike[1]] if alike[0] else ("pass", start)] = length
        return length


def flush_misses(order: Order, passes: int, capacity: int) -> int:
    """Misses of a flush-when-full buffer of `capacity` words on a pass of demands repeated `passes` times.

    Exact. Memory is that of a phase's words and of [`CHUNK`][hwmodels.sata.flushes.CHUNK] demands, however
    long the pass is; time is that of the phases that differ.
    """
    if order.all_differ_for >= capacity:
        g = order.geometry
        return g.valid(0) * g.valid(1) * g.channels * passes
    walk, last_pass = _Walk(order, passes, capacity), -1
    while walk.here < walk.total:
        if walk.here // order.size != last_pass:
            walk.by_pass()
            last_pass = walk.here // order.size
            if walk.here == walk.total:
                break
        if walk.by_distinct():
            continue
        walk.by_row()
        length = walk.length()
        if length is None or walk.here + length > walk.total:
            break
        walk.here, walk.phases = walk.here + length, walk.phases + 1
    left = 0
    if walk.here < walk.total:
        follow = phase if order.dataflow == "ws" else long_phase
        left = follow(order, walk.here, walk.total, capacity, walk.guess)[1]
    return walk.phases * capacity + left
