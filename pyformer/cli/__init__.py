"""The command line: `pyformer train | generate | attend | derive | compare | info | bench`.

An error is one line on stderr and exit code 2; `--debug` shows the traceback instead.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import pyformer as pf
from pyformer.cli import attend, bench, compare, derive, generate, info, train
from pyformer.cli.arguments import Parser, say

ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

# What else comes up is named by its class: its text alone may not say enough.
PLAIN_ERRORS = (ValueError, OSError, ImportError, RuntimeError, ArithmeticError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, by default that of sys.argv; returns the exit code."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and args.command != "bench":
        parser.error(f"{args.command}: unknown arguments: {' '.join(rest)}")
    args.rest = rest
    if getattr(args, "debug", False):
        return int(args.run(args))
    try:
        return int(args.run(args))
    except KeyboardInterrupt:
        _say(args, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except Exception as error:
        _say(args, describe(error))
        return ERROR


def describe(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        text = f"out of memory: {error}" if str(error) else "out of memory"
    else:
        text = str(error) or type(error).__name__
        if not isinstance(error, PLAIN_ERRORS):
            text = f"{type(error).__name__}: {text}"
    return " ".join(text.split())


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="pyformer", description="Train and run transformers.")
    parser.add_argument("--version", action="version", version=f"pyformer {pf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in (train, generate, attend, derive, compare, info, bench):
        module.add_command(commands)
    return parser


def _say(args: argparse.Namespace, text: str) -> None:
    say(f"pyformer {args.command}: {text}")


def _drop_stdout() -> None:
    """Keeps the interpreter from flushing into the closed pipe once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
