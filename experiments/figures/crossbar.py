"""What the wires of a crossbar do, as pictures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from hwmodels.checks import at_edge
from hwmodels.crossbar import Crossbar, ProgrammedKernel, operating_point, program_kernels

_operating_point = at_edge(operating_point, rarely=True)


def ir_drop_figure(programmed: ProgrammedKernel) -> Figure:
    """The first tile of a kernel with every row at 1 V: what reaches each device, and its current."""
    tile = programmed.conductances[0, 0, 0, 0]
    point = _operating_point(tile, jnp.ones(len(tile), tile.dtype), programmed.wires)
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    fields = {
        "programmed conductance [µS]": 1e6 * tile,
        "voltage across the device [V]": point.row_voltages - point.column_voltages,
        "device current [µA]": 1e6 * point.device_currents,
    }
    for axes, (title, field) in zip(figure.subplots(1, 3), fields.items(), strict=True):
        image = axes.imshow(field, cmap="viridis")
        axes.set_title(title, fontsize="medium")
        axes.set(xlabel="column (driver at the left)", ylabel="row (sense below)")
        figure.colorbar(image, ax=axes)
    power_mw = 1e3 * float(point.power_w)
    size = "×".join(map(str, tile.shape))
    figure.suptitle(f"IR drop in one {size} tile, all rows at 1 V: {power_mw:.3g} mW")
    return figure


def weights_figure(kernel: jax.Array, programmed: Mapping[str, ProgrammedKernel]) -> Figure:
    """Effective against ideal weights of one kernel, on each design."""
    figure = Figure(figsize=(3.4 * len(programmed), 3.6), layout="constrained")
    ideal = np.asarray(kernel).ravel()
    # Some thousand dots show the cloud; more only slow the file.
    shown = np.linspace(0, len(ideal) - 1, min(len(ideal), 4000)).astype(int)
    end = np.abs(ideal).max() * 1.05
    # Of all panels alike: a chip without a gain may shift or stretch what it holds beyond the ideal.
    reach = max(np.abs(on_chip.weights).max() for on_chip in programmed.values())
    height = max(end, float(reach) * 1.05)
    panels = figure.subplots(1, len(programmed), squeeze=False, sharey=True)[0]
    for axes, (name, on_chip) in zip(panels, programmed.items(), strict=True):
        found = np.asarray(on_chip.weights).ravel()
        axes.plot([-end, end], [-end, end], color="grey", linewidth=1)
        axes.plot(ideal[shown], found[shown], ".", markersize=2, color="#08519c", alpha=0.5)
        axes.set(title=name, xlabel="ideal weight", xlim=(-end, end), ylim=(-height, height))
    panels[0].set_ylabel("effective weight")
    return figure


def tile_size_figure(
    kernels: Any, name: str, crossbar: Crossbar, key: jax.Array, sizes: Sequence[int] = (16, 32, 64)
) -> Figure:
    """What square tiles of each size make of one kernel: loss of conductance, error of the weights.

    **Arguments:** `name`: of the kernel among `kernels`, as `jax.tree_util.keystr` writes its path. They are
    all programmed: sizes that were programmed before are compiled.
    """
    leaves = jax.tree_util.tree_leaves_with_path(kernels)
    kernel = next(leaf for path, leaf in leaves if jax.tree_util.keystr(path) == name)
    mean, worst, error = [], [], []
    for size in sizes:
        chip = program_kernels(kernels, dataclasses.replace(crossbar, rows=size, columns=size), key)[name]
        cells = np.asarray(chip.conductances) > 0
        kept = np.asarray(chip.effective)[cells] / np.asarray(chip.conductances)[cells]
        mean.append(1 - float(kept.mean()))
        worst.append(1 - float(kept.min()))
        error.append(float(np.abs(chip.weights - kernel).sum() / np.abs(kernel).sum()))
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, weights = figure.subplots(1, 2)
    loss.plot(sizes, worst, "o-", label="worst device")
    loss.plot(sizes, mean, "o-", label="mean")
    loss.set(ylabel="1 − G_eff / G", ylim=(0, 1))
    loss.legend()
    weights.plot(sizes, error, "o-", color="#08519c")
    weights.set(ylabel="Σ|effective − ideal weight| / Σ|ideal weight|")
    weights.set_ylim(bottom=0)
    for axes in (loss, weights):
        axes.set(xlabel="rows = columns", xscale="log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
    return figure
