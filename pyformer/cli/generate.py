"""`pyformer generate`: continues a text, printed as it comes."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import models, tokenizers
from pyformer.cli.arguments import (
    DEVICE_HELP,
    add_common,
    any_text,
    device,
    move,
    open_tokenizer,
    prompt_ids,
    real,
    whole,
)
from pyformer.generation.generate import said_of_generation
from pyformer.models.language_model import LanguageModel


def add_command(commands: Any) -> None:
    """Adds `generate` to the command line."""
    parser = commands.add_parser(
        "generate",
        help="continue a text with a trained model",
        description="Continue a text with a trained model.",
    )
    parser.texts = ("--prompt",)
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run, runs/NAME")
    parser.add_argument("--prompt", type=any_text, default="", metavar="TEXT", help="text to continue, any text")
    parser.add_argument("--tokens", type=whole(1), default=200, help="new tokens (default 200)")
    parser.add_argument(
        "--temperature", type=real(0.0), help="0 takes the likeliest (default: generation_config.json's, or 0.8)"
    )
    parser.add_argument("--top-k", type=whole(1), help="choose among the k likeliest tokens")
    parser.add_argument("--top-p", type=real(0.0, 1.0, above=True), help="choose among the likeliest, of this sum")
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), help="the same seed gives the same text")
    parser.add_argument("--device", type=device, help=DEVICE_HELP)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the prompt and its continuation; 0."""
    if args.threads:
        pf.set_num_threads(args.threads)
    model = models.from_pretrained(args.folder)
    if not isinstance(model, LanguageModel):
        raise ValueError(f"{args.folder}: holds a {type(model).__name__}, which does not continue texts")
    tokenizer = open_tokenizer(args.folder, model.config)
    move(model, args.device)
    model.eval()
    ids = prompt_ids(tokenizer, args.prompt) or _start_of_text(tokenizer)
    write, decoder = writer(), tokenizer.stream_decoder()
    if args.prompt:
        _read(decoder, ids)
    write(args.prompt)

    def stream(row: int, token: int) -> None:
        if _is_text(tokenizer, token):
            write(decoder.push(token))

    said = said_of_generation(model)
    model.generate(
        [ids],
        args.tokens,
        temperature=_or(args.temperature, said.get("temperature"), 0.8),
        top_k=args.top_k,
        top_p=args.top_p,
        seed=secrets.randbelow(2**31) if args.seed is None else args.seed,
        stream=stream,
        stop=_or(said.get("eos_token_id"), model.config.eos_token_id, None),
        overflow="slide",
    )
    write(decoder.finish() + "\n")
    return 0


def _or(*values: Any) -> Any:
    """The first value that is given."""
    return next((value for value in values if value is not None), None)


def _start_of_text(tokenizer: tokenizers.Tokenizer) -> Any:
    """What an empty prompt stands for: the start of a line, where the tokenizer knows lines."""
    try:
        ids = tokenizer.encode("\n")
    except ValueError:
        return [0]
    return ids if len(ids) else [0]


def _read(decoder: tokenizers.StreamDecoder, ids: list[int]) -> None:
    """Makes the decoder go on from a prompt: a first word's space may depend on it."""
    for token in ids:
        decoder.push(token)
    decoder.finish()


def _is_text(tokenizer: tokenizers.Tokenizer, token: int) -> bool:
    """Whether a token is to be shown: not one that marks a start or end, nor a spare one of a padded vocabulary."""
    return token < tokenizer.vocab_size and token not in getattr(tokenizer, "special_ids", ())


def writer() -> Any:
    """A function that writes text on stdout at once."""
    out = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    if hasattr(out, "reconfigure"):
        out.reconfigure(errors="replace")

    def write(text: str) -> None:
        if text:
            out.write(text)
            out.flush()

    return write
