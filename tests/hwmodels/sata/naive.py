"""A slow cycle simulator, word by word: what the closed forms and the vectorised replays must equal.

Written from the description of the authors' simulator, with nothing shared with the package: demand lists per
fold and cycle, a read buffer as a Python set, and a write buffer that knows what time it is.
"""

from dataclasses import dataclass
from math import ceil


@dataclass
class Shape:
    height: int
    width: int
    kernel_height: int
    kernel_width: int
    channels: int
    filters: int
    stride_height: int
    stride_width: int


def demands(shape: Shape, rows: int, columns: int, dataflow: str):
    """Lists of (cycle, address) of ifmap and filter, and of (cycle, address) of the ofmap; null is None."""
    s = shape
    out_height = ceil((s.height - s.kernel_height + s.stride_height) / s.stride_height)
    out_width = ceil((s.width - s.kernel_width + s.stride_width) / s.stride_width)
    m, q, n = out_height * out_width, s.kernel_height * s.kernel_width * s.channels, s.filters

    def ifmap_word(pixel, tap):
        place, channel = divmod(tap, s.channels)
        row = pixel // out_width * s.stride_height + place // s.kernel_width
        column = pixel % out_width * s.stride_width + place % s.kernel_width
        inside = row < s.height and column < s.width
        return (row * s.width + column) * s.channels + channel if inside else None

    extents = {"os": (m, n, q), "ws": (q, n, m), "is": (q, m, n)}[dataflow]
    length = extents[2] + (rows if dataflow == "os" else 2 * rows) + columns - 2
    ifmap, weights, ofmap = [], [], []
    start = 0
    for first_column in range(0, extents[1], columns):
        lanes_right = range(min(columns, extents[1] - first_column))
        for first_row in range(0, extents[0], rows):
            lanes_down = range(min(rows, extents[0] - first_row))
            for cycle in range(length):
                now = start + cycle
                if dataflow == "os":
                    for lane in lanes_down:
                        if 0 <= cycle - lane < q:
                            ifmap.append((now, ifmap_word(first_row + lane, cycle - lane)))
                    for lane in lanes_right:
                        if 0 <= cycle - lane < q:
                            weights.append((now, (first_column + lane) * q + cycle - lane))
                    for lane in lanes_right:
                        row = rows - 1 - (cycle - (q - 1) - lane)
                        if 0 <= row < len(lanes_down):
                            ofmap.append((now, (first_row + row, first_column + lane)))
                    continue
                row = rows - 1 - cycle  # the stationary operand enters last row first
                if row in lanes_down:
                    for lane in lanes_right:
                        if dataflow == "ws":
                            weights.append((now, (first_column + lane) * q + first_row + row))
                        else:
                            ifmap.append((now, ifmap_word(first_column + lane, first_row + row)))
                for lane in lanes_down:
                    time = cycle - rows - lane
                    if 0 <= time < extents[2]:
                        if dataflow == "ws":
                            ifmap.append((now, ifmap_word(time, first_row + lane)))
                        else:
                            weights.append((now, time * q + first_row + lane))
                for lane in lanes_right:
                    time = cycle - (2 * rows - 1) - lane
                    if 0 <= time < extents[2]:
                        ofmap.append((now, (first_row, time, first_column + lane)))
            start += length
    return ifmap, weights, ofmap, start


def read_misses(addresses, capacity):
    """Flush-when-full: a set that is emptied the moment it holds `capacity` words."""
    held, misses = set(), 0
    for address in addresses:
        if address is None or address in held:
            continue
        misses += 1
        held.add(address)
        if len(held) == capacity:
            held = set()
    return misses


def written(cycles, columns, size):
    """The write buffer element by element, with the time at which each drain ends."""
    half = size - ceil(size / 2)
    group = ceil(half / columns)
    lines, line, free, start, end_cycle, total = [], 0, size, 0, 0, 0

    def drain(at):
        nonlocal start, total, free
        chunk = lines[start : start + group]
        charged = len(chunk) * columns - (columns - chunk[-1])
        start += len(chunk)
        total += charged
        free += charged
        return at + len(chunk) - 1

    for cycle in cycles:
        line += 1
        free -= 1
        if line == columns:
            lines.append(line)
            line = 0
        if cycle < end_cycle:
            assert free > 0, "the simulator would stall here"
        elif free < size - half:
            if line:
                lines.append(line)
                line = 0
            end_cycle = drain(cycle)
    if line:
        lines.append(line)
    while start < len(lines):
        drain(end_cycle)
    return total


def simulate(shape, rows, columns, buffers, dataflow):
    """All statistics of one run under "os", "ws" or "is"."""
    ifmap, weights, ofmap, cycles = demands(shape, rows, columns, dataflow)

    def span(stream, latency):
        at = [cycle for cycle, address in stream if address is not None]
        return min(at) + latency, max(at) - min(at)

    slip = 0
    if dataflow == "os":
        folds = cycles // (shape.kernel_height * shape.kernel_width * shape.channels + rows + columns - 2)
        slip = folds * (rows + columns)
    return {
        "sram_ifmap_reads": len(ifmap),
        "sram_filter_reads": len(weights),
        "sram_ofmap_writes": len(ofmap) + slip,
        "dram_ifmap_reads": read_misses([a for _, a in ifmap], 50 * (buffers[0] // 100)),
        "dram_filter_reads": read_misses([a for _, a in weights], 50 * (buffers[1] // 100)),
        "dram_ofmap_writes": written([cycle for cycle, _ in ofmap], columns, buffers[2]),
        "cycles": cycles - 1,
        "sram_ifmap_start_cycle": span(ifmap, 1)[0],
        "sram_ifmap_span_cycles": span(ifmap, 1)[1],
        "sram_filter_start_cycle": span(weights, 1)[0],
        "sram_filter_span_cycles": span(weights, 1)[1],
        "sram_ofmap_start_cycle": span(ofmap, 0)[0],
        "sram_ofmap_span_cycles": span(ofmap, 0)[1],
    }
