"""Arithmetic and comparisons, element by element."""

from __future__ import annotations

import math
from typing import Any

from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import is_float


def floor(x: Tensor) -> Tensor:
    """The largest whole number that is not above x; no gradient passes.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([-1.5, 1.5]).floor()
        tensor([-2.,  1.], dtype=float32)
    """
    cut = trunc(x)
    return cut if not is_float(x.dtype) else ops.where(ops.greater(cut, x.detach()), cut - 1, cut)


def ceil(x: Tensor) -> Tensor:
    """The least whole number that is not below x; no gradient passes.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([-1.5, 1.5]).ceil()
        tensor([-1.,  2.], dtype=float32)
    """
    cut = trunc(x)
    return cut if not is_float(x.dtype) else ops.where(ops.less(cut, x.detach()), cut + 1, cut)


def trunc(x: Tensor) -> Tensor:
    """x without its fraction, toward 0; no gradient passes.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([-1.5, 1.5]).trunc()
        tensor([-1.,  1.], dtype=float32)
    """
    if x.dtype == DType.bool:
        raise TypeError("trunc: expected numbers, got bool")
    x = x.detach()
    if not is_float(x.dtype):
        return x
    is_whole = ops.greater_equal(ops.abs(x), float(2**53))  # floats as large as these have no fraction
    kept = ops.logical_or(is_whole, ops.not_equal(x, x))
    return ops.where(kept, x, x.to(DType.int64).to(x.dtype))


def round(x: Tensor) -> Tensor:
    """The nearest whole number, halves to the even one; no gradient passes.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([0.5, 1.5, -1.7]).round()
        tensor([ 0.,  2., -2.], dtype=float32)
    """
    below = floor(x)
    if not is_float(x.dtype):
        return below
    rest = x.detach() - below
    is_odd = ops.not_equal(floor(below * 0.5) * 2.0, below)
    up = ops.logical_or(ops.greater(rest, 0.5), ops.logical_and(ops.equal(rest, 0.5), is_odd))
    return ops.where(up, below + 1, below)


def floor_divide(a: Any, b: Any) -> Tensor:
    """a / b rounded down, element by element; no gradient passes.

    Raises:
        ValueError: integers are divided by 0, or the shapes do not broadcast.
        TypeError: the dtypes do not meet.

    Example:
        >>> pf.tensor([7, -7]) // 2, pf.tensor([7.5]) // 2
        (tensor([ 3, -4], dtype=int64), tensor([3.], dtype=float32))
    """
    is_quotient_of_floats = any(isinstance(v, float) or (isinstance(v, Tensor) and is_float(v.dtype)) for v in (a, b))
    return floor(ops.divide(a, b)) if is_quotient_of_floats else ops.floor_divide(a, b)


def remainder(a: Any, b: Any) -> Tensor:
    """a - b * floor(a / b), element by element: a % b, which has b's sign.

    Raises:
        ValueError: integers are divided by 0, or the shapes do not broadcast.
        TypeError: the dtypes do not meet.

    Example:
        >>> pf.tensor([7, -7]) % 3
        tensor([1, 2], dtype=int64)
    """
    return ops.subtract(a, ops.multiply(floor_divide(a, b), b))


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1 as x is below, at or above 0; NaN gives 0; no gradient passes.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([-2.0, 0.0, 5.0]).sign()
        tensor([-1.,  0.,  1.], dtype=float32)
    """
    if x.dtype == DType.bool:
        raise TypeError("sign: expected numbers, got bool")
    return ops.greater(x, 0).to(x.dtype) - ops.less(x, 0).to(x.dtype)


def rsqrt(x: Tensor) -> Tensor:
    """1 / sqrt(x).

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.tensor([4.0]).rsqrt()
        tensor([0.5], dtype=float32)
    """
    return 1.0 / ops.sqrt(x)


def reciprocal(x: Tensor) -> Tensor:
    """1 / x.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([4.0]).reciprocal()
        tensor([0.25], dtype=float32)
    """
    return 1 / x


def tan(x: Tensor) -> Tensor:
    """sin(x) / cos(x).

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.ops.tan(pf.tensor([0.0]))
        tensor([0.], dtype=float32)
    """
    return ops.sin(x) / ops.cos(x)


def isnan(x: Tensor) -> Tensor:
    """Where x is NaN: a bool tensor.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, float("nan")]).isnan()
        tensor([False,  True], dtype=bool)
    """
    return ops.not_equal(x, x)


def isinf(x: Tensor) -> Tensor:
    """Where x is infinite: a bool tensor.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, float("-inf")]).isinf()
        tensor([False,  True], dtype=bool)
    """
    return ops.equal(ops.abs(x), math.inf) if is_float(x.dtype) else ops.not_equal(x, x)


def isfinite(x: Tensor) -> Tensor:
    """Where x is neither infinite nor NaN: a bool tensor.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, float("nan")]).isfinite()
        tensor([ True, False], dtype=bool)
    """
    return ops.less(ops.abs(x), math.inf) if is_float(x.dtype) else ops.equal(x, x)


absolute = ops.abs
div = true_divide = ops.divide
mul = ops.multiply
sub = ops.subtract
neg = negative = ops.negate
pow = ops.power
mod = remainder
eq, ne, lt, le, gt, ge = (
    ops.equal,
    ops.not_equal,
    ops.less,
    ops.less_equal,
    ops.greater,
    ops.greater_equal,
)

__all__ = [
    "absolute",
    "ceil",
    "div",
    "eq",
    "floor",
    "floor_divide",
    "ge",
    "gt",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "lt",
    "mod",
    "mul",
    "ne",
    "neg",
    "negative",
    "pow",
    "reciprocal",
    "remainder",
    "round",
    "rsqrt",
    "sign",
    "sub",
    "tan",
    "true_divide",
    "trunc",
]
