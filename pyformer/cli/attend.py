"""`pyformer attend`: draws what each token of a text attends to, as a page and as a picture."""

from __future__ import annotations

import argparse
import inspect
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, models, nn, tokenizers
from pyformer.cli import pages
from pyformer.cli.arguments import (
    DEVICE_HELP,
    add_common,
    any_path,
    any_text,
    device,
    move,
    open_tokenizer,
    prompt_ids,
    say,
)
from pyformer.terminal import announce

# A page holds every weight, a byte each: browsers are slow with more, and eyes find nothing.
MAX_WEIGHTS, MAX_TOKENS = 1 << 25, 1024
LABELLED_TOKENS = 48
START = "[start]"
# Visible signs for what takes no place: C0 controls as Unicode's pictures of them, a newline as a key's arrow.
CONTROLS = {**{code: 0x2400 + code for code in range(32)}, ord("\n"): 0x23CE}


@dataclass(frozen=True)
class Tokens:
    """Tokens as they are shown, and which of them are no text."""

    words: list[str]
    special: list[bool]


@dataclass(frozen=True)
class Panel:
    """Attention of one kind: weights float (L, H, Tq, Tk) and the tokens that queries and keys stand for."""

    name: str
    queries: Tokens
    keys: Tokens
    weights: np.ndarray


def add_command(commands: Any) -> None:
    """Adds `attend` to the command line."""
    parser = commands.add_parser(
        "attend",
        help="draw what each token of a text attends to",
        description="Draw what each token of a text attends to: a page to open in a browser, and a picture (PNG).",
    )
    parser.text_arguments = True
    parser.add_argument("folder", type=any_path, metavar="RUN", help="folder of a run, runs/NAME")
    parser.add_argument("text", type=any_text, metavar="TEXT", help="the text to look at, last or after -- any")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page; the picture beside it (RUN/attention.html)")
    parser.add_argument("--device", type=device, help=DEVICE_HELP)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the page, and the picture where matplotlib is; 0."""
    out = args.out or args.folder / "attention.html"
    if out.suffix.lower() == ".png":
        raise ValueError(f"--out {formats.display_name(out)}: is for the page; the picture goes beside it, as .png")
    model = models.from_pretrained(args.folder)
    if not attends(model):
        raise ValueError(
            f"{formats.display_name(args.folder)}: in a {type(model).__name__} no token attends to another"
        )
    tokenizer = open_tokenizer(args.folder, model.config)
    move(model, args.device)
    panels = read_attention(model, tokenizer, args.text)
    title = f"What {formats.display_name(args.folder.name)} attends to"
    formats.write_bytes_atomic(out, page(title, panels, tokenizer.unit).encode("utf-8"))
    announce(f"saved {formats.display_name(out)}")
    try:
        drawn = picture(title, panels)
    except ImportError as error:
        say(str(error))
        return 0
    formats.write_bytes_atomic(out.with_suffix(".png"), drawn)
    announce(f"saved {formats.display_name(out.with_suffix('.png'))}")
    return 0


def attends(model: Any) -> bool:
    """Whether a model reads words and gives the weights of its attention."""
    return hasattr(model.config, "vocab_size") and "return_weights" in inspect.signature(model.forward).parameters


def read_attention(model: Any, tokenizer: tokenizers.Tokenizer, text: str) -> list[Panel]:
    """The panels of a model that reads `text`; one that translates also does that, greedily.

    ValueError if the text is empty, or too long for the model or a page.
    """
    ids = prompt_ids(tokenizer, text)
    reads_only = not (hasattr(model, "generate") or hasattr(model, "translate"))
    # Our own encoders have a mark of a start beyond the words; a file of byte pairs says itself what comes first.
    if reads_only and tokenizer.kind != "bpe" and model.config.vocab_size > tokenizer.vocab_size:
        ids = [tokenizer.vocab_size, *ids]
    if not ids:
        raise ValueError("attend: expected a text, got an empty one")
    config = model.config
    room = math.isqrt(MAX_WEIGHTS // (config.num_layers * config.num_heads))
    limit = min(MAX_TOKENS, config.context_length, room)
    if len(ids) > limit:
        raise ValueError(f"attend: the text is {len(ids)} tokens long, expected at most {limit}")
    words = _shown(tokenizer, ids)
    with nn.inference():
        if hasattr(model, "translate"):
            return _translated(model, tokenizer, ids, words, limit)
        _, weights = model([ids], return_weights=True)
    return [Panel("attention", words, words, _stacked(weights))]


def _translated(
    model: models.EncoderDecoder, tokenizer: tokenizers.Tokenizer, ids: list[int], words: Tokens, limit: int
) -> list[Panel]:
    target = [model.config.bos_id, *model.translate([ids], max_new_tokens=limit)[0]][:limit]
    _, weights = model([ids], [target], return_weights=True)
    rest = _shown(tokenizer, target[1:])
    written = Tokens([START, *rest.words], [True, *rest.special])
    return [
        Panel("target to source", written, words, _stacked(weights["cross"])),
        Panel("source to itself", words, words, _stacked(weights["encoder"])),
        Panel("target to itself", written, written, _stacked(weights["decoder"])),
    ]


def _stacked(weights: list[pf.Tensor]) -> np.ndarray:
    return np.stack([layer.to("cpu").numpy()[0] for layer in weights])


def _shown(tokenizer: tokenizers.Tokenizer, ids: list[int]) -> Tokens:
    return Tokens([shown_token(tokenizer, token) for token in ids], [is_special(tokenizer, token) for token in ids])


def is_special(tokenizer: tokenizers.Tokenizer, token: int) -> bool:
    """Whether a token is no text: a start, padding, one that stands for what is not known."""
    if token >= tokenizer.vocab_size:
        return True
    if isinstance(tokenizer, tokenizers.WordTokenizer):
        return tokenizer.split(tokenizer.words[token]) != [tokenizer.words[token]]
    return token in getattr(tokenizer, "special_ids", ())


def shown_token(tokenizer: tokenizers.Tokenizer, token: int) -> str:
    """A token as it is shown; the first that the tokenizer doesn't have is the model's own mark of a start."""
    if token >= tokenizer.vocab_size:
        return START if token == tokenizer.vocab_size and tokenizer.kind != "bpe" else f"[{token}]"
    text = tokenizer.decode([token]).translate(CONTROLS)
    if text == " ":
        return "\u2423"
    if text == "\ufffd" and tokenizer.kind == "byte":
        return f"\\x{token:02x}"  # a part of a character
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def page(title: str, panels: list[Panel], unit: str) -> str:
    """One HTML page that needs nothing else: the text, a map of a head or of all, and a small one of each."""
    content = [
        {
            "name": panel.name,
            "queries": panel.queries.words,
            "keys": panel.keys.words,
            "dim_queries": panel.queries.special,
            "dim_keys": panel.keys.special,
            "layers": panel.weights.shape[0],
            "heads": panel.weights.shape[1],
            "weights": pages.packed(np.rint(panel.weights * 255).astype(np.uint8)),
        }
        for panel in panels
    ]
    return pages.filled("attend.html", {"title": title, "unit": unit, "panels": content})


def picture(title: str, panels: list[Panel]) -> bytes:
    """The first panel as a PNG: layers from top to bottom, heads from left to right, in the depths of the page.

    ImportError, saying what to install, without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("attend: no picture without matplotlib: pip install 'pyformer[plot]'") from None
    panel = panels[0]
    layers, heads, queries, keys = panel.weights.shape
    labelled = max(queries, keys) <= LABELLED_TOKENS
    size = 3.2 if labelled else 2.2
    figure = Figure(figsize=(size * heads, size * layers + 0.5), layout="constrained")
    figure.suptitle(_drawable(title if len(panels) == 1 else f"{title}, {panel.name}"))
    figure.supxlabel("what is attended to", fontsize=8)
    figure.supylabel("from", fontsize=8)
    axes = figure.subplots(layers, heads, squeeze=False)
    for layer in range(layers):
        for head in range(heads):
            ax = axes[layer, head]
            ax.imshow(np.sqrt(panel.weights[layer, head]), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
            ax.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
            ax.set_xticks(range(keys) if labelled else [], _labels(panel.keys.words) if labelled else [], rotation=90)
            ax.set_yticks(range(queries) if labelled else [], _labels(panel.queries.words) if labelled else [])
            ax.tick_params(labelsize=6)
    out = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks becomes a box.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(out, format="png", dpi=100)
    return out.getvalue()


def _labels(words: list[str]) -> list[str]:
    return [_drawable(word) for word in words]


def _drawable(text: str) -> str:
    """`text` without what matplotlib would read as mathematics or can't print."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text).replace("$", r"\$")
