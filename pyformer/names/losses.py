"""Activations, losses and attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyformer import _core
from pyformer._core import DType, Tensor, ops
from pyformer.names.arguments import (
    axis_at,
    check_tensors,
    is_float,
    narrowed,
    part,
    rounded,
    torch_words,
    wide,
    widened,
)
from pyformer.names.making import zeros_like
from pyformer.names.reductions import all as every
from pyformer.names.reductions import norm
from pyformer.names.shapes import squeeze, swapaxes, unsqueeze


@torch_words
def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """x where x > 0, slope * x elsewhere; with a slope of 0 that is 0, also of minus infinity.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.ops.leaky_relu(pf.tensor([-2.0, 3.0]), 0.5)
        tensor([-1.,  3.], dtype=float32)
    """
    if slope == 0:
        return ops.relu(x * 1.0)
    return ops.where(ops.greater(x, 0), x * 1.0, x * slope)  # autocast widens both alike


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x where x > 0, alpha * (exp(x) - 1) elsewhere.

    Raises:
        TypeError: x is no Tensor.

    Example:
        >>> pf.ops.elu(pf.tensor([0.0, 3.0]))
        tensor([0., 3.], dtype=float32)
    """
    below = ops.where(ops.greater(x, 0), 0.0, x)  # minimum would halve the gradient at 0
    # exp(x) - 1 cancels near 0; 2 t / (1 - t) with t = tanh(x / 2) is the same, and does not.
    is_near = ops.greater(below, -1.0)
    half = ops.tanh(ops.where(is_near, below, 0.0) * 0.5)
    less_one = ops.where(is_near, half * 2.0 / (1.0 - half), ops.exp(below) - 1.0)
    return ops.where(ops.greater(x, 0), x, less_one * alpha)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), without overflow.

    Raises:
        TypeError: x is not a float tensor.

    Example:
        >>> pf.ops.softplus(pf.tensor([0.0, 100.0]))
        tensor([  0.6931472, 100.       ], dtype=float32)
    """
    return ops.bce_with_logits(x, zeros_like(x), "none")


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6).

    Raises:
        TypeError: x is not float.

    Example:
        >>> pf.ops.relu6(pf.tensor([-1.0, 7.0]))
        tensor([0., 6.], dtype=float32)
    """
    return ops.minimum(ops.relu(x), 6.0)


def hardsigmoid(x: Tensor) -> Tensor:
    """min(max(x + 3, 0), 6) / 6.

    Raises:
        TypeError: x is no Tensor.

    Source: Howard et al. 2019, "Searching for MobileNetV3".

    Example:
        >>> pf.ops.hardsigmoid(pf.tensor([-3.0, 0.0]))
        tensor([0. , 0.5], dtype=float32)
    """
    return relu6(x + 3.0) / 6.0


def hardswish(x: Tensor) -> Tensor:
    """x hardsigmoid(x).

    Raises:
        TypeError: x is no Tensor.

    Source: Howard et al. 2019, "Searching for MobileNetV3".

    Example:
        >>> pf.ops.hardswish(pf.tensor([-3.0, 3.0]))
        tensor([-0.,  3.], dtype=float32)
    """
    return x * hardsigmoid(x)


def mish(x: Tensor) -> Tensor:
    """x tanh(softplus(x)).

    Raises:
        TypeError: x is not float.

    Source: Misra 2019, "Mish".

    Example:
        >>> pf.ops.mish(pf.zeros(1))
        tensor([0.], dtype=float32)
    """
    return x * ops.tanh(softplus(x))


def logsigmoid(x: Tensor) -> Tensor:
    """log(sigmoid(x)), without overflow: -softplus(-x).

    Raises:
        TypeError: x is not float.

    Example:
        >>> pf.ops.logsigmoid(pf.zeros(1))
        tensor([-0.6931472], dtype=float32)
    """
    return -softplus(-x)


@torch_words
def glu(x: Tensor, axis: int = -1) -> Tensor:
    """The first half of x along an axis, times the sigmoid of the second.

    Raises:
        IndexError: the axis is not there.
        ValueError: its extent is odd.

    Source: Dauphin et al. 2017, "Language modeling with gated convolutional networks".

    Example:
        >>> pf.ops.glu(pf.tensor([4.0, 0.0]))
        tensor([2.], dtype=float32)
    """
    at = axis_at("glu", axis, x.ndim)
    if x.shape[at] % 2:
        raise ValueError(f"glu: expected an even extent, got {x.shape[at]} along axis {axis}")
    half = x.shape[at] // 2
    return part(x, at, None, half) * ops.sigmoid(part(x, at, half, None))


@torch_words
def normalize(x: Tensor, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """x divided by its p-norms along an axis, each at least eps. Computed in float64 and rounded once.

    Raises:
        IndexError: the axis is not there.
        TypeError: x is no Tensor.

    Example:
        >>> pf.ops.normalize(pf.tensor([[3.0, 4.0]]))
        tensor([[0.6, 0.8]], dtype=float32)
    """
    check_tensors("normalize", x)
    whole = wide(x)
    return rounded(whole / ops.maximum(norm(whole, p, axis, keepdims=True), eps), x)


def adaptive_avg_pool2d(x: Tensor, size: int | Sequence[int | None]) -> Tensor:
    """Means over windows, as many as the result has elements: (..., H, W) -> (..., size, size).

    Window i of n along an extent reaches from floor(i extent / n) to ceil((i + 1) extent / n).

    Args:
        x: (..., H, W), float.
        size: of the result, or a pair; None keeps an extent.

    Raises:
        ValueError: x has fewer than two axes, or a size is below 1.

    Example:
        >>> pf.ops.adaptive_avg_pool2d(pf.ones(2, 3, 5, 7), 1).shape
        (2, 3, 1, 1)
    """
    sizes = [size, size] if isinstance(size, int) else list(size)
    if x.ndim < 2 or len(sizes) != 2 or any(n is not None and n < 1 for n in sizes):
        raise ValueError(f"adaptive_avg_pool2d: expected (..., H, W) and sizes of at least 1, got {x.shape}, {size}")
    for axis, count in zip((x.ndim - 2, x.ndim - 1), sizes, strict=True):
        extent = x.shape[axis]
        if count == 1:
            x = ops.mean(x, axis, True)
        elif count not in (None, extent):
            bounds = [(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]
            x = ops.concat([ops.mean(part(x, axis, a, b), axis, True) for a, b in bounds], axis)
    return x


def binary_cross_entropy(x: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean") -> Tensor:
    """-target log(x) - (1 - target) log(1 - x), of probabilities; logarithms are at least -100, as torch's.

    `binary_cross_entropy_with_logits`, of what the sigmoid is taken of, is more exact. The gradient of a logarithm is
    at most 1e12, as torch's. Whether x is in 0 ... 1 is looked at on the CPU alone; elsewhere, what is not gives NaN or
    any number.

    Raises:
        ValueError: the shapes do not fit, reduction is another word, or x on the CPU is not in 0 ... 1.
        TypeError: a dtype does not fit.

    Example:
        >>> pf.ops.binary_cross_entropy(pf.tensor([0.5]), pf.tensor([1.0]))
        tensor(0.6931472, dtype=float32)
    """
    if x.shape != target.shape:
        raise ValueError(f"binary_cross_entropy: expected a target of {x.shape}, got {target.shape}")
    if x.device.type == "cpu" and not _are_probabilities(x.detach()):
        raise ValueError(
            "binary_cross_entropy: expected probabilities, 0 to 1; for logits there is the loss with_logits"
        )
    wide, there = widened(x), widened(target)
    losses = narrowed(-(there * _clamped_log(wide) + (1.0 - there) * _clamped_log(1.0 - wide)), x)
    return reduced("binary_cross_entropy", losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(
    x: Tensor,
    target: Tensor,
    reduction: str = "mean",
    *,
    weight: Tensor | None = None,
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of logits, `bce_with_logits`, with weights.

    Args:
        x: (...), float.
        target: of x's shape, the probabilities of "yes".
        reduction: "mean", "sum" or "none".
        weight: how much each element counts; it broadcasts to x.
        pos_weight: how much "yes" counts beside "no"; it broadcasts to x.

    Raises:
        ValueError: the shapes do not fit, or reduction is another word.
        TypeError: a dtype does not fit.

    Example:
        >>> pf.ops.binary_cross_entropy_with_logits(pf.zeros(1), pf.ones(1), pos_weight=pf.tensor(2.0))
        tensor(1.3862944, dtype=float32)
    """
    if weight is None and pos_weight is None:
        return ops.bce_with_logits(x, target, reduction)
    losses = ops.bce_with_logits(x, target, "none")
    if pos_weight is not None:
        losses = losses + (pos_weight - 1.0) * target * softplus(-x)
    return reduced("binary_cross_entropy_with_logits", losses if weight is None else losses * weight, reduction)


def _are_probabilities(x: Tensor) -> bool:
    is_one = ops.logical_and(ops.greater_equal(x, 0.0), ops.less_equal(x, 1.0))
    return bool(every(is_one).item())


def _clamped_log(x: Tensor) -> Tensor:
    """log(x), at least -100; its gradient at most 1e12."""
    fixed, is_tiny = x.detach(), ops.less(x.detach(), 1e-12)
    least = ops.maximum(ops.log(ops.maximum(fixed, 1e-45 if x.dtype == DType.float32 else 1e-300)), -100.0)
    return ops.where(is_tiny, least + (x - fixed) * 1e12, ops.log(ops.where(is_tiny, 1.0, x)))


def reduced(op: str, losses: Tensor, reduction: str, weights: Tensor | None = None) -> Tensor:
    """The losses' mean, sum or themselves; a mean of nothing, or of weights that are all 0, is 0."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    if reduction == "none":
        return losses
    total = ops.sum(losses)
    if reduction == "sum" or not losses.size:
        return total
    if weights is None:
        return ops.mean(losses)
    counted = ops.sum(weights)
    return total / ops.where(ops.equal(counted, 0), 1.0, counted)


def cross_entropy(
    logits: Tensor,
    targets: Any,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    weight: Tensor | None = None,
) -> Tensor:
    """-log softmax(logits)[target], a row of logits each.

    Args:
        logits: (..., V), float.
        targets: (...), integers: a Tensor, NumPy array or list; or (..., V), floats, a probability for each class.
            Classes are the last axis, not the second as in torch; for probabilities that is not looked at.
        ignore_index: a target that is left out.
        reduction: "mean" over what is left, "sum" or "none".
        label_smoothing: the part of the target that is spread over all classes.
        weight: (V,), how much each class counts; "mean" then divides by the weights' sum. Not with label_smoothing.

    Returns:
        Tensor () or (...), of logits' dtype; 0 where all is ignored.

    Raises:
        ValueError: a shape or option does not fit.
        IndexError: a target is no class.
        TypeError: a dtype does not fit.

    Example:
        >>> pf.ops.cross_entropy(pf.tensor([[0.0, 0.0]]), [1])
        tensor(0.6931472, dtype=float32)
        >>> pf.ops.cross_entropy(pf.zeros(2, 2), [0, 1], weight=pf.tensor([1.0, 3.0]), reduction="none")
        tensor([0.6931472, 2.0794415], dtype=float32)
    """
    targets = _ids(targets, logits)
    if is_float(targets.dtype) and targets.shape == logits.shape:
        return _soft_cross_entropy(logits, targets, reduction, label_smoothing, weight)
    if weight is None:
        return ops.cross_entropy(logits, targets, ignore_index, reduction, label_smoothing)
    if label_smoothing:
        raise ValueError("cross_entropy: weight goes with label_smoothing=0 only")
    losses = ops.cross_entropy(logits, targets, ignore_index, "none")
    kept = _class_weights("cross_entropy", targets, ignore_index, weight, logits.shape[-1])
    return reduced("cross_entropy", losses * kept, reduction, kept)


def _soft_cross_entropy(
    logits: Tensor, targets: Tensor, reduction: str, label_smoothing: float, weight: Tensor | None
) -> Tensor:
    if label_smoothing:
        targets = targets * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    losses = targets * ops.log_softmax(logits)
    return reduced("cross_entropy", -ops.sum(losses if weight is None else losses * weight, -1), reduction)


def _ids(targets: Any, like: Tensor) -> Tensor:
    return targets if isinstance(targets, Tensor) else _core.tensor(targets, device=like.device)


def _class_weights(op: str, targets: Tensor, ignore_index: int, weight: Tensor, classes: int) -> Tensor:
    if weight.shape != (classes,):
        raise ValueError(f"{op}: weight must be ({classes},), got {weight.shape}")
    is_kept = ops.not_equal(targets, ignore_index)
    return ops.where(is_kept, weight[ops.where(is_kept, targets, 0)], 0.0)


def nll_loss(
    x: Tensor, targets: Any, ignore_index: int = -100, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """-x[target] of log probabilities x (..., V): cross_entropy after log_softmax; 0 where all is ignored.

    Raises:
        ValueError: a shape or option does not fit.
        IndexError: a target is no class.

    Example:
        >>> pf.ops.nll_loss(pf.tensor([[-0.5, -1.0]]), [1])
        tensor(1., dtype=float32)
    """
    targets = _ids(targets, x)
    weight = _core.ones(x.shape[-1], dtype=x.dtype, device=x.device) if weight is None else weight
    kept = _class_weights("nll_loss", targets, ignore_index, weight, x.shape[-1])
    safe = ops.where(ops.not_equal(targets, ignore_index), targets, 0)
    picked = squeeze(ops.gather(x, unsqueeze(safe, -1), -1), -1)
    # An ignored row may hold anything: it is left out, not multiplied by 0.
    losses = ops.where(ops.not_equal(targets, ignore_index), -picked * kept, 0.0)
    return reduced("nll_loss", losses, reduction, kept)


def l1_loss(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|x - target|, reduced; the mean of nothing is 0.

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.l1_loss(pf.tensor([1.0, 2.0]), pf.zeros(2))
        tensor(1.5, dtype=float32)
    """
    return reduced("l1_loss", ops.abs(x - target), reduction)


def huber_loss(x: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0) -> Tensor:
    """d^2 / 2 where |d| <= delta, delta * (|d| - delta / 2) beyond, for d = x - target; the mean of nothing is 0.

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.huber_loss(pf.tensor([0.5, 3.0]), pf.zeros(2), reduction="none")
        tensor([0.125, 2.5  ], dtype=float32)
    """
    d = ops.abs(x - target)
    near = ops.where(ops.less_equal(d, delta), d, delta)  # a square of what is not near could overflow
    return reduced("huber_loss", (d - near * 0.5) * near, reduction)


def kl_div(x: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """target * (log(target) - x) of log probabilities x, 0 where target is 0; the mean of nothing is 0. NaN where
    target is NaN or negative.

    Args:
        x: (N, ...), logarithms of probabilities.
        target: as x, probabilities.
        reduction: "mean", "sum", "none" or "batchmean", the sum divided by N.

    Raises:
        ValueError: the shapes do not broadcast, or the reduction is not known.

    Example:
        >>> pf.ops.kl_div(pf.tensor([[0.0, -1.0]]), pf.tensor([[0.0, 1.0]]), reduction="batchmean")
        tensor(1., dtype=float32)
    """
    is_there = ops.not_equal(target, 0)
    logarithm = ops.log(ops.where(is_there, target, 1.0))
    losses = ops.where(is_there, target * (logarithm - ops.where(is_there, x, 0.0)), 0.0)
    if reduction == "batchmean":
        return ops.sum(losses) / float(max(x.shape[0], 1))
    return reduced("kl_div", losses, reduction)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`attention` in torch's layout, (B, H, T, D): axes are changed over before and after.

    Raises:
        ValueError: a shape does not fit, or dropout_p is not 0.
        TypeError: a dtype does not fit.

    Example:
        >>> q = pf.randn(1, 2, 3, 4)
        >>> pf.ops.scaled_dot_product_attention(q, q, q, is_causal=True).shape
        (1, 2, 3, 4)
    """
    if dropout_p:
        raise ValueError("scaled_dot_product_attention: expected dropout_p=0, attention has no dropout")
    if is_causal and query.shape[-2] != key.shape[-2]:
        raise ValueError("scaled_dot_product_attention: is_causal needs as many queries as keys")
    q, k, v = (swapaxes(x, 1, 2) for x in (query, key, value))
    return ops.transpose(ops.attention(q, k, v, mask=attn_mask, causal=is_causal, scale=scale), [0, 2, 1, 3])


smooth_l1_loss = huber_loss

__all__ = [
    "adaptive_avg_pool2d",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "elu",
    "glu",
    "hardsigmoid",
    "hardswish",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "nll_loss",
    "normalize",
    "relu6",
    "scaled_dot_product_attention",
    "smooth_l1_loss",
    "softplus",
]
