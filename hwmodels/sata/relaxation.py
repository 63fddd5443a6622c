r"""Smooth closed forms of the DRAM counts: the slopes of the exact ones, and the fast path of sweeps.

Derivation, for the input map under "os". A flush-when-full buffer loads its capacity `c` (here in positions
of the map: words over channels) once per phase, so `misses = capacity · phases`. A run of x consecutive
output pixels touches

$$g(x) = (s·\max(x/W_o, 1) + k_h − s) · (\min(x/W_o, 1)·(W − k_w + s) + k_w − s)$$

positions (W columns of the map, W_o of the output, stride s). Two regimes follow:

- a phase spans several folds: `g(x) = c` gives its length x in pixels, and a pass of M pixels has M/x
  phases. A flush strikes while the last kernel row of a fold brings new words, on average halfway, and what
  is left of that fold is needed by the next rows of pixels anyway: x grows by rows/(2·k_h), less where a
  phase barely spans a fold;
- a fold of x pixels overflows the buffer by itself: then it takes k_h/a phases while a kernel rows fit,
  `a = c/(columns touched) − s·max(x/W_o, 1) + s`; k_h·k_w/b while b kernel columns fit,
  `b = 1 + (c − x)/s`; and at worst every demand misses.

Under "is" a column block of pixels plays the fold. With padding, `k_h` and `k_w` are the kernel rows and
columns that fall on the map, on average over the outputs.

Under "ws" kernel positions follow one another, each with a window of h × w positions of the map (its outputs,
less those that see padding). If a window overflows the buffer, every demand misses but those that
neighbouring kernel positions share within one fold. Else a phase spans the x kernel positions that touch c
positions: a further one along a kernel row adds h·(W − w)/(k_w − 1), a further kernel row
W·(H − h)/(k_h − 1), and a pass has k_h·k_w/x phases.

On the 68 published layers, as the simulator sees them, the reads of the input map are within 15 % of the
exact ones under every dataflow; with the layers' own padding within 20 % under all but "ws". Elsewhere it
depends on the flushes' luck: where a map or a fold just fits, or just does not, they can be off by a factor
of 2 to 5.

The filters of "os" come in column blocks of w words, each demanded once per row block. When the buffer turns
over inside a block, the whole block is loaded anew; `i = ⌈capacity/w⌉ − 1` blocks pass from one such event to
the next, so that each word is loaded capacity/(i·w) times.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from hwmodels import rounding
from hwmodels.sata.array import read_words
from hwmodels.sata.geometry import Geometry

_TINY = 1e-6


def relaxed_dram_counts(
    geometry: Geometry, rows: Any, columns: Any, buffers: tuple[Any, Any, Any], dataflow: str
) -> tuple[Any, Any, Any]:
    """DRAM words (ifmap reads, filter reads, ofmap writes) of "sata", "os", "ws" or "is" by formula.

    **Arguments:**

    - `geometry`: the layer's integers.
    - `rows`, `columns`: of the array; `buffers`: bytes of ifmap, filter and ofmap. Traced or not.

    **Returns:** three scalars.
    """
    g = geometry
    m, q, n = float(g.pixels), float(g.taps), float(g.filters)
    input_capacity, filter_capacity = read_words(buffers[0]), read_words(buffers[1])
    whole_map, weights = float(g.distinct_inputs), q * n

    if dataflow in ("sata", "os"):
        passes: Any = rounding.ceil_divide(n, columns)
        misses = passes * input_capacity * _phases(g, rows, input_capacity)
    elif dataflow == "is":
        misses = input_capacity * _phases(g, columns, input_capacity)
    else:
        misses = rounding.ceil_divide(n, columns) * _taps_misses(g, rows, input_capacity)
    ifmap = _choose(whole_map < input_capacity, whole_map, rounding.maximum(misses, whole_map))

    if dataflow == "os":
        block = rounding.minimum(columns, n) * q
        repeats = rounding.ceil_divide(m, rows)
        per_phase = rounding.maximum(rounding.ceil(filter_capacity / block) - 1, 1)
        again = weights * rounding.minimum(filter_capacity / (per_phase * block), repeats)
        turned = _choose(block < filter_capacity, again, weights * repeats)
        filters = _choose(weights < filter_capacity, weights, turned)
    elif dataflow == "is":
        turned = weights * rounding.ceil_divide(m, columns)
        filters = _choose(weights < filter_capacity, weights, turned)
    else:
        filters = weights

    writes = m * n if dataflow in ("sata", "os") else m * n * rounding.ceil_divide(q, rows)
    return ifmap, filters, writes


def _phases(g: Geometry, per_fold: Any, capacity: Any) -> Any:
    """Times the buffer turns over in one pass over all pixels, `per_fold` pixels at a time."""
    c = capacity / g.channels
    kernel_height, kernel_width = g.valid(0) / g.out_height, g.valid(1) / g.out_width
    down, right = min(float(g.stride_height), kernel_height), min(float(g.stride_width), kernel_width)
    pixels, out_width, width = float(g.pixels), float(g.out_width), float(max(g.covered(1), 1))

    def columns_touched(x: Any) -> Any:
        edge = kernel_width - right
        return rounding.minimum(rounding.minimum(x / out_width, 1.0) * (width - edge) + edge, width)

    def rows_touched(x: Any) -> Any:
        return down * rounding.maximum(x / out_width, 1.0)

    def fold(x: Any) -> Any:
        touched, extent = columns_touched(x), rows_touched(x)
        footprint = (extent + kernel_height - down) * touched / c
        a = rounding.maximum(c / touched - extent * kernel_height / g.kernel_height + down, _TINY)
        b = rounding.minimum(rounding.maximum(1 + (c - x) / right, _TINY), kernel_width)
        overflow = rounding.minimum(g.kernel_height / a, kernel_height * kernel_width / b)
        worst = kernel_height * kernel_width * x / c
        return _choose(footprint <= 1.0, footprint, rounding.minimum(overflow, worst))

    full = rounding.minimum(per_fold, pixels)
    folds = rounding.ceil_divide(pixels, per_fold)
    last = rounding.maximum(pixels - (folds - 1) * per_fold, 1.0)
    alone = (folds - 1) * fold(full) + fold(last)

    of_rows = (c / width - kernel_height + down) * out_width / down
    of_columns = (c / kernel_height - kernel_width + right) / right
    span = rounding.maximum(_choose(c >= kernel_height * width, of_rows, of_columns), _TINY)
    rest = full / (2 * kernel_height) * rounding.maximum(1 - full / span, 0.0)
    # Windows that hang over the lower edge demand less: count the rows of pixels that the map can fill.
    map_rows = float(max(g.covered(0), 1)) + 2 * g.pad_height
    filled = out_width * (map_rows - kernel_height + g.stride_height) / g.stride_height
    together = rounding.minimum(pixels, filled) / (span + rest)
    return _choose(span >= full, rounding.minimum(alone, together), alone)


def _taps_misses(g: Geometry, rows: Any, capacity: Any) -> Any:
    """Words that one pass of "ws" over all kernel positions loads."""
    c = capacity / g.channels
    kernel_height, kernel_width = float(g.kernel_height), float(g.kernel_width)
    height, width = g.valid(0) / kernel_height, g.valid(1) / kernel_width  # one window's, on average
    whole_rows = height * g.covered(1)
    more_columns = height * (g.covered(1) - width) / max(kernel_width - 1, 1.0)
    more_rows = g.covered(1) * (g.covered(0) - height) / max(kernel_height - 1, 1.0)
    along = rounding.minimum(1 + (c - height * width) / max(more_columns, _TINY), kernel_width)
    down = kernel_width * (1 + (c - whole_rows) / max(more_rows, _TINY))
    taps = rounding.maximum(_choose(c >= whole_rows, down, along), 1.0)
    every = float(g.valid(0) * g.valid(1) * g.channels) / rounding.maximum(rows / g.channels, 1.0)
    kept = rounding.minimum(capacity * kernel_height * kernel_width / taps, every)
    return _choose(c >= height * width, kept, every)


def _choose(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, bool | np.bool_):
        return yes if condition else no
    return jnp.where(condition, yes, no)
