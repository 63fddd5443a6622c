"""3×3 convolutions of stride 1 by Winograd's F(2×4, 3×3), with their gradients.

A tile of the output of 2×4 pixels needs 24 products of numbers instead of 72: `Y = Aᵀ[(G K Gᵀ) ⊙ (Bᵀ D B)]A`,
D being the 4×6 tile of the input under it (Lavin and Gray, "Fast algorithms for convolutional neural
networks", 2016). Over all tiles and channels, each of the 24 is one matrix product. The result differs from
the direct sum by rounding, which depends on the points that polynomials are taken at (Barabasz et al., "Error
analysis and improving the accuracy of Winograd convolution for deep neural networks", 2020): at these it is a
millionth of the greatest output, of tiles of 4×4 it would be twice that.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROWS = 1280
"""Rows of a matrix product: a block of images is small enough for the cache, and large enough to be fast."""

_Matrix = Sequence[Sequence[float | int]]


class _Line(NamedTuple):
    """F(n, 3) along one axis: n outputs of n + 2 inputs."""

    inputs: _Matrix
    kernel: _Matrix
    outputs: _Matrix

    @property
    def size(self) -> int:
        return len(self.outputs)


# At 0, 1, −1 and infinity.
_TWO = _Line(
    inputs=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)),
    kernel=((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    outputs=((1, 1, 1, 0), (0, 1, -1, 1)),
)
# At 0, 1, −1, 1/2, −2 and infinity.
_FOUR = _Line(
    inputs=(
        (1, -1.5, -2, 1.5, 1, 0),
        (0, -1, 0.5, 2.5, 1, 0),
        (0, -1, 2.5, -0.5, -1, 0),
        (0, 2, 1, -2, -1, 0),
        (0, 1, -2, -1, 2, 0),
        (0, 1, -1.5, -2, 1.5, 1),
    ),
    kernel=(
        (1, 0, 0),
        (1 / 3, 1 / 3, 1 / 3),
        (1 / 3, -1 / 3, 1 / 3),
        (16 / 15, 8 / 15, 4 / 15),
        (1 / 30, -1 / 15, 2 / 15),
        (0, 0, 1),
    ),
    outputs=((1, 1, 1, 1, 1, 0), (0, 1, -1, 0.5, -2, 0), (0, 1, 1, 0.25, 4, 0), (0, 1, -1, 0.125, -8, 1)),
)
_LINES = _TWO, _FOUR


def suits(kernel: Array, stride: tuple[int, int]) -> bool:
    """Whether a convolution can be done here: exactly enough, and with channels that repay the transforms."""
    single = jnp.finfo(kernel.dtype).bits >= 32
    return single and kernel.shape[:2] == (3, 3) and stride == (1, 1) and min(kernel.shape[2:]) >= 32


def forward(
    x: Float[Array, "batch h w c"], kernel: Float[Array, "3 3 c c2"], padding: tuple[int, int]
) -> Float[Array, "batch h2 w2 c2"]:
    """The convolution of channels-last maps with zero padding."""
    shape = _output(x.shape, kernel, padding)
    points = _kernel_points(kernel)

    def block(x):
        products = [tile @ point for tile, point in zip(_input_points(x, padding), points, strict=True)]
        y = _together([line.outputs for line in _LINES], products, (len(x), *_grid(shape)))
        return y[:, : shape[1], : shape[2]]

    return _joined(jax.lax.map(block, _blocks(x, shape)), shape)


def backward(
    x: Float[Array, "batch h w c"],
    kernel: Float[Array, "3 3 c c2"],
    padding: tuple[int, int],
    gradient: Float[Array, "batch h2 w2 c2"],
) -> tuple[Float[Array, "batch h w c"], Float[Array, "3 3 c c2"]]:
    """The gradients to the input and to the kernel, by the transposes of the three transforms."""
    shape = gradient.shape
    points = _kernel_points(kernel)

    def block(by_points, maps):
        x, gradient = maps
        tiles = _input_points(x, padding)
        by_products = _apart([_transposed(line.outputs) for line in _LINES], _full(gradient, (0, 0), 0))
        by_tiles = [by @ point.T for by, point in zip(by_products, points, strict=True)]
        by_x = _together([_transposed(line.inputs) for line in _LINES], by_tiles, (len(x), *_grid(shape)))
        (top, left), (height, width) = padding, x.shape[1:3]
        new = [tile.T @ by for tile, by in zip(tiles, by_products, strict=True)]
        return jax.tree.map(jnp.add, by_points, new), by_x[:, top : top + height, left : left + width]

    zeros = [jnp.zeros_like(point) for point in points]
    by_points, by_x = jax.lax.scan(block, zeros, (_blocks(x, shape), _blocks(gradient, shape)))
    (by_kernel,) = jax.linear_transpose(_kernel_points, kernel)(by_points)
    return _joined(by_x, x.shape), by_kernel


def _output(shape, kernel, padding):
    return shape[0], shape[1] + 2 * padding[0] - 2, shape[2] + 2 * padding[1] - 2, kernel.shape[3]


def _grid(shape):
    """Tiles of an output, down and across."""
    return [-(-side // line.size) for side, line in zip(shape[1:3], _LINES, strict=True)]


def _blocks(x, output):
    """The batch in blocks of about `_ROWS` tiles, the last one filled with zeros."""
    count = math.ceil(len(x) * math.prod(_grid(output)) / _ROWS)
    size = -(-len(x) // count)
    x = jnp.pad(x, ((0, count * size - len(x)), (0, 0), (0, 0), (0, 0)))
    return x.reshape(count, size, *x.shape[1:])


def _joined(blocks, shape):
    return blocks.reshape(-1, *shape[1:])[: shape[0]]


def _kernel_points(kernel):
    """G K Gᵀ: arrays (channels in, channels out)."""
    rows, columns = _LINES
    return [
        point
        for row in _combined(rows.kernel, list(kernel))
        for point in _combined(columns.kernel, list(row))
    ]


def _input_points(x, padding):
    """Bᵀ D B of all tiles D: arrays (tiles, channels)."""
    return _apart([line.inputs for line in _LINES], _full(x, padding, 2))


def _full(x, padding, more):
    """Maps padded with zeros to whole tiles; for tiles that reach `more` pixels further, one tile more."""
    pads = []
    for side, pad, line in zip(x.shape[1:3], padding, _LINES, strict=True):
        tiles = -(-(side + 2 * pad - more) // line.size) + (more > 0)
        pads.append((pad, line.size * tiles - side - pad))
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def _apart(matrices, x):
    """A product with a matrix along each axis of all tiles of maps: arrays (tiles, channels)."""
    (by_rows, by_columns), (rows, columns) = matrices, _LINES
    found = _combined(by_rows, _cut(x, 1, rows.size, len(by_rows[0])))
    # One after the other: fused, each point would go over all of its tile.
    return [
        point.reshape(-1, x.shape[-1])
        for row in jax.lax.optimization_barrier(found)
        for point in _combined(by_columns, _cut(row, 2, columns.size, len(by_columns[0])))
    ]


def _together(matrices, points, grid):
    """Maps of tiles with a product with a matrix along each axis, added up where tiles overlap."""
    (by_rows, by_columns), (rows, columns) = matrices, _LINES
    points = [point.reshape(*grid, point.shape[-1]) for point in points]
    count = len(by_columns[0])
    found = [
        _uncut(_combined(by_columns, points[at : at + count]), 2, columns.size)
        for at in range(0, len(points), count)
    ]
    return _uncut(_combined(by_rows, jax.lax.optimization_barrier(found)), 1, rows.size)


def _combined(matrix: _Matrix, parts: Sequence[Array]) -> list[Array]:
    """The product of a matrix with a vector of arrays."""
    return [
        functools.reduce(jnp.add, [weight * part for weight, part in zip(row, parts, strict=True) if weight])
        for row in matrix
    ]


def _transposed(matrix: _Matrix) -> _Matrix:
    return list(zip(*matrix, strict=True))


def _cut(x, axis, size, places):
    """The pixels at each place of tiles along an axis; places beyond the size are the next tile's."""
    tiles = x.reshape(*x.shape[:axis], -1, size, *x.shape[axis + 1 :])
    count = tiles.shape[axis] - (places > size)

    def at(place):
        pixels = jax.lax.index_in_dim(tiles, place % size, axis + 1, keepdims=False)
        return jax.lax.slice_in_dim(pixels, place // size, place // size + count, axis=axis)

    return [at(place) for place in range(places)]


def _uncut(parts, axis, size):
    """Tiles along an axis from the pixels at each place; those beyond the size are added to the next tile."""
    own, beyond = parts[:size], parts[size:]
    if beyond:
        after, before = ([(0, 0)] * parts[0].ndim for _ in range(2))
        after[axis], before[axis] = (0, 1), (1, 0)
        own = [jnp.pad(part, after) for part in own]
        for place, part in enumerate(beyond):
            own[place] = own[place] + jnp.pad(part, before)
    x = jnp.stack(own, axis + 1)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
