"""The folder of a run: its checkpoint, its lock, and what a killed process left in it.

The checkpoint is one file with everything that decides the next step (weights, optimiser, step, state of the random
numbers), replaced whole or not at all. The exported model, metrics and picture beside it can be made again from there.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyformer import _core, formats, lora, optim
from pyformer.training.average import WeightMean
from pyformer.training.evaluation import evaluating
from pyformer.training.metrics import METRICS_NAME, Metrics, rewind_metrics, write_loss_curve
from pyformer.training.options import TrainingOptions

log = logging.getLogger(__name__)

CHECKPOINT_NAME = Path("checkpoint") / "state.safetensors"
LOCK_NAME = ".lock"


class Checkpointed:
    """The part of a trainer that keeps its state in the run's folder."""

    model: Any
    options: TrainingOptions
    optimizer: optim.Optimizer
    scaler: optim.GradScaler | None
    run: Path | None
    unit: str
    measure: str
    validation: list[tuple[np.ndarray, ...]]
    validation_loss: float | None
    step: int
    saved_step: int | None
    _exported_step: int | None
    _evaluated_step: int | None
    _recent: list[tuple[Any, int]]  # (loss, targets) of each step; a loss that nobody read yet is a Tensor
    _mean: WeightMean

    def save(self) -> None:
        """Writes the checkpoint, then the exported model and the loss curve.

        FloatingPointError if the weights are not finite: the checkpoint before stays.
        """
        self._read()
        if self.run is None:
            return
        if self.step > 0:
            self._check_weights()
        path = self.run / CHECKPOINT_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self._mean.mean,
            "mean_start": self._mean.start,
            "step": self.step,
            "random_state": list(_core.rng_state()),
            "recent_losses": self._recent,
            "validation_loss": self.validation_loss,
            "loss_scale": self.scaler.state_dict() if self.scaler else None,
            **self._more_state(),
        }
        formats.save_state(path, state)
        self.saved_step = self.step
        self.export()
        self._call("on_save")

    def _read(self) -> None:
        raise NotImplementedError

    def _call(self, moment: str, *values: Any) -> None:
        raise NotImplementedError

    def _more_state(self) -> dict[str, Any]:
        """What a subclass keeps in the checkpoint besides, JSON values by name."""
        return {}

    def _restore_more(self, state: dict[str, Any]) -> None:
        """Takes from a checkpoint what `_more_state` gave."""

    def export(self) -> None:
        """Writes the model for use elsewhere, of one with LoRA layers these alone, and the loss curve."""
        if self.run is None:
            return
        if hasattr(self.model, "lora_settings"):
            lora.save(self.model, self.run)
        else:
            self.model.save_pretrained(self.run)
        self._draw_curve()
        self._exported_step = self.step

    def restore(self) -> None:
        """Goes back to the run's checkpoint; later lines of its metrics are dropped.

        The options are those of this trainer from here on, the learning rate, betas and weight decay among them.

        FileNotFoundError if there is no checkpoint, ValueError if it doesn't fit or is damaged; then model, optimiser
        and random numbers are as they were.
        """
        assert self.run is not None
        path = self.run / CHECKPOINT_NAME
        state = formats.load_state(path)
        try:
            step, recent = int(state["step"]), [(float(loss), int(n)) for loss, n in state["recent_losses"]]
            seed, stream = (int(x) for x in state["random_state"])
            if not 0 <= step <= self.options.steps:
                raise ValueError(f"it is of step {step}, where the run has {self.options.steps}")
            mean = self._mean.checked(state, step)
            with self._kept_if_refused():
                self.optimizer.load_state_dict(state["optimizer"])
                _core.set_rng_state(seed, stream)
                self._restore_more(state)
                if self.scaler:
                    self.scaler.load_state_dict(state["loss_scale"])
                other = sorted(set(state["model"]) ^ set(self.model.state_dict()))
                if other:
                    raise KeyError(f"names that only one of the model and the checkpoint has: {', '.join(other[:5])}")
                # The last that may refuse; not strict, since the matrices of a quantised model are not trained.
                self.model.load_state_dict(state["model"], strict=False)
            self._mean.mean = mean
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{path}: doesn't belong to this run: {error}") from error
        self.step = self.saved_step = step
        self._exported_step = self._evaluated_step = None
        self._recent, self.validation_loss = recent, state.get("validation_loss")
        remove_leftovers(self.run)
        rewind_metrics(self.run / METRICS_NAME, step)

    @contextlib.contextmanager
    def _kept_if_refused(self) -> Iterator[None]:
        """Keeps the options of the optimiser, and after an error its state, the loss scale and the random numbers."""
        self.optimizer._settle()
        optimizer, random_state = self.optimizer, _core.rng_state()
        scale = self.scaler.state_dict() if self.scaler else {}
        kept, options = optimizer.state, [dict(group) for group in optimizer.param_groups]
        try:
            yield
        except BaseException:
            optimizer.state = kept
            if self.scaler:
                self.scaler.load_state_dict(scale)
            _core.set_rng_state(*random_state)
            raise
        finally:
            for group, own in zip(optimizer.param_groups, options, strict=True):
                group.update(own)

    @contextlib.contextmanager
    def _metrics_file(self) -> Iterator[Metrics]:
        if self.run is None:
            yield Metrics(None)
            return
        with open(self.run / METRICS_NAME, "ab", buffering=0) as file:
            yield Metrics(file)

    def _draw_curve(self) -> None:
        """Draws the loss curve; where the disk is full, training goes on without."""
        if self.run is None:
            return
        try:
            write_loss_curve(self.run, self.unit, self.measure)
        except OSError as error:
            log.warning("the loss curve can't be drawn, training goes on without: %s", error)

    def _check_finite(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            return
        kept = "" if self.saved_step is None else f" (the checkpoint of step {self.saved_step} is kept)"
        raise FloatingPointError(
            f"{name} is {value} at step {step}: try a lower learning rate than {self.options.lr:g}{kept}"
        )

    def _check_weights(self) -> None:
        """FloatingPointError if the weights are not worth a checkpoint."""
        with evaluating():
            norm = float(_core.global_norm([p.detach() for p in self.model.parameters()]))
            self._check_finite("the norm of the weights", norm, self.step)
            if self._evaluated_step != self.step:
                loss = self.model.loss(*self.validation[0]).item()
                self._check_finite("the validation loss", loss, self.step)


def remove_leftovers(run: str | os.PathLike[str]) -> None:
    """Removes temporary files that a killed process left in a run's folders.

    Args:
        run: the run's folder.

    Raises:
        OSError: a file can't be removed.

    Example:
        >>> _ = (folder / ".model.tmp").write_text("half")
        >>> pf.training.remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    for folder in (Path(run), Path(run) / CHECKPOINT_NAME.parent):
        for path in folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(run: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps a run's folder for this process; the system lets go of it however the process ends.

    It does nothing on systems and file systems without such locks.

    Args:
        run: the run's folder.

    Raises:
        RuntimeError: another process holds it.

    Example:
        >>> with pf.training.locked(folder):
        ...     held = sorted(path.name for path in folder.iterdir())
        >>> held, list(folder.iterdir())
        (['.lock'], [])
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
