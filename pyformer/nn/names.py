"""Modules by the names that torch users know: containers, activations and losses, without kernels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyformer as pf
from pyformer import ops
from pyformer.nn.module import PARAMETER, Module


class Identity(Module):
    """Gives back what it is given.

    Example:
        >>> pf.nn.Identity()(3)
        3

    Raises:
        TypeError: it is called with more than one value.
    """

    def forward(self, x: Any) -> Any:
        """x."""
        return x


class Flatten(Module):
    """Makes the axes from `start` to `end` one: (N, ...) -> (N, n).

    Args:
        start: the first axis that is joined; by default 1, so that the batch stays.
        end: the last one; by default the last of all.

    Raises:
        IndexError: an axis is not there (when called).

    Example:
        >>> pf.nn.Flatten()(pf.zeros(2, 3, 4)).shape
        (2, 12)
    """

    def __init__(self, start: int = 1, end: int = -1) -> None:
        super().__init__()
        self.start, self.end = start, end

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """x in fewer axes."""
        return ops.flatten(x, self.start, self.end)


class Softmax(Module):
    """softmax along an axis; see `pf.ops.softmax`.

    Args:
        axis: along which the results add up to 1; by default the last.
        dim: torch's word for axis.

    Raises:
        IndexError: the axis is not there (when called).

    Example:
        >>> pf.nn.Softmax()(pf.zeros(2))
        tensor([0.5, 0.5], dtype=float32)
    """

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        super().__init__()
        self.axis = axis if dim is None else dim

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """softmax(x), of x's shape."""
        return ops.softmax(x, self.axis)


class LeakyReLU(Module):
    """x where x > 0, slope * x elsewhere.

    Args:
        slope: what a negative x is multiplied with.

    Raises:
        TypeError: x is no Tensor (when called).

    Example:
        >>> pf.nn.LeakyReLU(0.5)(pf.tensor([-2.0, 3.0]))
        tensor([-1.,  3.], dtype=float32)
    """

    _takes_inplace = True

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """leaky_relu(x), of x's shape."""
        return ops.leaky_relu(x, self.slope)


class Softplus(Module):
    """log(1 + exp(x)).

    Raises:
        TypeError: x is not a float tensor (when called).

    Example:
        >>> pf.nn.Softplus()(pf.zeros(1))
        tensor([0.6931472], dtype=float32)
    """

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """softplus(x), of x's shape."""
        return ops.softplus(x)


class ModuleDict(Module):
    """Modules by name; it has no forward of its own.

    Args:
        modules: the first members, a dict of modules by name.

    Raises:
        TypeError: a value is no Module.
        KeyError: there is no such name.
        ValueError: a name is one that Module itself uses, or has a dot.

    Example:
        >>> heads = pf.nn.ModuleDict({"one": pf.nn.Identity()})
        >>> "one" in heads, list(heads.keys()), heads["one"](5)
        (True, ['one'], 5)
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: expected a Module as {name}, got {type(module).__name__}")
        if "." in name or (name not in self and hasattr(self, name)):
            raise ValueError(f"ModuleDict: {name!r} can't be a name here")
        setattr(self, name, module)

    def __getitem__(self, name: str) -> Module:
        found = dict(self.named_children())
        if name not in found:
            raise KeyError(f"ModuleDict: no module {name!r}, there are {list(found)}")
        return found[name]

    def __contains__(self, name: object) -> bool:
        return name in dict(self.named_children())

    def __len__(self) -> int:
        return len(list(self.children()))

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.named_children())

    def keys(self) -> Iterable[str]:
        """The names."""
        return dict(self.named_children()).keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return dict(self.named_children()).values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """(name, module) of each."""
        return dict(self.named_children()).items()


class ParameterList(Module):
    """Parameters in a list, registered under the names 0, 1, 2, ...

    Args:
        parameters: the first members.

    Raises:
        TypeError: a member is no tensor that requires a gradient.
        IndexError: an index is out of range.

    Example:
        >>> scales = pf.nn.ParameterList([pf.nn.Parameter([1.0]), pf.nn.Parameter([2.0])])
        >>> len(scales), scales[-1]
        (2, tensor([2.], dtype=float32, requires_grad=True))
    """

    def __init__(self, parameters: Iterable[pf.Tensor] = ()) -> None:
        super().__init__()
        for parameter in parameters:
            self.append(parameter)

    def append(self, parameter: pf.Tensor) -> ParameterList:
        """Adds a parameter at the end; returns the list.

        Raises:
            TypeError: it is no tensor that requires a gradient.
        """
        if not (isinstance(parameter, pf.Tensor) and parameter.requires_grad and parameter.is_leaf):
            raise TypeError("ParameterList: expected pf.nn.Parameter(...)")
        setattr(self, str(len(self)), parameter)
        return self

    def __len__(self) -> int:
        return len(self._own(PARAMETER))

    def __iter__(self) -> Iterator[pf.Tensor]:
        return iter([parameter for _, parameter in self._own(PARAMETER)])

    def __getitem__(self, index: int) -> pf.Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ParameterList: index {index} is out of range of {len(self)} parameters")
        return getattr(self, str(index % len(self)))

    def __repr__(self) -> str:
        return parameters_in_lines(self)


def parameters_in_lines(module: Module) -> str:
    """What `repr` shows of a container of parameters: the shape and dtype of each."""
    lines = []
    for name, parameter in module._own(PARAMETER):
        size = "x".join(map(str, parameter.shape)) or "()"
        lines.append(f"  ({name}): Parameter containing: [{parameter.dtype.name} of size {size}]\n")
    return f"{type(module).__name__}(\n{''.join(lines)})" if lines else f"{type(module).__name__}()"


class _Loss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"{type(self).__name__}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
        self.reduction = reduction


class MSELoss(_Loss):
    """The mean squared distance; see `pf.ops.mse_loss`.

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes differ (when called).

    Example:
        >>> pf.nn.MSELoss()(pf.ones(2), pf.zeros(2))
        tensor(1., dtype=float32)
    """

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x beside target."""
        return ops.mse_loss(x, target, self.reduction)


class L1Loss(_Loss):
    """The mean distance; see `pf.ops.l1_loss`.

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not broadcast (when called).

    Example:
        >>> pf.nn.L1Loss()(pf.ones(2), pf.zeros(2))
        tensor(1., dtype=float32)
    """

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x beside target."""
        return ops.l1_loss(x, target, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Binary cross-entropy of logits; see `pf.ops.bce_with_logits`.

    Args:
        reduction: "mean", "sum" or "none".
        pos_weight: how much "yes" counts beside "no"; it broadcasts to x. A buffer; None for 1.

    Raises:
        ValueError: the reduction is not known, or the shapes differ (when called).

    Example:
        >>> pf.nn.BCEWithLogitsLoss()(pf.zeros(1), pf.ones(1))
        tensor(0.6931472, dtype=float32)
    """

    def __init__(self, reduction: str = "mean", pos_weight: pf.Tensor | None = None) -> None:
        super().__init__(reduction)
        self.pos_weight = None
        if pos_weight is not None:
            self.register_buffer("pos_weight", pos_weight)

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of logits x beside target."""
        return ops.binary_cross_entropy_with_logits(x, target, self.reduction, pos_weight=self.pos_weight)


class CrossEntropyLoss(_Loss):
    """Cross-entropy of logits (..., V) and classes (...); see `pf.ops.cross_entropy`.

    Args:
        weight: (V,), how much each class counts, or None.
        ignore_index, reduction, label_smoothing: as there.

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.CrossEntropyLoss()(pf.zeros(1, 2), pf.tensor([1]))
        tensor(0.6931472, dtype=float32)
    """

    def __init__(
        self,
        weight: pf.Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.weight = None
        if weight is not None:
            self.register_buffer("weight", weight)

    def forward(self, logits: pf.Tensor, targets: Any) -> pf.Tensor:
        """The loss of logits beside targets."""
        return ops.cross_entropy(
            logits, targets, self.ignore_index, self.reduction, self.label_smoothing, weight=self.weight
        )
