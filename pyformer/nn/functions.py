"""Modules that call one function of `pf.ops`, by torch's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyformer as pf
from pyformer import ops
from pyformer.nn.module import PARAMETER, Module
from pyformer.nn.names import _Loss, parameters_in_lines


class ReLU6(Module):
    """min(max(x, 0), 6).

    Raises:
        TypeError: x is not a float tensor (when called).

    Example:
        >>> pf.nn.ReLU6()(pf.tensor([-1.0, 7.0]))
        tensor([0., 6.], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """relu6(x), of x's shape."""
        return ops.relu6(x)


class Hardsigmoid(Module):
    """min(max(x + 3, 0), 6) / 6.

    Raises:
        TypeError: x is no Tensor (when called).

    Example:
        >>> pf.nn.Hardsigmoid()(pf.zeros(1))
        tensor([0.5], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """hardsigmoid(x), of x's shape."""
        return ops.hardsigmoid(x)


class Hardswish(Module):
    """x hardsigmoid(x).

    Raises:
        TypeError: x is no Tensor (when called).

    Example:
        >>> pf.nn.Hardswish()(pf.tensor([3.0]))
        tensor([3.], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """hardswish(x), of x's shape."""
        return ops.hardswish(x)


class Mish(Module):
    """x tanh(softplus(x)).

    Raises:
        TypeError: x is not a float tensor (when called).

    Example:
        >>> pf.nn.Mish()(pf.zeros(1))
        tensor([0.], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """mish(x), of x's shape."""
        return ops.mish(x)


class LogSigmoid(Module):
    """log(sigmoid(x)).

    Raises:
        TypeError: x is not a float tensor (when called).

    Example:
        >>> pf.nn.LogSigmoid()(pf.zeros(1))
        tensor([-0.6931472], dtype=float32)
    """

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """logsigmoid(x), of x's shape."""
        return ops.logsigmoid(x)


class ELU(Module):
    """x where x > 0, alpha (exp(x) - 1) elsewhere; see `pf.ops.elu`.

    Args:
        alpha: -alpha is the limit for small x.

    Raises:
        TypeError: x is no Tensor (when called).

    Example:
        >>> pf.nn.ELU()(pf.tensor([2.0]))
        tensor([2.], dtype=float32)
    """

    _takes_inplace = True

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """elu(x), of x's shape."""
        return ops.elu(x, self.alpha)


class PReLU(Module):
    """x where x > 0, a learned slope times x elsewhere.

    Args:
        num_parameters: one slope for all, or one for each element of the second axis.
        init: the slope at first.

    Raises:
        ValueError: there are several slopes, and x has not as many elements along its second axis (when called).

    Source: He et al. 2015, "Delving deep into rectifiers".

    Example:
        >>> pf.nn.PReLU()(pf.tensor([-4.0])).tolist()
        [-1.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.weight = pf.nn.Parameter([float(init)] * num_parameters)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """prelu(x), of x's shape."""
        count, channels = self.weight.size, x.shape[1] if x.ndim > 1 else 1
        if count not in (1, channels):
            raise ValueError(f"PReLU: expected x with {count} elements along its second axis, got {x.shape}")
        slopes = self.weight.reshape(-1, *[1] * max(x.ndim - 2, 0)) if x.ndim > 1 else self.weight
        return ops.where(x > 0.0, x, slopes * x)


class LogSoftmax(Module):
    """The logarithm of softmax along an axis; see `pf.ops.log_softmax`.

    Args:
        axis: along which the softmax is taken; by default the last.
        dim: torch's word for axis.

    Raises:
        IndexError: the axis is not there (when called).

    Example:
        >>> pf.nn.LogSoftmax(dim=-1)(pf.zeros(2))
        tensor([-0.6931472, -0.6931472], dtype=float32)
    """

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        super().__init__()
        self.axis = axis if dim is None else dim

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """log_softmax(x), of x's shape."""
        return ops.log_softmax(x, self.axis)


class GLU(Module):
    """Half of x along an axis, times the sigmoid of the other half; see `pf.ops.glu`.

    Args:
        axis: the one that is halved, of even extent; by default the last.
        dim: torch's word for axis.

    Raises:
        ValueError: the axis has an odd extent (when called).

    Example:
        >>> pf.nn.GLU()(pf.zeros(2, 6)).shape
        (2, 3)
    """

    def __init__(self, axis: int = -1, *, dim: int | None = None) -> None:
        super().__init__()
        self.axis = axis if dim is None else dim

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """glu(x)."""
        return ops.glu(x, self.axis)


class Unflatten(Module):
    """Makes one axis several; see `pf.ops.unflatten`.

    Args:
        axis: the one that is split.
        sizes: the extents that it becomes, whose product is its own; one of them may be -1.

    Raises:
        ValueError: the extents do not make up that of the axis (when called).

    Example:
        >>> pf.nn.Unflatten(1, (2, 3))(pf.zeros(4, 6)).shape
        (4, 2, 3)
    """

    def __init__(self, axis: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.axis, self.sizes = axis, tuple(sizes)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """x in more axes."""
        return ops.unflatten(x, self.axis, self.sizes)


class AdaptiveAvgPool2d(Module):
    """Means over windows, as many as the result has elements; see `pf.ops.adaptive_avg_pool2d`.

    Args:
        size: the extents of the result, an int for both or a pair (rows, columns); None keeps an extent.

    Raises:
        ValueError: a size is below 1 (when called).

    Example:
        >>> pf.nn.AdaptiveAvgPool2d(1)(pf.ones(2, 3, 5, 7)).shape
        (2, 3, 1, 1)
    """

    def __init__(self, size: int | Sequence[int | None]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """(..., H, W) -> (..., size, size)."""
        return ops.adaptive_avg_pool2d(x, self.size)


class Upsample(Module):
    """Pictures in another size; see `pf.ops.interpolate`.

    Args:
        size: the new L, or (H, W); an int is both.
        scale_factor: in place of size: what the extents are multiplied with.
        mode: "nearest", "nearest-exact", "linear" (of signals), "bilinear" or "bicubic" (of pictures).
        align_corners: whether the first and last elements stay where they are, rather than the outer edges; None, the
            default, for the modes that have no such choice.

    Raises:
        ValueError: neither size nor scale_factor is given, or the mode is not known (when called).

    Example:
        >>> pf.nn.Upsample(scale_factor=2)(pf.zeros(1, 3, 4, 4)).shape
        (1, 3, 8, 8)
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
    ) -> None:
        super().__init__()
        self.options = {"size": size, "scale_factor": scale_factor, "mode": mode}
        if align_corners is not None:
            self.options["align_corners"] = align_corners

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """(N, C, ...) -> (N, C, ...)."""
        return ops.interpolate(x, **self.options)


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along an axis; see `pf.ops.cosine_similarity`.

    Args:
        axis: the one of the vectors, which the result does not have.
        eps: the least that a norm counts as.
        dim: torch's word for axis.

    Raises:
        IndexError: the axis is not there (when called).

    Example:
        >>> pf.nn.CosineSimilarity()(pf.ones(1, 2), pf.ones(1, 2)).shape
        (1,)
    """

    def __init__(self, axis: int = 1, eps: float = 1e-8, *, dim: int | None = None) -> None:
        super().__init__()
        self.axis, self.eps = axis if dim is None else dim, eps

    def forward(self, a: pf.Tensor, b: pf.Tensor) -> pf.Tensor:
        """The cosines."""
        return ops.cosine_similarity(a, b, self.axis, self.eps)


class NLLLoss(_Loss):
    """The negative log probability of the right classes; see `pf.ops.nll_loss`.

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.NLLLoss()(pf.tensor([[-0.5, -1.0]]), pf.tensor([0]))
        tensor(0.5, dtype=float32)
    """

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of log probabilities x beside classes."""
        return ops.nll_loss(x, target, reduction=self.reduction)


class BCELoss(_Loss):
    """Binary cross-entropy of probabilities; see `pf.ops.binary_cross_entropy`.

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or (when called) the shapes differ, or x on the CPU is not in 0 ... 1.

    Example:
        >>> pf.nn.BCELoss()(pf.tensor([0.5]), pf.ones(1))
        tensor(0.6931472, dtype=float32)
    """

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of probabilities x beside target."""
        return ops.binary_cross_entropy(x, target, reduction=self.reduction)


class HuberLoss(_Loss):
    """Half the squared distance below delta, linear above; see `pf.ops.huber_loss`.

    Args:
        reduction: "mean", "sum" or "none".
        delta: the distance from which on the loss is linear.

    Raises:
        ValueError: the reduction is not known (when made or called).

    Example:
        >>> pf.nn.HuberLoss()(pf.tensor([3.0]), pf.zeros(1))
        tensor(2.5, dtype=float32)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x beside target."""
        return ops.huber_loss(x, target, self.reduction, self.delta)


class SmoothL1Loss(_Loss):
    """Half the squared distance below 1, linear above; see `pf.ops.huber_loss`.

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known (when made or called).

    Example:
        >>> pf.nn.SmoothL1Loss()(pf.tensor([3.0]), pf.zeros(1))
        tensor(2.5, dtype=float32)
    """

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x beside target."""
        return ops.smooth_l1_loss(x, target, self.reduction)


class KLDivLoss(Module):
    """The Kullback-Leibler divergence of log probabilities; see `pf.ops.kl_div`.

    Args:
        reduction: "mean", "sum", "none" or "batchmean", the sum divided by the length of the first axis.

    Raises:
        ValueError: the reduction is not known (when called).

    Example:
        >>> pf.nn.KLDivLoss(reduction="sum")(pf.zeros(1), pf.ones(1))
        tensor(0., dtype=float32)
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The divergence of x from target."""
        return ops.kl_div(x, target, self.reduction)


class ParameterDict(Module):
    """Parameters by name; it has no forward of its own.

    Args:
        parameters: the first members, a dict of parameters by name.

    Raises:
        TypeError: a value is no parameter.
        KeyError: there is no such name.

    Example:
        >>> scales = pf.nn.ParameterDict({"a": pf.nn.Parameter([1.0])})
        >>> list(scales.keys()), scales["a"].shape
        (['a'], (1,))
    """

    def __init__(self, parameters: Mapping[str, pf.Tensor] | None = None) -> None:
        super().__init__()
        for name, value in (parameters or {}).items():
            self[name] = value

    def __setitem__(self, name: str, value: pf.Tensor) -> None:
        if hasattr(type(self), name) or "." in name:
            raise KeyError(f"ParameterDict: {name!r} is a name that Module itself uses, or has a dot")
        self.register_parameter(name, value)

    def __getitem__(self, name: str) -> pf.Tensor:
        if self._kinds.get(name) != PARAMETER:
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._own(PARAMETER))

    def keys(self) -> Iterable[str]:
        """The names."""
        return [name for name, _ in self._own(PARAMETER)]

    def values(self) -> Iterable[pf.Tensor]:
        """The parameters."""
        return [value for _, value in self._own(PARAMETER)]

    def items(self) -> Iterable[tuple[str, pf.Tensor]]:
        """(name, parameter)."""
        return self._own(PARAMETER)

    def __repr__(self) -> str:
        return parameters_in_lines(self)
