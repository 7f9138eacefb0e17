"""The steps of each kind of model that `pyformer explain` shows."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import pyformer as pf
from pyformer import models, nn, ops
from pyformer.cli.explain_steps import QKV, Steps
from pyformer.models import derivation

# The layers of the derivation that have queries and keys.
RUNGS = ("attention", "mlp", "residual", "norm", "transformer")

# Settings of a decoder that the steps show at their defaults only.
PLAIN = (
    "norms",
    "qk_norm",
    "attention_softcap",
    "logit_softcap",
    "embed_scale",
    "residual_scale",
    "logit_divisor",
    "causal",
    "norm_kind",
    "first_norm",
)


def can_explain(model: Any) -> bool:
    """Whether `steps_of` knows the model's kind."""
    return isinstance(model, models.GPT | models.Decoder) or (isinstance(model, derivation.WordModel) and model.causal)


def steps_of(model: Any) -> Steps:
    """The steps of a GPT, of a decoder of the LLaMA family, or of a causal rung of the derivation that has queries and
    keys.

    TypeError for another model, ValueError for a decoder with what no step shows.
    """
    if isinstance(model, models.GPT):
        return _gpt(model)
    if isinstance(model, models.Decoder):
        return _decoder(model)
    if isinstance(model, derivation.WordModel) and model.causal:
        return _rung(model)
    raise TypeError(
        f"explain: expected a GPT, a LLaMA or a causal rung of the derivation, got a {type(model).__name__}"
    )


def _words(found: Steps, table: pf.Tensor) -> str:
    note = "Each token is a number; that row of a learned table is its vector."
    return found.add("Input", "rows", "words", (found.weight("token table", table),), "look up the tokens", note)


def _input(found: Steps, table: pf.Tensor, places: pf.Tensor) -> str:
    _words(found, table)
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
    config = model.config
    found = Steps(config.context_length)
    heads = {"heads": config.num_heads, "kv_heads": config.num_heads}
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
        scale = (config.embed_dim // config.num_heads) ** -0.5
        gathered = found.attention(part, l, **names, scale=scale, **heads, window=None)
        x = found.joined(part, f"x {l}a", x, _mixed(found, part, l, gathered, block.attn.c_proj))
        part = f"Block {number}: MLP"
        read = found.norm(part, f"read {l}m", x, f"mlp {l}", block.ln_2)
        x = found.joined(
            part, f"x {l}", x, _mlp(found, part, l, read, block.mlp.c_fc, block.mlp.c_proj, config.activation)
        )
    _logits(found, found.norm("Output", "last", x, "last", model.ln_f), model.lm_head)
    return found


def _mixed(found: Steps, part: str, l: str, gathered: str, layer: Any) -> str:
    note = "One more matrix mixes what the heads found."
    return found.linear(part, f"mixed {l}", gathered, f"out {l}", layer, "mix the heads", note)


def _logits(found: Steps, x: str, head: Any) -> None:
    table = "token table" if head is None else found.weight("W logits", head.weight)
    note = "Each vector times the vector of every token of the vocabulary: how well each would fit as the next."
    found.add("Output", "linear", "logits", (x, table), "logits", note)


def _left_out(config: models.DecoderConfig) -> list[str]:
    """The settings of a decoder that no step shows, in words."""
    plain = {field.name: field.default for field in dataclasses.fields(models.DecoderConfig)}
    found = [f"positions={config.positions!r}"] if config.positions not in ("rotary", "learned", "none") else []
    found += [f"{name}={value!r}" for name in PLAIN if (value := getattr(config, name)) != plain[name]]
    if config.positions == "rotary" and ops.rope_magnitude(config.rope_scaling) != 1.0:
        found.append(f"rope_scaling={dict(config.rope_scaling)!r}")
    return found


def _decoder(model: models.Decoder) -> Steps:
    config = model.config
    if left_out := _left_out(config):
        raise ValueError(f"explain: the model has {', '.join(left_out)}, which no page shows")
    found = Steps(config.context_length)
    if config.positions == "learned":
        x = _input(found, model.embed_tokens.weight, model.embed_positions.weight)
    else:
        x = _words(found, model.embed_tokens.weight)
        found.stream.append(x)
    for number, (block, layer) in enumerate(zip(model.layers, config.layers, strict=True), start=1):
        l, part = str(number), f"Block {number}: attention"
        read = found.rms_norm(part, f"read {l}", x, f"attention {l}", block.input_layernorm)
        gathered = _grouped_attention(found, part, l, read, block.self_attn, layer, config)
        x = found.joined(part, f"x {l}a", x, _mixed(found, part, l, gathered, block.self_attn.o_proj))
        part = f"Block {number}: MLP"
        read = found.rms_norm(part, f"read {l}m", x, f"mlp {l}", block.post_attention_layernorm)
        x = found.joined(part, f"x {l}", x, _gated_mlp(found, part, l, read, block.mlp))
    _logits(found, found.rms_norm("Output", "last", x, "last", model.norm), model.lm_head)
    return found


def _grouped_attention(
    found: Steps, part: str, l: str, read: str, attention: Any, layer: Any, config: models.DecoderConfig
) -> str:
    heads = {"heads": config.num_heads, "kv_heads": config.num_kv_heads}
    names = {}
    for short, (title, note) in QKV.items():
        names[short] = found.linear(
            part, f"{short} {l}", read, f"{short} {l}", getattr(attention, f"{short}_proj"), title, note
        )
    if layer.rope is not None:
        angles = ops.rope_frequencies(layer.rope.width, layer.rope.base, layer.rope.scaling)
        table = found.weight(f"angles {l}", angles)
        note = "Element n of a head and its partner half a head on are turned together, by the token's place times the "
        note += "angle of this pair. A score then depends on how far apart two tokens stand."
        for short, title, count in (("q", "turn the queries", "heads"), ("k", "turn the keys", "kv_heads")):
            names[short] = found.add(
                part, "rope", f"{short} {l} turned", (names[short], table), title, note, heads=heads[count]
            )
    scale = config.head_dim**-0.5 if layer.attention_scale is None else layer.attention_scale
    return found.attention(part, l, **names, scale=scale, **heads, window=layer.window)


def _gated_mlp(found: Steps, part: str, l: str, x: str, mlp: Any) -> str:
    note = "A small network works on each token alone: first into more numbers, the gates."
    gate = found.linear(part, f"gate {l}", x, f"gate {l}", mlp.gate_proj, "gates", note)
    note = "What is not linear in this part: how far each gate is open."
    opened = found.add(part, "activation", f"open {l}", (gate,), mlp.activation, note, kind=mlp.activation)
    note = "As many numbers again, which the gates let through."
    wide = found.linear(part, f"wide {l}", x, f"up {l}", mlp.up_proj, "widen", note)
    note = "Each number times its gate."
    passed = found.add(part, "multiply", f"passed {l}", (opened, wide), "multiply by the gates", note)
    note = "And back to the width of the stream."
    return found.linear(part, f"thought {l}", passed, f"down {l}", mlp.down_proj, "narrow", note)


def _rung(model: derivation.WordModel) -> Steps:
    words = list(model.words) if isinstance(model.words, nn.Sequential) else []
    if len(words) != 2 or not isinstance(words[1], derivation.LearnedPosition):
        raise TypeError(f"explain: expected a rung with queries and keys: {', '.join(RUNGS)}")
    found = Steps(words[1].places.shape[0])
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
    scale = (attention.query.weight.shape[0] // heads) ** -0.5
    y = found.attention(part, l, **names, scale=scale, heads=heads, kv_heads=heads, window=None)
    if heads > 1:
        y = _mixed(found, part, l, y, attention.mix)
    if alone:
        return y
    x = found.joined(part, f"x {l}a", x, y) if keeps else y
    part = f"Layer {l}: MLP"
    read = found.norm(part, f"read {l}m", x, f"mlp {l}", layer.mlp_norm) if normed else x
    y = _mlp(found, part, l, read, layer.mlp.up, layer.mlp.down, layer.mlp.activation)
    return found.joined(part, f"x {l}", x, y) if keeps else y
