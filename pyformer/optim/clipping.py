"""Gradient clipping."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterable

import pyformer as pf
from pyformer import _core


def clip_grad_norm_(parameters: Iterable[pf.Tensor], max_norm: float) -> pf.Tensor:
    """Scales the gradients in place so that their joint 2-norm is at most `max_norm`.

    Returns the norm before, a float64 tensor without dimensions. A norm that is not finite changes nothing.
    """
    if not isinstance(max_norm, numbers.Real):
        raise TypeError(f"clip_grad_norm_: max_norm must be a number, got {type(max_norm).__name__}")
    if not max_norm > 0.0:
        raise ValueError(f"clip_grad_norm_: max_norm must be above 0, got {max_norm}")
    if not isinstance(parameters, Iterable):
        raise TypeError(f"clip_grad_norm_: expected a list of Tensors, got {type(parameters).__name__}")
    parameters = [parameters] if isinstance(parameters, pf.Tensor) else list(parameters)
    for p in parameters:
        if not isinstance(p, pf.Tensor):
            raise TypeError(f"clip_grad_norm_: expected Tensors, got {type(p).__name__}")
    return _core.clip_gradients_(parameters, float(min(max_norm, sys.float_info.max)))  # an int may be larger
