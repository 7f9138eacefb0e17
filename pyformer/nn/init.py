"""First values of parameters, drawn from the library's own random numbers (`pf.manual_seed`).

Functions whose name ends in `_` write into a tensor of any shape and return it; no gradient is recorded. The fans of a
weight (out, in, ...) are in and out, each times the product of what follows.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyformer as pf
from pyformer import _core

# A range that holds less of a normal distribution would be drawn again and again.
LEAST_PROBABILITY = 0.01

_local = threading.local()


@contextlib.contextmanager
def skip() -> Iterator[None]:
    """Inside, this module draws nothing: new parameters are zeros, and given tensors stay as they are."""
    before = skipped()
    _local.skip = True
    try:
        yield
    finally:
        _local.skip = before


def skipped() -> bool:
    """Whether this thread is inside `skip`."""
    return getattr(_local, "skip", False)


@dataclass(frozen=True, eq=False)
class Outline:
    """What stands for a tensor inside `outlines`."""

    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)


@contextlib.contextmanager
def outlines() -> Iterator[None]:
    """Inside, modules are made with outlines for parameters: their names and shapes are known, no memory is taken."""
    before = getattr(_local, "outlines", False)
    _local.outlines = True
    try:
        with skip():
            yield
    finally:
        _local.outlines = before


def zeros(*shape: int, dtype: Any = None) -> pf.Tensor:
    """A parameter of zeros, float32 unless `dtype` says otherwise."""
    return _new(pf.zeros, shape, dtype)


def ones(*shape: int, dtype: Any = None) -> pf.Tensor:
    """A parameter of ones, float32 unless `dtype` says otherwise."""
    return _new(pf.ones, shape, dtype)


def buffer(*shape: int, value: float, dtype: Any = None) -> pf.Tensor:
    """What `Module.register_buffer` takes: `value` everywhere, float32 unless `dtype` says otherwise."""
    return _new(partial(pf.full, value=value), shape, dtype or pf.float32, requires_grad=False)


def _new(make: Callable[..., pf.Tensor], shape: tuple[int, ...], dtype: Any, requires_grad: bool = True) -> Any:
    if getattr(_local, "outlines", False):
        return Outline(shape)
    tensor = make(shape, dtype=dtype)
    tensor.requires_grad = requires_grad
    return tensor


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


def normal_(tensor: pf.Tensor, mean: float = 0.0, std: float = 1.0) -> pf.Tensor:
    """Normally distributed numbers; ValueError if `std` is negative."""
    _check_number("normal_", std=std, mean=mean)
    if std < 0.0:
        raise ValueError(f"normal_: std must be 0 or above, got {std}")
    return fill_(tensor, lambda _: _shifted(pf.randn(*tensor.shape, dtype=tensor.dtype) * std, mean))


def uniform_(tensor: pf.Tensor, low: float = 0.0, high: float = 1.0) -> pf.Tensor:
    """Numbers spread evenly over [low, high); ValueError if `low` is above `high`."""
    _check_number("uniform_", low=low, high=high)
    if low > high:
        raise ValueError(f"uniform_: low must be at most high, got {low} and {high}")
    return fill_(tensor, lambda _: _shifted(pf.rand(*tensor.shape, dtype=tensor.dtype) * (high - low), low))


def trunc_normal_(
    tensor: pf.Tensor, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0
) -> pf.Tensor:
    """Normally distributed numbers, drawn again until they are in [low, high].

    Raises:
        ValueError: `std` is not above 0, or the range holds less than a hundredth of the distribution.
    """
    _check_number("trunc_normal_", mean=mean, std=std, low=low, high=high)
    if std <= 0.0:
        raise ValueError(f"trunc_normal_: std must be above 0, got {std}")
    below, above = (math.erf((end - mean) / (std * math.sqrt(2.0))) for end in (low, high))
    if (above - below) / 2.0 < LEAST_PROBABILITY:
        raise ValueError(
            f"trunc_normal_: [{low}, {high}] must hold {LEAST_PROBABILITY:.0%} of the distribution or more"
        )

    def values(_: pf.Tensor) -> pf.Tensor:
        drawn = _shifted(pf.randn(*tensor.shape, dtype=tensor.dtype) * std, mean)
        while True:
            outside = pf.ops.cast(drawn < low, pf.int64) + pf.ops.cast(drawn > high, pf.int64)
            if not outside.size or not outside.max().item():
                return drawn
            again = _shifted(pf.randn(*tensor.shape, dtype=tensor.dtype) * std, mean)
            drawn = pf.ops.where(outside > 0, again, drawn)

    return fill_(tensor, values)


def xavier_uniform_(tensor: pf.Tensor, gain: float = 1.0) -> pf.Tensor:
    """uniform_ over +-gain sqrt(6 / (fan in + fan out)). Source: Glorot and Bengio 2010."""
    bound = gain * math.sqrt(6.0 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: pf.Tensor, gain: float = 1.0) -> pf.Tensor:
    """normal_ with std gain sqrt(2 / (fan in + fan out)). Source: Glorot and Bengio 2010."""
    return normal_(tensor, std=gain * math.sqrt(2.0 / sum(_fans("xavier_normal_", tensor))))


def kaiming_uniform_(tensor: pf.Tensor, gain: float = math.sqrt(2.0), fan: str = "in") -> pf.Tensor:
    """uniform_ over +-gain sqrt(3 / fan), `fan` "in" or "out"; the gain is ReLU's. Source: He et al. 2015."""
    bound = gain * math.sqrt(3.0 / _fan("kaiming_uniform_", tensor, fan))
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor: pf.Tensor, gain: float = math.sqrt(2.0), fan: str = "in") -> pf.Tensor:
    """normal_ with std gain / sqrt(fan), `fan` "in" or "out"; the gain is ReLU's. Source: He et al. 2015."""
    return normal_(tensor, std=gain / math.sqrt(_fan("kaiming_normal_", tensor, fan)))


def constant_(tensor: pf.Tensor, value: float) -> pf.Tensor:
    """`value` everywhere."""
    _check_number("constant_", value=value)
    return fill_(tensor, lambda _: pf.full(tuple(tensor.shape), value, dtype=tensor.dtype))


def zeros_(tensor: pf.Tensor) -> pf.Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: pf.Tensor) -> pf.Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def fill_(tensor: pf.Tensor, values: Callable[[pf.Tensor], pf.Tensor]) -> pf.Tensor:
    """What `values(tensor)` gives, a Tensor of the same shape and dtype; it is not called inside `skip`."""
    if not skipped():
        with pf.no_grad():
            _core.copy_([tensor], [values(tensor)])
    return tensor


def _shifted(values: pf.Tensor, by: float) -> pf.Tensor:
    return values + by if by else values


def _check_number(owner: str, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{owner}: {name} must be a number, got {type(value).__name__}")


def _fan(owner: str, tensor: pf.Tensor, fan: str) -> int:
    if fan not in ("in", "out"):
        raise ValueError(f"{owner}: fan must be 'in' or 'out', got {fan!r}")
    return _fans(owner, tensor)[fan == "out"]


def _fans(owner: str, tensor: pf.Tensor) -> tuple[int, int]:
    """(fan in, fan out) of a weight (out, in, ...)."""
    if tensor.ndim < 2:
        raise ValueError(f"{owner}: tensor must be (out, in, ...), got {tuple(tensor.shape)}")
    inner = math.prod(tensor.shape[2:])
    return tensor.shape[1] * inner, tensor.shape[0] * inner
