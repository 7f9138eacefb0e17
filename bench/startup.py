"""What is paid before any arithmetic: import, installed size, the cost of a call from Python."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

import pyformer as pf
from bench import ROOT
from bench.measure import Row, Settings, timed_row


def _import_ms(name: str) -> float:
    code = (
        f"import sys, time; sys.path[:] = {sys.path!r}; start = time.perf_counter(); import {name}; "
        "print(1e3 * (time.perf_counter() - start))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return float(output)


def run_import(settings: Settings) -> Iterator[Row]:
    """Import in a fresh interpreter, the files warm; numpy's own time is part of both."""
    names = ("pyformer",) if settings.quick else ("pyformer", "torch")
    samples: dict[str, list[float]] = {name: [] for name in names}
    for name in names:
        _import_ms(name)
    for _ in range(settings.repetitions):
        for name in names:
            samples[name].append(_import_ms(name))
    yield Row("startup", "import", "ms", samples)


def _folder_mib(name: str) -> float:
    folder = Path(importlib.util.find_spec(name).origin).parent
    files = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sum(p.stat().st_size for p in files) / 2**20


def run_size(settings: Settings) -> Iterator[Row]:
    """Size of the installed package, and of the newest wheel in dist/ if there is one."""
    yield Row("startup", "installed size", "MiB", {name: [_folder_mib(name)] for name in ("pyformer", "torch")})
    wheels = sorted((ROOT / "dist").glob("pyformer-*.whl"), key=lambda p: p.stat().st_mtime)
    if wheels:
        yield Row("startup", "wheel", "MiB", {"pyformer": [wheels[-1].stat().st_size / 2**20]})


def run_overhead(settings: Settings) -> Iterator[Row]:
    """A call from Python: add of two one-element tensors that need gradients, recorded; and with backward."""
    ours = [pf.tensor([1.0], requires_grad=True) for _ in range(2)]
    theirs = [torch.tensor([1.0], requires_grad=True) for _ in range(2)]
    add = {"pyformer": lambda: ours[0] + ours[1], "torch": lambda: theirs[0] + theirs[1]}
    yield timed_row("startup", "add of two 1-element tensors, recorded", add, settings)

    def both(tensors: list) -> None:
        (tensors[0] + tensors[1]).backward()
        for tensor in tensors:
            tensor.grad = None

    steps = {"pyformer": lambda: both(ours), "torch": lambda: both(theirs)}
    yield timed_row("startup", "the same with backward", steps, settings)
