"""Off-chip words of a layer: reads of its map and its filters, and writes of its results."""

from collections import deque
from functools import lru_cache

from hwmodels.sata.flushes import flush_misses
from hwmodels.sata.geometry import Geometry
from hwmodels.sata.order import Order


def read_capacity(size_bytes: int) -> int:
    """Words that half of a read buffer holds: `50·⌊bytes/100⌋`, the simulator's own rounding."""
    return 50 * (size_bytes // 100)


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
    return flush_misses(Order(geometry, rows, columns, dataflow), passes, capacity)


def dram_counts(
    geometry: Geometry,
    rows: int,
    columns: int,
    buffers: tuple[int, int, int],
    dataflow: str,
) -> tuple[int, int, int]:
    """Exact DRAM words (ifmap reads, filter reads, ofmap writes) of one layer under "os", "ws" or "is"."""
    g = geometry
    row_extent = g.pixels if dataflow == "os" else g.taps
    column_extent = g.pixels if dataflow == "is" else g.filters
    row_folds, column_folds = -(-row_extent // rows), -(-column_extent // columns)

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
