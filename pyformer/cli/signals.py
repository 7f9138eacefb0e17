"""What Ctrl-C and SIGTERM do to a command that trains."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from pyformer.cli.arguments import say_above_bar

HANGUP = getattr(signal, "SIGHUP", None)  # which Windows hasn't


@contextlib.contextmanager
def stop_on_signals(request_stop: Callable[[], None]) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM asks training to stop, the next one ends the process.

    So does the end of the terminal (SIGHUP), unless it is ignored, as under `nohup`; a second one is without effect,
    since terminal and shell may each send one.

    Yields a list that the number of the first signal is put into.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        request_stop()
        for each in before:
            signal.signal(each, signal.SIG_IGN if each == HANGUP else signal.SIG_DFL)
        say_above_bar("stopping to save; press Ctrl-C again to end at once without saving")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, *_ends())}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP raise KeyboardInterrupt in the main thread, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ends()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ends() -> list[int]:
    """The signals that ask a process to end: a process that ignores a hangup keeps doing so."""
    hears = HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN
    return [signal.SIGTERM, *([HANGUP] if hears else [])]
