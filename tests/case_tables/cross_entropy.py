"""Cases of cross_entropy and linear_cross_entropy."""

from __future__ import annotations

import numpy as np

from case_tables.case import Case


def _targets(rng, shape, classes: int, ignored: float):
    targets = rng.integers(0, classes, shape)
    targets[rng.random(shape) < ignored] = -100
    return targets


def _case(rows: int, classes: int, *, ignored=0.0, scale=2.0, name="", bench=False, **options) -> Case:
    finite = scale < 1e3
    return Case(
        op="cross_entropy",
        name=name or f"{rows}x{classes}",
        inputs=lambda rng: {
            "logits": rng.standard_normal((rows, classes)) * scale,
            "targets": _targets(rng, (rows,), classes, ignored),
        },
        run=lambda pf, logits, targets: pf.ops.cross_entropy(logits, targets, **options),
        torch=(
            None  # torch's mean over nothing is NaN
            if rows == 0 or ignored == 1.0
            else lambda torch, logits, targets: torch.nn.functional.cross_entropy(logits, targets, **options)
        ),
        grads=("logits",),
        reduction=max(rows, classes),
        flops=20.0 * rows * classes,
        bytes=4.0 * rows * classes,
        bytes_both=12.0 * rows * classes,
        finite=finite,
        bench=bench,
    )


def _fused_name(rows, width, classes, bias, options):
    tags = [str(v) for v in options.values()] + (["bias"] if bias else [])
    return "-".join([f"{rows}x{width}x{classes}", *tags])


def _fused(rows: int, width: int, classes: int, *, bias=False, ignored=0.0, bench=False, **options) -> Case:
    def inputs(rng):
        arrays = {
            "x": rng.standard_normal((rows, width)),
            "weight": rng.standard_normal((classes, width)) / np.sqrt(width),
            "targets": _targets(rng, (rows,), classes, ignored),
        }
        if bias:
            arrays["bias"] = rng.standard_normal(classes)
        return arrays

    def torch(torch, x, weight, targets, bias=None):
        logits = torch.nn.functional.linear(x, weight, bias)
        return torch.nn.functional.cross_entropy(logits, targets, **options)

    return Case(
        op="linear_cross_entropy",
        name=_fused_name(rows, width, classes, bias, options),
        inputs=inputs,
        run=lambda pf, x, weight, targets, bias=None: pf.ops.linear_cross_entropy(x, weight, targets, bias, **options),
        torch=None if rows == 0 or ignored == 1.0 else torch,
        grads=("x", "weight", "bias") if bias else ("x", "weight"),
        reduction=max(rows, classes, width),
        flops=2.0 * rows * width * classes,
        bytes=4.0 * (rows * width + classes * width),
        bench=bench,
    )


def _smoothed_infinities(rng):
    logits = rng.standard_normal((4, 20))
    logits[0, 3] = float("-inf")
    logits[1, :] = float("-inf")
    logits[2, 7] = float("nan")
    return {"logits": logits, "targets": np.array([5, 1, -100, 2])}


CASES = [
    *(_case(3, classes) for classes in (1, 2, 7, 8, 9, 15, 16, 17, 65, 257, 4096, 4097, 12_500)),
    *(_case(rows, 20) for rows in (0, 1, 300)),
    _case(40, 20, ignored=0.4, name="some-ignored"),
    _case(40, 20, ignored=1.0, name="all-ignored"),
    _case(40, 20, ignored=0.4, reduction="sum", name="sum"),
    _case(40, 20, ignored=0.4, reduction="none", name="none"),
    _case(40, 33, ignored=0.4, label_smoothing=0.1, name="smoothed"),
    _case(4, 5000, reduction="none", label_smoothing=0.3, name="smoothed-none"),
    _case(40, 33, scale=1e5, name="logits-of-1e5"),
    _case(40, 33, scale=1e5, reduction="none", name="logits-of-1e5-none"),
    Case(
        op="cross_entropy",
        name="infinities",
        inputs=_smoothed_infinities,
        run=lambda pf, logits, targets: pf.ops.cross_entropy(logits, targets, reduction="none"),
        torch=lambda torch, logits, targets: torch.nn.functional.cross_entropy(logits, targets, reduction="none"),
        reduction=20,
        finite=False,
    ),
    _fused(5, 7, 11),
    _fused(0, 7, 11),
    _fused(1, 16, 1),
    _fused(70, 17, 33, bias=True, ignored=0.3),
    _fused(72, 64, 40, bias=True, ignored=0.3),
    _fused(70, 17, 33, bias=True, ignored=1.0, reduction="mean"),
    _fused(600, 9, 19, bias=True, reduction="sum"),
    _fused(600, 9, 19, bias=True, ignored=0.2, reduction="none"),
    _fused(300, 9, 40, label_smoothing=0.1),
    _case(768, 65, bench=True),
    _case(4096, 768, bench=True),
    _case(1024, 50_257, bench=True),
    _fused(768, 128, 65, bench=True),
    _fused(1024, 768, 50_257, bench=True),
]
