"""Reductions over axes."""

from __future__ import annotations

import math
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.names.arguments import Axis, axes_at, axis_at, is_float, number, part, rounded, torch_words, wide, zero_of
from pyformer.names.arithmetic import isclose, isfinite
from pyformer.names.making import ones_like
from pyformer.names.shapes import squeeze


@torch_words
def all(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all elements over one or more axes are other than 0: a bool tensor.

    Raises:
        IndexError: an axis is not there.
        ValueError: an axis is given twice.

    Example:
        >>> pf.tensor([[True, False], [True, True]]).all(axis=1)
        tensor([False,  True], dtype=bool)
    """
    return ops.equal(ops.sum(ops.equal(x, zero_of(x)), axis, keepdims), 0)


@torch_words
def any(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether any element over one or more axes is other than 0: a bool tensor.

    Raises:
        IndexError: an axis is not there.
        ValueError: an axis is given twice.

    Example:
        >>> pf.tensor([[True, False], [False, False]]).any(axis=1)
        tensor([ True, False], dtype=bool)
    """
    return ops.not_equal(ops.sum(ops.not_equal(x, zero_of(x)), axis, keepdims), 0)


@torch_words
def var(x: Tensor, axis: Axis = None, keepdims: bool = False, correction: float = 1) -> Tensor:
    """The mean squared distance from the mean, with n - correction in the place of n: torch's default, not NumPy's.

    Computed in float64 and rounded once, whatever the rows' size and their distance from 0; 0 of equal elements.

    Raises:
        IndexError: an axis is not there.
        ValueError: an axis is given twice.
        TypeError: correction is a tensor that requires a gradient.

    Example:
        >>> pf.tensor([1.0, 3.0]).var(), pf.tensor([1.0, 3.0]).var(correction=0)
        (tensor(2., dtype=float32), tensor(1., dtype=float32))
    """
    mean_square, unit = _spread("var", x, axis, correction)
    return _reduced(mean_square * unit * unit, x, axis, keepdims)


@torch_words
def std(x: Tensor, axis: Axis = None, keepdims: bool = False, correction: float = 1) -> Tensor:
    """The square root of `var`; the gradient is 0 where that is 0.

    Raises:
        IndexError: an axis is not there.
        ValueError: an axis is given twice.
        TypeError: correction is a tensor that requires a gradient.

    Example:
        >>> pf.tensor([1.0, 3.0, 5.0]).std()
        tensor(2., dtype=float32)
    """
    mean_square, unit = _spread("std", x, axis, correction)
    return _reduced(_root(mean_square) * unit, x, axis, keepdims)


@in_default_float_mode
def _spread(op: str, x: Tensor, axis: Axis, correction: Any) -> tuple[Tensor, Tensor]:
    """The variance of x in units, and the unit."""
    axes = axes_at(op, axis, x.ndim)
    count = math.prod(x.shape[a] for a in axes)
    x, unit = _in_units(wide(x), axis)
    # Distances from the first element are exact where rows are far from 0, and 0 of equal elements.
    first = x.detach()[tuple(slice(0, 1) if i in axes else slice(None) for i in range(x.ndim))]
    x = x - first
    squares = ops.square(x - ops.mean(x.detach(), axis, True))
    return ops.sum(squares, axis, True) / max(count - number(op, "correction", correction), 0.0), unit


def _in_units(x: Tensor, axis: Axis) -> tuple[Tensor, Tensor]:
    """x, float64, in units of a power of two in which the squares of a row neither overflow nor all vanish."""
    largest = ops.max(ops.abs(x.detach()), axis, True) if x.size else ops.sum(x.detach(), axis, True)
    unit = ops.where(ops.greater(largest, 2.0**500), 2.0**600, ones_like(largest))
    unit = ops.where(ops.less(largest, 2.0**-400), 2.0**-600, unit)
    return x / unit, unit


def _root(x: Tensor) -> Tensor:
    """The square root, whose gradient at 0 is 0."""
    is_zero = ops.equal(x.detach(), 0)
    return ops.where(is_zero, 0.0, ops.sqrt(ops.where(is_zero, 1.0, x)))


def _reduced(wide_result: Tensor, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """The result in x's dtype; without the axes of extent 1 that were reduced, unless they shall stay."""
    return rounded(wide_result if keepdims else squeeze(wide_result, axis), x)


@torch_words
def prod(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The product along an axis, or of all elements; 1 of none. Integers and bools multiply as int64.

    Floats are multiplied in float64 and rounded once.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([[1, 2], [3, 4]]).prod(axis=0)
        tensor([3, 8], dtype=int64)
    """
    shape, source = x.shape, x
    x = wide(x) if is_float(x.dtype) else x.to(DType.int64)
    at = 0 if axis is None else axis_at("prod", axis, x.ndim)
    x = x.reshape(-1) if axis is None else x
    if x.shape[at] == 0:
        x = _core.ones(*x.shape[:at], 1, *x.shape[at + 1 :], dtype=x.dtype, device=x.device)
    while x.shape[at] > 1:
        half = x.shape[at] // 2
        rest = part(x, at, 2 * half, None)
        x = part(x, at, None, half) * part(x, at, half, 2 * half)
        x = ops.concat([x, rest], at) if rest.shape[at] else x
    reduced = [1 if axis is None or i == at else n for i, n in enumerate(shape)]
    kept = [] if axis is None else [n for i, n in enumerate(shape) if i != at]
    return ops.reshape(rounded(x, source) if is_float(x.dtype) else x, reduced if keepdims else kept)


@torch_words
@in_default_float_mode
def norm(x: Tensor, p: float | str = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The p-norm (sum |x|^p)^(1/p) over one or more axes; the largest |x| for p = inf; p = "fro" is 2.

    Computed in float64 and rounded once. The gradient of an element that is 0 is 0.

    Raises:
        IndexError: an axis is not there.
        ValueError: p is not above 0, or a text other than "fro".
        TypeError: p is a tensor that requires a gradient.

    Example:
        >>> pf.tensor([3.0, -4.0]).norm(), pf.tensor([3.0, -4.0]).norm(1)
        (tensor(5., dtype=float32), tensor(7., dtype=float32))
    """
    if isinstance(p, str) and p != "fro":
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
    p = 2.0 if p == "fro" else number("norm", "p", p)
    if not p > 0:
        raise ValueError(f"norm: p must be above 0, got {p}")
    if p == math.inf:
        return rounded(ops.max(ops.abs(x), axis, keepdims), x)
    if p == 2:
        scaled, unit = _in_units(wide(x), axis)
        return _reduced(_root(ops.sum(ops.square(scaled), axis, True)) * unit, x, axis, keepdims)
    size = ops.abs(wide(x))
    if p == 1:
        return _reduced(ops.sum(size, axis, True), x, axis, keepdims)
    largest = ops.max(size.detach(), axis, True) if size.size else ops.sum(size.detach(), axis, True)
    is_unit = ops.logical_or(ops.equal(largest, 0), ops.equal(largest, math.inf))
    unit = ops.where(is_unit, 1.0, largest)
    is_there = ops.not_equal(size.detach(), 0)
    powers = ops.where(is_there, ops.power(ops.where(is_there, size / unit, 1.0), p), 0.0)
    total = ops.sum(powers, axis, True)
    is_zero = ops.equal(total.detach(), 0)
    root = ops.where(is_zero, 0.0, ops.power(ops.where(is_zero, 1.0, total), 1.0 / p))
    return _reduced(root * unit, x, axis, keepdims)


@torch_words
def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over one or more axes, without overflow, computed in float64; -inf where all are -inf.

    Raises:
        IndexError: an axis is not there.
        ValueError: a reduced axis has no elements.

    Example:
        >>> pf.tensor([1000.0, 1000.0]).logsumexp(0)
        tensor(1000.6932, dtype=float32)
    """
    whole = wide(x)
    top = ops.max(whole.detach(), axis, True)
    top = ops.where(isfinite(top), top, 0.0)
    total = ops.sum(ops.exp(whole - top), axis, True)
    is_zero = ops.equal(total.detach(), 0)
    result = ops.where(is_zero, -math.inf, ops.log(ops.where(is_zero, 1.0, total)) + top)
    return _reduced(result, x, axis, keepdims)


def allclose(a: Tensor, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether a and b are close everywhere, as `isclose` has it.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: the dtypes differ.

    Example:
        >>> pf.ones(2).allclose(pf.ones(2) + 1e-7)
        True
    """
    return bool(all(isclose(a, b, rtol, atol)).item())


amax, amin = ops.max, ops.min

__all__ = ["all", "allclose", "amax", "amin", "any", "logsumexp", "norm", "prod", "std", "var"]
