"""Training of a language model: the loop, its options, checkpoints, metrics and the loss curve.

A run is a folder. Its checkpoint is one file with everything that decides the next step (weights,
optimiser, step, state of the random numbers), replaced whole or not at all; the exported model,
metrics and picture beside it can always be made again from there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

import pyformer as pf
from pyformer import _core, data, files, optim, svg
from pyformer.tokenizers import Tokenizer

log = logging.getLogger(__name__)

CHECKPOINT_NAME = Path("checkpoint") / "state.safetensors"
METRICS_NAME = "metrics.jsonl"
CURVE_NAME = "loss_curve.svg"
LOCK_NAME = ".lock"
SAMPLE_TOKENS = 160
MAX_COUNT = 2**31 - 1


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; everything here but the last five decides the weights.

    `average` is the part of the steps, the last ones, whose weights' mean becomes the model's after the last step
    (Izmailov et al. 2018, "Averaging weights leads to wider optima"); 0 keeps the last step's weights.

    ValueError or TypeError names the option that is out of range.
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
        self._check_int("seed", 0, 2**63 - 1)
        self._check_float("lr", 0.0, math.inf, open_low=True)
        self._check_float("clip", 0.0, math.inf, open_low=True)
        self._check_float("weight_decay", 0.0, math.inf)
        for name in ("final_lr", "beta1", "beta2", "average"):
            self._check_float(name, 0.0, 1.0)

    def _check_int(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, got {value}")

    def _check_float(self, name: str, low: float, high: float, open_low: bool = False) -> None:
        value = getattr(self, name)
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
            clock = _Clock()
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

    def _after_step(self, loss: float, metrics: _Metrics, clock: _Clock, bar: Any) -> None:
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
            log.info("step %d, a sample:\n%s", self.step, _printable(self.sample()))
        if self.step % o.save_every == 0 or last:
            self.save()

    def _postfix(self, loss: float, clock: _Clock) -> str:
        text = f"loss {loss:.3f}, {clock.tokens_per_second():,.0f} {self.counted}/s"
        if self.validation_loss is not None:
            text += f", validation {self.validation_loss:.3f}"
        return text

    def _evaluate_and_report(self, metrics: _Metrics) -> None:
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
    def _metrics_file(self) -> Iterator[_Metrics]:
        if self.run is None:
            yield _Metrics(None)
            return
        with open(self.run / METRICS_NAME, "a", encoding="utf-8") as file:
            yield _Metrics(file)

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


class _Metrics:
    """Appends one JSON object a line, flushed so that a kill loses no whole line."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, **values: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps(values, allow_nan=False) + "\n")
            self._file.flush()


class _Clock:
    """Tokens a second since the start of this process's part of the run."""

    def __init__(self) -> None:
        self.start, self.tokens = time.perf_counter(), 0

    def tokens_per_second(self) -> float:
        return self.tokens / max(time.perf_counter() - self.start, 1e-9)


def _printable(text: str) -> str:
    """`text` without the control characters that could upset a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a metrics file.

    Lines that are no JSON object with a possible step are left out, and so are numbers not finite.
    """
    try:
        lines = Path(path).read_bytes().decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            entry = json.loads(line)
            if isinstance(entry, dict) and _is_step(entry.get("step")):
                entries.append({name: v for name, v in entry.items() if not _is_number(v) or _is_finite(v)})
    return entries


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and 0 <= value <= MAX_COUNT


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: float) -> bool:
    """Whether a float can hold the number: an int may be beyond that."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def rewind_metrics(path: str | os.PathLike[str], step: int) -> None:
    """Drops what was written after `step`, and a last line that was cut off."""
    entries = [entry for entry in read_metrics(path) if entry["step"] <= step]
    files.write_bytes_atomic(path, "".join(json.dumps(entry) + "\n" for entry in entries).encode())


def loss_points(entries: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of the entries that hold a finite number called `name`."""
    values = [(entry["step"], entry.get(name)) for entry in entries]
    return [(float(s), float(v)) for s, v in values if _is_number(v) and _is_finite(v)]


def write_loss_curve(run: str | os.PathLike[str], unit: str = "token", measure: str = "nats") -> None:
    """Draws the run's metrics into loss_curve.svg; losses are so many `measure` a `unit`."""
    entries = read_metrics(Path(run) / METRICS_NAME)
    lines = {
        "training": loss_points(entries, "loss"),
        "validation": loss_points(entries, "validation_loss"),
    }
    title = _printable(files.display_name(Path(run).name))
    picture = svg.line_chart(title, "step", f"loss ({measure} a {unit})", lines)
    files.write_bytes_atomic(Path(run) / CURVE_NAME, picture.encode())


def remove_leftovers(run: str | os.PathLike[str]) -> None:
    """Removes temporary files that a killed process left in the run's folders."""
    for folder in (Path(run), Path(run) / CHECKPOINT_NAME.parent):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(run: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps the run's folder for this process; the system lets go of it however the process ends.

    Does nothing on systems and file systems without such locks. RuntimeError if another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    path = Path(run) / LOCK_NAME
    with _locked_file(path, fcntl):
        try:
            yield
        finally:
            # While it is held: a moment later a file of this name may be another's.
            path.unlink(missing_ok=True)


def _locked_file(path: Path, fcntl: Any) -> BinaryIO:
    while True:
        file = open(path, "ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise RuntimeError(f"another process is training in {path.parent}") from None
        except OSError:
            return file
        # Whoever held the lock before may have removed the file since it was opened here.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()
