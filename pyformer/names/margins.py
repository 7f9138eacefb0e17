"""Losses of margins and of distributions, and activations, that are asked for less often."""

from __future__ import annotations

from pyformer._core import Tensor, ops
from pyformer.names.choosing import clamp, gather, one_hot
from pyformer.names.losses import elu, reduced, softplus
from pyformer.names.products import cosine_similarity
from pyformer.names.shapes import unsqueeze

_LOG_2PI = 1.8378770664093453


def selu(x: Tensor) -> Tensor:
    """scale * elu(x, alpha) with the two numbers that keep mean 0 and variance 1 from layer to layer.

    Raises:
        TypeError: x is no Tensor.

    Source: Klambauer et al. 2017, "Self-Normalizing Neural Networks".

    Example:
        >>> pf.ops.selu(pf.tensor([0.0, 1.0]))
        tensor([0.      , 1.050701], dtype=float32)
    """
    return elu(x, 1.6732632423543772848170429916717) * 1.0507009873554804934193349852946


def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|).

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.ops.softsign(pf.tensor([-1.0, 3.0]))
        tensor([-0.5 ,  0.75], dtype=float32)
    """
    return x / (ops.abs(x) + 1.0)


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x, and the nearest end of [min_val, max_val] where it lies beyond.

    Args:
        x: (...).
        min_val, max_val: the ends.

    Raises:
        ValueError: min_val is above max_val.
        TypeError: x is no Tensor.

    Example:
        >>> pf.ops.hardtanh(pf.tensor([-2.0, 0.5]))
        tensor([-1. ,  0.5], dtype=float32)
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val must be at most max_val, got {min_val} and {max_val}")
    return clamp(x, min_val, max_val)


def poisson_nll_loss(
    x: Tensor, target: Tensor, log_input: bool = True, *, eps: float = 1e-8, reduction: str = "mean"
) -> Tensor:
    """exp(x) - target * x: what a Poisson distribution of mean exp(x) says of a count, less a constant.

    Args:
        x: (...), logarithms of means; means where log_input is False.
        target: as x, counts.
        log_input: whether x is a logarithm.
        eps: added to a mean before its logarithm is taken.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.poisson_nll_loss(pf.zeros(2), pf.ones(2))
        tensor(1., dtype=float32)
    """
    losses = ops.exp(x) - target * x if log_input else x - target * ops.log(x + eps)
    return reduced("poisson_nll_loss", losses, reduction)


def gaussian_nll_loss(
    x: Tensor, target: Tensor, var: Tensor, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log(var) + (x - target)^2 / var) / 2: what a normal distribution of mean x and variance var says of target.

    Args:
        x, target: (...).
        var: as x, variances; at least eps is taken.
        full: whether log(2 pi) / 2 is added.
        eps: the least variance.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.gaussian_nll_loss(pf.zeros(2), pf.ones(2), pf.ones(2))
        tensor(0.5, dtype=float32)
    """
    # What is below eps is taken for eps, and its gradient stays that of the formula, as in torch.
    fixed = var.detach()
    var = ops.where(ops.less(fixed, eps), var - fixed + eps, var)
    losses = (ops.log(var) + ops.square(x - target) / var) * 0.5
    return reduced("gaussian_nll_loss", losses + 0.5 * _LOG_2PI if full else losses, reduction)


def soft_margin_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * x)) for targets -1 and 1.

    Args:
        x: (...), scores.
        target: as x, -1 and 1.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.soft_margin_loss(pf.zeros(2), pf.ones(2))
        tensor(0.6931472, dtype=float32)
    """
    return reduced("soft_margin_loss", softplus(-(target * x)), reduction)


def hinge_embedding_loss(x: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """x where target is 1, max(0, margin - x) where it is -1: of distances x between likes and unlikes.

    Args:
        x: (...), distances.
        target: as x, 1 of likes and -1 of unlikes.
        margin: the distance that unlikes should have.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.hinge_embedding_loss(pf.tensor([0.5, 0.25]), pf.tensor([1.0, -1.0]), reduction="none")
        tensor([0.5 , 0.75], dtype=float32)
    """
    losses = ops.where(ops.equal(target, 1), x, clamp(margin - x, min=0.0))
    return reduced("hinge_embedding_loss", losses, reduction)


def margin_ranking_loss(x: Tensor, y: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """max(0, margin - target * (x - y)): x should be above y where target is 1, below where it is -1.

    Args:
        x, y: (...), scores.
        target: as x, 1 and -1.
        margin: by how much the one should be above the other.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.margin_ranking_loss(pf.tensor([1.0]), pf.tensor([3.0]), pf.ones(1))
        tensor(2., dtype=float32)
    """
    return reduced("margin_ranking_loss", clamp(margin - target * (x - y), min=0.0), reduction)


def cosine_embedding_loss(x: Tensor, y: Tensor, target: Tensor, margin: float = 0.0, reduction: str = "mean") -> Tensor:
    """1 - cos(x, y) where target is 1, max(0, cos(x, y) - margin) where it is -1, along the last axis.

    Args:
        x, y: (..., C).
        target: (...), 1 of likes and -1 of unlikes.
        margin: the cosine that unlikes may have.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.cosine_embedding_loss(pf.ones(1, 2), -pf.ones(1, 2), pf.ones(1))
        tensor(2., dtype=float32)
    """
    cosine = cosine_similarity(x, y, -1)
    losses = ops.where(ops.equal(target, 1), 1.0 - cosine, clamp(cosine - margin, min=0.0))
    return reduced("cosine_embedding_loss", losses, reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """max(0, |anchor - positive| - |anchor - negative| + margin), with p-norms along the last axis.

    Args:
        anchor, positive, negative: (..., C).
        margin: how much nearer the positive should be.
        p: of the norm.
        eps: added to the differences, as in torch.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Source: Balntas et al. 2016, "Learning shallow convolutional feature descriptors with triplet losses".

    Example:
        >>> pf.ops.triplet_margin_loss(pf.zeros(1, 2), pf.ones(1, 2), pf.ones(1, 2))
        tensor(1., dtype=float32)
    """
    near, far = ((anchor - other + eps).norm(p, axis=-1) for other in (positive, negative))
    return reduced("triplet_margin_loss", clamp(near - far + margin, min=0.0), reduction)


def multilabel_soft_margin_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Binary cross-entropy of logits (N, C) beside labels 0 and 1, the mean over the classes.

    Args:
        x: (N, C), logits.
        target: as x, 0 and 1.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes differ, or the reduction is not known.

    Example:
        >>> pf.ops.multilabel_soft_margin_loss(pf.zeros(1, 2), pf.ones(1, 2))
        tensor(0.6931472, dtype=float32)
    """
    losses = ops.mean(ops.bce_with_logits(x, target, "none"), -1)
    return reduced("multilabel_soft_margin_loss", losses, reduction)


def multi_margin_loss(x: Tensor, target: Tensor, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    """The mean over the classes of max(0, margin - x[target] + x[other]), for scores (N, C) and classes (N,).

    Args:
        x: (N, C), scores.
        target: (N,), classes.
        margin: by how much the right class should be above each other.
        reduction: "mean", "sum" or "none".

    Raises:
        ValueError: the shapes do not fit, or the reduction is not known.
        IndexError: a class is out of range.

    Example:
        >>> pf.ops.multi_margin_loss(pf.tensor([[0.0, 0.5]]), pf.tensor([0]))
        tensor(0.75, dtype=float32)
    """
    right = gather(x, unsqueeze(target, -1), -1)
    others = ops.logical_not(one_hot(target, x.shape[-1]).to("bool"))
    losses = ops.where(others, clamp(margin - right + x, min=0.0), 0.0)
    return reduced("multi_margin_loss", ops.mean(losses, -1), reduction)


__all__ = [
    "cosine_embedding_loss",
    "gaussian_nll_loss",
    "hardtanh",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "selu",
    "soft_margin_loss",
    "softsign",
    "triplet_margin_loss",
]
