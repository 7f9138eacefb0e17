"""Ctrl-C while the command line is being imported: one line instead of a traceback.

Only what Python has loaded by itself is imported here: `signal` and `threading` take milliseconds, in which Ctrl-C
would still be a traceback. What remains is Python's own start, and the script that `pip` writes, before the package.
"""

import _signal
import os
import sys

INTERRUPTED = 130

_listening = False


def is_command() -> bool:
    """Whether this process is `pyformer` or `python -m pyformer`, not a program that imports the library."""
    name = (getattr(sys, "argv", None) or [""])[0]
    if name == "-m":  # so it is while the package of `python -m` is imported
        pairs = zip(sys.orig_argv, sys.orig_argv[1:], strict=False)
        return any(flag.startswith("-") and flag.endswith("m") and module == "pyformer" for flag, module in pairs)
    return os.path.basename(name) in ("pyformer", "pyformer.exe")


def listen() -> None:
    """Ends the process at Ctrl-C, with one line, until `hand_over`."""
    global _listening
    if _signal.getsignal(_signal.SIGINT) is not _signal.default_int_handler:
        return
    try:
        _signal.signal(_signal.SIGINT, _end)
    except ValueError:  # not the main thread
        return
    _listening = True


def hand_over() -> None:
    """Makes Ctrl-C a KeyboardInterrupt again, for a caller that answers it."""
    if _listening:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def end_of_work() -> None:
    """Ignores Ctrl-C from here on: all is done, and Python has only to end."""
    if _listening:
        _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


def _end(number: int, frame: object) -> None:
    try:
        os.write(2, b"pyformer: interrupted\n")
    finally:
        os._exit(INTERRUPTED)
