"""What an EncoderDecoder writes: the state of its targets, over a key-value cache."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops


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
        for layer, (block, source) in enumerate(zip(model.decoder, self.sources, strict=True)):
            x = block(x, source, context_lengths=self.lengths, cache=cache[layer])
        logits = model.tokens.as_linear(model.final(x).reshape(len(tokens), -1))
        log_probabilities = ops.log_softmax(logits.to("cpu").to(pf.float64)).numpy()
        if np.isnan(log_probabilities).any():
            row = int(np.isnan(log_probabilities).any(axis=1).argmax()) // self.beams
            raise ValueError(f"EncoderDecoder: the logits of row {row} hold nan")
        return log_probabilities
