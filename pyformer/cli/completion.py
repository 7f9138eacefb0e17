"""`pyformer completion`: what makes a shell complete pyformer's commands and options."""

from __future__ import annotations

import argparse
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")


def add_command(commands: Any) -> None:
    """Adds `completion` to the command line."""
    parser = commands.add_parser(
        "completion",
        help="print what makes your shell complete commands and options",
        description="Print what makes your shell complete commands and options, by the package shtab. For bash: "
        'eval "$(pyformer completion bash)" in ~/.bashrc.',
    )
    parser.add_argument("shell", choices=SHELLS, help=", ".join(SHELLS))
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run, verbose=False)


def run(args: argparse.Namespace) -> int:
    """Prints the script; 0."""
    from pyformer.cli import make_parser

    try:
        import shtab
    except ImportError:
        raise ImportError("needs the package shtab: pip install 'pyformer[completion]'") from None
    parser = make_parser()
    for each in (parser, *parser.commands.values()):
        for action in each._actions:
            if action.metavar in ("FILE", "DIR", "RUN"):
                action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(parser, args.shell))
    return 0
