"""A training step: forward, loss, backward, clipping, AdamW; its time alone, beside a busy process and with more
threads than cores; and the memory that it takes at most.

`python -m bench.training CONTENDER SHAPE THREADS` takes two steps and prints the process's peak memory in bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from bench import ROOT, rivals
from bench.measure import Row, Settings, check_close, timed_row

LEARNING_RATE, CLIP = 3e-4, 1.0

Step = Callable[[], float]


@dataclass(frozen=True)
class Shape:
    """A model and a batch of B rows of T tokens."""

    config: pf.models.GPTConfig
    B: int
    T: int

    @property
    def flops(self) -> float:
        """Of one step: six a weight of every matrix product a token, and causal attention's half square."""
        c = self.config
        weights = 12 * c.num_layers * c.embed_dim**2 + c.vocab_size * c.embed_dim
        return self.B * self.T * (6.0 * weights + 6.0 * c.num_layers * self.T * c.embed_dim)


def gpt2_config() -> pf.models.GPTConfig:
    """GPT-2 with 124M parameters."""
    return pf.models.GPTConfig(50257, 1024, 12, 12, 768)


SHAPES = {
    "4x128-B12-T64": Shape(pf.models.GPTConfig(65, 64, 4, 4, 128), 12, 64),
    "gpt2-124M-B4-T64": Shape(gpt2_config(), 4, 64),
    "gpt2-124M-B4-T256": Shape(gpt2_config(), 4, 256),
    "gpt2-124M-B1-T1024": Shape(gpt2_config(), 1, 1024),
}
MEMORY_SHAPES = {
    "gpt2-124M-B4-T256": Shape(gpt2_config(), 4, 256),
    "gpt2-124M-B4-T1024": Shape(gpt2_config(), 4, 1024),
}
QUICK_SHAPES = {"2x32-B2-T16": Shape(pf.models.GPTConfig(65, 16, 2, 2, 32), 2, 16)}
ALL_SHAPES = {**SHAPES, **MEMORY_SHAPES, **QUICK_SHAPES}
RECOMPUTE = "pyformer-recompute"
BFLOAT16, FLOAT32 = "pyformer-bfloat16", "pyformer float32"


def _batch(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(5).integers(0, shape.config.vocab_size, (shape.B, shape.T + 1))
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def _model(shape: Shape, recompute: bool = False) -> pf.models.GPT:
    pf.manual_seed(1)
    return pf.models.GPT(shape.config, recompute=recompute)


def our_step(model: pf.models.GPT, shape: Shape, precision: str = "float32") -> Step:
    """One step of pyformer; returns the loss before it."""
    ids, targets = (pf.tensor(a) for a in _batch(shape))
    parameters = list(model.parameters())
    optimizer = pf.optim.AdamW(parameters, lr=LEARNING_RATE)

    def step() -> float:
        with pf.autocast(precision):
            loss = model.loss(ids, targets)
        loss.backward()
        pf.optim.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def torch_step(twin: Any, optimizer: Any, shape: Shape, precision: str = "float32") -> Step:
    """The same step of a torch module, eager or compiled."""
    import torch

    ids, targets = (torch.tensor(a) for a in _batch(shape))
    parameters = list(twin.parameters())

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = twin(ids, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def torch_adamw(twin: Any) -> Any:
    """torch's fastest AdamW on a CPU, with pyformer's settings."""
    import torch

    return torch.optim.AdamW(twin.parameters(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)


def run_training(name: str, settings: Settings) -> Iterator[Row]:
    """Times one shape. torch.compile's model shares weights and optimiser with the eager one, to fit in memory."""
    from bench.torch_gpt import twin_of

    shape = ALL_SHAPES[name]
    model = _model(shape)
    twin = twin_of(model)
    optimizer = torch_adamw(twin)
    steps = {"pyformer": our_step(model, shape), "torch": torch_step(twin, optimizer, shape)}
    losses = []
    for number in (1, 2, 3):  # the second sees the first's gradients and update, the third the optimiser's state
        losses.append(steps["pyformer"]())
        check_close(f"{name}: loss of step {number}", losses[-1], steps["torch"](), 1e-4)
    errors = {} if settings.quick else _add_compiled(steps, "torch.compile", twin, optimizer, shape)
    hyper = {"learning_rate": LEARNING_RATE, "clip": CLIP}
    with rivals.training(_model(shape), _batch(shape), losses, settings, **hyper) as (others, failed):
        contenders, errors = {**steps, **others}, {**errors, **failed}
        yield timed_row(
            "training step", f"training step {name}", contenders, settings, flops=shape.flops, errors=errors
        )


def run_bfloat16(name: str, settings: Settings) -> Iterator[Row]:
    """The step in mixed precision beside torch's, and beside our own in float32."""
    from bench.torch_gpt import twin_of

    shape = ALL_SHAPES[name]
    model, plain = _model(shape), _model(shape)
    twin = twin_of(model)
    optimizer = torch_adamw(twin)
    mixed = "bfloat16"
    steps = {
        "pyformer": our_step(model, shape, mixed),
        FLOAT32: our_step(plain, shape),
        "torch autocast": torch_step(twin, optimizer, shape, mixed),
    }
    for number in (1, 2, 3):
        losses = {who: step() for who, step in steps.items()}
        for who in (FLOAT32, "torch autocast"):
            check_close(f"{name} bfloat16: loss of step {number}, {who}", losses["pyformer"], losses[who], 1e-2)
    errors = {}
    if not settings.quick:
        errors = _add_compiled(steps, "torch.compile autocast", twin, optimizer, shape, mixed)
    work = {"flops": shape.flops, "arithmetic": mixed, "errors": errors}
    yield timed_row(mixed, f"training step {name} bfloat16", steps, settings, **work)


def _add_compiled(
    steps: dict[str, Step], who: str, twin: Any, optimizer: Any, shape: Shape, precision: str = "float32"
) -> dict[str, str]:
    """Adds the step of torch.compile; returns the error under its name where there is none."""
    try:
        steps[who] = _compiled_step(twin, optimizer, shape, precision)
    except Exception as error:  # no C++ toolchain, or a version that can't
        return {who: f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"}
    return {}


def _compiled_step(twin: Any, optimizer: Any, shape: Shape, precision: str) -> Step:
    import torch

    compiled = torch.compile(twin)
    ids, targets = (torch.tensor(a) for a in _batch(shape))
    with torch.no_grad():
        expected = twin(ids, targets).item()
    step = torch_step(compiled, optimizer, shape, precision)
    check_close("torch.compile: loss", step(), expected, 1e-4 if precision == "float32" else 1e-2)
    return step


def _contenders(shape: Shape) -> dict[str, Step]:
    """pyformer and torch eager on the same weights, after a step each."""
    from bench.torch_gpt import twin_of

    model = _model(shape)
    twin = twin_of(model)
    steps = {"pyformer": our_step(model, shape), "torch": torch_step(twin, torch_adamw(twin), shape)}
    for step in steps.values():
        step()
    return steps


@contextmanager
def _busy_process() -> Iterator[None]:
    """A process that computes without end, on any core."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run_neighbour(name: str, settings: Settings) -> Iterator[Row]:
    """How many times longer a step takes beside one busy process than alone, quiet and busy samples in turn."""
    steps = _contenders(ALL_SHAPES[name])
    slowdowns: dict[str, list[float]] = {who: [] for who in steps}
    for _ in range(settings.repetitions):
        quiet = {who: _step_seconds(step, settings) for who, step in steps.items()}
        with _busy_process():
            for who, step in steps.items():
                slowdowns[who].append(_step_seconds(step, settings) / quiet[who])
    yield Row("neighbours", f"training step {name}, time beside one busy process", "x alone", slowdowns)


def _step_seconds(step: Step, settings: Settings) -> float:
    """Mean of as many steps as `settings.sample_s` holds, after one that is not timed."""
    step()
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < 10 * settings.sample_s:
        step()
        count += 1
    return (time.perf_counter() - start) / count


def run_threads(name: str, settings: Settings) -> Iterator[Row]:
    """The step with more threads than the run's, beside the same step with those."""
    shape = ALL_SHAPES[name]
    step = our_step(_model(shape), shape)

    def with_threads(threads: int) -> Step:
        def work() -> float:
            pf.set_num_threads(threads)
            return step()

        return work

    fitting = f"pyformer, {settings.threads} threads"
    for threads in (2 * settings.threads, 4 * settings.threads):
        contenders = {"pyformer": with_threads(threads), fitting: with_threads(settings.threads)}
        yield timed_row("neighbours", f"training step {name}, {threads} threads", contenders, settings)
    pf.set_num_threads(settings.threads)


def run_memory(name: str, settings: Settings) -> Iterator[Row]:
    """Peak memory of each contender in a process of its own, imports included."""
    torch_mib = _peak_mib("torch", name, settings)
    for who in ("pyformer", RECOMPUTE):
        label = f"peak memory, training step {name}" + (", recompute=True" if who == RECOMPUTE else "")
        yield Row("memory", label, "MiB", {"pyformer": [_peak_mib(who, name, settings)], "torch": [torch_mib]})
    mixed = {"pyformer": [_peak_mib(BFLOAT16, name, settings)], FLOAT32: [_peak_mib("pyformer", name, settings)]}
    yield Row("bfloat16", f"peak memory, training step {name} bfloat16", "MiB", mixed)


def _peak_mib(who: str, name: str, settings: Settings) -> float:
    command = [sys.executable, "-m", "bench.training", who, name, str(settings.threads)]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return int(output.split()[-1]) / 2**20


def _peak_memory(who: str, shape: Shape) -> int:
    """Bytes. torch's weights come from its own initialisation, so that pyformer takes no part."""
    if who == "torch":
        from bench.torch_gpt import TorchGPT

        twin = TorchGPT(shape.config)
        step = torch_step(twin, torch_adamw(twin), shape)
    else:
        precision = "bfloat16" if who == BFLOAT16 else "float32"
        step = our_step(_model(shape, recompute=who == RECOMPUTE), shape, precision)
    step()
    step()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("no VmHWM in /proc/self/status")


def main() -> None:
    """Prints the peak memory of one contender."""
    who, name, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    pf.set_num_threads(threads)
    if who == "torch":
        import torch

        torch.set_num_threads(threads)
    print(_peak_memory(who, ALL_SHAPES[name]))


if __name__ == "__main__":
    main()
