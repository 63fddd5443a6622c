"""What a SpikeFlow chip spends, where its layers lie, and how its energy grows with T."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hwmodels import spikeflow
from hwmodels.workload import Workload


def _colors(names: Sequence[str]) -> dict[str, tuple[float, float, float, float]]:
    if len(names) <= 20:
        return {name: colormaps["tab20"](index) for index, name in enumerate(names)}
    return {name: colormaps["nipy_spectral"](index / len(names)) for index, name in enumerate(names)}


def _shares(axes: Axes, parts: Mapping[str, Any], label: str) -> None:
    """Horizontal bars, largest on top; parts below a thousandth are left out, and counted in the label."""
    total = sum(parts.values())
    shown = {name: v for name, v in sorted(parts.items(), key=lambda item: item[1]) if v >= 1e-3 * total}
    axes.barh(list(shown), [100 * value / total for value in shown.values()], color="#3182bd")
    rest = 100 * (1 - sum(shown.values()) / total)
    axes.set_xlabel(f"share of {label} [%]" + (f"; {rest:.2g} % not shown" if rest > 1e-9 else ""))


def breakdown_figure(cost: spikeflow.Cost) -> Figure:
    """Energy and area by component."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _shares(left, cost.energy_by_component_j, "energy")
    left.set_title(f"Energy: {1e6 * cost.energy_j:.3g} µJ per inference")
    _shares(right, cost.area_by_component_mm2, "area")
    right.set_title(f"Area: {cost.area_mm2:.3g} mm²")
    return figure


def layers_figure(cost: spikeflow.Cost) -> Figure:
    """Energy of each layer, its components stacked, and the time that each layer adds."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(cost.energy_by_layer_and_component_j)
    total = cost.energy_by_component_j
    components = [name for name in spikeflow.ENERGY_COMPONENTS if total[name] >= 0.01 * cost.energy_j]
    rest = [name for name in spikeflow.ENERGY_COMPONENTS if name not in components]
    stacks = {
        name: [1e6 * row[name] for row in cost.energy_by_layer_and_component_j.values()]
        for name in components
    }
    stacks["rest"] = [
        1e6 * sum(row[name] for name in rest) for row in cost.energy_by_layer_and_component_j.values()
    ]
    bottom: list[Any] = [0.0] * len(names)
    for (name, values), color in zip(stacks.items(), _colors(list(stacks)).values(), strict=True):
        left.bar(names, values, bottom=bottom, label=name, color=color)
        bottom = [b + v for b, v in zip(bottom, values, strict=True)]
    left.set_ylabel("energy [µJ]")
    figure.legend(loc="outside upper left", ncols=5, fontsize="small")
    right.bar(names, [1e6 * value for value in cost.latency_by_layer_s.values()], color="#e6550d")
    right.set_ylabel("added to the latency [µs]")
    for axes in (left, right):
        axes.tick_params(axis="x", labelrotation=90, labelsize="small")
    return figure


def floor_plan_figure(cost: spikeflow.Cost) -> Figure:
    """The mesh of tiles, each divided among the layers whose PEs it holds; unused PEs are white."""
    placement = cost.placement
    tiles, per_tile = int(placement.tiles), int(placement.pes_per_tile)
    width = int(spikeflow.mesh_width(tiles))
    colors = _colors([layer.name for layer in placement.layers])
    figure = Figure(figsize=(7.5, 5.5), layout="constrained")
    axes = figure.subplots()
    for tile in range(tiles):
        row, column = spikeflow.tile_position(tile, width)
        for layer in placement.layers:
            first = max(int(layer.first_pe), tile * per_tile) - tile * per_tile
            behind = min(int(layer.first_pe + layer.pes), (tile + 1) * per_tile) - tile * per_tile
            if behind > first:
                corner = (column + 0.05 + 0.9 * first / per_tile, row + 0.05)
                axes.add_patch(
                    Rectangle(corner, 0.9 * (behind - first) / per_tile, 0.9, color=colors[layer.name])
                )
        axes.add_patch(Rectangle((column + 0.05, row + 0.05), 0.9, 0.9, fill=False, linewidth=0.6))
    axes.set(xlim=(0, width), ylim=(width, 0), aspect="equal", xticks=[], yticks=[])
    axes.set_title(f"{int(placement.pes)} PEs in {tiles} tiles of {per_tile}; data enter at the upper left")
    handles = [Rectangle((0, 0), 1, 1, color=color) for color in colors.values()]
    figure.legend(handles, list(colors), loc="outside right center", fontsize="small")
    return figure


def timesteps_figure(
    workload: Workload, chip: spikeflow.Chip | None = None, timesteps: Sequence[int] = range(1, 9)
) -> Figure:
    """Energy against T with the part that does not grow, and the EDP relative to T = 1."""
    chip = spikeflow.Chip() if chip is None else chip
    costs = [spikeflow.evaluate(dataclasses.replace(workload, timesteps=t), chip) for t in timesteps]
    one, two = (spikeflow.evaluate(dataclasses.replace(workload, timesteps=t), chip) for t in (1, 2))
    fixed = 2 * one.energy_j - two.energy_j
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.bar(
        timesteps, [1e6 * (cost.energy_j - fixed) for cost in costs], bottom=1e6 * fixed, label="grows with T"
    )
    left.bar(timesteps, [1e6 * fixed] * len(costs), color="#bdbdbd", label="once per inference")
    left.set(xlabel="timesteps T", ylabel="energy [µJ]")
    left.legend()
    products = [cost.energy_delay_js / one.energy_delay_js for cost in costs]
    right.plot(timesteps, products, "o-", label="this chip")
    right.plot(timesteps, [t**2 for t in timesteps], ":", color="grey", label="T²")
    right.set(xlabel="timesteps T", ylabel="energy-delay product / that of T = 1", yscale="log")
    right.legend()
    return figure
