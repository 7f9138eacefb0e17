"""float64 beside float32 of the same work: matmul and attention, forward and backward, and torch's float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import pyformer as pf
from bench.measure import Row, Settings, check_close, timed_row

FLOAT32 = "pyformer float32"


def run_matmul(settings: Settings) -> Iterator[Row]:
    """(n, n) by (n, n)."""
    n = 64 if settings.quick else 1024
    operands = np.random.default_rng(3).standard_normal((2, n, n))
    yield _row(
        f"matmul {n}x{n}x{n}", operands, lambda a, b: pf.ops.matmul(a, b), torch.matmul, 3 * 2.0 * n**3, settings
    )


def run_attention(settings: Settings) -> Iterator[Row]:
    """Causal, (B, T, H, D)."""
    B, T, H, D = (1, 32, 2, 16) if settings.quick else (1, 1024, 12, 64)
    operands = np.random.default_rng(3).standard_normal((3, B, T, H, D))

    def theirs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True).transpose(1, 2)

    flops = 7 * 2.0 * B * H * D * T * T / 2  # two products forward, five backward, half of the square
    ours: Callable[..., Any] = lambda q, k, v: pf.ops.attention(q, k, v, causal=True)  # noqa: E731
    yield _row(f"attention causal B{B} T{T} H{H} D{D}", operands, ours, theirs, flops, settings)


def _row(
    name: str,
    operands: np.ndarray,
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    flops: float,
    settings: Settings,
) -> Row:
    def step(run: Callable[..., Any], tensors: list[Any]) -> Callable[[], Any]:
        dout = None

        def work() -> Any:
            nonlocal dout
            for tensor in tensors:
                tensor.grad = None
            out = run(*tensors)
            dout = out.detach() if dout is None else dout
            out.backward(dout)
            return out.detach()

        return work

    contenders = {
        "pyformer": step(ours, [pf.tensor(x, requires_grad=True) for x in operands]),
        FLOAT32: step(ours, [pf.tensor(x.astype(np.float32), requires_grad=True) for x in operands]),
        "torch": step(theirs, [torch.tensor(x, requires_grad=True) for x in operands]),
    }
    check_close(f"{name} float64", contenders["pyformer"]().numpy(), contenders["torch"]().numpy(), 1e-10)
    return timed_row("float64", f"{name} float64 forward+backward", contenders, settings, flops=2 * flops)
