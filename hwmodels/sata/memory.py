"""Energy, leakage, area and access time of an SRAM buffer, interpolated in CACTI's grid.

CACTI takes about a second for each memory and cannot be differentiated. Its grid (11 sizes from 1 KiB to
1 MiB, blocks of 8 to 64 bytes, 1 to 4 banks) is interpolated on logarithms: a monotone cubic in size, and
Lagrange's quadratic through the three block widths and the three bank counts. The bus is 256 bits wide, so
that blocks of 32 and 64 bytes cost the same, and the width acts up to 32 bytes.
"""

import json
import math
from functools import lru_cache
from importlib import resources
from itertools import product
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from hwmodels import rounding
from hwmodels.ranges import LARGEST, Range, require_ranges
from hwmodels.sata.interpolation import MonotoneCubic
from hwmodels.workload import Scalar

WIDTHS, BANKS = (8, 16, 32), (1, 2, 4)
Grid = dict[tuple[int, int, int], np.ndarray]


class Sram(eqx.Module):
    """What a buffer costs, as CACTI has it.

    - `read_j`, `write_j`: one access to a block.
    - `bank_leakage_w`: of one bank.
    - `area_mm2`: of all banks.
    - `access_s`: time of an access.
    """

    read_j: Scalar
    write_j: Scalar
    bank_leakage_w: Scalar
    area_mm2: Scalar
    access_s: Scalar


def grid() -> Grid:
    """CACTI's own results, in SI units and mm²: (size, width on the bus, banks) to five numbers."""
    table = json.loads(resources.files(__package__).joinpath("cacti_28nm_sram.json").read_text())
    units = np.array([1e-9, 1e-9, 1e-3, 1.0, 1e-9])
    return {(r[0], min(r[1], WIDTHS[-1]), r[2]): np.array(r[3:]) * units for r in table["rows"]}


def estimate(points: Grid, size: int, width: int, banks: int) -> np.ndarray:
    """Logarithms of the five numbers at a cell where CACTI's result is absent.

    The median of several views: the cell's own column of sizes (twice), and each column that shares its width
    or its bank count, at the same size and at the same size of a bank, shifted by how the two columns differ
    where both are known. Leaving out known cells one at a time chose this rule among simpler ones.
    """
    own = {s: np.log(v) for (s, w, b), v in points.items() if (w, b) == (width, banks)}
    knots = np.log2(sorted(own))
    curve = MonotoneCubic(knots, np.array([own[s] for s in sorted(own)]))(math.log2(size))
    views = [curve, curve]
    for other_width, other_banks in product(WIDTHS, BANKS):
        if (other_width == width) == (other_banks == banks):
            continue
        for ratio in {1.0, other_banks / banks}:

            def partner(at: int, key: Any = (ratio, other_width, other_banks)) -> np.ndarray | None:
                value = points.get((round(at * key[0]), key[1], key[2]))
                return None if value is None else np.log(value)

            shared = [s for s in sorted(own) if partner(s) is not None]
            here = partner(size)
            if here is not None and len(shared) > 1:
                difference = np.array([own[s] - partner(s) for s in shared])
                at = [np.interp(math.log2(size), np.log2(shared), column) for column in difference.T]
                views.append(here + np.array(at))
    return np.median(views, axis=0)


def fill(points: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Completes the grid, with [`estimate`][] where CACTI's result was left out or has no valid organisation.

    **Returns:** log2 of the sizes, and the logarithms of the five numbers, shape (sizes, 3, 3, 5).
    """
    sizes = sorted({size for size, _, _ in points})
    values = np.empty((len(sizes), len(WIDTHS), len(BANKS), 5))
    for (k, size), (i, width), (j, banks) in product(enumerate(sizes), enumerate(WIDTHS), enumerate(BANKS)):
        known = points.get((size, width, banks))
        values[k, i, j] = estimate(points, size, width, banks) if known is None else np.log(known)
    return np.log2(sizes), values


@lru_cache(maxsize=1)
def _curves() -> MonotoneCubic:
    return MonotoneCubic(*fill(grid()))


def _weights(nodes: tuple[int, int, int], value: Any) -> list[Any]:
    """Lagrange weights on log2, held at the outermost nodes."""
    value = rounding.minimum(rounding.maximum(value, nodes[0]), nodes[-1])
    u = math.log2(value) if rounding.is_number(value) else jnp.log2(value)
    u0, u1, u2 = (math.log2(node) for node in nodes)
    return [
        (u - u1) * (u - u2) / ((u0 - u1) * (u0 - u2)),
        (u - u0) * (u - u2) / ((u1 - u0) * (u1 - u2)),
        (u - u0) * (u - u1) / ((u2 - u0) * (u2 - u1)),
    ]


def require_block(width_bytes: Any, banks: Any) -> None:
    """Raises `ValueError` for a block width or a bank count outside CACTI's grid."""
    require_ranges(
        Range("SRAM blocks have 8 to 64 bytes.", width_bytes, 8, 64),
        Range("SRAM buffers have 1 to 4 banks.", banks, 1, 4),
    )


def sram(size_bytes: Scalar, width_bytes: Scalar = 32, banks: Scalar = 2) -> Sram:
    """Interpolates CACTI's grid; exact at its points, and smooth between them.

    **Arguments:**

    - `size_bytes`: whole buffer. Outside 1 KiB to 1 MiB the outermost slopes continue.
    - `width_bytes`: block, 8 to 64 bytes.
    - `banks`: 1 to 4.

    **Returns:** an [`Sram`][] of Python floats for Python numbers, of arrays for traced ones.

    **Raises:** `ValueError` for a size below one byte and for widths and bank counts outside the grid.

    Source: CACTI 7.0 with the 28 nm template of SATA_Sim.
    """
    require_ranges(Range("an SRAM needs at least one byte.", size_bytes, 1, LARGEST))
    require_block(width_bytes, banks)
    size, width, count = (rounding.as_scalar(v) for v in (size_bytes, width_bytes, banks))
    if rounding.is_number(size, width, count):
        return _sram_of_numbers(size, width, count)
    return _evaluate(size, width, count)


@lru_cache(maxsize=4096)
def _sram_of_numbers(size: int | float, width: int | float, banks: int | float) -> Sram:
    return _evaluate(size, width, banks)


def _evaluate(size: Any, width: Any, banks: Any) -> Sram:
    number = rounding.is_number(size, width, banks)
    columns = _curves()(math.log2(size) if rounding.is_number(size) else jnp.log2(size))
    total: Any = 0.0
    for i, a in enumerate(_weights(WIDTHS, width)):
        for j, b in enumerate(_weights(BANKS, banks)):
            column = columns[i, j] if number else jnp.asarray(columns[i, j], jnp.result_type(float))
            total = total + a * b * column
    if number:
        return Sram(*(float(value) for value in np.exp(total)))
    return Sram(*jnp.exp(total))
