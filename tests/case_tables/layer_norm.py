"""Cases of layer_norm."""

from __future__ import annotations

from case_tables.case import Case


def _inputs(rows: int, cols: int, offset: float = 0.0):
    def make(rng):
        return {
            "x": rng.standard_normal((rows, cols)) * 2 + offset,
            "weight": rng.standard_normal(cols),
            "bias": rng.standard_normal(cols),
        }

    return make


def _case(rows: int, cols: int, *, bench: bool = False, offset: float = 0.0, name: str = "") -> Case:
    return Case(
        op="layer_norm",
        name=name or f"{rows}x{cols}",
        inputs=_inputs(rows, cols, offset),
        run=lambda pf, x, weight, bias: pf.ops.layer_norm(x, weight, bias),
        torch=lambda torch, x, weight, bias: torch.nn.functional.layer_norm(x, weight.shape, weight, bias),
        grads=("x", "weight", "bias"),
        reduction=max(rows, cols),
        flops=8.0 * rows * cols,
        bytes=8.0 * rows * cols,
        bench=bench,
    )


CASES = [
    *(_case(rows, cols) for rows in (1, 5) for cols in (2, 7, 8, 9, 15, 16, 17, 31, 257)),
    *(_case(rows, 24) for rows in (0, 31, 32, 33, 70)),
    _case(2, 4096),
    _case(2, 4097),
    _case(1, 12_500),
    _case(6, 48, offset=1e3, name="far-from-zero"),
    Case(
        op="layer_norm",
        name="no-parameters",
        inputs=lambda rng: {"x": rng.standard_normal((2, 3, 19))},
        run=lambda pf, x: pf.ops.layer_norm(x),
        torch=lambda torch, x: torch.nn.functional.layer_norm(x, (19,)),
        grads=("x",),
        reduction=19,
    ),
    Case(
        op="layer_norm",
        name="weight-only",
        inputs=lambda rng: {"x": rng.standard_normal((4, 19)), "weight": rng.standard_normal(19)},
        run=lambda pf, x, weight: pf.ops.layer_norm(x, weight),
        torch=lambda torch, x, weight: torch.nn.functional.layer_norm(x, (19,), weight),
        grads=("x", "weight"),
        reduction=19,
    ),
    _case(4096, 768, bench=True),
    _case(16_384, 768, bench=True),
    _case(1024, 768, bench=True),
]
