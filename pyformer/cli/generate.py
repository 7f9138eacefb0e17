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
from pyformer.cli.arguments import DEVICE_HELP, add_common, device, move, open_tokenizer, real, whole
from pyformer.models.language_model import LanguageModel


def add_command(commands: Any) -> None:
    """Adds `generate` to the command line."""
    parser = commands.add_parser(
        "generate",
        help="continue a text with a trained model",
        description="Continue a text with a trained model.",
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run, runs/NAME")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="text to continue")
    parser.add_argument("--tokens", type=whole(1), default=200, help="new tokens (default 200)")
    parser.add_argument("--temperature", type=real(0.0), default=0.8, help="0 takes the likeliest (default 0.8)")
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
    ids = tokenizer.encode(args.prompt) if args.prompt else _start_of_text(tokenizer)
    write, decoder = _writer(), tokenizer.stream_decoder()
    write(args.prompt)
    model.generate(
        [ids],
        args.tokens,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        seed=secrets.randbelow(2**31) if args.seed is None else args.seed,
        stream=lambda row, token: write(decoder.push(token)),
        stop=model.config.eos_token_id,
        overflow="slide",
    )
    write(decoder.finish() + "\n")
    return 0


def _start_of_text(tokenizer: tokenizers.Tokenizer) -> Any:
    """What an empty prompt stands for: the start of a line, where the tokenizer knows lines."""
    try:
        return tokenizer.encode("\n")
    except ValueError:
        return [0]


def _writer() -> Any:
    out = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    if hasattr(out, "reconfigure"):
        out.reconfigure(errors="replace")

    def write(text: str) -> None:
        if text:
            out.write(text)
            out.flush()

    return write
