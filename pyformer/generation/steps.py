"""A model's next tokens: a step that is like the one before is recorded, and its kernel calls are made again without
Python."""

from __future__ import annotations

from dataclasses import replace
from types import FunctionType
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, nn
from pyformer.nn.module import changes

_METHODS = {"hidden", "hidden_at", "logits", "logits_at", "next_logits", "read_inputs"}


def _is_own(model: Any) -> bool:
    """Whether the model's next logits are those of `LanguageModel`, from `read_inputs` to `logits`."""
    kind = type(model)
    if not kind.__module__.startswith("pyformer.") or _METHODS & vars(model).keys():
        return False
    methods = (getattr(kind, name, None) for name in _METHODS)
    return all(getattr(method, "__module__", "").startswith("pyformer.") for method in methods)


def _is_changed(module: nn.Module) -> bool:
    """Whether a method of it, or of its class, was replaced by other Python."""
    kind = type(module)
    on_it = (name for name, value in vars(module).items() if callable(value) and name not in module._kinds)
    return any(isinstance(getattr(kind, name, None), FunctionType) for name in on_it) or any(
        isinstance(method, FunctionType) and not method.__module__.startswith("pyformer")
        for base in kind.__mro__
        if base.__module__.startswith("pyformer")
        for method in vars(base).values()
    )


def _refusal(model: Any) -> str:
    """Why steps of this model can't be recorded: Python that is not known; "" if there is no such reason."""
    if model.reread_at is not None:
        return "what turns queries and keys depends on the lengths of texts"
    if str(model.head.device) != "cpu":
        return "the model is on another device"
    for module in model.modules():
        if not type(module).__module__.startswith("pyformer.") or _is_changed(module):
            return f"{type(module).__name__} is no module of pyformer's own"
        if module._forward_hooks or module._forward_pre_hooks:
            return f"a {type(module).__name__} has hooks"
    return ""


class Steps:
    """Logits of a model's next tokens, one more in each row a step.

    A step does the same kernel calls as the one before it, on other numbers, as long as rows, memory and model stay:
    the second such step is recorded, later ones make its calls again. The bits are the same. What can't be recorded is
    computed operation by operation, as ever; `refused` then says why.

    `made` counts steps, `replayed` those of them that were made from the recording.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.made = self.replayed = 0
        self.refused = "" if _is_own(model) else f"{type(model).__name__} is no model of pyformer's own"
        self._seen: Any = None  # what the last step depended on
        self._replay: _core.Replay | None = None

    def forget(self) -> None:
        """Gives back the memory of the recording."""
        self._seen = self._replay = None

    def times(self) -> list[tuple[str, int]]:
        """The operations of the recorded step, made once more on the numbers of the last one, and the ns of each."""
        return [] if self._replay is None else self._replay.times()

    def next_logits(self, ids: np.ndarray, cache: nn.KVCache) -> pf.Tensor:
        """Logits (B, V) after one token more in each row: ids int64 (B, 1), which join `cache`."""
        if not _is_own(self._model):
            return self._model.next_logits(ids, np.ones(len(ids), np.int64), cache)
        ids, span = self._model.read_inputs(ids, None, cache)
        self.made += 1
        seen = cache.keys[0], len(ids), changes(), _core.precision(), _core.isa()
        again = self._seen is not None and self._seen[0] is seen[0] and self._seen[1:] == seen[1:]
        if not again:
            self.forget()
            self._seen, self.refused = seen, ""
        elif self._replay is not None and self._replay.serves():
            self.replayed += 1
            return self._replay([ids, cache.starts, cache.ends])
        elif self._replay is not None:  # the weights have changed
            self._replay = None
        elif not self.refused:
            return self._record(ids, span, cache)
        return self._logits(ids, span, cache)

    def _logits(self, ids: pf.Tensor, span: Any, cache: nn.KVCache) -> pf.Tensor:
        hidden = self._model.hidden_at(ids, span, cache=cache)
        return self._model.logits(hidden.reshape(-1, hidden.shape[-1]))

    def _record(self, ids: pf.Tensor, span: Any, cache: nn.KVCache) -> pf.Tensor:
        """As `_logits`, and keeps the kernel calls unless there is something that they don't do."""
        self.refused = _refusal(self._model)
        if self.refused:
            return self._logits(ids, span, cache)
        kept = cache.starts, cache.ends
        # Memory of the recording's own, into which later steps write theirs.
        ids, cache.starts, cache.ends = (_core.tensor(x) for x in (ids, *kept))
        span = replace(span, places=cache.starts.reshape(-1, 1), reach={"causal": True, **cache.reach})
        weights = [*self._model.parameters(), *(buffer for _, buffer in self._model.named_buffers())]
        for module in self._model.modules():
            weights += [value for value in vars(module).values() if isinstance(value, pf.Tensor)]  # no parameters, too
        replay = _core.Replay([ids, cache.starts, cache.ends], weights)
        try:
            replay.begin()
            logits = self._logits(ids, span, cache)
            replay.end(logits)
        finally:
            replay.cancel()
            cache.starts, cache.ends = kept
        self.refused, self._replay = replay.refused, None if replay.refused else replay
        return _core.tensor(logits)
