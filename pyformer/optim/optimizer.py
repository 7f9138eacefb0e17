"""The base of the optimisers: parameter groups, state and its saving."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyformer as pf
from pyformer import _core
from pyformer.float_mode import in_default_float_mode
from pyformer.identity import TensorMap, distinct
from pyformer.names.arguments import Explained
from pyformer.nn.precision import gradient_dtype

_HALVES = (pf.bfloat16, pf.float16)


class Optimizer(metaclass=Explained):
    """Base of the optimisers: parameter groups, state and its saving.

    Args:
        params: parameters, leaves that require a gradient; or groups, dicts of "params" and options of their own.
        defaults: the options of a group that does not say otherwise.

    Attributes:
        param_groups: a list of dicts, "params" and the options of each, "lr" among them; they may be changed between
            steps.
        state: what is kept of each parameter, a dict by the parameter itself.

    A parameter that is listed twice in a group is one. A copy or pickle of (model, optimizer) goes on as they do; one
    of an optimiser alone has copies of the parameters, too. After `Module.to` the state follows the parameters.

    The state of a 16-bit parameter is float32, and has a "master", a float32 copy of the parameter made at its first
    step: a step changes the master and rounds it into the parameter. Where elements of the parameter have been
    written to since the step before, by loading weights for example, the master's start again from what was written.

    Raises:
        ValueError: there is no parameter, one is in two groups or needs no gradient, or an option is unknown or out of
            range.
        TypeError: something is no Tensor, of another dtype than float, or no number.

    Example:
        >>> layer = pf.nn.Linear(2, 1)
        >>> groups = [{"params": [layer.weight]}, {"params": [layer.bias], "weight_decay": 0.0}]
        >>> optimizer = pf.optim.AdamW(groups, lr=0.1)
        >>> isinstance(optimizer, pf.optim.Optimizer), [group["weight_decay"] for group in optimizer.param_groups]
        (True, [0.01, 0.0])
    """

    # The names of the tensors that a parameter's state may hold (`_state_names`) and must hold (`_always`).
    _state_names: tuple[str, ...] = ()
    _always: tuple[str, ...] = ()
    # Whether `_update` can be recorded (pf.cuda.Graph) and by itself changes nothing where `_norm` is not finite.
    _waits_for_nobody = False
    _norm: pf.Tensor | None = None
    _skipped: pf.Tensor | None = None  # how many of the steps that `_counted` counted were not taken
    _counted: list[pf.Tensor] | None = None  # parameters whose scaled steps may not all have been taken; None: none

    def __init__(self, params: Iterable[Any], **defaults: Any) -> None:
        self._name = type(self).__name__
        if isinstance(params, pf.Tensor) or not isinstance(params, Iterable):
            raise TypeError(f"{self._name}: expected a list of Tensors or of groups, got {type(params).__name__}")
        groups = list(params)
        if not groups:
            raise ValueError(f"{self._name}: expected at least one parameter, got none")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        self._defaults = defaults
        self.param_groups = [self._group(group, defaults) for group in groups]
        self.state: TensorMap[dict[str, Any]] = TensorMap()
        self._check_distinct(self._all())

    def _check_distinct(self, params: list[pf.Tensor]) -> None:
        if len(distinct(params)) != len(params):
            raise ValueError(f"{self._name}: a parameter is in two groups")

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds parameters, such as those of layers that are no longer frozen.

        Args:
            group: a dict with "params" and the options that differ.

        Raises:
            ValueError: a parameter is in a group already, or an option not known or out of range.
            TypeError: it is no dict with "params".

        Example:
            >>> head, body = pf.nn.Linear(2, 1), pf.nn.Linear(2, 2)
            >>> optimizer = pf.optim.SGD(head.parameters(), lr=0.5)
            >>> optimizer.add_param_group({"params": body.parameters(), "lr": 0.25})
            >>> [group["lr"] for group in optimizer.param_groups]
            [0.5, 0.25]
        """
        added = self._group(group, self._defaults)
        self._check_distinct([*self._all(), *added["params"]])
        self.param_groups.append(added)

    def _group(self, group: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{self._name}: a group must be a dict with 'params', got {type(group).__name__}")
        unknown = sorted(set(group) - set(defaults) - {"params"})
        if unknown:
            raise ValueError(f"{self._name}: unknown options {unknown}, known {sorted(defaults)}")
        params = group["params"]
        params = distinct([params] if isinstance(params, pf.Tensor) else params)
        for p in params:
            if not isinstance(p, pf.Tensor):
                raise TypeError(f"{self._name}: expected Tensors, got {type(p).__name__}")
            if p.dtype not in (pf.float32, pf.float64, *_HALVES):
                raise TypeError(f"{self._name}: parameters must be of a float dtype, got {p.dtype}")
            if not (p.requires_grad and p.is_leaf):
                raise ValueError(f"{self._name}: every parameter must be a leaf that requires a gradient")
        result = {**defaults, **group, "params": params}
        result["base_lr"] = result["lr"]
        self._check_options(result)
        return result

    def _check_options(self, options: Mapping[str, Any]) -> None:
        for name in ("lr", "base_lr", "weight_decay"):
            self._check_range(name, options[name], 0.0, math.inf)

    def _check_range(self, name: str, value: float, low: float, high: float) -> None:
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
            raise TypeError(f"{self._name}: {name} must be a number, got {type(value).__name__}")
        if isinstance(value, pf.Tensor) and value.requires_grad:
            raise TypeError(f"{self._name}: {name} must be a number, got a tensor that requires a gradient")
        if not low <= value < high:
            raise ValueError(f"{self._name}: {name} must be in [{low}, {high}), got {value}")

    def _all(self) -> list[pf.Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def _state_of(self, p: pf.Tensor, names: tuple[str, ...]) -> dict[str, Any]:
        """The state of p, where p is; tensors that it lacks of those named start as zeros."""
        state = self.state.get(p)
        if state is None:
            if _core.is_recording(p.device):
                raise RuntimeError(f"{self._name}: a first step makes the state and can't be recorded: take one before")
            state = self.state[p] = {"step": 0}
        if _core.is_state_of(p, state, names):
            return state
        dtype = gradient_dtype(p)
        for name in (*self._state_names, "master"):
            kept = state.get(name)
            if kept is not None and (kept.dtype != dtype or kept.device != p.device):
                state[name] = kept.to(dtype).to(p.device)
        for name in names:
            if name not in state:
                state[name] = pf.zeros(self._shape_of(p, name), dtype=dtype, device=p.device)
        if p.dtype not in _HALVES:
            state.pop("master", None)
        elif "master" not in state:
            state["master"] = p.detach().to(pf.float32)
        return state

    def _always_of(self, p: pf.Tensor) -> tuple[str, ...]:
        """The tensors that p's state always holds."""
        return self._always

    def _shape_of(self, p: pf.Tensor, name: str) -> tuple[int, ...]:
        """The shape of a tensor of p's state."""
        return tuple(p.shape)

    def __repr__(self) -> str:
        groups = [
            ", ".join(f"{k}={v!r}" for k, v in {**group, "params": len(group["params"])}.items() if k != "base_lr")
            for group in self.param_groups
        ]
        return f"{self._name}({'; '.join(groups)})"

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters: `grad` is None again; zeros with set_to_none=False."""
        if not set_to_none:
            return _core.zero_([p.grad for p in self._all() if p.grad is not None])
        for p in self._all():
            p.grad = None

    @in_default_float_mode
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient, in place.

        Args:
            closure: a function that computes the gradients anew and returns the loss; called first, and recorded also
                under `no_grad`.

        Returns:
            What the closure gave, or None.

        Raises:
            ValueError: a gradient's shape or dtype does not fit its parameter.
            TypeError: AdamW's or SGD's parameters of one group, which are written at once, are on two devices.
        """
        loss = None
        if closure is not None:
            with pf.enable_grad():
                loss = closure()
        self._take_step()
        return loss

    def _take_step(self) -> None:
        if self._norm is None:
            self._settle()
        with pf.no_grad():
            for group in self.param_groups:
                pairs = [(p, grad) for p in group["params"] if (grad := p.grad) is not None]
                if pairs:
                    if not self._waits_for_nobody and _core.is_recording(pairs[0][0].device):
                        raise RuntimeError(f"{self._name}: its step can't be recorded; those of AdamW and SGD can")
                    self._update(group, *(list(column) for column in zip(*pairs, strict=True)))

    @in_default_float_mode
    def _step_where_finite(self, norm: pf.Tensor) -> None:
        """A step, unless `norm`, float64 (), is not finite: on a device without waiting for it."""
        if norm.device == "cpu" or not self._waits_for_nobody:
            if math.isfinite(norm.item()):
                self.step()
            return
        if self._skipped is None:
            if _core.is_recording(norm.device):
                raise RuntimeError(f"{self._name}: a first scaled step can't be recorded: take one before")
            self._skipped = pf.zeros((), dtype=pf.int64, device=norm.device)
        self._count([p for p in self._all() if p.grad is not None])
        self._norm = norm
        try:
            self.step()
        finally:
            self._norm = None
        with pf.no_grad():
            _core.copy_(self._skipped, self._skipped + (norm - norm != 0.0).to(pf.int64))

    def _count(self, params: list[pf.Tensor]) -> None:
        """From now on `_skipped` counts steps of these parameters; waits for the device if it counted others'."""
        counted = self._counted
        if counted is not None and not (len(counted) == len(params) and all(map(operator.is_, counted, params))):
            self._settle()
        self._counted = params

    def _settle(self) -> None:
        """Takes the steps that were not taken off those that were counted."""
        if self._skipped is not None and self._counted is not None:
            skipped = int(self._skipped.item())
            _core.zero_(self._skipped)
            for p in self._counted:
                if p in self.state:  # not if its first step was interrupted
                    self.state[p]["step"] -= skipped
        self._counted = None

    def _at_replay(self, states: list[dict[str, Any]], settings: Callable[[int], Any]) -> Callable[[], Any]:
        """What a step that is recorded is told by each replay, which counts as a step in each state."""
        counted = None if self._norm is None else self._counted

        def told() -> Any:
            if counted is None:
                self._settle()
            else:
                self._count(counted)
            for s in states:
                s["step"] += 1
            return settings(states[0]["step"])

        return told

    def _update(self, group: dict[str, Any], params: list[pf.Tensor], grads: list[pf.Tensor]) -> None:
        raise NotImplementedError

    @in_default_float_mode
    def scale_lr(self, factor: float) -> None:
        """Sets each group's lr to `factor` times the lr that it was made with.

        Raises:
            ValueError: factor is negative, infinite or NaN.
        """
        if not 0.0 <= factor < math.inf:
            raise ValueError(f"{self._name}: factor must be a number from 0, got {factor}")
        for group in self.param_groups:
            group["lr"] = group["base_lr"] * factor

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {...}}, "param_groups": [...]}: parameters appear by index.

        Loading it into an optimiser over the same parameters continues with exactly the same updates. It is no
        snapshot: tensors are not copied, and the next step writes into them. `copy.deepcopy(optimizer.state_dict())`
        keeps the values of now.
        """
        self._settle()
        index: TensorMap[int] = TensorMap()
        for i, p in enumerate(self._all()):
            index[p] = i
        groups = [{**group, "params": [index[p] for p in group["params"]]} for group in self.param_groups]
        state = {index[p]: dict(value) for p, value in self.state.items() if p in index}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a copy of what `state_dict` gave; everything is checked first.

        Raises:
            ValueError: groups, parameter counts, names or shapes differ, or an option is out of range.
            TypeError: something is of the wrong type.
        """
        options = self._checked_options(self._part(state_dict, "param_groups", (list, tuple)))
        state = self._checked_states(self._part(state_dict, "state", Mapping))
        for own, loaded in zip(self.param_groups, options, strict=True):
            own.update(loaded)
        if self._skipped is not None:
            _core.zero_(self._skipped)  # in place: steps that were recorded count there
        self.state, self._counted = state, None

    def _part(self, value: Any, name: str, kind: Any) -> Any:
        if not isinstance(value, Mapping) or name not in value:
            raise ValueError(f"{self._name}: expected a state dict with {name!r}")
        if not isinstance(value[name], kind):
            raise TypeError(f"{self._name}: {name} must be a list or dict as state_dict gives it, got {value[name]!r}")
        return value[name]

    def _checked_options(self, groups: Any) -> list[dict[str, Any]]:
        sizes = [len(group["params"]) for group in self.param_groups]
        given = [len(self._part(group, "params", (list, tuple))) for group in groups]
        if given != sizes:
            raise ValueError(f"{self._name}: expected parameter groups of sizes {sizes}, got {given}")
        result = []
        for own, group in zip(self.param_groups, groups, strict=True):
            options = {k: _plain(v) for k, v in group.items() if k != "params" and k in own}
            self._check_options({**own, **options})
            result.append(options)
        return result

    def _checked_states(self, states: Mapping[Any, Any]) -> TensorMap[dict[str, Any]]:
        params = self._all()
        index = {str(i): i for i in range(len(params))}  # a file has turned the keys into strings
        loaded: TensorMap[dict[str, Any]] = TensorMap()
        for key, value in states.items():
            i = index.get(str(key))
            if i is None:
                raise ValueError(f"{self._name}: state of parameter {key!r}, of {len(params)}")
            loaded[params[i]] = self._checked_state(f"of parameter {i}", params[i], value)
        return loaded

    def _checked_state(self, which: str, p: pf.Tensor, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise TypeError(f"{self._name}: state {which} must be a dict, got {type(value).__name__}")
        master = ("master",) if p.dtype in _HALVES else ()
        needed, known = {"step", *self._always_of(p), *master}, {"step", *self._state_names, *master}
        if not needed <= set(value) <= known:
            got = sorted(map(str, value))
            raise ValueError(f"{self._name}: state {which} must hold {sorted(known)}, got {got}")
        step = value["step"]
        if isinstance(step, bool) or not isinstance(step, int):
            raise TypeError(f"{self._name}: step {which} must be an int, got {type(step).__name__}")
        if not 0 <= step < 2**63 - 1:
            raise ValueError(f"{self._name}: step {which} must be in [0, 2**63 - 1), got {step}")
        names = [name for name in (*self._state_names, *master) if name in value]
        return {"step": step, **{name: self._checked_tensor(name, which, p, value[name]) for name in names}}

    def _checked_tensor(self, name: str, which: str, p: pf.Tensor, tensor: Any) -> pf.Tensor:
        which, shape = f"{name} {which}", self._shape_of(p, name)
        if not isinstance(tensor, pf.Tensor):
            raise TypeError(f"{self._name}: {which} must be a Tensor, got {type(tensor).__name__}")
        dtype = gradient_dtype(p)
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(f"{self._name}: {which} must be {dtype} {shape}, got {tensor.dtype} {tuple(tensor.shape)}")
        return pf.tensor(tensor, device=p.device)


def count_step(states: list[dict[str, Any]], update: Callable[[], None]) -> None:
    # Calls update and counts a step in each state, both or neither, whenever Ctrl-C comes: update, a native call, is
    # whole or raises before it writes, and extend() notes its return before Python can look at signals.
    before = [s["step"] for s in states]
    done: list[None] = []
    try:
        for s, step in zip(states, before, strict=True):
            s["step"] = step + 1
        done.extend(itertools.starmap(update, [()]))
    except BaseException:
        if not done:
            for s, step in zip(states, before, strict=True):
                s["step"] = step
        raise


def masters_of(states: list[dict[str, Any]]) -> list[pf.Tensor | None]:
    masters = [s.get("master") for s in states]
    return masters if any(m is not None for m in masters) else []


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
