"""What the commands share: checked numbers, devices, errors on one line, messages on stderr."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pyformer as pf
from pyformer import tokenizers


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line; options can't be shortened."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())} (see {self.prog} --help)\n")


def whole(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}, got {text}")
        return value

    return parse


def real(low: float, high: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """An argparse type: a finite number from `low`, or above it, to `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
        fits = value > low if above else value >= low
        if not (fits and value <= high and math.isfinite(value)):
            start = f"above {low:g}" if above else f"at least {low:g}"
            end = "finite" if high == math.inf else f"at most {high:g}"
            raise argparse.ArgumentTypeError(f"must be {start} and {end}, got {text}")
        return value

    return parse


DEVICE_HELP = "cpu, cuda or cuda:N (default: $PYFORMER_DEVICE, or cpu)"


def device(text: str) -> str:
    """An argparse type: a device that tensors can be made on, as the core says."""
    try:
        pf.zeros(0, device=text)
    except (ValueError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("device: ")) from None
    return text


def default_device() -> str:
    """The device that tensors are made on where none is named."""
    return str(pf.zeros(0).device)


def move(model: Any, wanted: str | None) -> None:
    """Moves a model to a device; None leaves it where it was made."""
    if wanted is not None and wanted != default_device():
        model.to(wanted)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds --threads and --debug."""
    parser.add_argument("--threads", type=whole(1, 1024), metavar="N", help="threads (default: all cores)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def check_setting(path: Path, name: str, value: Any, kind: Callable[[str], Any] | Sequence[str]) -> Any:
    """A setting of the record at `path`, checked as on the command line: by its argparse type, or among choices.

    ValueError names the file and the setting.
    """
    if not callable(kind):
        if value not in kind:
            raise ValueError(f"{path}: {name} must be one of {', '.join(kind)}, got {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{path}: {name} can't be {value!r}")
    try:
        return kind(str(value))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{path}: {name}: {error}") from None


def open_tokenizer(folder: Path, config: Any) -> tokenizers.Tokenizer:
    """A run's tokenizer; ValueError if the model of that config doesn't know all of its tokens."""
    tokenizer = tokenizers.load(folder)
    if tokenizer.vocab_size > getattr(config, "vocab_size", math.inf):
        raise ValueError(f"{folder}: its tokenizer has {tokenizer.vocab_size} tokens, its model {config.vocab_size}")
    return tokenizer


class _Handler(logging.Handler):
    """Writes above the progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def say(text: str) -> None:
    """Prints a line on stderr, if the process has one."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)


def say_above_bar(text: str) -> None:
    """`say`, where a progress bar may be; from a signal handler it may be lost, if stderr is being written to."""
    if sys.stderr is not None:
        from tqdm import tqdm

        with contextlib.suppress(RuntimeError, OSError, ValueError):
            tqdm.write(text, file=sys.stderr)


def show_messages() -> None:
    """Sends the library's log messages to stderr, if the process has one."""
    if sys.stderr is None:
        return
    logger = logging.getLogger("pyformer")
    for handler in [h for h in logger.handlers if isinstance(h, _Handler)]:
        logger.removeHandler(handler)
    logger.addHandler(_Handler())
    logger.setLevel(logging.INFO)
    logger.propagate = False
