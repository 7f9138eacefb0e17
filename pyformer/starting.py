"""Ctrl-C while the command line is being imported: one line instead of a traceback."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from types import FrameType

INTERRUPTED = 130

_listening = False


def is_command() -> bool:
    """Whether this process is `pyformer` or `python -m pyformer`, not a program that imports the library."""
    name = (getattr(sys, "argv", None) or [""])[0]
    if name == "-m":  # so it is while the package of `python -m` is imported
        pairs = itertools.pairwise(sys.orig_argv)
        return any(flag.startswith("-") and flag.endswith("m") and module == "pyformer" for flag, module in pairs)
    return os.path.basename(name) in ("pyformer", "pyformer.exe")


def listen() -> None:
    """Ends the process at Ctrl-C, with one line, until `hand_over`."""
    global _listening
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
        _listening = True


def hand_over() -> None:
    """Makes Ctrl-C a KeyboardInterrupt again, for a caller that answers it."""
    if _listening:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_of_work() -> None:
    """Ignores Ctrl-C from here on: all is done, and Python has only to end."""
    if _listening:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"pyformer: interrupted\n")
    finally:
        os._exit(INTERRUPTED)
