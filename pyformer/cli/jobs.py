"""What the commands that train many models share: the folder, its record, the bar over all jobs."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import _core, terminal


def check_free(folder: Path) -> None:
    """ValueError unless a new run may be put into `folder`."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: exists and is not empty; use --resume to go on with it, or another --out")


def new_record(settings: dict[str, Any]) -> dict[str, Any]:
    """What is known of a run before it starts: version, machine, date, `settings`, and no results."""
    machine = f"{platform.machine()} ({_core.isa()}), {pf.get_num_threads()} threads on {os.cpu_count()} CPUs"
    date = time.strftime("%Y-%m-%d")
    return {"pyformer": pf.__version__, "machine": machine, "date": date, "settings": settings, "results": {}}


class JobBar:
    """A bar over all jobs, which also moves inside a job. What is left is told by the mean speed so far.

    costs: how long each job takes, beside the others.
    """

    def __init__(self, costs: Sequence[float], hidden: bool) -> None:
        self.costs = list(costs)
        form = "{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}"
        self.bar = terminal.bar(not hidden, total=sum(self.costs), bar_format=form, smoothing=0)

    def __enter__(self) -> JobBar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def skip(self, number: int) -> None:
        """A job that was done before: it says nothing about the speed."""
        if not self.bar.disable:
            self.bar.initial += self.costs[number]
            self.bar.n += self.costs[number]

    def reporter(self, number: int, name: str) -> Callable[[float, str], None]:
        """The function that the job `number` reports to."""
        before = sum(self.costs[:number])

        def report(done: float, text: str) -> None:
            self.bar.set_description_str(f"{number + 1}/{len(self.costs)} {name}", refresh=False)
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(before + done * self.costs[number] - self.bar.n)

        return report


def minutes(seconds: float) -> str:
    """A time in words, to tell of it before it is spent."""
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    return f"{round(seconds / 60)} minutes"


@contextlib.contextmanager
def results_of(path: Path) -> Iterator[None]:
    """Within it, what fails is the fault of the record at `path`: a ValueError names it."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: has an entry that is not a result: {type(error).__name__}: {error}") from error
