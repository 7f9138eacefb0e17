"""The dtypes in which modules compute and keep what they need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyformer as pf
from pyformer import _core

if TYPE_CHECKING:
    from pyformer.nn.module import Module


def is_float(dtype: Any) -> bool:
    """True for float32, float64, bfloat16 and float16."""
    return any(dtype == d for d in (pf.float32, pf.float64, pf.bfloat16, pf.float16))


def gradient_dtype(parameter: pf.Tensor) -> pf.DType:
    """Of a parameter's gradient and of what optimisers keep: float32 for 16-bit parameters, else the parameter's."""
    return pf.float64 if parameter.dtype == pf.float64 else pf.float32


def activation_dtype(weights: Any) -> pf.DType:
    """Of what a module computes from float weights of this dtype: theirs, but float32 for bfloat16 (`pf.autocast`)."""
    return pf.float32 if weights.dtype == pf.bfloat16 else weights.dtype


def cache_dtype(weights: Any) -> pf.DType:
    """Of the keys and values that a model with float weights of this dtype keeps: as attention reads them."""
    return activation_dtype(weights) if _core.precision() == pf.float32 else weights.dtype


def own_precision(method: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a method of a Module compute in the precision that calling the module computes in."""

    @functools.wraps(method)
    def wrapped(self: Module, *args: Any, **kwargs: Any) -> Any:
        if not self.enters_autocast():
            return method(self, *args, **kwargs)
        with pf.autocast("bfloat16"):
            return method(self, *args, **kwargs)

    return wrapped
