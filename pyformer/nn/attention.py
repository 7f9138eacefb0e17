"""What attention looks at, and where tokens stand: weights, rotary, ALiBi and sinusoidal positions."""

from __future__ import annotations

import math

import numpy as np

import pyformer as pf
from pyformer import ops

# Low enough that its exponential is 0, and finite so that its gradient is no NaN.
MASKED_SCORE = -1e30


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
) -> pf.Tensor:
    """The weights (B, H, Tq, Tk) by which `ops.attention`, given the same arguments, adds up the values.

    Each row sums to 1, or is 0 where there is nothing to attend to. Unlike the fused operation this holds all
    scores; gradients flow to q (B, Tq, H, D) and k (B, Tk, Hkv, D).
    """
    batch, queries, heads, width = q.shape
    keys, kv_heads = k.shape[1], k.shape[2]
    grouped = q.transpose(0, 2, 1, 3).reshape(batch, kv_heads, heads // kv_heads * queries, width)
    scores = ops.matmul(grouped, k.transpose(0, 2, 1, 3), transpose_b=True).reshape(batch, heads, queries, keys)
    scores = scores * (1.0 / math.sqrt(width) if scale is None else scale)
    allowed = _reach(batch, queries, keys, causal, window, key_lengths, query_offset)[:, None]
    if mask is not None and mask.dtype == pf.bool:
        allowed = allowed & mask.to("cpu").numpy()
    elif mask is not None:
        scores = scores + mask
        allowed = allowed & (mask.to("cpu").numpy() > -np.inf)
    seen = pf.tensor(np.ascontiguousarray(np.broadcast_to(allowed, scores.shape)), device=q.device)
    return ops.where(seen, ops.softmax(ops.where(seen, scores, MASKED_SCORE)), 0.0)


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
    """float64 (length, dim): sin and cos, one after the other, of position / base^(2 i / dim).

    Source: Vaswani et al. (2017), section 3.5. ValueError unless `dim` is even.
    """
    return sinusoids(np.arange(length), dim, base)


def sinusoids(positions: np.ndarray, dim: int, base: float = 10000.0) -> np.ndarray:
    """float64 (..., dim): the rows of `sinusoidal_positions` for positions (...), without those between them."""
    if dim % 2:
        raise ValueError(f"sinusoids: dim must be even, got {dim}")
    angles = pf.tensor(positions[..., None] / _powers(base, np.arange(0, dim, 2) / dim))
    return np.stack([ops.sin(angles).numpy(), ops.cos(angles).numpy()], axis=-1).reshape(*positions.shape, dim)


def _powers(base: float, exponents: np.ndarray) -> np.ndarray:
    """base ** exponents, float64: NumPy's own differ from one instruction set to another."""
    return ops.power(float(base), pf.tensor(exponents)).numpy()


def alibi_slopes(num_heads: int) -> np.ndarray:
    """float64 (H,): by how much each head's scores fall with each position of distance.

    A geometric series from 2^(-8/H); for H no power of two, that of the power below and every second slope of the
    one above. Source: Press et al. (2022).
    """
    below = 2 ** int(math.log2(num_heads))
    slopes = _powers(2.0, -8.0 / below * np.arange(1, below + 1))
    between = _powers(2.0, -4.0 / below * np.arange(1, 2 * below + 1, 2))
    return np.concatenate([slopes, between[: num_heads - below]])


def alibi_bias(slopes: np.ndarray, places: np.ndarray, keys: int) -> np.ndarray:
    """float64 (B, H, Tq, keys), to be added to scores: -slope * distance of key j from a query at places (B, Tq)."""
    distance = np.arange(keys) - places[:, None, :, None]
    return slopes[:, None, None] * distance
