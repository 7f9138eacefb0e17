"""Gradient clipping."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterable

import pyformer as pf
from pyformer import _core
from pyformer.identity import distinct


def clip_grad_norm_(parameters: Iterable[pf.Tensor], max_norm: float) -> pf.Tensor:
    """Scales the gradients in place so that their joint 2-norm is at most max_norm.

    Args:
        parameters: the parameters; those without a gradient are passed over, and one that is listed twice is one.
        max_norm: a number above 0.

    Returns:
        The norm before, a float64 tensor without dimensions; it is right also where the squares of gradients overflow
        their dtype or vanish in it. A norm that is not finite changes nothing.

    Raises:
        ValueError: max_norm is not above 0.
        TypeError: max_norm is no number, or something is no Tensor.

    Source: Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.

    Example:
        >>> w = pf.tensor([3.0, 4.0], requires_grad=True)
        >>> (w.square().sum() * 0.5).backward()
        >>> pf.optim.clip_grad_norm_([w], 1.0).item()
        5.0
        >>> w.grad
        tensor([0.5999999 , 0.79999983], dtype=float32)
    """
    _check_limit("clip_grad_norm_", "max_norm", max_norm)
    parameters = _parameters("clip_grad_norm_", parameters)
    largest = int(sys.float_info.max)  # an int may be larger
    return _core.clip_gradients_(parameters, float(min(max_norm, largest) if isinstance(max_norm, int) else max_norm))


def clip_grad_value_(parameters: Iterable[pf.Tensor], clip_value: float) -> None:
    """Brings every element of the gradients into -clip_value .. clip_value, in place. NaN stays NaN.

    Args:
        parameters: the parameters; those without a gradient are passed over.
        clip_value: a number above 0.

    Raises:
        ValueError: clip_value is not above 0.
        TypeError: clip_value is no number, or something is no Tensor.

    Example:
        >>> w = pf.tensor([3.0, -0.5], requires_grad=True)
        >>> w.square().sum().backward()
        >>> pf.optim.clip_grad_value_([w], 2.0)
        >>> w.grad
        tensor([ 2., -1.], dtype=float32)
    """
    _check_limit("clip_grad_value_", "clip_value", clip_value)
    for p in _parameters("clip_grad_value_", parameters):
        if p.grad is not None:
            _core.copy_(p.grad, pf.clamp(p.grad, -clip_value, clip_value))


def _check_limit(op: str, name: str, value: float) -> None:
    if not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}")
    if not value > 0.0:
        raise ValueError(f"{op}: {name} must be above 0, got {value}")


def _parameters(op: str, parameters: Iterable[pf.Tensor]) -> list[pf.Tensor]:
    if not isinstance(parameters, Iterable):
        raise TypeError(f"{op}: expected a list of Tensors, got {type(parameters).__name__}")
    parameters = distinct([parameters] if isinstance(parameters, pf.Tensor) else parameters)
    for p in parameters:
        if not isinstance(p, pf.Tensor):
            raise TypeError(f"{op}: expected Tensors, got {type(p).__name__}")
    return parameters
