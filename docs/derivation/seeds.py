"""More seeds, and what the ladder's claims rest on, for docs/derivation.md: `python docs/derivation/seeds.py`.

It trains what is not yet in seeds.json beside this file, one run after the other, and may be stopped at any time. Then
it writes the blocks between the marks `<!-- numbers: NAME -->` and `<!-- end -->` of the page.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import datasets, formats, nn, ops
from pyformer.experiments import derive, derive_tasks
from pyformer.models import derivation
from pyformer.models.derivation import SelfAttention, Size, WordModel, Words, make_rung

HERE = Path(__file__).parent
PAGE, RECORD, LADDER = HERE.parent / "derivation.md", HERE / "seeds.json", HERE / "results.json"
STEPS, SEEDS = 300, (0, 1, 2)
RUNGS = ("attention", "mlp", "residual", "norm", "transformer", "convolution", "sum + learned", "importance")


class OwnWordHidden(SelfAttention):
    """Attention in which a word sees those before it and not itself; the first has only itself."""

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        n = x.shape[1]
        others = pf.tensor(~np.eye(n, dtype=bool) | (np.arange(n) == 0)[:, None])
        return super().forward(x, ops.logical_and(seen, others))


class Beside(nn.Module):
    """x + attention(x), without an MLP."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        return x + self.attention(x, seen)


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "attention, own word hidden": OwnWordHidden,
    "x + attention": lambda width: Beside(SelfAttention(width)),
    "x + attention, own word hidden": lambda width: Beside(OwnWordHidden(width)),
}
DEPTH = {"residual": "x", "norm": "x"}


def model_of(name: str, size: Size) -> WordModel:
    if name not in LAYERS:
        return make_rung(name, size)
    words = nn.Sequential(Words(size.vocab, size.width), derivation.LearnedPosition(size.length, size.width))
    return WordModel(words, [LAYERS[name](size.width) for _ in range(size.layers)], size)


def trained(name: str, seed: int, text: str, layers: int = 2) -> tuple[WordModel, dict[str, Any], derive_tasks.Task]:
    task = derive_tasks.next_word_task(text, seed)
    pf.manual_seed(seed)
    model = model_of(name, replace(task.size, layers=layers))
    result = derive.fit(model, task, derive.Budget(STEPS), lambda done, shown: None)
    return model, {"loss": result["loss"], "parameters": result["parameters"]}, task


def by_depth(name: str, text: str) -> dict[str, Any]:
    """Of six trained layers: the size of what enters each, and the spread of its scores."""
    model, result, task = trained(name, 0, text, layers=derive.RATE_LAYERS)
    (ids,), _ = task.held_out[0]
    sizes, spreads = [], []
    with nn.inference():
        seen, x = model.seen(*ids.shape, None), model.words(pf.tensor(ids))
        there = np.broadcast_to(seen.numpy(), (len(ids), *seen.shape[1:]))
        for layer in model.layers:
            read = layer.attention_norm(x) if name == "norm" else x
            attention = layer.attention
            scores = ops.matmul(attention.query(read), attention.key(read), transpose_b=True) * x.shape[-1] ** -0.5
            scores = scores.numpy()
            within = np.concatenate(
                [row[mask] - row[mask].mean() for row, mask in zip(rows(scores), rows(there), strict=True)]
            )
            sizes.append(round(math.sqrt(x.square().mean().item()), 3))
            spreads.append(round(float(np.sqrt((within**2).mean())), 3))
            x = layer(x, seen)
    return {**result, "size": sizes, "spread": spreads}


def rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def jobs() -> list[str]:
    """Names of what is to be trained: rung/seed, then the variants, then depth/rung."""
    ladder = [f"{name}/{seed}" for seed in SEEDS for name in RUNGS if seed]
    variants = [f"{name}/{seed}" for seed in SEEDS for name in LAYERS]
    first = [*ladder[:5], *variants[:3], *(f"depth/{name}" for name in DEPTH), *ladder[8:13], *variants[3:]]
    return list(dict.fromkeys([*first, *ladder]))


def losses(record: dict[str, Any], name: str) -> list[float]:
    """Of all seeds that there are, that of the page's own run first."""
    own = json.loads(LADDER.read_text())["results"].get(f"next word/{name}")
    found = [own["loss"]] if own else []
    return found + [record[f"{name}/{s}"]["loss"] for s in SEEDS if f"{name}/{s}" in record]


def with_error(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def seeds_table(record: dict[str, Any]) -> str:
    """A row a rung: the losses of all seeds, their mean and its standard error."""
    lines = ["| rung | next word, loss | each seed |", "| --- | ---: | --- |"]
    for name in RUNGS:
        values = losses(record, name)
        if len(values) > 1:
            lines.append(f"| {name} | {with_error(values)} | {', '.join(f'{v:.3f}' for v in values)} |")
    return "\n".join(lines)


def differences(record: dict[str, Any]) -> str:
    """From rung to rung, seed by seed: the data are the same, so that the differences say more than the means."""
    lines = ["| from | to | loss, lower is better |", "| --- | --- | ---: |"]
    for before, after in itertools.pairwise(RUNGS[:5]):
        pairs = list(zip(losses(record, before), losses(record, after), strict=False))
        if len(pairs) > 1:
            lines.append(f"| {before} | {after} | {with_error([b - a for a, b in pairs])} |")
    return "\n".join(lines)


def own_word(record: dict[str, Any]) -> str:
    lines = ["| layer | next word, loss | each seed |", "| --- | ---: | --- |"]
    for name in ("attention", *LAYERS):
        values = losses(record, name)
        if values:
            lines.append(f"| {name} | {with_error(values)} | {', '.join(f'{v:.3f}' for v in values)} |")
    return "\n".join(lines)


def depth(record: dict[str, Any]) -> str:
    lines = [f"| trained layer | {' | '.join(map(str, range(1, derive.RATE_LAYERS + 1)))} |"]
    lines.append("| --- |" + " ---: |" * derive.RATE_LAYERS)
    for name in DEPTH:
        found = record.get(f"depth/{name}")
        if found:
            for key, label in (("size", "size of x"), ("spread", "spread of the scores")):
                lines.append(f"| {name}, {label} | {' | '.join(f'{v:.3g}' for v in found[key])} |")
    return "\n".join(lines)


BLOCKS = {"seeds": seeds_table, "differences": differences, "own word": own_word, "depth of trained": depth}


def filled(page: str, record: dict[str, Any]) -> str:
    """The page with every block made anew."""

    def block(match: re.Match[str]) -> str:
        return f"<!-- numbers: {match[1]} -->\n{BLOCKS[match[1]](record)}\n<!-- end -->"

    return re.sub(r"<!-- numbers: ([\w ]+) -->\n.*?\n<!-- end -->", block, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page-only", action="store_true", help="train nothing")
    args = parser.parse_args()
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    text = "" if args.page_only else datasets.shakespeare()
    for job in [] if args.page_only else jobs():
        if job in record:
            continue
        kind, _, rest = job.rpartition("/")
        record[job] = by_depth(rest, text) if kind == "depth" else trained(kind, int(rest), text)[1]
        formats.write_json_atomic(RECORD, record)
        print(job, record[job], flush=True)
    PAGE.write_text(filled(PAGE.read_text(), record))


if __name__ == "__main__":
    main()
