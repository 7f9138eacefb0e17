"""The command line: `pyformer train | generate | chat | embed | quantize | classify | eval | attend | explain | ...`.

An error is one line on stderr and exit code 2; `--debug` shows the traceback instead.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

import pyformer as pf
from pyformer import starting
from pyformer.cli import (
    attend,
    bench,
    chat,
    classify,
    compare,
    completion,
    derive,
    embed,
    evaluate,
    explain,
    generate,
    info,
    quantize,
    train,
)
from pyformer.cli.arguments import Parser, did_you_mean, say, show_messages
from pyformer.starting import INTERRUPTED
from pyformer.terminal import steady_output

ERROR, BROKEN_PIPE = 2, 141

# What else comes up is named by its class: its text alone may not say enough.
PLAIN_ERRORS = (ValueError, OSError, ImportError, RuntimeError, ArithmeticError)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command, by default that of sys.argv; returns the exit code."""
    args = argparse.Namespace(command=None, debug=False, verbose=False)
    try:
        starting.hand_over()
        with steady_output():
            return _run(args, argv)
    except KeyboardInterrupt:
        if args.debug:
            raise
        say(f"pyformer {args.command or ''}".rstrip() + ": interrupted")
        return INTERRUPTED
    finally:
        starting.end_of_work()


def _run(args: argparse.Namespace, argv: Sequence[str] | None) -> int:
    parser = make_parser()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    _, rest = parser.parse_known_args(words, args)
    if rest and args.command != "bench":
        command = parser.commands.get(args.command, parser)
        options = command._option_string_actions
        hint = next(filter(None, (did_you_mean(word, options) for word in rest if word.startswith("-"))), "")
        command.error(f"unknown arguments: {' '.join(rest)}{hint}")
    if args.command is None:
        parser.print_help()
        return 0
    args.rest = rest
    if getattr(args, "threads", None):
        pf.set_num_threads(args.threads)
    if args.verbose:
        show_messages(logging.DEBUG)
        say(pf.show_config())
    try:
        code = int(args.run(args))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        if args.debug:
            raise
        return BROKEN_PIPE
    except Exception as error:
        if args.debug:
            raise
        # A function of the same name says its name, too.
        say(f"pyformer {args.command}: {describe(error).removeprefix(f'{args.command}: ')}")
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


def make_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(prog="pyformer", description="Train and run transformers.")
    parser.add_argument("-V", "--version", action="version", version=f"pyformer {pf.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    models = train, generate, chat, embed, quantize, classify, evaluate, attend, explain
    for module in (*models, derive, compare, info, bench, completion):
        module.add_command(commands)
    parser.commands = commands.choices
    return parser
