"""Names that users of torch and NumPy know: aliases and compositions of the compiled operations, without kernels.

Each function stands in `pf`, in `pf.ops` and, where its first argument is a tensor, as a method of Tensor. `dim` and
`keepdim` are taken for `axis` and `keepdims`. docs/from-torch.md has the table, and what is different here.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor
from pyformer._core import ops as _ops

Axis = int | Sequence[int] | None
_OWN_NAMES = {"dim": "axis", "keepdim": "keepdims"}


def torch_words(function: Callable) -> Callable:
    """function, which also takes `dim` for `axis` and `keepdim` for `keepdims`."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            kwargs = {_OWN_NAMES.get(name, name): value for name, value in kwargs.items()}
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            raise _explained(function, error) from None

    return wrapped


def _explained(function: Callable, error: TypeError) -> TypeError:
    """The error; one about the arguments' names or number says what the function takes."""
    text = str(error)
    if not text.startswith(f"{function.__name__}() "):
        return error
    signature = str(inspect.signature(function)).replace("'", "").partition(" -> ")[0]
    return TypeError(f"{function.__name__}: expected {signature}: {text.partition('() ')[2]}")


def _axis(op: str, axis: Any, ndim: int) -> int:
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"{op}: axis must be an int, got {type(axis).__name__}")
    if not -ndim <= axis < ndim:
        raise IndexError(f"{op}: axis {axis} is out of range for {ndim} axes")
    return axis.__index__() % ndim


def _axes(op: str, axis: Axis, ndim: int) -> list[int]:
    if axis is None:
        return list(range(ndim))
    return [_axis(op, a, ndim) for a in (axis if isinstance(axis, (tuple, list)) else [axis])]


def _integers(values: tuple) -> tuple:
    """(2, 3) and ((2, 3),) both mean 2, 3."""
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


def _slice(x: Tensor, axis: int, start: int | None, stop: int | None, step: int = 1) -> Tensor:
    return x[(*[slice(None)] * axis, slice(start, stop, step))]


def is_float(dtype: DType) -> bool:
    """Whether it is a dtype of floats."""
    return dtype in (DType.float32, DType.float64, DType.bfloat16, DType.float16)


def _nothing(x: Tensor) -> Any:
    return False if x.dtype == DType.bool else 0


# ---- shapes ----------------------------------------------------------------------------------------------------------


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
    first, last = _axis("flatten", start, x.ndim), _axis("flatten", end, x.ndim)
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
    dropped = _axes("squeeze", axis, x.ndim)
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
    at = _axis("unsqueeze", axis, x.ndim + 1)
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
    return x.transpose(*_integers(axes))


@torch_words
def swapaxes(x: Tensor, first: int, second: int) -> Tensor:
    """A copy with two axes changed over: what torch's x.transpose(first, second) gives.

    Raises:
        IndexError: an axis is not there.
        TypeError: an axis is no int.

    Example:
        >>> pf.zeros(2, 3, 4).swapaxes(1, 2).shape
        (2, 4, 3)
    """
    return x.transpose(_swapped(x, _axis("swapaxes", first, x.ndim), _axis("swapaxes", second, x.ndim)))


def _swapped(x: Tensor, a: int, b: int) -> list[int]:
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
    a, b = _axis("moveaxis", source, x.ndim), _axis("moveaxis", destination, x.ndim)
    order = [i for i in range(x.ndim) if i != a]
    order.insert(b, a)
    return x.transpose(order)


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
    """A copy broadcast to a shape; -1 keeps an extent.

    Raises:
        ValueError: x does not broadcast to it.

    Example:
        >>> pf.tensor([[1], [2]]).expand(2, 3)
        tensor([[1, 1, 1],
                [2, 2, 2]], dtype=int64)
    """
    wanted = _integers(shape)
    kept = (*[1] * (len(wanted) - x.ndim), *x.shape)
    full = tuple(k if n == -1 else n for n, k in zip(wanted, kept, strict=False))
    if len(wanted) < x.ndim or builtins.any(k not in (1, n) for n, k in zip(full, kept, strict=True)):
        raise ValueError(f"expand: {x.shape} does not broadcast to {wanted}")
    return _ops.where(_core.ones(*full, dtype=DType.bool, device=x.device), x, _nothing(x))


def tile(x: Tensor, *repeats: Any) -> Tensor:
    """x beside itself, repeats[i] times along axis i: torch's repeat. New axes come first.

    Raises:
        ValueError: a number of repeats is below 1.

    Example:
        >>> pf.tensor([1, 2]).tile(2, 2)
        tensor([[1, 2, 1, 2],
                [1, 2, 1, 2]], dtype=int64)
    """
    counts = _integers(repeats)
    counts = (*[1] * (x.ndim - len(counts)), *counts)
    if builtins.any(n < 1 for n in counts):
        raise ValueError(f"tile: expected repeats of at least 1, got {counts}")
    x = x.reshape(*[1] * (len(counts) - x.ndim), *x.shape)
    for axis, count in enumerate(counts):
        x = _ops.concat([x] * count, axis) if count > 1 else x
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
    at = _axis("repeat_interleave", axis, x.ndim)
    if repeats < 1:
        raise ValueError(f"repeat_interleave: expected repeats of at least 1, got {repeats}")
    return _ops.stack([x] * repeats, at + 1).reshape(*x.shape[:at], x.shape[at] * repeats, *x.shape[at + 1 :])


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
    flipped = _axes("flip", axis, x.ndim)
    return _ops.reshape(x[tuple(slice(None, None, -1 if i in flipped else 1) for i in range(x.ndim))], x.shape)


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
    at = _axis("roll", axis, x.ndim)
    cut = -shift % max(x.shape[at], 1)
    return _ops.concat([_slice(x, at, cut, None), _slice(x, at, None, cut)], at)


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
    at = _axis("chunk", axis, x.ndim)
    return _ops.split(x, max(1, -(-x.shape[at] // chunks)), at)


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
    at = _axis("unbind", axis, x.ndim)
    return tuple(x[(*[slice(None)] * at, i)] for i in range(x.shape[at]))


def clone(x: Tensor) -> Tensor:
    """A copy of its own, which may be written to. Gradients pass through.

    Raises:
        MemoryError: there is no room.

    Example:
        >>> row = pf.zeros(2, 2)[0].clone()
        >>> row += 1
        >>> row
        tensor([1., 1.], dtype=float32)
    """
    return _ops.transpose(x, list(range(x.ndim)))


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
    return _ops.reshape(flat[..., : count * columns : columns + 1], [*x.shape[:-2], count])


def _triangle(x: Tensor, k: int, lower: bool) -> Tensor:
    if x.ndim < 2:
        raise ValueError(f"{'tril' if lower else 'triu'}: expected at least two axes, got {x.shape}")
    rows = _core.arange(x.shape[-2], device=x.device).reshape(-1, 1)
    columns = _core.arange(x.shape[-1], device=x.device)
    kept = _ops.less_equal(columns, rows + k) if lower else _ops.greater_equal(columns, rows + k)
    return _ops.where(kept, x, _nothing(x))


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


# ---- choosing --------------------------------------------------------------------------------------------------------


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
    return _ops.gather(x, axis, index) if isinstance(axis, Tensor) else _ops.gather(x, index, axis)


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
    at = _axis("index_select", axis, x.ndim)
    order = _swapped(x, 0, at)
    return _ops.transpose(_ops.transpose(x, order)[index], order)


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
    return _ops.where(mask, value, x)


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
    x = x if min is None else _ops.where(_ops.less(x, min), min, x)
    return x if max is None else _ops.where(_ops.greater(x, max), max, x)


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
    return _ops.gather(x, indices, axis), indices


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
    at = _axis("argsort", axis, x.ndim)
    x = x.detach()
    if x.dtype == DType.bool:
        x = x.to(DType.uint8)
    if descending:
        return _ops.topk(x, x.shape[at], at)[1]
    # topk puts the largest first, and of equal ones the lower index: of x backwards, read backwards.
    last = x.shape[at] - 1
    return last - flip(_ops.topk(flip(x, at), x.shape[at], at)[1], at)


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
    return _ops.embedding(ids, eye(classes, dtype=DType.int64, device=ids.device))


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def floor(x: Tensor) -> Tensor:
    """The largest whole number that is not above x; no gradient passes.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([-1.5, 1.5]).floor()
        tensor([-2.,  1.], dtype=float32)
    """
    cut = trunc(x)
    return cut if not is_float(x.dtype) else _ops.where(_ops.greater(cut, x.detach()), cut - 1, cut)


def ceil(x: Tensor) -> Tensor:
    """The least whole number that is not below x; no gradient passes.

    Raises:
        TypeError: x is of bools.

    Example:
        >>> pf.tensor([-1.5, 1.5]).ceil()
        tensor([-1.,  2.], dtype=float32)
    """
    cut = trunc(x)
    return cut if not is_float(x.dtype) else _ops.where(_ops.less(cut, x.detach()), cut + 1, cut)


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
    is_whole = _ops.greater_equal(_ops.abs(x), float(2**53))  # floats as large as these have no fraction
    kept = _ops.logical_or(is_whole, _ops.not_equal(x, x))
    return _ops.where(kept, x, x.to(DType.int64).to(x.dtype))


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
    is_odd = _ops.not_equal(floor(below * 0.5) * 2.0, below)
    up = _ops.logical_or(_ops.greater(rest, 0.5), _ops.logical_and(_ops.equal(rest, 0.5), is_odd))
    return _ops.where(up, below + 1, below)


def floor_divide(a: Any, b: Any) -> Tensor:
    """a / b rounded down, element by element; no gradient passes.

    Raises:
        ValueError: integers are divided by 0, or the shapes do not broadcast.
        TypeError: the dtypes do not meet.

    Example:
        >>> pf.tensor([7, -7]) // 2, pf.tensor([7.5]) // 2
        (tensor([ 3, -4], dtype=int64), tensor([3.], dtype=float32))
    """
    is_quotient_of_floats = builtins.any(
        isinstance(v, float) or (isinstance(v, Tensor) and is_float(v.dtype)) for v in (a, b)
    )
    return floor(_ops.divide(a, b)) if is_quotient_of_floats else _ops.floor_divide(a, b)


def remainder(a: Any, b: Any) -> Tensor:
    """a - b * floor(a / b), element by element: a % b, which has b's sign.

    Raises:
        ValueError: integers are divided by 0, or the shapes do not broadcast.
        TypeError: the dtypes do not meet.

    Example:
        >>> pf.tensor([7, -7]) % 3
        tensor([1, 2], dtype=int64)
    """
    return _ops.subtract(a, _ops.multiply(floor_divide(a, b), b))


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
    return _ops.greater(x, 0).to(x.dtype) - _ops.less(x, 0).to(x.dtype)


def rsqrt(x: Tensor) -> Tensor:
    """1 / sqrt(x).

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.tensor([4.0]).rsqrt()
        tensor([0.5], dtype=float32)
    """
    return 1.0 / _ops.sqrt(x)


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
    return _ops.sin(x) / _ops.cos(x)


def isnan(x: Tensor) -> Tensor:
    """Where x is NaN: a bool tensor.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, float("nan")]).isnan()
        tensor([False,  True], dtype=bool)
    """
    return _ops.not_equal(x, x)


def isinf(x: Tensor) -> Tensor:
    """Where x is infinite: a bool tensor.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, float("-inf")]).isinf()
        tensor([False,  True], dtype=bool)
    """
    return _ops.equal(_ops.abs(x), math.inf) if is_float(x.dtype) else _ops.not_equal(x, x)


def isfinite(x: Tensor) -> Tensor:
    """Where x is neither infinite nor NaN: a bool tensor.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.tensor([1.0, float("nan")]).isfinite()
        tensor([ True, False], dtype=bool)
    """
    return _ops.less(_ops.abs(x), math.inf) if is_float(x.dtype) else _ops.equal(x, x)


# ---- reductions ------------------------------------------------------------------------------------------------------


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
    return _ops.equal(_ops.sum(_ops.equal(x, _nothing(x)), axis, keepdims), 0)


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
    return _ops.not_equal(_ops.sum(_ops.not_equal(x, _nothing(x)), axis, keepdims), 0)


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
    count = math.prod(x.shape[a] for a in _axes("var", axis, x.ndim))
    squares = _ops.square(x - _ops.mean(x, axis, True))
    return _ops.sum(squares, axis, keepdims) / max(float(count - correction), 0.0)


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
    return _ops.sqrt(var(x, axis, keepdims, correction))


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
    at = 0 if axis is None else _axis("prod", axis, x.ndim)
    x = x.reshape(-1) if axis is None else x
    if x.shape[at] == 0:
        x = _core.ones(*x.shape[:at], 1, *x.shape[at + 1 :], dtype=x.dtype, device=x.device)
    while x.shape[at] > 1:
        half = x.shape[at] // 2
        rest = _slice(x, at, 2 * half, None)
        x = _slice(x, at, None, half) * _slice(x, at, half, 2 * half)
        x = _ops.concat([x, rest], at) if rest.shape[at] else x
    reduced = [1 if axis is None or i == at else n for i, n in enumerate(shape)]
    kept = [] if axis is None else [n for i, n in enumerate(shape) if i != at]
    return _ops.reshape(x, reduced if keepdims else kept)


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
        return _ops.sqrt(_ops.sum(_ops.square(x), axis, keepdims))
    size = _ops.abs(x)
    if p == math.inf:
        return _ops.max(size, axis, keepdims)
    total = _ops.sum(size if p == 1 else _ops.power(size, float(p)), axis, keepdims)
    return total if p == 1 else _ops.power(total, 1.0 / p)


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
    top = _ops.max(x.detach(), axis, True)
    top = _ops.where(isfinite(top), top, 0.0)
    total = _ops.log(_ops.sum(_ops.exp(x - top), axis, True)) + top
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
    near = _ops.less_equal(_ops.abs(a - b), _ops.abs(b) * rtol + atol)
    return bool(all(_ops.logical_or(near, _ops.equal(a, b))).item())


# ---- products --------------------------------------------------------------------------------------------------------


def outer(a: Tensor, b: Tensor) -> Tensor:
    """a[i] * b[j] of two vectors: (m, n).

    Raises:
        ValueError: one is no vector.

    Example:
        >>> pf.ops.outer(pf.tensor([1, 2]), pf.tensor([3, 4]))
        tensor([[3, 4],
                [6, 8]], dtype=int64)
    """
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"outer: expected two vectors, got {a.shape} and {b.shape}")
    return a.reshape(-1, 1) * b


@torch_words
def cosine_similarity(a: Tensor, b: Tensor, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """sum(a b) / (|a| |b|) along an axis, each norm at least eps.

    Raises:
        IndexError: the axis is not there.
        ValueError: the shapes do not broadcast.

    Example:
        >>> pf.ops.cosine_similarity(pf.tensor([1.0, 0.0]), pf.tensor([3.0, 4.0]), axis=0)
        tensor(0.6, dtype=float32)
    """
    sizes = clamp(norm(a, axis=axis), min=eps) * clamp(norm(b, axis=axis), min=eps)
    return _ops.sum(a * b, axis) / sizes


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Sums of products by the letters of the axes, "ij,kj->ik"; "..." stands for leading axes that broadcast.

    Operands are taken in from left to right, two at a time, by `matmul`. A letter may stand once in an operand.

    Raises:
        ValueError: letters and shapes do not fit, or a letter stands twice in an operand.

    Example:
        >>> a = pf.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> pf.einsum("ij,kj->ik", a, a)
        tensor([[ 5., 11.],
                [11., 25.]], dtype=float32)
    """
    terms, out = _einsum_letters(equation, operands)
    sizes: dict[str, int] = {}
    for letters, x in zip(terms, operands, strict=True):
        for letter, n in zip(letters, x.shape, strict=True):
            if sizes.setdefault(letter, n) != n:
                raise ValueError(f"einsum: axis {letter} is {sizes[letter]} and {n} in {equation!r}")
    result, have = operands[0], terms[0]
    for i in range(1, len(terms)):
        wanted = set(out).union(*terms[i + 1 :])
        result, have = _einsum_pair(result, have, operands[i], terms[i], wanted)
    result, have = _einsum_reduced(result, have, set(out))
    return _ops.transpose(result, [have.index(letter) for letter in out]) if have != out else result


def _einsum_letters(equation: str, operands: tuple[Tensor, ...]) -> tuple[list[str], str]:
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ValueError(f"einsum: {equation!r} has {len(terms)} operands, got {len(operands)}")
    free = [c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in equation]
    spread = "".join(
        reversed(free[: max(x.ndim - len(t.replace("...", "")) for t, x in zip(terms, operands, strict=True))])
    )
    filled = []
    for term, x in zip(terms, operands, strict=True):
        count = x.ndim - len(term.replace("...", ""))
        if count < 0 or (count and "..." not in term):
            raise ValueError(f"einsum: {term!r} does not fit the shape {x.shape}")
        term = term.replace("...", spread[len(spread) - count :])
        if len(set(term)) != len(term):
            raise ValueError(f"einsum: a letter stands twice in {term!r}")
        filled.append(term)
    once = "".join(sorted(c for c in set("".join(terms)) - {"."} if left.count(c) == 1))
    out = out.replace("...", spread) if arrow else (spread if "..." in left else "") + once
    if not set(out) <= set("".join(filled)) or len(set(out)) != len(out):
        raise ValueError(f"einsum: the result's letters {out!r} must stand once each, and in an operand")
    return filled, out


def _einsum_reduced(x: Tensor, letters: str, wanted: set[str]) -> tuple[Tensor, str]:
    summed = [i for i, c in enumerate(letters) if c not in wanted]
    return (_ops.sum(x, summed), "".join(c for c in letters if c in wanted)) if summed else (x, letters)


def _einsum_pair(a: Tensor, a_has: str, b: Tensor, b_has: str, wanted: set[str]) -> tuple[Tensor, str]:
    a, a_has = _einsum_reduced(a, a_has, wanted | set(b_has))
    b, b_has = _einsum_reduced(b, b_has, wanted | set(a_has))
    both = [c for c in a_has if c in b_has]
    batch, summed = [c for c in both if c in wanted], [c for c in both if c not in wanted]
    rows, columns = [c for c in a_has if c not in both], [c for c in b_has if c not in both]
    a_size, b_size = dict(zip(a_has, a.shape, strict=True)), dict(zip(b_has, b.shape, strict=True))
    left = a.transpose([a_has.index(c) for c in batch + rows + summed])
    right = b.transpose([b_has.index(c) for c in batch + summed + columns])
    shape = [a_size[c] for c in batch]
    inner = math.prod(a_size[c] for c in summed)
    left = left.reshape(*shape, math.prod(a_size[c] for c in rows), inner)
    right = right.reshape(*shape, inner, math.prod(b_size[c] for c in columns))
    product = _ops.matmul(left, right)
    return product.reshape(*shape, *(a_size[c] for c in rows), *(b_size[c] for c in columns)), "".join(
        batch + rows + columns
    )


# ---- activations and losses ------------------------------------------------------------------------------------------


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """x where x > 0, slope * x elsewhere.

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.ops.leaky_relu(pf.tensor([-2.0, 3.0]), 0.5)
        tensor([-1.,  3.], dtype=float32)
    """
    return _ops.where(_ops.greater(x, 0), x * 1.0, x * slope)  # autocast widens both alike


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, alpha * (exp(x) - 1) elsewhere.

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.ops.elu(pf.tensor([0.0, 3.0]))
        tensor([0., 3.], dtype=float32)
    """
    return _ops.where(_ops.greater(x, 0), x, (_ops.exp(_ops.minimum(x, 0.0)) - 1.0) * alpha)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow.

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.ops.softplus(pf.tensor([0.0, 100.0]))
        tensor([  0.6931472, 100.       ], dtype=float32)
    """
    return _ops.bce_with_logits(x, zeros_like(x), "none")


def _reduced(op: str, losses: Tensor, reduction: str, weights: Tensor | None = None) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if reduction == "none":
        return losses
    total = _ops.sum(losses)
    if reduction == "sum":
        return total
    return _ops.mean(losses) if weights is None else total / _ops.sum(weights)


def cross_entropy(
    logits: Tensor,
    targets: Any,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    """-log softmax(logits)[target], a row of logits each.

    Args:
        logits: (..., V), float.
        targets: (...), integers: a Tensor, NumPy array or list.
        ignore_index: a target that is left out.
        reduction: "mean" over what is left, "sum" or "none".
        label_smoothing: the part of the target that is spread over all classes.
        weight: (V,), how much each class counts; "mean" then divides by the weights' sum. Not with label_smoothing.

    Returns:
        Tensor () or (...), of logits' dtype; 0 where all is ignored.

    Raises:
        ValueError: a shape or option does not fit.
        IndexError: a target is no class.
        TypeError: a dtype does not fit.

    Example:
        >>> pf.ops.cross_entropy(pf.tensor([[0.0, 0.0]]), [1])
        tensor(0.6931472, dtype=float32)
        >>> pf.ops.cross_entropy(pf.zeros(2, 2), [0, 1], weight=pf.tensor([1.0, 3.0]), reduction="none")
        tensor([0.6931472, 2.0794415], dtype=float32)
    """
    targets = _ids(targets, logits)
    if weight is None:
        return _ops.cross_entropy(logits, targets, ignore_index, reduction, label_smoothing)
    if label_smoothing:
        raise ValueError("cross_entropy: weight goes with label_smoothing=0 only")
    losses = _ops.cross_entropy(logits, targets, ignore_index, "none")
    kept = _class_weights("cross_entropy", targets, ignore_index, weight, logits.shape[-1])
    return _reduced("cross_entropy", losses * kept, reduction, kept)


def _ids(targets: Any, like: Tensor) -> Tensor:
    return targets if isinstance(targets, Tensor) else _core.tensor(targets, device=like.device)


def _class_weights(op: str, targets: Tensor, ignore_index: int, weight: Tensor, classes: int) -> Tensor:
    if weight.shape != (classes,):
        raise ValueError(f"{op}: weight must be ({classes},), got {weight.shape}")
    is_kept = _ops.not_equal(targets, ignore_index)
    return _ops.where(is_kept, weight[_ops.where(is_kept, targets, 0)], 0.0)


def nll_loss(
    x: Tensor, targets: Any, ignore_index: int = -100, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """-x[target] of log probabilities x (..., V): cross_entropy after log_softmax.

    Raises:
        ValueError: a shape or option does not fit.
        IndexError: a target is no class.

    Example:
        >>> pf.ops.nll_loss(pf.tensor([[-0.5, -1.0]]), [1])
        tensor(1., dtype=float32)
    """
    targets = _ids(targets, x)
    weight = _core.ones(x.shape[-1], dtype=x.dtype, device=x.device) if weight is None else weight
    kept = _class_weights("nll_loss", targets, ignore_index, weight, x.shape[-1])
    safe = _ops.where(_ops.not_equal(targets, ignore_index), targets, 0)
    picked = squeeze(_ops.gather(x, unsqueeze(safe, -1), -1), -1)
    return _reduced("nll_loss", -picked * kept, reduction, kept)


def l1_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - target|, reduced.

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.l1_loss(pf.tensor([1.0, 2.0]), pf.zeros(2))
        tensor(1.5, dtype=float32)
    """
    return _reduced("l1_loss", _ops.abs(x - target), reduction)


def huber_loss(x: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 where |d| <= delta, delta * (|d| - delta / 2) beyond, for d = x - target.

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.huber_loss(pf.tensor([0.5, 3.0]), pf.zeros(2), reduction="none")
        tensor([0.125, 2.5  ], dtype=float32)
    """
    d = _ops.abs(x - target)
    losses = _ops.where(_ops.less_equal(d, delta), _ops.square(d) * 0.5, (d - 0.5 * delta) * delta)
    return _reduced("huber_loss", losses, reduction)


def kl_div(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """target * (log(target) - x) of log probabilities x, 0 where target is 0.

    Args:
        x: (N, ...), logarithms of probabilities.
        target: as x, probabilities.
        reduction: "mean", "sum", "none" or "batchmean", the sum divided by N.

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.kl_div(pf.tensor([[0.0, -1.0]]), pf.tensor([[0.0, 1.0]]), reduction="batchmean")
        tensor(1., dtype=float32)
    """
    is_there = _ops.greater(target, 0)
    logarithm = _ops.log(_ops.where(is_there, target, 1.0))
    losses = _ops.where(is_there, target * (logarithm - x), 0.0)
    if reduction == "batchmean":
        return _ops.sum(losses) / float(x.shape[0])
    return _reduced("kl_div", losses, reduction)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`attention` in torch's layout, (B, H, T, D): axes are changed over before and after.

    Raises:
        ValueError: a shape does not fit, or dropout_p is not 0.
        TypeError: a dtype does not fit.

    Example:
        >>> q = pf.randn(1, 2, 3, 4)
        >>> pf.ops.scaled_dot_product_attention(q, q, q, is_causal=True).shape
        (1, 2, 3, 4)
    """
    if dropout_p:
        raise ValueError("scaled_dot_product_attention: expected dropout_p=0, attention has no dropout")
    if is_causal and query.shape[-2] != key.shape[-2]:
        raise ValueError("scaled_dot_product_attention: is_causal needs as many queries as keys")
    q, k, v = (swapaxes(x, 1, 2) for x in (query, key, value))
    return _ops.transpose(_ops.attention(q, k, v, mask=attn_mask, causal=is_causal, scale=scale), [0, 2, 1, 3])


# ---- making ----------------------------------------------------------------------------------------------------------


def zeros_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Zeros of x's shape, dtype and device.

    Raises:
        TypeError: the dtype is none.

    Example:
        >>> pf.zeros_like(pf.tensor([1, 2]))
        tensor([0, 0], dtype=int64)
    """
    return _core.zeros(*x.shape, dtype=dtype or x.dtype, device=x.device)


def ones_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Ones of x's shape, dtype and device.

    Raises:
        TypeError: the dtype is none.

    Example:
        >>> pf.ones_like(pf.tensor([1, 2]))
        tensor([1, 1], dtype=int64)
    """
    return _core.ones(*x.shape, dtype=dtype or x.dtype, device=x.device)


def full_like(x: Tensor, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of x's shape, dtype and device, all `value`.

    Raises:
        TypeError: the dtype is none, or the value no number.

    Example:
        >>> pf.full_like(pf.tensor([1, 2]), 7)
        tensor([7, 7], dtype=int64)
    """
    return _core.full(x.shape, value, dtype=dtype or x.dtype, device=x.device)


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


def empty(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor to be written to; its elements are zeros here.

    Raises:
        TypeError: the shape is not of integers.

    Example:
        >>> pf.empty(2).shape
        (2,)
    """
    return _core.zeros(*shape, dtype=dtype, device=device, requires_grad=requires_grad)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: Any = None) -> Tensor:
    """(n, m) with ones on the diagonal; m is n by default.

    Raises:
        ValueError: an extent is negative.

    Example:
        >>> pf.eye(2)
        tensor([[1., 0.],
                [0., 1.]], dtype=float32)
    """
    rows = _core.arange(n, device=device).reshape(-1, 1)
    return _ops.equal(rows, _core.arange(n if m is None else m, device=device)).to(dtype or DType.float32)


def linspace(start: float, stop: float, count: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """`count` numbers at equal distances, from start to stop, both included.

    Raises:
        ValueError: count is negative.

    Example:
        >>> pf.linspace(0, 1, 5)
        tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    places = _core.arange(count, dtype=DType.float64, device=device)
    step = (stop - start) / max(count - 1, 1)
    values = _ops.where(_ops.less(places, max(count - 1, 1)), places * step + start, float(stop))
    return values.to(dtype or DType.float32)


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
    return _ops.minimum(drawn.to(DType.int64), high - low - 1) + low


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
    return _ops.less(rand_like(p.detach()), p.detach()).to(p.dtype)


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
        drawn = _ops.log(1.0 - rand_like(p)) / p
        return _ops.topk(_ops.where(_ops.greater(p, 0), drawn, -math.inf), count, -1)[1]
    ends = _ops.cumsum(p, -1)
    drawn = _core.rand(*p.shape[:-1], count, dtype=p.dtype, device=p.device) * ends[..., -1:]
    passed = _ops.less_equal(unsqueeze(ends, -2), unsqueeze(drawn, -1))
    return _ops.minimum(_ops.sum(passed, -1), p.shape[-1] - 1)


# ---- other spellings -------------------------------------------------------------------------------------------------

absolute = _ops.abs
bmm = mm = dot = _ops.matmul
cat = concatenate = _ops.concat
clip = clamp
expand_dims = unsqueeze
broadcast_to = expand
ravel = flatten
copy = clone
div = true_divide = _ops.divide
mul = _ops.multiply
sub = _ops.subtract
neg = negative = _ops.negate
pow = _ops.power
eq, ne, lt, le, gt, ge = (
    _ops.equal,
    _ops.not_equal,
    _ops.less,
    _ops.less_equal,
    _ops.greater,
    _ops.greater_equal,
)
amax, amin = _ops.max, _ops.min
binary_cross_entropy_with_logits = _ops.bce_with_logits
smooth_l1_loss = huber_loss
empty_like = zeros_like
mod = remainder

__all__ = [
    "absolute",
    "all",
    "allclose",
    "amax",
    "amin",
    "any",
    "argsort",
    "bernoulli",
    "binary_cross_entropy_with_logits",
    "bmm",
    "broadcast_to",
    "cat",
    "ceil",
    "chunk",
    "clamp",
    "clip",
    "clone",
    "concatenate",
    "copy",
    "cosine_similarity",
    "cross_entropy",
    "diagonal",
    "div",
    "dot",
    "einsum",
    "elu",
    "empty",
    "empty_like",
    "eq",
    "expand",
    "expand_dims",
    "eye",
    "flatten",
    "flip",
    "floor",
    "floor_divide",
    "full_like",
    "gather",
    "ge",
    "gt",
    "huber_loss",
    "index_select",
    "isfinite",
    "isinf",
    "isnan",
    "kl_div",
    "l1_loss",
    "le",
    "leaky_relu",
    "linspace",
    "logsumexp",
    "lt",
    "masked_fill",
    "mm",
    "mod",
    "moveaxis",
    "mul",
    "multinomial",
    "ne",
    "neg",
    "negative",
    "nll_loss",
    "norm",
    "normal",
    "one_hot",
    "ones_like",
    "outer",
    "permute",
    "pow",
    "prod",
    "rand_like",
    "randint",
    "randn_like",
    "randperm",
    "ravel",
    "reciprocal",
    "remainder",
    "repeat_interleave",
    "roll",
    "round",
    "rsqrt",
    "scaled_dot_product_attention",
    "sign",
    "smooth_l1_loss",
    "softplus",
    "sort",
    "squeeze",
    "std",
    "sub",
    "swapaxes",
    "t",
    "tan",
    "tile",
    "tril",
    "triu",
    "true_divide",
    "trunc",
    "unbind",
    "unsqueeze",
    "var",
    "view",
    "zeros_like",
]
