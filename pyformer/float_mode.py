"""Python's and NumPy's arithmetic in the default floating-point mode, as operations compute."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

from pyformer import _core

_Function = TypeVar("_Function", bound=Callable)


def in_default_float_mode(function: _Function) -> _Function:
    """`function`, which then rounds to nearest and keeps denormals also where the process has set another mode."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        before = _core.enter_default_float_mode()
        try:
            return function(*args, **kwargs)
        finally:
            _core.set_float_mode(before)

    return run  # type: ignore[return-value]
