"""`pyformer quantize`: a model in 8 or 4 bits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pyformer import models, tokenizers
from pyformer.cli.arguments import add_common, say
from pyformer.models import quantization
from pyformer.sentences import copy_settings


def add_command(commands: Any) -> None:
    """Adds `quantize` to the command line."""
    parser = commands.add_parser(
        "quantize",
        help="save a model in 8 or 4 bits",
        description="Write a model whose matrices take 8 or 4 bits a number: less memory, faster text. The folder is "
        "opened by generate, chat and the others.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of a model, or a GGUF file")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder that is made, or with --to q4 or keep a .gguf file"
    )
    parser.add_argument(
        "--to",
        choices=(*quantization.FORMATS, "keep"),
        default="q8",
        help="8 bits (default), 4, or what a GGUF file has",
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the model, and the tokenizer where there is one; 0."""
    model = models.from_pretrained(args.path, quantize=args.to)
    try:
        tokenizer = tokenizers.load(args.path)
    except FileNotFoundError:
        tokenizer = None
    if args.out.suffix == ".gguf":
        model.save_pretrained(args.out, tokenizer=tokenizer)
    else:
        model.save_pretrained(args.out)
        copy_settings(args.path, args.out)
        if tokenizer is not None:
            tokenizer.save(args.out)
    matrices = quantization.matrices(model)
    size = sum(matrix.nbytes for matrix in matrices.values())
    say(f"{args.out}: {len(matrices)} matrices as {args.to}, {size / 1e6:,.1f} MB")
    return 0
