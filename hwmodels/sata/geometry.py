"""The integers that fix which words of its input map a layer touches."""

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

    def along(self, axis: int) -> tuple[int, int, int, int, int]:
        """Size of the map, of the output and of the kernel, stride and padding along an axis."""
        return self[axis], self[2 + axis], self[4 + axis], self[6 + axis], self[8 + axis]

    def covered(self, axis: int) -> int:
        """Rows (axis 0) or columns (axis 1) of the map that some window touches."""
        size, out, kernel, stride, pad = self.along(axis)
        if stride <= kernel:
            return max(0, min(size, (out - 1) * stride - pad + kernel))
        starts = np.arange(out)[:, None] * stride - pad + np.arange(kernel)
        return int(np.count_nonzero((starts >= 0) & (starts < size)))

    def valid(self, axis: int) -> int:
        """Pairs of an output row (column) and a kernel row (column) that fall on the map."""
        size, out, kernel, stride, pad = self.along(axis)
        first = np.arange(out) * stride - pad
        return int(np.maximum(np.minimum(first + kernel, size) - np.maximum(first, 0), 0).sum())

    @property
    def distinct_inputs(self) -> int:
        """Words of the input map that are demanded at least once."""
        return self.covered(0) * self.covered(1) * self.channels

    @property
    def fits(self) -> bool:
        """Whether every window lies on the map, so that no address is null."""
        along = (self.along(axis) for axis in (0, 1))
        return all(
            pad == 0 and (out - 1) * stride + kernel <= size for size, out, kernel, stride, pad in along
        )
