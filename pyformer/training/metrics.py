"""The metrics of a run, one JSON object a line, and the loss curve drawn from them."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyformer import formats, svg, terminal
from pyformer.training.options import MAX_COUNT

log = logging.getLogger(__name__)

METRICS_NAME = "metrics.jsonl"
CURVE_NAME = "loss_curve.svg"


class Metrics:
    """Appends one JSON object a line to an unbuffered file, so that a kill loses no whole line.

    Where the disk is full, training goes on without: a warning says so once.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._torn = self._warned = False

    def write(self, **values: Any) -> None:
        if self._file is None:
            return
        # A line that was cut off is ended first.
        data = (("\n" if self._torn else "") + json.dumps(values, allow_nan=False) + "\n").encode()
        try:
            self._torn = self._file.write(data) != len(data)
        except OSError as error:
            self._torn = True
            if not self._warned:
                log.error("%s can't be written, training goes on without: %s", METRICS_NAME, error)
                self._warned = True


class Clock:
    """Tokens a second since the start of this process's part of the run."""

    def __init__(self) -> None:
        self.start, self.tokens = time.perf_counter(), 0

    def tokens_per_second(self) -> float:
        return self.tokens / max(time.perf_counter() - self.start, 1e-9)


@contextlib.contextmanager
def progress_bar(shown: bool, steps: int, done: int) -> Iterator[Any]:
    """A bar on stderr, or None where it is not wanted or the process was started without a stderr."""
    if not shown or sys.stderr is None:
        yield None
        return
    with terminal.bar(True, total=steps, initial=done, unit="step") as bar:
        yield bar


def printable(text: str) -> str:
    """`text` without the control characters that could upset a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    r"""The lines of a run's metrics file.

    Args:
        path: a `metrics.jsonl`; one that is not there has no lines.

    Returns:
        List of dicts. Lines that are no JSON object with a step are left out, and so are numbers that are not
        finite.

    Raises:
        OSError: the file is there and can't be read.

    Example:
        >>> _ = (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "lo')
        >>> pf.training.read_metrics(folder / "metrics.jsonl")
        [{'step': 1, 'loss': 2.5}]
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
    r"""Drops the lines of a metrics file that were written after a step, and a last line that was cut off.

    Args:
        path: a `metrics.jsonl`.
        step: the last step to keep.

    Raises:
        OSError: the file can't be written.

    Example:
        >>> _ = (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 9, "loss": 2.0}\n')
        >>> pf.training.rewind_metrics(folder / "metrics.jsonl", 5)
        >>> pf.training.read_metrics(folder / "metrics.jsonl")
        [{'step': 1, 'loss': 2.5}]
    """
    entries = [entry for entry in read_metrics(path) if entry["step"] <= step]
    formats.write_bytes_atomic(path, "".join(json.dumps(entry) + "\n" for entry in entries).encode())


def loss_points(entries: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    """(step, value) of the entries that hold a finite number of that name.

    Args:
        entries: as `read_metrics` gives them.
        name: such as "loss" or "validation_loss".

    Returns:
        List of pairs of floats.

    Raises:
        KeyError: an entry has no step.

    Example:
        >>> pf.training.loss_points([{"step": 1, "loss": 2.5}, {"step": 2, "validation_loss": 2.4}], "loss")
        [(1.0, 2.5)]
    """
    values = [(entry["step"], entry.get(name)) for entry in entries]
    return [(float(s), float(v)) for s, v in values if _is_number(v) and _is_finite(v)]


def write_loss_curve(run: str | os.PathLike[str], unit: str = "token", measure: str = "nats") -> None:
    r"""Draws a run's metrics into its `loss_curve.svg`.

    Args:
        run: the run's folder, with `metrics.jsonl`.
        unit, measure: losses are in `measure` per `unit`.

    Raises:
        OSError: the file can't be written.

    Example:
        >>> _ = (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.0}\n')
        >>> pf.training.write_loss_curve(folder)
        >>> (folder / "loss_curve.svg").exists()
        True
    """
    entries = read_metrics(Path(run) / METRICS_NAME)
    lines = {
        "training": loss_points(entries, "loss"),
        "validation": loss_points(entries, "validation_loss"),
    }
    title = printable(formats.display_name(Path(run).name))
    picture = svg.line_chart(title, "step", f"loss ({measure} per {unit}, lower is better)", lines)
    formats.write_bytes_atomic(Path(run) / CURVE_NAME, picture.encode())
