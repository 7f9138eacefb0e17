"""Training on anything that gives batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.training.options import TrainingOptions
from pyformer.training.step import count_targets
from pyformer.training.trainer import Trainer


class TaskTrainer(Trainer):
    """Trains on anything: `batch_of(number)` gives the arguments of `loss`, by default the model's own.

    `number` counts the micro-batches of the run from 0: without accumulation it is the step. The batch must depend on
    it alone, so that a resumed run sees what a straight one would have, and may be asked for more than once.

    `loss` is the mean over the batch's counted targets. The model's method `count_targets`, which takes the arguments
    of its loss, says how many these are. Without it they are the elements of the second array, except those that are
    -100 where they are integers. `validation` is a list of batches for the model's own loss. `unit` is what a target
    is: losses are in nats, or another `measure`, a unit. ValueError if `validation` is empty.
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
        if not validation:
            raise ValueError("TaskTrainer: expected batches to validate on, got none")
        self.batch_of, self.loss, self._unit, self.measure = batch_of, loss or model.loss, unit, measure
        self._sizes = [0] * options.accumulate
        self._set_up(model, validation, options, run)

    @property
    def unit(self) -> str:
        return self._unit

    @property
    def tokens_per_step(self) -> int:
        return sum(self._sizes)

    def _micro_batch(self, number: int) -> tuple[np.ndarray, ...]:
        batch = self.batch_of(self.step * self.options.accumulate + number)
        self._sizes[number] = self._size_of(batch)
        return batch

    def _size_of(self, batch: tuple[np.ndarray, ...]) -> int:
        """How many tokens a batch has, or rows: of pictures and the like, floats, each counts as one."""
        tokens = batch[0].dtype.kind in "iu"
        self.counted = "tokens" if tokens else "rows"
        return batch[0].size if tokens else len(batch[0])

    def _count(self, number: int) -> int:
        return count_targets(self.model, self._micro_batch(number))

    def _loss(self, number: int) -> pf.Tensor:
        return self.loss(*self._micro_batch(number))
