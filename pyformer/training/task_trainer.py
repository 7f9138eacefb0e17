"""Training on anything that gives batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.training.options import TrainingOptions
from pyformer.training.trainer import Trainer


class TaskTrainer(Trainer):
    """Trains on anything: `batch_of(step)` gives the arguments of `loss`, by default the model's own.

    It must be a function of the step alone, so that a resumed run sees what a straight one would have.
    `validation` is a list of such batches, for the model's own loss, weighed by the size of their second array, the
    targets. `unit` is what a target is: losses are in nats, or another `measure`, a unit. ValueError if `validation`
    is empty or the options ask for accumulation.
    """

    def __init__(
        self,
        model: Any,
        batch_of: Callable[[int], tuple[np.ndarray, ...]],
        validation: list[tuple[np.ndarray, ...]],
        options: TrainingOptions,
        run: str | os.PathLike[str] | None = None,
        loss: Callable[..., pf.Tensor] | None = None,
        unit: str = "token",
        measure: str = "nats",
    ) -> None:
        if not validation or options.accumulate != 1:
            raise ValueError("TaskTrainer: expected batches to validate on, and accumulate=1")
        self.batch_of, self.loss, self._size, self._unit = batch_of, loss or model.loss, 0, unit
        self.measure = measure
        self._set_up(model, validation, options, run)

    @property
    def unit(self) -> str:
        return self._unit

    @property
    def tokens_per_step(self) -> int:
        return self._size

    def _micro_batch(self, index: int) -> tuple[np.ndarray, ...]:
        batch = self.batch_of(self.step)
        # Of pictures and the like, floats, each counts as one.
        tokens = batch[0].dtype.kind in "iu"
        self._size, self.counted = (batch[0].size, "tokens") if tokens else (len(batch[0]), "rows")
        return batch

    def _training_loss(self, *batch: np.ndarray) -> pf.Tensor:
        return self.loss(*batch)
