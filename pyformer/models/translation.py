"""What an EncoderDecoder writes: the state of its targets, over a key-value cache."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.generation.beam import beam_search
from pyformer.nn.layers import check_sizes


class Translation:
    """`beams` targets for each of B sources, in the middle of being written by an EncoderDecoder, one token a step."""

    def __init__(self, model: Any, memory: pf.Tensor, lengths: pf.Tensor | None, beams: int, limit: int) -> None:
        self.model, self.beams, self.lengths = model, beams, lengths
        attention = model.decoder[0].attention
        heads, width = attention.num_kv_heads, attention.head_dim
        where = {"dtype": memory.dtype, "device": memory.device}
        self.cache = nn.KVCache(len(model.decoder), heads, width, rows=memory.shape[0] * beams, capacity=limit, **where)
        # The beams of a source share its keys and values.
        self.sources = [block.cross.project(memory) for block in model.decoder]

    def extend(self, tokens: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Log-probabilities (B * beams, V), float64, of the token after `tokens` (B * beams,).

        Row i goes on from what row origins[i] has seen. ValueError for a NaN.
        """
        model, cache = self.model, self.cache
        cache.keep(origins)
        positions = cache.length[:1]
        cache.begin(1)
        x = model.embed(pf.tensor(tokens[:, None], device=cache.device), positions)
        mask = model.score_bias(model.decoder, positions, cache.capacity)
        for layer, (block, source) in enumerate(zip(model.decoder, self.sources, strict=True)):
            x = block(x, source, context_lengths=self.lengths, cache=cache[layer], mask=mask)
        logits = model.head.as_linear(model.final(x).reshape(len(tokens), -1))
        log_probabilities = ops.log_softmax(logits.to("cpu").to(pf.float64)).numpy()
        if np.isnan(log_probabilities).any():
            row = int(np.isnan(log_probabilities).any(axis=1).argmax()) // self.beams
            raise ValueError(f"{type(model).__name__}: the logits of row {row} hold nan")
        return log_probabilities


def translate(
    model: Any, source: Any, source_lengths: Any, limit: int, beams: int, length_penalty: float, **search: Any
) -> list[list[int]]:
    """What `EncoderDecoder.translate` gives, of at most `limit` tokens; `search` are further arguments of
    `beam_search`."""
    owner, config = type(model).__name__, model.config
    check_sizes(owner, beams=beams, max_new_tokens=limit)
    if limit > config.context_length:
        raise ValueError(
            f"{owner}: max_new_tokens must be at most the context length {config.context_length}, got {limit}"
        )
    if not 0.0 <= length_penalty < math.inf:
        raise ValueError(f"{owner}: length_penalty must be 0 or above, got {length_penalty}")
    with nn.inference():
        memory, lengths = model.encode(source, source_lengths)
        decoder = Translation(model, memory, lengths, beams, limit)
        return beam_search(
            decoder.extend,
            memory.shape[0],
            beams,
            limit,
            length_penalty=length_penalty,
            **{"start_id": config.bos_id, "end_id": config.eos_id, **search},
        )
