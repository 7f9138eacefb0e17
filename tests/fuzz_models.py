"""Random small models of every kind, and what fuzz_bits.py may expect of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from fuzz_calls import Apart, Call, InOrder
from fuzz_draw import Draw

import pyformer as pf

VOCAB = 19


def build(name: str, dtype: str, *sizes, **options):
    """A model whose weights are large enough for every path to matter."""
    pf.manual_seed(1)
    kind = getattr(pf.models, name)
    model = kind(kind.config_class(*sizes, **options))
    rng = np.random.default_rng(2)
    with pf.no_grad():
        for parameter in model.parameters():
            parameter[...] = parameter + pf.tensor(rng.standard_normal(parameter.shape), dtype="float32") * 0.2
    return model.to(dtype)


def _transformer(draw: Draw, multiple: int = 2) -> str:
    heads = draw.number("heads", 1, 3)
    return f"{draw.number('layers', 1, 2)}, {heads}, {heads * multiple * draw.number('head', 1, 9)}"


def _layers_and_width(draw: Draw) -> str:
    return f"{draw.number('layers', 1, 2)}, {draw.size('width', 33)}"


def _bert(draw: Draw) -> str:
    return f"{_transformer(draw)}, hidden_dim={draw.size('hidden', 33)}"


def _two_layers(draw: Draw) -> str:
    return f"2, {draw.number('heads', 1, 2)}, 16"


_TYPES = "layer_types=('sliding_attention', 'full_attention'), window=3"
_GEMMA = f"norms='sandwich', centred_norms=True, embed_scale=4.0, {_TYPES}, activation='gelu_tanh', tied=True"
_YARN = "{'rope_type': 'yarn', 'factor': 2.5, 'original_max_position_embeddings': 64}"
DECODERS = (
    f"family='gemma2', {_GEMMA}, attention_softcap=5.0, logit_softcap=3.0, attention_scale=0.2",
    f"family='gemma3_text', {_GEMMA}, qk_norm='head', local_rope_base=50.0",
    "family='olmo2', norms='post', qk_norm='width', num_kv_heads=1",
    "family='granite', embed_scale=1.5, residual_scale=0.3, logit_divisor=3.0, attention_scale=0.2, mlp_bias=True",
    f"family='smollm3', rope_layers=(False, True), {_TYPES}",
    "family='phi3', rotary_dim=4, window=5",
    f"family='qwen2', qkv_bias=True, rope_scaling={_YARN}",
)

# name -> (what stands behind the vocabulary and the context, a choice of options)
LANGUAGE: dict[str, tuple[Callable[[Draw], str], tuple[str, ...]]] = {
    "GPT": (_transformer, ("", "activation='relu'", "activation='silu'")),
    "Llama": (_transformer, ("", "num_kv_heads=1", "window=3", "tied=True", "positions='alibi'")),
    "Decoder": (_two_layers, DECODERS),
    "RetNet": (_transformer, ("",)),
    "LSTM": (_layers_and_width, ("", "cell='gru'", "bidirectional=True")),
    "Liquid": (_layers_and_width, ("",)),
    "MLPLanguageModel": (_layers_and_width, ("window=3", "window=1")),
    "KANTransformer": (_transformer, ("", "intervals=3, order=2")),
}


STATES = ("RetNet", "LSTM", "Liquid")


def _language(draw: Draw, dropout: bool = False, names: Sequence[str] = tuple(LANGUAGE)) -> tuple[str, str]:
    """(how the model is built, its dtype)"""
    name = draw.choice("model", names)
    sizes, options = LANGUAGE[name]
    dtype, option = draw.dtype(), options[draw.number("option", 0, len(options) - 1)]
    parts = [f"{name!r}, {dtype!r}, {VOCAB}, 160", sizes(draw), option, "dropout=0.1" if dropout else ""]
    return f"model = build({', '.join(filter(None, parts))})", dtype


def read_at_once(model, ids, piece: int):
    """Logits of the token after each piece of `piece` tokens, and all logits."""
    with pf.no_grad():
        logits = model.eval()(ids)
    ends = [*range(piece, ids.shape[1], piece), ids.shape[1]]
    return pf.ops.stack([logits[:, end - 1] for end in ends]), logits


def read_in_pieces(model, ids, piece: int):
    """The former, each piece read with what the cache keeps of those before it."""
    model.eval()
    rows, tokens = ids.shape
    cache, logits = model.new_cache(rows, tokens), []
    with pf.no_grad():
        for begin in range(0, tokens, piece):
            part = ids.numpy()[:, begin : begin + piece]
            logits.append(model.next_logits(part, np.full(rows, part.shape[1]), cache))
    return pf.ops.stack(logits)


def language_model(draw: Draw) -> Call:
    setup, dtype = _language(draw)
    ids = draw.ids("ids", (draw.size("rows", 5), draw.size("tokens", 33, 150)), VOCAB)
    piece = draw.number("piece", 1, 9)
    rounded = dtype == "float16" and any(name in setup for name in STATES)  # a state is rounded when it is handed on
    return Call(
        f"read_at_once(model, ids, {piece})",
        {"ids": ids},
        dtype,
        setup=setup,
        apart=(Apart({"ids": 0}, {"out0": 1, "out1": 0}),),
        in_order=InOrder({"ids": 1}, {"out1": 1}),
        same=() if rounded else ((f"read_in_pieces(model, ids, {piece})", ("out0",)),),
    )


def read_padded(model, ids, lengths):
    """Logits, and zeros beyond the lengths."""
    counts = pf.tensor(np.arange(ids.shape[1]) < lengths.numpy()[:, None])
    with pf.no_grad():
        return pf.ops.where(counts.reshape(*ids.shape, 1), model.eval()(ids, lengths=lengths), 0.0)


def read_rows_alone(model, ids, lengths):
    """The same, each row by itself and without padding."""
    rows, tokens = [], ids.shape[1]
    with pf.no_grad():
        for row, length in enumerate(lengths.numpy()):
            logits = model.eval()(ids[row : row + 1, : int(length)])
            rows.append(pf.ops.pad(logits, [(0, 0), (0, tokens - int(length)), (0, 0)]))
    return pf.ops.concat(rows)


def padded_language_model(draw: Draw) -> Call:
    setup, dtype = _language(draw, names=("GPT", "Llama", "Decoder", "KANTransformer"))
    rows, tokens = draw.size("rows", 5), draw.size("tokens", 33, 150)
    arrays = {"ids": draw.ids("ids", (rows, tokens), VOCAB), "lengths": draw.ids("lengths", (rows,), tokens) + 1}
    same = (("read_rows_alone(model, ids, lengths)", ()),)
    return Call("read_padded(model, ids, lengths)", arrays, dtype, setup=setup, same=same)


def generation(draw: Draw) -> Call:
    setup, dtype = _language(draw)
    ids = draw.ids("ids", (draw.size("rows", 5), draw.size("tokens", 9)), VOCAB)
    expression = f"model.generate(ids, {draw.number('new tokens', 1, 20)}, temperature=0.0)"
    return Call(expression, {"ids": ids}, dtype, setup=setup, apart=(Apart({"ids": 0}, {"out0": 0}),))


def trained(model, steps: int, optimizer, *arguments):
    """The loss of each step and the parameters after it, and buffers."""
    model.train()
    losses, optimizer = [], optimizer(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(model.loss(*arguments))
        losses[-1].backward()
        optimizer.step()
    return (*(loss.detach() for loss in losses), *(t.detach() for t in model.state_dict().values()))


def _training(draw: Draw, setup: str, dtype: str, arrays: dict, names: str) -> Call:
    kind = draw.choice("optimizer", ("SGD", "AdamW"))
    expression = f"trained(model, {draw.number('steps', 1, 3)}, pf.optim.{kind}, {names})"
    return Call(expression, arrays, dtype, setup=f"{setup}; pf.manual_seed(3)")


def language_training(draw: Draw) -> Call:
    setup, dtype = _language(draw, draw.flag("dropout"))
    shape = (draw.size("rows", 5), draw.size("tokens", 33, 150))
    arrays = {name: draw.ids(name, shape, VOCAB) for name in ("ids", "targets")}
    return _training(draw, setup, dtype, arrays, "ids, targets")


def _pictures(draw: Draw, rows: int, dtype: str, size: int = 8) -> dict[str, np.ndarray]:
    arrays = {name: draw.array(name, (rows, 2, size, size), dtype) for name in ("pictures", "noise")}
    return {**arrays, "labels": draw.ids("labels", (rows,), 3)}


def _bert_classifier(draw: Draw, rows: int, dtype: str):
    tokens = draw.size("tokens", 33)
    arrays = {"ids": draw.ids("ids", (rows, tokens), VOCAB), "labels": draw.ids("labels", (rows,), 2)}
    arrays["lengths"] = draw.ids("lengths", (rows,), tokens) + 1
    return f"'BertClassifier', {VOCAB}, 40, {_bert(draw)}", arrays, "ids, None, lengths", "ids, labels, lengths"


def _encoder_decoder(draw: Draw, rows: int, dtype: str):
    arrays = {}
    for name in ("source", "target"):
        tokens = 2 + draw.size(f"{name} tokens", 17)
        arrays[name] = draw.ids(name, (rows, tokens), VOCAB)
        arrays[f"{name}_lengths"] = draw.ids(f"{name} lengths", (rows,), tokens - 1) + 2
    names = "source, target, source_lengths, target_lengths"
    options = f"norm_first={draw.flag('norm first')}"
    return f"'EncoderDecoder', {VOCAB}, 40, {_transformer(draw)}, {options}", arrays, names, names


def _vit(draw: Draw, rows: int, dtype: str):
    return f"'ViT', 8, 4, 2, 3, {_transformer(draw)}", _pictures(draw, rows, dtype), "pictures", "pictures, labels"


def _convnet(draw: Draw, rows: int, dtype: str):
    widths = tuple(draw.size(f"width {i}", 9) for i in range(draw.number("stages", 1, 2)))
    return f"'ConvNet', 8, 2, 3, {widths}", _pictures(draw, rows, dtype), "pictures", "pictures, labels"


def _autoencoder(draw: Draw, rows: int, dtype: str):
    sizes = f"{draw.size('code', 9)}, ({draw.size('width', 9)},)"
    return f"'Autoencoder', 8, 2, {sizes}", _pictures(draw, rows, dtype), "pictures", "pictures"


def _gan(draw: Draw, rows: int, dtype: str):
    arrays = {**_pictures(draw, rows, dtype), "code": draw.array("code", (rows, 5), dtype)}
    return f"'GAN', 8, 2, 3, 5, ({draw.size('width', 9)}, 8)", arrays, "code, labels", "pictures, labels, code"


def _dit(draw: Draw, rows: int, dtype: str):
    times = draw.numpy("times").random(rows).astype("float64" if dtype == "float64" else "float32")
    arrays, given = {**_pictures(draw, rows, dtype), "times": times}, "pictures, labels, times, noise"
    return f"'DiT', 8, 4, 2, 3, {_transformer(draw, 4)}", arrays, "pictures, times, labels", given


def _kan(draw: Draw, rows: int, dtype: str):
    sizes = (draw.size("in", 9), draw.size("between", 9), draw.size("out", 9))
    arrays = {"x": draw.array("x", (rows, sizes[0]), dtype), "targets": draw.array("targets", (rows, sizes[2]), dtype)}
    return f"'KAN', {sizes}", arrays, "x", "x, targets"


def _liquid_network(draw: Draw, rows: int, dtype: str):
    width, hidden, out, tokens = (
        draw.size("in", 9),
        draw.size("between", 9),
        draw.size("out", 9),
        draw.size("tokens", 17),
    )
    arrays = {"x": draw.array("x", (rows, tokens, width), dtype)}
    arrays["targets"] = draw.array("targets", (rows, tokens, out), dtype)
    return f"'LiquidNetwork', {width}, {hidden}, {out}", arrays, "x", "x, targets"


OTHERS = (_bert_classifier, _encoder_decoder, _vit, _convnet, _autoencoder, _gan, _dit, _kan, _liquid_network)


def _built(text: str, dtype: str) -> str:
    name, _, sizes = text.partition(", ")
    return f"model = build({name}, {dtype!r}, {sizes})"


def _other(draw: Draw) -> tuple[str, str, dict, str, str]:
    """(how the model is built, its dtype, arrays, those that `forward` takes, those that `loss` takes)"""
    dtype = draw.dtype()
    text, arrays, forward, loss = draw.choice("model", OTHERS)(draw, 1 + draw.size("rows", 5), dtype)
    return _built(text, dtype), dtype, arrays, forward, loss


def model(draw: Draw) -> Call:
    setup, dtype, arrays, forward, _ = _other(draw)
    used = {name: arrays[name] for name in forward.split(", ") if name != "None"}
    apart = (Apart(dict.fromkeys(used, 0), {"out0": 0}),)
    return Call(f"model({forward}).detach()", used, dtype, setup=f"{setup}.eval()", apart=apart)


def rows_alone(model, lengths, padded, *others):
    """The model's answer to each row by itself, without its padding."""
    rows = enumerate(lengths.numpy())
    alone = [model(padded[i : i + 1, : int(n)], *(other[i : i + 1] for other in others)) for i, n in rows]
    return pf.ops.concat(alone).detach()


PADDED = (
    (_bert_classifier, "model(ids, None, lengths).detach()", "rows_alone(model, lengths, ids)"),
    (
        _encoder_decoder,
        "model(source, target, source_lengths).detach()",
        "rows_alone(model, source_lengths, source, target)",
    ),
)


def padded_model(draw: Draw) -> Call:
    kind, together, alone = draw.choice("model", PADDED)
    dtype = draw.dtype()
    text, arrays, _, _ = kind(draw, draw.size("rows", 5), dtype)
    setup = f"{_built(text, dtype)}.eval()"
    used = {name: array for name, array in arrays.items() if name in together}
    return Call(together, used, dtype, setup=setup, same=((alone, ()),))


def model_training(draw: Draw) -> Call:
    setup, dtype, arrays, _, loss = _other(draw)
    used = {name: arrays[name] for name in loss.split(", ") if name != "None"}
    return _training(draw, setup, dtype, used, loss)


MODELS = (
    *(language_model, padded_language_model, generation, language_training),
    *(model, padded_model, model_training),
)
