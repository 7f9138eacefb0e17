"""Cases of rms_norm."""

from __future__ import annotations

from case_tables.case import Case


def _case(rows: int, cols: int, *, bench: bool = False) -> Case:
    return Case(
        op="rms_norm",
        name=f"{rows}x{cols}",
        inputs=lambda rng: {"x": rng.standard_normal((rows, cols)) * 2, "weight": rng.standard_normal(cols)},
        run=lambda pf, x, weight: pf.ops.rms_norm(x, weight),
        torch=lambda torch, x, weight: torch.nn.functional.rms_norm(x, weight.shape, weight, 1e-6),
        grads=("x", "weight"),
        reduction=max(rows, cols),
        flops=5.0 * rows * cols,
        bytes=8.0 * rows * cols,
        finite=cols > 1,  # one column: the sign of x, steep at 0
        bench=bench,
    )


CASES = [
    *(_case(rows, cols) for rows in (1, 5) for cols in (1, 2, 7, 8, 9, 15, 16, 17, 31, 257)),
    *(_case(rows, 24) for rows in (0, 31, 32, 33, 70)),
    _case(2, 4096),
    _case(2, 4097),
    _case(1, 12_500),
    Case(
        op="rms_norm",
        name="no-weight",
        inputs=lambda rng: {"x": rng.standard_normal((2, 3, 19))},
        run=lambda pf, x: pf.ops.rms_norm(x),
        torch=lambda torch, x: torch.nn.functional.rms_norm(x, (19,), None, 1e-6),
        grads=("x",),
        reduction=19,
    ),
    _case(4096, 768, bench=True),
    _case(16_384, 768, bench=True),
    _case(4096, 576, bench=True),
]
