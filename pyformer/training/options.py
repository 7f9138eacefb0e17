"""The options of a training run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

MAX_COUNT = 2**31 - 1
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TrainingOptions:
    """The options of a training run. All of them except the last five decide the trained weights. Numbers may be
    Python's or NumPy's.

    Attributes:
        steps: optimiser steps of the whole run.
        batch: rows of a micro-batch.
        accumulate: micro-batches of a step. Their gradients are added before the optimiser moves the weights.
        lr: the highest learning rate. The learning-rate schedule rises to it in a straight line and falls from it
            along half a cosine.
        warmup: steps over which the learning rate rises.
        final_lr: the learning rate after the last step, as a part of `lr`.
        weight_decay: AdamW's weight decay. It applies to parameters with two axes or more.
        beta1: how much of its running mean of gradients AdamW keeps at each step.
        beta2: how much of its running mean of squared gradients AdamW keeps at each step.
        clip: the largest norm of the gradient. A larger gradient is scaled down to it.
        average: the part of the steps, counted from the end, whose weights are averaged. Their mean replaces the
            weights after the last step (Izmailov et al. 2018, "Averaging weights leads to wider optima"). With 0 the
            last step's weights stay.
        dtype: "bfloat16" to compute losses, gradients, evaluations and samples within `pf.autocast("bfloat16")`;
            weights, gradients and optimiser stay float32. "float16" makes the model's weights float16, of which the
            optimiser keeps float32 copies; losses are scaled as `optim.GradScaler` does, and a step whose gradients
            are not finite is left out. With "float32" the model computes as its weights say.
        seed: the seed of the batches and of the random numbers that a step draws, such as dropout's.
        log_every: steps between two lines of training loss in the metrics.
        eval_every: steps between two evaluations on the validation part.
        eval_batches: the most batches of an evaluation.
        save_every: steps between two checkpoints.
        sample_every: steps between two samples of text in the log; 0 for none.

    Raises:
        TypeError: an option has the wrong type; the message names it.
        ValueError: an option is out of range; the message names it.

    Example:
        >>> options = pf.training.TrainingOptions(steps=100, lr=1e-3)
        >>> options.batch, pf.training.TrainingOptions.from_dict(options.to_dict()) == options
        (12, True)
    """

    steps: int = 3000
    batch: int = 12
    accumulate: int = 1
    lr: float = 2e-3
    warmup: int = 100
    final_lr: float = 0.1
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0
    average: float = 0.0
    dtype: str = "float32"
    seed: int = 0
    log_every: int = 10
    eval_every: int = 250
    eval_batches: int = 32
    save_every: int = 500
    sample_every: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "accumulate"):
            self._check_int(name, 1, MAX_COUNT)
        for name in ("log_every", "eval_every", "eval_batches", "save_every"):
            self._check_int(name, 1, MAX_COUNT)
        for name in ("warmup", "sample_every"):
            self._check_int(name, 0, MAX_COUNT)
        if not isinstance(self.dtype, str):
            raise TypeError(f"dtype must be a str, got {type(self.dtype).__name__}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {self.dtype!r}")
        self._check_int("seed", 0, 2**63 - 1)
        self._check_float("lr", 0.0, math.inf, open_low=True)
        self._check_float("clip", 0.0, math.inf, open_low=True)
        self._check_float("weight_decay", 0.0, math.inf)
        for name in ("final_lr", "beta1", "beta2", "average"):
            self._check_float(name, 0.0, 1.0)

    def _plain(self, name: str, numpys: Any, kind: type) -> Any:
        """The option; one of NumPy's numbers becomes Python's, which JSON can hold."""
        value = getattr(self, name)
        if isinstance(value, numpys):
            object.__setattr__(self, name, kind(value))
        return getattr(self, name)

    def _check_int(self, name: str, low: int, high: int) -> None:
        value = self._plain(name, np.integer, int)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, got {value}")

    def _check_float(self, name: str, low: float, high: float, open_low: bool = False) -> None:
        value = self._plain(name, (np.integer, np.floating), float)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {type(value).__name__}")
        if not low <= value < high or (open_low and value == low):
            wanted = "above" if open_low else "at least"
            bound = "finite" if high == math.inf else "below 1"
            raise ValueError(f"{name} must be {wanted} {low:g} and {bound}, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingOptions:
        """What `to_dict` gave; ValueError for a name that is no option."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise ValueError(f"TrainingOptions: unknown options {unknown}")
        return cls(**values)
