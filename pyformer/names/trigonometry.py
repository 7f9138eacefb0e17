"""Inverse trigonometry, hyperbolic functions and the gamma function, computed in float64 and rounded once."""

from __future__ import annotations

import math
from typing import Any

from pyformer._core import Tensor, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.names.arguments import check_tensors, rounded, wide
from pyformer.names.arithmetic import floor
from pyformer.names.making import zeros_like
from pyformer.names.special import Smooth, expm1_of, log1p_of

# Written down, as what Python computes depends on the rounding that the process has set.
_PI, _HALF_PI, _LOG_2, _LOG_PI, _LOG_ROOT_2PI = (
    3.141592653589793,
    1.5707963267948966,
    0.6931471805599453,
    1.1447298858494002,
    0.9189385332046727,
)
# Stirling's series of log(gamma) and of its slope, in 1 / x^2.
_STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360]
_STIRLING_SLOPE = [1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760]
_SHIFT = 8  # beyond it the series is right to the last digits of float64


def _series(coefficients: list[float], x: Tensor) -> Tensor:
    total: Any = 0.0
    for coefficient in reversed(coefficients):
        total = x * total + coefficient
    return total


def _odd(x: Tensor, of_magnitude: Tensor) -> Tensor:
    return ops.where(ops.equal(x, 0.0), x, ops.where(ops.less(x, 0.0), -of_magnitude, of_magnitude))


def _atan_of(x: Tensor) -> Tensor:
    magnitude = ops.abs(x)
    is_steep = ops.greater(magnitude, 1.0)
    t = ops.where(is_steep, 1.0 / ops.where(is_steep, magnitude, 1.0), magnitude)
    angle = t / (t * t * 0.28 + 1.0)  # right to 0.005
    for _ in range(2):  # tan(atan(t) - angle) is what is left; each step takes the error to its fifth power
        sine, cosine = ops.sin(angle), ops.cos(angle)
        left = (t * cosine - sine) / (cosine + t * sine)
        angle = angle + (left - left * left * left / 3.0)
    return _odd(x, ops.where(is_steep, _HALF_PI - angle, angle))


class _Atan(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        return _atan_of(x)

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return 1.0 / (x * x + 1.0)


class _Asin(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        return _atan_of(x / ops.sqrt((1.0 - x) * (1.0 + x)))

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return 1.0 / ops.sqrt((1.0 - x) * (1.0 + x))


class _Acos(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        return _atan_of(ops.sqrt((1.0 - x) / (1.0 + x))) * 2.0

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return -1.0 / ops.sqrt((1.0 - x) * (1.0 + x))


def _cosh_of(x: Tensor) -> Tensor:
    root = ops.exp(ops.abs(x) * 0.5)  # its square may overflow where the result does
    return root * (root * 0.5) + 0.5 / root / root


def _sinh_of(x: Tensor) -> Tensor:
    magnitude = ops.abs(x)
    is_near = ops.less(magnitude, 1.0)
    less_one = expm1_of(ops.where(is_near, magnitude, 0.0))
    root = ops.exp(magnitude * 0.5)
    far = root * (root * 0.5) - 0.5 / root / root
    return _odd(x, ops.where(is_near, (less_one + less_one / (less_one + 1.0)) * 0.5, far))


class _Sinh(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        return _sinh_of(x)

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return _cosh_of(x)


class _Cosh(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        return _cosh_of(x)

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return _sinh_of(x)


class _Asinh(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        magnitude = ops.abs(x)
        is_far = ops.greater(magnitude, 1e8)  # there a square could overflow, and 1 beside it is nothing
        near = ops.where(is_far, 0.0, magnitude)
        square = near * near
        result = log1p_of(near + square / (ops.sqrt(square + 1.0) + 1.0))
        return _odd(x, ops.where(is_far, ops.log(magnitude) + _LOG_2, result))

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return 1.0 / ops.sqrt(x * x + 1.0)


class _Acosh(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        is_far = ops.greater(x, 1e8)
        above = ops.where(is_far, 1.0, x) - 1.0
        return ops.where(is_far, ops.log(x) + _LOG_2, log1p_of(above + ops.sqrt(above) * ops.sqrt(above + 2.0)))

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return 1.0 / (ops.sqrt(x - 1.0) * ops.sqrt(x + 1.0))


class _Atanh(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        magnitude = ops.abs(x)
        return _odd(x, log1p_of(magnitude * 2.0 / (1.0 - magnitude)) * 0.5)

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return 1.0 / ((1.0 - x) * (1.0 + x))


def _reflected(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Whether x is below 1/2; what is not: x or 1 - x; and the angle pi x, less half turns."""
    is_low = ops.less(x, 0.5)
    return is_low, ops.where(is_low, 1.0 - x, x), (x - floor(x + 0.5)) * _PI


class _Lgamma(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        is_low, z, angle = _reflected(x)
        is_near = ops.less(z, 20.0)
        product: Any = 1.0
        for step in range(_SHIFT):
            product = (ops.where(is_near, z, 1.0) + float(step)) * product
        w = ops.where(is_near, z + float(_SHIFT), z)
        far = (w - 0.5) * ops.log(w) - w + (_series(_STIRLING, 1.0 / (w * w)) / w + _LOG_ROOT_2PI)
        above = ops.where(is_near, far - ops.log(product), far)
        sine = ops.abs(ops.sin(ops.where(is_low, angle, 1.0)))
        is_endless = ops.logical_or(ops.equal(sine, 0.0), ops.equal(ops.abs(x), math.inf))
        return ops.where(is_endless, math.inf, ops.where(is_low, _LOG_PI - ops.log(sine) - above, above))

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        is_low, z, angle = _reflected(x)
        is_near = ops.less(z, 20.0)
        shifted: Any = 0.0
        for step in range(_SHIFT):
            shifted = 1.0 / (ops.where(is_near, z, 1.0) + float(step)) + shifted
        w = ops.where(is_near, z + float(_SHIFT), z)
        square = 1.0 / (w * w)
        far = ops.log(w) - 0.5 / w - _series(_STIRLING_SLOPE, square) * square
        above = ops.where(is_near, far - shifted, far)
        safe = ops.where(is_low, angle, 1.0)
        return ops.where(is_low, above - ops.cos(safe) / ops.sin(safe) * _PI, above)


def atan(x: Tensor) -> Tensor:
    """The angle whose tangent x is, from -pi/2 to pi/2. NumPy calls it arctan.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([0.0, 1.0]).atan()
        tensor([0.       , 0.7853982], dtype=float32)
    """
    return _Atan.of(x)


def asin(x: Tensor) -> Tensor:
    """The angle whose sine x is, from -pi/2 to pi/2; NaN beyond -1 and 1. NumPy calls it arcsin.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([0.0, 1.0]).asin()
        tensor([0.       , 1.5707964], dtype=float32)
    """
    return _Asin.of(x)


def acos(x: Tensor) -> Tensor:
    """The angle whose cosine x is, from 0 to pi; NaN beyond -1 and 1. NumPy calls it arccos.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, 0.0]).acos()
        tensor([0.       , 1.5707964], dtype=float32)
    """
    return _Acos.of(x)


@in_default_float_mode
def atan2(y: Tensor, x: Tensor) -> Tensor:
    """The angle of the point (x, y), from -pi to pi; a zero counts as a little above or below 0, by its sign. NumPy
    calls it arctan2.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: one of them is no Tensor.

    Example:
        >>> pf.atan2(pf.tensor([1.0, -1.0]), pf.tensor([0.0, -1.0]))
        tensor([ 1.5707964, -2.3561945], dtype=float32)
    """
    check_tensors("atan2", y, x)
    up, right = wide(y), wide(x)
    is_corner = ops.logical_and(ops.equal(ops.abs(up), math.inf), ops.equal(ops.abs(right), math.inf))
    is_low, is_left = _is_signed(up), _is_signed(right)
    up = ops.where(is_corner, ops.where(is_low, -1.0, zeros_like(up) + 1.0), up)
    right = ops.where(is_corner, ops.where(is_left, -1.0, zeros_like(right) + 1.0), right)
    is_steep = ops.greater(ops.abs(up), ops.abs(right))
    flat = atan(up / ops.where(ops.logical_or(is_steep, ops.equal(right, 0.0)), 1.0, right))
    steep = atan(right / ops.where(is_steep, up, 1.0))
    behind = flat + ops.where(is_low, -_PI, zeros_like(up) + _PI)
    quarter = ops.where(is_low, -_HALF_PI, zeros_like(right) + _HALF_PI)
    return rounded(ops.where(is_steep, quarter - steep, ops.where(is_left, behind, flat)), y, x)


def _is_signed(x: Tensor) -> Tensor:
    """Whether it is negative, as -0 is, too."""
    x = x.detach()
    return ops.logical_or(ops.less(x, 0.0), ops.less(1.0 / x, 0.0))


def sinh(x: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / 2.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([0.0, 1.0]).sinh()
        tensor([0.       , 1.1752012], dtype=float32)
    """
    return _Sinh.of(x)


def cosh(x: Tensor) -> Tensor:
    """(exp(x) + exp(-x)) / 2.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([0.0, 1.0]).cosh()
        tensor([1.       , 1.5430807], dtype=float32)
    """
    return _Cosh.of(x)


def asinh(x: Tensor) -> Tensor:
    """The number whose sinh x is. NumPy calls it arcsinh.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([0.0, 1.0]).asinh()
        tensor([0.       , 0.8813736], dtype=float32)
    """
    return _Asinh.of(x)


def acosh(x: Tensor) -> Tensor:
    """The number, 0 or above, whose cosh x is; NaN below 1. NumPy calls it arccosh.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, 2.0]).acosh()
        tensor([0.      , 1.316958], dtype=float32)
    """
    return _Acosh.of(x)


def atanh(x: Tensor) -> Tensor:
    """The number whose tanh x is; NaN beyond -1 and 1. NumPy calls it arctanh.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([0.0, 0.5]).atanh()
        tensor([0.        , 0.54930615], dtype=float32)
    """
    return _Atanh.of(x)


def lgamma(x: Tensor) -> Tensor:
    """log(|gamma(x)|), of whole numbers the logarithm of (x - 1)!; infinite at 0, -1, -2, ...

    Raises:
        TypeError: x is no Tensor.

    Source: Abramowitz, Stegun 1964, "Handbook of Mathematical Functions", 6.1.17 and 6.1.41.

    Example:
        >>> pf.tensor([4.0, 0.5]).lgamma()
        tensor([1.7917595, 0.5723649], dtype=float32)
    """
    return _Lgamma.of(x)


arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh = acos, acosh, asin, asinh, atan, atan2, atanh

__all__ = [
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cosh",
    "lgamma",
    "sinh",
]
