"""`pyformer info`: what this build is, and what a run or a saved model holds."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import _core, formats, models, tokenizers, training
from pyformer.cli.arguments import add_common, open_tokenizer
from pyformer.cli.memory import size_text
from pyformer.products import bfloat16_products

_WORDS = {
    "num_layers": "{} layers",
    "embed_dim": "{} wide",
    "num_heads": "{} heads",
    "context_length": "context {:,}",
    "vocab_size": "vocabulary {:,}",
    "dropout": "dropout {:g}",
}
_ONE = {"num_layers": "1 layer", "num_heads": "1 head"}
_ORDER = {name: place for place, name in enumerate(_WORDS)}


def add_command(commands: Any) -> None:
    """Adds `info` to the command line."""
    parser = commands.add_parser(
        "info",
        help="show this build, or a run or model",
        description="Show this build: version, instruction set, threads, devices; or a run, or a saved model.",
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="RUN", help="folder of a run or a model")
    parser.add_argument(
        "--cmake-dir", action="store_true", help="print only where CMake's find_package(pyformer) finds the C++ library"
    )
    parser.add_argument("--kernels", action="store_true", help="list the CPU's kernels by instruction set and dtype")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints; 0."""
    if args.cmake_dir:
        print(pf.cmake_dir())
    elif args.kernels:
        print("\n".join(_kernel_lines()))
    elif args.json:
        print(json.dumps(_build() if args.folder is None else _run_values(args.folder)))
    elif args.folder is None:
        print(pf.show_config())
    else:
        # Everything is read before the first line appears.
        print("\n".join(f"{name + ':':<14} {text}" for name, text in describe_run(args.folder)))
    return 0


def _build() -> dict[str, Any]:
    return {
        "version": pf.__version__,
        "instruction_set": _core.isa(),
        "supported_instruction_sets": list(_core.supported_isas()),
        "bfloat16_products": bfloat16_products(),
        "threads": pf.get_num_threads(),
        "cuda_devices": pf.cuda.device_count(),
    }


def _run_values(folder: Path) -> dict[str, Any]:
    """What `describe_run` says, as values by name; what is not known of the run is left out."""
    model = models.from_pretrained(folder)
    config = {field.name: getattr(model.config, field.name) for field in fields(model.config)}
    values: dict[str, Any] = {
        "run": formats.display_name(folder),
        "model": type(model).__name__,
        "config": config,
        "parameters": model.num_parameters(),
    }
    if (folder / tokenizers.FILE_NAME).exists():
        tokenizer = open_tokenizer(folder, model.config)
        values["tokenizer"] = {"kind": tokenizer.kind, "tokens": tokenizer.vocab_size}
    if (folder / training.CHECKPOINT_NAME).exists():
        values["steps"] = _checkpoint_step(folder / training.CHECKPOINT_NAME)
    metrics = training.read_metrics(folder / training.METRICS_NAME)
    for name in ("loss", "validation_loss"):
        points = training.loss_points(metrics, name)
        if points:
            values[name] = {"step": int(points[-1][0]), "value": points[-1][1], "best": min(v for _, v in points)}
    return values


def _kernel_lines() -> list[str]:
    """A line an op and instruction set: how many kernels it has in each dtype. What a set lacks, `ref` does."""
    lines = []
    for op, sets in _core.kernels().items():
        for name, rows in sets.items():
            counts = Counter(dtype for row in rows for dtype in row)
            lines.append(f"{op:<20} {name:<9} " + ", ".join(f"{count} {dtype}" for dtype, count in counts.items()))
    return lines


def describe_run(folder: Path) -> list[tuple[str, str]]:
    """(name, text) of what is known about a run or a saved model of any kind; OSError, ValueError or TypeError if it
    is damaged or its files don't fit together."""
    model = models.from_pretrained(folder)
    entries, _ = formats.read_header(folder / formats.WEIGHTS_NAME)
    lines = [("run", formats.display_name(folder)), ("model", _architecture(model)), *_sizes(model, entries)]
    if (folder / tokenizers.FILE_NAME).exists():
        tokenizer = open_tokenizer(folder, model.config)
        lines.append(("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens"))
    return lines + _progress(folder)


def _architecture(model: Any) -> str:
    """The class and its config; what is not set or off is left out."""
    values = {field.name: getattr(model.config, field.name) for field in fields(model.config)}
    shown = [
        _ONE[name] if value == 1 and name in _ONE else _WORDS.get(name, name.replace("_", " ") + " {}").format(value)
        for name, value in sorted(values.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER)))
        if value is not None and value is not False
    ]
    return ", ".join([type(model).__name__, *shown])


def _sizes(model: Any, entries: dict[str, formats.Entry]) -> list[tuple[str, str]]:
    count = model.num_parameters()
    stored = sum(entry.end - entry.begin for entry in entries.values())
    return [
        ("parameters", f"{count:,}"),
        (
            "memory",
            f"weights {size_text(stored)}; {_cache(model)}weights, gradients and optimiser in training "
            f"{size_text(16 * count)}",
        ),
    ]


def _cache(model: Any) -> str:
    """How much a generation holds besides, of models that keep keys and values."""
    size = model.cache_bytes()
    return f"cache of a full context {size_text(size)}; " if size else ""


def _progress(folder: Path) -> list[tuple[str, str]]:
    metrics = training.read_metrics(folder / training.METRICS_NAME)
    lines = []
    if (folder / training.CHECKPOINT_NAME).exists():
        lines.append(("trained", f"{_checkpoint_step(folder / training.CHECKPOINT_NAME):,} steps"))
    for title, name in (("training loss", "loss"), ("validation", "validation_loss")):
        points = training.loss_points(metrics, name)
        if points:
            step, value = points[-1]
            best = min(v for _, v in points)
            lines.append((title, f"{value:.4f} at step {step:,.0f} (best {best:.4f})"))
    return lines


def _checkpoint_step(path: Path) -> int:
    _, metadata = formats.read_header(path)
    try:
        return int(json.loads(metadata["state"])["step"])
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        raise ValueError(f"{path}: not the checkpoint of a training run") from None
