"""Multi-scale retention, RetNet's replacement of attention."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import ops
from pyformer.nn.layers import Linear, check_sizes
from pyformer.nn.module import Module

FORMS = ("chunked", "parallel", "recurrent")


class MultiScaleRetention(Module):
    """RetNet's replacement of attention: out_t = q_t S_t with S_t = decay S_{t-1} + k_t^T v_t in each head.

    Each head has a decay of its own, 1 - 2^(-5 - h) for head h. Queries and keys are turned by their positions, the
    heads normalised one by one and gated with silu(x W_g).

    Args:
        embed_dim: C.
        num_heads: H; 2 H divides C.
        value_factor: how many times as wide as keys the values are.
        dtype: of the parameters, float32 by default.

    Raises:
        ValueError: a size is below 1, or 2 H does not divide C.
        TypeError: a size is no int.

    Source: Sun et al. 2023, "Retentive Network", eq. 5 to 8.

    Example:
        >>> layer = pf.nn.MultiScaleRetention(16, 2)
        >>> out, state = layer(pf.ones(1, 5, 16))
        >>> out.shape, state.shape
        ((1, 5, 16), (1, 2, 8, 16))
    """

    def __init__(self, embed_dim: int, num_heads: int, value_factor: int = 2, dtype: Any = None) -> None:
        super().__init__()
        check_sizes("MultiScaleRetention", embed_dim=embed_dim, num_heads=num_heads, value_factor=value_factor)
        if embed_dim % (2 * num_heads):
            raise ValueError(
                f"MultiScaleRetention: twice num_heads ({num_heads}) must divide embed_dim ({embed_dim}): "
                "positions turn pairs of a head's elements"
            )
        self.num_heads, self.head_dim = num_heads, embed_dim // num_heads
        value_dim = value_factor * embed_dim
        self.q_proj = Linear(embed_dim, embed_dim, bias=False, dtype=dtype)
        self.k_proj = Linear(embed_dim, embed_dim, bias=False, dtype=dtype)
        self.v_proj = Linear(embed_dim, value_dim, bias=False, dtype=dtype)
        self.g_proj = Linear(embed_dim, value_dim, bias=False, dtype=dtype)
        self.out_proj = Linear(value_dim, embed_dim, bias=False, dtype=dtype)

    @cached_property
    def decay(self) -> np.ndarray:
        """float64 (H,): how much of the state stays at each step."""
        return 1.0 - np.ldexp(1.0, -5 - np.arange(self.num_heads))

    @cached_property
    def frequencies(self) -> np.ndarray:
        """float64 (D / 2,): `ops.rope_frequencies`."""
        return ops.rope_frequencies(self.head_dim, device="cpu").numpy()

    def forward(
        self,
        x: pf.Tensor,
        state: pf.Tensor | None = None,
        positions: pf.Tensor | None = None,
        form: str = "chunked",
    ) -> tuple[pf.Tensor, pf.Tensor | None]:
        """(out (B, T, C), state (B, H, D, Dv), float64, after the last token) of x (B, T, C).

        Args:
            state: what an earlier call returned; None starts with zeros.
            positions: integers (T,) or (B, T), where the tokens stand; 0 ... T - 1 by default.
            form: "chunked" (`pf.ops.retention` of all tokens), "recurrent" (of one token after the other, the
                same bits) or "parallel" (all scores at once, for sequences without a state before or after: the
                same to rounding).

        Raises:
            ValueError: a shape doesn't fit, `form` is not known, or a state comes with "parallel".
        """
        if form not in FORMS:
            raise ValueError(f"MultiScaleRetention: form must be one of {FORMS}, got {form!r}")
        if x.ndim != 3:
            raise ValueError(f"MultiScaleRetention: x must be (B, T, C), got {tuple(x.shape)}")
        if positions is None:
            positions = pf.tensor(np.arange(x.shape[1], dtype=np.int64), device=x.device)
        frequencies = pf.tensor(self.frequencies, device=x.device)
        q = ops.rope(self._heads(self.q_proj(x)), positions, frequencies)
        k = ops.rope(self._heads(self.k_proj(x)), positions, frequencies) * self.head_dim**-0.5
        v = self._heads(self.v_proj(x))
        mixed, state = getattr(self, f"_{form}")(q, k, v, state)
        normalised = ops.layer_norm(mixed).reshape(*x.shape[:2], -1)
        return self.out_proj(self.g_proj(x, activation="silu") * normalised), state

    def _heads(self, x: pf.Tensor) -> pf.Tensor:
        return x.reshape(*x.shape[:2], self.num_heads, -1)

    def _chunked(self, q: pf.Tensor, k: pf.Tensor, v: pf.Tensor, state: pf.Tensor | None) -> tuple:
        return ops.retention(q, k, v, self._decay_like(q), state)

    def _decay_like(self, q: pf.Tensor) -> pf.Tensor:
        return pf.tensor(self.decay, dtype=q.dtype, device=q.device)

    def _recurrent(self, q: pf.Tensor, k: pf.Tensor, v: pf.Tensor, state: pf.Tensor | None) -> tuple:
        outs, decay = [], self._decay_like(q)
        for t in range(q.shape[1]):
            token = slice(t, t + 1)
            out, state = ops.retention(q[:, token], k[:, token], v[:, token], decay, state)
            outs.append(out)
        return ops.concat(outs, axis=1), state

    def _parallel(self, q: pf.Tensor, k: pf.Tensor, v: pf.Tensor, state: pf.Tensor | None) -> tuple:
        if state is not None:
            raise ValueError("MultiScaleRetention: the parallel form starts without a state, got one")
        tokens = q.shape[1]
        exponents = pf.tensor(np.arange(tokens, dtype=np.float64), device="cpu")
        powers = ops.power(pf.tensor(self.decay[:, None], device="cpu"), exponents)
        wide_q, wide_k, wide_v = (x.to(pf.float64).transpose(0, 2, 1, 3) for x in (q, k, v))  # as the op sums
        out = (wide_q * wide_k).sum(axis=-1, keepdims=True) * wide_v
        half = 1
        while half < tokens:
            out = out + _from_first_halves(wide_q, wide_k, wide_v, powers, half)
            half *= 2
        return out.transpose(0, 2, 1, 3).to(q.dtype), None


def _from_first_halves(q: pf.Tensor, k: pf.Tensor, v: pf.Tensor, powers: pf.Tensor, half: int) -> pf.Tensor:
    """What the second half of each block of 2 * half tokens takes from the first half: (B, H, T, Dv), 0 in the first.

    Over all block sizes each token meets each earlier one once, and no later one: a zero in its place would turn an
    infinity or NaN there into NaN here.
    """
    tokens = q.shape[2]
    whole = tokens - tokens % (2 * half)
    parts = []
    for start, stop, blocks in ((0, whole, whole // (2 * half)), (whole, tokens, 1)):
        rows = (stop - start) // blocks - half if blocks else 0
        if rows <= 0:
            parts.append(pf.zeros(*v.shape[:2], stop - start, v.shape[3], dtype=v.dtype, device=v.device))
            continue
        split = [x[:, :, start:stop].reshape(*x.shape[:2], blocks, half + rows, x.shape[3]) for x in (q, k, v)]
        queries, keys, values = split[0][:, :, :, half:], split[1][:, :, :, :half], split[2][:, :, :, :half]
        distance = half + np.arange(rows)[:, None] - np.arange(half)
        decays = pf.tensor(powers.numpy()[:, None, distance], device=q.device)
        sums = ops.matmul(ops.matmul(queries, keys, transpose_b=True) * decays, values)
        zeros = pf.zeros(*values.shape, dtype=v.dtype, device=v.device)
        parts.append(ops.concat([zeros, sums], axis=3).reshape(*v.shape[:2], stop - start, v.shape[3]))
    return ops.concat(parts, axis=2)
