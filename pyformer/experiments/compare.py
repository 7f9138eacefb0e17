"""Trains models of equal size on one task with equal budgets, and notes what came out.

Sizes are found by counting: of each model the width is chosen so that its parameters are as many as asked for.
`pyformer compare` runs it; `compare_tasks` has the tasks.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, nn, optim
from pyformer.experiments.derive import Budget, is_on_cpu
from pyformer.tokenizers import Tokenizer
from pyformer.training import MAX_COUNT, TaskTrainer, TrainingOptions, write_loss_curve

# Sizes that differ by less count as equal; beyond MAX_DIFFERENCE a comparison would mean nothing.
TOLERANCE, MAX_DIFFERENCE = 0.02, 0.05
# Parts of the budget after which the validation loss is taken: curves are steep at first.
EVALUATE_AT = (1 / 64, 1 / 32, *(part / 16 for part in range(1, 17)))
SCHEDULE = optim.CosineSchedule(1000, 30, 0.05)

Result = dict[str, Any]
Batch = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Entrant:
    """A model that takes part: make(choice, width) with widths that are multiples of `unit`.

    `choices` are values of what is called `knob`, layers for most; the first one that gives the wanted size is taken.
    """

    make: Callable[[int, int], nn.Module]
    rate: float
    choices: tuple[int, ...]
    unit: int = 1
    knob: str = "layers"


@dataclass(frozen=True)
class Task:
    """What models are compared on; `batch_of(step)` gives the arguments of their `loss`, targets second.

    unit: what one target is. loss_name: what the loss is, with its unit. parameters, seconds: sizes and budget unless
    others are asked for. logarithmic: losses span powers of ten. measure: what else is worth knowing of a trained
    model, numbers by name.
    """

    name: str
    unit: str
    loss_name: str
    batch_of: Callable[[int], Batch]
    validation: list[Batch]
    entrants: dict[str, Entrant]
    parameters: int
    seconds: float
    weight_decay: float
    logarithmic: bool = False
    tokenizer: Tokenizer | None = None
    measure: Callable[[nn.Module], Result] | None = None


@dataclass(frozen=True)
class Size:
    """How large a model is made: a value of its entrant's knob and a width, and the parameters that this gives."""

    choice: int
    width: int
    parameters: int


def find_size(name: str, entrant: Entrant, target: int) -> Size:
    """The first choice, at its best width, whose parameters are within 2% of `target`, else the nearest of all.

    Raises:
        ValueError: the nearest is more than 5% off.
    """
    best: Size | None = None
    for choice in entrant.choices:
        size = _nearest(entrant, choice, target)
        if best is None or _difference(size, target) < _difference(best, target):
            best = size
        if _difference(best, target) <= TOLERANCE:
            break
    assert best is not None
    if _difference(best, target) > MAX_DIFFERENCE:
        raise ValueError(f"{name}: no width gives {target:,} parameters, the nearest gives {best.parameters:,}")
    return best


def _nearest(entrant: Entrant, choice: int, target: int) -> Size:
    def at(width: int) -> Size:
        with nn.init.skip():
            return Size(choice, width, entrant.make(choice, width).num_parameters())

    low, high = 0, entrant.unit
    while at(high).parameters < target:
        low, high = high, 2 * high
    while high - low > entrant.unit:
        middle = (low + high) // (2 * entrant.unit) * entrant.unit
        low, high = (middle, high) if at(middle).parameters < target else (low, middle)
    return min((at(width) for width in (low, high) if width), key=lambda size: _difference(size, target))


def _difference(size: Size, target: int) -> float:
    return abs(size.parameters / target - 1.0)


def race_name(rate: float, seed: int) -> str:
    """What a race of a model is called among its races."""
    return f"{rate:g}-{seed}"


def next_race(rates: Sequence[float], seeds: Sequence[int], done: Mapping[str, Result]) -> tuple[float, int] | None:
    """The learning rate and seed of a model's next race, or None when all that are `done` are enough.

    Each rate is tried with the first seed; the one with the least loss at the end, the smaller of two equal ones,
    trains with the other seeds, too.
    """
    for rate in rates:
        if race_name(rate, seeds[0]) not in done:
            return rate, seeds[0]
    best = best_rate(rates, seeds[0], done)
    return next(((best, seed) for seed in seeds if race_name(best, seed) not in done), None)


def best_rate(rates: Sequence[float], seed: int, done: Mapping[str, Result]) -> float:
    """The rate with the least loss at the end; a race that diverged is the worst."""

    def loss(rate: float) -> tuple[float, float]:
        found = done[race_name(rate, seed)]["loss"]
        return math.inf if found is None else found, rate

    return min(rates, key=loss)


def joined(rates: Sequence[float], seeds: Sequence[int], done: Mapping[str, Result]) -> Result:
    """What came out of a model's races: that of the first seed at the best rate, with the losses of all seeds.

    "losses" has them, "searched" the loss of each rate; of one race alone they are left out.
    """
    best = best_rate(rates, seeds[0], done)
    races = [done[race_name(best, seed)] for seed in seeds]
    result = dict(races[0])
    if len(races) > 1:
        result["losses"] = [race["loss"] for race in races]
        if "accuracy" in result:
            result["accuracy"] = sum(race["accuracy"] for race in races) / len(races)
    if len(rates) > 1:
        result["searched"] = {f"{rate:g}": done[race_name(rate, seeds[0])]["loss"] for rate in rates}
    return result


def make_model(entrant: Entrant, size: Size, seed: int, device: str = "cpu") -> nn.Module:
    """The model, the same for the same seed."""
    pf.manual_seed(seed)
    return entrant.make(size.choice, size.width).to(device)


class Race(TaskTrainer):
    """Trains one model until its budget is spent; time is that of the training steps, without evaluations.

    `points` are (step, seconds, targets seen, validation loss). report(part done, text) is called after each step.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        rate: float,
        budget: Budget,
        seed: int,
        run: str | os.PathLike[str] | None = None,
        report: Callable[[float, str], None] = lambda done, text: None,
    ) -> None:
        options = TrainingOptions(
            steps=budget.steps or MAX_COUNT, lr=rate, weight_decay=task.weight_decay, seed=seed, sample_every=0
        )
        super().__init__(model, task.batch_of, task.validation, options, run, unit=task.unit)
        self.schedule = lambda step: SCHEDULE(int(1000 * self.done))
        self.budget, self.report = budget, report
        self.seconds, self.seen, self.peak_bytes = 0.0, 0, 0
        self.points: list[tuple[int, float, int, float]] = []

    @property
    def done(self) -> float:
        """The part of the budget that is spent, from 0 to 1."""
        return min(1.0, self.budget.done(self.step, self.seconds))

    def race(self) -> bool:
        """Trains on; whether the budget is spent: False if asked to stop. Raises as `train` does."""
        if self.done < 1.0:
            _core.reset_peak_memory()
            self.train()
            self._note_peak()
        elif self._exported_step != self.step:
            # The process before this one may have died between its last checkpoint and the export.
            self.export()
        return self.done >= 1.0

    def result(self) -> Result:
        """What came out so far, JSON values; the losses are None before the first evaluation. peak_mb is left out where
        the model is on another device than the CPU, whose memory is not counted."""
        losses = [loss for *_, loss in self.points]
        return {
            "parameters": self.model.num_parameters(),
            "learning_rate": self.options.lr,
            "steps": self.step,
            "seen": self.seen,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.seen / self.seconds) if self.seconds else 0,
            **({"peak_mb": round(self.peak_bytes / 1e6, 2)} if is_on_cpu(self.model) else {}),
            "loss": losses[-1] if losses else None,
            "best_loss": min(losses, default=None),
            "points": [[step, round(seconds, 6), seen, loss] for step, seconds, seen, loss in self.points],
        }

    def _size_of(self, batch: Batch) -> int:
        return batch[1].size

    def _train_step(self) -> Any:
        began = time.perf_counter()
        loss = super()._train_step()
        if loss is not None:
            _core.synchronize(loss.device if isinstance(loss, pf.Tensor) else "cpu")
            self.seconds += time.perf_counter() - began
            self.seen += self.tokens_per_step
        return loss

    def _after_step(self, loss: Any, metrics: Any, clock: Any, bar: Any) -> None:
        self._recent.append((loss, self.targets_per_step))
        self._read()
        loss = self._recent[-1][0]
        if self.done >= self._next_evaluation():
            metrics.write(step=self.step, loss=self._take_recent())
            self._evaluate_and_report(metrics)
            self.points.append((self.step, self.seconds, self.seen, float(f"{self.validation_loss:.6g}")))
            self.save()
        self.report(self.done, f"loss {loss:.3g}, {self.seen / self.seconds:,.0f} {self.unit}s/s")
        if self.done >= 1.0:
            self.request_stop()

    def _next_evaluation(self) -> float:
        spent = self.budget.done(*self.points[-1][:2]) if self.points else 0.0
        return next((at for at in EVALUATE_AT if at > spent), 1.0)

    def _note_peak(self) -> None:
        self.peak_bytes = max(self.peak_bytes, _core.memory_stats()["peak_bytes"])

    def _more_state(self) -> dict[str, Any]:
        self._note_peak()
        return {"seconds": self.seconds, "seen": self.seen, "peak_bytes": self.peak_bytes, "points": self.points}

    def _restore_more(self, state: dict[str, Any]) -> None:
        points = [(int(step), float(t), int(seen), float(loss)) for step, t, seen, loss in state["points"]]
        found = float(state["seconds"]), int(state["seen"]), int(state["peak_bytes"]), points
        self.seconds, self.seen, self.peak_bytes, self.points = found

    def export(self) -> None:
        """Writes the model, if it is of a kind that can be opened again, and the loss curve."""
        if hasattr(self.model, "save_pretrained"):
            super().export()
        elif self.run is not None:
            write_loss_curve(self.run, self.unit)
            self._exported_step = self.step
