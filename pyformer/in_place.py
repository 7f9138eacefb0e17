"""What writes into a tensor: `x += y` and its like, and the methods whose names end in `_`.

A write is refused where a gradient is recorded for the tensor, and where it is a copy that indexing made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from opcode import opname
from types import FrameType
from typing import Any

from pyformer import _core, names
from pyformer._core import Tensor
from pyformer._core import ops as _ops

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


def operator_of(symbol: str, operation: Callable) -> Callable:
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


def _stores_the_result(frame: FrameType, is_held: bool) -> bool:
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


def set_item(self: Tensor, key: Any, value: Any) -> None:
    _compiled_set_item(self, key, value.__dict__["_result"] if type(value) is _Unwritten else value)


def named(name: str, symbol: str, operation: Callable, sign: str) -> Callable:
    method = operator_of(symbol, operation)
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
    if not 0.0 <= high - low < float("inf"):
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


def one_in_place(name: str, example: tuple[str, str]) -> Callable:
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


OF_ONE = {
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


METHODS = [
    addcdiv_,
    addcmul_,
    clamp_,
    copy_,
    fill_,
    lerp_,
    masked_fill_,
    normal_,
    pow_,
    requires_grad_,
    scatter_,
    scatter_add_,
    uniform_,
    zero_,
]
