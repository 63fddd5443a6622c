"""Reads of the input map, phase by phase, against the same order followed word by word."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hwmodels import sata
from hwmodels.sata import flushes
from hwmodels.sata.dram import read_capacity
from hwmodels.sata.geometry import Geometry
from hwmodels.sata.order import Order
from hwmodels.workload import Layer
from tests.helpers import REFERENCE
from tests.hwmodels.sata import naive


def demanded(g, rows, columns, dataflow):
    """Addresses of one pass, one after another; None for a null."""

    def word(pixel, tap):
        (y, x), (place, channel) = divmod(pixel, g.out_width), divmod(tap, g.channels)
        row = y * g.stride_height - g.pad_height + place // g.kernel_width
        column = x * g.stride_width - g.pad_width + place % g.kernel_width
        inside = 0 <= row < g.height and 0 <= column < g.width
        return (row * g.width + column) * g.channels + channel if inside else None

    if dataflow == "is":
        for first in range(0, g.pixels, columns):
            for start in range(0, g.taps, rows):
                for tap in reversed(range(start, min(start + rows, g.taps))):
                    yield from (word(p, tap) for p in range(first, min(first + columns, g.pixels)))
        return
    lanes, times = (g.pixels, g.taps) if dataflow == "os" else (g.taps, g.pixels)
    for first in range(0, lanes, rows):
        width = min(rows, lanes - first)
        for cycle in range(times + width - 1):
            for lane in range(width):
                if 0 <= cycle - lane < times:
                    pair = (first + lane, cycle - lane)
                    yield word(*pair) if dataflow == "os" else word(*pair[::-1])


@st.composite
def geometries(draw):
    size, kernel, stride, pad = (
        [draw(st.integers(low, high)) for _ in range(2)] for low, high in ((1, 14), (1, 4), (1, 3), (0, 2))
    )
    assume(all(h + 2 * p >= k for h, p, k in zip(size, pad, kernel, strict=True)))
    overhang = draw(st.integers(0, 1))
    out = [(h + 2 * p - k) // s + 1 + overhang for h, p, k, s in zip(size, pad, kernel, stride, strict=True)]
    channels = draw(st.sampled_from([1, 2, 3, 8, 24]))
    g = Geometry(*size, *out, *kernel, *stride, *pad, channels, 1)
    assume(g.distinct_inputs > 0 and g.pixels * g.taps < 8_000)
    return g


COUNTED = json.loads((REFERENCE / "sata" / "flushes.json").read_text())["reads"]
"""By `flushes.c`, which demands every address in turn."""

TALL = Geometry(40, 9, 40, 9, 3, 3, 1, 1, 1, 1, 8, 1)


@settings(max_examples=60, deadline=None)
@given(
    geometries(),
    st.sampled_from([1, 2, 3, 4, 7, 16]),
    st.sampled_from([1, 3, 8]),
    st.integers(1, 4),
    st.data(),
)
def test_misses_equal_those_of_every_address_in_turn(g, rows, columns, passes, data):
    for dataflow in ("os", "ws", "is"):
        order = list(demanded(g, rows, columns, dataflow))
        capacity = data.draw(st.integers(min(1 + len(order) // 2000, g.distinct_inputs), g.distinct_inputs))
        ours = flushes.flush_misses(Order(g, rows, columns, dataflow), passes, capacity)
        assert ours == naive.read_misses(order * passes, capacity), (dataflow, capacity)


@pytest.mark.parametrize("capacity", [3, 60, 200, 900])
@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("chunk", [50, 2**20])
def test_walks_that_repeat_down_a_tall_map(dataflow, capacity, chunk, monkeypatch):
    monkeypatch.setattr(flushes, "CHUNK", chunk)
    followed = []
    for name in ("phase", "long_phase"):
        follow = getattr(flushes, name)

        def counted(*arguments, follow=follow):
            followed.append(arguments)
            return follow(*arguments)

        monkeypatch.setattr(flushes, name, counted)
    ours = flushes.flush_misses(Order(TALL, 3, 3, dataflow), 3, capacity)
    expected = naive.read_misses(list(demanded(TALL, 3, 3, dataflow)) * 3, capacity)
    assert ours == expected
    assert len(followed) < expected / capacity / 2 or capacity == 900


@given(geometries(), st.sampled_from([1, 2, 5, 16]), st.sampled_from(["os", "ws", "is"]), st.data())
@settings(max_examples=40, deadline=None)
@example(TALL, 5, "ws", None)
def test_any_part_of_the_order(g, rows, dataflow, data):
    whole = [-1 if word is None else word for word in demanded(g, rows, 3, dataflow)]
    order = Order(g, rows, 3, dataflow)
    start, stop = sorted(data.draw(st.integers(0, 2 * len(whole))) for _ in range(2)) if data else (7, 9000)
    assume(start < stop)
    np.testing.assert_array_equal(order.addresses(start, stop), (whole * 3)[start:stop])
    if dataflow == "ws":
        at = start % (len(whole) + 1)
        assert order.valid_before(at) == sum(word >= 0 for word in whole[:at])


@pytest.mark.parametrize("size", [(512, 1024, 64), (640, 640, 128)])
def test_vast_layers_are_counted_exactly_in_little_memory(size, monkeypatch):
    """Hundreds of millions of demands in a pass, of which a million are held at most."""
    demands = Order.addresses

    def few(order, start, stop):
        assert stop - start <= flushes.CHUNK
        return demands(order, start, stop)

    monkeypatch.setattr(Order, "addresses", few)
    height, width, channels = size
    layer = Layer.conv(
        "c", height=height, width=width, in_channels=channels, out_channels=channels, padding=1
    )
    whole = height * width * channels
    for dataflow in ("sata", "ws", "is"):
        statistics = sata.cycle_statistics(layer, sata.Array(), sata.Buffers(), dataflow, corrected=True)
        passes = 1 if dataflow == "is" else channels // 8
        assert statistics.dram_ifmap_reads == COUNTED[f"{height}x{width}x{channels} {dataflow}"]
        assert whole * passes < statistics.dram_ifmap_reads < 9 * whole * passes
    vast = sata.Buffers(ifmap=100 * whole)
    assert sata.cycle_statistics(layer, sata.Array(), vast, corrected=True).dram_ifmap_reads == whole


@pytest.mark.long
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler for C")
@pytest.mark.parametrize("dataflow", ["sata", "ws", "is"])
def test_the_program_that_counts_every_address_says_so_again(dataflow, tmp_path):
    program = tmp_path / "flushes"
    subprocess.run(["cc", "-O2", REFERENCE / "sata" / "flushes.c", "-o", program], check=True)
    array, passes = sata.Array(), 1 if dataflow == "is" else 8
    words = ["512", "1024", "64", array.rows, array.columns, read_capacity(sata.Buffers().ifmap), passes]
    order = "os" if dataflow == "sata" else dataflow
    said = subprocess.run([program, *map(str, words), order], check=True, capture_output=True, text=True)
    assert int(said.stdout) == COUNTED[f"512x1024x64 {dataflow}"]
