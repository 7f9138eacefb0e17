"""Trains the rungs of the derivation on equal budgets and measures what its story claims.

A ladder is a number of jobs, each a function that gives a few numbers; `pyformer derive` runs them one by one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, nn, ops, optim
from pyformer.experiments.derive_tasks import (
    IGNORED,
    NEXT_WORD,
    PICTURES,
    SENTIMENT,
    Batch,
    Task,
    distance_task,
    lookup_task,
    order_task,
    random_numbers,
)
from pyformer.models.derivation import WORD_RUNGS, PairNetwork, PictureConvolution, Size, Words, make_rung

LEARNING_RATE, WEIGHT_DECAY, CLIP = 3e-3, 0.01, 1.0

ORDER, DISTANCE, LOOKUP, RATE, GROWTH = "order", "distance", "lookup", "rate", "growth"

DISTANCES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 31)
LOOKUP_LENGTHS = (4, 8, 16, 32)
RATES, RATE_LAYERS = (0.003, 0.01, 0.03), 6
GROWTH_LENGTHS = (16, 32, 64, 128)
PAIRS_OF_PAIRS, PAIRS_OF_PAIRS_LENGTHS = "pairs of pairs", (2, 4, 8, 16)

# Seconds that 300 steps of each job took on two cores of a Zen 3 (2026-11-29), in the order of `make_jobs`. What else a
# job does, such as its evaluation, took REST times the seconds of its steps.
SECONDS = {
    PICTURES: (1.8,),
    SENTIMENT: (10.2, 7.2, 15.0, 17.2, 17.3, 17.0, 16.7, 24.2, 3.0, 4.6, 4.6, 4.6, 4.6),
    NEXT_WORD: (13.1, 12.8, 20.6, 20.0, 22.5, 21.2, 21.1, 29.3, 7.7, 10.5, 9.1, 8.6, 7.3),
    ORDER: (6.3, 6.5, 6.0, 6.8, 7.1),
    DISTANCE: (1.0, 15.3, 2.5, 4.2),
    LOOKUP: (0.9, 1.2, 3.2, 15.5, 1.1, 1.8, 5.3, 22.2, 1.0, 1.0, 1.6, 1.8, 1.6, 1.8, 2.5, 3.6),
    RATE: (15.7, 17.8, 18.0, 18.4, 19.3, 19.1),
    GROWTH: (0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.6, 0.3, 0.3, 0.3, 0.3, 0.3, 0.6),
}
REST = 0.1

Result = dict[str, Any]
Job = Callable[[Callable[[float, str], None]], Result]


@dataclass(frozen=True)
class Budget:
    """How long each rung trains: a number of steps, or of seconds."""

    steps: int | None = None
    seconds: float | None = None

    def done(self, step: int, elapsed: float) -> float:
        """The part that is spent, 1 or more at the end."""
        return step / self.steps if self.steps else elapsed / (self.seconds or 1.0)

    def times(self, factor: int) -> Budget:
        """A budget `factor` times as large."""
        return Budget(self.steps and factor * self.steps, self.seconds and factor * self.seconds)


def fit(
    model: nn.Module, task: Task, budget: Budget, report: Callable[[float, str], None], rate: float = LEARNING_RATE
) -> Result:
    """Trains `model` at a learning rate, calling report(part done, text) after each step; what came out, by name.

    steps; parameters; step_ms, the median; peak_mb, the most that arrays alive at once held while training: weights,
    optimiser, activations and gradients; loss in nats and accuracy on the held-out batches. peak_mb is left out where
    the model is on another device than the CPU, whose memory is not counted.
    """
    optimizer = optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    schedule = optim.CosineSchedule(1000, 50, 0.05)
    _core.reset_peak_memory()
    start, times, done = time.perf_counter(), [], 0.0
    while done < 1.0:
        inputs, targets = task.draw(len(times))
        began = time.perf_counter()
        loss = loss_of(model(*inputs), targets)
        loss.backward()
        value = loss.item()
        optim.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.scale_lr(schedule(int(1000 * done)))
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
        done = budget.done(len(times), time.perf_counter() - start)
        report(min(done, 1.0), f"loss {value:.3f}")
        if not math.isfinite(value):
            break
    peak = {"peak_mb": round(_core.memory_stats()["peak_bytes"] / 1e6, 2)} if is_on_cpu(model) else {}
    return {
        "steps": len(times),
        "parameters": model.num_parameters(),
        "step_ms": round(1e3 * float(np.median(times)), 3),
        **peak,
        **evaluate(model, task.held_out),
    }


def is_on_cpu(model: nn.Module) -> bool:
    """Whether the memory of what the model computes is counted: the allocator's figures are the CPU's."""
    return all(str(parameter.device) == "cpu" for parameter in model.parameters())


def loss_of(scores: pf.Tensor, targets: np.ndarray, reduction: str = "mean") -> pf.Tensor:
    """Cross-entropy of scores (..., outputs) in nats over the targets (...) that are not -100."""
    flat = scores.reshape(-1, scores.shape[-1])
    labels = pf.tensor(targets.reshape(-1), device=scores.device)
    return ops.cross_entropy(flat, labels, ignore_index=IGNORED, reduction=reduction)


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> Result:
    """Mean loss and accuracy over all that the batches ask; a loss that is not finite is None."""
    loss, right, asked = 0.0, 0, 0
    with nn.inference():
        for inputs, targets in batches:
            scores = model(*inputs)
            loss += loss_of(scores, targets, "sum").item()
            right += int((ops.argmax(scores, axis=-1).to("cpu").numpy() == targets).sum())
            asked += int((targets != IGNORED).sum())
    asked = max(1, asked)  # a loss of nothing is 0
    mean = loss / asked
    return {"loss": round(mean, 4) if math.isfinite(mean) else None, "accuracy": round(right / asked, 4)}


def make_jobs(tasks: dict[str, Task], budget: Budget, seed: int = 0, device: str = "cpu") -> dict[str, Job]:
    """All that a ladder trains and measures, by name "task/rung" or "task/rung/number".

    `tasks` may hold `PICTURES`, `SENTIMENT` and `NEXT_WORD`; what needs one that is missing is left out. Each job is
    called with a function that takes the part done, from 0 to 1, and a text to show.
    """

    def trained(name: str, task: Task, budget: Budget = budget, layers: int = 2, rate: float = LEARNING_RATE) -> Job:
        def job(report: Callable[[float, str], None]) -> Result:
            pf.manual_seed(seed)
            model = make_rung(name, replace(task.size, layers=layers)) if task.size else PictureConvolution()
            return fit(model.to(device), task, budget, report, rate)

        return job

    jobs: dict[str, Job] = {}
    if PICTURES in tasks:
        jobs[f"{PICTURES}/convolution"] = trained("convolution", tasks[PICTURES])
    for kind in (SENTIMENT, NEXT_WORD):
        if kind in tasks:
            jobs |= {f"{kind}/{name}": trained(name, tasks[kind]) for name in WORD_RUNGS}
    for name in ("sum", "sum + one-hot", "sum + sinusoidal", "sum + learned", "sum + rotary"):
        jobs[f"{ORDER}/{name}"] = trained(name, order_task(seed), budget=budget.times(2))
    for name in ("convolution", "sum + learned", "attention", "transformer"):
        jobs[f"{DISTANCE}/{name}"] = partial(_distances, name, budget, seed, device)
    for name in ("sum + learned", "importance", "attention", "transformer"):
        for n in LOOKUP_LENGTHS:
            jobs[f"{LOOKUP}/{name}/{n}"] = trained(name, lookup_task(n, seed))
    if NEXT_WORD in tasks:
        for name in ("residual", "norm"):
            for rate in RATES:
                jobs[f"{RATE}/{name}/{rate}"] = trained(name, tasks[NEXT_WORD], layers=RATE_LAYERS, rate=rate)
    for name in (*WORD_RUNGS, PAIRS_OF_PAIRS):
        jobs[f"{GROWTH}/{name}"] = partial(measure_growth, name, device=device)
    return jobs


def costs(jobs: Iterable[str]) -> list[float]:
    """How long each job takes beside the others."""
    seconds = {task: iter(values) for task, values in SECONDS.items()}
    return [next(seconds[name.partition("/")[0]]) for name in jobs]


def seconds_of(costs: list[float], budget: Budget, left: list[bool]) -> float:
    """About how many seconds the jobs that are left take on two cores."""
    chosen = [cost for cost, wanted in zip(costs, left, strict=True) if wanted]
    training = sum(chosen) * budget.steps / 300 if budget.steps else len(chosen) * (budget.seconds or 0.0)
    return training + REST * sum(chosen)


def _distances(name: str, budget: Budget, seed: int, device: str, report: Callable[[float, str], None]) -> Result:
    """Trains on all distances at once; adds the accuracy at each."""
    task = distance_task(DISTANCES, seed)
    pf.manual_seed(seed)
    model = make_rung(name, task.size).to(device)
    result = fit(model, task, budget, report)
    accuracies = {str(d): evaluate(model, distance_task([d], seed).held_out)["accuracy"] for d in DISTANCES}
    return {**result, "by_distance": accuracies}


class PairsOfPairs(nn.Module):
    """Two pair networks with no sum between them: ids (B, n) -> (B, n^2, n^2, C), of which the mean is taken."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.words = Words(size.vocab, size.width)
        self.first = PairNetwork(size.width, size.width)
        self.second = PairNetwork(size.width, size.width)
        self.head = nn.Linear(size.width, size.outputs)

    def forward(self, ids: Any) -> pf.Tensor:
        pairs = self.first(self.words(pf.tensor(ids, device=self.head.weight.device)))
        batch, n, _, width = pairs.shape
        return self.head(self.second(pairs.reshape(batch, n * n, width)).mean(axis=(1, 2)))


def measure_growth(
    name: str, report: Callable[[float, str], None], rows: int = 2, repeats: int = 5, device: str = "cpu"
) -> Result:
    """Forward and backward of one rung on `rows` sentences of n random words, for growing n.

    n; ms, the least of `repeats`; mb, the most that live arrays held; ms_power and mb_power, p in "grows as n^p", from
    the last two n. mb and mb_power are left out on another device than the CPU.
    """
    lengths = PAIRS_OF_PAIRS_LENGTHS if name == PAIRS_OF_PAIRS else GROWTH_LENGTHS
    size = Size(64, max(lengths), 2, causal=False)
    model = (PairsOfPairs(size) if name == PAIRS_OF_PAIRS else make_rung(name, size)).to(device)
    ms, mb = [], []
    for done, n in enumerate(lengths, start=1):
        ids = random_numbers(0, n).integers(0, size.vocab, (rows, n))
        times = []
        _core.reset_peak_memory()
        for _ in range(repeats):
            began = time.perf_counter()
            loss_of(model(ids), np.zeros(rows, np.int64)).backward()
            _core.synchronize(device)
            times.append(time.perf_counter() - began)
            model.zero_grad()
        ms.append(1e3 * min(times))
        mb.append(_core.memory_stats()["peak_bytes"] / 1e6)
        report(done / len(lengths), f"{n} words")

    def power(values: list[float]) -> float:
        return round(math.log(values[-1] / values[-2]) / math.log(lengths[-1] / lengths[-2]), 2)

    memory = {"mb": [round(value, 3) for value in mb], "mb_power": power(mb)} if is_on_cpu(model) else {}
    return {"n": list(lengths), "ms": [round(value, 3) for value in ms], "ms_power": power(ms), **memory}
