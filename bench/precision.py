"""float64 and bfloat16 beside float32 of the same work: products and attention, forward and backward, and torch's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

import pyformer as pf
from bench.measure import Row, Settings, check_close, timed_row

FLOAT32 = "pyformer float32"
TOLERANCES = {"float64": 1e-10, "bfloat16": 2e-2}


# m, k, n of matmul: square, and the products of GPT-2's layers at 1,024 tokens.
PRODUCTS = ((1024, 1024, 1024), (2048, 2048, 2048), (1024, 768, 2304), (1024, 768, 3072), (1024, 3072, 768))
ATTENTIONS = ((4, 256, 12, 64), (1, 1024, 12, 64))  # B, T, H, D


def run_matmul(settings: Settings) -> Iterator[Row]:
    """(n, n) by (n, n), in float64."""
    n = 64 if settings.quick else 1024
    yield _product_row("float64", n, n, n, settings)


def run_attention(settings: Settings) -> Iterator[Row]:
    """Causal, (B, T, H, D), in float64."""
    yield _attention_row("float64", *((1, 32, 2, 16) if settings.quick else (1, 1024, 12, 64)), settings)


def run_bfloat16_matmul(settings: Settings) -> Iterator[Row]:
    """(m, k) by (k, n), in bfloat16."""
    for m, k, n in ((64, 64, 64),) if settings.quick else PRODUCTS:
        yield _product_row("bfloat16", m, k, n, settings)


def run_bfloat16_attention(settings: Settings) -> Iterator[Row]:
    """Causal, (B, T, H, D), in bfloat16."""
    for shape in ((1, 32, 2, 16),) if settings.quick else ATTENTIONS:
        yield _attention_row("bfloat16", *shape, settings)


def _product_row(dtype: str, m: int, k: int, n: int, settings: Settings) -> Row:
    rng = np.random.default_rng(3)
    operands = [rng.standard_normal(shape) for shape in ((m, k), (k, n))]
    ours: Callable[..., Any] = lambda a, b: pf.ops.matmul(a, b)  # noqa: E731
    return _row(f"matmul {m}x{k}x{n}", dtype, operands, ours, torch.matmul, 3 * 2.0 * m * k * n, settings)


def _attention_row(dtype: str, B: int, T: int, H: int, D: int, settings: Settings) -> Row:
    operands = list(np.random.default_rng(3).standard_normal((3, B, T, H, D)))

    def theirs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        heads_first = (x.transpose(1, 2) for x in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=True).transpose(1, 2)

    flops = 7 * 2.0 * B * H * D * T * T / 2  # two products forward, five backward, half of the square
    ours: Callable[..., Any] = lambda q, k, v: pf.ops.attention(q, k, v, causal=True)  # noqa: E731
    return _row(f"attention causal B{B} T{T} H{H} D{D}", dtype, operands, ours, theirs, flops, settings)


def _row(
    name: str,
    dtype: str,
    operands: list[np.ndarray],
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

    def leaves(module: Any, dtype: str) -> list[Any]:
        tensors = [module.tensor(x).to(getattr(module, dtype)).detach() for x in operands]
        for tensor in tensors:
            tensor.requires_grad = True
        return tensors

    contenders = {
        "pyformer": step(ours, leaves(pf, dtype)),
        FLOAT32: step(ours, leaves(pf, "float32")),
        "torch": step(theirs, leaves(torch, dtype)),
    }
    results = [contenders["pyformer"]().to(pf.float64).numpy(), contenders["torch"]().double().numpy()]
    check_close(f"{name} {dtype}", *results, TOLERANCES[dtype])
    work = {"flops": 2 * flops} if dtype == "float64" else {"flops": flops, "arithmetic": dtype}
    return timed_row(dtype, f"{name} {dtype} forward+backward", contenders, settings, **work)
