"""Off-chip words, counted by following the order in which a dataflow demands addresses.

The read buffers of the authors' cycle simulator (a modified SCALE-Sim v2) forget everything at once: a word
hits when it was demanded since the last flush, and the moment the buffer holds its capacity in distinct words
it is emptied. How often a word is fetched therefore depends on the order of addresses, for which no closed
form is exact. This module replays the order on the host, vectorised, for plain integers.
"""

from collections import deque
from functools import lru_cache
from typing import NamedTuple

import numpy as np


class Geometry(NamedTuple):
    """The integers that fix a layer's address stream: map, kernel, stride, padding and channels."""

    height: int
    width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    pad_height: int
    pad_width: int
    channels: int
    filters: int

    @property
    def pixels(self) -> int:
        return self.out_height * self.out_width

    @property
    def taps(self) -> int:
        return self.kernel_height * self.kernel_width * self.channels

    def _along(self, axis: int) -> tuple[int, int, int, int, int]:
        """Size of the map, of the output and of the kernel, stride and padding along an axis."""
        return self[axis], self[2 + axis], self[4 + axis], self[6 + axis], self[8 + axis]

    def covered(self, axis: int) -> int:
        """Rows (axis 0) or columns (axis 1) of the map that some window touches."""
        size, out, kernel, stride, pad = self._along(axis)
        if stride <= kernel:
            return max(0, min(size, (out - 1) * stride - pad + kernel))
        starts = np.arange(out)[:, None] * stride - pad + np.arange(kernel)
        return int(np.count_nonzero((starts >= 0) & (starts < size)))

    def valid(self, axis: int) -> int:
        """Pairs of an output row (column) and a kernel row (column) that fall on the map."""
        size, out, kernel, stride, pad = self._along(axis)
        first = np.arange(out) * stride - pad
        return int(np.maximum(np.minimum(first + kernel, size) - np.maximum(first, 0), 0).sum())

    @property
    def distinct_inputs(self) -> int:
        """Words of the input map that are demanded at least once."""
        return self.covered(0) * self.covered(1) * self.channels

    @property
    def fits(self) -> bool:
        """Whether every window lies on the map, so that no address is null."""
        along = (self._along(axis) for axis in (0, 1))
        return all(
            pad == 0 and (out - 1) * stride + kernel <= size for size, out, kernel, stride, pad in along
        )


def read_capacity(size_bytes: int) -> int:
    """Words that half of a read buffer holds: `50·⌊bytes/100⌋`, the simulator's own rounding."""
    return 50 * (size_bytes // 100)


def _addresses(geometry: Geometry, pixel: np.ndarray, tap: np.ndarray) -> np.ndarray:
    """Map addresses (row, column, channel; channel innermost) of pairs of pixel and tap, nulls left out."""
    g = geometry
    pixels, taps = np.arange(g.pixels, dtype=np.int32), np.arange(g.taps, dtype=np.int32)
    row = pixels // g.out_width * g.stride_height - g.pad_height
    column = pixels % g.out_width * g.stride_width - g.pad_width
    down, rest = np.divmod(taps, g.kernel_width * g.channels)
    right = rest // g.channels
    base = (row * g.width + column) * g.channels
    offset = (down * g.width + right) * g.channels + rest % g.channels
    address = (base[pixel] + offset[tap]).ravel()
    if g.fits:
        return address
    at_row, at_column = row[pixel] + down[tap], column[pixel] + right[tap]
    valid = (at_row >= 0) & (at_row < g.height) & (at_column >= 0) & (at_column < g.width)
    return address[valid.ravel()]


def _skewed(lanes: int, times: int, per_fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Lane and time of every demand of one pass: fold by fold, then by cycle = time + lane, then by lane."""
    lane_parts, time_parts = [], []
    full, rest = divmod(lanes, per_fold)
    for folds, width, start in ((full, per_fold, 0), (1 if rest else 0, rest, full * per_fold)):
        if folds == 0:
            continue
        time = np.arange(times + width - 1, dtype=np.int32)[:, None] - np.arange(width, dtype=np.int32)
        cycle, lane = np.nonzero((time >= 0) & (time < times))
        first = start + per_fold * np.arange(folds, dtype=np.int32)[:, None]
        lane_parts.append((first + lane.astype(np.int32)).ravel())
        time_parts.append(np.tile((cycle - lane).astype(np.int32), folds))
    return np.concatenate(lane_parts), np.concatenate(time_parts)


def input_order(geometry: Geometry, rows: int, columns: int, dataflow: str) -> np.ndarray:
    """Addresses of the input map in the order of one pass of `dataflow` ("os", "ws" or "is")."""
    g = geometry
    if dataflow == "os":
        pixel, tap = _skewed(g.pixels, g.taps, rows)
        return _addresses(g, pixel, tap)
    if dataflow == "ws":
        tap, pixel = _skewed(g.taps, g.pixels, rows)
        return _addresses(g, pixel, tap)
    # Input-stationary: each fold is filled from its last tap to its first, all pixels of the fold at once.
    tap = np.concatenate([np.arange(min(s + rows, g.taps) - 1, s - 1, -1) for s in range(0, g.taps, rows)])
    blocks = []
    full = g.pixels // columns * columns
    if full:
        blocks.append((np.arange(full, dtype=np.int32).reshape(-1, 1, columns), tap[:, None]))
    if full < g.pixels:
        blocks.append((np.arange(full, g.pixels, dtype=np.int32)[None, None], tap[:, None]))
    return np.concatenate([_addresses(g, *np.broadcast_arrays(p, t)) for p, t in blocks])


def flush_misses(order: np.ndarray, passes: int, capacity: int) -> int:
    """Misses of a flush-when-full buffer on a pass of addresses repeated `passes` times.

    A demand is new in the phase that began at position s when its previous occurrence lies before s, so the
    phase ends at the `capacity`-th such demand. Previous occurrences come from one sort; phases that begin at
    the same place of the pass are alike, so that the walk is cut short as soon as it repeats itself.
    """
    n = order.size
    bits = max(int(n - 1).bit_length(), 1)
    keys = np.sort((order.astype(np.int64) << bits) | np.arange(n))
    position = (keys & ((1 << bits) - 1)).astype(np.int32 if n < 2**30 else np.int64)
    first = np.flatnonzero(np.diff(keys >> bits, prepend=-1))
    if first.size < capacity:
        return first.size
    before = np.empty_like(position)
    before[1:] = position[:-1]
    before[first] = np.append(position[first[1:] - 1], position[-1]) - n  # its last occurrence, a pass ago
    previous = np.empty(2 * n, dtype=position.dtype)
    previous[position] = before
    previous[n:] = previous[:n] + position.dtype.type(n)

    lengths: dict[int, int] = {}
    seen: dict[int, tuple[int, int]] = {}
    total, here, phases, guess = n * passes, 0, 0, 2 * capacity
    while True:
        start = here % n
        if start in seen:  # periodic from here on: skip whole periods
            then, phases_then = seen[start]
            period = here - then
            repeats = (total - here) // period
            here, phases, seen = here + repeats * period, phases + repeats * (phases - phases_then), {}
        elif lengths.get(start) is None:
            seen[start] = (here, phases)
            while True:
                new = np.flatnonzero(previous[start : start + guess] < start)
                if new.size >= capacity:
                    break
                guess *= 2
            lengths[start] = int(new[capacity - 1]) + 1
            guess = lengths[start] + lengths[start] // 4 + 1
        if here + lengths[start] > total:
            break
        here += lengths[start]
        phases += 1
    tail = previous[here % n : here % n + total - here] < here % n
    return phases * capacity + int(np.count_nonzero(tail))


def cyclic_misses(blocks: list[tuple[int, int]], capacity: int) -> int:
    """Misses when blocks of distinct words are each demanded in a cycle: `blocks` holds (words, repeats).

    No word of a block returns after its block, so a block either fits into what is left of the buffer (one
    miss for each word) or turns it over, and then the phases inside it are arithmetic.
    """
    misses = held = 0
    for words, repeats in blocks:
        if words < capacity - held:
            misses, held = misses + words, held + words
            continue
        left = words * repeats - (capacity - held)
        misses += capacity - held
        if words < capacity:  # the new phase sees each word once and then only hits
            held = min(words, left)
            misses += held
        else:
            misses, held = misses + left, left % capacity
    return misses


@lru_cache(maxsize=65536)
def drained_words(words: int, columns: int, size_bytes: int) -> int:
    """Words written to DRAM when `words` results pass through the write buffer.

    Results gather in lines of `columns` words. Each time more than half the buffer D is taken, the open line
    is closed (padded) and the oldest ⌈D/columns⌉ lines leave; a group is charged whole lines less the padding
    of its last line, and as much space is credited. The rest leaves in the same groups at the end. Between
    two drains at least one drain's worth of words has to arrive, and at most `columns` arrive in a cycle, so
    a drain has always ended before the next: the count does not depend on when words arrive.
    """
    half = size_bytes - (size_bytes + 1) // 2
    group = -(-half // columns)
    padding: deque[tuple[int, int]] = deque()  # closed lines with padding: (line, words of padding)
    lines = open_words = start = written = arrived = 0
    free = size_bytes

    def drain() -> int:
        nonlocal start
        end = min(start + group, lines)
        charged = (end - start) * columns
        while padding and padding[0][0] < end:
            line, pad = padding.popleft()
            charged -= pad if line == end - 1 else 0
        start = end
        return charged

    def close() -> None:
        nonlocal lines, open_words
        if open_words:
            padding.append((lines, columns - open_words))
            lines, open_words = lines + 1, 0

    while True:
        step = max(free - (size_bytes - half) + 1, 1)
        if step > words - arrived:
            break
        arrived += step
        full, open_words = divmod(open_words + step, columns)
        lines += full
        close()
        charged = drain()
        written += charged
        free += charged - step
    full, open_words = divmod(open_words + words - arrived, columns)
    lines += full
    close()
    while start < lines:
        written += drain()
    return written


@lru_cache(maxsize=65536)
def _input_reads(geometry: Geometry, rows: int, columns: int, size_bytes: int, dataflow: str) -> int:
    """Reads of the input map; kept apart from the other buffers, which a search varies far more cheaply."""
    capacity = read_capacity(size_bytes)
    if geometry.distinct_inputs < capacity:
        return geometry.distinct_inputs
    passes = 1 if dataflow == "is" else -(-geometry.filters // columns)
    return flush_misses(input_order(geometry, rows, columns, dataflow), passes, capacity)


REPLAYED = 2**25
"""Demands of the input map in one pass whose order is replayed: more would take gigabytes and minutes."""


def is_replayed(geometry: Geometry, size_bytes: int) -> bool:
    """Whether reads of the input map are counted exactly: few enough to replay, or all held at once."""
    held = geometry.distinct_inputs < read_capacity(size_bytes)
    return held or geometry.pixels * geometry.taps <= REPLAYED


def dram_counts(
    geometry: Geometry,
    rows: int,
    columns: int,
    buffers: tuple[int, int, int],
    dataflow: str,
    input_reads: int | None = None,
) -> tuple[int, int, int]:
    """Exact DRAM words (ifmap reads, filter reads, ofmap writes) of one layer under "os", "ws" or "is".

    `input_reads`, if given, stands for the first of them, which is the only one that is replayed.
    """
    g = geometry
    row_extent = g.pixels if dataflow == "os" else g.taps
    column_extent = g.pixels if dataflow == "is" else g.filters
    row_folds, column_folds = -(-row_extent // rows), -(-column_extent // columns)

    ifmap = input_reads
    if ifmap is None:
        ifmap = _input_reads(g, rows, columns, buffers[0], dataflow)
    capacity = read_capacity(buffers[1])
    if dataflow == "os":
        full, rest = divmod(g.filters, columns)
        blocks = [(columns * g.taps, row_folds)] * full + ([(rest * g.taps, row_folds)] if rest else [])
        weights = cyclic_misses(blocks, capacity)
    elif dataflow == "ws":
        weights = g.taps * g.filters
    else:
        weights = cyclic_misses([(g.taps * g.filters, column_folds)], capacity)

    results = g.pixels * g.filters * (1 if dataflow == "os" else row_folds)
    return ifmap, weights, drained_words(results, columns, buffers[2])
