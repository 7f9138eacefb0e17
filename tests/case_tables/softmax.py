"""Cases of softmax and log_softmax."""

from __future__ import annotations

import math

from case_tables.case import Case


def _written(op, axis):
    """log_softmax as kernels compute it: a probe of torch's own would not see what the logarithm of nearly 1 loses."""
    if op == "softmax":
        return lambda torch, x: torch.softmax(x, axis)

    def log_softmax(torch, x):
        shifted = x - x.amax(axis, keepdim=True).detach()
        return shifted - torch.log(torch.exp(shifted).sum(axis, keepdim=True))

    return log_softmax


def _case(op: str, shape, axis: int = -1, *, scale: float = 2.0, name: str = "", bench: bool = False) -> Case:
    return Case(
        op=op,
        name=name or f"{'x'.join(map(str, shape))}-axis{axis}",
        inputs=lambda rng: {"x": rng.standard_normal(shape) * scale},
        run=lambda pf, x: getattr(pf.ops, op)(x, axis),
        torch=(lambda torch, x: getattr(torch, op)(x, axis)) if bench or 0 in shape else _written(op, axis),
        grads=("x",),
        reduction=shape[axis],
        flops=20.0 * math.prod(shape),
        bytes=8.0 * math.prod(shape),
        finite=scale < 1e3,
        bench=bench,
    )


def _extremes(rng):
    """Rows: mixed -inf, all -inf, one +inf, one NaN, only one finite."""
    x = rng.standard_normal((5, 37))
    x[0, ::3] = float("-inf")
    x[1, :] = float("-inf")
    x[2, 5] = float("inf")
    x[3, 36] = float("nan")
    x[4, 1:] = float("-inf")
    return {"x": x}


CASES = [
    case
    for op in ("softmax", "log_softmax")
    for case in (
        *(_case(op, (3, n)) for n in (1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 257, 1031)),
        *(_case(op, shape) for shape in ((0, 5), (2, 4096), (2, 4097), (1, 12_500), (2, 3, 4, 5))),
        *(_case(op, (3, 33, 35), axis) for axis in (0, 1)),
        *(_case(op, shape, 0) for shape in ((70, 2), (5, 150), (4097, 3), (12_500, 2))),
        _case(op, (2, 5, 64, 3), 1),
        _case(op, (6, 40), scale=1e5, name="logits-of-1e5"),
        Case(
            op=op,
            name="extremes",
            inputs=_extremes,
            run=lambda pf, x, op=op: getattr(pf.ops, op)(x),
            torch=lambda torch, x, op=op: getattr(torch, op)(x, -1),
            reduction=37,
            finite=False,
        ),
        _case(op, (4096, 768), bench=True),
        _case(op, (1024, 50_257), bench=True),
        _case(op, (4096, 768), 0, bench=True),
        _case(op, (16, 256, 768), 1, bench=True),
    )
]
