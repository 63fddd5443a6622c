"""The mesh between tiles: where tiles lie, and how many hops a layer's inputs travel."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hwmodels.rounding import ceil, floor, is_number
from hwmodels.spikeflow.placement import Placement
from hwmodels.workload import Scalar

# Widest mesh whose hops are exact under trace: 4,096 tiles. On the host there is no limit.
_TRACED_WIDTH = 64


def mesh_width(tiles: Scalar) -> Scalar:
    """Side of the smallest square mesh that holds the tiles, `ceil(√tiles)`.

    **Arguments:** `tiles`: how many. **Returns:** in tiles.
    """
    # The half keeps a perfect square on its own side of the ceiling, whatever the float type.
    return ceil((tiles - 0.5) ** 0.5)


def tile_position(tile: int, width: int) -> tuple[int, int]:
    """Where a tile lies on a mesh that is filled row by row, every other row from the right.

    **Arguments:** `tile`: its number, from 0. `width`: of the mesh. **Returns:** row and column.
    """
    row, column = divmod(tile, width)
    return row, column if row % 2 == 0 else width - 1 - column


def tile_range(placement: Placement, index: int) -> tuple[Scalar, Scalar]:
    """The tiles that a layer lies on.

    **Arguments:** `placement`: from [`place`][]. `index`: of the layer.

    **Returns:** the number of its first tile, and of the first one behind it.
    """
    layer, size = placement.layers[index], placement.pes_per_tile
    # Half a PE keeps the quotients away from whole numbers, whatever the float type.
    first = floor((layer.first_pe + 0.5) / size)
    last = floor((layer.first_pe + layer.pes - 0.5) / size)
    return first, last + 1


def mean_hops(placement: Placement, source: int, target: int) -> Scalar:
    r"""Mean hops of a bit from the tiles of one layer to those of another; -1: from tile 0, where data enter.

    The mean of $|\Delta\text{row}| + |\Delta\text{column}|$ over all pairs of a tile of the one and a tile of
    the other. Rows only grow along the path, so their part is a difference of means; the columns' part is
    $\sum_x F(1-G) + G(1-F)$ over their distribution functions.

    **Returns:** exact on the host (and cached there), and under trace up to 4,096 tiles. The gradient under
    trace is that of the relaxation $(n_1 + n_2)/(2w) + w/3$, with $n$ tiles each and mesh width
    $w = \sqrt{\text{tiles}}$.
    """
    first, second = min(source, target), max(source, target)
    start = (0, 1) if first < 0 else tile_range(placement, first)
    tiles = placement.tiles
    return _hops(*start, *tile_range(placement, second), mesh_width(tiles), tiles)


def _hops(
    first: Scalar, first_end: Scalar, second: Scalar, second_end: Scalar, width: Scalar, tiles: Scalar
) -> Scalar:
    if is_number(first, first_end, second, second_end, width):
        return _host_hops(int(first), int(first_end), int(second), int(second_end), int(width))
    arrays = [jnp.asarray(v, float) for v in (first, first_end, second, second_end, width)]
    a, a_end, b, b_end, side = arrays
    exact = _distance(jnp, a, a_end, b, b_end, side, jnp.arange(_TRACED_WIDTH, dtype=float))
    smooth = jnp.sqrt(jnp.asarray(tiles, float))
    relaxed = (a_end - a + b_end - b) / (2 * smooth) + smooth / 3
    exact = jnp.where(side <= _TRACED_WIDTH, exact, relaxed)
    return relaxed + jax.lax.stop_gradient(exact - relaxed)


@functools.lru_cache(maxsize=65536)
def _host_hops(first: int, first_end: int, second: int, second_end: int, width: int) -> float:
    return float(_distance(np, first, first_end, second, second_end, width, np.arange(width)))


def _distance(xp: Any, a: Any, a_end: Any, b: Any, b_end: Any, width: Any, columns: Any) -> Any:
    def rows_before(tile: Any) -> Any:
        # Sum of the rows of the tiles 0 .. tile - 1.
        full = xp.floor((tile + 0.5) / width)
        return width * full * (full - 1) / 2 + full * (tile - full * width)

    def below(tile: Any) -> Any:
        # How many of the tiles 0 .. tile - 1 lie in each column or left of it.
        full = xp.floor((tile + 0.5) / width)
        rest = tile - full * width
        reach = xp.minimum(columns + 1, width)
        forward = xp.minimum(rest, reach)
        backward = xp.maximum(rest - (width - reach), 0)
        odd = full - 2 * xp.floor((full + 0.5) / 2)
        return full * reach + xp.where(odd > 0.5, backward, forward)

    rows = (rows_before(b_end) - rows_before(b)) / (b_end - b)
    rows = rows - (rows_before(a_end) - rows_before(a)) / (a_end - a)
    left = (below(a_end) - below(a)) / (a_end - a)
    right = (below(b_end) - below(b)) / (b_end - b)
    return rows + xp.sum(left * (1 - right) + right * (1 - left))
