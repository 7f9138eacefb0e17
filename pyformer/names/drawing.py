"""Making tensors at random."""

from __future__ import annotations

import math
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import torch_words
from pyformer.names.choosing import argsort
from pyformer.names.shapes import unsqueeze
from pyformer.random import Generator, drawing_from


def rand(
    *shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Numbers drawn evenly from [0, 1).

    Args:
        shape: extents, or one sequence of them.
        dtype: a float dtype, float32 by default.
        device: "cpu" by default; the numbers are the same on every device.
        requires_grad: whether gradients are wanted.
        generator: what to draw from, in place of the process's numbers; so for all that draw.

    Raises:
        ValueError: an extent is negative.
        TypeError: the dtype is not a float one.

    Example:
        >>> x = pf.rand(2, 3)
        >>> x.shape, ((x >= 0) & (x < 1)).all().item()
        ((2, 3), True)
    """
    with drawing_from(generator):
        return _core.rand(*shape, dtype=dtype, device=device, requires_grad=requires_grad)


def randn(
    *shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, generator: Generator | None = None
) -> Tensor:
    """Numbers of the standard normal distribution; arguments as in `rand`.

    Raises:
        ValueError: an extent is negative.
        TypeError: the dtype is not a float one.

    Example:
        >>> pf.manual_seed(0)
        >>> pf.randn(2, 3).shape
        (2, 3)
    """
    with drawing_from(generator):
        return _core.randn(*shape, dtype=dtype, device=device, requires_grad=requires_grad)


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


def randint(
    low: int, high: Any, shape: Any = None, *, device: Any = None, generator: Generator | None = None
) -> Tensor:
    """int64 drawn evenly from low ... high - 1; randint(high, shape) begins at 0.

    Raises:
        ValueError: there is no integer between, or more than 2**32 are.

    Example:
        >>> pf.randint(5, 10, (3,)).shape, pf.randint(10, (3,)).shape
        ((3,), (3,))
    """
    if shape is None:
        low, high, shape = 0, low, high
    if not 0 < high - low <= 2**32:
        raise ValueError(f"randint: expected 1 to 2**32 integers to draw from, got {low} to {high}")
    shape = shape if isinstance(shape, (tuple, list)) else (shape,)
    drawn = rand(*shape, dtype=DType.float64, device=device, generator=generator) * float(high - low)
    return ops.minimum(drawn.to(DType.int64), high - low - 1) + low


def randperm(n: int, *, device: Any = None, generator: Generator | None = None) -> Tensor:
    """0 ... n - 1 in random order, int64.

    Raises:
        ValueError: n is negative.

    Example:
        >>> pf.randperm(5).sort()[0]
        tensor([0, 1, 2, 3, 4], dtype=int64)
    """
    if n < 0:
        raise ValueError(f"randperm: n must not be negative, got {n}")
    return argsort(rand(n, dtype=DType.float64, device=device, generator=generator), 0)


def normal(
    mean: float, std: float, shape: Any, *, dtype: Any = None, device: Any = None, generator: Generator | None = None
) -> Tensor:
    """Numbers of a normal distribution: mean + std * `randn`.

    Raises:
        TypeError: the shape is not of integers.

    Example:
        >>> pf.normal(0.0, 2.0, (3,)).shape
        (3,)
    """
    shape = shape if isinstance(shape, (tuple, list)) else (shape,)
    return randn(*shape, dtype=dtype, device=device, generator=generator) * std + mean


def _drawable(p: Tensor) -> Tensor:
    """p without its gradient, wide enough to compare with: running sums of 16 bits would leave out small chances."""
    return p.detach().to(DType.float32) if p.dtype in (DType.bfloat16, DType.float16) else p.detach()


def bernoulli(p: Tensor, generator: Generator | None = None) -> Tensor:
    """1 with probability p, else 0, element by element, of p's dtype.

    Raises:
        TypeError: p is not a float tensor.
        ValueError: an element is not in [0, 1].

    Example:
        >>> pf.bernoulli(pf.tensor([0.0, 1.0]))
        tensor([0., 1.], dtype=float32)
    """
    chances = _drawable(p)
    if not (ops.greater_equal(chances, 0) & ops.less_equal(chances, 1)).all().item():
        raise ValueError("bernoulli: p must be in [0, 1]")
    drawn = rand(*p.shape, dtype=chances.dtype, device=p.device, generator=generator)
    return ops.less(drawn, chances).to(p.dtype)


@torch_words
def multinomial(p: Tensor, count: int, replacement: bool = False, *, generator: Generator | None = None) -> Tensor:
    """`count` indices for each row of weights, drawn in proportion to them.

    Args:
        p: (..., V), float and finite, none negative, a sum above 0.
        count: how many; without replacement at most as many as are above 0.
        replacement: whether an index may come again.
        generator: what to draw from, in place of the process's numbers.

    Returns:
        Tensor of int64 (..., count).

    Raises:
        ValueError: count is too large, or weights are negative, not finite or all 0.
        TypeError: p is not a float tensor.

    Example:
        >>> pf.multinomial(pf.tensor([0.0, 1.0]), 1)
        tensor([1], dtype=int64)
    """
    p = _drawable(p)
    if not (ops.greater_equal(p, 0) & ops.less(p, math.inf)).all().item():
        raise ValueError("multinomial: weights must be finite and 0 or above")
    there = ops.sum(ops.greater(p, 0), -1)
    fewest = there.min().item() if there.size else count
    if fewest < (1 if replacement else count) and count:
        raise ValueError(f"multinomial: expected {1 if replacement else count} weights above 0 a row, got {fewest}")
    if p.size and p.max().item() > 2.0**60:
        p = p * 2.0**-64  # the sum of them could overflow
    if not replacement:
        # The least -log(u) / p is that of index i with probability p[i] / sum(p), and so on among those that are left.
        # Compared are logarithms: with small weights the quotients would be infinite, as those of weights of 0 are.
        waits = -ops.log(1.0 - rand(*p.shape, dtype=p.dtype, device=p.device, generator=generator))
        drawn = ops.log(p) - ops.log(waits)
        return ops.topk(ops.where(ops.greater(p, 0), drawn, -math.inf), count, -1)[1]
    ends = ops.cumsum(p, -1)
    drawn = rand(*p.shape[:-1], count, dtype=p.dtype, device=p.device, generator=generator) * ends[..., -1:]
    passed = ops.less_equal(unsqueeze(ends, -2), unsqueeze(drawn, -1))
    return ops.minimum(ops.sum(passed, -1), p.shape[-1] - 1)


__all__ = ["bernoulli", "multinomial", "normal", "rand", "rand_like", "randint", "randn", "randn_like", "randperm"]
