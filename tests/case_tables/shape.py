"""Cases of the ops that move elements: shape, indexing, embedding, gather."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case


def _normal(*shape):
    return lambda rng: {"x": rng.standard_normal(shape)}


def _move(op, name, shape, run, torch):
    return Case(op, name, _normal(*shape), run, torch, grads=("x",))


def _index(name, shape, key):
    return _move("index", name, shape, lambda pf, x: x[key], lambda torch, x: x[key])


def _two(*shapes):
    return lambda rng: {f"x{i}": rng.standard_normal(s) for i, s in enumerate(shapes)}


def _embedding(tokens, rows, cols):
    def inputs(rng):
        return {"ids": rng.integers(0, max(rows, 1), tokens), "weight": rng.standard_normal((rows, cols))}

    return Case(
        "embedding",
        f"{tokens}x{rows}x{cols}",
        inputs,
        lambda pf, ids, weight: pf.ops.embedding(ids, weight),
        lambda torch, ids, weight: torch.nn.functional.embedding(ids, weight),
        grads=("weight",),
        reduction=max(tokens) if isinstance(tokens, tuple) else tokens,
    )


CASES = [
    _move("reshape", "merge", (3, 4, 5), lambda pf, x: x.reshape(12, -1), lambda torch, x: x.reshape(12, -1)),
    _move("reshape", "empty", (0, 4), lambda pf, x: x.reshape(2, 0), lambda torch, x: x.reshape(2, 0)),
    _move("transpose", "2d", (17, 33), lambda pf, x: x.T, lambda torch, x: x.T.contiguous()),
    _move(
        "transpose",
        "heads",
        (2, 5, 3, 8),
        lambda pf, x: pf.ops.transpose(x, (0, 2, 1, 3)),
        lambda torch, x: x.permute(0, 2, 1, 3).contiguous(),
    ),
    _index("row", (5, 7), 3),
    _index("last-row", (5, 7), -1),
    _index("slice", (9, 7), slice(2, 8, 3)),
    _index("inner", (4, 5, 6), (slice(None), 2, slice(1, 5))),
    _index("ellipsis", (4, 5, 6), (..., 0)),
    _index("new-axis", (4, 5), (None, slice(1, 3), None)),
    _index("empty", (4, 5), slice(3, 3)),
    _index("array", (6, 3, 2), np.array([[0, 5], [2, 2], [-1, 0]])),
    _index("pairs", (6, 3, 2), (np.array([0, 5, 5]), np.array([2, 0, 0]))),
    _index("mask", (4, 3), np.array([True, False, True, True])),
    Case(
        "index",
        "reversed",
        _normal(9, 3),
        lambda pf, x: x[::-2],
        lambda torch, x: x.flip(0)[::2],
        grads=("x",),
    ),
    Case(
        "concat",
        "axis1",
        _two((3, 2), (3, 0), (3, 5)),
        lambda pf, x0, x1, x2: pf.ops.concat([x0, x1, x2], axis=1),
        lambda torch, x0, x1, x2: torch.cat([x0, x1, x2], dim=1),
        grads=("x0", "x1", "x2"),
    ),
    Case(
        "stack",
        "last",
        _two((3, 4), (3, 4)),
        lambda pf, x0, x1: pf.ops.stack([x0, x1], axis=-1),
        lambda torch, x0, x1: torch.stack([x0, x1], dim=-1),
        grads=("x0", "x1"),
    ),
    _move(
        "split",
        "three",
        (4, 9),
        lambda pf, x: pf.ops.split(x, [2, 3, 4], axis=1),
        lambda torch, x: x.split([2, 3, 4], dim=1),
    ),
    _move(
        "pad",
        "around",
        (3, 4),
        lambda pf, x: pf.ops.pad(x, [(1, 2), (0, 3)]),
        lambda torch, x: torch.nn.functional.pad(x, (0, 3, 1, 2)),
    ),
    Case(
        "gather",
        "axis1",
        lambda rng: {"x": rng.standard_normal((5, 9)), "index": rng.integers(0, 9, (4, 6))},
        lambda pf, x, index: pf.ops.gather(x, index, 1),
        lambda torch, x, index: torch.gather(x, 1, index),
        grads=("x",),
        reduction=6,
    ),
    *(_embedding(*args) for args in [((2, 7), 11, 16), ((0,), 5, 3), ((300,), 2, 67), ((5,), 3, 1)]),
]
