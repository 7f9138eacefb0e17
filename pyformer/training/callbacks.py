"""What a trainer calls while it trains: a base to write one's own, and two that hand metrics to other programs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


class Callback:
    """The base of what a trainer calls while it trains; each method does nothing until a subclass defines it.

    A method may read the trainer (`step`, `model`, `optimizer`, `options`, `validation_loss`) and call its
    `request_stop()`. What it raises ends the training, as an error of the training itself does.

    Raises:
        TypeError: it is made with an argument.

    Example:
        >>> class Stopper(pf.training.Callback):
        ...     def on_metrics(self, trainer, metrics):
        ...         if metrics.get("validation_loss", 9.0) < 1.5:
        ...             trainer.request_stop()
        >>> config = pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=16)
        >>> options = pf.training.TrainingOptions(steps=300, lr=1e-2, eval_every=5)
        >>> tokens = np.arange(400) % 10
        >>> trainer = pf.training.Trainer(
        ...     pf.models.GPT(config), tokens[:300], tokens[300:], options, callbacks=[Stopper()])
        >>> trainer.train(), trainer.step < 300
        (False, True)
    """

    def on_start(self, trainer: Any) -> None:
        """Before the first step of this process."""

    def on_step(self, trainer: Any, loss: float) -> None:
        """After each step; loss is that of its batch, before the step."""

    def on_metrics(self, trainer: Any, metrics: Mapping[str, float]) -> None:
        """After each line of metrics.jsonl, which holds `metrics`: "step" and, for example, "validation_loss"."""

    def on_save(self, trainer: Any) -> None:
        """After each checkpoint."""

    def on_end(self, trainer: Any) -> None:
        """When training ends: at the last step, after `request_stop()`, or by an error."""


def _package(owner: str, name: str, install: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"{owner}: needs the package {install}: pip install {install} ({error})") from None


class TensorBoard(Callback):
    """Writes the metrics for TensorBoard, by its own package: `pip install tensorboard`.

    Args:
        folder: where to; None means `tensorboard` in the run's folder.

    Raises:
        ImportError: the package is not installed.
        ValueError: there is neither a folder nor a run.

    Example:
        >>> try:
        ...     callbacks = [pf.training.TensorBoard(folder)]
        ... except ImportError:
        ...     callbacks = []
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self._folder = folder
        self._make = _package("TensorBoard", "tensorboard.summary", "tensorboard").Writer
        self._writer: Any = None

    def on_start(self, trainer: Any) -> None:
        """Opens a file of events."""
        if self._folder is None and trainer.run is None:
            raise ValueError("TensorBoard: expected a folder, for a trainer without a run")
        self._writer = self._make(str(self._folder or Path(trainer.run) / "tensorboard"))

    def on_metrics(self, trainer: Any, metrics: Mapping[str, float]) -> None:
        """Writes each number under its name."""
        for name, value in metrics.items():
            if name != "step":
                self._writer.add_scalar(name, value, metrics["step"])

    def on_end(self, trainer: Any) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


class WandB(Callback):
    """Sends the metrics to Weights & Biases, by its own package: `pip install wandb`.

    Args:
        options: what `wandb.init` takes, such as project="texts" or mode="offline". The config of the run is the
            trainer's options unless one is given.

    Raises:
        ImportError: the package is not installed.

    Example:
        >>> try:
        ...     callbacks = [pf.training.WandB(project="texts", mode="offline")]
        ... except ImportError:
        ...     callbacks = []
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._wandb = _package("WandB", "wandb", "wandb")
        self._run: Any = None

    def on_start(self, trainer: Any) -> None:
        """Starts a run of Weights & Biases."""
        self._run = self._wandb.init(**{"config": trainer.options.to_dict(), **self._options})

    def on_metrics(self, trainer: Any, metrics: Mapping[str, float]) -> None:
        """Logs the numbers at their step."""
        self._run.log({name: value for name, value in metrics.items() if name != "step"}, step=metrics["step"])

    def on_end(self, trainer: Any) -> None:
        """Finishes the run."""
        if self._run is not None:
            self._run.finish()
