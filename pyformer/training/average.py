"""The mean of the last steps' weights."""

from __future__ import annotations

from typing import Any

import pyformer as pf
from pyformer import _core
from pyformer.float_mode import in_default_float_mode
from pyformer.training.options import TrainingOptions
from pyformer.training.step import wide


class WeightMean:
    """Takes the mean of a model's weights over the last steps of a run, and puts it in their place at the end.

    ValueError if the options ask for a mean and the model has buffers: a mean of weights has none of its own.
    """

    def __init__(self, model: Any, options: TrainingOptions) -> None:
        if options.average and any(True for _ in model.named_buffers()):
            raise ValueError("Trainer: a mean of weights has no buffers of its own: average must be 0 for this model")
        self.model, self.steps = model, options.steps
        # The step after which the mean begins.
        self.start = self.steps - max(1, round(self.steps * options.average)) if options.average else self.steps
        self.mean: list[pf.Tensor] = []

    @in_default_float_mode
    def take(self, step: int) -> None:
        """Takes the weights after `step` into the mean; after the last step the mean takes their place."""
        count = step - self.start
        if count < 1:
            return
        weights = list(self.model.parameters())
        with pf.no_grad():
            if count == 1:
                self.mean = [pf.tensor(wide(p).detach()) for p in weights]
            else:
                # A checkpoint's mean is on the CPU.
                self.mean = [mean.to(p.device) for mean, p in zip(self.mean, weights, strict=True)]
                moved = [mean + (wide(p) - mean) * (1.0 / count) for mean, p in zip(self.mean, weights, strict=True)]
                _core.copy_(self.mean, moved)
            if step == self.steps:
                _core.copy_(weights, [m.to(p.dtype) for m, p in zip(self.mean, weights, strict=True)])

    def checked(self, state: dict[str, Any], step: int) -> list[pf.Tensor]:
        """The mean in the checkpoint of a step; ValueError if it is not this run's."""
        mean = state.get("mean", [])
        if mean and state["mean_start"] != self.start:
            raise ValueError(
                f"the mean of its weights began after step {state['mean_start']}, with these options it would after "
                f"{self.start}: a run whose mean has begun keeps its number of steps"
            )
        kinds = [(tuple(p.shape), wide(p.detach()).dtype) for p in self.model.parameters()] if step > self.start else []
        if [(tuple(p.shape), p.dtype) for p in mean] != kinds:
            raise ValueError(f"expected the mean of the weights after step {self.start} in a checkpoint of step {step}")
        return mean
