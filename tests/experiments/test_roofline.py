"""The roofline of the march: its parts add up."""

import pytest

from experiments.benchmarks import roofline


def test_what_the_rows_need_is_the_sum_of_its_parts():
    found = roofline.run(tiles=8, repeats=1)
    times = {row["what"]: row["µs_per_tile"] for row in found["rows"] if "µs_per_tile" in row}
    parts = [name for name in times if name.startswith("products ")] + ["passes", "starts"]
    assert len(parts) == 5
    assert times["together"] == pytest.approx(sum(times[name] for name in parts))
    assert all(times[name] > 0 for name in ("starts", "solution", "solution and gradient"))
    rates = [row["GFLOP/s"] for row in found["rows"] if "GFLOP/s" in row]
    assert len(rates) == 4
    assert str(round(times["solution and gradient"] / times["solution"], 2)) in found["notes"][1]
