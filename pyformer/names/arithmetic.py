"""Arithmetic and comparisons, element by element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import check_tensors, is_float, narrowed, wide, widened


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
    """x without its fraction, toward 0, with x's sign also where that is 0; no gradient passes.

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
    return _signed_as(x, ops.where(kept, x, x.to(DType.int64).to(x.dtype)))


def _signed_as(x: Tensor, whole: Tensor) -> Tensor:
    """whole, with -0 for 0 where x is below 0 or -0."""
    return ops.where(ops.equal(whole, 0), (x * 0).to(whole.dtype), whole)


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
    return _signed_as(x.detach(), ops.where(up, below + 1, below))


def floor_divide(a: Any, b: Any) -> Tensor:
    """a / b rounded down, element by element; no gradient passes. Of floats, the exact quotient is what is rounded.

    Raises:
        ValueError: integers are divided by 0, or the shapes do not broadcast.
        TypeError: the dtypes do not meet.

    Example:
        >>> pf.tensor([7, -7]) // 2, pf.tensor([7.5]) // 2
        (tensor([ 3, -4], dtype=int64), tensor([3.], dtype=float32))
    """
    is_quotient_of_floats = any(isinstance(v, float) or (isinstance(v, Tensor) and is_float(v.dtype)) for v in (a, b))
    return _floor_quotient(a, b) if is_quotient_of_floats else ops.floor_divide(a, b)


def _floor_quotient(a: Any, b: Any) -> Tensor:
    """floor(a / b) of floats; the quotient of float64, too, is rounded only once, downwards."""
    about = ops.divide(a, b)
    a, b = (_wide_as(v, about).detach() for v in (a, b))
    down = floor(a / b)
    product = b * down
    b_high, down_high = _high_half(b), _high_half(down)
    b_low, down_low = b - b_high, down - down_high
    error = ((b_high * down_high - product) + b_high * down_low + b_low * down_high) + b_low * down_low
    rest = (a - product) - error  # exact: a / b was rounded up to a whole number where it is of the other sign than b
    down = ops.where(ops.less(ops.minimum(rest, 1.0) * sign(b), 0), down - 1.0, down)
    down = ops.where(isinf(a), math.nan, down)  # as in NumPy: no rest of it is below b
    return ops.where(_is_below_infinity(a, b), -1.0, down).to(about.dtype)


def _wide_as(value: Any, like: Tensor) -> Tensor:
    """value, rounded to like's dtype, as float64."""
    value = value if isinstance(value, Tensor) else _core.tensor(value, device=like.device)
    return wide(value.to(like.dtype))


def _high_half(x: Tensor) -> Tensor:
    """The upper 26 bits of float64 (Dekker 1971): products of halves are exact."""
    large = x * 134217729.0
    return large - (large - x)


def _is_below_infinity(a: Tensor, b: Tensor) -> Tensor:
    """Where a is finite and b infinite, of the other sign: a / b is -0, and rounded down -1."""
    return ops.logical_and(ops.logical_and(isfinite(a), isinf(b)), ops.less(sign(a) * sign(b), 0))


def remainder(a: Any, b: Any) -> Tensor:
    """a - b * floor(a / b), element by element: a % b, which has b's sign, also where it is 0.

    Raises:
        ValueError: integers are divided by 0, or the shapes do not broadcast.
        TypeError: the dtypes do not meet.

    Example:
        >>> pf.tensor([7, -7]) % 3
        tensor([1, 2], dtype=int64)
    """
    down = floor_divide(a, b)
    if not is_float(down.dtype):
        return ops.subtract(a, ops.multiply(down, b))
    a, b = (_wide_as(v, down) for v in (a, b))
    taken = ops.where(ops.equal(down, 0), 0.0, wide(down) * b)  # 0 times infinity is no NaN here
    side = ops.greater_equal(b, 0).to(DType.float64) * 2.0 - 1.0
    return (((a - taken) * side + 0.0) * side).to(down.dtype)


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
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([4.0]).rsqrt()
        tensor([0.5], dtype=float32)
    """
    return 1.0 / ops.sqrt(x)


def log2(x: Tensor) -> Tensor:
    """The logarithm to the base 2, log(x) / log(2).

    Raises:
        TypeError: x is not float.

    Example:
        >>> pf.log2(pf.tensor([8.0]))
        tensor([3.], dtype=float32)
    """
    return _in_base("log2", x, 2.0)


def _in_base(op: str, x: Tensor, base: float) -> Tensor:
    if not is_float(x.dtype):
        raise TypeError(f"{op}: expected floats, got {x.dtype.name}")
    result = ops.log(wide(x)) / math.log(base)
    result = _whole_of_powers(result, x.detach(), base) if x.dtype == DType.float64 else result
    return narrowed(result.to(widened(x).dtype), x)


def _whole_of_powers(result: Tensor, x: Tensor, base: float) -> Tensor:
    """The logarithms, whole where x is a power of the base: log(1000) / log(10) is a little below 3."""
    whole = round(result)
    is_power = ops.logical_and(isfinite(whole), ops.equal(ops.power(base, whole), x))
    return result + ops.where(is_power, whole - result.detach(), 0.0)


def log10(x: Tensor) -> Tensor:
    """The logarithm to the base 10, log(x) / log(10).

    Raises:
        TypeError: x is not float.

    Example:
        >>> pf.log10(pf.tensor([100.0]))
        tensor([2.], dtype=float32)
    """
    return _in_base("log10", x, 10.0)


def lerp(a: Tensor, b: Tensor, weight: Any) -> Tensor:
    """a + weight (b - a): a itself at weight 0, b itself at weight 1.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: the dtypes differ.

    Example:
        >>> pf.lerp(pf.zeros(1), pf.ones(1), 0.25)
        tensor([0.25], dtype=float32)
    """
    # From the nearer end, as torch: from a, rounding would miss b at weight 1.
    weight = _core.tensor(weight, device=a.device) if isinstance(weight, np.ndarray) else weight
    if isinstance(weight, Tensor):
        is_near_a = ops.less(ops.abs(weight.detach()), 0.5)
        return ops.where(is_near_a, a, b) + (b - a) * ops.where(is_near_a, weight, weight - 1)
    return a + (b - a) * weight if abs(weight) < 0.5 else b + (b - a) * (weight - 1)


def addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """x + value * a * b, element by element.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: the dtypes differ.

    Example:
        >>> pf.addcmul(pf.ones(1), pf.tensor([2.0]), pf.tensor([3.0]), value=0.5)
        tensor([4.], dtype=float32)
    """
    return x + a * b * value


def addcdiv(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """x + value * a / b, element by element.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: the dtypes differ.

    Example:
        >>> pf.addcdiv(pf.ones(1), pf.tensor([6.0]), pf.tensor([3.0]), value=0.5)
        tensor([2.], dtype=float32)
    """
    return x + a / b * value


def isclose(a: Tensor, b: Any, rtol: float = 1e-5, atol: float = 1e-8) -> Tensor:
    """Where a and b are equal, or differ by at most atol + rtol |b|; bool. NaN is close to nothing, an infinity to
    itself. Integers and bools are compared as float64.

    Raises:
        ValueError: the shapes do not broadcast.

    Example:
        >>> pf.isclose(pf.tensor([1.0, 2.0]), pf.tensor([1.0, 2.1]))
        tensor([ True, False], dtype=bool)
    """
    a, b = a.detach(), b.detach() if isinstance(b, Tensor) else b
    if not is_float(a.dtype) and not (isinstance(b, Tensor) and is_float(b.dtype)):
        a, b = wide(a), wide(b) if isinstance(b, Tensor) else b
    difference = ops.abs(a - b)
    allowed = ops.abs(b) * rtol + atol if isinstance(b, Tensor) else atol + rtol * abs(b)
    is_near = ops.logical_and(isfinite(difference), ops.less_equal(difference, allowed))
    return ops.logical_or(ops.equal(a, b), is_near)


def logical_xor(a: Tensor, b: Tensor) -> Tensor:
    """Where exactly one of two is True, or, of numbers, other than 0. The operator ^ is the same of bools alone.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: one is no Tensor.

    Example:
        >>> pf.tensor([True, True]) ^ pf.tensor([True, False])
        tensor([False,  True], dtype=bool)
    """
    return ops.logical_or(ops.logical_and(a, ops.logical_not(b)), ops.logical_and(ops.logical_not(a), b))


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
        TypeError: x is no Tensor.

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
    check_tensors("isinf", x)
    return ops.equal(ops.abs(x), math.inf) if is_float(x.dtype) else ops.not_equal(x, x)


def isfinite(x: Tensor) -> Tensor:
    """Where x is neither infinite nor NaN: a bool tensor.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, float("nan")]).isfinite()
        tensor([ True, False], dtype=bool)
    """
    check_tensors("isfinite", x)
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
    "addcdiv",
    "addcmul",
    "ceil",
    "div",
    "eq",
    "floor",
    "floor_divide",
    "ge",
    "gt",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "lerp",
    "log2",
    "log10",
    "logical_xor",
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
