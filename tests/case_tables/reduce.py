"""Cases of sum, mean, max, min, argmax, argmin and cumsum."""

from __future__ import annotations

import math

from case_tables.case import Case

_ALL = None


def _normal(*shape):
    return lambda rng: {"x": rng.standard_normal(shape)}


def _reduced(shape, axis):
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    return math.prod(shape[a] for a in axes)


def _sum_like(op: str, shape, axis, keepdims: bool = False, *, bench: bool = False) -> Case:
    return Case(
        op=op,
        name=f"{'x'.join(map(str, shape))}-axis-{axis}{'-keepdims' if keepdims else ''}".replace(" ", ""),
        inputs=_normal(*shape),
        run=lambda pf, x: getattr(pf.ops, op)(x, axis, keepdims),
        torch=lambda torch, x: getattr(torch, op)(x, tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims),
        grads=("x",),
        reduction=_reduced(shape, axis),
        flops=math.prod(shape),
        bytes=4.0 * math.prod(shape),
        bytes_both=8.0 * math.prod(shape),
        bench=bench,
    )


def _extreme(op: str, shape, axis, keepdims: bool = False, *, bench: bool = False) -> Case:
    def torch(torch, x):
        return getattr(torch, "a" + op)(x, tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)

    return Case(
        op=op,
        name=f"{'x'.join(map(str, shape))}-axis-{axis}{'-keepdims' if keepdims else ''}".replace(" ", ""),
        inputs=lambda rng: {"x": rng.permutation(math.prod(shape)).reshape(shape) / 7.0},
        run=lambda pf, x: getattr(pf.ops, op)(x, axis, keepdims),
        torch=torch,
        grads=("x",),
        flops=math.prod(shape),
        bytes=4.0 * math.prod(shape),
        bytes_both=8.0 * math.prod(shape),
        bench=bench,
    )


def _index(op: str, shape, axis) -> Case:
    return Case(
        op=op,
        name=f"{'x'.join(map(str, shape))}-axis-{axis}",
        inputs=lambda rng: {"x": rng.permutation(math.prod(shape)).reshape(shape) / 7.0},
        run=lambda pf, x: getattr(pf.ops, op)(x, axis),
        torch=lambda torch, x: getattr(torch, op)(x, axis),
    )


def _cumsum(shape, axis) -> Case:
    return Case(
        op="cumsum",
        name=f"{'x'.join(map(str, shape))}-axis-{axis}",
        inputs=_normal(*shape),
        run=lambda pf, x: pf.ops.cumsum(x, axis),
        torch=lambda torch, x: torch.cumsum(x, axis),
        grads=("x",),
        reduction=shape[axis],
    )


_ROWS = [(3, n) for n in (1, 2, 15, 16, 17, 33, 255, 257)] + [(1, 4096), (2, 4097), (1, 12_500), (1, 20_481)]
_COLUMNS = [(n, 5) for n in (1, 2, 255, 256, 257, 600)] + [(3, 2049), (2, 4100)]

CASES = [
    *(_sum_like(op, shape, -1) for op in ("sum", "mean") for shape in _ROWS),
    *(_sum_like(op, shape, 0) for op in ("sum", "mean") for shape in _COLUMNS),
    _sum_like("sum", (0, 4), 0),
    _sum_like("sum", (4, 0), 0),
    _sum_like("sum", (4, 0), 1),
    *(
        _sum_like(op, (3, 5, 7, 2), axis, keepdims)
        for op in ("sum", "mean")
        for axis in (_ALL, 1, (0, 2), (1, 2), (0, -1), (0, 1, 3))
        for keepdims in (False, True)
    ),
    *(_extreme(op, shape, -1) for op in ("max", "min") for shape in [*_ROWS, (3, 63), (3, 64), (3, 65), (2, 129)]),
    *(_extreme(op, shape, 0) for op in ("max", "min") for shape in [*_COLUMNS, (3, 513)]),
    *(
        _extreme(op, (3, 5, 7, 2), axis, keepdims)
        for op in ("max", "min")
        for axis in (_ALL, 1, (0, 2), (1, 2))
        for keepdims in (False, True)
    ),
    *(
        _index(op, shape, axis)
        for op in ("argmax", "argmin")
        for shape in [(3, 5, 7), (2, 70, 17)]
        for axis in (0, 1, 2)
    ),
    _index("argmax", (3, 5, 7), None),
    *(_cumsum((3, 5, 4), axis) for axis in (0, 1, 2)),
    *(_cumsum(shape, 1) for shape in ((2, 256), (2, 300), (3, 513), (1, 5000), (2, 700, 17))),
    _cumsum((600, 3), 0),
    _cumsum((0, 3), 0),
    Case(
        op="max",
        name="first-of-equals",
        inputs=lambda rng: {"x": rng.integers(0, 3, (6, 100)).astype(float)},
        run=lambda pf, x: (pf.ops.max(x, -1), pf.ops.argmax(x, -1), pf.ops.max(x, 0), pf.ops.argmin(x, 0)),
        torch=None,
        grads=("x",),
        finite=False,
    ),
    Case(
        op="max",
        name="long-rows",
        inputs=lambda rng: {"x": rng.integers(0, 99, (2, 70_001)).astype(float)},
        run=lambda pf, x: (pf.ops.max(x, -1), pf.ops.argmax(x, -1), pf.ops.argmin(x, -1), pf.ops.min(x)),
        torch=lambda torch, x: (x.amax(-1), x.argmax(-1), x.argmin(-1), x.min()),
        finite=False,
    ),
    Case(
        op="max",
        name="signed-zeros",
        inputs=lambda rng: {"x": rng.choice([-0.0, 0.0], (9, 70))},
        run=lambda pf, x: (pf.ops.max(x, -1), pf.ops.min(x, -1), pf.ops.max(x, 0), pf.ops.min(x, 0)),
        torch=None,
        finite=False,
    ),
    *(
        Case(
            op=op,
            name="extremes",
            inputs=lambda rng: {
                "x": rng.choice(
                    [1.0, float("inf"), float("-inf"), float("nan"), 1e5], (40, 9), p=[0.6, 0.1, 0.1, 0.1, 0.1]
                )
            },
            run=lambda pf, x, op=op: (getattr(pf.ops, op)(x, -1), getattr(pf.ops, op)(x, 0)),
            torch=lambda torch, x, op=op: tuple(
                getattr(torch, op)(x, axis).values if op in ("max", "min") else getattr(torch, op)(x, axis)
                for axis in (-1, 0)
            ),
            finite=False,
        )
        for op in ("sum", "max", "min", "argmax", "argmin")
    ),
    Case(
        op="sum",
        name="integers",
        inputs=lambda rng: {"x": rng.integers(-9, 9, (4, 5, 6))},
        run=lambda pf, x: (
            pf.ops.sum(x, 1),
            pf.ops.sum(x),
            pf.ops.max(x, 0),
            pf.ops.argmin(x, -1),
            pf.ops.cumsum(x, 1),
        ),
        torch=lambda torch, x: (x.sum(1), x.sum(), x.amax(0), x.argmin(-1), x.cumsum(1)),
    ),
    _sum_like("sum", (4096, 768), -1, bench=True),
    _sum_like("sum", (4096, 768), 0, bench=True),
    _sum_like("sum", (4096, 768), None, bench=True),
    _extreme("max", (4096, 768), -1, bench=True),
    _extreme("max", (4096, 768), 0, bench=True),
    _extreme("max", (4096, 768), None, bench=True),
]
