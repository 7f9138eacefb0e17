"""Making tensors at random."""

from __future__ import annotations

import math
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.names.choosing import argsort
from pyformer.names.shapes import unsqueeze


def rand_like(x: Tensor) -> Tensor:
    """`rand` of x's shape, dtype and device.

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.rand_like(pf.zeros(2, 3)).shape
        (2, 3)
    """
    return _core.rand(*x.shape, dtype=x.dtype, device=x.device)


def randn_like(x: Tensor) -> Tensor:
    """`randn` of x's shape, dtype and device.

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.randn_like(pf.zeros(2, 3)).shape
        (2, 3)
    """
    return _core.randn(*x.shape, dtype=x.dtype, device=x.device)


def randint(low: int, high: int, shape: Any, *, device: Any = None) -> Tensor:
    """int64 drawn evenly from low ... high - 1.

    Raises:
        ValueError: there is no integer between, or more than 2**32 are.

    Example:
        >>> pf.randint(0, 10, (3,)).shape
        (3,)
    """
    if not 0 < high - low <= 2**32:
        raise ValueError(f"randint: expected 1 to 2**32 integers to draw from, got {low} to {high}")
    shape = shape if isinstance(shape, (tuple, list)) else (shape,)
    drawn = _core.rand(*shape, dtype=DType.float64, device=device) * float(high - low)
    return ops.minimum(drawn.to(DType.int64), high - low - 1) + low


def randperm(n: int, *, device: Any = None) -> Tensor:
    """0 ... n - 1 in random order, int64.

    Raises:
        ValueError: n is negative.

    Example:
        >>> pf.randperm(5).sort()[0]
        tensor([0, 1, 2, 3, 4], dtype=int64)
    """
    return argsort(_core.rand(n, dtype=DType.float64, device=device), 0)


def normal(mean: float, std: float, shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Numbers of a normal distribution: mean + std * `randn`.

    Raises:
        TypeError: the shape is not of integers.

    Example:
        >>> pf.normal(0.0, 2.0, (3,)).shape
        (3,)
    """
    shape = shape if isinstance(shape, (tuple, list)) else (shape,)
    return _core.randn(*shape, dtype=dtype, device=device) * std + mean


def bernoulli(p: Tensor) -> Tensor:
    """1 with probability p, else 0, element by element, of p's dtype.

    Raises:
        TypeError: p is not a float tensor.

    Example:
        >>> pf.bernoulli(pf.tensor([0.0, 1.0]))
        tensor([0., 1.], dtype=float32)
    """
    return ops.less(rand_like(p.detach()), p.detach()).to(p.dtype)


def multinomial(p: Tensor, count: int, replacement: bool = False) -> Tensor:
    """`count` indices for each row of weights, drawn in proportion to them.

    Args:
        p: (..., V), float, none negative.
        count: how many; at most V without replacement.
        replacement: whether an index may come again.

    Returns:
        Tensor of int64 (..., count).

    Raises:
        ValueError: count is too large.
        TypeError: p is not a float tensor.

    Example:
        >>> pf.multinomial(pf.tensor([0.0, 1.0]), 1)
        tensor([1], dtype=int64)
    """
    p = p.detach()
    if not replacement:
        # The largest log(u) / p is index i with probability p[i] / sum(p), and so on among those that are left.
        drawn = ops.log(1.0 - rand_like(p)) / p
        return ops.topk(ops.where(ops.greater(p, 0), drawn, -math.inf), count, -1)[1]
    ends = ops.cumsum(p, -1)
    drawn = _core.rand(*p.shape[:-1], count, dtype=p.dtype, device=p.device) * ends[..., -1:]
    passed = ops.less_equal(unsqueeze(ends, -2), unsqueeze(drawn, -1))
    return ops.minimum(ops.sum(passed, -1), p.shape[-1] - 1)


__all__ = ["bernoulli", "multinomial", "normal", "rand_like", "randint", "randn_like", "randperm"]
