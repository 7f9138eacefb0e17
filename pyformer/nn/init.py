"""First values of parameters, drawn from the library's own random numbers (`pf.manual_seed`)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pyformer as pf

_local = threading.local()


@contextlib.contextmanager
def skip() -> Iterator[None]:
    """Inside, `normal` and `uniform` give zeros and draw nothing: the values come later."""
    before = skipped()
    _local.skip = True
    try:
        yield
    finally:
        _local.skip = before


def skipped() -> bool:
    """Whether this thread is inside `skip`."""
    return getattr(_local, "skip", False)


def zeros(*shape: int, dtype: Any = None) -> pf.Tensor:
    """A parameter of zeros, float32 unless `dtype` says otherwise."""
    return pf.zeros(shape, dtype=dtype, requires_grad=True)


def ones(*shape: int, dtype: Any = None) -> pf.Tensor:
    """A parameter of ones, float32 unless `dtype` says otherwise."""
    return pf.ones(shape, dtype=dtype, requires_grad=True)


def normal(*shape: int, std: float, dtype: Any = None) -> pf.Tensor:
    """A parameter drawn from a normal distribution of mean 0 and standard deviation `std`."""
    if skipped():
        return zeros(*shape, dtype=dtype)
    with pf.no_grad():
        return _leaf(pf.randn(*shape, dtype=dtype or pf.float32) * std)


def uniform(*shape: int, bound: float, dtype: Any = None) -> pf.Tensor:
    """A parameter drawn evenly from [-bound, bound)."""
    if skipped():
        return zeros(*shape, dtype=dtype)
    with pf.no_grad():
        return _leaf(pf.rand(*shape, dtype=dtype or pf.float32) * (2.0 * bound) - bound)


def _leaf(values: pf.Tensor) -> pf.Tensor:
    values.requires_grad = True
    return values
