"""3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3), with their gradients.

A 2×2 tile of the output needs 16 products of numbers instead of 36: `Y = Aᵀ[(G K Gᵀ) ⊙ (Bᵀ D B)]A`, D being
the 4×4 tile of the input under it (Lavin and Gray, "Fast algorithms for convolutional neural networks",
2016). Over all tiles and channels, each of the 16 is one matrix product. The transforms hold only 0, ±1 and
±1/2, so the result differs from the direct sum by rounding.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ROWS = 2048
"""Rows of a matrix product: a block of images is small enough for the cache, and large enough to be fast."""


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
        return _outputs(products, (len(x), *shape[1:]))

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
        tiles, split = jax.vjp(lambda x: _input_points(x, padding), x)
        like = [jax.ShapeDtypeStruct((len(tile), shape[3]), gradient.dtype) for tile in tiles]
        (by_products,) = jax.linear_transpose(lambda p: _outputs(p, gradient.shape), like)(gradient)
        (by_x,) = split([by @ point.T for by, point in zip(by_products, points, strict=True)])
        new = [tile.T @ by for tile, by in zip(tiles, by_products, strict=True)]
        return jax.tree.map(jnp.add, by_points, new), by_x

    zeros = [jnp.zeros_like(point) for point in points]
    by_points, by_x = jax.lax.scan(block, zeros, (_blocks(x, shape), _blocks(gradient, shape)))
    (by_kernel,) = jax.linear_transpose(_kernel_points, kernel)(by_points)
    return _joined(by_x, x.shape), by_kernel


def _output(shape, kernel, padding):
    return shape[0], shape[1] + 2 * padding[0] - 2, shape[2] + 2 * padding[1] - 2, kernel.shape[3]


def _tiles(length: int) -> int:
    return -(-length // 2)


def _blocks(x, output):
    """The batch in blocks of about `_ROWS` tiles, the last one filled with zeros."""
    per_image = _tiles(output[1]) * _tiles(output[2])
    count = math.ceil(len(x) * per_image / _ROWS)
    size = -(-len(x) // count)
    x = jnp.pad(x, ((0, count * size - len(x)), (0, 0), (0, 0), (0, 0)))
    return x.reshape(count, size, *x.shape[1:])


def _joined(blocks, shape):
    return blocks.reshape(-1, *shape[1:])[: shape[0]]


def _input_points(x, padding):
    """Bᵀ D B of all tiles D: 16 arrays (tiles, channels)."""
    batch, height, width, channels = x.shape
    pads = [
        (pad, 2 * _tiles(side + 2 * pad - 2) + 2 - side - pad)
        for side, pad in zip((height, width), padding, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    pairs = x.reshape(batch, x.shape[1] // 2, 2, x.shape[2] // 2, 2, channels)

    def transform(even, odd, axis):
        def cut(array, start):
            return jax.lax.slice_in_dim(array, start, start + array.shape[axis] - 1, axis=axis)

        first, second, third, fourth = cut(even, 0), cut(odd, 0), cut(even, 1), cut(odd, 1)
        return first - third, second + third, third - second, second - fourth

    return [
        point.reshape(-1, channels)
        for row in transform(pairs[:, :, 0], pairs[:, :, 1], 1)
        for point in transform(row[:, :, :, 0], row[:, :, :, 1], 2)
    ]


def _kernel_points(kernel):
    """G K Gᵀ: 16 arrays (channels in, channels out)."""

    def transform(first, second, third):
        return first, (first + second + third) / 2, (first - second + third) / 2, third

    return [point for row in transform(*kernel) for point in transform(*row)]


def _outputs(products, shape):
    """Aᵀ M A of all tiles' products M, laid out as maps of `shape`."""
    batch, height, width, channels = shape
    grid = (batch, _tiles(height), _tiles(width), channels)

    def transform(first, second, third, fourth):
        return first + second + third, second - third - fourth

    rows = [transform(*products[4 * i : 4 * i + 4]) for i in range(4)]
    columns = [transform(*column) for column in zip(*rows, strict=True)]
    y = jnp.stack(
        [jnp.stack([column[row].reshape(grid) for column in columns], axis=3) for row in range(2)], axis=2
    )
    return y.reshape(batch, 2 * grid[1], 2 * grid[2], channels)[:, :height, :width]
