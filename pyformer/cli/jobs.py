"""What the commands that train many models share: the folder, its record, the bar over all jobs."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator
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
    """A bar over all jobs, which also moves inside a job."""

    def __init__(self, total: int, hidden: bool) -> None:
        form = "{desc} {percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]"
        self.bar = terminal.bar(not hidden, total=total, bar_format=form)

    def __enter__(self) -> JobBar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.close()

    def reporter(self, number: int, name: str) -> Callable[[float, str], None]:
        """The function that the job `number` reports to."""

        def report(done: float, text: str) -> None:
            self.bar.set_description_str(name, refresh=False)
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(number + done - self.bar.n)

        return report


@contextlib.contextmanager
def results_of(path: Path) -> Iterator[None]:
    """Within it, what fails is the fault of the record at `path`: a ValueError names it."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: has a result that is none: {type(error).__name__}: {error}") from error
