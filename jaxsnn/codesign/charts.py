"""Charts as inline SVG: they need no library, and say their values where a pointer rests on them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from jaxsnn.codesign.units import si

_SHADES = 8
"""Colours that the page's style sheet has for parts, `.c0` to `.c7`."""


@dataclass(frozen=True)
class Chart:
    """A figure of a page: its title, what it says in words, and the SVG."""

    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True)
class Point:
    """One chip: accuracy and its standard deviation as fractions, None where none was measured, and energy in
    joule."""

    name: str
    energy_j: float
    accuracy: float
    spread: float | None = None


def scatter(points: Sequence[Point], software: float | None = None) -> Chart:
    """Accuracy against the energy of one inference, on a logarithmic axis.

    **Arguments:** `software`: the accuracy without hardware, drawn as a line.
    """
    width, height, left, right, top, bottom = 640, 340, 58, 24, 16, 46
    powers = [math.log10(point.energy_j) for point in points]
    low, high = math.floor(min(powers) * 2 - 0.2) / 2, math.ceil(max(powers) * 2 + 0.2) / 2
    lowest = min([point.accuracy - (point.spread or 0.0) for point in points])
    bottom_value = 0.0 if lowest < 0.5 else math.floor(lowest * 20 - 0.5) / 20
    top_value = 1.0

    def x(power: float) -> float:
        return left + (power - low) / (high - low) * (width - left - right)

    def y(accuracy: float) -> float:
        share = (accuracy - bottom_value) / (top_value - bottom_value)
        return height - bottom - share * (height - top - bottom)

    parts = []
    for step in range(6):
        value = bottom_value + step * (top_value - bottom_value) / 5
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
            f'<text class="tick" x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.0%}</text>'
        )
    for decade in range(math.ceil(low), math.floor(high) + 1):
        at, label = x(float(decade)), si(10.0**decade, "J").replace(".00", "")
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{height - bottom}"/>'
            f'<text class="tick" x="{at:.1f}" y="{height - bottom + 18}" text-anchor="middle">'
            f"{label}</text>"
        )
    parts.append(
        f'<text class="axis" x="{(left + width - right) / 2}" y="{height - 8}" text-anchor="middle">'
        "energy of one inference</text>"
    )
    if software is not None:
        parts.append(
            f'<line class="software" x1="{left}" x2="{width - right}" y1="{y(software):.1f}" '
            f'y2="{y(software):.1f}"><title>software: {software:.2%}</title></line>'
            f'<text class="tick" x="{width - right}" y="{y(software) - 5:.1f}" text-anchor="end">'
            "software</text>"
        )
    taken: list[tuple[float, float]] = []
    for index, (point, power) in enumerate(zip(points, powers, strict=True)):
        at_x, at_y = x(power), y(point.accuracy)
        spread = "–" if point.spread is None else f"{point.spread:.2%}"
        said = f"{point.name}: {point.accuracy:.2%} ± {spread}, {si(point.energy_j, 'J')}"
        bar = ""
        if point.spread:
            high_y, low_y = y(min(point.accuracy + point.spread, 1)), y(point.accuracy - point.spread)
            bar = f'<line x1="{at_x:.1f}" x2="{at_x:.1f}" y1="{high_y:.1f}" y2="{low_y:.1f}"/>'
        # A label goes below its neighbour's where both would lie on one line.
        label_y = at_y + 4
        while any(abs(label_y - other) < 13 and abs(at_x - where) < 170 for where, other in taken):
            label_y += 13
        taken.append((at_x, label_y))
        before = at_x > width * 0.62
        if label_y > at_y + 17:
            beside = at_x + (-9 if before else 9)
            bar += (
                f'<line class="leader" x1="{at_x:.1f}" x2="{beside:.1f}" y1="{at_y:.1f}" '
                f'y2="{label_y - 4:.1f}"/>'
            )
        parts.append(
            f'<g class="point c{index % _SHADES}"><title>{escape(said)}</title>{bar}'
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="6"/>'
            f'<text x="{at_x + (-11 if before else 11):.1f}" y="{label_y:.1f}"'
            f' text-anchor="{"end" if before else "start"}">{escape(point.name)}</text></g>'
        )
    said = "; ".join(f"{one.name}, {one.accuracy:.1%} at {si(one.energy_j, 'J')}" for one in points)
    return Chart(
        "Accuracy against energy",
        "One point a chip: up is better, left is cheaper; the bar is the standard deviation between chips.",
        _svg(width, height, f"Scatter of accuracy against the energy of one inference: {said}.", parts),
    )


def breakdown(title: str, unit: str, bars: Mapping[str, Mapping[str, float]]) -> Chart:
    """One bar a chip, cut into the shares of its parts; each bar is as long as its own total is whole.

    **Arguments:** `bars`: of each chip, what each part takes, in `unit`.
    """
    width, row, top = 640, 62, 4
    parts, said = [], []
    weight: dict[str, float] = {}
    for values in bars.values():
        for part, value in values.items():
            weight[part] = weight.get(part, 0.0) + value / (sum(values.values()) or 1.0)
    # A part has one colour on all bars; the heaviest ones have colours of their own.
    colours = {
        part: index % _SHADES for index, part in enumerate(sorted(weight, key=lambda part: -weight[part]))
    }
    for number, (name, values) in enumerate(bars.items()):
        total = sum(values.values())
        order = sorted((part for part in values if values[part] > 0), key=lambda part: -values[part])
        y = top + number * row
        parts.append(
            f'<text class="name" x="0" y="{y + 14}">{escape(name)}</text>'
            f'<text class="tick" x="{width}" y="{y + 14}" text-anchor="end">{_value(total, unit)}</text>'
        )
        x = 0.0
        for part in order:
            share = values[part] / total
            wide = share * width
            label = f"{name}, {part}: {_value(values[part], unit)}, {share:.1%}"
            parts.append(
                f'<g class="part c{colours[part]}"><title>{escape(label)}</title>'
                f'<rect x="{x:.2f}" y="{y + 20}" width="{max(wide - 1, 0.5):.2f}" height="24"/>'
            )
            if wide > 8 * len(part) + 8:
                parts.append(f'<text x="{x + 5:.2f}" y="{y + 36}">{escape(part)}</text>')
            parts.append("</g>")
            x += wide
        largest = ", ".join(f"{part} {values[part] / total:.0%}" for part in order[:3])
        said.append(f"{name} {_value(total, unit)} ({largest})")
    return Chart(
        title,
        "Each bar is one chip's total, cut by what takes it; rest the pointer on a part for its value.",
        _svg(width, top + row * len(bars), f"Bars of {title.lower()}: {'; '.join(said)}.", parts),
    )


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
    )


def _value(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}" if unit == "mm²" else si(value, unit)
