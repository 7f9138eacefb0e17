"""Cases of mse_loss, bce_with_logits and topk."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case

TORCH_NAMES = {"mse_loss": "mse_loss", "bce_with_logits": "binary_cross_entropy_with_logits"}


def _inputs(op, shape, scale):
    def make(rng):
        target = rng.random(shape) if op == "bce_with_logits" else rng.standard_normal(shape)
        return {"x": rng.standard_normal(shape) * scale, "target": target}

    return make


def _loss(op: str, shape, reduction="mean", *, scale=1.0, bench=False) -> Case:
    size = int(np.prod(shape))
    return Case(
        op=op,
        name=f"{'x'.join(map(str, shape))}-{reduction}-scale{scale:g}",
        inputs=_inputs(op, shape, scale),
        run=lambda pf, x, target: getattr(pf.ops, op)(x, target, reduction=reduction),
        torch=lambda torch, x, target: getattr(torch.nn.functional, TORCH_NAMES[op])(x, target, reduction=reduction),
        grads=("x", "target"),
        reduction=size,
        flops=20.0 * size,
        bytes=8.0 * size,
        bench=bench,
    )


def _extremes(rng):
    x = np.array([0.0, -0.0, 1e4, -1e4, 90.0, -90.0, np.inf, np.nan, 3e38])
    return {"x": x, "target": np.array([0.3, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.5, 1.0])}


def _topk(shape, k: int, axis: int, *, inputs=None, name="") -> Case:
    return Case(
        op="topk",
        name=name or f"{'x'.join(map(str, shape))}-k{k}-axis{axis}",
        inputs=inputs or (lambda rng: {"x": rng.permutation(int(np.prod(shape))).reshape(shape) * 0.25}),
        run=lambda pf, x: pf.ops.topk(x, k, axis),
        torch=lambda torch, x: tuple(torch.topk(x, k, dim=axis)),
        grads=("x",),
        finite=inputs is None,
    )


CASES = [
    *(_loss(op, (7, 5), reduction) for op in ("mse_loss", "bce_with_logits") for reduction in ("mean", "sum", "none")),
    *(_loss(op, shape) for op in ("mse_loss", "bce_with_logits") for shape in ((), (1,), (16,), (17,), (3, 6000))),
    _loss("bce_with_logits", (40, 9), "none", scale=30.0),
    Case(
        op="bce_with_logits",
        name="extremes",
        inputs=_extremes,
        run=lambda pf, x, target: pf.ops.bce_with_logits(x, target, reduction="none"),
        torch=lambda torch, x, target: torch.nn.functional.binary_cross_entropy_with_logits(
            x, target, reduction="none"
        ),
        grads=("x",),
        finite=False,
    ),
    _topk((40,), 5, 0),
    _topk((3, 7, 4), 3, 1),
    _topk((6, 300), 300, -1),
    _topk((5, 3), 1, 0),
    _topk((4, 3), 0, 0),
    _topk((), 3, -1, name="infinities", inputs=lambda rng: {"x": np.array([[1.0, np.inf, np.nan, -np.inf, 2.0]])}),
    *(_loss(op, (64, 784), bench=True) for op in ("mse_loss", "bce_with_logits")),
]
