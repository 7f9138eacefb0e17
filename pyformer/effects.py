"""What a function does to the modules that it calls, for `pf.checkpoint`, which runs it twice."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

from pyformer import _core
from pyformer._core import Tensor

_MISSING = object()


class _Notes:
    """The state of the modules that a function calls, each as it was before its first call.

    `changes` keeps of it what the function has changed: attributes that it set, buffers that it wrote; and modes.
    """

    def __init__(self) -> None:
        self._before: dict[Any, tuple[dict[str, Any], dict[str, tuple[int, Tensor]]]] = {}
        self.changes: dict[Any, dict[str, Any]] = {}

    def take(self, module: Any) -> None:
        if module not in self._before:
            buffers = {name: (_core.version(t), _core.tensor(t)) for name, t in module.own_buffers()}
            self._before[module] = dict(module.__dict__), buffers

    def finish(self) -> None:
        for module, (attributes, buffers) in self._before.items():
            now = module.__dict__
            changed = {name: v for name, v in attributes.items() if now.get(name, _MISSING) is not v}
            changed |= {name: _MISSING for name in now if name not in attributes}
            written = {n: copy for n, (version, copy) in buffers.items() if _core.version(attributes[n]) != version}
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
                module.__dict__[name] = value


class _Watching(threading.local):
    notes: tuple[_Notes, ...] = ()  # of the checkpoints around, on this thread


watching = _Watching()  # a module tells each of its notes that it is called, before it computes


def note_owner(fn: Callable) -> None:
    """Notes the module whose method fn is, if it is one: it is called directly."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    owner = getattr(fn, "__self__", None)
    if hasattr(owner, "own_buffers"):
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
