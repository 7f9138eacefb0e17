"""`pyformer chat`: a conversation with a model that has learned one, line by line."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import Any

from pyformer import models, tokenizers
from pyformer.cli.arguments import DEVICE_HELP, add_common, add_sampling, any_text, device, move, real, whole
from pyformer.cli.generate import writer
from pyformer.conversation import Conversation
from pyformer.formats.folder import reading_once


def add_command(commands: Any) -> None:
    """Adds `chat` to the command line."""
    parser = commands.add_parser(
        "chat",
        help="converse with a trained model",
        description="Converse with a trained model: each line of stdin is said to it, its answers are printed as they "
        "come. Its own template writes the conversation.",
    )
    parser.texts = ("--system", "--say", "--stop")
    parser.add_argument("path", type=Path, metavar="PATH", help="a model's folder, or a GGUF file")
    parser.add_argument("--say", type=any_text, metavar="TEXT", help="say this and end, in place of reading stdin")
    parser.add_argument("--system", type=any_text, metavar="TEXT", help="what the model is told before all else")
    parser.add_argument("--tokens", type=whole(1), default=512, help="most tokens of an answer (default 512)")
    parser.add_argument(
        "--temperature", type=real(0.0), default=0.0, help="0 always takes the likeliest token (default 0)"
    )
    add_sampling(parser)
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), help="the same seed gives the same answers")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="(default float32, or as a folder was saved)")
    parser.add_argument(
        "--quantize", choices=("keep", "q8", "q4"), help="8 or 4 bits per weight; keep: as a GGUF file has them"
    )
    parser.add_argument("--device", type=device, help=DEVICE_HELP)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answers what is said; 0."""
    with reading_once():
        tokenizer = tokenizers.load(args.path)
        model = models.from_pretrained(args.path, dtype=args.dtype, quantize=args.quantize)
    move(model, args.device)
    conversation = Conversation(
        model,
        tokenizer,
        system=args.system,
        max_new_tokens=args.tokens,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=1.0 if args.repetition_penalty is None else args.repetition_penalty,
        presence_penalty=args.presence_penalty,
        frequency_penalty=args.frequency_penalty,
        stop_strings=args.stop,
        speculate=args.speculate,
        seed=secrets.randbelow(2**31) if args.seed is None else args.seed,
    )
    write = writer()
    for said in [args.say] if args.say is not None else _lines():
        for piece in conversation(said):
            write(piece)
        write("\n")
    return 0


def _lines() -> Any:
    """The lines of stdin that say something; a person is shown where to write."""
    watched = sys.stdin is not None and sys.stdin.isatty()
    while sys.stdin is not None:
        if watched:
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.rstrip("\n")
