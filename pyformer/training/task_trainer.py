"""Training on anything that gives batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.training.callbacks import Callback
from pyformer.training.options import TrainingOptions
from pyformer.training.step import count_targets
from pyformer.training.trainer import Trainer


class TaskTrainer(Trainer):
    """Trains a model on anything, with the loop, checkpoints and log of Trainer.

    Args:
        model: with `loss`, unless one is given. Its method `count_targets`, which takes the arguments of its loss,
            says of how many targets the loss is the mean; without it they are the elements of a batch's second
            array, or of its only one, except those that are -100 where they are integers.
        batch_of: batch_of(number) gives the arguments of the loss, NumPy arrays. number counts the run's
            micro-batches from 0; the batch must depend on it alone, so that a resumed run sees what a straight one
            would have seen.
        validation: a list of such batches for the model's own loss.
        options: TrainingOptions.
        run: the folder; None keeps everything in memory.
        loss: another loss to train on.
        unit, measure: what a target is, and what the loss is measured in.
        callbacks: a sequence of `Callback`, called in this order.

    Raises:
        ValueError: validation is empty.

    Example:
        >>> pf.manual_seed(0)
        >>> model = pf.models.KAN(pf.models.KANConfig((1, 1)))
        >>> x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
        >>> options = pf.training.TrainingOptions(steps=20, lr=0.05, warmup=0)
        >>> trainer = pf.training.TaskTrainer(model, lambda number: (x, x * x), [(x, x * x)], options)
        >>> before = trainer.evaluate()
        >>> trainer.train(), trainer.evaluate() < before
        (True, True)
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
        callbacks: Sequence[Callback] = (),
    ) -> None:
        if not validation:
            raise ValueError("TaskTrainer: expected batches to validate on, got none")
        self.batch_of, self.loss, self._unit, self.measure = batch_of, loss or model.loss, unit, measure
        self._sizes, self._targets = [0] * options.accumulate, [0] * options.accumulate
        self._set_up(model, validation, options, run, callbacks=callbacks)

    @property
    def unit(self) -> str:
        """What a target is: losses are in `measure` a unit."""
        return self._unit

    @property
    def tokens_per_step(self) -> int:
        """How many tokens or rows the last batch had."""
        return sum(self._sizes)

    @property
    def targets_per_step(self) -> int:
        """How many targets counted in the loss of the last step."""
        return sum(self._targets)

    def _micro_batch(self, number: int) -> tuple[np.ndarray, ...]:
        batch = self.batch_of(self.step * self.options.accumulate + number)
        self._sizes[number] = self._size_of(batch)
        self._targets[number] = count_targets(self.model, batch)
        return batch

    def _size_of(self, batch: tuple[np.ndarray, ...]) -> int:
        """How many tokens a batch has, or rows: of pictures and the like, floats, each counts as one."""
        tokens = batch[0].dtype.kind in "iu"
        self.counted = "tokens" if tokens else "rows"
        return batch[0].size if tokens else len(batch[0])

    def _count(self, number: int) -> int:
        self._micro_batch(number)
        return self._targets[number]

    def _loss(self, number: int) -> pf.Tensor:
        return self.loss(*self._micro_batch(number))
