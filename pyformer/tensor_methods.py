"""What Tensor has besides the compiled methods: those of `pyformer.names`, writes in place, NumPy's functions."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from pyformer import _core, in_place, names
from pyformer._core import DType, Tensor
from pyformer._core import ops as _ops

# ---- dtypes, devices, counts -----------------------------------------------------------------------------------------


def _to(dtype: DType, name: str) -> Callable:
    def method(self: Tensor) -> Tensor:
        return self.to(dtype)

    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = f"""This tensor as {dtype.name}: `to("{dtype.name}")`.

    Example:
        >>> pf.ones(2).{name}().dtype
        pyformer.{dtype.name}
    """
    return method


def astype(self: Tensor, dtype: Any) -> Tensor:
    """This tensor in another dtype: `to(dtype)`; itself if it has that dtype.

    Raises:
        TypeError: it is no dtype that pyformer has.

    Example:
        >>> pf.ones(2).astype(np.int64)
        tensor([1, 1], dtype=int64)
    """
    return self.to(dtype)


def cpu(self: Tensor) -> Tensor:
    """This tensor on the CPU: `to("cpu")`; itself if it is there.

    Example:
        >>> pf.ones(2).cpu().device
        pyformer.device('cpu')
    """
    return self.to("cpu")


def cuda(self: Tensor) -> Tensor:
    """This tensor on the first CUDA device: `to("cuda")`.

    Raises:
        ValueError: there is no such device; the message says why.

    Example:
        >>> x = pf.ones(2).cuda() if pf.cuda.is_available() else pf.ones(2)
    """
    return self.to("cuda")


def new_tensor(self: Tensor, data: Any, dtype: Any = None) -> Tensor:
    """A copy of data as a tensor of this one's dtype, unless another is given, and on its device.

    Raises:
        TypeError: the data has no counterpart in that dtype.

    Example:
        >>> pf.ones(1).new_tensor([1, 2])
        tensor([1., 2.], dtype=float32)
    """
    return _core.tensor(data, dtype=dtype or self.dtype, device=self.device)


def new_zeros(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """Zeros of this tensor's dtype, unless another is given, and on its device.

    Raises:
        ValueError: an extent is below 0.

    Example:
        >>> pf.ones(1).new_zeros(2)
        tensor([0., 0.], dtype=float32)
    """
    return _core.zeros(*shape, dtype=dtype or self.dtype, device=self.device)


def new_ones(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
    """Ones of this tensor's dtype, unless another is given, and on its device.

    Raises:
        ValueError: an extent is below 0.

    Example:
        >>> pf.zeros(1).new_ones(2)
        tensor([1., 1.], dtype=float32)
    """
    return _core.ones(*shape, dtype=dtype or self.dtype, device=self.device)


def new_full(self: Tensor, shape: Any, value: Any, dtype: Any = None) -> Tensor:
    """One number everywhere, in this tensor's dtype, unless another is given, and on its device.

    Raises:
        TypeError: the value does not go with the dtype.

    Example:
        >>> pf.zeros(1).new_full((2,), 3)
        tensor([3., 3.], dtype=float32)
    """
    return new_zeros(self, shape, dtype=dtype).fill_(value)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in another one's dtype.

    Raises:
        AttributeError: the other is no tensor.

    Example:
        >>> pf.ones(1).type_as(pf.arange(1))
        tensor([1], dtype=int64)
    """
    return self.to(other.dtype)


def is_contiguous(self: Tensor) -> bool:
    """True: elements always lie in row-major order without gaps.

    Example:
        >>> pf.zeros(2).is_contiguous()
        True
    """
    return True


def is_floating_point(self: Tensor) -> bool:
    """Whether the dtype is one of floats.

    Example:
        >>> pf.zeros(2).is_floating_point(), pf.arange(2).is_floating_point()
        (True, False)
    """
    return self.dtype in (DType.float32, DType.float64, DType.bfloat16, DType.float16)


def element_size(self: Tensor) -> int:
    """Bytes of an element.

    Example:
        >>> pf.zeros(2).element_size()
        4
    """
    return _BYTES[self.dtype]


_BYTES = {
    **{DType.float64: 8, DType.int64: 8, DType.float32: 4, DType.int32: 4, DType.float16: 2, DType.bfloat16: 2},
    **{DType.int8: 1, DType.uint8: 1, DType.bool: 1},
}


class Size(int):
    """The number of elements; called as in torch, x.size() or x.size(axis), it gives the shape or an extent."""

    shape: tuple[int, ...]

    def __call__(self, axis: int | None = None) -> Any:
        return self.shape if axis is None else self.shape[axis]

    def __reduce__(self) -> Any:
        return int, (int(self),)


def _size(self: Tensor) -> Size:
    """The number of elements; called as x.size() the shape, as x.size(axis) an extent.

    Example:
        >>> x = pf.zeros(2, 3)
        >>> x.size, x.size(), x.size(0)
        (6, (2, 3), 2)
    """
    shape = self.shape
    size = Size(_count(self))
    size.shape = shape
    return size


_count = Tensor.size.fget


def numel(self: Tensor) -> int:
    """The number of elements.

    Example:
        >>> pf.zeros(2, 3).numel()
        6
    """
    return _count(self)


def dim(self: Tensor) -> int:
    """The number of axes, `ndim`.

    Example:
        >>> pf.zeros(2, 3).dim()
        2
    """
    return self.ndim


def contiguous(self: Tensor) -> Tensor:
    """This tensor: elements always lie in row-major order without gaps.

    Example:
        >>> pf.zeros(2).contiguous()
        tensor([0., 0.], dtype=float32)
    """
    return self


def where(self: Tensor, cond: Tensor, other: Any) -> Tensor:
    """This tensor where cond, `other` elsewhere: `pf.where(cond, self, other)`.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: cond is not of bools, or the dtypes do not meet.

    Example:
        >>> x = pf.tensor([1.0, -2.0])
        >>> x.where(x > 0, 0)
        tensor([1., 0.], dtype=float32)
    """
    return _ops.where(cond, self, other)


def _data(self: Tensor) -> Tensor:
    """The same memory without history: `detach()`. Setting it writes the values in place.

    Example:
        >>> x = pf.ones(2, requires_grad=True)
        >>> x.data += 1
        >>> x
        tensor([2., 2.], dtype=float32, requires_grad=True)
    """
    return self.detach()


def _set_data(self: Tensor, value: Tensor) -> None:
    if value.shape != self.shape or value.dtype != self.dtype:
        raise ValueError(
            f"data: expected {self.dtype.name} {self.shape}, got {value.dtype.name} {value.shape}; "
            "Module.to changes the dtype of parameters"
        )
    _core.copy_(self.detach(), names.clone(value.detach()))


def _is_cuda(self: Tensor) -> bool:
    """Whether it is on a CUDA device.

    Example:
        >>> pf.zeros(1).is_cuda
        False
    """
    return self.device.type == "cuda"


def _mt(self: Tensor) -> Tensor:
    """A copy of the matrices (..., m, n) with the last two axes changed over.

    Example:
        >>> pf.zeros(5, 2, 3).mT.shape
        (5, 3, 2)
    """
    return names.swapaxes(self, -1, -2)


# ---- NumPy -----------------------------------------------------------------------------------------------------------


def _array_function(self: Tensor, function: Callable, types: Any, args: Any, kwargs: Any) -> Any:
    """np.mean(tensor) and the like compute on NumPy arrays, as np.mean(np.asarray(tensor)) does."""
    return function(*_arrays(args), **{name: _arrays(value) for name, value in kwargs.items()})


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return np.asarray(value)
    return type(value)(_arrays(v) for v in value) if type(value) in (tuple, list) else value


# ---- putting them in place -------------------------------------------------------------------------------------------

_OWN = [
    *in_place.METHODS,
    astype,
    contiguous,
    cpu,
    cuda,
    dim,
    element_size,
    is_contiguous,
    is_floating_point,
    new_full,
    new_ones,
    new_tensor,
    new_zeros,
    numel,
    type_as,
    where,
]
# Compiled operations that had no method.
_COMPILED = [
    "add",
    "divide",
    "multiply",
    "subtract",
    "power",
    "matmul",
    "maximum",
    "minimum",
    "split",
    "cast",
    "gelu",
    "equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "layer_norm",
]
_DTYPES = {
    **{"float": DType.float32, "double": DType.float64, "half": DType.float16, "bfloat16": DType.bfloat16},
    **{"long": DType.int64, "int": DType.int32, "bool": DType.bool},
}


def install() -> None:
    """Gives Tensor its further methods; once, when pyformer is imported."""
    for method in _OWN:
        setattr(Tensor, method.__name__, method)
    for name in names.METHODS:
        setattr(Tensor, name, getattr(names, name))
    for name in _COMPILED:
        setattr(Tensor, name, getattr(_ops, name))
    for name, dtype in _DTYPES.items():
        setattr(Tensor, name, _to(dtype, name))
    for name, example in in_place.OF_ONE.items():
        setattr(Tensor, f"{name}_", in_place.one_in_place(name, example))
    for name, alias in (("ndimension", dim), ("nelement", numel)):
        setattr(Tensor, name, alias)
    Tensor.is_cuda = property(_is_cuda)
    DType.__str__ = DType.__repr__
    Tensor.__xor__ = Tensor.__rxor__ = _operator(_xor)
    for symbol, name, short in (("+", "add", "add"), ("-", "sub", "sub"), ("*", "mul", "mul"), ("/", "truediv", "div")):
        operation = getattr(Tensor, f"__{name}__")
        setattr(Tensor, f"__i{name}__", in_place.operator_of(f"{symbol}=", operation))
        setattr(Tensor, f"{short}_", in_place.named(f"{short}_", f"{short}_", operation, symbol))
    Tensor.__floordiv__ = _operator(names.floor_divide)
    Tensor.__rfloordiv__ = _operator(lambda a, b: names.floor_divide(b, a))
    Tensor.__mod__ = _operator(names.remainder)
    Tensor.__rmod__ = _operator(lambda a, b: names.remainder(b, a))
    for symbol, name in (("**=", "pow"), ("//=", "floordiv"), ("%=", "mod")):
        setattr(Tensor, f"__i{name}__", in_place.operator_of(symbol, getattr(Tensor, f"__{name}__")))
    Tensor.__setitem__ = in_place.set_item
    Tensor.__format__ = _format
    Tensor.__bool__ = _bool
    Tensor.__index__ = _index
    Tensor.__getattr__ = _missing
    Tensor.type = astype
    Tensor.__array_function__ = _array_function
    Tensor.size = property(_size)
    Tensor.data = property(_data, _set_data)
    Tensor.mT = property(_mt)


_ALONE = "a reduction along an axis gives the values alone; argmax, argmin and argsort give indices"
_HOOK = "pf.autograd.grad(loss, x) gives the gradient of any tensor, an autograd.Function changes it on its way"
# What stands here in the place of torch's names that are left out.
_INSTEAD = {
    "repeat": "tile repeats the whole (torch's repeat), repeat_interleave each element (NumPy's)",
    "values": _ALONE,
    "indices": _ALONE,
    "register_hook": _HOOK,
    "register_post_accumulate_grad_hook": "write what it should do after backward(), where .grad is there",
    "retain_grad": _HOOK,
    "grad_fn": "is_leaf says whether it was computed, requires_grad whether a gradient will reach it",
    "stride": "elements always lie in row-major order without gaps",
    "storage_offset": "elements always lie in row-major order without gaps",
    "data_ptr": "numpy() and DLPack share memory",
}


def _missing(self: Tensor, name: str) -> Any:
    hint = f"; {_INSTEAD[name]}" if name in _INSTEAD else ""
    raise AttributeError(f"'Tensor' object has no attribute {name!r}{hint}", name=name, obj=self)


def _format(self: Tensor, spec: str) -> str:
    if spec and _count(self) != 1:
        raise TypeError(
            f"format: {spec!r} needs a tensor of one element, got {self.shape}; format x.tolist()'s numbers"
        )
    return _compiled_format(self, spec)


_compiled_format = Tensor.__format__


def _bool(self: Tensor) -> builtins.bool:
    if _count(self) != 1:
        raise ValueError(f"bool: expected a tensor of one element, got {self.shape}; write .any() or .all()")
    return _compiled_bool(self)


_compiled_bool = Tensor.__bool__


def _index(self: Tensor) -> builtins.int:
    """An integer of its own as an index of lists, slices and range."""
    if _count(self) != 1 or self.ndim or self.is_floating_point() or self.dtype == DType.bool:
        raise TypeError(f"index: expected a tensor of one integer, got {self.dtype.name} {self.shape}")
    return self.item()


def _xor(self: Tensor, other: Any) -> Tensor:
    for x in (self, other):
        dtype = x.dtype.name if isinstance(x, (Tensor, np.ndarray, np.generic)) else type(x).__name__
        if dtype != "bool":
            raise TypeError(f"^: expected bools, got {dtype}")
    return _ops.not_equal(self, other)


def _operator(function: Callable) -> Callable:
    def operator(self: Tensor, other: Any) -> Any:
        known = isinstance(other, (Tensor, builtins.int, builtins.float, np.ndarray, np.generic))
        return function(self, other) if known else NotImplemented

    return operator
