"""Small line and bar charts as SVG text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 68, 26, 40, 44
NAME_WIDTH, BAR_HEIGHT, NUMBER_WIDTH = 130, 20, 48
COLORS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030", "#744210", "#12a5b5", "#4a5568")

Points = Sequence[tuple[float, float]]


def line_chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Points], names_from: float = 0.0) -> str:
    """Returns an SVG of the named lines, each (x, y) points; those not finite are left out.

    The names stand at the right, from the part `names_from` of the height downwards.
    """
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    x_ticks = _ticks([x for points in finite.values() for x, _ in points])
    y_ticks = _ticks([y for points in finite.values() for _, y in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

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
        parts += [_line(x, y, WIDTH - RIGHT, y), _text(x - 6, y + 4, label, anchor="end")]
    for index, (name, points) in enumerate(finite.items()):
        color = COLORS[index % len(COLORS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        if len(set(points)) == 1:
            # A line of one point shows nothing.
            x, y = place(*points[0])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')
        style = f'fill="{color}" font-weight="bold"'
        y = TOP + names_from * (HEIGHT - TOP - BOTTOM) + 16 * (index + 1)
        parts.append(_text(WIDTH - RIGHT - 8, y, name, style, anchor="end"))
    return "\n".join([*parts, "</svg>", ""])


def bar_chart(title: str, names: Sequence[str], panels: Mapping[str, Sequence[float | None]]) -> str:
    """Returns an SVG with a row for each name and panels side by side, a bar from 0 in each row; None has no bar."""
    height = TOP + BAR_HEIGHT * (len(names) + 1) + 10
    width = (WIDTH - NAME_WIDTH - RIGHT) / len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        _text(WIDTH / 2, 22, title, 'font-size="15"'),
    ]
    rows = [TOP + BAR_HEIGHT * (row + 1) for row in range(len(names))]
    parts += [_text(NAME_WIDTH - 8, y + 14, name, anchor="end") for y, name in zip(rows, names, strict=True)]
    for index, (panel, values) in enumerate(panels.items()):
        left, color = NAME_WIDTH + index * width, COLORS[index % len(COLORS)]
        parts.append(_text(left, TOP + 12, panel, 'font-weight="bold"', anchor="start"))
        scale = (width - NUMBER_WIDTH) / (max((v for v in values if v is not None), default=0.0) or 1.0)
        for y, value in zip(rows, values, strict=True):
            if value is not None and math.isfinite(value):
                bar = f'width="{value * scale:.1f}" height="{BAR_HEIGHT - 6}" fill="{color}"'
                parts.append(f'<rect x="{left:.1f}" y="{y + 3}" {bar}/>')
                number = f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:.0f}"
                parts.append(_text(left + value * scale + 4, y + 14, number, anchor="start"))
    return "\n".join([*parts, "</svg>", ""])


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
