"""What a small model computes for a text, as a list of plain steps over named matrices, for a page to show.

explain_models.py writes the list, `compute` carries it out by operations of the library, pages/forward.js in a browser.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops


@dataclass(frozen=True)
class Step:
    """`out` = `op` of `inputs`, names of earlier results or of weights.

    `part` and `title` are headings, `note` says what for; `settings` are those of the op.
    """

    op: str
    out: str
    inputs: tuple[str, ...]
    part: str
    title: str
    note: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Steps:
    """All steps of a model, its weights by name, which results are the stream that layers add to, and the longest text
    in tokens."""

    length: int
    steps: list[Step] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    stream: list[str] = field(default_factory=list)

    def add(self, part: str, op: str, out: str, inputs: tuple[str, ...], title: str, note: str, **settings: Any) -> str:
        self.steps.append(Step(op, out, inputs, part, title, note, settings))
        return out

    def weight(self, name: str, tensor: pf.Tensor | None) -> str:
        if tensor is None:
            raise ValueError("explain: expected plain weights, got a quantised model")
        self.weights[name] = tensor.detach().to("cpu").to(pf.float32).numpy()
        return name

    def linear(self, part: str, out: str, x: str, name: str, layer: Any, title: str, note: str) -> str:
        inputs = [x, self.weight(f"W {name}", layer.weight)]
        if getattr(layer, "bias", None) is not None:
            inputs.append(self.weight(f"b {name}", layer.bias))
        return self.add(part, "linear", out, tuple(inputs), title, note)

    def norm(self, part: str, out: str, x: str, name: str, layer: nn.LayerNorm) -> str:
        inputs = (x, self.weight(f"gain {name}", layer.weight), self.weight(f"bias {name}", layer.bias))
        note = "Each token's vector is brought to mean 0 and variance 1, then stretched and shifted by learned numbers."
        return self.add(part, "layer_norm", out, inputs, "normalise", note, eps=layer.eps)

    def rms_norm(self, part: str, out: str, x: str, name: str, layer: nn.RMSNorm) -> str:
        note = "Each token's vector is divided by its size, the root of the mean of its squares, then stretched by "
        note += "learned numbers. Its mean stays."
        inputs = (x, self.weight(f"gain {name}", layer.gain))
        return self.add(part, "rms_norm", out, inputs, "normalise", note, eps=layer.eps)

    def attention(
        self, part: str, l: str, q: str, k: str, v: str, scale: float, heads: int, kv_heads: int, window: int | None
    ) -> str:
        """`heads` of queries, each `kv_heads`-th part of which shares a head of keys and values; a token sees itself
        and, with `window`, that many less one before it."""
        who = {"heads": heads, "kv_heads": kv_heads, "window": window}
        note = "A query times a key, over the root of their width: how well what one token looks for fits another."
        if kv_heads < heads:
            note += f" {heads // kv_heads} heads of queries share each head of keys and values."
        title = "scores, before softmax"
        scores = self.add(part, "scores", f"scores {l}", (q, k), title, note, scale=scale, **who)
        note = "Softmax makes each row's scores into weights that add up to 1. What comes later can't be seen"
        note += "." if window is None else f", nor what stands {window} or more tokens before."
        weights = self.add(part, "softmax", f"weights {l}", (scores,), "weights, after softmax", note, **who)
        note = "Each token gathers the values of those it sees, by these weights."
        return self.add(part, "mix", f"gathered {l}", (weights, v), "gather the values", note, **who)

    def joined(self, part: str, out: str, x: str, added: str) -> str:
        self.add(part, "add", out, (x, added), "add to the residual stream", "A part only adds to what is there.")
        self.stream.append(out)
        return out


QKV = {
    "q": ("queries", "What each token looks for."),
    "k": ("keys", "What each token offers to be found by."),
    "v": ("values", "What each token passes on to those that look at it."),
}


def compute(found: Steps, ids: list[int]) -> dict[str, pf.Tensor]:
    """What each step gives for a text, by name, by operations of the library on the CPU."""
    values = {name: pf.tensor(weight, device="cpu") for name, weight in found.weights.items()}
    with pf.no_grad():
        for step in found.steps:
            values[step.out] = _OPS[step.op](step.settings, ids, *(values[name] for name in step.inputs))
    return {step.out: values[step.out] for step in found.steps}


def _rows(_: dict[str, Any], ids: list[int], table: pf.Tensor) -> pf.Tensor:
    return ops.embedding(pf.tensor(ids, device="cpu"), table)


def _by_heads(x: pf.Tensor, heads: int) -> pf.Tensor:
    return x.reshape(x.shape[0], heads, -1).transpose(1, 0, 2)


def _shared(settings: dict[str, Any], x: pf.Tensor) -> pf.Tensor:
    """Keys or values (H, T, D), those of shared heads again for each head that shares them."""
    heads, kv_heads = settings["heads"], settings["kv_heads"]
    return _by_heads(x, kv_heads).repeat_interleave(heads // kv_heads, dim=0)


def _rope(settings: dict[str, Any], ids: list[int], x: pf.Tensor, frequencies: pf.Tensor) -> pf.Tensor:
    heads = x.reshape(1, len(ids), settings["heads"], -1)
    return ops.rope(heads, pf.arange(len(ids), device="cpu"), frequencies).reshape(*x.shape)


def _scores(settings: dict[str, Any], _: list[int], q: pf.Tensor, k: pf.Tensor) -> pf.Tensor:
    products = ops.matmul(_by_heads(q, settings["heads"]), _shared(settings, k), transpose_b=True)
    return products * settings["scale"]


def _softmax(settings: dict[str, Any], ids: list[int], scores: pf.Tensor) -> pf.Tensor:
    seen = np.tri(len(ids), dtype=bool)
    if settings["window"] is not None:
        seen &= ~np.tri(len(ids), k=-settings["window"], dtype=bool)
    return ops.softmax(ops.where(pf.tensor(seen[None], device="cpu"), scores, -float("inf")))


def _mix(settings: dict[str, Any], ids: list[int], weights: pf.Tensor, v: pf.Tensor) -> pf.Tensor:
    return (weights @ _shared(settings, v)).transpose(1, 0, 2).reshape(len(ids), -1)


_OPS: dict[str, Any] = {
    "rows": _rows,
    "places": lambda settings, ids, table: _rows(settings, list(range(len(ids))), table),
    "add": lambda settings, ids, a, b: a + b,
    "multiply": lambda settings, ids, a, b: a * b,
    "layer_norm": lambda settings, ids, x, gain, bias: ops.layer_norm(x, gain, bias, settings["eps"]),
    "rms_norm": lambda settings, ids, x, gain: ops.rms_norm(x, gain, settings["eps"]),
    "rope": _rope,
    "linear": lambda settings, ids, x, weight, bias=None: ops.linear(x, weight, bias),
    "activation": lambda settings, ids, x: _activated(settings["kind"], x),
    "scores": _scores,
    "softmax": _softmax,
    "mix": _mix,
}


def _activated(kind: str, x: pf.Tensor) -> pf.Tensor:
    return ops.gelu(x, "tanh") if kind == "gelu_tanh" else getattr(ops, kind)(x)
