"""What attention looks at, and where tokens stand: weights, rotary, ALiBi and sinusoidal positions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import ops
from pyformer.float_mode import in_default_float_mode
from pyformer.nn.module import is_float


@in_default_float_mode
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
) -> pf.Tensor:
    """The weights by which `pf.ops.attention`, given the same arguments, adds up the values.

    Unlike that operation this holds all scores at once. Gradients flow to q and k.

    Args:
        q: (B, Tq, H, D), float.
        k: (B, Tk, Hkv, D), q's dtype; Hkv divides H.
        mask, causal, scale, window, key_lengths, query_offset: as in `pf.ops.attention`.
        softcap: c makes c tanh(score / c) of each scaled score before the mask, as in Gemma 2.

    Returns:
        Tensor (B, H, Tq, Tk) of q's dtype; each row adds up to 1, or is 0 where there is nothing to attend to.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ, or the mask is of neither bools nor floats.

    Example:
        >>> q = k = pf.zeros(1, 2, 1, 4)
        >>> pf.nn.attention_weights(q, k, causal=True).reshape(2, 2)
        tensor([[1. , 0. ],
                [0.5, 0.5]], dtype=float32)
    """
    if mask is not None:
        check_mask("attention_weights", "mask", mask)
    batch, queries, heads, width = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    grouped = q.transpose(0, 2, 1, 3).reshape(batch, kv_heads, heads // kv_heads * queries, width)
    scores = ops.matmul(grouped, k.transpose(0, 2, 1, 3), transpose_b=True).reshape(batch, heads, queries, keys)
    scores = scores * (1.0 / math.sqrt(width) if scale is None else scale)
    if softcap is not None:
        scores = ops.tanh(scores / softcap) * softcap
    allowed = _reach(batch, queries, keys, causal, window, key_lengths, query_offset)[:, None]
    if mask is not None and mask.dtype == pf.bool:
        allowed = allowed & mask.to("cpu").numpy()
    elif mask is not None:
        scores = scores + mask
        allowed = allowed & (mask.to("cpu").numpy() > -np.inf)
    seen = pf.tensor(np.ascontiguousarray(np.broadcast_to(allowed, scores.shape)), device=q.device)
    seen = ops.logical_and(seen, scores != -np.inf)
    # A row that sees nothing is NaN between the two, which `where` leaves out of values and gradients.
    return ops.where(seen, ops.softmax(ops.where(seen, scores, -np.inf)), 0.0)


def check_mask(owner: str, name: str, mask: Any) -> None:
    """TypeError unless it is a Tensor of bools or floats: added to scores, 0 and 1 would hide nothing."""
    if not isinstance(mask, pf.Tensor):
        raise TypeError(f"{owner}: {name} must be a Tensor, got {type(mask).__name__}")
    if mask.dtype != pf.bool and not is_float(mask.dtype):
        raise TypeError(f"{owner}: {name} must be of bools or floats, got {mask.dtype.name}")


def capped_attention(q: pf.Tensor, k: pf.Tensor, v: pf.Tensor, softcap: float | None, **where: Any) -> pf.Tensor:
    """`pf.ops.attention` whose scores go through softcap * tanh(score / softcap); it holds all scores at once.
    A mask of floats gets a gradient.

    Args:
        q: (B, Tq, H, D), float.
        k: (B, Tk, Hkv, D), q's dtype; Hkv divides H.
        v: (B, Tk, Hkv, Dv), q's dtype.
        softcap: above 0; no score is farther from 0. None for none.
        where: mask, causal, scale, window, key_lengths and query_offset, as in `pf.ops.attention`.

    Returns:
        Tensor (B, Tq, H, Dv) of q's dtype. Keys beyond a row's length change no bit, as in `pf.ops.attention`.

    Raises:
        ValueError: the shapes do not fit.
        TypeError: the dtypes differ.

    Source: Gemma Team 2024, "Gemma 2", section 2.

    Example:
        >>> from pyformer.nn.attention import capped_attention
        >>> q = k = pf.zeros(1, 2, 1, 4)
        >>> capped_attention(q, k, pf.ones(1, 2, 1, 4), softcap=50.0, causal=True).shape
        (1, 2, 1, 4)
    """
    batch, queries, heads, _ = q.shape
    keys, kv_heads, width = v.shape[1:]
    weights = attention_weights(q, k, softcap=softcap, **where)
    if where.get("key_lengths") is not None:
        # What lies beyond a row's end is excluded: 0 times what is not finite would be NaN.
        places = pf.arange(keys, device=q.device)
        v = ops.where(ops.less(places, where["key_lengths"].reshape(batch, 1)).reshape(batch, keys, 1, 1), v, 0.0)
    grouped = weights.reshape(batch, kv_heads, heads // kv_heads * queries, keys)
    mixed = ops.matmul(grouped, v.transpose(0, 2, 1, 3))
    return mixed.reshape(batch, heads, queries, width).transpose(0, 2, 1, 3)


def _reach(
    batch: int,
    queries: int,
    keys: int,
    causal: bool,
    window: int | None,
    key_lengths: pf.Tensor | None,
    query_offset: pf.Tensor | None,
) -> np.ndarray:
    """Which keys each query may see, (B, Tq, Tk), the mask aside."""
    ends = np.full(batch, keys) if key_lengths is None else key_lengths.to("cpu").numpy()
    starts = ends - queries if query_offset is None else query_offset.to("cpu").numpy()
    key = np.arange(keys)
    place = (starts[:, None] + np.arange(queries))[:, :, None]
    seen = np.broadcast_to(key < ends[:, None, None], (batch, queries, keys))
    if causal or window is not None:
        seen = seen & (key <= place)
    if window is not None:
        seen = seen & (key > place - window)
    return seen


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
