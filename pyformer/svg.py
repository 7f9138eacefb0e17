"""Small line and dot charts as SVG text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 68, 26, 40, 44
NAME_WIDTH, ROW_HEIGHT, NUMBER_WIDTH = 130, 20, 48
LETTER, LINE = 7, 15
COLORS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030", "#744210", "#12a5b5", "#4a5568")

Points = Sequence[tuple[float, float]]


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Points],
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Returns an SVG of the named lines, each (x, y) points; those not finite are left out.

    On a logarithmic axis equal ratios are equally far apart; points at or below 0 are left out. Each name stands beside
    its line's end.
    """
    finite = {
        name: [(x, y) for x, y in points if _is_drawable(x, log_x) and _is_drawable(y, log_y)]
        for name, points in lines.items()
    }
    x_ticks = _ticks_of([x for points in finite.values() for x, _ in points], log_x)
    y_ticks = _ticks_of([y for points in finite.values() for _, y in points], log_y)
    right = WIDTH - max(RIGHT, 12 + LETTER * max((len(name) for name in lines), default=0))

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = _part(x, x_ticks, log_x), _part(y, y_ticks, log_y)
        return LEFT + across * (right - LEFT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(WIDTH / 2, 22, title, 'font-size="15"'),
        _text(WIDTH / 2, HEIGHT - 8, x_label),
        _text(0, 0, y_label, f'transform="translate(14 {HEIGHT / 2}) rotate(-90)"'),
    ]
    for tick, label in zip(x_ticks, _labels(x_ticks), strict=True):
        x, y = place(tick, y_ticks[0])
        parts += [_line(x, y, x, TOP), _text(x, y + 16, label)]
    for tick, label in zip(y_ticks, _labels(y_ticks), strict=True):
        x, y = place(x_ticks[0], tick)
        parts += [_line(x, y, right, y), _text(x - 6, y + 4, label, anchor="end")]
    for index, points in enumerate(finite.values()):
        color = COLORS[index % len(COLORS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        if len(set(points)) == 1:
            # A line of one point shows nothing.
            x, y = place(*points[0])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')
    ends = {name: place(*points[-1])[1] if points else HEIGHT - BOTTOM for name, points in finite.items()}
    for index, y in enumerate(_apart(list(ends.values()))):
        style = f'fill="{COLORS[index % len(COLORS)]}" font-weight="bold"'
        parts.append(_text(right + 6, y + 4, list(ends)[index], style, anchor="start"))
    return "\n".join([*parts, "</svg>", ""])


def _is_drawable(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0.0 or not log)


def _part(value: float, ticks: Sequence[float], log: bool) -> float:
    """Where a value stands between the first tick, 0, and the last, 1."""
    if log:
        return math.log(value / ticks[0]) / math.log(ticks[-1] / ticks[0])
    return (value - ticks[0]) / (ticks[-1] - ticks[0])


def _apart(heights: Sequence[float]) -> list[float]:
    """The heights, moved as little as lines of text need that must not cover each other."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    moved = list(heights)
    for above, below in itertools.pairwise(order):
        moved[below] = max(moved[below], moved[above] + LINE)
    lowest = HEIGHT - BOTTOM
    for i in reversed(order):
        moved[i] = min(moved[i], lowest)
        lowest = moved[i] - LINE
    return moved


def dot_chart(title: str, names: Sequence[str], panels: Mapping[str, Sequence[float | None]]) -> str:
    """Returns an SVG with a row for each name and panels side by side; None has no dot.

    Each panel goes from its least value to its largest, so that differences are seen; it has no 0. A panel's name may
    have several lines.
    """
    heads = max(panel.count("\n") + 1 for panel in panels)
    first = TOP + LINE * heads + 8
    height = first + ROW_HEIGHT * len(names) + 10
    width = (WIDTH - NAME_WIDTH - RIGHT) / len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        _text(WIDTH / 2, 22, title, 'font-size="15"'),
    ]
    rows = [first + ROW_HEIGHT * row + ROW_HEIGHT / 2 for row in range(len(names))]
    for y, name in zip(rows, names, strict=True):
        parts += [_text(NAME_WIDTH - 8, y + 4, name, anchor="end"), _line(NAME_WIDTH, y, WIDTH - RIGHT, y)]
    for index, (panel, values) in enumerate(panels.items()):
        left, color = NAME_WIDTH + index * width, COLORS[index % len(COLORS)]
        for line, words in enumerate(panel.split("\n")):
            style = 'font-weight="bold"' if line == 0 else ""
            parts.append(_text(left, TOP + LINE * (line + 1), words, style, anchor="start"))
        there = [value for value in values if value is not None and math.isfinite(value)]
        low, span = min(there, default=0.0), max(there, default=0.0) - min(there, default=0.0)
        for y, value in zip(rows, values, strict=True):
            if value is not None and math.isfinite(value):
                x = left + 5 + (value - low) / (span or 1.0) * (width - NUMBER_WIDTH - 16)
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
                number = f"{value:#.4g}".rstrip(".") if value < 999.5 else f"{value:.0f}"
                parts.append(_text(x + 8, y + 4, number, anchor="start"))
    return "\n".join([*parts, "</svg>", ""])


def _ticks_of(values: Sequence[float], log: bool) -> list[float]:
    return _powers(values) if log and values else _ticks(values)


def _powers(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last at or below all values to the first at or above."""
    low, high = min(values) * 1.000001, max(values) * 0.999999
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    known = [float(f"{m}e{power}") for power in powers for m in (1, 2, 5)]
    first = max(i for i, tick in enumerate(known) if tick <= low)
    last = min((i for i, tick in enumerate(known) if tick >= high), default=len(known) - 1)
    return known[first : max(last, first + 1) + 1]


def _ticks(values: Sequence[float]) -> list[float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [i * step for i in range(first, last + 1)]


def _labels(ticks: Sequence[float]) -> list[str]:
    """The ticks of an axis, large ones in thousands (k), millions (M) or billions (G), all in the same."""
    largest = max(map(abs, ticks))
    units = ((1e13, 1.0, ""), (1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"), (0.0, 1.0, ""))
    size, sign = next((size, sign) for start, size, sign in units if largest >= start)
    return [f"{tick / size:.10g}{sign}" if tick else "0" for tick in ticks]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#e2e2e2"/>'


def _text(x: float, y: float, text: str, attributes: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {attributes}>{escape(text)}</text>'
