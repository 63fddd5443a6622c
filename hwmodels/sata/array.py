"""The systolic array and its buffers: how a layer folds onto it, in cycles and SRAM words.

Closed forms of the authors' cycle simulator (a modified SCALE-Sim v2 in its bandwidth-estimating mode): exact
on numbers, straight-through on traced array sizes.
"""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from hwmodels import rounding
from hwmodels.ranges import LARGEST, Range, require_ranges
from hwmodels.sata.dram import read_capacity
from hwmodels.sata.geometry import Geometry
from hwmodels.workload import Layer, Scalar


class Array(eqx.Module):
    """A systolic array of `rows` × `columns` processing elements (published: 16 × 8).

    **Arguments:**

    - `rows`: number of rows, at least 1. A leaf, rounded to a whole number wherever it is used.
    - `columns`: number of columns, at least 1.

    **Raises:** `ValueError` for fewer rows or columns than one.
    """

    rows: Scalar = 16
    columns: Scalar = 8

    def __check_init__(self):
        for name in ("rows", "columns"):
            message = f"an array needs at least one of its {name}."
            require_ranges(Range(message, getattr(self, name), 1, LARGEST))


class Buffers(eqx.Module):
    """Sizes of the three global buffers in bytes (published: 32 KiB, 144 KiB, 32 KiB).

    The simulator splits each in two halves, of which one serves hits.

    **Arguments:**

    - `ifmap`, `filter`: read buffers, at least 100 bytes (the simulator counts the words of a half in
      hundredths of the buffer). Leaves, rounded to whole bytes where words are counted.
    - `ofmap`: write buffer, at least 2 bytes.

    **Raises:** `ValueError` for a buffer below its minimum.
    """

    ifmap: Scalar = 32768
    filter: Scalar = 147456
    ofmap: Scalar = 32768

    def __check_init__(self):
        for name, least in (("ifmap", 100), ("filter", 100), ("ofmap", 2)):
            message = f"the {name} buffer needs at least {least} bytes to hold a word in each half."
            require_ranges(Range(message, getattr(self, name), least, LARGEST))


def simulator_geometry(layer: Layer) -> Geometry:
    """The map as the simulator sees it: no padding, and `out = ⌈(in − kernel + stride)/stride⌉`.

    Where the stride does not divide `in − kernel` the last windows hang over the edge; their words are null.

    **Raises:** `ValueError` that names the layer when the kernel is larger than the unpadded map.
    """
    size = (layer.height, layer.width)
    if layer.kernel[0] > size[0] or layer.kernel[1] > size[1]:
        raise ValueError(
            f"layer {layer.name!r}: kernel {layer.kernel} is larger than the unpadded map {size}, which is "
            "all the simulator sees; enlarge the map, or use the corrected conventions, which count padding."
        )
    out_height, out_width = (
        -(-(size[axis] - layer.kernel[axis] + layer.stride[axis]) // layer.stride[axis]) for axis in (0, 1)
    )
    return _geometry(layer, (out_height, out_width), (0, 0))


def padded_geometry(layer: Layer) -> Geometry:
    """The map as the network sees it: the layer's own padding and output size."""
    return _geometry(layer, (layer.out_height, layer.out_width), layer.padding)


def _geometry(layer: Layer, out: tuple[int, int], padding: tuple[int, int]) -> Geometry:
    return Geometry(
        layer.height,
        layer.width,
        out[0],
        out[1],
        layer.kernel[0],
        layer.kernel[1],
        layer.stride[0],
        layer.stride[1],
        padding[0],
        padding[1],
        layer.in_channels,
        layer.out_channels,
    )


class Schedule(NamedTuple):
    """Folds, cycles and SRAM words of one layer under one stationary dataflow (one timestep)."""

    ifmap_reads: Any
    filter_reads: Any
    ofmap_writes: Any
    ifmap_start: Any
    ifmap_stop: Any
    filter_start: Any
    filter_stop: Any
    ofmap_start: Any
    ofmap_stop: Any
    folds: Any
    cycles: Any
    mapping_efficiency: Any
    compute_utilisation: Any
    overall_utilisation: Any


def schedule(
    geometry: Geometry, rows: Any, columns: Any, dataflow: str, *, corrected: bool = False
) -> Schedule:
    """Folds a layer onto the array: `Fr = ⌈Sr/rows⌉` times `Fc = ⌈Sc/columns⌉` folds of L cycles.

    | dataflow | rows hold | columns hold | time | L |
    |---|---|---|---|---|
    | os | M pixels | N filters | Q taps | Q + rows + columns − 2 |
    | ws | Q taps | N filters | M pixels | 2·rows + columns + M − 2 |
    | is | Q taps | M pixels | N filters | 2·rows + columns + N − 2 |

    **Arguments:**

    - `geometry`: the layer's integers.
    - `rows`, `columns`: whole numbers, traced or not.
    - `dataflow`: what stays in the array.
    - `corrected`: leave out null words (padding, overhanging windows) and the `F·(rows + columns)` that the
      simulator adds to the ofmap writes of "os".

    **Returns:** a [`Schedule`][].
    """
    exact = rounding.is_number(rows, columns)
    number = int if exact else float
    m, q, n = number(geometry.pixels), number(geometry.taps), number(geometry.filters)
    sr, sc, time = {"os": (m, n, q), "ws": (q, n, m), "is": (q, m, n)}[dataflow]
    row_folds, column_folds = rounding.ceil_divide(sr, rows), rounding.ceil_divide(sc, columns)
    folds = row_folds * column_folds
    length = (rows if dataflow == "os" else 2 * rows) + columns + time - 2
    first_rows = rounding.minimum(rows, sr)
    last_rows, last_columns = sr - (row_folds - 1) * rows, sc - (column_folds - 1) * columns
    last = (folds - 1) * length

    window_words = number(geometry.valid(0) * geometry.valid(1) * geometry.channels) if corrected else m * q
    if dataflow == "os":
        reads = (window_words * column_folds, q * n * row_folds)
        writes = m * n + (0 if corrected else folds * (rows + columns))
        starts = (1, 1, time - 1 + rows - first_rows)
        filter_stop = last + time + last_columns - 1
        ofmap_stop = last + time + rows + last_columns - 3
    elif dataflow == "ws":
        reads, writes = (window_words * column_folds, q * n), m * n * row_folds
        starts = (rows + 1, rows - first_rows + 1, 2 * rows - 1)
        filter_stop = last + rows
        ofmap_stop = last + 2 * rows + time + last_columns - 3
    else:
        reads, writes = (window_words, q * n * column_folds), m * n * row_folds
        starts = (rows - first_rows + 1, rows + 1, 2 * rows - 1)
        filter_stop = last + rows + time + last_rows - 1
        ofmap_stop = last + 2 * rows + time + last_columns - 3

    if exact and not geometry.fits:
        ifmap_stop = _last_valid_input(geometry, rows, columns, dataflow, row_folds, folds, length)
    else:
        ifmap_stop = (
            last + {"os": time + last_rows - 1, "ws": rows + time + last_rows - 1, "is": rows}[dataflow]
        )

    size = folds * rows * columns
    return Schedule(
        *reads,
        writes,
        starts[0],
        ifmap_stop,
        starts[1],
        filter_stop,
        starts[2],
        ofmap_stop,
        folds,
        folds * length - 1,
        sr * sc / size,
        sr * sc * time / (size * (length + (0 if dataflow == "os" else columns - 1))),
        m * q * n / (rounding.maximum(folds * length - 1, 1) * rows * columns),
    )


def _last_valid_input(
    g: Geometry, rows: int, columns: int, dataflow: str, row_folds: int, folds: int, length: int
) -> int:
    """Cycle of the last input word that is not null, when windows hang over the edge of the map.

    Under "os" and "ws" the last column block demands every row block, so the search walks those backwards;
    under "is" it holds pixels, which may all lie outside, so the search walks the column blocks as well.
    """
    kernel_rows, kernel_columns = np.divmod(np.arange(g.kernel_height * g.kernel_width), g.kernel_width)

    def last_tap(pixel: np.ndarray) -> np.ndarray:  # −1 where the window holds no valid word
        row = pixel // g.out_width * g.stride_height - g.pad_height
        column = pixel % g.out_width * g.stride_width - g.pad_width
        at = (row[:, None] + kernel_rows, column[:, None] + kernel_columns)
        valid = (at[0] >= 0) & (at[0] < g.height) & (at[1] >= 0) & (at[1] < g.width)
        place = np.where(valid, np.arange(kernel_rows.size), -1).max(axis=1)
        return np.where(place < 0, -1, (place + 1) * g.channels - 1)

    def last_pixel(tap: np.ndarray) -> np.ndarray:
        place = tap // g.channels
        row = (g.height - 1 + g.pad_height - kernel_rows[place]) // g.stride_height
        column = (g.width - 1 + g.pad_width - kernel_columns[place]) // g.stride_width
        row, column = np.minimum(row, g.out_height - 1), np.minimum(column, g.out_width - 1)
        inside = (row >= 0) & (row * g.stride_height - g.pad_height + kernel_rows[place] >= 0)
        inside &= (column >= 0) & (column * g.stride_width - g.pad_width + kernel_columns[place] >= 0)
        return np.where(inside, row * g.out_width + column, -1)

    if dataflow == "is":
        for block in range((g.pixels - 1) // columns, -1, -1):
            pixel = np.arange(block * columns, min((block + 1) * columns, g.pixels))
            row = pixel // g.out_width * g.stride_height - g.pad_height
            column = pixel % g.out_width * g.stride_width - g.pad_width
            at = (row[:, None] + kernel_rows, column[:, None] + kernel_columns)
            valid = ((at[0] >= 0) & (at[0] < g.height) & (at[1] >= 0) & (at[1] < g.width)).any(axis=0)
            taps = np.flatnonzero(np.repeat(valid, g.channels))
            if taps.size:
                fold = int(taps[-1]) // rows
                first = int(taps[np.searchsorted(taps, fold * rows)]) - fold * rows
                return (block * row_folds + fold) * length + rows - first
        return 0

    extent = g.pixels if dataflow == "os" else g.taps
    for fold in range(row_folds - 1, -1, -1):
        lanes = np.arange(fold * rows, min((fold + 1) * rows, extent))
        time = last_tap(lanes) if dataflow == "os" else last_pixel(lanes)
        if (time >= 0).any():
            latest = int((time + np.arange(lanes.size))[time >= 0].max())
            return (folds - row_folds + fold) * length + (1 if dataflow == "os" else rows + 1) + latest
    return 0


def read_words(size_bytes: Any) -> Any:
    """Capacity in words of the active half of a read buffer; `bytes/2` with a slope when traced."""
    if rounding.is_number(size_bytes):
        return read_capacity(int(size_bytes))
    return 50 * rounding.floor(size_bytes / 100)
