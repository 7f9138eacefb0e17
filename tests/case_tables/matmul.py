"""Cases of matmul and linear."""

from __future__ import annotations

from case_tables.case import Case
from case_tables.elementwise import torch_activation, written_activation
from pyformer import _core


def _matmul(a, b, name="", *, ta=False, tb=False, bench=False):
    """a and b are the shapes after transposition; those of the operands are swapped where a flag is set."""

    def stored(shape, transposed):
        return (*shape[:-2], shape[-1], shape[-2]) if transposed else shape

    def torch_matmul(torch, a, b):
        return (a.transpose(-1, -2) if ta else a) @ (b.transpose(-1, -2) if tb else b)

    rows = a[-2] if len(a) > 1 else 1
    cols = b[-1] if len(b) > 1 else 1
    inner = a[-1]
    batch = 1
    for extent in a[:-2]:
        batch *= extent
    flags = ("t" if ta else "n") + ("t" if tb else "n")
    return Case(
        "matmul",
        name or f"{'x'.join(map(str, a))}@{'x'.join(map(str, b))}-{flags}",
        lambda rng: {
            "a": rng.standard_normal(stored(a, ta)),
            "b": rng.standard_normal(stored(b, tb)),
        },
        lambda pf, a, b: pf.ops.matmul(a, b, transpose_a=ta, transpose_b=tb),
        torch_matmul,
        grads=("a", "b"),
        reduction=max(inner, rows * batch, cols),
        flops=2.0 * batch * rows * cols * inner,
        bytes=4.0 * batch * (rows * inner + inner * cols + rows * cols),
        bench=bench,
    )


def _linear(rows, inner, cols, *, activation=None, bias=True, residual=False, bench=False):
    def inputs(rng):
        arrays = {
            "x": rng.standard_normal((*rows, inner) if isinstance(rows, tuple) else (rows, inner)),
            "weight": rng.standard_normal((cols, inner)),
        }
        if bias:
            arrays["bias"] = rng.standard_normal(cols)
        if residual:
            arrays["residual"] = rng.standard_normal((*arrays["x"].shape[:-1], cols))
        return arrays

    def run(pf, x, weight, bias=None, residual=None):
        return pf.ops.linear(x, weight, bias, activation=activation, residual=residual)

    def torch_linear(torch, x, weight, bias=None, residual=None):
        f = torch.nn.functional
        out = f.linear(x, weight, bias)
        if activation:
            out = (torch_activation if bench else written_activation)(torch, activation)(out)
        return out if residual is None else out + residual

    count = rows if isinstance(rows, int) else rows[0] * rows[1]
    parts = [f"{rows}x{inner}x{cols}".replace(", ", "x"), activation or "", "" if bias else "no-bias"]
    return Case(
        "linear",
        "-".join([p for p in parts if p] + (["residual"] if residual else [])),
        inputs,
        run,
        torch_linear,
        grads=("x", "weight", *(("bias",) if bias else ()), *(("residual",) if residual else ())),
        reduction=max(inner, count, cols),
        flops=2.0 * count * inner * cols,
        bytes=4.0 * (count * inner + inner * cols + count * cols),
        bench=bench,
    )


# Rows and columns of multiples of 8: what bulk copies of a GPU can bring, so that its products are wgmma's.
WIDE = [
    *(_matmul((40, 264), (264, 72), ta=ta, tb=tb) for ta, tb in ((False, False), (False, True), (True, False))),
    _matmul((2, 24, 16), (2, 16, 40), "batched-wide"),
    _linear(40, 64, 72, activation="gelu", residual=True),
]
CASES = [
    *WIDE,
    *(_matmul((m, 33), (33, n)) for m in (1, 2, 6, 7, 14, 15, 28, 29, 70) for n in (1, 15, 16, 17, 33)),
    *(_matmul((5, k), (k, 18)) for k in (1, 2, 31, 255, 256, 257, 511, 512, 513, 1030)),
    *(
        _matmul((m, k), (k, n), ta=ta, tb=tb)
        for ta in (False, True)
        for tb in (False, True)
        for m, k, n in ((13, 37, 34), (64, 300, 48), (3, 257, 65), (40, 1, 40))
    ),
    _matmul((0, 5), (5, 3)),
    _matmul((4, 0), (0, 3)),
    _matmul((4, 5), (5, 0)),
    _matmul((7,), (7,), "dot"),
    _matmul((7,), (7, 3), "row"),
    _matmul((3, 7), (7,), "column"),
    _matmul((2, 3, 5, 7), (2, 3, 7, 4), "batched"),
    _matmul((2, 1, 5, 7), (3, 7, 4), "broadcast"),
    _matmul((5, 7), (3, 7, 4), "broadcast-a", tb=True),
    _matmul((3, 5, 7), (7, 4), "broadcast-b", ta=True),
    _matmul((3, 300, 7), (7, 40), "broadcast-b-long"),
    *(_linear(r, 48, 35, activation=a, residual=True) for r in (1, 7, 40) for a in (None, "gelu", "gelu_tanh")),
    *(_linear(9, 20, 16, activation=a, bias=False) for a in (None, *_core.activations()[1:])),
    _linear((3, 100), 64, 192),
    _linear((2, 150), 40, 130, activation="gelu_tanh"),
    _linear(0, 8, 8),
    _linear(300, 257, 17, residual=True),
    *(_matmul((n, n), (n, n), bench=True) for n in (512, 1024, 2048)),
    *(_matmul((1024, 768), (768, n), tb=True, bench=True) for n in (2304, 768, 3072)),
    _matmul((1024, 3072), (3072, 768), tb=True, bench=True),
    _matmul((256, 576), (576, 1536), tb=True, bench=True),
    _linear(768, 128, 384, bench=True),
    _linear(768, 128, 512, activation="gelu_tanh", bench=True),
]
