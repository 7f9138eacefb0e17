"""Losses of margins and of distributions, and activations, as modules of the functions in pyformer.names.margins."""

from __future__ import annotations

import pyformer as pf
from pyformer import ops
from pyformer.nn.module import Module
from pyformer.nn.names import _Loss


class PoissonNLLLoss(_Loss):
    """What a Poisson distribution says of counts; see `pf.ops.poisson_nll_loss`.

    Args:
        log_input: whether x is a logarithm of means, not means.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.PoissonNLLLoss()(pf.zeros(2), pf.ones(2))
        tensor(1., dtype=float32)
    """

    def __init__(self, log_input: bool = True, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._options = {"log_input": log_input}

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x beside counts."""
        return ops.poisson_nll_loss(x, target, reduction=self.reduction, **self._options)


class GaussianNLLLoss(_Loss):
    """What a normal distribution says of the target; see `pf.ops.gaussian_nll_loss`.

    Args:
        full: whether log(2 pi) / 2 is added.
        eps: the least variance.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.GaussianNLLLoss()(pf.zeros(2), pf.ones(2), pf.ones(2))
        tensor(0.5, dtype=float32)
    """

    def __init__(self, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._options = {"full": full, "eps": eps}

    def forward(self, x: pf.Tensor, target: pf.Tensor, var: pf.Tensor) -> pf.Tensor:
        """The loss of means x beside target, and variances."""
        return ops.gaussian_nll_loss(x, target, var, reduction=self.reduction, **self._options)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-target * x)); see `pf.ops.soft_margin_loss`.

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.SoftMarginLoss()(pf.zeros(2), pf.ones(2))
        tensor(0.6931472, dtype=float32)
    """

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x beside targets -1 and 1."""
        return ops.soft_margin_loss(x, target, reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    """Distances of likes, and what those of unlikes lack; see `pf.ops.hinge_embedding_loss`.

    Args:
        margin: the distance that unlikes should have.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.HingeEmbeddingLoss()(pf.tensor([0.5]), pf.ones(1))
        tensor(0.5, dtype=float32)
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._options = {"margin": margin}

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of distances x beside targets -1 and 1."""
        return ops.hinge_embedding_loss(x, target, reduction=self.reduction, **self._options)


class MarginRankingLoss(_Loss):
    """Whether x is above y; see `pf.ops.margin_ranking_loss`.

    Args:
        margin: by how much the one should be above the other.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.MarginRankingLoss()(pf.tensor([1.0]), pf.tensor([3.0]), pf.ones(1))
        tensor(2., dtype=float32)
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._options = {"margin": margin}

    def forward(self, x: pf.Tensor, y: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x and y, beside targets -1 and 1."""
        return ops.margin_ranking_loss(x, y, target, reduction=self.reduction, **self._options)


class CosineEmbeddingLoss(_Loss):
    """Angles between likes and unlikes; see `pf.ops.cosine_embedding_loss`.

    Args:
        margin: the cosine that unlikes may have.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.CosineEmbeddingLoss()(pf.ones(1, 2), -pf.ones(1, 2), pf.ones(1))
        tensor(2., dtype=float32)
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._options = {"margin": margin}

    def forward(self, x: pf.Tensor, y: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of x and y (..., C), beside targets -1 and 1."""
        return ops.cosine_embedding_loss(x, y, target, reduction=self.reduction, **self._options)


class TripletMarginLoss(_Loss):
    """Whether a like is nearer than an unlike; see `pf.ops.triplet_margin_loss`.

    Args:
        margin: how much nearer the positive should be.
        p: of the norm.
        eps: added to the differences, as in torch.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.TripletMarginLoss()(pf.zeros(1, 2), pf.ones(1, 2), pf.ones(1, 2))
        tensor(1., dtype=float32)
    """

    def __init__(self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._options = {"margin": margin, "p": p, "eps": eps}

    def forward(self, anchor: pf.Tensor, positive: pf.Tensor, negative: pf.Tensor) -> pf.Tensor:
        """The loss of an anchor, its like and its unlike (..., C)."""
        return ops.triplet_margin_loss(anchor, positive, negative, reduction=self.reduction, **self._options)


class MultiLabelSoftMarginLoss(_Loss):
    """Binary cross-entropy, the mean over the classes; see `pf.ops.multilabel_soft_margin_loss`.

    Args:
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.MultiLabelSoftMarginLoss()(pf.zeros(1, 2), pf.ones(1, 2))
        tensor(0.6931472, dtype=float32)
    """

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of logits x beside labels 0 and 1, (N, C)."""
        return ops.multilabel_soft_margin_loss(x, target, reduction=self.reduction)


class MultiMarginLoss(_Loss):
    """How far the right class is above the others; see `pf.ops.multi_margin_loss`.

    Args:
        margin: by how much the right class should be above each other.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the reduction is not known, or the shapes do not fit (when called).

    Example:
        >>> pf.nn.MultiMarginLoss()(pf.tensor([[0.0, 0.5]]), pf.tensor([0]))
        tensor(0.75, dtype=float32)
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._options = {"margin": margin}

    def forward(self, x: pf.Tensor, target: pf.Tensor) -> pf.Tensor:
        """The loss of scores x (N, C) beside classes (N,)."""
        return ops.multi_margin_loss(x, target, reduction=self.reduction, **self._options)


class SELU(Module):
    """Keeps mean 0 and variance 1 from layer to layer; see `pf.ops.selu`.

    Raises:
        TypeError: x is no Tensor (when called).

    Example:
        >>> pf.nn.SELU()(pf.tensor([0.0, 1.0]))
        tensor([0.      , 1.050701], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """selu(x), of x's shape."""
        return ops.selu(x)


class Softsign(Module):
    """x / (1 + |x|); see `pf.ops.softsign`.

    Raises:
        TypeError: x is no Tensor (when called).

    Example:
        >>> pf.nn.Softsign()(pf.tensor([-1.0, 3.0]))
        tensor([-0.5 ,  0.75], dtype=float32)
    """

    _takes_inplace = True

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """softsign(x), of x's shape."""
        return ops.softsign(x)


class Hardtanh(Module):
    """x, and the nearest end of [min_val, max_val] where it lies beyond.

    Args:
        min_val, max_val: the ends.

    Raises:
        ValueError: min_val is above max_val.
        TypeError: x is no Tensor (when called).

    Example:
        >>> pf.nn.Hardtanh()(pf.tensor([-2.0, 0.5]))
        tensor([-1. ,  0.5], dtype=float32)
    """

    _takes_inplace = True

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__()
        if min_val > max_val:
            raise ValueError(f"Hardtanh: min_val must be at most max_val, got {min_val} and {max_val}")
        self.min_val, self.max_val = min_val, max_val

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        """x within the ends."""
        return ops.hardtanh(x, self.min_val, self.max_val)
