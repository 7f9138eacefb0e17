"""Shapes and the order of elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import (
    Axis,
    axes_at,
    axis_at,
    check_devices,
    check_tensors,
    integers,
    is_float,
    part,
    torch_words,
    zero_of,
)


def view(x: Tensor, *shape: Any) -> Tensor:
    """The same elements in another shape; memory is shared. torch's name of `reshape`.

    Raises:
        ValueError: the sizes differ.
        TypeError: an extent is no integer.

    Example:
        >>> pf.arange(6).view(2, -1)
        tensor([[0, 1, 2],
                [3, 4, 5]], dtype=int64)
    """
    return x.reshape(*shape)


@torch_words
def flatten(x: Tensor, start: int = 0, end: int = -1) -> Tensor:
    """x with the axes from `start` to `end` made one; memory is shared.

    Raises:
        IndexError: an axis is not there.
        TypeError: an axis is no int.

    Example:
        >>> pf.zeros(2, 3, 4).flatten(1).shape
        (2, 12)
    """
    if x.ndim == 0:
        return x.reshape(1)
    first, last = axis_at("flatten", start, x.ndim), axis_at("flatten", end, x.ndim)
    extent = math.prod(x.shape[first : last + 1])
    return x.reshape(*x.shape[:first], extent, *x.shape[last + 1 :])


@torch_words
def squeeze(x: Tensor, axis: Axis = None) -> Tensor:
    """x without its axes of extent 1, or without those of them that `axis` names; memory is shared.

    Raises:
        IndexError: an axis is not there.
        TypeError: an axis is no int.

    Example:
        >>> pf.zeros(1, 3, 1).squeeze().shape, pf.zeros(1, 3, 1).squeeze(0).shape
        ((3,), (3, 1))
    """
    dropped = axes_at("squeeze", axis, x.ndim)
    return x.reshape(*(n for i, n in enumerate(x.shape) if n != 1 or i not in dropped))


@torch_words
def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """x with a new axis of extent 1 at `axis`; memory is shared. NumPy calls it expand_dims.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.zeros(2, 3).unsqueeze(1).shape
        (2, 1, 3)
    """
    at = axis_at("unsqueeze", axis, x.ndim + 1)
    return x.reshape(*x.shape[:at], 1, *x.shape[at:])


def permute(x: Tensor, *axes: Any) -> Tensor:
    """A copy whose axis i is x's axis axes[i].

    Raises:
        ValueError: there is not each axis once.
        TypeError: an axis is no int.

    Example:
        >>> pf.zeros(2, 3, 4).permute(2, 0, 1).shape
        (4, 2, 3)
    """
    return _in_order(x, *integers(axes))


@torch_words
def swapaxes(x: Tensor, first: int, second: int) -> Tensor:
    """A copy with two axes changed over.

    Raises:
        IndexError: an axis is not there.
        TypeError: an axis is no int.

    Example:
        >>> pf.zeros(2, 3, 4).swapaxes(1, 2).shape
        (2, 4, 3)
    """
    return _swapped("swapaxes", x, first, second)


def transpose(x: Tensor, *axes: Any, **words: Any) -> Tensor:
    """A copy with the axes in another order. Two integers change these two axes over, as in torch.

    Args:
        axes: a tuple or list, or three integers and more: for each axis of the result, the axis of x it comes from, as
            in NumPy; all reversed if none is given. Two integers: torch's `dim0` and `dim1`.
        words: `axes=`, or `dim0=` and `dim1=`, by name.

    Raises:
        ValueError: the axes do not name each axis once.
        IndexError: an axis is not there.
        TypeError: an axis is no integer, or another name is given.

    Example:
        >>> pf.zeros(2, 3, 4).transpose(1, 2).shape, pf.zeros(2, 3, 4).transpose((1, 2, 0)).shape
        ((2, 4, 3), (3, 4, 2))
    """
    if {"dim0", "dim1"} == set(words) and not axes:
        axes = (words["dim0"], words["dim1"])
    elif {"axes"} == set(words) and not axes:
        axes = (words["axes"],)
    elif words:
        raise TypeError(f"transpose: expected axes, or dim0 and dim1, got {', '.join(words)}")
    if len(axes) == 2 and hasattr(axes[0], "__index__") and hasattr(axes[1], "__index__"):
        return _swapped("transpose", x, *axes)
    if len(axes) == 1 and not hasattr(axes[0], "__index__"):
        return ops.transpose(x, [] if axes[0] is None else axes[0])
    return _in_order(x, *axes)


_in_order = Tensor.transpose


def _swapped(op: str, x: Tensor, first: int, second: int) -> Tensor:
    return _in_order(x, swapped_order(x, axis_at(op, first, x.ndim), axis_at(op, second, x.ndim)))


def swapped_order(x: Tensor, a: int, b: int) -> list[int]:
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return order


def moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    """A copy with one axis moved to another place, the others in order.

    Raises:
        IndexError: an axis is not there.
        TypeError: an axis is no int.

    Example:
        >>> pf.zeros(2, 3, 4).moveaxis(0, -1).shape
        (3, 4, 2)
    """
    a, b = axis_at("moveaxis", source, x.ndim), axis_at("moveaxis", destination, x.ndim)
    order = [i for i in range(x.ndim) if i != a]
    order.insert(b, a)
    return _in_order(x, order)


def t(x: Tensor) -> Tensor:
    """A copy of a matrix with its axes changed over; of a vector or number the same.

    Raises:
        ValueError: x has more than two axes.

    Example:
        >>> pf.tensor([[1, 2], [3, 4]]).t()
        tensor([[1, 3],
                [2, 4]], dtype=int64)
    """
    if x.ndim > 2:
        raise ValueError(f"t: expected at most two axes, got {x.shape}; swapaxes(-1, -2) or .mT changes the last two")
    return x.T


def expand(x: Tensor, *shape: Any) -> Tensor:
    """A copy broadcast to a shape, not to write to; -1 keeps an extent.

    Raises:
        ValueError: x does not broadcast to it.

    Example:
        >>> pf.tensor([[1], [2]]).expand(2, 3)
        tensor([[1, 1, 1],
                [2, 2, 2]], dtype=int64)
    """
    wanted = integers(shape)
    kept = (*[1] * (len(wanted) - x.ndim), *x.shape)
    full = tuple(k if n == -1 else n for n, k in zip(wanted, kept, strict=False))
    if len(wanted) < x.ndim or any(k not in (1, n) for n, k in zip(full, kept, strict=True)):
        raise ValueError(f"expand: {x.shape} does not broadcast to {wanted}")
    everywhere = _core.ones(*full, dtype=DType.bool, device=x.device)
    return _core._index_copy(ops.where(everywhere, x, zero_of(x)))


def tile(x: Tensor, *repeats: Any) -> Tensor:
    """x beside itself, repeats[i] times along axis i: torch's repeat. New axes come first.

    Raises:
        ValueError: a number of repeats is below 1.

    Example:
        >>> pf.tensor([1, 2]).tile(2, 2)
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]], dtype=int64)
    """
    counts = integers(repeats)
    counts = (*[1] * (x.ndim - len(counts)), *counts)
    if any(n < 1 for n in counts):
        raise ValueError(f"tile: expected repeats of at least 1, got {counts}")
    x = x.reshape(*[1] * (len(counts) - x.ndim), *x.shape)
    for axis, count in enumerate(counts):
        x = ops.concat([x] * count, axis) if count > 1 else x
    return x


@torch_words
def repeat_interleave(x: Tensor, repeats: int, axis: int | None = None) -> Tensor:
    """Each element `repeats` times in a row along an axis, or in the flattened x: NumPy's repeat.

    Raises:
        IndexError: the axis is not there.
        ValueError: repeats is below 1.

    Example:
        >>> pf.tensor([1, 2]).repeat_interleave(2)
        tensor([1, 1, 2, 2], dtype=int64)
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    at = axis_at("repeat_interleave", axis, x.ndim)
    if repeats < 1:
        raise ValueError(f"repeat_interleave: expected repeats of at least 1, got {repeats}")
    return ops.stack([x] * repeats, at + 1).reshape(*x.shape[:at], x.shape[at] * repeats, *x.shape[at + 1 :])


@torch_words
def flip(x: Tensor, axis: Axis = None) -> Tensor:
    """A copy with the order along one or more axes reversed.

    Raises:
        IndexError: an axis is not there.
        TypeError: an axis is no int.

    Example:
        >>> pf.tensor([1, 2, 3]).flip(0)
        tensor([3, 2, 1], dtype=int64)
    """
    flipped = axes_at("flip", axis, x.ndim)
    return ops.reshape(x[tuple(slice(None, None, -1 if i in flipped else 1) for i in range(x.ndim))], x.shape)


@torch_words
def roll(x: Tensor, shift: int, axis: int | None = None) -> Tensor:
    """A copy with elements moved on by `shift` places along an axis, or in the flattened x; what falls off comes first.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([1, 2, 3]).roll(1)
        tensor([3, 1, 2], dtype=int64)
    """
    if axis is None:
        return roll(x.reshape(-1), shift, 0).reshape(*x.shape)
    at = axis_at("roll", axis, x.ndim)
    cut = -shift % max(x.shape[at], 1)
    return ops.concat([part(x, at, cut, None), part(x, at, None, cut)], at)


@torch_words
def chunk(x: Tensor, chunks: int, axis: int = 0) -> list[Tensor]:
    """At most `chunks` parts of x along an axis, all of one size but for the last.

    Raises:
        IndexError: the axis is not there.
        ValueError: chunks is below 1.

    Example:
        >>> [part.tolist() for part in pf.arange(5).chunk(2)]
        [[0, 1, 2], [3, 4]]
    """
    if chunks < 1:
        raise ValueError(f"chunk: expected at least 1 part, got {chunks}")
    at = axis_at("chunk", axis, x.ndim)
    return ops.split(x, max(1, -(-x.shape[at] // chunks)), at)


@torch_words
def unbind(x: Tensor, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of x along an axis, without that axis: copies.

    Raises:
        IndexError: the axis is not there.
        TypeError: the axis is no int.

    Example:
        >>> pf.tensor([[1, 2], [3, 4]]).unbind(1)
        (tensor([1, 3], dtype=int64), tensor([2, 4], dtype=int64))
    """
    at = axis_at("unbind", axis, x.ndim)
    return tuple(x[(*[slice(None)] * at, i)] for i in range(x.shape[at]))


def clone(x: Tensor) -> Tensor:
    """A copy of its own, which may be written to. Gradients pass through.

    Raises:
        AttributeError: x is no Tensor.

    Example:
        >>> row = pf.zeros(2, 2)[0].clone()
        >>> row += 1
        >>> row
        tensor([1., 1.], dtype=float32)
    """
    return ops.transpose(x, list(range(x.ndim)))


def diagonal(x: Tensor) -> Tensor:
    """The elements (..., i, i) of the last two axes.

    Raises:
        ValueError: x has fewer than two axes.

    Example:
        >>> pf.tensor([[1, 2], [3, 4]]).diagonal()
        tensor([1, 4], dtype=int64)
    """
    if x.ndim < 2:
        raise ValueError(f"diagonal: expected at least two axes, got {x.shape}")
    rows, columns = x.shape[-2:]
    count = min(rows, columns)
    flat = x.reshape(*x.shape[:-2], rows * columns)
    return flat[..., : count * columns : columns + 1]


def _triangle(x: Tensor, k: int, lower: bool) -> Tensor:
    if x.ndim < 2:
        raise ValueError(f"{'tril' if lower else 'triu'}: expected at least two axes, got {x.shape}")
    rows = _core.arange(x.shape[-2], device=x.device).reshape(-1, 1)
    columns = _core.arange(x.shape[-1], device=x.device)
    kept = ops.less_equal(columns, rows + k) if lower else ops.greater_equal(columns, rows + k)
    return ops.where(kept, x, zero_of(x))


@torch_words
def tril(x: Tensor, k: int = 0) -> Tensor:
    """The lower triangles of matrices (..., m, n): zero where column > row + k.

    Raises:
        ValueError: x has fewer than two axes.

    Example:
        >>> pf.ones(2, 2).tril()
        tensor([[1., 0.],
                [1., 1.]], dtype=float32)
    """
    return _triangle(x, k, lower=True)


@torch_words
def triu(x: Tensor, k: int = 0) -> Tensor:
    """The upper triangles of matrices (..., m, n): zero where column < row + k.

    Raises:
        ValueError: x has fewer than two axes.

    Example:
        >>> pf.ones(2, 2).triu(1)
        tensor([[0., 1.],
                [0., 0.]], dtype=float32)
    """
    return _triangle(x, k, lower=False)


def hstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors beside each other: joined along the second axis, vectors along their only one.

    Raises:
        ValueError: there is none, or the shapes do not fit.
        TypeError: one is no Tensor.

    Example:
        >>> pf.hstack([pf.arange(2), pf.arange(1)])
        tensor([0, 1, 0], dtype=int64)
    """
    tensors = list(tensors)
    check_tensors("hstack", *tensors)
    rows = [x if x.ndim else x.reshape(1) for x in tensors]
    return ops.concat(rows, 0 if rows and rows[0].ndim == 1 else 1)


def vstack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors below each other: joined along the first axis, vectors as rows.

    Raises:
        ValueError: there is none, or the shapes do not fit.
        TypeError: one is no Tensor.

    Example:
        >>> pf.vstack([pf.arange(2), pf.arange(2)])
        tensor([[0, 1],
                [0, 1]], dtype=int64)
    """
    tensors = list(tensors)
    check_tensors("vstack", *tensors)
    return ops.concat([x if x.ndim > 1 else x.reshape(1, -1) for x in tensors], 0)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """The coordinates of a grid from those along its axes: result i is tensor i along axis i, the same along others.

    Args:
        tensors: vectors, or one list of them.
        indexing: "ij" as said, torch's default; "xy" changes the first two axes over, NumPy's default.

    Raises:
        ValueError: there is none, one is no vector, or indexing is another word.
        TypeError: one is no Tensor, or they are on several devices.

    Example:
        >>> rows, columns = pf.meshgrid(pf.arange(2), pf.arange(3))
        >>> columns
        tensor([[0, 1, 2],
                [0, 1, 2]], dtype=int64)
    """
    axes = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    check_tensors("meshgrid", *axes)
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    if not axes or any(x.ndim != 1 for x in axes):
        raise ValueError(f"meshgrid: expected vectors, got {[x.shape for x in axes]}")
    check_devices("meshgrid", {f"tensors[{i}]": x for i, x in enumerate(axes)})
    shape = [len(x) for x in axes]
    grids = [expand(x.reshape(*[-1 if i == at else 1 for i in range(len(shape))]), shape) for at, x in enumerate(axes)]
    return tuple(swapaxes(grid, 0, 1) if indexing == "xy" and len(shape) > 1 else grid for grid in grids)


def reshape_as(x: Tensor, other: Tensor) -> Tensor:
    """x in the shape of another tensor; memory is shared. torch calls it view_as, too.

    Raises:
        ValueError: the sizes differ.

    Example:
        >>> pf.arange(4).view_as(pf.zeros(2, 2))
        tensor([[0, 1],
                [2, 3]], dtype=int64)
    """
    return x.reshape(*other.shape)


def expand_as(x: Tensor, other: Tensor) -> Tensor:
    """A copy broadcast to the shape of another tensor.

    Raises:
        ValueError: x does not broadcast to it.

    Example:
        >>> pf.arange(2).expand_as(pf.zeros(2, 2))
        tensor([[0, 1],
                [0, 1]], dtype=int64)
    """
    return expand(x, other.shape)


@torch_words
def unflatten(x: Tensor, axis: int, sizes: Sequence[int]) -> Tensor:
    """x with one axis made several, of these extents; one of them may be -1. Memory is shared.

    Raises:
        ValueError: the extents do not make up that of the axis.
        IndexError: the axis is not there.

    Example:
        >>> pf.zeros(2, 6).unflatten(1, (3, -1)).shape
        (2, 3, 2)
    """
    at = axis_at("unflatten", axis, x.ndim)
    return x.reshape(*x.shape[:at], *sizes, *x.shape[at + 1 :])


def diag(x: Tensor) -> Tensor:
    """The diagonal of a matrix, or the matrix that has a vector as its diagonal and zeros elsewhere.

    Raises:
        ValueError: x is neither.

    Example:
        >>> pf.diag(pf.tensor([1, 2]))
        tensor([[1, 0],
                [0, 2]], dtype=int64)
    """
    if x.ndim == 2:
        return diagonal(x)
    if x.ndim != 1:
        raise ValueError(f"diag: expected a vector or a matrix, got {x.shape}")
    n = _core.arange(len(x), device=x.device)
    return ops.where(ops.equal(n.reshape(-1, 1), n), x, zero_of(x))


def trace(x: Tensor) -> Tensor:
    """The sum of a matrix's diagonal.

    Raises:
        ValueError: x is no matrix.

    Example:
        >>> pf.eye(3).trace()
        tensor(3., dtype=float32)
    """
    if x.ndim != 2:
        raise ValueError(f"trace: expected a matrix, got {x.shape}")
    return ops.sum(diagonal(x))


@torch_words
def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """`concat`, where integers and bools become the floats of the others, as in sums.

    Raises:
        ValueError: there is none, or the shapes do not fit.
        TypeError: the dtypes do not meet, or one is no Tensor.

    Example:
        >>> pf.cat([pf.tensor([1]), pf.tensor([2.5])])
        tensor([1. , 2.5], dtype=float32)
    """
    tensors = list(tensors)
    check_tensors("concatenate", *tensors)
    dtypes = {x.dtype for x in tensors}
    floats = [dtype for dtype in dtypes if is_float(dtype)]
    if len(dtypes) > 1 and len(floats) == 1:
        tensors = [x.to(floats[0]) for x in tensors]
    return ops.concat(tensors, axis)


expand_dims = unsqueeze
movedim = moveaxis
view_as = reshape_as
broadcast_to = expand
ravel = flatten
copy = clone
cat = concatenate

__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "clone",
    "concatenate",
    "copy",
    "diag",
    "diagonal",
    "expand",
    "expand_as",
    "expand_dims",
    "flatten",
    "flip",
    "hstack",
    "meshgrid",
    "moveaxis",
    "movedim",
    "permute",
    "ravel",
    "repeat_interleave",
    "reshape_as",
    "roll",
    "squeeze",
    "swapaxes",
    "t",
    "tile",
    "trace",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
    "vstack",
]
