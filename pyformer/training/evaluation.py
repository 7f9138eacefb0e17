"""Evaluation of a model that is being trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pyformer import _core, nn
from pyformer.float_mode import in_default_float_mode
from pyformer.training.step import count_targets


@contextlib.contextmanager
def evaluating() -> Iterator[None]:
    """Within it there are no dropout and no gradients; the random numbers of training stay where they are."""
    random_state = _core.rng_state()
    try:
        with nn.inference():
            yield
    finally:
        _core.set_rng_state(*random_state)


@in_default_float_mode
def mean_loss(model: Any, batches: Sequence[tuple[np.ndarray, ...]]) -> float:
    """The mean of the model's loss over all counted targets of the batches, without dropout."""
    total, targets = 0.0, 0
    with evaluating():
        for batch in batches:
            count = count_targets(model, batch)
            total += model.loss(*batch).item() * count
            targets += count
    return total / max(1, targets)
