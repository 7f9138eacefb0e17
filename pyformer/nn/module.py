"""The base of every layer and model: finds parameters, saves and loads them, moves them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import pyformer as pf
from pyformer import _core
from pyformer.arrays import plain_array
from pyformer.effects import WRITABLE, watching
from pyformer.float_mode import in_default_float_mode
from pyformer.identity import TensorMap, distinct, is_same
from pyformer.nn.init import Outline
from pyformer.nn.making import MadeOn
from pyformer.nn.precision import gradient_dtype, is_float

PARAMETER, BUFFER, TRANSIENT, MODULE = "parameter", "buffer", "transient buffer", "module"


class _Local(threading.local):
    def __init__(self) -> None:
        self.inference = 0  # how many `inference` blocks this thread is within
        self.modes: list[int] = []  # of floating-point arithmetic, each from before one of them


_local = _Local()
_changes = 0  # of modules: what they are made of


def changes() -> int:
    """A number that is another one after a module of this process has got another attribute, part or hook."""
    return _changes


def _note_change() -> None:
    global _changes
    _changes += 1


class inference(contextlib.ContextDecorator):
    """Within it, modules on this thread compute as in evaluation mode, whatever theirs is, and nothing is recorded.

    `training` is False in every module then; the modes themselves stay as they are. All that generates, translates,
    samples or evaluates is computed so.

    Example:
        >>> dropout = pf.nn.Dropout(0.5)
        >>> with pf.nn.inference():
        ...     dropout(pf.ones(4))
        tensor([1., 1., 1., 1.], dtype=float32)
    """

    def __init__(self) -> None:
        self._no_grad = pf.no_grad()

    def __enter__(self) -> None:
        _local.modes.append(_core.enter_default_float_mode())
        self._no_grad.__enter__()
        _local.inference += 1

    def __exit__(self, *exc: object) -> None:
        _local.inference -= 1
        self._no_grad.__exit__(*exc)
        _core.set_float_mode(_local.modes.pop())


def inferring() -> bool:
    """Whether this thread is within `inference`."""
    return _local.inference > 0


_LEFT_OUT_HOOKS = ("register_backward_hook", "register_full_backward_hook", "register_full_backward_pre_hook")
_HOOKS_OF_BACKWARD = (
    "; pf.autograd.grad(loss, x) gives the gradient of any tensor, a forward hook may return what an autograd.Function "
    "made of the output, whose backward sees the gradient"
)


def is_plain(module: Module, *kinds: type[Module]) -> bool:
    """Whether calling the module computes what one of `kinds` does and nothing else: then an operation may do its work
    in one with others. One with hooks, and one of a class with a `forward` of its own, such as a LoRA layer, is
    called."""
    own = vars(module)
    if type(module) not in kinds and all(type(module).forward is not kind.forward for kind in kinds):
        return False
    return not own.get("_forward_hooks") and not own.get("_forward_pre_hooks") and "forward" not in own


def _kind_of(value: Any) -> str | None:
    """What assigning `value` to a new name registers it as."""
    if isinstance(value, Module):
        return MODULE
    is_parameter = isinstance(value, Outline) or (
        isinstance(value, pf.Tensor) and value.requires_grad and value.is_leaf
    )
    return PARAMETER if is_parameter else None


def _described(value: Any) -> str:
    if not isinstance(value, pf.Tensor):
        return f"a {type(value).__name__}"
    if not value.is_leaf:
        return "the result of an operation"
    return "a parameter" if value.requires_grad else "a tensor that requires no gradient"


class LoadedNames(NamedTuple):
    """What `load_state_dict` gives: the names that the state lacked, and those that the module has no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Hook:
    """What takes a module's hook away again."""

    def __init__(self, hooks: dict[Hook, Any]) -> None:
        self._hooks = hooks

    def remove(self) -> None:
        """The hook is called no more."""
        self._hooks.pop(self, None)
        _note_change()


class Module(metaclass=MadeOn):
    """Base class of layers and models.

    Tensors that require a gradient become parameters when they are assigned to an attribute, Modules become
    children. Other tensors are attributes like any other unless given to `register_buffer`. `module(x)` calls
    `module.forward(x)`, which a subclass defines.

    What is registered is replaced by its like only, or by None, so that nothing leaves training unnoticed: a result of
    an operation, an array or a tensor without a gradient assigned over a parameter is a TypeError. `pf.nn.init.fill_`
    writes values into a parameter; `del module.weight` makes the name free. An optimiser goes on with the parameters
    that it was given, not with one that is assigned later.

    A parameter that stands in several places is one parameter. It stays one through `to`, copies and pickles, and
    through `save_pretrained` and `from_pretrained`.

    Every module and model takes the keyword `device`, also where its own arguments do not list it:
    `pf.nn.Linear(2, 2, device="cpu")` is `pf.nn.Linear(2, 2).to(pf.device("cpu"))`.

    Raises:
        AttributeError: a parameter or child is assigned before `super().__init__()`.
        TypeError: something else is assigned over a parameter, child or buffer.
        NotImplementedError: the module is called and has no forward.

    Example:
        >>> class Classifier(pf.nn.Module):
        ...     def __init__(self, features, classes):
        ...         super().__init__()
        ...         self.hidden = pf.nn.Linear(features, 8)
        ...         self.out = pf.nn.Linear(8, classes)
        ...     def forward(self, x):
        ...         return self.out(self.hidden(x, activation="gelu"))
        >>> model = Classifier(4, 3)
        >>> model(pf.zeros(5, 4)).shape, model.num_parameters()
        ((5, 3), 67)
        >>> [name for name, _ in model.named_parameters()]
        ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
        >>> model
        Classifier(
          (hidden): Linear(4, 8, bias=True)
          (out): Linear(8, 3, bias=True)
        )
    """

    _forward_hooks: dict[Hook, Callable[[Module, tuple, Any], Any]] | None = None
    _forward_pre_hooks: dict[Hook, Callable[[Module, tuple], Any]] | None = None

    def __init__(self) -> None:
        object.__setattr__(self, "_kinds", {})
        object.__setattr__(self, "training", True)

    @property
    def training(self) -> bool:
        """Whether `train()` (as at first) or `eval()` was called last; False within `inference`, whichever it was.

        Dropout and batch norm look at it.
        """
        return self.__dict__.get("training", True) and not inferring()

    @training.setter
    def training(self, mode: bool) -> None:
        self.__dict__["training"] = bool(mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes; a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__}: forward is not defined")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        forward = self._hooked_forward if self._forward_hooks or self._forward_pre_hooks else self.forward
        return forward(*args, **kwargs) if _core.is_plain_call() else self._call_watched(forward, *args, **kwargs)

    @in_default_float_mode
    def _call_watched(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        for notes in watching.notes:
            notes.take(self)
        if not self.enters_autocast():
            return forward(*args, **kwargs)
        with pf.autocast("bfloat16"):
            return forward(*args, **kwargs)

    def _hooked_forward(self, *args: Any, **kwargs: Any) -> Any:
        for before in list((self._forward_pre_hooks or {}).values()):
            changed = before(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in list((self._forward_hooks or {}).values()):
            replacement = hook(self, args, result)
            result = result if replacement is None else replacement
        return result

    def enters_autocast(self) -> bool:
        """Whether a call computes within a `pf.autocast("bfloat16")` of its own: the weights are bfloat16, and the
        caller is within none."""
        if not _core.may_enter_autocast():
            return False
        first = self._first_parameter()
        return first is not None and first.dtype == pf.bfloat16

    def _first_parameter(self) -> Any:
        """The first of `parameters()`, or None."""
        for name, kind in self._kinds.items():
            found = None
            if kind == PARAMETER:
                found = self.__dict__[name]
            elif kind == MODULE:
                found = self.__dict__[name]._first_parameter()
            if found is not None:
                return found
        return None

    def __setattr__(self, name: str, value: Any) -> None:
        known = self.__dict__.get("_kinds", {}).get(name)
        if known is not None:
            self._check_replacement(name, known, value)
        kind = None if value is None else known or _kind_of(value)
        if kind is None:
            self.__dict__.get("_kinds", {}).pop(name, None)
        elif "_kinds" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before setting {name}")
        else:
            self._kinds[name] = kind
        object.__setattr__(self, name, value)
        if name != "training":  # inference computes the same in both modes
            _note_change()

    def _check_replacement(self, name: str, known: str, value: Any) -> None:
        """TypeError unless `value` may take the place of what is registered as `name`."""
        if value is None or isinstance(value, Outline):
            return
        is_tensor, replacing = isinstance(value, pf.Tensor), f"{type(self).__name__}: {name} is a {known}"
        if known == PARAMETER:
            is_frozen = not getattr(getattr(self, name), "requires_grad", False)
            if is_tensor and value.is_leaf and (value.requires_grad or (is_frozen and is_float(value.dtype))):
                return
            raise TypeError(
                f"{replacing}: expected pf.nn.Parameter(...) or None, got {_described(value)}; "
                f"pf.nn.init.fill_ writes values into the parameter, del makes the name free"
            )
        if known == MODULE:
            if not isinstance(value, Module):
                raise TypeError(f"{replacing}: expected a Module or None, got {_described(value)}; del it first")
        elif not is_tensor or (value.requires_grad and value.is_leaf):
            raise TypeError(
                f"{replacing}: expected a tensor that is no parameter, or None, got {_described(value)}; del it first"
            )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            for owner in type(self).__mro__:
                if name in owner.__dict__:  # a property that raised an AttributeError: again, for what it says
                    return owner.__dict__[name].__get__(self)
            hint = _HOOKS_OF_BACKWARD if name in _LEFT_OUT_HOOKS else ""
            raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}{hint}", name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        self._kinds.pop(name, None)
        object.__delattr__(self, name)
        _note_change()

    def __getstate__(self) -> dict[str, Any]:
        # A copy gets registers of names and hooks of its own; copy.copy would share them.
        names = ("_kinds", "_forward_hooks", "_forward_pre_hooks")
        return {**self.__dict__, **{name: dict(self.__dict__[name]) for name in names if name in self.__dict__}}

    def register_buffer(self, name: str, value: pf.Tensor, persistent: bool = True) -> None:
        """Adds a tensor that is not trained: moved by `to`, in the state dict if `persistent`.

        Args:
            name: the attribute it becomes.
            value: the tensor.
            persistent: whether it is saved.

        Raises:
            TypeError: the value is no Tensor, or the name is that of a parameter or child.
        """
        if not isinstance(value, pf.Tensor | Outline):
            raise TypeError(f"register_buffer: {name} must be a Tensor, got {type(value).__name__}")
        if self._kinds.get(name) in (PARAMETER, MODULE):
            raise TypeError(f"register_buffer: {name} is a {self._kinds[name]} of this module; del it first")
        self._kinds[name] = BUFFER if persistent else TRANSIENT
        object.__setattr__(self, name, value)
        _note_change()

    def register_parameter(self, name: str, value: pf.Tensor | None) -> None:
        """Adds a parameter as assigning it to the attribute `name` does; None leaves the name without one.

        Raises:
            TypeError: the value is no leaf that requires a gradient, or the name is that of something else.
            KeyError: Module itself uses the name.

        Example:
            >>> net = pf.nn.Module()
            >>> net.register_parameter("scale", pf.nn.Parameter([1.0, 2.0]))
            >>> [name for name, _ in net.named_parameters()]
            ['scale']
        """
        _check_name("register_parameter", name)
        if value is not None and _kind_of(value) != PARAMETER:
            raise TypeError(f"register_parameter: expected pf.nn.Parameter(...) or None, got {_described(value)}")
        setattr(self, name, value)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child as assigning it to the attribute `name` does; None leaves the name without one.

        Raises:
            TypeError: it is no Module, or the name is that of something else.
            KeyError: Module itself uses the name.

        Example:
            >>> net = pf.nn.Sequential()
            >>> net.add_module("hidden", pf.nn.Linear(2, 3))
            >>> net
            Sequential(
              (hidden): Linear(2, 3, bias=True)
            )
        """
        _check_name("add_module", name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: expected a Module or None, got {_described(module)}")
        setattr(self, name, module)

    def get_submodule(self, target: str) -> Module:
        """The module of a dotted name, as `named_modules` has them; "" is this one.

        Raises:
            AttributeError: there is no such module.

        Example:
            >>> net = pf.nn.Sequential(pf.nn.Linear(2, 3), pf.nn.ReLU())
            >>> net.get_submodule("0")
            Linear(2, 3, bias=True)
        """
        found = dict(self.named_modules()).get(target)
        if found is None:
            raise AttributeError(f"{type(self).__name__}: has no module {target!r}")
        return found

    def get_parameter(self, target: str) -> pf.Tensor:
        """The parameter of a dotted name, one of `state_dict`'s.

        Raises:
            AttributeError: there is no such parameter.

        Example:
            >>> net = pf.nn.Sequential(pf.nn.Linear(2, 3), pf.nn.ReLU())
            >>> net.get_parameter("0.weight").shape
            (3, 2)
        """
        found = dict(self._named_tensors(PARAMETER)).get(target)
        if found is None:
            raise AttributeError(f"{type(self).__name__}: has no parameter {target!r}")
        return found

    def _own(self, *kinds: str) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name, kind in self._kinds.items() if kind in kinds]

    def own_state(self) -> list[tuple[str, Any]]:
        """(name, value) of the attributes of this module itself that can be written in place and are no parameters:
        buffers, other tensors, NumPy arrays, lists, dicts and sets."""
        kinds = self._kinds
        return [(n, v) for n, v in self.__dict__.items() if isinstance(v, WRITABLE) and kinds.get(n) != PARAMETER]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children, in the order they were assigned."""
        yield from self._own(MODULE)

    def children(self) -> Iterator[Module]:
        """The direct children, in the order they were assigned."""
        for _, child in self._own(MODULE):
            yield child

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module (named "") and all below it."""
        yield prefix, self
        for name, child in self._own(MODULE):
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        for _, module in self.named_modules():
            yield module

    def _named_tensors(self, *kinds: str) -> Iterator[tuple[str, pf.Tensor]]:
        for path, module in self.named_modules():
            for name, tensor in module._own(*kinds):
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(self) -> Iterator[tuple[str, pf.Tensor]]:
        """(dotted name, parameter); a parameter that is used twice comes once."""
        yield from self._distinct(PARAMETER)

    def _distinct(self, *kinds: str) -> Iterator[tuple[str, pf.Tensor]]:
        """(first dotted name, tensor) of these kinds."""
        names: TensorMap[str] = TensorMap()
        for name, tensor in self._named_tensors(*kinds):
            names.setdefault(tensor, name)
        for tensor, name in names.items():
            yield name, tensor

    def parameters(self) -> Iterator[pf.Tensor]:
        """The parameters; one that is used twice comes once."""
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, pf.Tensor]]:
        """(dotted name, tensor) of everything given to `register_buffer`; a buffer that is used twice comes once."""
        yield from self._distinct(BUFFER, TRANSIENT)

    def shared_names(self) -> dict[str, str]:
        """Of what `state_dict` holds, each further name of a tensor, with its first name."""
        first: TensorMap[str] = TensorMap()
        names = {name: first.setdefault(tensor, name) for name, tensor in self._named_tensors(PARAMETER, BUFFER)}
        return {name: other for name, other in names.items() if name != other}

    def share(self, name: str, other: str) -> None:
        """Makes the tensor of the dotted name `name` the one that is called `other`, as assigning it would.

        Raises:
            KeyError: there is no such name.
            ValueError: the shapes differ.
        """
        own = dict(self._named_tensors(PARAMETER, BUFFER))
        if own[name].shape != own[other].shape:
            raise ValueError(f"share: {name} is {tuple(own[name].shape)}, {other} {tuple(own[other].shape)}")
        path, _, attribute = name.rpartition(".")
        object.__setattr__(dict(self.named_modules())[path], attribute, own[other])
        _note_change()

    def num_parameters(self) -> int:
        """How many numbers the parameters hold; shared ones count once."""
        return sum(parameter.size for parameter in self.parameters())

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of all that `state_dict` holds, by name."""
        return {name: tuple(t.shape) for name, t in self._named_tensors(PARAMETER, BUFFER)}

    def state_dict(self) -> dict[str, pf.Tensor]:
        """Parameters and persistent buffers by dotted name, detached; one that is used twice has all its names.

        It is no snapshot: the tensors share this module's memory, and what is kept changes as training goes on.
        `copy.deepcopy(module.state_dict())` keeps the values of now. Matrices that `quantize` has put in the place of
        weights are no part of it, nor of a file of `pf.save` of it: `save_pretrained`, a copy and a pickle have them.
        """
        return {name: t.detach() for name, t in self._named_tensors(PARAMETER, BUFFER)}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadedNames:
        """Copies values from `state` (name to Tensor or array) into this module.

        Everything is checked before the first value changes. Floats convert to the dtype of the
        parameter. Returns (missing_keys, unexpected_keys), a named tuple, both empty when `strict`. A tensor that is
        used twice here may come under one of its names. Quantised matrices, which no state dict has, stay what they
        are.

        Raises:
            KeyError: names are missing or unexpected, and `strict`.
            ValueError: a matrix here is quantised, and `strict`; a shape differs, or two names of one tensor here have
                different values.
            TypeError: `state` is no dict of values by name, or a value can't be converted to the dtype here.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: expected a dict of values by name, got {type(state).__name__}")
        for name in state:
            if not isinstance(name, str):
                raise TypeError(f"load_state_dict: expected names as keys, got {name!r}")
        kept = [name for name, module in self.named_modules() if getattr(module, "quantized", None) is not None]
        if strict and kept:
            raise ValueError(
                f"load_state_dict: a state dict has no quantised matrices, as those here of {_some(kept)}: "
                f"expected strict=False, which leaves them, or pf.from_pretrained of what save_pretrained wrote"
            )
        own = dict(self._named_tensors(PARAMETER, BUFFER))
        given: TensorMap[str] = TensorMap()
        for name, tensor in own.items():
            if name in state:
                given.setdefault(tensor, name)
        missing = [name for name, tensor in own.items() if tensor not in given]
        unexpected = [name for name in state if name not in own]
        if strict and (missing or unexpected):
            raise KeyError(f"load_state_dict: missing {_some(missing)}, unexpected {_some(unexpected)}")
        values = {name: _fitting(name, t, state[name]) for name, t in own.items() if name in state}
        for name, value in values.items():
            first = given[own[name]]
            if name != first and not _equal(value, values[first]):
                raise ValueError(f"load_state_dict: {name} and {first} are one tensor here, got different values")
        with pf.no_grad():
            for target, source in ((own[name], values[name]) for name in given.values()):
                # A copy, since the values may be this module's own memory.
                _core.copy_([target], [pf.tensor(source, device=target.device)])
        return LoadedNames(missing, unexpected)

    def train(self, mode: bool = True) -> Module:
        """Sets training mode (dropout active) here and below; returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Sets evaluation mode (no dropout) here and below; returns self."""
        return self.train(False)

    def to(self, target: Any = None, dtype: Any = None, *, device: Any = None, non_blocking: bool = False) -> Module:
        """Moves parameters and buffers to a device, or its floats to a float dtype; returns self.

        A module whose parameters are bfloat16 computes as a float32 module with these weights does within
        `pf.autocast("bfloat16")`: activations, logits and gradients are float32. So are its buffers.

        They stay the tensors that they are, with other memory: what is shared stays shared, also with other modules,
        and an optimiser made before goes on with them. Gradients move along. Not while another thread computes with
        the module, or between a forward and its backward.

        Args:
            target: a device such as "cpu", or a float dtype or its name.
            dtype, device: the same by name, as torch has them.
            non_blocking: taken for torch's sake, without effect.

        Raises:
            TypeError: the dtype is not float.
            ValueError: the device is not there; a matrix is quantised and the device is not the CPU, or the dtype
                float64 or float16: what is computed with it is float32.
        """
        wanted = [given for given in (target, dtype, device) if given is not None]
        if not wanted:
            raise TypeError("Module.to: expected a device or a float dtype")
        for given in wanted:
            self._to(given)
        return self

    def _to(self, target: Any) -> None:
        if isinstance(target, str):
            target = pf.DType.__members__.get(target, target)
        to_dtype = isinstance(target, pf.DType)
        if to_dtype and not is_float(target):
            raise TypeError(f"Module.to: expected a float dtype, got {target}")
        is_quantized = any(getattr(module, "quantized", None) is not None for module in self.modules())
        if is_quantized and target in (pf.float64, pf.float16):
            raise ValueError(f"Module.to: expected float32 or bfloat16 for quantised matrices, got {target.name}")
        if is_quantized and not to_dtype and pf.device(target) != pf.device("cpu"):
            raise ValueError(f"Module.to: quantised matrices are on the CPU only, got {target}")
        for kinds in ((PARAMETER,), (BUFFER, TRANSIENT)):
            for tensor in distinct(t for _, t in self._named_tensors(*kinds)):
                if not to_dtype or is_float(tensor.dtype):
                    _move(tensor, pf.float32 if target == pf.bfloat16 and PARAMETER not in kinds else target)

    def requires_grad_(self, on: bool = True) -> Module:
        """Sets whether the parameters require a gradient, here and below; returns self."""
        for parameter in list(self.parameters()):
            parameter.requires_grad = on
        return self

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Calls function(module) for all modules below, then for this one; returns self."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], Any]) -> Hook:
        """Has hook(module, args, result) called after each call of this module.

        What the hook returns takes the result's place unless it is None.

        Raises:
            TypeError: the hook can't be called.

        Returns:
            An object whose `remove()` takes the hook away.
        """
        return self._register_hook("forward", hook)

    def register_forward_pre_hook(self, hook: Callable[[Module, tuple], Any]) -> Hook:
        """Has hook(module, args) called before each call of this module.

        What the hook returns takes the place of the positional arguments unless it is None.

        Raises:
            TypeError: the hook can't be called.

        Returns:
            An object whose `remove()` takes the hook away.
        """
        return self._register_hook("forward_pre", hook)

    def _register_hook(self, kind: str, hook: Callable[..., Any]) -> Hook:
        if not callable(hook):
            raise TypeError(f"register_{kind}_hook: expected a function, got {type(hook).__name__}")
        hooks = self.__dict__.setdefault(f"_{kind}_hooks", {})
        handle = Hook(hooks)
        hooks[handle] = hook
        _note_change()
        return handle

    def cpu(self) -> Module:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self) -> Module:
        """`to("cuda")`."""
        return self.to("cuda")

    def double(self) -> Module:
        """`to("float64")`."""
        return self.to("float64")

    def float(self) -> Module:
        """`to("float32")`."""
        return self.to("float32")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters; with set_to_none=False those that are there become zeros."""
        if not set_to_none:
            return _core.zero_([p.grad for p in self.parameters() if p.grad is not None])
        for parameter in self.parameters():
            parameter.grad = None

    def __repr__(self) -> str:
        lines = [f"({n}): {c!r}".replace("\n", "\n  ") for n, c in self.named_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        lines = [extra, *lines] if extra else lines
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"

    def extra_repr(self) -> str:
        """What `repr` shows between the brackets, before the children."""
        return ""


def _check_name(owner: str, name: str) -> None:
    if name == "_kinds" or hasattr(Module, name):
        raise KeyError(f"{owner}: {name!r} is a name that Module itself uses")


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _equal(a: pf.Tensor, b: pf.Tensor) -> bool:
    a, b = (t.to("cpu").to(pf.float32) if t.dtype == pf.bfloat16 else t.to("cpu") for t in (a, b))
    return np.array_equal(a.numpy(), b.numpy(), equal_nan=a.dtype != pf.bool)


def _fitting(name: str, target: pf.Tensor, value: Any) -> pf.Tensor:
    if not isinstance(value, pf.Tensor):
        value = pf.tensor(plain_array(f"load_state_dict: {name}", value))
    if tuple(value.shape) != tuple(target.shape):
        raise ValueError(f"load_state_dict: {name} must have shape {tuple(target.shape)}, got {tuple(value.shape)}")
    if value.dtype == target.dtype:
        return value.detach()
    if not (is_float(value.dtype) and is_float(target.dtype)):
        raise TypeError(f"load_state_dict: {name} must be {target.dtype}, got {value.dtype}")
    return value.detach().to(target.dtype)


def _move(tensor: pf.Tensor, target: Any) -> None:
    here = tensor.detach()
    moved = here.to(target)
    if is_same(moved, here):  # it is there already
        return
    grad, tensor.grad = tensor.grad, None
    _core.set_array_(tensor, moved)
    if grad is not None:
        tensor.grad = grad.to(gradient_dtype(tensor)).to(tensor.device)
