"""What attention looks at, and where tokens stand: weights, rotary, ALiBi and sinusoidal positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, ops
from pyformer.float_mode import in_default_float_mode


def attention_weights(
    q: pf.Tensor,
    k: pf.Tensor,
    *,
    mask: pf.Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    window: int | None = None,
    key_lengths: pf.Tensor | None = None,
    query_offset: pf.Tensor | None = None,
    softcap: float | None = None,
    sinks: pf.Tensor | None = None,
) -> pf.Tensor:
    """The weights by which `pf.ops.attention`, given the same arguments, adds up the values.

    Gradients flow to q, k, sinks and an added mask.

    Args:
        q: (B, Tq, H, D), float.
        k: (B, Tk, Hkv, D), q's dtype; Hkv divides H.
        mask, causal, scale, window, key_lengths, query_offset, softcap, sinks: as in `pf.ops.attention`.

    Returns:
        Tensor (B, H, Tq, Tk) of q's dtype; each row adds up to 1, to less with sinks, or is 0 where there is nothing to
            attend to.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ, or the mask is of neither bools nor floats.

    Example:
        >>> q = k = pf.zeros(1, 2, 1, 4)
        >>> pf.nn.attention_weights(q, k, causal=True).reshape(2, 2)
        tensor([[1. , 0. ],
                [0.5, 0.5]], dtype=float32)
    """
    where = {"mask": mask, "key_lengths": key_lengths, "query_offset": query_offset, "sinks": sinks}
    return _core.attention_weights(q, k, causal=causal, scale=scale, window=window, softcap=softcap, **where)


def attention_of_scores(q: pf.Tensor, k: pf.Tensor, v: pf.Tensor, **where: Any) -> pf.Tensor:
    """`pf.ops.attention` that holds all scores at once, so that an added mask gets a gradient.

    Args:
        q, k, v: as in `pf.ops.attention`.
        where: mask, causal, scale, window, key_lengths and query_offset, as there.

    Returns:
        Tensor (B, Tq, H, Dv) of q's dtype.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ, or the mask is of neither bools nor floats.

    Example:
        >>> from pyformer.nn.attention import attention_of_scores
        >>> q = k = pf.zeros(1, 3, 1, 2)
        >>> bias = pf.zeros(3, requires_grad=True)
        >>> attention_of_scores(q, k, pf.arange(3.0).reshape(1, 3, 1, 1), mask=bias).sum().backward()
        >>> bias.grad
        tensor([-1.,  0.,  1.], dtype=float32)
    """
    return _core.attention_of_scores(q, k, v, **where)


def attention_of_weights(weights: pf.Tensor, v: pf.Tensor, *, mask: pf.Tensor | None = None) -> pf.Tensor:
    """The sums of values by weights that `attention_weights` gave and, say, dropout changed.

    A value that the mask hides takes no part, not even as a product with 0: it may hold infinities and NaN, and so may
    gradients of the result. With a mask, v and the gradient are read once more on the CPU to see whether they hold any.
    If so, and always on other devices, a second attention adds them up.

    Args:
        weights: (B, H, Tq, Tk), float; one head for all of v's is (B, 1, Tq, Tk).
        v: (B, Tk, H, Dv), weights' dtype; one head for all weights is (B, Tk, 1, Dv).
        mask: what `attention_weights` was given; it gets no gradient here.

    Returns:
        Tensor (B, Tq, H, Dv) of v's dtype.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> from pyformer.nn.attention import attention_of_weights
        >>> weights, v = pf.tensor([[[[0.5, 0.0]]]]), pf.tensor([[[[4.0]], [[float("nan")]]]])
        >>> attention_of_weights(weights, v, mask=pf.tensor([True, False])).item()
        2.0
    """
    values = v.transpose(0, 2, 1, 3)
    if mask is None:
        return ops.matmul(weights, values).transpose(0, 2, 1, 3)
    # What a mask adds to scores would take weights to 0, and 0 times infinity is NaN.
    seen = mask.detach() if mask.dtype == pf.bool else mask.detach() != float("-inf")
    seen = seen.reshape(*(1,) * (4 - seen.ndim), *seen.shape)
    seen = ops.broadcast_to(seen, (*seen.shape[:2], *weights.shape[2:]))
    if weights.shape[:2] != values.shape[:2]:
        lead = [b if a == 1 else a for a, b in zip(weights.shape[:2], values.shape[:2], strict=True)]
        weights, values = (ops.broadcast_to(x, (*lead, *x.shape[2:])) for x in (weights, values))
    return _SeenSums.apply(weights, values, seen).transpose(0, 2, 1, 3)


class _SeenSums(pf.autograd.Function):
    """weights (B, H, Tq, Tk) @ values (B, H, Tk, D), in which pairs that `seen` hides have no part."""

    @staticmethod
    def forward(ctx: pf.autograd.Context, weights: pf.Tensor, values: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
        ctx.save_for_backward(weights, values, seen)
        return _seen_sums(weights, values, seen)

    @staticmethod
    def backward(ctx: pf.autograd.Context, dout: pf.Tensor) -> tuple[pf.Tensor, pf.Tensor, None]:
        weights, values, seen = ctx.saved_tensors
        dweights = ops.matmul(dout, _finite_part(values), transpose_b=True)
        if not _is_finite_on_cpu(dout):
            dweights = ops.where(seen, dweights, 0.0)
        return dweights, _seen_sums(weights.swapaxes(2, 3), dout, seen.swapaxes(2, 3)), None


def _seen_sums(weights: pf.Tensor, values: pf.Tensor, seen: pf.Tensor) -> pf.Tensor:
    if _is_finite_on_cpu(values):
        return ops.matmul(weights, values)
    # The infinities and NaN come by an attention of equal scores, which leaves out what is not seen.
    others = ops.where(values.isfinite(), 0.0, values).transpose(0, 2, 1, 3)
    batch, heads, queries, keys = weights.shape
    q, k = (pf.zeros(batch, length, heads, 1, dtype=values.dtype, device=values.device) for length in (queries, keys))
    return ops.matmul(weights, _finite_part(values)) + ops.attention(q, k, others, mask=seen).transpose(0, 2, 1, 3)


def _finite_part(x: pf.Tensor) -> pf.Tensor:
    """x with zeros for infinities and NaN."""
    return x if _is_finite_on_cpu(x) else ops.where(x.isfinite(), x, 0.0)


def _is_finite_on_cpu(x: pf.Tensor) -> bool:
    """Whether x is known to be finite; elsewhere than on the CPU that would wait for the device."""
    return x.device.type == "cpu" and bool(x.isfinite().all())


def within_lengths(x: pf.Tensor, lengths: pf.Tensor | None) -> pf.Tensor:
    """x (B, T, C) with zeros beyond each row's length (B,), whatever was there; x itself without lengths.

    What nobody attends to has gradients of 0, but a projection multiplies them by x, and 0 times infinity is NaN.
    Lengths that do not fit x are left to `pf.ops.attention` to refuse.
    """
    if not isinstance(lengths, pf.Tensor) or lengths.shape != x.shape[:1]:
        return x
    counts = ops.cumsum(pf.ones(x.shape[1], dtype=pf.int64, device=x.device), axis=0)  # without a copy from the host
    return ops.where((counts <= lengths.reshape(-1, 1)).reshape(*x.shape[:2], 1), x, 0.0)


def sinusoidal_positions(length: int, dim: int, base: float = 10000.0) -> np.ndarray:
    """The fixed positions of the first transformer: row t holds sin and cos of t / base^(2 i / dim), one after the
    other.

    Args:
        length: how many positions.
        dim: the width, an even number.
        base: how slowly the last pair turns.

    Returns:
        NumPy array (length, dim), float64.

    Raises:
        ValueError: dim is odd.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5.

    Example:
        >>> pf.nn.sinusoidal_positions(3, 4).round(4)
        array([[ 0.    ,  1.    ,  0.    ,  1.    ],
               [ 0.8415,  0.5403,  0.01  ,  1.    ],
               [ 0.9093, -0.4161,  0.02  ,  0.9998]])
    """
    return sinusoids(np.arange(length), dim, base)


@in_default_float_mode
def sinusoids(positions: np.ndarray, dim: int, base: float = 10000.0) -> np.ndarray:
    """The rows of `sinusoidal_positions` for the given positions, without those between them.

    Args:
        positions: NumPy array (...) of numbers.
        dim: the width, an even number.
        base: how slowly the last pair turns.

    Returns:
        NumPy array (..., dim), float64.

    Raises:
        ValueError: dim is odd.

    Example:
        >>> pf.nn.sinusoids(np.array([0, 100]), 2).round(4)
        array([[ 0.    ,  1.    ],
               [-0.5064,  0.8623]])
    """
    if dim % 2:
        raise ValueError(f"sinusoids: dim must be even, got {dim}")
    angles = pf.tensor(positions[..., None] / _powers(base, np.arange(0, dim, 2) / dim), device="cpu")
    return np.stack([ops.sin(angles).numpy(), ops.cos(angles).numpy()], axis=-1).reshape(*positions.shape, dim)


def _powers(base: float, exponents: np.ndarray) -> np.ndarray:
    """base ** exponents, float64: NumPy's own differ from one instruction set to another."""
    return ops.power(float(base), pf.tensor(exponents, device="cpu")).numpy()


@in_default_float_mode
def alibi_slopes(num_heads: int) -> np.ndarray:
    """By how much each head's scores fall with each position of distance.

    A geometric series from 2^(-8/H); for H no power of two, that of the power below and every second slope of the
    one above.

    Args:
        num_heads: H, at least 1.

    Returns:
        NumPy array (H,), float64.

    Raises:
        ValueError: num_heads is below 1.

    Source: Press et al. 2022, "Train short, test long".

    Example:
        >>> pf.nn.alibi_slopes(4)
        array([0.25      , 0.0625    , 0.015625  , 0.00390625])
    """
    below = 2 ** int(math.log2(num_heads))
    slopes = _powers(2.0, -8.0 / below * np.arange(1, below + 1))
    between = _powers(2.0, -4.0 / below * np.arange(1, 2 * below + 1, 2))
    return np.concatenate([slopes, between[: num_heads - below]])


@in_default_float_mode
def alibi_bias(slopes: np.ndarray, places: np.ndarray, keys: int) -> np.ndarray:
    """What ALiBi adds to the scores: -slope * distance of key j from the query.

    Args:
        slopes: (H,), as `alibi_slopes` gives them.
        places: NumPy integers (B, Tq), where the queries stand.
        keys: how many keys there are.

    Returns:
        NumPy array (B, H, Tq, keys), float64; keys after the query get positive numbers, which a causal mask hides.

    Raises:
        IndexError: places or slopes have too few axes.

    Source: Press et al. 2022, "Train short, test long".

    Example:
        >>> pf.nn.alibi_bias(pf.nn.alibi_slopes(1), np.array([[2]]), keys=3) * 256
        array([[[[-2., -1.,  0.]]]])
    """
    distance = np.arange(keys) - places[:, None, :, None]
    return slopes[:, None, None] * distance
