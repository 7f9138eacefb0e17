"""Making tensors."""

from __future__ import annotations

from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.names.arguments import number


def zeros_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Zeros of x's shape, dtype and device.

    Raises:
        TypeError: dtype is not a dtype.

    Example:
        >>> pf.zeros_like(pf.tensor([1, 2]))
        tensor([0, 0], dtype=int64)
    """
    return _core.zeros(*x.shape, dtype=dtype or x.dtype, device=x.device)


def ones_like(x: Tensor, dtype: Any = None) -> Tensor:
    """Ones of x's shape, dtype and device.

    Raises:
        TypeError: dtype is not a dtype.

    Example:
        >>> pf.ones_like(pf.tensor([1, 2]))
        tensor([1, 1], dtype=int64)
    """
    return _core.ones(*x.shape, dtype=dtype or x.dtype, device=x.device)


def full_like(x: Tensor, value: Any, dtype: Any = None) -> Tensor:
    """A tensor of x's shape, dtype and device, all `value`.

    Raises:
        TypeError: dtype is not a dtype, or the value no number.

    Example:
        >>> pf.full_like(pf.tensor([1, 2]), 7)
        tensor([7, 7], dtype=int64)
    """
    return _core.full(x.shape, value, dtype=dtype or x.dtype, device=x.device)


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
    m = n if m is None else m
    if n < 0 or m < 0:
        raise ValueError(f"eye: extents must not be negative, got {n} and {m}")
    rows = _core.arange(n, device=device).reshape(-1, 1)
    return ops.equal(rows, _core.arange(m, device=device)).to(dtype or DType.float32)


@in_default_float_mode
def linspace(start: float, stop: float, count: int, *, dtype: Any = None, device: Any = None) -> Tensor:
    """`count` numbers at equal distances, from start to stop, both included.

    Raises:
        ValueError: count is negative.
        TypeError: start or stop is a tensor that requires a gradient.

    Example:
        >>> pf.linspace(0, 1, 5)
        tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    start, stop = number("linspace", "start", start), number("linspace", "stop", stop)
    if count < 0:
        raise ValueError(f"linspace: count must not be negative, got {count}")
    places = _core.arange(count, dtype=DType.float64, device=device)
    step = (stop - start) / max(count - 1, 1)
    values = ops.where(ops.less(places, max(count - 1, 1)), places * step + start, stop)
    return values.to(dtype or DType.float32)


empty_like = zeros_like


def get_default_dtype() -> DType:
    """float32: what floats are made as where no `dtype=` says otherwise.

    Example:
        >>> pf.get_default_dtype()
        pyformer.float32
    """
    return DType.float32


def set_default_dtype(dtype: Any) -> None:
    """torch's; it takes float32 alone, which is the default here, and changes nothing.

    Raises:
        ValueError: another dtype.

    Example:
        >>> pf.set_default_dtype(pf.float32)
    """
    if dtype not in (DType.float32, "float32"):
        raise ValueError(
            f"set_default_dtype: expected float32, got {dtype!r}: floats are float32 unless dtype= says otherwise; "
            "Module.to changes a model"
        )


__all__ = [
    "empty",
    "empty_like",
    "eye",
    "full_like",
    "get_default_dtype",
    "linspace",
    "ones_like",
    "set_default_dtype",
    "zeros_like",
]
