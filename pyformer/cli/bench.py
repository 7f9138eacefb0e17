"""`pyformer bench`: the comparative benchmark of the checkout around, or the one that was installed."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyformer as pf

RIVALS = ("torch", "transformers")


def add_command(commands: Any) -> None:
    """Adds `bench` to the command line."""
    parser = commands.add_parser(
        "bench",
        help="compare with PyTorch on this machine",
        description="Compare with PyTorch on this machine. In a checkout, `python -m bench` is the same.",
        epilog="The benchmark's own options: --list (names of the items), --only NAME ... (those whose name contains "
        "one of these), --quick (a smoke test), --threads N, --repetitions N, --json FILE (results), --into FILE "
        "(put rows in the place of an earlier run's).",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run, verbose=False)


def run(args: argparse.Namespace) -> int:
    """Runs the benchmark; its exit code."""
    folder = _folder()
    missing = [name for name in RIVALS if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"needs {' and '.join(missing)}: pip install 'pyformer[bench]'")
    # The folder where the command was given: there an installed benchmark writes its results.
    environment = {**os.environ, "PYFORMER_BENCH_FROM": os.getcwd()}
    return subprocess.call([sys.executable, "-m", "bench", *args.rest], cwd=folder, env=environment)


def _folder() -> Path:
    """The checkout around the working directory, or what was installed in its place."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "bench" / "__main__.py").is_file() and (folder / "csrc" / "pyformer").is_dir():
            return folder
    for room in pf.__path__:
        if (Path(room) / "_bench" / "bench" / "__main__.py").is_file():
            return Path(room) / "_bench"
    raise ValueError("the benchmark is not installed here: run this in a checkout, after pip install '.[bench]'")
