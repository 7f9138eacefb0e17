"""Reductions over axes."""

from __future__ import annotations

import math
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import Axis, axes_at, axis_at, is_float, part, torch_words, zero_of
from pyformer.names.arithmetic import isfinite
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

    Raises:
        IndexError: an axis is not there.
        ValueError: an axis is given twice.

    Example:
        >>> pf.tensor([1.0, 3.0]).var(), pf.tensor([1.0, 3.0]).var(correction=0)
        (tensor(2., dtype=float32), tensor(1., dtype=float32))
    """
    x = x if is_float(x.dtype) else x.to(DType.float32)
    count = math.prod(x.shape[a] for a in axes_at("var", axis, x.ndim))
    squares = ops.square(x - ops.mean(x, axis, True))
    return ops.sum(squares, axis, keepdims) / max(float(count - correction), 0.0)


@torch_words
def std(x: Tensor, axis: Axis = None, keepdims: bool = False, correction: float = 1) -> Tensor:
    """The square root of `var`.

    Raises:
        IndexError: an axis is not there.
        ValueError: an axis is given twice.

    Example:
        >>> pf.tensor([1.0, 3.0, 5.0]).std()
        tensor(2., dtype=float32)
    """
    return ops.sqrt(var(x, axis, keepdims, correction))


@torch_words
def prod(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The product along an axis, or of all elements; 1 of none. Integers and bools multiply as int64.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([[1, 2], [3, 4]]).prod(axis=0)
        tensor([3, 8], dtype=int64)
    """
    shape = x.shape
    x = x if is_float(x.dtype) else x.to(DType.int64)
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
    return ops.reshape(x, reduced if keepdims else kept)


@torch_words
def norm(x: Tensor, p: float = 2, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The p-norm (sum |x|^p)^(1/p) over one or more axes; the largest |x| for p = inf.

    Raises:
        IndexError: an axis is not there.
        ValueError: p is not above 0.
        TypeError: x is not a float tensor.

    Example:
        >>> pf.tensor([3.0, -4.0]).norm(), pf.tensor([3.0, -4.0]).norm(1)
        (tensor(5., dtype=float32), tensor(7., dtype=float32))
    """
    if not p > 0:
        raise ValueError(f"norm: p must be above 0, got {p}")
    if p == 2:
        return ops.sqrt(ops.sum(ops.square(x), axis, keepdims))
    size = ops.abs(x)
    if p == math.inf:
        return ops.max(size, axis, keepdims)
    total = ops.sum(size if p == 1 else ops.power(size, float(p)), axis, keepdims)
    return total if p == 1 else ops.power(total, 1.0 / p)


@torch_words
def logsumexp(x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over one or more axes, without overflow.

    Raises:
        IndexError: an axis is not there.
        ValueError: a reduced axis has no elements.
        TypeError: x is not a float tensor.

    Example:
        >>> pf.tensor([1000.0, 1000.0]).logsumexp(0)
        tensor(1000.6932, dtype=float32)
    """
    top = ops.max(x.detach(), axis, True)
    top = ops.where(isfinite(top), top, 0.0)
    total = ops.log(ops.sum(ops.exp(x - top), axis, True)) + top
    return total if keepdims else squeeze(total, axis)


def allclose(a: Tensor, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
    """Whether |a - b| <= atol + rtol * |b| everywhere.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: the dtypes differ.

    Example:
        >>> pf.ones(2).allclose(pf.ones(2) + 1e-7)
        True
    """
    a = a.detach()
    b = b.detach() if isinstance(b, Tensor) else b * ones_like(a)
    near = ops.less_equal(ops.abs(a - b), ops.abs(b) * rtol + atol)
    return bool(all(ops.logical_or(near, ops.equal(a, b))).item())


amax, amin = ops.max, ops.min

__all__ = ["all", "allclose", "amax", "amin", "any", "logsumexp", "norm", "prod", "std", "var"]
