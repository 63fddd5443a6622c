"""What real tiles do, as pictures: settling against size, and what a fit leaves."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from hwmodels.crossbar import Capacitances, Device, Wires, elmore_bound, slowest_time_constant
from hwmodels.crossbar.fit import DeviceFit
from hwmodels.crossbar.settling import settled_conductance


def settling_figure(
    wires: Wires,
    capacitances: Capacitances,
    device: Device,
    key: jax.Array,
    sizes: Sequence[int] = (8, 16, 32, 64),
) -> Figure:
    """The slowest mode of square tiles and its bound against size; how far a read is off against its time."""
    low, high = device.limits(jnp.float32)
    slowest, bound = [], []
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for size in sizes:
        tile = low + (high - low) * jax.random.uniform(key, (size, size), jnp.float32)
        slowest.append(float(slowest_time_constant(tile, wires, capacitances)))
        bound.append(float(elmore_bound(tile, wires, capacitances)))
        times = slowest[-1] * np.linspace(0.25, 8, 12)
        settled = settled_conductance(tile, wires, capacitances, 100 * slowest[-1]).sum()
        read = [settled_conductance(tile, wires, capacitances, float(time)).sum() for time in times]
        right.semilogy(
            1e12 * times, [abs(1 - float(part / settled)) for part in read], label=f"{size}×{size}"
        )
    left.loglog(sizes, 1e12 * np.array(bound), "s--", color="grey", label="Elmore bound")
    left.loglog(sizes, 1e12 * np.array(slowest), "o-", color="#08519c", label="slowest mode")
    left.set(xlabel="rows = columns", ylabel="time constant [ps]")
    left.set_xticks(sizes, [str(size) for size in sizes])
    left.minorticks_off()
    left.legend()
    right.set(xlabel="time of the read [ps]", ylabel="|current / settled current − 1|", ylim=(1e-5, 1))
    right.legend()
    return figure


def residuals_figure(fit: DeviceFit) -> Figure:
    """The residuals of a fit read by read and all together, beside what the data say of the resistances."""
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    tile, histogram, spectrum = figure.subplots(1, 3)
    image = tile.imshow(fit.residuals, cmap="RdBu", vmin=-4, vmax=4, aspect="auto", interpolation="nearest")
    figure.colorbar(image, ax=tile)
    tile.set(title="(measured − fit) / noise", xlabel="column", ylabel="read")
    edges = np.linspace(-5, 5, 41)
    histogram.hist(fit.residuals.ravel(), edges, density=True, color="#9ecae1")
    places = np.linspace(-5, 5, 201)
    histogram.plot(places, np.exp(-(places**2) / 2) / np.sqrt(2 * np.pi), color="#08519c")
    histogram.set(title="all residuals, and the noise", xlabel="(measured − fit) / noise")
    names = [
        " ".join(
            f"{weight:+.1f}·ln {name}"
            for name, weight in zip(fit.fitted, combination, strict=True)
            if abs(weight) > 0.1
        )
        for combination in fit.combinations
    ]
    spectrum.barh(
        names, fit.looseness, color=["#b2182b" if loose > 0.1 else "#08519c" for loose in fit.looseness]
    )
    spectrum.axvline(0.1, color="grey", linewidth=1, linestyle=":")
    spectrum.set(title="standard errors", xscale="log", xlabel="relative; beyond the line: not identifiable")
    return figure
