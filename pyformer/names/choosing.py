"""Choosing elements, and putting them in order."""

from __future__ import annotations

from typing import Any

from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import axis_at, torch_words
from pyformer.names.making import eye
from pyformer.names.shapes import flip, swapped_order


def gather(x: Tensor, index: Any, axis: Any = None, *, dim: Any = None) -> Tensor:
    """Picks elements along an axis by index: out[i][j] = x[i][index[i][j]] for axis 1 of two.

    Args:
        x: (...), any dtype.
        index: integer, with as many axes as x.
        axis: an int. torch's order, gather(x, axis, index), is understood as well.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: an index is out of range, or the axis is not there.
        TypeError: index is not of integers.

    Example:
        >>> x = pf.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> x.gather(1, pf.tensor([[1], [0]]))
        tensor([[2.],
                [3.]], dtype=float32)
    """
    axis = dim if axis is None else axis
    return ops.gather(x, axis, index) if isinstance(axis, Tensor) else ops.gather(x, index, axis)


@torch_words
def index_select(x: Tensor, axis: int, index: Tensor) -> Tensor:
    """The slices of x along an axis that a vector of integers names.

    Raises:
        IndexError: an index is out of range, or the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([[1, 2], [3, 4]]).index_select(1, pf.tensor([1]))
        tensor([[2],
                [4]], dtype=int64)
    """
    at = axis_at("index_select", axis, x.ndim)
    order = swapped_order(x, 0, at)
    return ops.transpose(ops.transpose(x, order)[index], order)


def masked_fill(x: Tensor, mask: Tensor, value: Any) -> Tensor:
    """x with `value` where `mask`, a bool tensor that broadcasts to x, is True.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: the mask is not of bools.

    Example:
        >>> x = pf.tensor([1.0, -2.0])
        >>> x.masked_fill(x < 0, 0)
        tensor([1., 0.], dtype=float32)
    """
    return ops.where(mask, value, x)


@torch_words
def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """x, but `min` where it is below and `max` where it is above; NaN stays NaN. NumPy calls it clip.

    The gradient at a bound is 1, as torch's.

    Raises:
        ValueError: neither bound is given.
        TypeError: a bound is of another float dtype.

    Example:
        >>> pf.tensor([-1.0, 0.5, 3.0]).clamp(0, 1)
        tensor([0. , 0.5, 1. ], dtype=float32)
    """
    if min is None and max is None:
        raise ValueError("clamp: expected min or max, got neither")
    x = x if min is None else ops.where(ops.less(x, min), min, x)
    return x if max is None else ops.where(ops.greater(x, max), max, x)


@torch_words
def sort(x: Tensor, axis: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """(values, indices) in order along an axis, as torch's; equal elements keep their order, NaN is the largest.

    The gradient of values goes to the elements they came from.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([3, 1, 2]).sort()
        (tensor([1, 2, 3], dtype=int64), tensor([1, 2, 0], dtype=int64))
    """
    indices = argsort(x, axis, descending)
    return ops.gather(x, indices, axis), indices


@torch_words
def argsort(x: Tensor, axis: int = -1, descending: bool = False) -> Tensor:
    """The indices that put x in order along an axis; equal elements keep their order, NaN is the largest.

    Returns:
        Tensor of int64, of x's shape, without a gradient.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([3, 1, 2]).argsort()
        tensor([1, 2, 0], dtype=int64)
    """
    at = axis_at("argsort", axis, x.ndim)
    x = x.detach()
    if x.dtype == DType.bool:
        x = x.to(DType.uint8)
    if descending:
        return ops.topk(x, x.shape[at], at)[1]
    # topk puts the largest first, and of equal ones the lower index: of x backwards, read backwards.
    last = x.shape[at] - 1
    return last - flip(ops.topk(flip(x, at), x.shape[at], at)[1], at)


def one_hot(ids: Tensor, classes: int) -> Tensor:
    """int64 (..., classes): 1 at each id, else 0.

    Raises:
        IndexError: an id is not in 0 ... classes - 1.
        TypeError: ids are not integers.

    Example:
        >>> pf.ops.one_hot(pf.tensor([1, 0]), 3)
        tensor([[0, 1, 0],
                [1, 0, 0]], dtype=int64)
    """
    return ops.embedding(ids, eye(classes, dtype=DType.int64, device=ids.device))


clip = clamp

__all__ = ["argsort", "clamp", "clip", "gather", "index_select", "masked_fill", "one_hot", "sort"]
