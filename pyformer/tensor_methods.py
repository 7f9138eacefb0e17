"""What Tensor has besides the compiled methods: those of `pyformer.names`, writes in place, NumPy's functions."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from opcode import opname
from types import FrameType
from typing import Any

import numpy as np

from pyformer import _core, names
from pyformer._core import DType, Tensor
from pyformer._core import ops as _ops

# ---- writes in place -------------------------------------------------------------------------------------------------


_STORES_NAME = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF")


def _check_writable(symbol: str, x: Tensor, other: Any) -> None:
    instead = f"x = x {symbol[:-1]} y" if symbol.endswith("=") else "an operation that makes a new tensor"
    if isinstance(x, _core._IndexCopy):  # by a method; see _Unwritten for the operators
        raise RuntimeError(
            f"{symbol}: x is a copy that indexing, split or a transpose made, so nothing else would change; "
            "write into the tensor itself, a[0] = y, or into x.clone()"
        )
    if not x.is_leaf:
        raise RuntimeError(f"{symbol}: x was made by an operation whose gradient is recorded; write {instead}")
    if x.requires_grad and _core.grad_enabled():
        raise RuntimeError(f"{symbol}: x is a leaf that requires a gradient; write in place within pf.no_grad()")
    if isinstance(other, Tensor) and other.requires_grad and _core.grad_enabled():
        raise RuntimeError(
            f"{symbol}: y requires a gradient, and writes in place record none; write {instead}, or y.detach()"
        )


def _write(symbol: str, x: Tensor, result: Tensor) -> Tensor:
    if result.shape != x.shape:
        raise ValueError(
            f"{symbol}: expected y of a shape that broadcasts to {x.shape}, got a result of {result.shape}"
        )
    if result.dtype != x.dtype:
        raise TypeError(f"{symbol}: expected a result of {x.dtype.name}, got {result.dtype.name}; write x = x.to(...)")
    _core.copy_(x, result)
    return x


def _in_place(symbol: str, operation: Callable) -> Callable:
    def operator(self: Tensor, other: Any) -> Any:
        if isinstance(self, _core._IndexCopy) and symbol.endswith("="):
            result = operation(self, other)
            if result is NotImplemented:
                return result
            is_held = sys.getrefcount(self) > _REFERENCES_IN_PASSING
            if _stores_the_result(sys._getframe(1), is_held):
                raise _unwritten_error(symbol)
            return _Unwritten(symbol, result)
        _check_writable(symbol, self, other)
        before = _core.set_grad_enabled(False)
        try:
            result = operation(self, other)
            return result if result is NotImplemented else _write(symbol, self, result)
        finally:
            _core.set_grad_enabled(before)

    return operator


def _stores_the_result(frame: FrameType, is_held: builtins.bool) -> builtins.bool:
    """Whether the operator that runs in this frame is that of `row += y` or `o.row += y`, and not of `a[0] += y`."""
    code, at = frame.f_code.co_code, frame.f_lasti
    if not opname[code[at]].startswith(("BINARY_OP", "INPLACE_")):
        return False
    following = (opname[code[i]] for i in range(at + 2, len(code), 2))
    return is_held or next((name for name in following if name != "CACHE"), "").startswith(_STORES_NAME)


class _Passing:
    """Measures how many references Python itself holds to x in `a[0] += y`, where a[0] makes x and nobody keeps it.

    A copy that an attribute, a list or a dict holds has more of them.
    """

    references = 0

    def __getitem__(self, at: int) -> _Passing:
        return _Passing()

    def __setitem__(self, at: int, value: _Passing) -> None:
        _Passing.references = value.references

    def __iadd__(self, other: Any) -> _Passing:
        self.references = sys.getrefcount(self)
        return self


_passing = _Passing()
_passing[0] += 1
_REFERENCES_IN_PASSING = _Passing.references


def _unwritten_error(symbol: str) -> RuntimeError:
    return RuntimeError(
        f"row {symbol} y: row is a copy that indexing, split or a transpose made, so the tensor it is of would "
        f"stay as it is; write a[0] {symbol} y into that in one step, or row = a[0].clone() before"
    )


class _Unwritten:
    """What `a[0] + y` is in the middle of `a[0] += y`, which Python then writes by a[0] = ...

    `row = a[0]; row += y` raises, and so does `pair[0] += y` of a list of rows. Where neither the byte code nor the
    number of references says so (as in `operator.iadd(row, y)`), the result is this, and whatever is done with it is an
    error, since a is as it was.
    """

    def __init__(self, symbol: str, result: Tensor) -> None:
        self.__dict__.update(_symbol=symbol, _result=result)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):  # what Python, copy and NumPy ask for by themselves
            raise AttributeError(name)
        raise self._error()

    def __repr__(self) -> str:
        return f"<{self._error()}>"

    def _error(self, *_: Any) -> RuntimeError:
        return _unwritten_error(self.__dict__["_symbol"])


def _refuse(self: _Unwritten, *_: Any, **__: Any) -> Any:
    raise self._error()


for _name in [
    "abs",
    "add",
    "and",
    "array",
    "bool",
    "call",
    "eq",
    "float",
    "floordiv",
    "ge",
    "getitem",
    "gt",
    "iadd",
    "iand",
    "ifloordiv",
    "imatmul",
    "imod",
    "imul",
    "index",
    "int",
    "invert",
    "ior",
    "ipow",
    "isub",
    "iter",
    "itruediv",
    "le",
    "len",
    "lt",
    "matmul",
    "mod",
    "mul",
    "ne",
    "neg",
    "or",
    "pow",
    "radd",
    "rand",
    "rfloordiv",
    "rmatmul",
    "rmod",
    "rmul",
    "ror",
    "rpow",
    "rsub",
    "rtruediv",
    "rxor",
    "setitem",
    "sub",
    "truediv",
    "xor",
]:
    setattr(_Unwritten, f"__{_name}__", _refuse)


_compiled_set_item = Tensor.__setitem__


def _set_item(self: Tensor, key: Any, value: Any) -> None:
    _compiled_set_item(self, key, value.__dict__["_result"] if type(value) is _Unwritten else value)


def _named(name: str, symbol: str, operation: Callable, sign: str) -> Callable:
    method = _in_place(symbol, operation)
    if sign in "+-":
        plain = method

        def method(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
            return plain(self, other if alpha == 1 else other * alpha)

    method.__name__, method.__qualname__ = name, f"Tensor.{name}"
    method.__doc__ = f"""x {sign}= other: writes in place and returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for this tensor, or it is a copy that indexing made.
        ValueError: other does not broadcast to this shape.
        TypeError: the result is of another dtype.

    Example:
        >>> pf.tensor([4.0]).{name}(2)
        tensor([{ {"+": "6.", "-": "2.", "*": "8.", "/": "2."}[sign] }], dtype=float32)
    """
    return method


def zero_(self: Tensor) -> Tensor:
    """Writes zeros in place and returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.

    Example:
        >>> pf.ones(2).zero_()
        tensor([0., 0.], dtype=float32)
    """
    _check_writable("zero_", self, None)
    _core.zero_(self)
    return self


def fill_(self: Tensor, value: Any) -> Tensor:
    """Writes one number everywhere, in place, and returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        TypeError: the value is no number of this dtype.

    Example:
        >>> pf.ones(2).fill_(3)
        tensor([3., 3.], dtype=float32)
    """
    _check_writable("fill_", self, value)
    self[...] = value
    return self


def copy_(self: Tensor, source: Any) -> Tensor:
    """Writes the elements of another tensor, which broadcasts to this shape, in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: the source does not broadcast to this shape.

    Example:
        >>> pf.zeros(2).copy_(pf.tensor([1.0, 2.0]))
        tensor([1., 2.], dtype=float32)
    """
    _check_writable("copy_", self, source)
    self[...] = source
    return self


def requires_grad_(self: Tensor, on: bool = True) -> Tensor:
    """Sets `requires_grad` and returns this tensor.

    Raises:
        TypeError: it is set to True on a tensor that is not float.
        RuntimeError: it is set to False on a tensor that an operation made.

    Example:
        >>> pf.zeros(2).requires_grad_().requires_grad
        True
    """
    self.requires_grad = on
    return self


def lerp_(self: Tensor, other: Tensor, weight: Any) -> Tensor:
    """`lerp`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: the shapes do not broadcast to this one.

    Example:
        >>> pf.zeros(1).lerp_(pf.ones(1), 0.25)
        tensor([0.25], dtype=float32)
    """
    return _written(self, "lerp_", lambda x, weight, other: names.lerp(x, other, weight), weight, other)


def addcmul_(self: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """`addcmul`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: the shapes do not broadcast to this one.

    Example:
        >>> pf.ones(1).addcmul_(pf.tensor([2.0]), pf.tensor([3.0]), value=0.5)
        tensor([4.], dtype=float32)
    """
    return _written(self, "addcmul_", lambda x, a, b: names.addcmul(x, a, b, value=value), a, b)


def addcdiv_(self: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    """`addcdiv`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: the shapes do not broadcast to this one.

    Example:
        >>> pf.ones(1).addcdiv_(pf.tensor([6.0]), pf.tensor([3.0]), value=0.5)
        tensor([2.], dtype=float32)
    """
    return _written(self, "addcdiv_", lambda x, a, b: names.addcdiv(x, a, b, value=value), a, b)


def scatter_(self: Tensor, axis: int, index: Tensor, src: Any) -> Tensor:
    """`scatter`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: the shapes do not fit.
        IndexError: an index is out of range.

    Example:
        >>> pf.zeros(2, 3).scatter_(1, pf.tensor([[2], [0]]), 1)
        tensor([[0., 0., 1.],
                [1., 0., 0.]], dtype=float32)
    """
    return _written(self, "scatter_", names.scatter, axis, index, src)


def scatter_add_(self: Tensor, axis: int, index: Tensor, src: Tensor) -> Tensor:
    """`scatter_add`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: the shapes do not fit.
        IndexError: an index is out of range.

    Example:
        >>> pf.zeros(3).scatter_add_(0, pf.tensor([2, 2]), pf.tensor([1.0, 5.0]))
        tensor([0., 0., 6.], dtype=float32)
    """
    return _written(self, "scatter_add_", names.scatter_add, axis, index, src)


def masked_fill_(self: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`masked_fill`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: the shapes do not broadcast.

    Example:
        >>> x = pf.tensor([1.0, -2.0])
        >>> x.masked_fill_(x < 0, 0)
        tensor([1., 0.], dtype=float32)
    """
    return _written(self, "masked_fill_", names.masked_fill, mask, value)


def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """`clamp`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.
        ValueError: neither bound is given.

    Example:
        >>> pf.tensor([-1.0, 0.5, 3.0]).clamp_(0, 1)
        tensor([0. , 0.5, 1. ], dtype=float32)
    """
    return _written(self, "clamp_", names.clamp, min, max)


def _written(self: Tensor, symbol: str, operation: Callable, *args: Any) -> Tensor:
    """What operation(self, *args) gives, written into self."""
    _check_writable(symbol, self, args[-1])
    before = _core.set_grad_enabled(False)
    try:
        return _write(symbol, self, operation(self, *args))
    finally:
        _core.set_grad_enabled(before)


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


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Writes numbers of a normal distribution in place; returns this tensor. `pf.nn.init.normal_` as a method.

    Raises:
        ValueError: std is negative or NaN.
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.

    Example:
        >>> pf.zeros(2).normal_(std=0.02).shape
        (2,)
    """
    if not std >= 0.0:
        raise ValueError(f"normal_: std must be 0 or above, got {std}")
    return _written(self, "normal_", lambda x, _: names.randn_like(x) * std + mean, None)


def uniform_(self: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Writes numbers spread evenly over [low, high) in place; returns this tensor.

    A number that the dtype rounds to `high` becomes `low`.

    Raises:
        ValueError: low is above high, or one of them or high - low is not finite.
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.

    Example:
        >>> pf.zeros(2).uniform_(-1, 1).shape
        (2,)
    """
    if not 0.0 <= high - low < builtins.float("inf"):
        raise ValueError(f"uniform_: low must be at most high, and high - low finite, got {low} and {high}")

    def drawn(x: Tensor, _: None) -> Tensor:
        values = names.rand_like(x) * (high - low) + low
        return _ops.where(values >= high, low, values)

    return _written(self, "uniform_", drawn, None)


def pow_(self: Tensor, exponent: Any) -> Tensor:
    """`x ** exponent`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.

    Example:
        >>> pf.tensor([3.0]).pow_(2)
        tensor([9.], dtype=float32)
    """
    return _written(self, "pow_", lambda x, e: x**e, exponent)


def _one_in_place(name: str, example: tuple[str, str]) -> Callable:
    operation = getattr(names, name, None) or getattr(_ops, name)

    def method(self: Tensor) -> Tensor:
        return _written(self, f"{name}_", lambda x, _: operation(x), None)

    method.__name__, method.__qualname__ = f"{name}_", f"Tensor.{name}_"
    method.__doc__ = f"""`{name}`, written in place; returns this tensor.

    Raises:
        RuntimeError: a gradient is recorded for it, or it is a copy that indexing made.

    Example:
        >>> pf.tensor([{example[0]}]).{name}_()
        tensor([{example[1]}], dtype=float32)
    """
    return method


_IN_PLACE = {
    "abs": ("-2.0", "2."),
    "ceil": ("1.5", "2."),
    "exp": ("0.0", "1."),
    "floor": ("1.5", "1."),
    "log": ("1.0", "0."),
    "neg": ("2.0", "-2."),
    "reciprocal": ("2.0", "0.5"),
    "relu": ("-2.0", "0."),
    "round": ("1.5", "2."),
    "sigmoid": ("0.0", "0.5"),
    "sqrt": ("4.0", "2."),
    "tanh": ("0.0", "0."),
}


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
    addcdiv_,
    addcmul_,
    astype,
    clamp_,
    contiguous,
    copy_,
    cpu,
    cuda,
    dim,
    element_size,
    fill_,
    is_contiguous,
    is_floating_point,
    lerp_,
    masked_fill_,
    new_full,
    new_ones,
    new_tensor,
    new_zeros,
    normal_,
    numel,
    pow_,
    requires_grad_,
    scatter_,
    scatter_add_,
    type_as,
    uniform_,
    where,
    zero_,
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
    for name, example in _IN_PLACE.items():
        setattr(Tensor, f"{name}_", _one_in_place(name, example))
    for name, alias in (("ndimension", dim), ("nelement", numel)):
        setattr(Tensor, name, alias)
    Tensor.is_cuda = property(_is_cuda)
    DType.__str__ = DType.__repr__
    Tensor.__xor__ = Tensor.__rxor__ = _operator(_xor)
    for symbol, name, short in (("+", "add", "add"), ("-", "sub", "sub"), ("*", "mul", "mul"), ("/", "truediv", "div")):
        operation = getattr(Tensor, f"__{name}__")
        setattr(Tensor, f"__i{name}__", _in_place(f"{symbol}=", operation))
        setattr(Tensor, f"{short}_", _named(f"{short}_", f"{short}_", operation, symbol))
    Tensor.__floordiv__ = _operator(names.floor_divide)
    Tensor.__rfloordiv__ = _operator(lambda a, b: names.floor_divide(b, a))
    Tensor.__mod__ = _operator(names.remainder)
    Tensor.__rmod__ = _operator(lambda a, b: names.remainder(b, a))
    for symbol, name in (("**=", "pow"), ("//=", "floordiv"), ("%=", "mod")):
        setattr(Tensor, f"__i{name}__", _in_place(symbol, getattr(Tensor, f"__{name}__")))
    Tensor.__setitem__ = _set_item
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
