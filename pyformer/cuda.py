"""CUDA devices, which a library of their own brings (libpyformer_cuda.so); without it there are none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyformer as pf
from pyformer import _core

Place = str | int | _core.device


class DeviceProperties(NamedTuple):
    """What a CUDA device is.

    Args:
        name: as its maker calls it.
        memory_bytes: all the memory that it has.
        compute_capability: which instructions it knows, (9, 0) for an H100.
        multiprocessors: how many it has.

    Example:
        >>> pf.cuda.DeviceProperties("a card", 1 << 30, (8, 0), 108).compute_capability
        (8, 0)
    """

    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    multiprocessors: int


def _device(place: Place) -> _core.device:
    """A number is that of a CUDA device."""
    return _core.device(f"cuda:{place}" if isinstance(place, int) else place)


def _cuda_device(place: Place) -> _core.device:
    found = _device(place)
    if found.type == "cpu":
        raise ValueError(f"expected the number or name of a CUDA device, got {place}")
    return found


def is_available() -> bool:
    """Whether tensors can be moved to a CUDA device.

    Example:
        >>> pf.cuda.is_available() or pf.cuda.why() != ""
        True
    """
    return why() == ""


def why() -> str:
    """Why no CUDA device can be used: no library for it in this build, no driver, no card. Empty where one can.

    Example:
        >>> isinstance(pf.cuda.why(), str)
        True
    """
    try:
        _core.device("cuda")
    except ValueError as error:
        return str(error)
    return ""


def device_count() -> int:
    """How many CUDA devices can be used.

    Example:
        >>> pf.cuda.device_count() > 0 or not pf.cuda.is_available()
        True
    """
    count = 0
    while is_available() and _is_there(count):
        count += 1
    return count


def _is_there(index: int) -> bool:
    try:
        _core.device(f"cuda:{index}")
    except ValueError:
        return False
    return True


def get_device_properties(device: Place = 0) -> DeviceProperties:
    """What a CUDA device is.

    Args:
        device: its number or name.

    Raises:
        ValueError: it is not there.

    Example:
        >>> not pf.cuda.is_available() or pf.cuda.get_device_properties(0).memory_bytes > 0
        True
    """
    return DeviceProperties(**_core.device_properties(_cuda_device(device)))


def synchronize(device: Place = 0) -> None:
    """Waits until all is done that this thread had a CUDA device do.

    Kernels are only queued when an operation returns; `item()`, `.to("cpu")` and printing wait by themselves.

    Args:
        device: its number or name.

    Raises:
        RuntimeError: what went wrong there.
        IndexError: an id that was out of range; other errors of values likewise.
        ValueError: the device is not there.

    Example:
        >>> if pf.cuda.is_available():
        ...     pf.cuda.synchronize()
    """
    _core.synchronize(_device(device))


def memory_stats(device: Place = 0) -> dict[str, int]:
    """How much memory tensors take on a CUDA device: `in_use_bytes`, the most there ever was (`peak_bytes`), and what
    is kept for tensors to come (`cached_bytes`).

    Args:
        device: its number or name.

    Raises:
        ValueError: it is not there.

    Example:
        >>> not pf.cuda.is_available() or pf.cuda.memory_stats()["in_use_bytes"] >= 0
        True
    """
    return _core.device_memory(_cuda_device(device))


def empty_cache(device: Place = 0) -> None:
    """Gives the memory that is kept for tensors to come back to a CUDA device, for other programs.

    Args:
        device: its number or name.

    Raises:
        ValueError: it is not there.

    Example:
        >>> if pf.cuda.is_available():
        ...     pf.cuda.empty_cache()
    """
    _core.empty_device_cache(_device(device))


@contextmanager
def stream(device: Place = 0) -> Iterator[None]:
    """A context in which this thread's work on a CUDA device is queued on a stream of its own, beside that of other
    threads. It begins after what the thread queued before, and what it queues afterwards comes behind it.

    Each thread has a stream of its own anyway. Tensors may be handed from one to another: what uses a tensor comes
    after what was queued for it on all the streams where it was used.

    Args:
        device: its number or name.

    Raises:
        ValueError: it is not there.

    Example:
        >>> if pf.cuda.is_available():
        ...     with pf.cuda.stream():
        ...         y = pf.ones(2, device="cuda") + 1
    """
    place = _device(device)
    own = _core.make_stream(place)
    before = _core.enter_stream(place, own)
    try:
        yield
    finally:
        _core.enter_stream(place, before)
        _core.destroy_stream(place, own)


class Graph:
    """What a function has a CUDA device do, recorded once and done again at each call by one launch: small kernels need
    not wait for the host to start them.

    A call copies its inputs to where the recording has them, and gives what the function returned: the same tensors at
    each call, with new contents. Random numbers are drawn, and optimisers (AdamW, SGD) step, as they would if the
    function were called, with the learning rate of the moment. Nothing else that the function does on the host is done
    again: it must not depend on contents of tensors, and tensors that it reads and that are no inputs must stay where
    they are. Threads may call it beside each other and use those tensors: a call comes behind what they queued before,
    and the next one replaces what it returned. Ids that are out of range are told at the next wait, if the last call
    before it had them.

    Args:
        function: called once, with tensors; of what it does on the device nothing happens then. What it makes at a
            first call only, such as an optimiser's state, must be there: call it once before.
        examples: tensors or arrays, with the shape and dtype of the inputs to come.
        device: its number or name.

    Raises:
        ValueError: the device is not there; in a call, inputs of other shapes.
        TypeError: in a call, inputs of other dtypes, or another number of them.
        RuntimeError: the function waits for the device (`item()`, `.to("cpu")`, printing), or the device can't record.

    Example:
        >>> if pf.cuda.is_available():
        ...     double = pf.cuda.Graph(lambda x: x * 2, pf.ones(2, device="cuda"))
        ...     y = double(pf.tensor([1.0, 2.0], device="cuda"))
    """

    def __init__(self, function: Callable[..., Any], *examples: Any, device: Place = 0) -> None:
        place = _device(device)
        self._function = function  # and with it what the recording reads
        self._one_call = threading.Lock()
        self._inputs = [pf.tensor(example, device=place) for example in examples]
        self._recording = _core.GraphRecording(place)
        try:
            self._outputs = function(*self._inputs)
            self._recording.end()
        except BaseException:
            del self._recording  # ends it
            raise

    def __call__(self, *inputs: Any) -> Any:
        if len(inputs) != len(self._inputs):
            raise TypeError(f"Graph: expected {len(self._inputs)} inputs, got {len(inputs)}")
        here = [pf.asarray(x).detach() for x in inputs]
        for i, (x, kept) in enumerate(zip(here, self._inputs, strict=True)):
            if x.shape != kept.shape:
                raise ValueError(f"Graph: input {i} must be {kept.shape}, got {x.shape}")
            if x.dtype != kept.dtype:
                raise TypeError(f"Graph: input {i} must be {kept.dtype.name}, got {x.dtype.name}")
        with self._one_call:
            if inputs:
                _core.copy_(self._inputs, [x.to(self._inputs[0].device) for x in here])
            self._recording.replay()
        return self._outputs
