"""What long work and the terminal owe each other: work outlives its terminal, shows that it goes on, hears Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")

# How often work on another thread looks for Ctrl-C, in seconds.
LISTENING = 0.1


class SteadyStream:
    """A text stream that never fails: what can't be written is lost, since no work is worth less than a message on it.

    The reader of a pipe may end, a terminal may close, the disk of a log may be full.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return bool(self._stream.isatty())
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class LineStream(SteadyStream):
    """A stream for a bar that is no terminal: each time the bar is drawn is a line, in place of one that is redrawn."""

    def write(self, text: str) -> int:
        for drawn in text.split("\r"):
            if drawn.strip():
                super().write(drawn.rstrip() + "\n")
        return len(text)


def steady(stream: Any) -> SteadyStream:
    """`stream` as one that never fails."""
    return stream if isinstance(stream, SteadyStream) else SteadyStream(stream)


@contextlib.contextmanager
def steady_output() -> Iterator[None]:
    """Within it, stderr never fails, and what stdout or stderr has no signs for is written as its code.

    Nothing that is left in them then fails the process at its end.
    """
    out, error = sys.stdout, sys.stderr
    for stream in (out, error):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if error is not None:
        sys.stderr = steady(error)
    try:
        yield
    finally:
        sys.stderr = error
        settle(out)
        settle(error)


def announce(text: str) -> None:
    """Prints a line on stdout that only tells of finished work, which is not less finished where it can't be told."""
    if sys.stdout is None:
        return
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        settle(sys.stdout)


def settle(stream: Any) -> None:
    """Writes what is left in a standard stream, or throws it away: at its end Python would fail with it."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


class HiddenBar:
    """In place of a tqdm bar where none is shown: importing tqdm takes longer than a short text."""

    disable, n = True, 0

    def __enter__(self) -> HiddenBar:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self, *_: Any, **__: Any) -> None:
        pass

    set_description_str = set_postfix_str = refresh = close = update


def bar(shown: bool, **options: Any) -> Any:
    """A tqdm bar on stderr that can't end the work it shows, or a hidden one."""
    if not shown or sys.stderr is None:
        return HiddenBar()
    from tqdm import tqdm

    stream = steady(sys.stderr)
    if stream.isatty():
        return tqdm(file=stream, mininterval=0.1, dynamic_ncols=True, **options)
    # A log file gets a line now and then, not ten a second, and the last one stays.
    return tqdm(file=LineStream(stream), mininterval=10.0, ncols=100, **{**options, "leave": True})


def ticking(bar: Any) -> Callable[[], None]:
    """What draws a bar again, so that its time goes on, as often as it may be drawn."""
    last = time.monotonic()

    def tick() -> None:
        nonlocal last
        if not bar.disable and time.monotonic() - last >= bar.mininterval:
            last = time.monotonic()
            bar.refresh()

    return tick


def write_above_bar(text: str) -> None:
    """Writes a line on stderr, if the process has one, above a bar that may be there."""
    if sys.stderr is not None:
        from tqdm import tqdm

        tqdm.write(text, file=steady(sys.stderr))


@contextlib.contextmanager
def text_bar(shown: bool, characters: int, what: str) -> Iterator[Any]:
    """A bar over the characters of a text."""
    with bar(shown, total=characters, desc=what, unit="char", unit_scale=True, leave=False) as made:
        yield made


def heard(work: Callable[[], Result], waiting: Callable[[], Any] = lambda: None) -> Result:
    """work(), a long call that lets go of the GIL but not of signals: on another thread, so that Ctrl-C is heard.

    `waiting` is called now and then meanwhile. After Ctrl-C the work is left to itself, and ends with the process.
    """
    done: list[Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LISTENING)
        waiting()
    if failed:
        raise failed[0]
    return done[0]
