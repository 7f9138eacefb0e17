"""Gradient mode, mixed precision, recomputation, and gradients of one's own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor
from pyformer.effects import note_owner, noted


class _GradMode(threading.local):
    """Sets whether operations of this thread are recorded; a context manager and a decorator."""

    enabled: bool

    def __init__(self) -> None:
        self._previous: list[bool] = []  # one for each time this thread is within it

    def __enter__(self) -> None:
        self._previous.append(_core.set_grad_enabled(self.enabled))

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._previous.pop())

    def __call__(self, fn: Callable) -> Callable:
        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return fn(*args, **kwargs)

        return wrapped


class no_grad(_GradMode):
    """Within it, operations on this thread record nothing and their results require no gradient.

    A context manager, or a decorator as `@pf.no_grad()`.

    Example:
        >>> x = pf.ones(2, requires_grad=True)
        >>> with pf.no_grad():
        ...     y = x * 2.0
        >>> y.requires_grad
        False
    """

    enabled = False


class enable_grad(_GradMode):
    """Within it, operations on this thread are recorded again, inside a `no_grad()` for example.

    Example:
        >>> x = pf.ones(2, requires_grad=True)
        >>> with pf.no_grad(), pf.enable_grad():
        ...     y = x * 2.0
        >>> y.requires_grad
        True
    """

    enabled = True


class _Precision:
    """Within it, this thread's autocast is `mode`; None is none."""

    def __init__(self, mode: DType | None) -> None:
        self._mode = mode

    def __enter__(self) -> None:
        self._previous = _core.set_precision(self._mode)

    def __exit__(self, *exc: object) -> None:
        _core.set_precision(self._previous)


class autocast(threading.local):
    """Mixed precision: within it, products on this thread round their operands to bfloat16 and give float32.

    Products are `linear`, `matmul` and what is made of them; the page on mixed precision lists them. All else
    (residuals, norms, softmax, losses, parameters, their gradients, optimisers) is float32: 16-bit operands are widened
    first. float64 stays as it is. A backward pass computes as its forward did, wherever it runs, and so does what
    `checkpoint` runs again. A model whose weights are bfloat16 computes so by itself.

    A context manager, or a decorator as `@pf.autocast("bfloat16")`. It nests, and `pf.autocast("float32")` within it
    makes products float32 again.

    Args:
        dtype: "bfloat16" or "float32", or the dtype.

    Raises:
        ValueError: another dtype.
        TypeError: no dtype.

    Example:
        >>> x = pf.tensor([1.001])
        >>> with pf.autocast("bfloat16"):
        ...     y = pf.ops.matmul(x, x)
        >>> y, pf.ops.matmul(x, x)
        (tensor(1., dtype=float32), tensor(1.002001, dtype=float32))
    """

    def __init__(self, dtype: str | DType = "bfloat16") -> None:
        mode = DType.__members__.get(dtype) if isinstance(dtype, str) else dtype
        if not isinstance(dtype, (str, DType)):
            raise TypeError(f"autocast: expected bfloat16 or float32, got {type(dtype).__name__}")
        if mode not in (DType.bfloat16, DType.float32):
            raise ValueError(f"autocast: expected bfloat16 or float32, got {getattr(dtype, 'name', dtype)}")
        self._mode = mode
        self._previous: list[DType | None] = []  # one for each time this thread is within it

    def __enter__(self) -> None:
        self._previous.append(_core.set_precision(self._mode))

    def __exit__(self, *exc: object) -> None:
        _core.set_precision(self._previous.pop())

    def __call__(self, fn: Callable) -> Callable:
        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return fn(*args, **kwargs)

        return wrapped


class Context:
    """What a Function's forward hands to its backward: `save_for_backward`, and attributes of one's own.

    Attributes:
        needs_input_grad: for each argument of forward, whether it is a tensor that requires a gradient.

    Raises:
        RuntimeError: a saved tensor was written in place before backward.
        TypeError: something saved is no Tensor.

    Example:
        >>> ctx = pf.autograd.Context()
        >>> ctx.save_for_backward(pf.tensor([1.0]))
        >>> ctx.saved_tensors
        (tensor([1.], dtype=float32),)
    """

    def __init__(self) -> None:
        self._saved: tuple[tuple[Tensor, int], ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keeps tensors for `saved_tensors`, with the number of writes that each has seen."""
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"save_for_backward: expected Tensors, got {type(tensor).__name__}")
        self._saved = tuple((t, _core.version(t)) for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """What save_for_backward was given; RuntimeError if one was written in place since then.

        Writes through `numpy()` or DLPack are not noticed.
        """
        for i, (tensor, version) in enumerate(self._saved):
            if _core.version(tensor) != version:
                raise RuntimeError(f"saved_tensors: tensor {i} was changed in place after save_for_backward")
        return tuple(tensor for tensor, _ in self._saved)


class Function:
    """An operation whose gradient is written in Python.

    Subclass it with two static methods, forward and backward, and call `apply`. backward gets one gradient an output
    and returns one an argument of forward: a tensor of that argument's shape and dtype, or None (zeros; also for
    arguments that are no tensors). Both run without recording, in the `autocast` in which `apply` was called.

    Raises:
        TypeError: forward or backward is not defined, or forward returns something else than Tensors.
        ValueError: backward returns the wrong number of gradients, or one of another shape or dtype.

    Example:
        >>> class Cube(pf.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x * x
        ...     @staticmethod
        ...     def backward(ctx, dout):
        ...         (x,) = ctx.saved_tensors
        ...         return dout * 3.0 * x * x
        >>> x = pf.tensor([2.0], requires_grad=True)
        >>> Cube.apply(x).sum().backward()
        >>> x.grad
        tensor([12.], dtype=float32)
    """

    # Type checkers let a subclass name the arguments of methods that take anything.
    @staticmethod
    def forward(ctx: Context, *args: Any, **kwargs: Any) -> Any:
        """forward(ctx, *args): the result, a Tensor or a tuple of them. A subclass defines it."""
        raise TypeError("autograd.Function: a subclass must define forward")

    @staticmethod
    def backward(ctx: Context, *args: Any, **kwargs: Any) -> Any:
        """backward(ctx, *douts): the gradients of forward's arguments. A subclass defines it."""
        raise TypeError("autograd.Function: a subclass must define backward")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """forward(ctx, *args), recorded so that a backward pass calls `backward`."""
        ctx, mode = Context(), _core.precision()
        positions = [i for i, arg in enumerate(args) if isinstance(arg, Tensor)]
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        with no_grad():
            result = cls.forward(ctx, *(a.detach() if isinstance(a, Tensor) else a for a in args))
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        if not all(isinstance(o, Tensor) for o in outputs):
            raise TypeError(f"{cls.__name__}: forward must return a Tensor or a tuple of Tensors")

        def backward(douts: list[Tensor], needs: list[bool]) -> list[Tensor | None]:
            with no_grad(), _Precision(mode):
                grads = cls.backward(ctx, *douts)
            grads = grads if isinstance(grads, (tuple, list)) else (grads,)
            if len(grads) != len(args):
                raise ValueError(f"{cls.__name__}: backward must return {len(args)} gradients, got {len(grads)}")
            return [grads[i] for i in positions]

        inputs = [args[i] for i in positions]
        recorded = _core.record_python(cls.__name__, inputs, outputs, backward)
        return tuple(recorded) if isinstance(result, (tuple, list)) else recorded[0]


class _Checkpoint(Function):
    @staticmethod
    def forward(ctx: Context, fn: Callable, _anchor: Tensor, *args: Any) -> Any:
        ctx.fn, ctx.args = fn, args
        ctx.save_for_backward(*(a for a in args if isinstance(a, Tensor)))
        result, ctx.streams, ctx.notes = noted(fn, *args)
        return result

    @staticmethod
    def backward(ctx: Context, *douts: Tensor) -> Any:
        saved = iter(ctx.saved_tensors)
        args = [next(saved).detach() if isinstance(a, Tensor) else a for a in ctx.args]
        for arg, needed in zip(args, ctx.needs_input_grad[2:], strict=True):
            if needed:
                arg.requires_grad = True
        with ctx.notes.undone():
            with enable_grad():
                outputs = _core.replay_streams(ctx.streams, ctx.fn, *args)
            outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
            pairs = [(o, d) for o, d in zip(outputs, douts, strict=True) if o.requires_grad]
            if pairs:
                _core.backward_many([o for o, _ in pairs], [d for _, d in pairs])
        return (
            None,
            None,
            *(a.grad if n else None for a, n in zip(args, ctx.needs_input_grad[2:], strict=True)),
        )


def checkpoint(fn: Callable, *args: Any) -> Any:
    """fn(*args) without keeping what happens inside: backward runs fn again. Less memory, more time, the same bits.

    Running again has no effect of its own on modules and random numbers: modules that fn calls are meanwhile as they
    were before the first time (modes, buffers and other attributes), batch norm moves its running statistics once, and
    dropout draws the same numbers. Anything else that fn does besides its result, such as adding to a list, happens
    again.

    Args:
        fn: a function of its tensor arguments, and of modules and parameters that it closes over. A parameter that has
            changed in between is not noticed.
        args: its arguments.

    Returns:
        What fn returns. Gradients reach arguments and parameters as without checkpoint.

    Raises:
        TypeError: fn can't be called.
        RuntimeError: in backward, when fn then draws random numbers more or less often.

    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".

    Example:
        >>> layer, x = pf.nn.Linear(4, 4), pf.ones(2, 4)
        >>> y = pf.checkpoint(lambda x: layer(layer(x, activation="gelu")), x)
        >>> y.sum().backward()
        >>> layer.weight.grad.shape
        (4, 4)
    """
    if not callable(fn):
        raise TypeError(f"checkpoint: expected a function, got {type(fn).__name__}")
    if not _core.grad_enabled():
        note_owner(fn)
        return fn(*args)
    # Parameters reach fn by closure, so its result must be recorded even if no argument requires a gradient.
    anchor = _core.zeros(requires_grad=True)
    return _Checkpoint.apply(fn, anchor, *args)
