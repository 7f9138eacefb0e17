"""Two builds of pyformer, the same work in turn: `python -m bench.builds BEFORE AFTER`.

BEFORE and AFTER are folders that hold an installed `pyformer` each (what `pip install --target` makes). Each build runs
in a process of its own; a sample of one follows a sample of the other, so that both meet the same machine. Some
processes are slower than others for all their life, by where their memory lies: so there are several of each build.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SAMPLE_S, REST_S = 0.3, 0.05
Work = Callable[[], Any]


def _training_step(vocab_size: int, context: int, layers: int, heads: int, width: int, B: int, T: int) -> Work:
    import numpy as np

    import pyformer as pf

    pf.manual_seed(1)
    model = pf.models.GPT(pf.models.GPTConfig(vocab_size, context, layers, heads, width))
    ids = np.random.default_rng(5).integers(0, vocab_size, (B, T + 1))
    inputs, targets = pf.tensor(ids[:, :-1].copy()), pf.tensor(ids[:, 1:].copy())
    parameters = list(model.parameters())
    optimizer = pf.optim.AdamW(parameters, lr=3e-4)

    def step() -> None:
        model.loss(inputs, targets).backward()
        pf.optim.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _decoding(layers: int, heads: int, width: int, rows: int) -> Work:
    import numpy as np

    import pyformer as pf

    pf.manual_seed(1)
    model = pf.models.GPT(pf.models.GPTConfig(50257, 1024, layers, heads, width))
    model.eval()
    prompt = np.random.default_rng(5).integers(0, 50257, (rows, 16))
    return lambda: model.generate(prompt, 32, temperature=0.0)


def _add_one_element() -> Work:
    import pyformer as pf

    a, b = pf.tensor([1.0]), pf.tensor([2.0])

    def add() -> None:
        for _ in range(1000):
            a + b

    return add


WORKS: dict[str, Callable[[], Work]] = {
    "training step 4x128, B12 T64": lambda: _training_step(65, 64, 4, 4, 128, 12, 64),
    "training step GPT-2 124M, B4 T64": lambda: _training_step(50257, 1024, 12, 12, 768, 4, 64),
    "decoding GPT-2 124M, 1 row, 32 tokens": lambda: _decoding(12, 12, 768, 1),
    "decoding GPT-2 124M, 4 rows, 32 tokens": lambda: _decoding(12, 12, 768, 4),
    "decoding 4x128, 1 row, 32 tokens": lambda: _decoding(4, 4, 128, 1),
    "adding one element, 1,000 times": _add_one_element,
}


def _serve(name: str, threads: int) -> None:
    """In a build's own process: a line in, a sample out."""
    import pyformer as pf

    pf.set_num_threads(threads)
    work = WORKS[name]()
    work()
    start = time.perf_counter()
    work()
    calls = max(1, round(SAMPLE_S / (time.perf_counter() - start)))
    print(pf.__file__, flush=True)
    for _ in sys.stdin:
        work()
        start = time.perf_counter()
        for _ in range(calls):
            work()
        print((time.perf_counter() - start) / calls, flush=True)


def _worker(folder: Path, name: str, threads: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--serve", name, "--threads", str(threads)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder.resolve())},
    )
    package = Path(_ask(process, None)).resolve().parent
    if package.parent != folder.resolve():
        raise FileNotFoundError(f"no pyformer in {folder}: the worker took {package}")
    return process


def _ask(process: subprocess.Popen[str], line: str | None) -> str:
    assert process.stdin
    assert process.stdout
    if line is not None:
        process.stdin.write(line)
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise RuntimeError(f"a worker ended with exit code {process.wait()}")
    return answer.strip()


def compare(name: str, folders: list[Path], repetitions: int, processes: int, threads: int) -> list[list[float]]:
    """Seconds a call of both builds, in turn."""
    samples: list[list[float]] = [[], []]
    for _ in range(processes):
        workers = [_worker(folder, name, threads) for folder in folders]
        try:
            for repetition in range(repetitions):
                for which in (0, 1) if repetition % 2 == 0 else (1, 0):
                    time.sleep(REST_S)
                    samples[which].append(float(_ask(workers[which], "\n")))
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="before, after")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--processes", type=int, default=5, help="of each build")
    parser.add_argument("--repetitions", type=int, default=5, help="samples of a process")
    parser.add_argument("--serve", metavar="WORK", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return _serve(arguments.serve, arguments.threads)
    if len(arguments.folders) != 2:
        parser.error(f"expected two folders, before and after, got {len(arguments.folders)}")
    print(f"{arguments.threads} threads, load {os.getloadavg()[0]:.1f} at the start")
    print(f"{'work':42}{'before':>12}{'after':>12}{'speedup by median':>20}{'by minimum':>12}")
    for name in WORKS:
        before, after = compare(name, arguments.folders, arguments.repetitions, arguments.processes, arguments.threads)
        medians, minima = [[f(s) for s in (before, after)] for f in (statistics.median, min)]
        print(
            f"{name:42}{medians[0] * 1e3:9.3f} ms{medians[1] * 1e3:9.3f} ms"
            f"{medians[0] / medians[1]:19.3f}x{minima[0] / minima[1]:11.3f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
