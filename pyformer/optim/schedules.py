"""Learning-rate schedules.

A schedule is called with the number of a step, from 0, and gives the factor of the learning rate at that step. It has
no state: a resumed run goes on with the number of its step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from pyformer.float_mode import in_default_float_mode


class _Schedule:
    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            self._check(field.name, getattr(self, field.name), whole=field.name.endswith("steps"))

    @in_default_float_mode
    def __call__(self, step: int) -> float:
        self._check("step", step)
        return self._factor(step)

    def _factor(self, step: int) -> float:
        raise NotImplementedError

    def _check(self, name: str, value: Any, whole: bool = False) -> None:
        number = (int, np.integer) if whole else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, number):
            wanted = "an int" if whole else "a number"
            raise TypeError(f"{type(self).__name__}: {name} must be {wanted}, got {type(value).__name__}")
        if not 0 <= value < math.inf:
            raise ValueError(f"{type(self).__name__}: {name} must be at least 0 and finite, got {value}")


@dataclass(frozen=True)
class ConstantSchedule(_Schedule):
    """A factor of the learning rate by step: linear warm-up, then 1.

    Schedules have no state: call them with the step, from 0, and give the result to `Optimizer.scale_lr`.

    Args:
        warmup_steps: step s of them has the factor (s + 1) / warmup_steps.

    Raises:
        ValueError: warmup_steps is negative, or the step that it is called with is negative, infinite or NaN.
        TypeError: warmup_steps is no int, or the step no number.

    Example:
        >>> schedule = pf.optim.ConstantSchedule(warmup_steps=4)
        >>> [schedule(step) for step in range(6)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    warmup_steps: int = 0

    def _factor(self, step: int) -> float:
        return _warmup(step, self.warmup_steps)


@dataclass(frozen=True)
class LinearSchedule(_Schedule):
    """A factor of the learning rate by step: linear warm-up to 1, then a straight line to `final` at `total_steps`.

    Args:
        total_steps: where the line ends; `final` stays after it.
        warmup_steps: step s of them has the factor (s + 1) / warmup_steps.
        final: the last factor, 0 or above.

    Raises:
        ValueError: an argument, or the step that it is called with, is negative, infinite or NaN.
        TypeError: one of them is no number, or steps given as arguments are no ints.

    Example:
        >>> schedule = pf.optim.LinearSchedule(total_steps=6, warmup_steps=2)
        >>> [schedule(step) for step in range(7)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    total_steps: int
    warmup_steps: int = 0
    final: float = 0.0

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        done = _done(step, self.warmup_steps, self.total_steps)
        return 1.0 + (self.final - 1.0) * done


@dataclass(frozen=True)
class CosineSchedule(_Schedule):
    """A factor of the learning rate by step: linear warm-up to 1, then half a cosine down to `final` at `total_steps`.

    Args:
        total_steps: where the cosine ends; `final` stays after it.
        warmup_steps: step s of them has the factor (s + 1) / warmup_steps.
        final: the last factor, 0 or above.

    Raises:
        ValueError: an argument, or the step that it is called with, is negative, infinite or NaN.
        TypeError: one of them is no number, or steps given as arguments are no ints.

    Source: Loshchilov, Hutter 2017, "SGDR", eq. 5, without restarts.

    Example:
        >>> schedule = pf.optim.CosineSchedule(total_steps=10, warmup_steps=2)
        >>> [round(schedule(step), 3) for step in range(11)]
        [0.5, 1.0, 1.0, 0.966, 0.868, 0.722, 0.55, 0.378, 0.232, 0.134, 0.1]
    """

    total_steps: int
    warmup_steps: int = 0
    final: float = 0.1

    def _factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return _warmup(step, self.warmup_steps)
        done = _done(step, self.warmup_steps, self.total_steps)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done))


def _warmup(step: int, warmup_steps: int) -> float:
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0


def _done(step: int, warmup_steps: int, total_steps: int) -> float:
    return min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
