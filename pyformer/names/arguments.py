"""Arguments of functions: words of torch, axes, dtypes."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor

Axis = int | Sequence[int] | None
_OWN_NAMES = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "shifts": "shift",
    "start_dim": "start",
    "end_dim": "end",
    "num_classes": "classes",
    "num_samples": "count",
    "diagonal": "k",
    "negative_slope": "slope",
    "unbiased": "correction",  # True and False are the numbers 1 and 0
    "ddof": "correction",  # NumPy's
}
# What other libraries call an argument of a class here.
_ELSEWHERE = {
    "learning_rate": "lr",
    "n_layer": "num_layers",
    "n_head": "num_heads",
    "n_embd": "embed_dim",
    "d_model": "embed_dim",
    "hidden_size": "embed_dim",
    "block_size": "context_length",
    "max_position_embeddings": "context_length",
}


def torch_words(function: Callable) -> Callable:
    """function, which also takes `dim` for `axis`, `keepdim` for `keepdims`, and torch's other words for its own."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            given, kwargs = kwargs, {_OWN_NAMES.get(name, name): value for name, value in kwargs.items()}
            if len(kwargs) < len(given):
                raise TypeError(f"{function.__name__}: one argument is given twice, among {', '.join(given)}")
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            raise explained(function, function.__name__, error) from None

    return wrapped


def explained(function: Any, name: str, error: TypeError) -> TypeError:
    """The error; one about the arguments' names or number says what the function, called `name`, takes."""
    text = str(error)
    if not text.startswith(f"{function.__qualname__}() "):
        return error
    parameters = inspect.signature(function).parameters
    signature = str(inspect.signature(function)).replace("'", "").partition(" -> ")[0].replace("(self, ", "(")
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    hint = _meant(unknown[1], [*parameters]) if unknown else ""
    return TypeError(f"{name}: expected {signature}: {text.partition('() ')[2]}{hint}")


def _meant(word: str, known: list[str]) -> str:
    import difflib  # slow to import, and an error is rare

    if "axis" in known:
        known += ["dim", "keepdim"]
    own = _ELSEWHERE.get(word)
    near = [own] if own in known else difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {near[0]} for {word}?" if near else ""


class Explained(type):
    """A class whose `__init__` lacks an argument's name says which it has, and which may have been meant."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except TypeError as error:
            raise explained(cls.__init__, cls.__name__, error) from None

    @property
    def __signature__(cls) -> inspect.Signature:
        # Else help() would show that of __call__.
        signature = inspect.signature(cls.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def explain_arguments(module: ModuleType) -> None:
    """Makes the functions in a module's `__all__` tell of arguments that they lack, and those whose first argument is a
    Tensor of anything else there: TypeError."""
    checked: dict[Callable, Callable] = {}
    for name in module.__all__:
        function = getattr(module, name)
        if isinstance(function, FunctionType):
            is_of_a_tensor = next(iter(function.__annotations__.values()), None) == "Tensor"
            checked.setdefault(function, (_of_a_tensor if is_of_a_tensor else _explaining)(function))
            setattr(module, name, checked[function])


def _explaining(function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            raise explained(function, function.__name__, error) from None

    return wrapped


def _of_a_tensor(function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if args and not isinstance(args[0], Tensor):
            check_tensors(function.__name__, args[0])
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            raise explained(function, function.__name__, error) from None
        except AttributeError:
            given = {**dict(zip(inspect.signature(function).parameters, args, strict=False)), **kwargs}
            check_tensors(
                function.__name__, *(v for n, v in given.items() if function.__annotations__.get(n) == "Tensor")
            )
            raise

    return wrapped


def axis_at(op: str, axis: Any, ndim: int) -> int:
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise TypeError(f"{op}: axis must be an int, got {type(axis).__name__}")
    if not -ndim <= axis < ndim:
        raise IndexError(f"{op}: axis {axis} is out of range for {ndim} axes")
    return axis.__index__() % ndim


def axes_at(op: str, axis: Axis, ndim: int) -> list[int]:
    if axis is None:
        return list(range(ndim))
    return [axis_at(op, a, ndim) for a in (axis if isinstance(axis, (tuple, list)) else [axis])]


def integers(values: tuple) -> tuple:
    """(2, 3) and ((2, 3),) both mean 2, 3."""
    return tuple(values[0]) if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


def part(x: Tensor, axis: int, start: int | None, stop: int | None, step: int = 1) -> Tensor:
    return x[(*[slice(None)] * axis, slice(start, stop, step))]


def is_float(dtype: DType) -> bool:
    """Whether it is a dtype of floats."""
    return dtype in (DType.float32, DType.float64, DType.bfloat16, DType.float16)


def zero_of(x: Tensor) -> Any:
    return False if x.dtype == DType.bool else 0


def number(op: str, name: str, value: Any) -> float:
    """value as a float; TypeError of a tensor that requires a gradient, which would be lost."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise TypeError(f"{op}: {name} must be a number, got a tensor that requires a gradient; give its .item()")
    return float(value)


def _tensor(x: Any) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a Tensor, got {type(x).__name__}; pyformer.tensor(...) makes one")
    return x


def wide(x: Tensor) -> Tensor:
    """x as float64: there, squares, products and sums of narrower numbers neither overflow nor vanish."""
    return _tensor(x).to(DType.float64)


def widened(x: Tensor) -> Tensor:
    """x as a float of at least 32 bits."""
    return x if _tensor(x).dtype in (DType.float32, DType.float64) else x.to(DType.float32)


def narrowed(result: Tensor, x: Tensor) -> Tensor:
    """What was computed of widened operands like x, in the dtype that an operation on them gives."""
    is_narrow = x.dtype in (DType.bfloat16, DType.float16)
    return result.to(x.dtype) if is_narrow and _core.precision() is None else result


def rounded(wide_result: Tensor, *operands: Tensor) -> Tensor:
    """What was computed of `wide` operands, in the dtype that an operation on them gives."""
    dtype = next((x.dtype for x in operands if is_float(x.dtype)), DType.float32)
    is_narrow = dtype in (DType.bfloat16, DType.float16)
    return wide_result.to(DType.float32 if is_narrow and _core.precision() is not None else dtype)


def check_tensors(op: str, *operands: Any) -> None:
    """Raises TypeError where one is no Tensor."""
    for operand in operands:
        if not isinstance(operand, Tensor):
            raise TypeError(f"{op}: expected a Tensor, got {type(operand).__name__}; pyformer.tensor(...) makes one")


def check_devices(op: str, tensors: dict[str, Tensor]) -> None:
    """Raises TypeError where tensors, by the names of their arguments, are not all on the first one's device."""
    (first, x), *others = tensors.items()
    for name, tensor in others:
        if tensor.device != x.device:
            raise TypeError(f"{op}: {name} is on {tensor.device}, {first} on {x.device}")
