"""`pyformer info`: what this build is, and what a run holds."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import files, tokenizers, training
from pyformer.cli.arguments import add_common, open_tokenizer
from pyformer.cli.memory import size_text
from pyformer.models import GPTConfig
from pyformer.models.gpt import match_entries


def add_command(commands: Any) -> None:
    """Adds `info` to the command line."""
    parser = commands.add_parser(
        "info",
        help="show this build, or a run",
        description="Show this build: version, instruction set, threads, devices; and a run.",
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="RUN", help="folder of a run")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints; 0."""
    if args.threads:
        pf.set_num_threads(args.threads)
    if args.folder is None:
        print(pf.show_config())
    else:
        # Everything is read before the first line appears.
        print("\n".join(f"{name + ':':<14} {text}" for name, text in describe_run(args.folder)))
    return 0


def describe_run(folder: Path) -> list[tuple[str, str]]:
    """(name, text) of what is known about a run; OSError, ValueError or TypeError if it is damaged
    or its files don't fit together."""
    config = GPTConfig.from_hf(files.read_config(folder))
    entries, _ = files.read_header(folder / files.WEIGHTS_NAME)
    match_entries(folder / files.WEIGHTS_NAME, config, entries)
    lines = [("run", files.display_name(folder)), ("model", _architecture(config)), *_sizes(config, entries)]
    if (folder / tokenizers.FILE_NAME).exists():
        tokenizer = open_tokenizer(folder, config)
        lines.append(("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens"))
    return lines + _progress(folder)


def _architecture(config: GPTConfig) -> str:
    return (
        f"GPT, {config.num_layers} layers, {config.embed_dim} wide, {config.num_heads} heads, "
        f"context {config.context_length:,}, vocabulary {config.vocab_size:,}, "
        f"dropout {config.dropout:g}"
    )


def _sizes(config: GPTConfig, entries: dict[str, files.Entry]) -> list[tuple[str, str]]:
    count = sum(math.prod(entry.shape) for entry in entries.values())
    stored = sum(entry.end - entry.begin for entry in entries.values())
    cache = 2 * 4 * config.num_layers * config.context_length * config.embed_dim
    return [
        ("parameters", f"{count:,}"),
        (
            "memory",
            f"weights {size_text(stored)}; cache of a full context {size_text(cache)}; weights, "
            f"gradients and optimiser in training {size_text(16 * count)}",
        ),
    ]


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
    _, metadata = files.read_header(path)
    try:
        return int(json.loads(metadata["state"])["step"])
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        raise ValueError(f"{path}: not the checkpoint of a training run") from None
