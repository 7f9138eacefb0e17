"""Cases of mlp and norm_linear."""

from __future__ import annotations

from case_tables.case import Case
from case_tables.elementwise import torch_activation, written_activation
from pyformer import _core

EPS = 1e-5


def _torch_norm(torch, norm, x, weight, bias):
    if norm == "layer":
        return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, EPS)
    if norm == "rms":
        return torch.nn.functional.rms_norm(x, x.shape[-1:], weight, EPS)
    return x


def _norm_inputs(rng, norm, width):
    arrays = {}
    if norm != "none":
        arrays["norm_weight"] = 1.0 + 0.1 * rng.standard_normal(width)
    if norm == "layer":
        arrays["norm_bias"] = 0.1 * rng.standard_normal(width)
    return arrays


def _norm_linear(shape, cols, norm, *, bias=True, bench=False):
    width = shape[-1]

    def inputs(rng):
        arrays = {"x": rng.standard_normal(shape), "weight": rng.standard_normal((cols, width))}
        if bias:
            arrays["bias"] = rng.standard_normal(cols)
        return {**arrays, **_norm_inputs(rng, norm, width)}

    def run(pf, x, weight, bias=None, norm_weight=None, norm_bias=None):
        return pf.ops.norm_linear(x, norm_weight, norm_bias, weight, bias, norm=norm, eps=EPS)

    def torch_run(torch, x, weight, bias=None, norm_weight=None, norm_bias=None):
        return torch.nn.functional.linear(_torch_norm(torch, norm, x, norm_weight, norm_bias), weight, bias)

    rows = 1
    for extent in shape[:-1]:
        rows *= extent
    norm_names = {"none": (), "rms": ("norm_weight",), "layer": ("norm_weight", "norm_bias")}[norm]
    return Case(
        "norm_linear",
        f"{'x'.join(map(str, shape))}-to-{cols}-{norm}" + ("" if bias else "-no-bias"),
        inputs,
        run,
        torch_run,
        grads=("x", "weight", *(("bias",) if bias else ()), *norm_names),
        reduction=max(width, rows, cols),
        flops=2.0 * rows * width * cols,
        bytes=4.0 * (rows * width + width * cols + rows * cols),
        bench=bench,
    )


def _mlp(shape, hidden, activation, norm, *, residual=True, bias=True, bench=False):
    width = shape[-1]

    def inputs(rng):
        arrays = {
            "x": rng.standard_normal(shape),
            "up": rng.standard_normal((hidden, width)) / width**0.5,
            "down": rng.standard_normal((width, hidden)) / hidden**0.5,
        }
        if bias:
            arrays |= {"up_bias": rng.standard_normal(hidden), "down_bias": rng.standard_normal(width)}
        if residual:
            arrays["residual"] = rng.standard_normal(shape)
        return {**arrays, **_norm_inputs(rng, norm, width)}

    def run(pf, x, up, down, up_bias=None, down_bias=None, **rest):
        return pf.ops.mlp(x, up, up_bias, down, down_bias, activation=activation, norm=norm, eps=EPS, **rest)

    def torch_run(torch, x, up, down, up_bias=None, down_bias=None, residual=None, norm_weight=None, norm_bias=None):
        f = torch.nn.functional
        h = f.linear(_torch_norm(torch, norm, x, norm_weight, norm_bias), up, up_bias)
        act = (torch_activation if bench else written_activation)(torch, activation)
        out = f.linear(act(h), down, down_bias)
        return out if residual is None else out + residual

    rows = 1
    for extent in shape[:-1]:
        rows *= extent
    names = ["x", "up", "down"]
    names += ["up_bias", "down_bias"] if bias else []
    names += ["residual"] if residual else []
    names += {"none": [], "rms": ["norm_weight"], "layer": ["norm_weight", "norm_bias"]}[norm]
    parts = ["x".join(map(str, shape)), str(hidden), activation, norm]
    parts += ["residual"] if residual else []
    parts += [] if bias else ["no-bias"]
    return Case(
        "mlp",
        "-".join(parts),
        inputs,
        run,
        torch_run,
        grads=tuple(names),
        reduction=max(width, rows, hidden),
        flops=4.0 * rows * width * hidden,
        bytes=4.0 * (2 * rows * width + 2 * width * hidden),
        bench=bench,
    )


CASES = [
    *(_norm_linear((2, 7, 33), 40, norm) for norm in ("layer", "rms", "none")),
    _norm_linear((70, 64), 17, "layer", bias=False),
    _norm_linear((72, 64), 24, "layer"),
    _norm_linear((0, 8), 8, "layer"),
    _norm_linear((1, 5), 1, "rms"),
    *(_mlp((2, 9, 24), 50, activation, "layer") for activation in _core.activations()),
    *(_mlp((40, 17), 33, "gelu_tanh", norm, residual=False) for norm in ("none", "rms")),
    _mlp((3, 16), 64, "gelu", "layer", residual=False, bias=False),
    _mlp((72, 24), 48, "silu", "rms"),
    _mlp((0, 8), 32, "gelu", "layer"),
    _mlp((300, 12), 20, "silu", "rms"),
    _norm_linear((1024, 768), 2304, "layer", bench=True),
    _mlp((1024, 768), 3072, "gelu_tanh", "layer", bench=True),
]
