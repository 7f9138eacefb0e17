"""Cases of max_pool2d and avg_pool2d."""

from __future__ import annotations

import math

import numpy as np

from case_tables.case import Case


def _pool(op: str, shape, kernel, stride=None, padding=0, *, name="", inputs=None, bench=False, finite=True) -> Case:
    tags = [f"{k}{v}".replace(" ", "") for k, v in (("kernel", kernel), ("stride", stride), ("padding", padding))]
    return Case(
        op=op,
        name=name or "-".join(["x".join(map(str, shape)), *tags]),
        inputs=inputs or (lambda rng: {"x": (rng.permutation(math.prod(shape)) * 0.25 - 9.0).reshape(shape)}),
        run=lambda pf, x: getattr(pf.ops, op)(x, kernel, stride, padding),
        torch=lambda torch, x: getattr(torch.nn.functional, op)(x, kernel, stride, padding),
        grads=("x",),
        reduction=25,
        flops=1.0 * math.prod(shape),
        bytes=5.0 * math.prod(shape),
        bench=bench,
        finite=finite,
    )


def _ties(rng):
    """Windows of equal elements, NaN and infinities."""
    x = rng.integers(0, 3, (2, 2, 8, 9)).astype("float64")
    x[0, 0, :2, :2] = np.nan
    x[0, 0, 4, 4:6] = np.nan
    x[1, 0, :4, :4] = -np.inf
    x[1, 1, 3, 3] = np.inf
    return {"x": x}


SHAPES = [
    ((2, 3, 8, 8), 2),
    ((2, 3, 9, 7), 2),
    ((1, 1, 1, 1), 1),
    ((0, 2, 4, 4), 2),
    ((1, 2, 7, 40), (3, 2), (2, 1)),
    ((2, 2, 9, 35), 3, 1, 1),
    ((2, 2, 6, 10), (2, 5), 3, (1, 2)),
    ((1, 2, 5, 5), 2, 4),
    ((1, 3, 7, 7), 7),
]

CASES = [
    *(_pool(op, *shape) for op in ("max_pool2d", "avg_pool2d") for shape in SHAPES),
    _pool("max_pool2d", (), 3, 1, 1, name="ties-and-nan", inputs=_ties, finite=False),
    _pool("max_pool2d", (), 2, name="ties-and-nan-apart", inputs=_ties, finite=False),
    *(_pool(op, (64, 64, 28, 28), 2, bench=True) for op in ("max_pool2d", "avg_pool2d")),
]
