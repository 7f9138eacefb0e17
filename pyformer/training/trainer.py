"""The training loop.

A run is a folder. Its checkpoint is one file with everything that decides the next step (weights,
optimiser, step, state of the random numbers), replaced whole or not at all; the exported model,
metrics and picture beside it can always be made again from there.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, data, files, optim
from pyformer.tokenizers import Tokenizer
from pyformer.training.checkpoint import CHECKPOINT_NAME, remove_leftovers
from pyformer.training.metrics import METRICS_NAME, Clock, Metrics, printable, rewind_metrics, write_loss_curve
from pyformer.training.options import TrainingOptions

log = logging.getLogger(__name__)

SAMPLE_TOKENS = 160


class Trainer:
    """Trains `model` on token arrays (n,), in a run folder or, with `run` None, in memory only.

    Parameters that require no gradient stay as they are. With a tokenizer it logs a sample of text
    now and then. `request_stop` (safe in a signal handler) makes `train` save a checkpoint and
    return. A run that goes on from a checkpoint gives exactly the weights of one that never stopped.
    """

    measure = "nats"
    counted = "tokens"

    def __init__(
        self,
        model: Any,
        train_tokens: np.ndarray,
        validation_tokens: np.ndarray,
        options: TrainingOptions,
        run: str | os.PathLike[str] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.context_length = model.config.context_length
        self.train_tokens = train_tokens
        for tokens in (train_tokens, validation_tokens):
            if not isinstance(tokens, np.ndarray) or tokens.dtype.kind not in "iu" or tokens.ndim != 1:
                raise TypeError("Trainer: expected tokens as one-dimensional NumPy arrays of integers")
        validation = data.validation_batches(
            validation_tokens,
            batch=options.batch,
            context_length=self.context_length,
            count=options.eval_batches,
        )
        if train_tokens.size <= self.context_length or not validation:
            raise ValueError("Trainer: expected more tokens than the context length in both parts")
        self._set_up(model, validation, options, run, tokenizer)

    def _set_up(
        self,
        model: Any,
        validation: list[tuple[np.ndarray, ...]],
        options: TrainingOptions,
        run: str | os.PathLike[str] | None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.model, self.options, self.tokenizer = model, options, tokenizer
        self.run = None if run is None else Path(run)
        self.validation = validation
        self.step = 0
        self.saved_step: int | None = None
        self._exported_step: int | None = None
        self._evaluated_step: int | None = None
        self.validation_loss: float | None = None
        self.optimizer = self._make_optimizer()
        self.schedule = optim.CosineSchedule(options.steps, options.warmup, options.final_lr)
        self._recent: list[float] = []
        self._stop = False
        self._mean: list[pf.Tensor] = []
        if options.average and any(True for _ in model.named_buffers()):
            raise ValueError("Trainer: a mean of weights has no buffers of its own: average must be 0 for this model")

    def _make_optimizer(self) -> optim.AdamW:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError("Trainer: expected a model with parameters that require a gradient, all are frozen")
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2]},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        o = self.options
        return optim.AdamW(
            [group for group in groups if group["params"]],
            lr=o.lr,
            betas=(o.beta1, o.beta2),
            eps=1e-8,
            weight_decay=o.weight_decay,
        )

    @property
    def unit(self) -> str:
        """What a token is: losses are in nats a unit."""
        return self.tokenizer.unit if self.tokenizer else "token"

    @property
    def tokens_per_step(self) -> int:
        return self.options.batch * self.options.accumulate * self.context_length

    def request_stop(self) -> None:
        """Makes `train` drop the step it is in, save a checkpoint and return."""
        self._stop = True

    def train(self, progress: bool = False) -> bool:
        """Trains until the last step (True) or until asked to stop (False), saving on the way.

        With `progress` it draws a bar on stderr. FloatingPointError if a loss, the gradient or the
        weights are not finite: the last checkpoint stays. OSError if a checkpoint can't be written:
        the one before stays.
        """
        if self.saved_step is None:
            self.save()
        self.model.train()
        with self._bar(progress) as bar, self._metrics_file() as metrics:
            clock = Clock()
            while self.step < self.options.steps and not self._stop:
                loss = self._train_step()
                if loss is None:
                    break
                self._after_step(loss, metrics, clock, bar)
        if self.saved_step != self.step:
            self.save()
        elif self._exported_step != self.step:
            # The process before this one may have died between its checkpoint and the export.
            self.export()
        return self.step == self.options.steps

    def _train_step(self) -> float | None:
        """One optimiser step; its mean loss, or None if it was dropped because of a stop."""
        o, total = self.options, 0.0
        random_state = _core.rng_state()
        # Batch norms move theirs in the forward pass.
        buffers = [(buffer, pf.tensor(buffer)) for _, buffer in self.model.named_buffers()]
        for index in range(o.accumulate):
            loss = self._training_loss(*self._micro_batch(index))
            total += loss.item() / o.accumulate
            (loss * (1.0 / o.accumulate) if o.accumulate > 1 else loss).backward()
            if self._stop:
                self.optimizer.zero_grad()
                _core.set_rng_state(*random_state)
                for buffer, before in buffers:
                    _core.copy_([buffer], [before])
                return None
        self._check_finite("the loss", total, self.step + 1)
        norm = optim.clip_grad_norm_(self.model.parameters(), o.clip)
        self._check_finite("the norm of the gradient", norm, self.step + 1)
        self.optimizer.scale_lr(self.schedule(self.step))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self._average_weights()
        return total

    def _average_weights(self) -> None:
        """Takes the weights into their mean; after the last step the mean takes their place."""
        o, count = self.options, self.step - self._mean_start()
        if count < 1:
            return
        weights = list(self.model.parameters())
        with pf.no_grad():
            if count == 1:
                self._mean = [pf.tensor(p) for p in weights]
            else:
                moved = [mean + (p - mean) * (1.0 / count) for mean, p in zip(self._mean, weights, strict=True)]
                _core.copy_(self._mean, moved)
            if self.step == o.steps:
                _core.copy_(weights, self._mean)

    def _mean_start(self) -> int:
        """The step after which the mean of the weights begins."""
        o = self.options
        return o.steps - max(1, round(o.steps * o.average)) if o.average else o.steps

    def _micro_batch(self, index: int) -> tuple[np.ndarray, ...]:
        """Micro-batch `index` of this step: the arguments of the model's loss."""
        return data.sample_batch(
            self.train_tokens,
            seed=self.options.seed,
            step=self.step,
            batch=self.options.batch,
            context_length=self.context_length,
            first=index * self.options.batch,
        )

    def _training_loss(self, *batch: np.ndarray) -> pf.Tensor:
        return self.model.loss(*batch)

    def _check_finite(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        kept = "" if self.saved_step is None else f" (the checkpoint of step {self.saved_step} is kept)"
        raise FloatingPointError(
            f"{name} is {value} at step {step}: try a lower learning rate than {self.options.lr:g}{kept}"
        )

    def _check_weights(self) -> None:
        """FloatingPointError if the weights are not worth a checkpoint."""
        with self._evaluation():
            norm = float(_core.global_norm([p.detach() for p in self.model.parameters()]))
            self._check_finite("the norm of the weights", norm, self.step)
            if self._evaluated_step != self.step:
                loss = self.model.loss(*self.validation[0]).item()
                self._check_finite("the validation loss", loss, self.step)

    def _after_step(self, loss: float, metrics: Metrics, clock: Clock, bar: Any) -> None:
        o, last = self.options, self.step == self.options.steps
        self._recent.append(loss)
        clock.tokens += self.tokens_per_step
        if bar is not None:
            bar.set_postfix_str(self._postfix(loss, clock), refresh=False)
            bar.update()
        if self.step % o.log_every == 0 or last:
            metrics.write(
                step=self.step,
                loss=sum(self._recent) / len(self._recent),
                lr=self.optimizer.param_groups[0]["lr"],
                tokens_per_second=round(clock.tokens_per_second()),
            )
            self._recent = []
        if self.step % o.eval_every == 0 or last:
            self._evaluate_and_report(metrics)
        if o.sample_every and self.tokenizer and (self.step % o.sample_every == 0 or last):
            log.info("step %d, a sample:\n%s", self.step, printable(self.sample()))
        if self.step % o.save_every == 0 or last:
            self.save()

    def _postfix(self, loss: float, clock: Clock) -> str:
        text = f"loss {loss:.3f}, {clock.tokens_per_second():,.0f} {self.counted}/s"
        if self.validation_loss is not None:
            text += f", validation {self.validation_loss:.3f}"
        return text

    def _evaluate_and_report(self, metrics: Metrics) -> None:
        loss = self.evaluate()
        self._check_finite("the validation loss", loss, self.step)
        self.validation_loss, self._evaluated_step = loss, self.step
        metrics.write(step=self.step, validation_loss=self.validation_loss)
        measure = f"{self.measure} a {self.unit}"
        log.info("step %d: validation loss %.4f %s", self.step, self.validation_loss, measure)
        if self.run is not None:
            write_loss_curve(self.run, self.unit, self.measure)

    def evaluate(self) -> float:
        """Mean loss a token over the fixed validation batches, without dropout."""
        total = tokens = 0.0
        with self._evaluation():
            for batch in self.validation:
                targets = batch[1]
                total += self.model.loss(*batch).item() * targets.size
                tokens += targets.size
        return total / tokens

    def sample(self) -> str:
        """A short text from the model; the same for the same weights."""
        assert self.tokenizer is not None
        prompt = self.validation[0][0][:1, : max(1, self.context_length // 4)]
        with self._evaluation():
            out = self.model.generate(prompt, SAMPLE_TOKENS, temperature=0.8, seed=self.options.seed, overflow="slide")
        return self.tokenizer.decode(out.numpy()[0])

    @contextlib.contextmanager
    def _evaluation(self) -> Iterator[None]:
        """No dropout, no gradients, and the random numbers of training stay where they are."""
        random_state, training = _core.rng_state(), self.model.training
        self.model.eval()
        try:
            with pf.no_grad():
                yield
        finally:
            self.model.train(training)
            _core.set_rng_state(*random_state)

    def save(self) -> None:
        """Writes the checkpoint, then the exported model and the loss curve.

        FloatingPointError if the weights are not finite: the checkpoint before stays.
        """
        if self.run is None:
            return
        if self.step > 0:
            self._check_weights()
        path = self.run / CHECKPOINT_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self._mean,
            "mean_start": self._mean_start(),
            "step": self.step,
            "random_state": list(_core.rng_state()),
            "recent_losses": self._recent,
            "validation_loss": self.validation_loss,
            **self._more_state(),
        }
        files.save_state(path, state)
        self.saved_step = self.step
        self.export()

    def _more_state(self) -> dict[str, Any]:
        """What a subclass keeps in the checkpoint besides, JSON values by name."""
        return {}

    def _restore_more(self, state: dict[str, Any]) -> None:
        """Takes from a checkpoint what `_more_state` gave."""

    def export(self) -> None:
        """Writes the model for use elsewhere, and the loss curve."""
        if self.run is None:
            return
        self.model.save_pretrained(self.run)
        write_loss_curve(self.run, self.unit, self.measure)
        self._exported_step = self.step

    def restore(self) -> None:
        """Goes back to the run's checkpoint; later lines of its metrics are dropped.

        FileNotFoundError if there is no checkpoint, ValueError if it doesn't fit or is damaged.
        """
        assert self.run is not None
        path = self.run / CHECKPOINT_NAME
        state = files.load_state(path)
        try:
            step, recent = int(state["step"]), [float(x) for x in state["recent_losses"]]
            seed, stream = (int(x) for x in state["random_state"])
            if not 0 <= step <= self.options.steps:
                raise ValueError(f"it is of step {step}, where the run has {self.options.steps}")
            mean = self._checked_mean(state, step)
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self._mean = mean
            self._restore_more(state)
            _core.set_rng_state(seed, stream)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise ValueError(f"{path}: doesn't belong to this run: {error}") from error
        self.step = self.saved_step = step
        self._exported_step = self._evaluated_step = None
        self._recent, self.validation_loss = recent, state.get("validation_loss")
        remove_leftovers(self.run)
        rewind_metrics(self.run / METRICS_NAME, step)

    def _checked_mean(self, state: dict[str, Any], step: int) -> list[pf.Tensor]:
        mean, start = state.get("mean", []), self._mean_start()
        if mean and state["mean_start"] != start:
            raise ValueError(
                f"the mean of its weights began after step {state['mean_start']}, with these options it would after "
                f"{start}: a run whose mean has begun keeps its number of steps"
            )
        kinds = [(tuple(p.shape), p.dtype) for p in self.model.parameters()] if step > start else []
        if [(tuple(p.shape), p.dtype) for p in mean] != kinds:
            raise ValueError(f"expected the mean of the weights after step {start} in a checkpoint of step {step}")
        return mean

    @contextlib.contextmanager
    def _metrics_file(self) -> Iterator[Metrics]:
        if self.run is None:
            yield Metrics(None)
            return
        with open(self.run / METRICS_NAME, "a", encoding="utf-8") as file:
            yield Metrics(file)

    @contextlib.contextmanager
    def _bar(self, progress: bool) -> Iterator[Any]:
        # A process started without a stderr has None there.
        if not progress or sys.stderr is None:
            yield None
            return
        from tqdm import tqdm

        # A log file gets a line now and then, not ten a second.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        with tqdm(
            total=self.options.steps,
            initial=self.step,
            unit="step",
            mininterval=interval,
            dynamic_ncols=True,
        ) as bar:
            yield bar
