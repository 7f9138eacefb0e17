"""Gradient mode, mixed precision, recomputation, and gradients of one's own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from pyformer import _core
from pyformer._core import DType, Tensor
from pyformer.effects import note_owner, noted

F = TypeVar("F", bound=Callable[..., Any])


class _GradMode(threading.local):
    """Sets whether operations of this thread are recorded; a context manager and a decorator, with brackets or bare."""

    enabled: bool

    @overload
    def __new__(cls) -> _GradMode: ...

    @overload
    def __new__(cls, fn: F) -> F: ...  # type: ignore[misc]

    def __new__(cls, fn: Any = None) -> Any:
        if fn is None:
            return super().__new__(cls)
        if not callable(fn):
            raise TypeError(f"{cls.__name__}: expected a function to decorate, or nothing, got {type(fn).__name__}")
        return cls()(fn)

    def __init__(self) -> None:
        self._previous: list[bool] = []  # one for each time this thread is within it

    def __enter__(self) -> None:
        self._previous.append(_core.set_grad_enabled(self.enabled))

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._previous.pop())

    def __call__(self, fn: F) -> F:
        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return fn(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


class no_grad(_GradMode):
    """Within it, operations on this thread record nothing and their results require no gradient.

    A context manager, or a decorator as `@pf.no_grad` or `@pf.no_grad()`.

    Raises:
        TypeError: it is given something that is no function.

    Example:
        >>> x = pf.ones(2, requires_grad=True)
        >>> with pf.no_grad():
        ...     y = x * 2.0
        >>> y.requires_grad
        False
        >>> @pf.no_grad
        ... def double(x):
        ...     return x * 2.0
        >>> double(x).requires_grad
        False
    """

    enabled = False


class inference_mode(no_grad):
    """torch's name of `no_grad`, and no more than that. `pf.nn.inference()` also turns dropout off.

    Raises:
        TypeError: it is given something that is no function.

    Example:
        >>> with pf.inference_mode():
        ...     y = pf.ones(2, requires_grad=True) * 2.0
        >>> y.requires_grad
        False
    """


class enable_grad(_GradMode):
    """Within it, operations on this thread are recorded again, inside a `no_grad()` for example.

    Raises:
        TypeError: it is given something that is no function.

    Example:
        >>> x = pf.ones(2, requires_grad=True)
        >>> with pf.no_grad(), pf.enable_grad():
        ...     y = x * 2.0
        >>> y.requires_grad
        True
    """

    enabled = True


class set_grad_enabled:
    """Sets whether operations on this thread are recorded, at once; as a context manager only until its end.

    Args:
        on: a bool.

    Raises:
        TypeError: it is no bool.

    Example:
        >>> with pf.set_grad_enabled(False):
        ...     y = pf.ones(2, requires_grad=True) * 2.0
        >>> y.requires_grad, pf.is_grad_enabled()
        (False, True)
    """

    def __init__(self, on: bool) -> None:
        if not isinstance(on, bool):
            raise TypeError(f"set_grad_enabled: expected a bool, got {type(on).__name__}")
        self._before = _core.set_grad_enabled(on)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_enabled(self._before)


def is_grad_enabled() -> bool:
    """Whether operations on this thread are recorded.

    Example:
        >>> pf.is_grad_enabled()
        True
    """
    return _core.grad_enabled()


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of outputs with respect to inputs; the `grad` of every tensor stays as it is.

    Inputs may be results of operations, too. What was recorded between inputs and outputs is used up, as by
    `backward`, and the rest is not touched.

    Args:
        outputs: tensors, or one.
        inputs: tensors that they were made from, or one.
        grad_outputs: the gradients of the outputs; None means 1, for an output of one element.
        retain_graph: keeps what was recorded for another pass.
        create_graph: must be False: gradients are not recorded themselves.
        allow_unused: gives None for an input that no output depends on, in place of an error.

    Returns:
        Tuple of Tensors, one an input, of its shape and dtype; float32 of a leaf of 16 bits.

    Raises:
        RuntimeError: an output depends on nothing that requires a gradient, an input is not used, or the record was
            already used up.
        ValueError: create_graph is True, or gradients do not fit the outputs in number or shape.
        TypeError: something is no Tensor.

    Example:
        >>> x = pf.tensor([1.0, 2.0], requires_grad=True)
        >>> y = x * x
        >>> pf.autograd.grad((y * 3.0).sum(), [x, y])
        (tensor([ 6., 12.], dtype=float32), tensor([3., 3.], dtype=float32))
        >>> x.grad is None
        True
    """
    if create_graph:
        raise ValueError("autograd.grad: create_graph must be False: gradients are not recorded themselves")
    roots, wanted = _tensors("outputs", outputs), _tensors("inputs", inputs)
    given = [None] * len(roots) if grad_outputs is None else grad_outputs
    given = [given] if isinstance(given, Tensor) else given
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"autograd.grad: grad_outputs must be Tensors or None, got {type(given).__name__}")
    if len(given) != len(roots):
        raise ValueError(f"autograd.grad: grad_outputs must be {len(roots)}, one an output, got {len(given)}")
    seeds = [None if seed is None else _tensors("grad_outputs", seed)[0] for seed in given]
    for i, tensor in enumerate(wanted):
        if not tensor.requires_grad:
            raise RuntimeError(f"autograd.grad: input {i} does not require a gradient")
    found = _core.gradients(roots, seeds, wanted, retain_graph)
    unused = [i for i, gradient in enumerate(found) if gradient is None]
    if unused and not allow_unused:
        raise RuntimeError(f"autograd.grad: no output depends on input {unused[0]}; allow_unused=True gives None")
    return tuple(found)


def _tensors(name: str, given: Any) -> list[Tensor]:
    tensors = [given] if isinstance(given, Tensor) else given
    if not isinstance(tensors, (list, tuple)) or not all(isinstance(t, Tensor) for t in tensors):
        raise TypeError(f"autograd.grad: {name} must be a Tensor or a list of Tensors, got {type(given).__name__}")
    return list(tensors)


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

    Products are `linear`, `matmul`, `attention`, recurrent layers and what is made of them; the page on mixed precision
    lists them. All else (residuals, norms, softmax, losses, parameters, their gradients, optimisers) is float32: 16-bit
    operands are widened first. float64 stays as it is. A backward pass computes as its forward did, wherever it runs,
    and so does what `checkpoint` runs again. A model whose weights are bfloat16 computes so by itself.

    A context manager, or a decorator as `@pf.autocast("bfloat16")`. It nests, and `pf.autocast("float32")` within it
    makes products float32 again.

    Args:
        kind: "bfloat16" or "float32", or the dtype; as in torch also a type of device, "cpu" or "cuda", which changes
            nothing: tensors know their device.
        dtype: the dtype, where `kind` is a device's.
        enabled: False is "float32".
        device_type: what torch calls such a `kind`.

    Raises:
        ValueError: another dtype, or two.
        TypeError: no dtype.

    Example:
        >>> x = pf.tensor([1.001])
        >>> with pf.autocast("bfloat16"):
        ...     y = pf.ops.matmul(x, x)
        >>> y, pf.ops.matmul(x, x)
        (tensor(1., dtype=float32), tensor(1.002001, dtype=float32))
    """

    def __init__(
        self,
        kind: str | DType = "cpu",
        dtype: str | DType | None = None,
        enabled: bool = True,
        *,
        device_type: str | None = None,
    ) -> None:
        kind = kind if device_type is None else device_type
        if isinstance(kind, str) and kind in ("cpu", "cuda"):
            dtype = "bfloat16" if dtype is None else dtype
        elif dtype is not None:
            raise ValueError(f"autocast: expected one dtype, got {kind} and {dtype}")
        else:
            dtype = kind
        mode = DType.__members__.get(dtype) if isinstance(dtype, str) else dtype
        if not isinstance(dtype, (str, DType)):
            raise TypeError(f"autocast: expected bfloat16 or float32, got {type(dtype).__name__}")
        if mode not in (DType.bfloat16, DType.float32):
            advice = '; write model.to("float16"), and pf.optim.GradScaler to train' if mode == DType.float16 else ""
            raise ValueError(f"autocast: expected bfloat16 or float32, got {getattr(dtype, 'name', dtype)}{advice}")
        self._mode = mode if enabled else DType.float32
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
                raise RuntimeError(f"saved_tensors: tensor {i} was changed in place after the forward pass")
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


def checkpoint(fn: Callable, *args: Any) -> Any:
    """fn(*args) without keeping what happens inside: backward runs fn again. Less memory, more time, the same bits.

    Running again has no effect of its own on modules and random numbers: modules that fn calls are meanwhile as they
    were before the first time (modes, buffers and other attributes, among them tensors, NumPy arrays, lists, dicts and
    sets that fn writes), batch norm moves its running statistics once, and dropout draws the same numbers. Anything
    else that fn does besides its result, such as adding to a list of no module, happens again.

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
    mode = _core.precision()
    inputs = [a for a in args if isinstance(a, Tensor)]
    with no_grad():
        result, streams, notes = noted(fn, *(a.detach() if isinstance(a, Tensor) else a for a in args))
    outputs = _as_list(result)
    if not all(isinstance(output, Tensor) for output in outputs):
        raise TypeError(
            f"checkpoint: the function must return a Tensor or a tuple of them, got {type(result).__name__}"
        )
    # The tape keeps the tensors: here they would keep each other, and a long chain of them would end in recursion.
    places = [None if isinstance(a, Tensor) else (a,) for a in args]

    def again(tensors: list[Tensor]) -> list[Tensor]:
        rest = iter(tensors[1:])
        with notes.undone(), enable_grad(), _Precision(mode):
            return _as_list(_core.replay_streams(streams, fn, *(place[0] if place else next(rest) for place in places)))

    # Parameters reach fn by closure, so its result must be recorded even if no argument requires a gradient.
    anchor = _core.zeros(requires_grad=True)
    recorded = _core.record_checkpoint([anchor, *inputs], outputs, again)
    return tuple(recorded) if isinstance(result, (tuple, list)) else recorded[0]


def _as_list(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]
