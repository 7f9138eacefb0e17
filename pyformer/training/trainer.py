"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import data, nn, optim
from pyformer.arrays import refuse_mask
from pyformer.float_mode import in_default_float_mode
from pyformer.tokenizers import Tokenizer
from pyformer.training.average import WeightMean
from pyformer.training.callbacks import Callback
from pyformer.training.checkpoint import Checkpointed
from pyformer.training.evaluation import evaluating, mean_loss
from pyformer.training.metrics import Clock, Metrics, printable, progress_bar
from pyformer.training.options import TrainingOptions
from pyformer.training.step import MicroBatches, Terms, TreeSum, apply_sum, form_gradients

log = logging.getLogger(__name__)

SAMPLE_TOKENS = 160
MOST_UNREAD = 100  # steps on a device whose losses nobody has looked at
MOST_LEFT_OUT = 20  # steps in a row without a finite gradient, and with a loss scale below 1, after which training ends


class Trainer(Checkpointed):
    """Trains a language model on token arrays, in a run folder or in memory only.

    Parameters that require no gradient stay as they are. So do the modes of a model in training mode: parts that were
    set to evaluation mode train so. A model in evaluation mode, as `from_pretrained` gives it, is in training mode
    while it trains, but for parts all of whose parameters are frozen. In the end, also when it raises, every part has
    the mode that it had. Evaluations and samples leave all modes as they are. A run
    that goes on from a checkpoint ends in exactly the weights of one that never stopped.

    Args:
        model: with `loss(ids, targets)` and `config.context_length`.
        train_tokens, validation_tokens: NumPy integers (n,).
        options: TrainingOptions.
        run: the folder; None keeps everything in memory.
        tokenizer: if given, a sample of text is logged now and then.
        callbacks: a sequence of `Callback`, called in this order.

    Raises:
        TypeError: tokens are no one-dimensional integers.
        ValueError: there are too few tokens, all parameters are frozen, or the options do not suit the model.
        FloatingPointError: in `train`, where the loss, the gradient or the weights are not finite. In float16 a step
            whose gradient is not is left out; the error comes after 20 in a row, when losses are no longer multiplied.

    Example:
        >>> pf.manual_seed(0)
        >>> config = pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=16)
        >>> tokens = np.arange(400) % 10
        >>> options = pf.training.TrainingOptions(steps=30, batch=8, lr=1e-2, warmup=5)
        >>> trainer = pf.training.Trainer(pf.models.GPT(config), tokens[:300], tokens[300:], options)
        >>> trainer.train(), trainer.evaluate() < 1.0
        (True, True)
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
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.context_length = model.config.context_length
        self.train_tokens = train_tokens
        for tokens in (train_tokens, validation_tokens):
            refuse_mask("Trainer", tokens)
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
        self._set_up(model, validation, options, run, tokenizer, callbacks)

    def _set_up(
        self,
        model: Any,
        validation: list[tuple[np.ndarray, ...]],
        options: TrainingOptions,
        run: str | os.PathLike[str] | None,
        tokenizer: Tokenizer | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.model, self.options, self.tokenizer = model, options, tokenizer
        self.callbacks = list(callbacks)
        self.run = None if run is None else Path(run)
        self.validation = validation
        self.step = 0
        self.saved_step = self._exported_step = self._evaluated_step = None
        self.validation_loss = None
        self.scaler = optim.GradScaler() if options.dtype == "float16" else None
        self._left_out = 0  # steps, since one was taken
        if self.scaler:
            model.to("float16")
        self.optimizer = self._make_optimizer()
        self.schedule = optim.CosineSchedule(options.steps, options.warmup, options.final_lr)
        self._recent, self._unread = [], []
        self._stop = False
        self._mean = WeightMean(model, options)

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
        """What a token is: losses are in nats per unit."""
        return self.tokenizer.unit if self.tokenizer else "token"

    @property
    def tokens_per_step(self) -> int:
        """How many tokens a step sees."""
        return self.options.batch * self.options.accumulate * self.context_length

    @property
    def targets_per_step(self) -> int:
        """How many targets counted in the loss of the last step."""
        return self.tokens_per_step

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
        with _training(self.model):
            try:
                self._call("on_start")
                self._train(progress)
            finally:
                self._call("on_end")
        return self.step == self.options.steps

    def _train(self, progress: bool) -> None:
        first, shown = self.step, progress_bar(progress, self.options.steps, self.step)
        with shown as bar, self._metrics_file() as metrics:
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
        if 0 < self.step - first <= self._left_out:
            log.error("no step was taken: the gradients of all %d are not finite in float16", self.step - first)

    def _call(self, moment: str, *values: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(self, *values)

    def _report(self, metrics: Metrics, **values: Any) -> None:
        metrics.write(**values)
        self._call("on_metrics", values)

    def _train_step(self) -> float | pf.Tensor | None:
        """One optimiser step; its mean loss, or None if it was dropped because of a stop.

        On the CPU it is a number, and a loss or norm that is not finite raises before the weights move. On a device
        nothing waits: it is a Tensor, and `_read` raises later.
        """
        o, scaler = self.options, self.scaler
        self.optimizer.zero_grad()
        counts = [1] if o.accumulate == 1 else [self._count(number) for number in range(o.accumulate)]
        micro_batches = MicroBatches(o.seed, self.step, counts, self.own_micro_batches(), self._loss_in_dtype)
        if scaler:
            micro_batches = replace(micro_batches, scaled=scaler.scale)
        tree = form_gradients(self.model, micro_batches, lambda: self._stop)
        if tree is None:
            return None
        loss: Any = apply_sum(self.model, self.reduce_gradients(tree))
        if scaler:
            scaler.unscale_(self.optimizer)
        norm = optim.clip_grad_norm_(self.model.parameters(), o.clip)
        if loss.device == "cpu":
            loss = loss.item()
            self._check_step(self.step + 1, loss, norm.item())
            self._check_left_out(self.step + 1)
        else:
            self._unread.append((self.step + 1, loss, norm))
        self.optimizer.scale_lr(self.schedule(self.step))
        if scaler:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self._mean.take(self.step)
        return loss

    def _check_step(self, step: int, loss: float, norm: float) -> None:
        self._check_finite("the loss", loss, step)
        if self.scaler is None:
            self._check_finite("the norm of the gradient", norm, step)
        else:  # which leaves the step out
            self._left_out = 0 if math.isfinite(norm) else self._left_out + 1

    def _check_left_out(self, step: int) -> None:
        if self.scaler and self._left_out >= MOST_LEFT_OUT and (scale := self.scaler.get_scale()) < 1.0:
            raise FloatingPointError(
                f"the gradients of {self._left_out} steps in a row are not finite at step {step}, with a loss scale of "
                f"{scale:g}: they are too large for float16, or not numbers; train in bfloat16 or float32"
            )

    @in_default_float_mode
    def _read(self) -> None:
        """Makes the losses of the last steps numbers, at one wait for the device; FloatingPointError as `train`."""
        if not self._unread:
            return
        steps, *columns = zip(*self._unread, strict=True)
        self._unread = []
        with pf.no_grad():
            losses, norms = (
                pf.ops.stack([x.to(pf.float64) for column in columns for x in column]).reshape(2, -1).tolist()
            )
        targets = [count for _, count in self._recent[-len(steps) :]]
        self._recent[-len(steps) :] = list(zip(losses, targets, strict=True))
        for step, loss, norm in zip(steps, losses, norms, strict=True):
            self._check_step(step, loss, norm)
        self._check_left_out(steps[-1])

    def own_micro_batches(self) -> Sequence[int]:
        """The numbers of the micro-batches whose gradients this process forms: all of them."""
        return range(self.options.accumulate)

    def reduce_gradients(self, tree: TreeSum) -> Terms:
        """The sum over all of the step's micro-batches, those of other processes included: here there are none.

        Where there are, this is the place to exchange `tree.nodes` with them, and the only one between the gradients
        and the update.
        """
        return tree.total()

    def _micro_batch(self, number: int) -> tuple[np.ndarray, ...]:
        """Micro-batch `number` of this step: the arguments of the model's loss."""
        return data.sample_batch(
            self.train_tokens,
            seed=self.options.seed,
            step=self.step,
            batch=self.options.batch,
            context_length=self.context_length,
            first=number * self.options.batch,
        )

    def _count(self, number: int) -> int:
        """The number of counted targets of a micro-batch; of text all count."""
        return self.options.batch * self.context_length

    def _loss(self, number: int) -> pf.Tensor:
        return self.model.loss(*self._micro_batch(number))

    def _loss_in_dtype(self, number: int) -> pf.Tensor:
        with self._precision():
            return self._loss(number)

    def _precision(self) -> contextlib.AbstractContextManager:
        return pf.autocast("bfloat16") if self.options.dtype == "bfloat16" else contextlib.nullcontext()

    def _after_step(self, loss: float | pf.Tensor, metrics: Metrics, clock: Clock, bar: Any) -> None:
        o, last = self.options, self.step == self.options.steps
        self._recent.append((loss, self.targets_per_step))
        clock.tokens += self.tokens_per_step
        if last or self._is_asked() or len(self._unread) == MOST_UNREAD:
            self._read()
        if bar is not None:
            if not self._unread:
                bar.set_postfix_str(self._postfix(self._recent[-1][0], clock), refresh=False)
            bar.update()
        if self._is_heard():
            self._call("on_step", self._recent[-1][0])
        if self.step % o.log_every == 0 or last:
            self._report(
                metrics,
                step=self.step,
                loss=self._take_recent(),
                lr=self.optimizer.param_groups[0]["lr"],
                tokens_per_second=round(clock.tokens_per_second()),
            )
        if self.step % o.eval_every == 0 or last:
            self._evaluate_and_report(metrics)
        if o.sample_every and self.tokenizer and (self.step % o.sample_every == 0 or last):
            log.info("step %d, a sample:\n%s", self.step, printable(self.sample()))
        if self.step % o.save_every == 0 or last:
            self.save()

    def _is_heard(self) -> bool:
        """Whether a callback wants the loss of each step."""
        return any(getattr(type(c), "on_step", None) is not Callback.on_step for c in self.callbacks)

    def _is_asked(self) -> bool:
        """Whether something looks at the losses after this step."""
        o = self.options
        every = [o.log_every, o.eval_every, o.save_every, *([o.sample_every] if o.sample_every else [])]
        return self._is_heard() or any(self.step % n == 0 for n in every)

    @in_default_float_mode
    def _take_recent(self) -> float:
        """The mean loss of a target since it was last taken."""
        total = sum(loss * targets for loss, targets in self._recent)
        targets = sum(targets for _, targets in self._recent)
        self._recent = []
        return total / max(1, targets)

    def _postfix(self, loss: float, clock: Clock) -> str:
        text = f"loss {loss:.3f}, {clock.tokens_per_second():,.0f} {self.counted}/s"
        if self.validation_loss is not None:
            text += f", validation {self.validation_loss:.3f}"
        return text

    def _evaluate_and_report(self, metrics: Metrics) -> None:
        loss = self.evaluate()
        self._check_finite("the validation loss", loss, self.step)
        self.validation_loss, self._evaluated_step = loss, self.step
        self._report(metrics, step=self.step, validation_loss=self.validation_loss)
        measure = f"{self.measure} per {self.unit}"
        log.info("step %d: validation loss %.4f %s", self.step, self.validation_loss, measure)
        self._draw_curve()

    def evaluate(self) -> float:
        """Mean loss of a target over the fixed validation batches, without dropout."""
        with self._precision():
            return mean_loss(self.model, self.validation)

    def sample(self) -> str:
        """A short text from the model; the same for the same weights."""
        assert self.tokenizer is not None
        prompt = self.validation[0][0][:1, : max(1, self.context_length // 4)]
        with evaluating(), self._precision():
            out = self.model.generate(prompt, SAMPLE_TOKENS, temperature=0.8, seed=self.options.seed, overflow="slide")
        ids = out.numpy()[0]
        # A padded vocabulary has ids that stand for no text.
        return self.tokenizer.decode(ids[ids < self.tokenizer.vocab_size])


@contextlib.contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    """Within it the model is in training mode; then every module has the mode that it had."""
    before = [(module, module.__dict__["training"]) for module in model.modules()]
    try:
        _set_training(model)
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _set_training(module: nn.Module) -> None:
    """Training mode for a module in evaluation mode, but not for what is below it and frozen."""
    if module.training:
        return
    module.training = True
    for child in module.children():
        parameters = list(child.parameters())
        if not parameters or any(p.requires_grad for p in parameters):
            _set_training(child)
