"""`pyformer embed`: the vectors of lines of text, as a .npy file."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from pyformer import formats
from pyformer.cli.arguments import DEVICE_HELP, add_common, device, opening, say, whole
from pyformer.sentences import SentenceEncoder


def add_command(commands: Any) -> None:
    """Adds `embed` to the command line."""
    parser = commands.add_parser(
        "embed",
        help="write a vector for each line of a text",
        description="Write the vectors of lines of text, one a line, to a .npy file that NumPy reads.",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="folder of an encoder of sentences")
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="text in UTF-8 (default: stdin)")
    parser.add_argument("--out", type=Path, required=True, metavar="X.npy", help="float32 (lines, width)")
    parser.add_argument("--batch", type=whole(1, 4096), default=32, help="lines at once (default 32)")
    parser.add_argument("--raw", action="store_true", help="do not make the vectors have length 1")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar, no messages")
    parser.add_argument("--device", type=device, help=DEVICE_HELP)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the file; 0."""
    if args.quiet:
        logging.getLogger("pyformer").setLevel(logging.ERROR)
    with opening(args.path):
        encoder = SentenceEncoder.from_pretrained(args.path, device=args.device)
    lines = read_lines(args.file)
    vectors = encoder.encode(lines, args.batch, normalize=False if args.raw else None, progress=not args.quiet)
    with formats.atomic_files(args.out) as (file,):
        np.save(file, vectors)
    if not args.quiet:
        say(f"{args.out}: {vectors.shape[0]:,} vectors of {vectors.shape[1]}")
    return 0


def read_lines(path: Path | None) -> list[str]:
    """The lines of a file or of stdin, without their ends; ValueError where they are not UTF-8."""
    data = path.read_bytes() if path is not None else sys.stdin.buffer.read() if sys.stdin is not None else b""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path or 'stdin'}: not UTF-8 at byte {error.start}") from None
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
