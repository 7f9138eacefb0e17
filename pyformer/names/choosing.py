"""Choosing elements, and putting them in order."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.autograd import Context, Function
from pyformer.limits import finfo
from pyformer.names.arguments import axis_at, check_devices, is_float, torch_words, wide, widened
from pyformer.names.shapes import clone, expand, flip, squeeze, swapped_order, unsqueeze


class Ordered(NamedTuple):
    """What `sort` and `topk` give."""

    values: Tensor
    indices: Tensor


def gather(x: Tensor, index: Any, axis: Any = None, *, dim: Any = None) -> Tensor:
    """Picks elements along an axis by index: out[i][j] = x[i][index[i][j]] for axis 1 of two.

    Args:
        x: (...), any dtype.
        index: integer, with as many axes as x.
        axis: an int. torch's order, gather(x, axis, index), is understood as well.
        dim: torch's name of axis.

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


class _Added(Function):
    """x plus what src adds at the places that `gather` would read."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, index: Tensor, src: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(index)
        ctx.axis = axis
        # What is added up at a place is gather's gradient there.
        start = _core.zeros(*x.shape, dtype=x.dtype, device=x.device, requires_grad=True)
        before = _core.set_grad_enabled(True)
        try:
            read = ops.gather(start, index, axis)
            (sums,) = _core.gradients([read], [src], [start], False)
        finally:
            _core.set_grad_enabled(before)
        return x + sums

    @staticmethod
    def backward(ctx: Context, dout: Tensor) -> tuple[Tensor | None, ...]:
        (index,) = ctx.saved_tensors
        return dout, None, ops.gather(dout, index, ctx.axis), None


@torch_words
def scatter_add(x: Tensor, axis: int, index: Tensor, src: Tensor) -> Tensor:
    """x with src added at the places that an index names: out[i][index[i][j]] += src[i][j] for axis 1 of two.

    Numbers that meet at a place are added one after another in float64, and the sum is rounded once. So integers are
    exact up to 2**53.

    Args:
        x: (...), of numbers.
        axis: an int.
        index: integer, with as many axes as x; no extent is above src's, nor, but for the axis, x's.
        src: of x's dtype, with as many axes.

    Returns:
        Tensor of x's shape and dtype.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: an index is out of range, or the axis is not there.
        TypeError: index is not of integers, or the dtypes differ.

    Example:
        >>> pf.zeros(3).scatter_add(0, pf.tensor([2, 0, 2]), pf.tensor([1.0, 2.0, 5.0]))
        tensor([2., 0., 6.], dtype=float32)
    """
    axis = axis_at("scatter_add", axis, x.ndim)
    if x.dtype == DType.bool:
        raise TypeError("scatter_add: expected numbers, got bool")
    if is_float(x.dtype) and _core.precision() is not None:
        x, src = widened(x), widened(src)
    src = _fitting("scatter_add", x, index, src)
    return _Added.apply(wide(x), index, wide(src), axis).to(x.dtype)


def _fitting(op: str, x: Tensor, index: Tensor, src: Tensor) -> Tensor:
    """The part of src that index has a place for; the shapes and dtypes are checked."""
    if src.dtype != x.dtype:
        raise TypeError(f"{op}: src must be {x.dtype.name} as x is, got {src.dtype.name}")
    if src.ndim != x.ndim or index.ndim != x.ndim:
        raise ValueError(f"{op}: expected index and src of {x.ndim} axes, got {index.shape} and {src.shape}")
    if any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
        raise ValueError(f"{op}: index {index.shape} is larger than src {src.shape}")
    return src if index.shape == src.shape else src[tuple(slice(n) for n in index.shape)]


@torch_words
def scatter(x: Tensor, axis: int, index: Tensor, src: Any) -> Tensor:
    """x with src written at the places that an index names: out[i][index[i][j]] = src[i][j] for axis 1 of two.

    Where an index comes twice, the last element of src counts, and it alone gets a gradient.

    Args:
        x: (...), any dtype.
        axis: an int.
        index: integer, with as many axes as x; no extent is above src's, nor, but for the axis, x's.
        src: a Tensor of x's dtype with as many axes, or a number.

    Returns:
        Tensor of x's shape and dtype.

    Raises:
        ValueError: the shapes do not fit.
        IndexError: an index is out of range, or the axis is not there.
        TypeError: index is not of integers, or the dtypes differ.

    Example:
        >>> pf.zeros(3).scatter(0, pf.tensor([2, 0]), pf.tensor([1.0, 2.0]))
        tensor([2., 0., 1.], dtype=float32)
        >>> pf.zeros(2, 3).scatter(1, pf.tensor([[2], [0]]), 1)
        tensor([[0., 0., 1.],
                [1., 0., 0.]], dtype=float32)
    """
    axis = axis_at("scatter", axis, x.ndim)
    src = _fitting("scatter", x, index, src) if isinstance(src, Tensor) else src
    # Which element of src stands at each place of x in the end; -1 where none does.
    numbers = _core.arange(x.size, device=x.device).reshape(x.shape)
    places = ops.gather(numbers, index, axis).reshape(-1)
    writer = _core.full((x.size,), -1, dtype=DType.int64, device=x.device)
    writer[places] = _core.arange(places.size, device=x.device)
    writer = writer.reshape(x.shape)
    is_written = ops.greater_equal(writer, 0)
    if isinstance(src, Tensor) and src.size:
        src = src.reshape(-1)[ops.maximum(writer, 0).reshape(-1)].reshape(x.shape)
    return ops.where(is_written, src, x) if places.size else clone(x)


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


def masked_select(x: Tensor, mask: Tensor) -> Tensor:
    """The elements of x where a mask is True, in a vector; x and the mask broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: the mask is not of bools, or on another device.

    Example:
        >>> x = pf.tensor([1.0, -2.0, 3.0])
        >>> x.masked_select(x > 0)
        tensor([1., 3.], dtype=float32)
    """
    if mask.dtype != DType.bool:
        raise TypeError(f"masked_select: expected a mask of bools, got {mask.dtype.name}")
    check_devices("masked_select", {"x": x, "mask": mask})
    try:
        shape = np.broadcast_shapes(x.shape, mask.shape, (1,))
    except ValueError:
        raise ValueError(f"masked_select: a mask of {mask.shape} does not broadcast with {x.shape}") from None
    x, mask = (y if y.shape == shape else expand(y, *shape) for y in (x, mask))
    return x[mask]


def where(cond: Tensor, a: Any = None, b: Any = None) -> Any:
    """a where cond is True, else b; the three broadcast. What was not chosen gets the gradient 0.

    Functions of single elements (exp, log, sqrt, division, powers, activations and the like) pass a gradient of 0 on as
    0, also where their slope is infinite or NaN: a branch may be computed where it is not chosen. An operation that
    mixes elements (matmul, softmax, a norm) multiplies that 0 with all it mixes; give it numbers that are safe, as in
    `where(ok, f(where(ok, x, 1.0)), 0.0)`.

    Args:
        cond: (...), bool.
        a, b: (...), of one dtype; or one of them a number, which takes the other's dtype; or both numbers, floats for
            float32, integers for int64. Without both: `nonzero(cond, as_tuple=True)`.

    Returns:
        Tensor of the broadcast shape and the dtype of a and b.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: cond is not bool, the dtypes of a and b differ, or one of them is missing.

    Example:
        >>> x = pf.tensor([-1.0, 2.0, -3.0])
        >>> pf.where(x > 0, x, 0.0), pf.where(x > 0, 1, 0), pf.where(x > 0)
        (tensor([0., 2., 0.], dtype=float32), tensor([0, 1, 0], dtype=int64), (tensor([1], dtype=int64),))
        >>> x.requires_grad = True
        >>> pf.where(x > 0, pf.ops.sqrt(x), 0.0).sum().backward()
        >>> x.grad
        tensor([0.        , 0.35355338, 0.        ], dtype=float32)
    """
    if a is None and b is None:
        return nonzero(cond, as_tuple=True)
    if a is None or b is None:
        raise TypeError("where: expected a and b, or neither")
    if isinstance(cond, Tensor) and all(isinstance(v, (bool, int, float)) for v in (a, b)):
        are_floats = any(isinstance(v, float) for v in (a, b))
        a = _core.tensor(float(a) if are_floats else a, device=cond.device)
    return ops.where(cond, a, b)


def nonzero(x: Tensor, as_tuple: bool = False) -> Any:
    """Where x is not 0: a row of indices an element, int64 (count, axes); a vector for each axis where as_tuple, which
    reads a tensor without axes as one of one element.

    Raises:
        AttributeError: x is no Tensor.

    Example:
        >>> pf.tensor([0, 3, 0, 5]).nonzero()
        tensor([[1],
                [3]], dtype=int64)
    """
    if x.ndim == 0 and not as_tuple:
        return _core.zeros(int(x.item() != 0), 0, dtype=DType.int64, device=x.device)
    found = np.nonzero(np.atleast_1d(np.asarray((x.detach() != 0).to("cpu"))))
    columns = tuple(_core.tensor(column.astype(np.int64), device=x.device) for column in found)
    if as_tuple:
        return columns
    return ops.stack(list(columns), 1)


@torch_words
def count_nonzero(x: Tensor, axis: Any = None) -> Tensor:
    """How many elements are not 0, of all or along axes; int64.

    Raises:
        IndexError: an axis is not there.

    Example:
        >>> pf.tensor([[0, 3], [1, 5]]).count_nonzero(0)
        tensor([1, 2], dtype=int64)
    """
    return ops.sum(ops.not_equal(x, False if x.dtype == DType.bool else 0), axis).to(DType.int64)


def unique(x: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The different elements in rising order; with them, if asked, which of them each element is, and their counts.

    Each NaN is an element of its own. `sorted`, torch's second argument, is taken without effect.

    Raises:
        AttributeError: x is no Tensor.

    Example:
        >>> pf.tensor([2, 1, 2]).unique(return_counts=True)
        (tensor([1, 2], dtype=int64), tensor([1, 2], dtype=int64))
    """
    wanted = {"return_index": True, "return_inverse": True, "return_counts": True}
    values, first, inverse, counts = np.unique(_readable(x), equal_nan=False, **wanted)
    result = [x.detach().reshape(-1)[_core.tensor(first, device=x.device)].reshape(len(values))]
    if return_inverse:
        result.append(_core.tensor(inverse.reshape(x.shape).astype(np.int64), device=x.device))
    if return_counts:
        result.append(_core.tensor(counts.astype(np.int64), device=x.device))
    return result[0] if len(result) == 1 else tuple(result)


def bincount(x: Tensor, minlength: int = 0) -> Tensor:
    """How often each number from 0 on comes in a vector of integers; int64.

    Raises:
        ValueError: x is no vector of integers from 0 on.

    Example:
        >>> pf.bincount(pf.tensor([0, 2, 2]))
        tensor([1, 0, 2], dtype=int64)
    """
    if x.ndim != 1 or is_float(x.dtype) or (x.size and ops.min(x).item() < 0):
        raise ValueError(f"bincount: expected a vector of integers from 0 on, got {x.dtype.name} {x.shape}")
    return _core.tensor(np.bincount(_readable(x), minlength=minlength).astype(np.int64), device=x.device)


def _readable(x: Tensor) -> np.ndarray:
    """x's values for NumPy, which has no bfloat16."""
    x = x.detach().to("cpu")
    return np.asarray(x.to(DType.float32) if x.dtype == DType.bfloat16 else x)


def nan_to_num(x: Tensor, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with numbers for NaN and the infinities, which become the largest and the least finite one if none is given.

    Raises:
        TypeError: x is not float, or a number does not go with it.

    Example:
        >>> pf.nan_to_num(pf.tensor([float("nan"), 1.0]))
        tensor([0., 1.], dtype=float32)
    """
    largest = finfo(x.dtype).max
    x = ops.where(ops.not_equal(x, x), float(nan), x)
    x = ops.where(ops.equal(x, math.inf), largest if posinf is None else float(posinf), x)
    return ops.where(ops.equal(x, -math.inf), -largest if neginf is None else float(neginf), x)


@torch_words
def median(x: Tensor, axis: int | None = None) -> Tensor:
    """The element in the middle when sorted, of all or along an axis; of an even count the lower one, as torch's.

    NaN where there is one.

    Raises:
        IndexError: the axis is not there.
        ValueError: there are no elements.

    Example:
        >>> pf.tensor([3.0, 1.0, 2.0, 9.0]).median()
        tensor(2., dtype=float32)
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    at = axis_at("median", axis, x.ndim)
    if not x.size:
        raise ValueError(f"median: expected elements, got {x.shape}")
    values, middle = sort(x, at).values, (x.shape[at] - 1) // 2
    if not is_float(x.dtype):
        return values[(*[slice(None)] * at, middle)]
    numbers = ops.sum(ops.equal(x, x), at, True).to(DType.int64)  # the first NaN stands after as many
    place = ops.where(ops.equal(numbers, x.shape[at]), middle, numbers)
    return squeeze(ops.gather(values, place, at), at)


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
def sort(x: Tensor, axis: int = -1, descending: bool = False) -> Ordered:
    """(values, indices) in order along an axis, as torch's; equal elements keep their order, NaN is the largest.

    The gradient of values goes to the elements they came from.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([3, 1, 2]).sort()
        Ordered(values=tensor([1, 2, 3], dtype=int64), indices=tensor([1, 2, 0], dtype=int64))
    """
    indices = argsort(x, axis, descending)
    return Ordered(ops.gather(x, indices, axis), indices)


@torch_words
def topk(x: Tensor, k: int, axis: int = -1) -> Ordered:
    """(values, indices) of the k largest elements along an axis, in falling order; the first of equal ones.

    The gradient of values goes to the elements they came from.

    Raises:
        ValueError: k is not in 1 ... the extent.
        IndexError: the axis is not there.

    Example:
        >>> pf.tensor([3, 1, 2]).topk(2).indices
        tensor([0, 2], dtype=int64)
    """
    return Ordered(*ops.topk(x, k, axis))


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


@torch_words
def one_hot(ids: Tensor, classes: int = -1) -> Tensor:
    """int64 (..., classes): 1 at each id, else 0; -1 for as many classes as the largest id asks for.

    Raises:
        IndexError: an id is not in 0 ... classes - 1.
        TypeError: ids are not integers.

    Example:
        >>> pf.ops.one_hot(pf.tensor([1, 0]), 3)
        tensor([[0, 1, 0],
                [1, 0, 0]], dtype=int64)
    """
    if classes == -1:
        classes = int(ops.max(ids).item()) + 1
    # A table of zeros: only whether the ids are in range is looked at. One of all rows would be classes x classes.
    checked = ops.embedding(ids, _core.zeros(classes, 1, dtype=DType.int64, device=ids.device))
    places = _core.arange(classes, device=ids.device)
    return ops.equal(unsqueeze(ids, -1).to(DType.int64), places).to(DType.int64) + checked


clip = clamp

__all__ = [
    "argsort",
    "bincount",
    "clamp",
    "clip",
    "count_nonzero",
    "gather",
    "index_select",
    "masked_fill",
    "masked_select",
    "median",
    "nan_to_num",
    "nonzero",
    "one_hot",
    "scatter",
    "scatter_add",
    "sort",
    "topk",
    "unique",
    "where",
]
