"""`pyformer eval`: how well a model predicts a text."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, models
from pyformer.cli.arguments import DEVICE_HELP, add_common, device, move, open_tokenizer, standard_input, whole
from pyformer.models.language_model import LanguageModel
from pyformer.training.evaluation import mean_loss


def add_command(commands: Any) -> None:
    """Adds `eval` to the command line."""
    parser = commands.add_parser(
        "eval",
        help="measure how well a model predicts a text",
        description="Measure how well a model predicts a text: the mean loss, perplexity, and bits per byte, which "
        "compares models with other tokenizers. The text is read in windows of the model's context, each from an empty "
        "context; every token but the first is predicted once.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run or a model")
    parser.add_argument("files", nargs="+", metavar="FILE", help="text (UTF-8), a folder of texts, or - for stdin")
    parser.add_argument("--batch", type=whole(1), default=8, metavar="N", help="windows at once (default 8)")
    parser.add_argument("--device", type=device, help=DEVICE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints what came out; 0."""
    model = models.from_pretrained(args.folder)
    if not isinstance(model, LanguageModel):
        raise ValueError(f"{args.folder}: holds a {type(model).__name__}, which does not predict texts")
    tokenizer = open_tokenizer(args.folder, model.config)
    move(model, args.device)
    text = pf.data.read_text(args.files, standard_input())
    result = {"run": formats.display_name(args.folder), **evaluate(model, tokenizer, text, args.batch)}
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"{result['loss']:.4f} nats per {tokenizer.unit} over {result['tokens']:,}")
    print(f"perplexity {result['perplexity']:.4f}")
    print(f"{result['bits_per_byte']:.4f} bits per byte")
    return 0


def evaluate(model: Any, tokenizer: Any, text: str, batch: int) -> dict[str, Any]:
    """The mean loss of a token in nats, the perplexity, bits per byte, and of how many tokens and bytes."""
    tokens = np.asarray(tokenizer.encode(text))
    if len(tokens) < 2:
        raise ValueError(f"the text is too short: it has {len(tokens)} token(s), the first of which is not predicted")
    loss = mean_loss(model, _windows(tokens, model.config.context_length, batch))
    count, size = len(tokens) - 1, len(text.encode())
    return {
        "tokens": count,
        "bytes": size,
        "loss": loss,
        "perplexity": math.exp(min(loss, 700.0)),
        "bits_per_byte": loss * count / math.log(2.0) / size,
    }


def _windows(tokens: np.ndarray, length: int, batch: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(ids, targets) of windows one after the other, `batch` at a time; the last one is as long as what is left."""
    whole_windows = (len(tokens) - 1) // length
    end = whole_windows * length
    ids = tokens[:end].reshape(whole_windows, length)
    targets = tokens[1 : end + 1].reshape(whole_windows, length)
    pairs = [(ids[i : i + batch], targets[i : i + batch]) for i in range(0, whole_windows, batch)]
    return pairs + ([(tokens[None, end:-1], tokens[None, end + 1 :])] if end < len(tokens) - 1 else [])
