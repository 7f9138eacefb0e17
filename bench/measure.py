"""Interleaved timing, and the rows that benchmarks produce."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

OURS = "pyformer"
SHORT_S = 0.5  # work that what ran before it can disturb noticeably
REST_S = 0.03  # longer than any contender's idle threads spin


@dataclass(frozen=True)
class Settings:
    """How a run measures: threads of every contender, repetitions, and whether it is only a smoke test."""

    threads: int
    repetitions: int
    quick: bool = False

    @property
    def sample_s(self) -> float:
        """Short work is repeated until one sample takes this long."""
        return 0.0 if self.quick else 0.1


@dataclass
class Row:
    """One line of the table: the same work done by pyformer and by each rival.

    values: for each contender its samples in `unit`; an `error` entry instead where it failed.
    higher_is_better: False for times and sizes, True for rates.
    flops, bytes: of the work that one sample's time stands for, to be set against the machine's limits; arithmetic:
    which of its peaks, "FMA" or "bfloat16"; memory: which of its bandwidths, "read" or "copy"; seconds: pyformer's
    median time for it.
    """

    section: str
    name: str
    unit: str
    values: dict[str, list[float]]
    higher_is_better: bool = False
    flops: float = 0.0
    bytes: float = 0.0
    arithmetic: str = "FMA"
    memory: str = "read"
    seconds: float = 0.0
    errors: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in the results file, with medians and bests in place of samples."""
        data = asdict(self)
        best = max if self.higher_is_better else min
        data["values"] = {
            who: {"median": statistics.median(samples), "best": best(samples)} for who, samples in self.values.items()
        }
        return data


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _seconds(work: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def interleave(contenders: dict[str, Callable[[], Any]], settings: Settings) -> dict[str, list[float]]:
    """Seconds a call of each contender, A B A B ..., after a warm-up that also decides the calls in a sample.

    Threads of one contender may spin for a while after its last call, and the caches are full of its data, so a rest
    and a call that is not timed stand before each sample of short work.
    """
    calls, is_short = {}, {}
    for who, work in contenders.items():
        work()
        warm = 1e-9 if settings.quick else max(1e-9, _seconds(work, 1))
        calls[who] = max(1, min(10_000, round(settings.sample_s / warm)))
        is_short[who] = not settings.quick and warm < SHORT_S
    samples: dict[str, list[float]] = {who: [] for who in contenders}
    with _no_collection():
        for _ in range(settings.repetitions):
            for who, work in contenders.items():
                if is_short[who]:
                    time.sleep(REST_S)
                    work()
                samples[who].append(_seconds(work, calls[who]))
    return samples


def timed_row(
    section: str, name: str, contenders: dict[str, Callable[[], Any]], settings: Settings, **work: Any
) -> Row:
    """A row of times, in us, ms or s as suits pyformer's."""
    samples = interleave(contenders, settings)
    seconds = statistics.median(samples[OURS])
    unit, scale = ("us", 1e6) if seconds < 1e-3 else ("ms", 1e3) if seconds < 1 else ("s", 1.0)
    values = {who: [scale * s for s in times] for who, times in samples.items()}
    return Row(section, name, unit, values, seconds=seconds, **work)


def check_close(what: str, ours: Any, theirs: Any, tolerance: float) -> None:
    """AssertionError unless both are the same up to `tolerance` of the largest value: speeds of the same work only."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise AssertionError(f"{what}: shapes {ours.shape} and {theirs.shape}")
    error = np.abs(ours - theirs).max(initial=0.0)
    allowed = tolerance * max(1.0, np.abs(theirs).max(initial=0.0))
    if not error <= allowed:
        raise AssertionError(f"{what}: pyformer and the rival differ by {error:.3g}, allowed {allowed:.3g}")
