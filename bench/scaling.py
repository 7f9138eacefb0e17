"""How cost grows with the work: training steps over context lengths, widths and threads, beside torch.

`python -m bench.scaling` measures each point in a process of its own and writes bench/results/scaling.json,
bench/SCALING.md and, with matplotlib, bench/scaling.svg. `python -m bench.scaling WHO LAYERS WIDTH CONTEXT BATCH
THREADS` measures one point.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench import ROOT
from bench.machine import describe
from bench.measure import OURS

FOLDER = Path(__file__).resolve().parent
WHO = (OURS, "torch")
TOKENS = 16_384
CONTEXTS = (256, 512, 1024, 2048, 4096, 8192, 16_384)
LAYERS, CONTEXT_WIDTH = 2, 256
WIDTHS = (128, 256, 512, 1024, 2048)
WIDTH_CONTEXT, WIDTH_BATCH = 256, 8
HEAD_DIM, VOCABULARY = 64, 256
STEPS, LIMIT_S = 3, 20.0  # timed steps of a point, or fewer once they took this long


def measure_point(who: str, layers: int, width: int, context: int, batch: int, threads: int) -> dict[str, float]:
    """Seconds a step (median, after one) and the process's peak memory in MiB; in this process."""
    import pyformer as pf
    from bench.training import Shape, our_step, torch_adamw, torch_step

    shape = Shape(pf.models.GPTConfig(VOCABULARY, context, layers, width // HEAD_DIM, width), batch, context)
    pf.set_num_threads(threads)
    if who == OURS:
        step = our_step(pf.models.GPT(shape.config), shape)
    else:
        import torch

        from bench.torch_gpt import TorchGPT

        torch.set_num_threads(threads)
        twin = TorchGPT(shape.config)
        step = torch_step(twin, torch_adamw(twin), shape)
    step()
    seconds, begin = [], time.perf_counter()
    while len(seconds) < STEPS and (not seconds or time.perf_counter() - begin < LIMIT_S):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    status = Path("/proc/self/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    return {"seconds": statistics.median(seconds), "peak_mib": peak_kib / 1024, "flops": shape.flops}


def _measure_apart(who: str, layers: int, width: int, context: int, batch: int, threads: int) -> dict[str, Any]:
    sizes = [str(size) for size in (layers, width, context, batch, threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYFORMER_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "bench.scaling", who, *sizes]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    point = {"who": who, "width": width, "context": context, "batch": batch, "threads": threads}
    return {**point, **json.loads(done.stdout)}


def run_all(threads: Iterable[int]) -> dict[str, Any]:
    """Every point, contenders in turn."""
    threads = list(threads)
    shapes = [("context", LAYERS, CONTEXT_WIDTH, context, TOKENS // context) for context in CONTEXTS]
    shapes += [("width", LAYERS, width, WIDTH_CONTEXT, WIDTH_BATCH) for width in WIDTHS]
    points = []
    for series, *sizes in shapes:
        for count in threads:
            for who in WHO:
                print(series, sizes, count, who, file=sys.stderr, flush=True)
                points.append({"series": series, **_measure_apart(who, *sizes, count)})
    return {"machine": describe(), "threads": threads, "points": points}


def _select(data: dict[str, Any], series: str, who: str, threads: int) -> list[dict[str, Any]]:
    return [p for p in data["points"] if p["series"] == series and p["who"] == who and p["threads"] == threads]


def _tokens_per_s(point: dict[str, Any]) -> float:
    return point["batch"] * point["context"] / point["seconds"]


def markdown(data: dict[str, Any]) -> str:
    """The whole of SCALING.md."""
    machine = data["machine"]
    lines = [
        "# How cost grows",
        "",
        "Made by `python -m bench.scaling`; not edited by hand. Training steps (forward, backward, clipping, AdamW) in "
        f"float32 of a GPT of {LAYERS} layers, heads of {HEAD_DIM}, vocabulary {VOCABULARY}; medians of {STEPS} steps, "
        "each point in a process of its own. Memory is the process's peak, imports included.",
        "",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['isa']}; load {machine['load_average']:.1f} at the "
        f"start; {machine['date']}, commit {machine['commit']}; torch {machine['versions']['torch']} eager.",
        "",
        "![tokens a second and memory](scaling.svg)",
    ]
    titles = {
        "context": (f"Context length, {TOKENS:,} tokens a step, width {CONTEXT_WIDTH}", "context"),
        "width": (f"Width, {WIDTH_BATCH} x {WIDTH_CONTEXT} tokens a step", "width"),
    }
    for series, (title, key) in titles.items():
        for threads in data["threads"]:
            lines += ["", f"## {title}, {threads} thread{'s' * (threads > 1)}", ""]
            lines += [f"| {key} | pyformer | torch | ratio | GFLOP/s | memory | torch's |", "|---" * 7 + "|"]
            rows = zip(_select(data, series, OURS, threads), _select(data, series, "torch", threads), strict=True)
            for ours, theirs in rows:
                lines.append(
                    f"| {ours[key]:,} | {_tokens_per_s(ours):,.0f} tok/s | {_tokens_per_s(theirs):,.0f} tok/s "
                    f"| {theirs['seconds'] / ours['seconds']:.2f}x | {ours['flops'] / ours['seconds'] / 1e9:.0f} "
                    f"| {ours['peak_mib']:,.0f} MiB | {theirs['peak_mib']:,.0f} MiB |"
                )
    return "\n".join(lines) + "\n"


def draw(data: dict[str, Any], path: Path) -> None:
    """Tokens a second and memory over context and width."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7))
    for column, series in enumerate(("context", "width")):
        for who, color in zip(WHO, ("tab:blue", "tab:orange"), strict=True):
            for threads, style in zip(data["threads"], ("-", "--", ":"), strict=False):
                points = _select(data, series, who, threads)
                x = [p[series] for p in points]
                label = f"{who}, {threads} thread{'s' * (threads > 1)}"
                axes[0, column].loglog(
                    x, [_tokens_per_s(p) for p in points], style, color=color, marker="o", label=label
                )
                axes[1, column].loglog(x, [p["peak_mib"] for p in points], style, color=color, marker="o", label=label)
        axes[0, column].set(xlabel=series, ylabel="tokens a second", xscale="log")
        axes[1, column].set(xlabel=series, ylabel="peak memory, MiB")
    axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """One point, or all."""
    if len(sys.argv) == 7 and sys.argv[1] in WHO:
        print(json.dumps(measure_point(sys.argv[1], *map(int, sys.argv[2:]))))
        return
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1], help="of both contenders (default 2 1)")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="draw and tabulate an earlier run")
    args = parser.parse_args()
    data = json.loads(args.from_json.read_text()) if args.from_json else run_all(args.threads)
    if not args.from_json:
        (FOLDER / "results").mkdir(exist_ok=True)
        (FOLDER / "results" / "scaling.json").write_text(json.dumps(data, indent=1) + "\n")
    (FOLDER / "SCALING.md").write_text(markdown(data))
    try:
        draw(data, FOLDER / "scaling.svg")
    except ImportError:
        print("no matplotlib: bench/scaling.svg is not drawn", file=sys.stderr)


if __name__ == "__main__":
    main()
