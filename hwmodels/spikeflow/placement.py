"""Layers to crossbars, PEs and tiles."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx

from hwmodels.rounding import as_scalar, ceil_divide, is_number
from hwmodels.spikeflow.chip import Chip
from hwmodels.spikeflow.conventions import CORRECTED, Conventions
from hwmodels.workload import Layer, Scalar, Workload


class LayerPlacement(eqx.Module):
    """What one layer occupies.

    **Arguments:**

    - `name`: of the layer.
    - `column_blocks`: blocks of `crossbar_columns` columns that its outputs take.
    - `row_blocks`: crossbars on top of one another, per column block.
    - `pes_per_block`: PEs that add up to one column block.
    - `duplicates`: copies of the layer that share its outputs.
    - `first_pe`: index of its first PE on the chip.
    - `utilisation`: fraction of the cells of its PEs that hold a weight, in [0, 1].
    """

    name: str = eqx.field(static=True)
    column_blocks: Scalar
    row_blocks: Scalar
    pes_per_block: Scalar
    duplicates: Scalar
    first_pe: Scalar
    utilisation: Scalar

    @property
    def crossbars(self) -> Scalar:
        """Crossbars that hold weights, in one copy of the layer."""
        return self.column_blocks * self.row_blocks

    @property
    def working_pes(self) -> Scalar:
        """PEs that one output position uses: those of one copy."""
        return self.column_blocks * self.pes_per_block

    @property
    def pes(self) -> Scalar:
        """PEs of all copies."""
        return self.working_pes * self.duplicates


class Placement(eqx.Module):
    """Where every layer lies: PEs are filled in the order of the layers, and tiles in the order of PEs.

    **Arguments:** `layers`: one [`LayerPlacement`][] each. `pes_per_tile`: of the chip.
    """

    layers: tuple[LayerPlacement, ...]
    pes_per_tile: Scalar

    @property
    def pes(self) -> Scalar:
        """PEs in use."""
        return self.layers[-1].first_pe + self.layers[-1].pes

    @property
    def tiles(self) -> Scalar:
        """Tiles, the last of which may be partly empty: `ceil(pes / pes_per_tile)`."""
        return ceil_divide(self.pes, self.pes_per_tile)


def place(
    workload: Workload,
    chip: Chip,
    conventions: Conventions = CORRECTED,
    duplicates: Sequence[Scalar] | None = None,
) -> Placement:
    r"""Assigns every layer its PEs, in any order of layer sizes.

    Kernel-split: $\lceil C_\text{in}/R\rceil\,k_h k_w$ crossbars per column block, one per kernel position;
    flatten: $\lceil k_h k_w C_\text{in}/R\rceil$. A bias that has a row is one more input of the last
    position. Column blocks: $s\,\lceil C_\text{out}/C\rceil$ with s columns per weight, as
    [`hwmodels.crossbar.program`][] puts each sign and slice on crossbars of its own. A PE holds
    `chip.kernel`² of a column block's crossbars.

    **Arguments:**

    - `workload`, `chip`: as for [`evaluate`][].
    - `conventions`: its `packed_pes` and `weight_slices` change the place of layers.
    - `duplicates`: copies of each layer, at least 1 (default: one each); see [`balance`][].

    **Returns:** a [`Placement`][]; Python integers, from a cache on the host, when the chip is concrete.

    **Raises:** `ValueError` for the wrong number of duplicates, or for fewer than one.

    **Source:** SpikeSim's PE count `ceil(C_in/X)·ceil(C_out/X)` is the kernel-split case of a kernel of the
    chip's own size.
    """
    copies = (1,) * len(workload.layers) if duplicates is None else tuple(duplicates)
    if len(copies) != len(workload.layers):
        raise ValueError(
            f"duplicates must have one entry per layer, {len(workload.layers)}, got {len(copies)}."
        )
    placed = []
    first_pe: Scalar = 0
    for layer, count in zip(workload.layers, copies, strict=True):
        count = as_scalar(count)
        if is_number(count) and not count >= 1:
            raise ValueError(f"layer {layer.name!r}: duplicates must be at least 1, got {count}.")
        placed.append(_place_layer(layer, chip, conventions, count, first_pe))
        first_pe = first_pe + placed[-1].pes
    return Placement(layers=tuple(placed), pes_per_tile=as_scalar(chip.pes_per_tile))


def columns_per_weight(chip: Chip, conventions: Conventions) -> Scalar:
    """Columns that one weight takes, each in another crossbar: its bits over those of a cell, twice for a
    differential pair.

    The DIFF module of "nice" and the reference column of "offset" need no second one.
    """
    slices = ceil_divide(chip.weight_bits, chip.cell.bits) if conventions.weight_slices else 1
    return 2 * slices if chip.signs == "differential" else slices


def has_bias_row(layer: Layer, chip: Chip) -> bool:
    """Whether a row of the layer's crossbars holds its bias."""
    return layer.bias and chip.bias == "row"


def weight_columns(chip: Chip) -> Scalar:
    """Columns of a crossbar that hold weights: all but a reference column."""
    return chip.crossbar_columns - 1 if chip.signs == "offset" else chip.crossbar_columns


def _place_layer(
    layer: Layer, chip: Chip, conventions: Conventions, duplicates: Scalar, first_pe: Scalar
) -> LayerPlacement:
    rows, columns, kernel = map(as_scalar, (chip.crossbar_rows, chip.crossbar_columns, chip.kernel))
    planes = columns_per_weight(chip, conventions)
    sizes = (layer.out_channels, rows, as_scalar(weight_columns(chip)), kernel)
    count: Callable[..., _Blocks] = _host_blocks if is_number(*sizes) else _blocks
    partition = chip.partition if conventions.packed_pes else None
    bias_rows = int(has_bias_row(layer, chip))
    blocks = count(math.prod(layer.kernel), layer.in_channels, bias_rows, *sizes, partition)
    column_blocks = planes * blocks.columns
    cells = column_blocks * blocks.pes_each * kernel * kernel * rows * columns
    used_cells = (math.prod(layer.kernel) * layer.in_channels + bias_rows) * layer.out_channels * planes
    return LayerPlacement(
        name=layer.name,
        column_blocks=column_blocks,
        row_blocks=blocks.rows,
        pes_per_block=blocks.pes_each,
        duplicates=duplicates,
        first_pe=first_pe,
        utilisation=used_cells / cells,
    )


class _Blocks(NamedTuple):
    columns: Scalar
    rows: Scalar
    pes_each: Scalar


def _blocks(
    positions: int,
    inputs: int,
    bias_rows: int,
    outputs: Scalar,
    rows: Scalar,
    columns: Scalar,
    kernel: Scalar,
    partition: str | None,
) -> _Blocks:
    """Column blocks of one plane, row blocks in each, and PEs in each; no partition: a PE for every block of
    inputs."""
    slots = kernel * kernel
    column_blocks = ceil_divide(outputs, columns)
    if partition is None:
        pes_each = ceil_divide(inputs + bias_rows, rows)
        return _Blocks(column_blocks, pes_each * slots, pes_each)
    if partition == "kernel-split":
        row_blocks = (positions - 1) * ceil_divide(inputs, rows) + ceil_divide(inputs + bias_rows, rows)
    else:
        row_blocks = ceil_divide(positions * inputs + bias_rows, rows)
    return _Blocks(column_blocks, row_blocks, ceil_divide(row_blocks, slots))


_host_blocks = functools.lru_cache(maxsize=65536)(_blocks)
