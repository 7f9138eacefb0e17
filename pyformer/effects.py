"""What a function does to the modules that it calls, for `pf.checkpoint`, which runs it twice."""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pyformer import _core
from pyformer._core import Tensor

_MISSING = object()


# What a module may hold that can be written in place.
WRITABLE = (Tensor, np.ndarray, list, dict, set)
_BITS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}  # by the bytes of an element


class _Written:
    """What an attribute of a kind in WRITABLE held: `copy`, in which nobody writes."""

    def __init__(self, value: Any) -> None:
        self._value, self.copy = value, _copied(value)
        self._version = _core.version(value) if isinstance(value, Tensor) else 0

    def is_written(self) -> bool:
        """Whether it was written since. Of a container: whether it holds other objects."""
        if isinstance(self._value, Tensor):
            return _core.version(self._value) != self._version
        if isinstance(self._value, np.ndarray):
            return not _has_same_bytes(self._value, self.copy)
        now, before = _objects(self._value), _objects(self.copy)
        return len(now) != len(before) or any(a is not b for a, b in zip(now, before, strict=True))


def _has_same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    kind = _BITS.get(a.dtype.itemsize)
    if kind is None or a.dtype != b.dtype or a.dtype.hasobject or type(a) is not np.ndarray:
        return a.tobytes() == b.tobytes()
    return np.array_equal(a.view(kind), b.view(kind))  # copies neither


def _copied(value: Any) -> Any:
    return _core.tensor(value.detach()) if isinstance(value, Tensor) else copy.copy(value)


def _objects(container: Any) -> list[Any]:
    return [x for item in container.items() for x in item] if isinstance(container, dict) else list(container)


class _Notes:
    """The state of the modules that a function calls, each as it was before its first call.

    `changes` keeps of it what the function has changed: attributes that it set, and tensors, arrays and containers in
    them that it wrote; and modes.
    """

    def __init__(self) -> None:
        self._before: dict[Any, tuple[dict[str, Any], dict[str, _Written]]] = {}
        self.changes: dict[Any, dict[str, Any]] = {}

    def take(self, module: Any) -> None:
        if module not in self._before:
            self._before[module] = dict(module.__dict__), {n: _Written(v) for n, v in module.own_state()}

    def finish(self) -> None:
        for module, (attributes, state) in self._before.items():
            now = module.__dict__
            changed = {name: v for name, v in attributes.items() if now.get(name, _MISSING) is not v}
            changed |= {name: _MISSING for name in now if name not in attributes}
            written = {name: kept for name, kept in state.items() if kept.is_written()}
            self.changes[module] = {"training": attributes.get("training", _MISSING), **changed, **written}
        self._before = {}

    @contextlib.contextmanager
    def undone(self) -> Iterator[None]:
        """Within it the modules are as they were before the function ran; then they are again as they are now."""
        now = {m: {name: m.__dict__.get(name, _MISSING) for name in values} for m, values in self.changes.items()}
        _set_attributes(self.changes)
        try:
            yield
        finally:
            _set_attributes(now)


def _set_attributes(values: dict[Any, dict[str, Any]]) -> None:
    for module, attributes in values.items():
        for name, value in attributes.items():
            if value is _MISSING:
                module.__dict__.pop(name, None)
            else:
                # A copy of the copy: the function may run again.
                module.__dict__[name] = _copied(value.copy) if isinstance(value, _Written) else value


class _Watching(threading.local):
    notes: tuple[_Notes, ...] = ()  # of the checkpoints around, on this thread


watching = _Watching()  # a module tells each of its notes that it is called, before it computes


def note_owner(fn: Callable) -> None:
    """Notes the module whose method fn is, if it is one: it is called directly."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    owner = getattr(fn, "__self__", None)
    if hasattr(owner, "own_state"):
        for notes in watching.notes:
            notes.take(owner)


def noted(fn: Callable, *args: Any) -> tuple[Any, Any, _Notes]:
    """(fn(*args), the random numbers that it drew, what it did to modules)."""
    outer, notes = watching.notes, _Notes()
    watching.notes = (*outer, notes)
    note_owner(fn)
    try:
        result, streams = _core.record_streams(fn, *args)
    finally:
        watching.notes = outer
    notes.finish()
    return result, streams, notes
