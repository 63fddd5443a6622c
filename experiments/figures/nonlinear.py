"""Cells that are no resistors, as pictures: their laws, and what they do to a tile."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from hwmodels.crossbar import Wires, sense_currents
from hwmodels.crossbar.cells import Cell


def law_figure(cells: Mapping[str, Cell], siemens: float, volt: float) -> Figure:
    """The current of each cell, of one conductance, for row voltages of either sign."""
    volts = jnp.linspace(-volt, volt, 201)
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(volts, 1e6 * siemens * volts, color="grey", linestyle=":", label="G·v")
    for name, cell in cells.items():
        current = cell.between(jnp.full_like(volts, siemens), volts, jnp.zeros_like(volts))
        axes.plot(volts, 1e6 * current, label=name)
    axes.set(xlabel="voltage [V]", ylabel="current [µA]", title=f"G = {1e6 * siemens:.3g} µS")
    axes.legend(fontsize=8)
    return figure


def error_map_figure(
    G: jax.Array, wires: Wires, cell: Cell, volt: float, key: jax.Array, *, activity: float = 0.2
) -> Figure:
    """Currents of a nonlinear tile less those of the linear one, for random spikes: by input and column."""
    spikes = jax.random.bernoulli(key, activity, (len(G), len(G))).astype(G.dtype)
    linear = sense_currents(G, volt * spikes, wires)
    found = sense_currents(G, volt * spikes, wires, cell)
    error = np.asarray((found - linear) / jnp.max(jnp.abs(linear)))
    end = np.abs(error).max()
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(error, cmap="RdBu_r", vmin=-end, vmax=end)
    axes.set(xlabel="column", ylabel="input vector", title="nonlinear − linear, of the greatest current")
    figure.colorbar(image, ax=axes)
    return figure
