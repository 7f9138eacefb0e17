"""Single operations: every benchmark case of tests/cases.py, and the matrix products of GPT-2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from case_tables.case import Case
from cases import BENCH_CASES, TEST_CASES

import pyformer as pf
from bench.measure import Row, Settings, check_close, timed_row
from pyformer import _core

# Work of forward and backward together, as a multiple of forward's: two more products, and bytes as case.py says.
BOTH_FLOPS, BOTH_BYTES = 3.0, 2.5
# float32 with sums in another order; gradients of weights are sums over thousands of rows.
TOLERANCE = 2e-3

Step = Callable[[], tuple[list[Any], list[Any]]]


def _matmul(m: int, k: int, n: int) -> Case:
    return Case(
        op="matmul",
        name=f"{m}x{k}x{n}",
        inputs=lambda rng: {"a": rng.standard_normal((m, k)), "b": rng.standard_normal((k, n))},
        run=lambda pf, a, b: pf.ops.matmul(a, b),
        torch=lambda torch, a, b: torch.matmul(a, b),
        grads=("a", "b"),
        flops=2.0 * m * k * n,
        bytes=4.0 * (m * k + k * n + m * n),
        bench=True,
    )


def _linear(rows: int, width: int, out: int) -> Case:
    return Case(
        op="linear",
        name=f"{rows}x{width}-to-{out}",
        inputs=lambda rng: {
            "x": rng.standard_normal((rows, width)),
            "weight": rng.standard_normal((out, width)),
            "bias": rng.standard_normal(out),
        },
        run=lambda pf, x, weight, bias: pf.ops.linear(x, weight, bias),
        torch=lambda torch, x, weight, bias: torch.nn.functional.linear(x, weight, bias),
        grads=("x", "weight", "bias"),
        flops=2.0 * rows * width * out,
        bytes=4.0 * (rows * width + out * width + rows * out),
        bench=True,
    )


GPT2_LAYERS = ((768, 2304), (768, 768), (768, 3072), (3072, 768))
SMOLLM2_LAYERS = ((576, 576), (576, 192), (576, 1536), (1536, 576))
EXTRA = [
    *(_matmul(n, n, n) for n in (512, 768, 1024, 2048)),
    *(_linear(rows, *layer) for rows in (256, 1024) for layer in (*GPT2_LAYERS, *SMOLLM2_LAYERS)),
    _linear(256, 768, 50_257),
    _linear(256, 576, 49_152),
]


def cases_by_op(quick: bool) -> dict[str, list[Case]]:
    """The cases of each op; for a smoke test one small case an op, from those that test it."""
    known = {case.id for case in BENCH_CASES}
    groups: dict[str, list[Case]] = {}
    for case in [*BENCH_CASES, *(case for case in EXTRA if case.id not in known)]:
        groups.setdefault(case.op, []).append(case)
    if not quick:
        return groups
    small = {op: [c for c in TEST_CASES if c.op == op and c.finite and c.torch and c.grads] for op in groups}
    return {op: cases[:1] for op, cases in small.items() if cases}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _ours(case: Case, arrays: dict[str, np.ndarray], douts: list[np.ndarray] | None) -> Step:
    tensors = {k: pf.tensor(v, requires_grad=douts is not None and k in case.grads) for k, v in arrays.items()}
    gradients = None if douts is None else [pf.tensor(d) for d in douts]

    def step() -> tuple[list[Any], list[Any]]:
        if gradients is None:
            with pf.no_grad():
                return _as_list(case.run(pf, **tensors)), []
        for k in case.grads:
            tensors[k].grad = None
        outputs = _as_list(case.run(pf, **tensors))
        _core.backward_many(outputs, gradients)
        return outputs, [tensors[k].grad for k in case.grads]

    return step


def _torchs(case: Case, arrays: dict[str, np.ndarray], douts: list[np.ndarray] | None) -> Step:
    tensors = {k: torch.tensor(v, requires_grad=douts is not None and k in case.grads) for k, v in arrays.items()}
    gradients = None if douts is None else [torch.tensor(d, dtype=torch.float32) for d in douts]

    def step() -> tuple[list[Any], list[Any]]:
        if gradients is None:
            with torch.no_grad():
                return _as_list(case.torch(torch, **tensors)), []
        for k in case.grads:
            tensors[k].grad = None
        outputs = _as_list(case.torch(torch, **tensors))
        torch.autograd.backward(outputs, gradients)
        return outputs, [tensors[k].grad for k in case.grads]

    return step


def _verify(case: Case, ours: Step, theirs: Step) -> None:
    (outputs, grads), (rival_outputs, rival_grads) = ours(), theirs()
    for what, mine, rival in (("outputs", outputs, rival_outputs), ("gradients", grads, rival_grads)):
        for a, b in zip(mine, rival, strict=True):
            check_close(f"{case.id} {what}", a.detach().numpy(), b.detach().numpy(), TOLERANCE)


def _row(case: Case, arrays: dict[str, np.ndarray], douts: list[np.ndarray] | None, settings: Settings) -> Row:
    steps = {"pyformer": _ours(case, arrays, douts)}
    if case.torch:
        steps["torch"] = _torchs(case, arrays, douts)
        _verify(case, *steps.values())
    forward = douts is None
    return timed_row(
        "operations",
        f"{case.op} {case.name} {'forward' if forward else 'forward+backward'}",
        steps,
        settings,
        flops=case.flops * (1.0 if forward else BOTH_FLOPS),
        bytes=case.bytes if forward else case.bytes_both or BOTH_BYTES * case.bytes,
        memory="copy",
    )


# GPT-2 124M: its parameters and their number of each shape.
ADAMW_SHAPES = {
    (50_257, 768): 1,
    (1024, 768): 1,
    (768, 2304): 12,
    (768, 768): 12,
    (768, 3072): 24,
    (3072,): 12,
    (2304,): 12,
    (768,): 62,
}


def run_adamw(settings: Settings) -> Iterator[Row]:
    """One step over the parameters of GPT-2 124M; torch's optimiser is its fused one."""
    shapes = {(17, 5): 2} if settings.quick else ADAMW_SHAPES
    rng = np.random.default_rng(3)
    values = [rng.standard_normal(shape, np.float32) for shape, count in shapes.items() for _ in range(count)]
    ours = [pf.tensor(v, requires_grad=True) for v in values]
    theirs = [torch.tensor(v, requires_grad=True) for v in values]
    for mine, rival, value in zip(ours, theirs, values, strict=True):
        mine.grad, rival.grad = pf.tensor(value), torch.tensor(value)
    options = {"lr": 1e-4, "weight_decay": 0.1}
    steps = {
        "pyformer": pf.optim.AdamW(ours, **options).step,
        "torch": torch.optim.AdamW(theirs, fused=True, **options).step,
    }
    for step in steps.values():
        step()
    check_close("adamw", ours[-1].detach().numpy(), theirs[-1].detach().numpy(), TOLERANCE)
    size = sum(v.size for v in values)
    # Reads parameter, gradient and both averages; writes all but the gradient.
    yield timed_row("operations", f"adamw {size / 1e6:.0f}M", steps, settings, bytes=28.0 * size, memory="copy")


def run_op(op: str, settings: Settings) -> Iterator[Row]:
    """Forward, and forward with backward where there is one, of each case of the op in float32."""
    for case in cases_by_op(settings.quick)[op]:
        arrays = case.inputs(np.random.default_rng(7))
        arrays = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in arrays.items()}
        yield _row(case, arrays, None, settings)
        if case.grads:
            outputs, _ = _ours(case, arrays, None)()
            rng = np.random.default_rng(11)
            douts = [rng.standard_normal(tuple(o.shape)).astype(o.numpy().dtype) for o in outputs]
            yield _row(case, arrays, douts, settings)
