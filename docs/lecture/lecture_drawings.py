"""The drawings of docs/lecture.md, as SVG."""

from __future__ import annotations

from html import escape

import numpy as np

import pyformer as pf

INK, FAINT, LINE = "#1f2328", "#59636e", "#8c959f"
FILLS = {"norm": "#fff4d6", "linear": "#dbe9ff", "number": "#e3f5e1", "add": "#fde3ec", "none": "#fff"}


def drawing(width: int, height: int, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
    arrow = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker></defs>'
    )
    paper = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([f'{head} font-size="13" fill="{INK}">', arrow, paper, *parts, "</svg>", ""])


def text(x: float, y: float, words: str, style: str = "", anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" {style}>{escape(words)}</text>'


def arrow(*points: tuple[float, float]) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="1.5" marker-end="url(#tip)"/>'


def block() -> str:
    """A block, norms before its parts: from x at the top to x at the bottom, beside each step what it makes."""
    middle, wide = 300, 230
    steps = [
        ("layer_norm", "norm", "n x C"),
        ("x Wq, x Wk, x Wv", "linear", "queries, keys, values: each n x H x C/H"),
        ("q · k / √(C/H)", "number", "scores: H x n x n"),
        ("mask, softmax", "number", "weights: H x n x n, rows add up to 1"),
        ("weights times values", "number", "gathered: n x H x C/H, side by side n x C"),
        ("x Wo", "linear", "heads mixed: n x C"),
        ("+", "add", "n x C: the residual stream"),
        ("layer_norm", "norm", "n x C"),
        ("x W1, four times as wide", "linear", "n x 4C"),
        ("GELU", "number", "n x 4C, each number alone"),
        ("x W2", "linear", "n x C"),
        ("+", "add", "n x C: into the next block"),
    ]
    parts = [text(middle, 22, "x: n tokens, C numbers each (n x C)", 'font-weight="bold"')]
    y, starts, bypass = 30.0, [], middle - wide / 2 - 50
    parts.append(arrow((middle, y), (middle, y + 24)))
    starts.append(y + 8)
    for number, (name, kind, makes) in enumerate(steps):
        y += 24
        if kind == "add":
            parts.append(f'<circle cx="{middle}" cy="{y + 14:g}" r="14" fill="{FILLS[kind]}" stroke="{LINE}"/>')
            begin = starts[-1]
            parts.append(arrow((middle, begin), (bypass, begin), (bypass, y + 14), (middle - 15, y + 14)))
        else:
            box = f'x="{middle - wide / 2:g}" y="{y:g}" width="{wide}" height="28" rx="5"'
            parts.append(f'<rect {box} fill="{FILLS[kind]}" stroke="{LINE}"/>')
        parts.append(text(middle, y + 19, name))
        parts.append(text(middle + wide / 2 + 14, y + 19, makes, f'fill="{FAINT}" font-size="12"', "start"))
        y += 28
        parts.append(arrow((middle, y), (middle, y + 24)))
        if kind == "add" and number < len(steps) - 1:
            starts.append(y + 8)
    for place, name in ((170, "attention: tokens meet"), (508, "MLP: each token alone")):
        turn = f'transform="translate(106 {place + 30}) rotate(-90)" font-weight="bold"'
        parts.append(text(0, 0, name, turn))
    parts.append(text(middle, y + 40, "x, the same shape as above", 'font-weight="bold"'))
    return drawing(760, int(y + 56), parts)


def masks() -> str:
    """Which keys a query may see: asked of `nn.attention_weights`, whose weights are 0 where it may not."""
    n, cell, parts = 6, 20, []
    x = pf.zeros(1, n, 1, 4)
    kinds = {
        "all": {},
        "causal": {"causal": True},
        "causal, a window of 3": {"causal": True, "window": 3},
        "padding after 4": {"key_lengths": pf.tensor([4]), "query_offset": pf.tensor([0])},
    }
    for number, (name, options) in enumerate(kinds.items()):
        seen = pf.nn.attention_weights(x, x, **options).numpy()[0, 0] > 0
        left, top = 44 + number * 176, 56
        parts.append(text(left + n * cell / 2, 22, name, 'font-weight="bold"'))
        parts.append(text(left + n * cell / 2, 42, "key 1 … 6", f'fill="{FAINT}" font-size="11"'))
        turn = f'transform="translate({left - 8} {top + n * cell / 2}) rotate(-90)" fill="{FAINT}" font-size="11"'
        parts.append(text(0, 0, "query 6 … 1", turn))
        for i, j in np.ndindex(n, n):
            fill = "#1f6feb" if seen[i, j] else "#eaeef2"
            box = f'x="{left + j * cell}" y="{top + i * cell}" width="{cell}" height="{cell}"'
            parts.append(f'<rect {box} fill="{fill}" stroke="#fff"/>')
    return drawing(4 * 176 + 20, 56 + n * cell + 14, parts)
