"""What a small model computes for a text, as a list of plain steps over named matrices, for a page to show.

`steps_of` writes the list, `compute` carries it out by operations of the library, pages/forward.js in a browser.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import models, nn, ops
from pyformer.models import derivation

# The layers of the derivation that have queries and keys.
RUNGS = ("attention", "mlp", "residual", "norm", "transformer")


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
    """All steps of a model, its weights by name, and which results are the stream that layers add to."""

    steps: list[Step] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    stream: list[str] = field(default_factory=list)

    def add(self, part: str, op: str, out: str, inputs: tuple[str, ...], title: str, note: str, **settings: Any) -> str:
        self.steps.append(Step(op, out, inputs, part, title, note, settings))
        return out

    def weight(self, name: str, tensor: pf.Tensor) -> str:
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

    def attention(self, part: str, l: str, heads: int, width: int, q: str, k: str, v: str) -> str:
        note = "A query times a key, over the root of their width: how well what one token looks for fits another."
        scale = (width // heads) ** -0.5
        scores = self.add(
            part, "scores", f"scores {l}", (q, k), "scores, before softmax", note, heads=heads, scale=scale
        )
        note = "Softmax makes each row's scores into weights that add up to 1. What comes later can't be seen."
        weights = self.add(part, "softmax", f"weights {l}", (scores,), "weights, after softmax", note)
        note = "Each token gathers the values of those it sees, by these weights."
        return self.add(part, "mix", f"gathered {l}", (weights, v), "gather the values", note)

    def joined(self, part: str, out: str, x: str, added: str) -> str:
        self.add(part, "add", out, (x, added), "add to the residual stream", "A part only adds to what is there.")
        self.stream.append(out)
        return out


QKV = {
    "q": ("queries", "What each token looks for."),
    "k": ("keys", "What each token offers to be found by."),
    "v": ("values", "What each token passes on to those that look at it."),
}


def can_explain(model: Any) -> bool:
    """Whether `steps_of` knows the model's kind."""
    return isinstance(model, models.GPT) or (isinstance(model, derivation.WordModel) and model.causal)


def steps_of(model: Any) -> Steps:
    """The steps of a GPT, or of a causal rung of the derivation that has queries and keys.

    TypeError for another model.
    """
    if isinstance(model, models.GPT):
        return _gpt(model)
    if isinstance(model, derivation.WordModel) and model.causal:
        return _rung(model)
    raise TypeError(f"explain: expected a GPT or a causal rung of the derivation, got a {type(model).__name__}")


def _input(found: Steps, table: pf.Tensor, places: pf.Tensor) -> str:
    found.add(
        "Input",
        "rows",
        "words",
        (found.weight("token table", table),),
        "look up the tokens",
        "Each token is a number; that row of a learned table is its vector.",
    )
    found.add(
        "Input",
        "places",
        "places",
        (found.weight("place table", places),),
        "look up the places",
        "Where a token stands has a learned vector, too: without it, attention would not know the order.",
    )
    return found.joined("Input", "x 0", "words", "places")


def _mlp(found: Steps, part: str, l: str, x: str, up: Any, down: Any, kind: str) -> str:
    note = "A small network works on each token alone: first into four times as many numbers."
    wide = found.linear(part, f"wide {l}", x, f"up {l}", up, "widen", note)
    note = "What is not linear in this part: without it two matrices would be no more than one."
    bent = found.add(part, "activation", f"bent {l}", (wide,), kind, note, kind=kind)
    return found.linear(part, f"thought {l}", bent, f"down {l}", down, "narrow", "And back to the width of the stream.")


def _gpt(model: models.GPT) -> Steps:
    found, config = Steps(), model.config
    x = _input(found, model.wte.weight, model.wpe.weight)
    for number, block in enumerate(model.h, start=1):
        l, part = str(number), f"Block {number}: attention"
        read = found.norm(part, f"read {l}", x, f"attention {l}", block.ln_1)
        names = {}
        for i, (short, (title, note)) in enumerate(QKV.items()):
            rows = slice(i * config.embed_dim, (i + 1) * config.embed_dim)
            weight = found.weight(f"W {short} {l}", block.attn.c_attn.weight[rows])
            bias = found.weight(f"b {short} {l}", block.attn.c_attn.bias[rows])
            names[short] = found.add(part, "linear", f"{short} {l}", (read, weight, bias), title, note)
        gathered = found.attention(part, l, config.num_heads, config.embed_dim, **names)
        note = "One more matrix mixes what the heads found."
        mixed = found.linear(part, f"mixed {l}", gathered, f"out {l}", block.attn.c_proj, "mix the heads", note)
        x = found.joined(part, f"x {l}a", x, mixed)
        part = f"Block {number}: MLP"
        read = found.norm(part, f"read {l}m", x, f"mlp {l}", block.ln_2)
        x = found.joined(
            part, f"x {l}", x, _mlp(found, part, l, read, block.mlp.c_fc, block.mlp.c_proj, config.activation)
        )
    x = found.norm("Output", "last", x, "last", model.ln_f)
    head = model.wte if model.lm_head is None else model.lm_head
    table = "token table" if model.lm_head is None else found.weight("W logits", head.weight)
    note = "Each vector times the vector of every token of the vocabulary: how well each would fit as the next."
    found.add("Output", "linear", "logits", (x, table), "logits", note)
    return found


def _rung(model: derivation.WordModel) -> Steps:
    found = Steps()
    words = list(model.words) if isinstance(model.words, nn.Sequential) else []
    if len(words) != 2 or not isinstance(words[1], derivation.LearnedPosition):
        raise TypeError(f"explain: expected a rung with queries and keys: {', '.join(RUNGS)}")
    x = _input(found, words[0].table, words[1].places)
    for number, layer in enumerate(model.layers, start=1):
        x = _rung_layer(found, layer, str(number), x)
    note = "A last linear map gives each word of the vocabulary a score: how well it would fit as the next."
    found.linear("Output", "logits", x, "logits", model.head, "logits", note)
    return found


def _rung_layer(found: Steps, layer: Any, l: str, x: str) -> str:
    if not isinstance(layer, derivation.SelfAttention | derivation.AttentionMLP):
        raise TypeError(f"explain: expected a rung with queries and keys: {', '.join(RUNGS)}")
    alone = isinstance(layer, derivation.SelfAttention)
    attention, normed = layer if alone else layer.attention, isinstance(layer, derivation.Normalised)
    keeps = normed or isinstance(layer, derivation.Residual)
    part = f"Layer {l}: attention"
    read = found.norm(part, f"read {l}", x, f"attention {l}", layer.attention_norm) if normed else x
    linear = partial(found.linear, part)
    names = {
        short: linear(f"{short} {l}", read, f"{short} {l}", getattr(attention, name), title, note)
        for (short, (title, note)), name in zip(QKV.items(), ("query", "key", "value"), strict=True)
    }
    heads = getattr(attention, "heads", 1)
    y = found.attention(part, l, heads, attention.query.weight.shape[0], **names)
    if heads > 1:
        y = linear(
            f"mixed {l}", y, f"out {l}", attention.mix, "mix the heads", "One more matrix mixes what they found."
        )
    if alone:
        return y
    x = found.joined(part, f"x {l}a", x, y) if keeps else y
    part = f"Layer {l}: MLP"
    read = found.norm(part, f"read {l}m", x, f"mlp {l}", layer.mlp_norm) if normed else x
    y = _mlp(found, part, l, read, layer.mlp.up, layer.mlp.down, layer.mlp.activation)
    return found.joined(part, f"x {l}", x, y) if keeps else y


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


def _scores(settings: dict[str, Any], _: list[int], q: pf.Tensor, k: pf.Tensor) -> pf.Tensor:
    q, k = (_by_heads(x, settings["heads"]) for x in (q, k))
    return ops.matmul(q, k, transpose_b=True) * settings["scale"]


def _softmax(_: dict[str, Any], ids: list[int], scores: pf.Tensor) -> pf.Tensor:
    seen = pf.tensor(np.tri(len(ids), dtype=bool)[None], device="cpu")
    return ops.softmax(ops.where(seen, scores, -float("inf")))


def _mix(_: dict[str, Any], ids: list[int], weights: pf.Tensor, v: pf.Tensor) -> pf.Tensor:
    return (weights @ _by_heads(v, weights.shape[0])).transpose(1, 0, 2).reshape(len(ids), -1)


_OPS: dict[str, Any] = {
    "rows": _rows,
    "places": lambda settings, ids, table: _rows(settings, list(range(len(ids))), table),
    "add": lambda settings, ids, a, b: a + b,
    "layer_norm": lambda settings, ids, x, gain, bias: ops.layer_norm(x, gain, bias, settings["eps"]),
    "linear": lambda settings, ids, x, weight, bias=None: ops.linear(x, weight, bias),
    "activation": lambda settings, ids, x: _activated(settings["kind"], x),
    "scores": _scores,
    "softmax": _softmax,
    "mix": _mix,
}


def _activated(kind: str, x: pf.Tensor) -> pf.Tensor:
    return ops.gelu(x, "tanh") if kind == "gelu_tanh" else getattr(ops, kind)(x)
