"""`pyformer bench`: the comparative benchmark, which lives beside the package in a checkout."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

RIVALS = ("torch", "transformers")


def add_command(commands: Any) -> None:
    """Adds `bench` to the command line."""
    parser = commands.add_parser(
        "bench",
        help="compare with PyTorch on this machine",
        description="Compare with PyTorch on this machine; arguments go to `python -m bench`.",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the benchmark; its exit code."""
    folder = _checkout()
    missing = [name for name in RIVALS if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"needs {' and '.join(missing)}: pip install 'pyformer[bench]'")
    return subprocess.call([sys.executable, "-m", "bench", *args.rest], cwd=folder)


def _checkout() -> Path:
    """The checkout around the working directory."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "bench" / "__main__.py").is_file() and (folder / "csrc" / "pyformer").is_dir():
            return folder
    raise ValueError("the benchmark is part of pyformer's source: run this in a checkout, after pip install '.[bench]'")
