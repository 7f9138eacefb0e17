"""What attention is told of where tokens stand: windows, rotary frequencies, distances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.float_mode import in_default_float_mode
from pyformer.models.decoder_config import DecoderConfig, Layer, Rope
from pyformer.models.language_model import Span
from pyformer.nn.precision import activation_dtype


@dataclass(frozen=True)
class Places(Span):
    """A Span with what turns queries and keys: the arguments of `ops.rope`, positions and frequencies, or None.

    In rows where `is_long` (B, 1, 1, 1), the frequencies are those of `long`. Queries are multiplied by `magnitude`
    (D,) besides.
    """

    rotary: tuple[pf.Tensor, pf.Tensor] | None = None
    long: tuple[pf.Tensor, pf.Tensor] | None = None
    is_long: pf.Tensor | None = None
    magnitude: pf.Tensor | None = None

    def turn(self, x: pf.Tensor) -> pf.Tensor:
        """Queries or keys x (B, T, H, D) where they stand."""
        if self.rotary is None:
            return x
        turned = ops.rope(x, *self.rotary)
        return turned if self.long is None else ops.where(self.is_long, ops.rope(x, *self.long), turned)


def kinds_of(layers: Sequence[Layer]) -> tuple[list[tuple[Any, ...]], list[int]]:
    """(what is told of where tokens stand: windows and frequencies, each pair once; which of them each layer is
    told)."""
    kinds: list[tuple[Any, ...]] = []
    for layer in layers:
        if (layer.window, layer.rope) not in kinds:
            kinds.append((layer.window, layer.rope))
    return kinds, [kinds.index((layer.window, layer.rope)) for layer in layers]


@in_default_float_mode
def places_of(config: DecoderConfig, span: Span, window: int | None, rope: Rope | None, like: nn.Projection) -> Places:
    """What layers of this window and these frequencies are told of the tokens of `span`, on the device of `like`."""
    reach = {**span.reach, "window": None if window is None or not config.causal else min(window, span.keys)}
    if window is not None and not config.causal:
        at, keys = span.positions[..., None], np.arange(span.keys)
        near = (keys > at - min(window, span.keys)) & (keys < at + min(window, span.keys))
        reach["mask"] = pf.tensor(near[:, None], device=like.device)
    if config.positions == "alibi":
        bias = nn.alibi_bias(nn.alibi_slopes(config.num_heads), span.positions, span.keys)
        reach["mask"] = pf.tensor(bias, device=like.device).to(activation_dtype(like))
    found = {} if rope is None else _rotary(rope, config.head_dim, span, like)
    return Places(span.positions, span.places, span.keys, span.lengths, reach, **found)


def _rotary(rope: Rope, head_dim: int, span: Span, like: nn.Projection) -> dict[str, Any]:
    """The fields of Places that say how positions turn a head's elements."""

    scaling = rope.scaling or {}
    original = scaling["original_max_position_embeddings"] if scaling.get("rope_type") == "longrope" else None

    def angles(length: int) -> tuple[pf.Tensor, pf.Tensor]:
        def make() -> pf.Tensor:
            return ops.rope_frequencies(rope.width, rope.base, rope.scaling, length=length).to(like.device)

        return span.places, _kept(rope, ("frequencies", original and length > original, like.device), make)

    lengths = span.lengths
    found: dict[str, Any] = {"rotary": angles(int(lengths.max()))}
    if original is not None:
        # Each row by its own length, whatever stands beside it.
        is_long = lengths > original
        if is_long.any() and not is_long.all():
            found["long"], found["rotary"] = found["rotary"], angles(int(lengths.min()))
            found["is_long"] = pf.tensor(is_long.reshape(-1, 1, 1, 1), device=like.device)
    magnitude = _kept(rope, "magnitude", lambda: ops.rope_magnitude(rope.scaling))
    if magnitude != 1.0:
        # Queries and keys are both to be multiplied: the queries take the factors of both.
        def make() -> pf.Tensor:
            factors = np.ones(head_dim)
            factors[: rope.width] = magnitude * magnitude
            return pf.tensor(factors, device=like.device).to(activation_dtype(like))

        found["magnitude"] = _kept(rope, ("magnitude", like.device, activation_dtype(like)), make)
    return found


def _kept(rope: Rope, key: Any, make: Callable[[], Any]) -> Any:
    """What `make` made when it was first asked for. It stays, as recorded kernel calls read it."""
    found = rope.made.get(key)
    return rope.made.setdefault(key, make()) if found is None else found
