"""The order in which a dataflow demands the words of the input map, and what is alike in it.

One pass is cut into blocks of lanes (pixels under "os" and "is", kernel positions under "ws"), and each lane
runs through all times (kernel positions, or pixels). A stretch of the pass in the middle of the map is the
same as one that begins elsewhere, but for a constant added to its addresses: a row of pixels further down,
and, while it stays in a row, a pixel further to the right. Nothing here is as large as a pass.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from hwmodels.sata.geometry import Geometry


class Stretch(NamedTuple):
    """What decides a stretch of the pass up to a constant in its addresses: see [`Order.stretch`][]."""

    first: int
    "The first pixel of the block (of the full cycle, under ws) where it begins."
    within: tuple[int, int]
    "Where in the block it begins."


class Order:
    """One pass of `dataflow` ("os", "ws" or "is") over the input map, from position 0 up to `size`."""

    def __init__(self, geometry: Geometry, rows: int, columns: int, dataflow: str):
        self.geometry, self.rows, self.dataflow = geometry, rows, dataflow
        lanes, times = geometry.pixels, geometry.taps
        if dataflow == "ws":
            lanes, times = times, lanes
        self.width = min(columns if dataflow == "is" else rows, lanes)
        self.lanes, self.times, self.size = lanes, times, lanes * times
        self.block = self.width * times
        self.fits = geometry.fits

    @cached_property
    def _interior(self) -> tuple[int, int, int, int]:
        """Rows and columns of the output, [first, end), whose windows lie on the map."""
        bounds = []
        for axis in (0, 1):
            size, out, kernel, stride, pad = self.geometry.along(axis)
            bounds += [-(-pad // stride), min(max((size + pad - kernel) // stride + 1, 0), out)]
        return bounds[0], bounds[1], bounds[2], bounds[3]

    def _skewed(self, offset: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Lane and time at offsets of a block of `width` lanes: by cycle = time + lane, then by lane."""
        times, few = self.times, min(width, self.times)
        corner = few * (few - 1) // 2  # demands before the first cycle in which `few` lanes are busy
        cycle, rest = np.divmod(offset - corner, few)
        cycle += few - 1
        lane = rest + np.maximum(cycle - times + 1, 0)
        if corner:
            for late in (False, True):
                here = np.flatnonzero(offset >= width * times - corner if late else offset < corner)
                if here.size:
                    o = width * times - 1 - offset[here] if late else offset[here]
                    c = ((np.sqrt(8.0 * o + 1) - 1) / 2).astype(np.int64)
                    o -= c * (c + 1) // 2
                    cycle[here] = width + times - 2 - c if late else c
                    lane[here] = width - 1 - o if late else o
        return lane, cycle - lane

    def _reversed(self, k: Any) -> Any:
        """The k-th kernel position of a block under "is": each `rows` of them enter from the last."""
        start = k // self.rows * self.rows
        return start + np.minimum(start + self.rows, self.times) - 1 - k

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Lane and time of every demand of a whole block, if they are few enough to be kept."""
        if self.block > 2**18:
            return None
        return self._lanes_and_times(np.arange(self.block, dtype=np.int32), self.width)

    def _lanes_and_times(self, offset: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        if self.dataflow != "is":
            return self._skewed(offset, width)
        k, lane = np.divmod(offset, width)
        return lane, self._reversed(k)

    def _piece(self, start: int, stop: int) -> np.ndarray:
        """Addresses at positions of blocks that are equally wide; see [`addresses`][]."""
        block, first = divmod(start, self.block)
        width, count = self._busy(block), stop - start
        blocks = -(-(first + count) // self.block)
        if width == self.width and (table := self._table) is not None:
            lane, time = (np.tile(part, blocks)[first : first + count] for part in table)
            steps = np.arange(block, block + blocks, dtype=np.int32) * width
            lane = lane + np.repeat(steps, self.block)[first : first + count]
        else:
            offset = np.arange(first, first + count)
            later = offset // self.block if blocks > 1 else 0
            lane, time = self._lanes_and_times(offset - later * self.block, width)
            lane = lane + (later + block) * self.width
        pixel, tap = (time, lane) if self.dataflow == "ws" else (lane, time)
        pixels, taps = self._places
        address = pixels[2][pixel] + taps[2][tap]
        g = self.geometry
        if self.fits:
            return address
        row, column = pixels[0][pixel] + taps[0][tap], pixels[1][pixel] + taps[1][tap]
        valid = (row >= 0) & (row < g.height) & (column >= 0) & (column < g.width)
        return np.where(valid, address, -1)

    def places(self, first: int, end: int) -> np.ndarray:
        """Map places (row, column) under the windows of pixels [first, end) of a pass; nulls are -1.

        **Returns:** shape (pixels, kernel height · kernel width), in the kernel's order.
        """
        g = self.geometry
        pixels, taps = ([part[first:end, None] for part in self._places[0]], self._places[1])
        row, column = (pixels[axis] + taps[axis][:: g.channels] for axis in (0, 1))
        place = row * g.width + column
        if self.fits:
            return place
        return np.where((row >= 0) & (row < g.height) & (column >= 0) & (column < g.width), place, -1)

    @cached_property
    def _places(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Row, column and address of each pixel's window, and what each kernel position adds to them."""
        g = self.geometry
        words = g.channels * (g.height + 2 * g.pad_height) * (g.width + 2 * g.pad_width)
        dtype = np.int32 if max(words, self.size) < 2**31 else np.int64
        y, x = np.divmod(np.arange(g.pixels, dtype=dtype), dtype(g.out_width))
        place, channel = np.divmod(np.arange(g.taps, dtype=dtype), dtype(g.channels))
        down, right = np.divmod(place, dtype(g.kernel_width))
        places = []
        for row, column, more in (
            (y * g.stride_height - g.pad_height, x * g.stride_width - g.pad_width, 0),
            (down, right, channel),
        ):
            places.append([row, column, (row * g.width + column) * g.channels + more])
        return places[0], places[1]

    def addresses(self, start: int, stop: int) -> np.ndarray:
        """Addresses (row, column, channel; channel innermost) demanded at positions [start, stop).

        Positions past `size` are those of the following passes. A null is -1.
        """
        full = self.lanes // self.width * self.block  # the last block may hold fewer lanes
        pieces = []
        while start < stop:
            passes, at = divmod(start, self.size)
            end = min(stop - passes * self.size, full if at < full else self.size)
            pieces.append(self._piece(at, end))
            start = passes * self.size + end
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _busy(self, block: int) -> int:
        """Lanes of a block; the last may have fewer."""
        return min(self.width, self.lanes - block * self.width)

    def stretch(self, start: int) -> Stretch | None:
        """Where a stretch begins; None in a block's first cycles under "ws", which are like no others."""
        block, offset = divmod(start, self.block)
        if self.dataflow != "ws":
            return Stretch(block * self.width, (offset, 0))
        width = self._busy(block)
        offset -= width * (width - 1) // 2
        if self.times < width or offset < 0:
            return None
        cycle, lane = divmod(offset, width)
        return Stretch(cycle, (block, lane))

    def reach(self, start: int, stop: int) -> int:
        """One past the last pixel of a stretch of the pass, up to the end of its last block or cycle.

        Too large for any map where the stretch leaves its pass, meets a shorter block of pixels or, under
        "ws", leaves its block's full cycles.
        """
        never = self.geometry.pixels + 1
        last = (stop - 1) // self.block
        if self.dataflow != "ws":
            return (last + 1) * self.width if (last + 1) * self.width <= self.lanes else never
        width = self._busy(last)
        corner = width * (width - 1) // 2
        if last != start // self.block or stop > last * self.block + width * self.times - corner:
            return never
        return width + (stop - 1 - last * self.block - corner) // width

    @property
    def last_alike(self) -> int:
        """One past the last pixel that a stretch may reach to be like one in another row."""
        g = self.geometry
        return min(self._interior[1] * g.out_width, g.pixels)

    def alike(self, begin: Stretch, reach: int) -> tuple[bool, bool]:
        """Whether a stretch is like those in other rows, and like those further along its row too."""
        g = self.geometry
        top, _, left, right = self._interior
        y, x = divmod(begin.first, g.out_width)
        rows = y >= top and reach <= self.last_alike
        return rows, rows and x >= left and reach <= y * g.out_width + right

    def per_pixel(self, start: int) -> int:
        """Positions by which a stretch moves with each pixel."""
        return self._busy(start // self.block) if self.dataflow == "ws" else self.times

    @property
    def all_differ_for(self) -> int:
        """Demands in a row, nulls not counted, that all differ, as far as that is easy to see."""
        g = self.geometry
        if g.kernel_height <= g.stride_height and g.kernel_width <= g.stride_width:
            return g.distinct_inputs
        if self.dataflow != "ws":
            return 0
        # A channel comes back after as many kernel positions as there are channels: whole blocks lie between.
        between = g.channels // self.width - 1 - (self.lanes % self.width > 0)
        ends = self._valid_taps[:: self.width]
        return max(between, 0) * (int(np.diff(ends).min()) if ends.size > 1 else 0)

    def distinct_until(self, start: int) -> int:
        """A position such that all words from `start` up to it differ, as far as that is easy to see."""
        g = self.geometry
        if self.dataflow == "ws":
            # As many kernel positions as channels, or fewer: no two read the same channel.
            return (
                min((start // self.block + 1) * self.block, self.size) if self.width <= g.channels else start
            )
        if g.kernel_width > g.stride_width:
            return start
        first = start // self.block * self.width
        y, x = divmod(first, g.out_width)
        top, bottom, left, right = self._interior
        if not (top <= y < bottom and x >= left):
            return start
        return max((y * g.out_width + right) // self.width * self.block, start)

    def valid_before(self, position: int) -> int:
        """Demands before a position of the pass that are no nulls (known under "ws" alone)."""
        g = self.geometry
        if self.fits or self.dataflow != "ws":  # elsewhere asked for differences without nulls only
            return position
        block, offset = divmod(position, self.block)
        width = self._busy(block)
        counts = int(self._valid_taps[min(block * self.width, self.lanes)])
        if not offset:
            return counts
        if offset >= width * self.times:
            return int(self._valid_taps[-1])
        lane, time = (int(part[0]) for part in self._skewed(np.array([offset]), width))
        lanes = np.arange(width)
        pixels = np.clip(lane + time - lanes + (lanes < lane), 0, self.times)
        y, x = np.divmod(pixels, g.out_width)
        top, bottom, left, right = self._valid_outputs[:, block * self.width : block * self.width + width]
        whole = (np.clip(y, top, bottom) - top) * (right - left)
        begun = ((y >= top) & (y < bottom)) * (np.clip(x, left, right) - left)
        return counts + int((whole + begun).sum())

    @cached_property
    def _valid_outputs(self) -> np.ndarray:
        """Output rows and columns [first, end) where each kernel position is on the map, shape (4, taps)."""
        g = self.geometry
        place = np.arange(g.taps) // g.channels
        bounds = []
        for axis, at in enumerate(np.divmod(place, g.kernel_width)):
            size, out, _, stride, pad = g.along(axis)
            first = np.clip(-(-(pad - at) // stride), 0, out)
            bounds += [first, np.maximum(np.clip((size - 1 + pad - at) // stride + 1, 0, out), first)]
        return np.stack(bounds)

    @cached_property
    def _valid_taps(self) -> np.ndarray:
        top, bottom, left, right = self._valid_outputs
        return np.concatenate([[0], np.cumsum((bottom - top) * (right - left))])
