"""erf, log1p and expm1, right to the last digits also near 0: computed in float64 and rounded once."""

from __future__ import annotations

import math

from pyformer._core import Tensor, ops
from pyformer.autograd import Context, Function
from pyformer.float_mode import in_default_float_mode
from pyformer.names.arguments import check_tensors, narrowed, wide, widened
from pyformer.names.arithmetic import isfinite
from pyformer.names.choosing import clamp

# Written down, as what Python computes depends on the rounding that the process has set.
_ROOT_OF_2, _TWO_BY_ROOT_OF_PI = 1.4142135623730951, 1.1283791670955126
# Of erf(x) sqrt(pi) / 2 = x - x^3 / 3 + x^5 / 10 - ..., enough for float64 where |x| < 1/2: 1 divided by these.
_ERF_DIVISORS = [(-1) ** k * math.factorial(k) * (2 * k + 1) for k in range(13)]


class Smooth(Function):
    """A function of one variable by `_value` and `_slope`, both of and in float64."""

    @classmethod
    @in_default_float_mode
    def of(cls, x: Tensor) -> Tensor:
        check_tensors(cls.__name__[1:].lower(), x)
        return narrowed(cls.apply(widened(x)), x)

    @classmethod
    def forward(cls, ctx: Context, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return cls._value(wide(x)).to(x.dtype)

    @classmethod
    def backward(cls, ctx: Context, dout: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        dout = wide(dout)
        # No gradient stays none where the slope is infinite or NaN, as in the operations of the core.
        return ops.where(ops.equal(dout, 0.0), 0.0, dout * cls._slope(wide(x))).to(x.dtype)

    @staticmethod
    def _value(x: Tensor) -> Tensor:
        raise NotImplementedError

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        raise NotImplementedError


class _Log1p(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        # 1 + x is rounded to u, which loses x - (u - 1); log(u + lost) is log(u) + lost / u to the last digit.
        u = x + 1.0
        there = ops.logical_and(isfinite(u), ops.not_equal(u, 0.0))
        lost = ops.where(there, (x - (u - 1.0)) / ops.where(there, u, 1.0), 0.0)
        return ops.where(ops.equal(u, 1.0), x, ops.log(u) + lost)

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return 1.0 / (x + 1.0)


class _Expm1(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        # exp(x) is rounded to u = exp(log(u)), which loses u * (x - log(u)); far from 0 that is below the last digit.
        u = ops.exp(x)
        near = ops.less(ops.abs(x), 1.0)
        lost = ops.where(near, u * (x - ops.log(ops.where(near, u, 1.0))), 0.0)
        return ops.where(ops.equal(u, 1.0), x, (u - 1.0) + lost)

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return ops.exp(x)


class _Erf(Smooth):
    @staticmethod
    def _value(x: Tensor) -> Tensor:
        near = ops.less(ops.abs(x), 0.5)
        small = ops.where(near, x, 0.0)
        square, series = small * small, 0.0
        for divisor in reversed(_ERF_DIVISORS):
            series = square * series + 1.0 / divisor
        # gelu(z) = z (1 + erf(z / sqrt(2))) / 2; beyond 6 erf is 1.
        z = ops.where(near, 1.0, clamp(ops.abs(x), max=6.0)) * _ROOT_OF_2
        far = ops.gelu(z) / z * 2.0 - 1.0
        return ops.where(near, small * series * _TWO_BY_ROOT_OF_PI, ops.where(ops.less(x, 0.0), -far, far))

    @staticmethod
    def _slope(x: Tensor) -> Tensor:
        return ops.exp(-(x * x)) * _TWO_BY_ROOT_OF_PI


log1p_of, expm1_of = _Log1p._value, _Expm1._value


def log1p(x: Tensor) -> Tensor:
    """log(1 + x), without the digits that 1 + x loses where x is near 0.

    Raises:
        TypeError: x is no Tensor.

    Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 1.14.1, on what 1 + x loses.

    Example:
        >>> pf.tensor([1e-10, 1.0]).log1p()
        tensor([1.000000e-10, 6.931472e-01], dtype=float32)
    """
    return _Log1p.of(x)


def expm1(x: Tensor) -> Tensor:
    """exp(x) - 1, without the digits that the difference loses where x is near 0.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1e-10, 1.0]).expm1()
        tensor([1.0000000e-10, 1.7182819e+00], dtype=float32)
    """
    return _Expm1.of(x)


def erf(x: Tensor) -> Tensor:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([0.0, 0.5, -9.0]).erf()
        tensor([ 0.       ,  0.5204999, -1.       ], dtype=float32)
    """
    return _Erf.of(x)


__all__ = ["erf", "expm1", "log1p"]
