"""Learning-rate schedules.

A schedule is called with the number of a step, from 0, and gives the factor of the learning rate at that step. It has
no state: a resumed run goes on with the number of its step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ConstantSchedule:
    """A learning-rate schedule: linear warm-up to 1, then 1."""

    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        return _warmup(step, self.warmup_steps)


@dataclass(frozen=True)
class LinearSchedule:
    """A learning-rate schedule: linear warm-up to 1, then a straight line to `final` at `total_steps`."""

    total_steps: int
    warmup_steps: int = 0
    final: float = 0.0

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        done = _done(step, self.warmup_steps, self.total_steps)
        return 1.0 + (self.final - 1.0) * done


@dataclass(frozen=True)
class CosineSchedule:
    """A learning-rate schedule: linear warm-up to 1, then half a cosine down to `final` at `total_steps`."""

    total_steps: int
    warmup_steps: int = 0
    final: float = 0.1

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        done = _done(step, self.warmup_steps, self.total_steps)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0


def _done(step: int, warmup_steps: int, total_steps: int) -> float:
    return min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
