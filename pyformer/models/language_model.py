"""What the models that predict a next token have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import generation, nn, ops
from pyformer.models.inputs import read_ids, read_int64, read_lengths
from pyformer.models.pretrained import Pretrained
from pyformer.nn.module import cache_dtype

IGNORED = -100


@dataclass(frozen=True)
class Span:
    """Where the tokens of a batch stand, and what `ops.attention` is told: `reach`.

    `positions` int64 (B or 1, T) is also there as a Tensor (B, T) or (T,), `places`. Keys are `keys` a row, of which
    `lengths` (B or 1,) count.
    """

    positions: np.ndarray
    places: pf.Tensor
    keys: int
    lengths: np.ndarray
    reach: dict[str, Any]


class LanguageModel(Pretrained):
    """Logits, loss and text from a model that defines `head` and `hidden`."""

    @property
    def head(self) -> nn.Projection:
        """The last projection, (..., C) -> (..., V) by `as_linear`."""
        raise NotImplementedError

    @property
    def cache_heads(self) -> tuple[int, int]:
        """How many heads of keys a layer has, and how wide they are."""
        return self.config.num_heads, self.config.embed_dim // self.config.num_heads

    @property
    def longest(self) -> int:
        """The most tokens of a sequence, its prompt included."""
        return self.config.context_length

    @property
    def reread_at(self) -> int | None:
        """The length from which on a longer text must be read again from its start, None where there is none."""
        return None

    def hidden(
        self, ids: Any, lengths: Any = None, weights: list[pf.Tensor] | None = None, cache: nn.KVCache | None = None
    ) -> pf.Tensor:
        """What the last projection sees, (B, T, C); each layer appends its attention weights to `weights`.

        With `cache`, rows go on from the tokens in it and join them.
        """
        raise NotImplementedError

    def logits(self, hidden: pf.Tensor) -> pf.Tensor:
        """Logits (..., V) of what the last projection sees, (..., C)."""
        return self.head.as_linear(hidden)

    def forward(
        self, ids: Any, lengths: Any = None, *, return_weights: bool = False, cache: nn.KVCache | None = None
    ) -> Any:
        """Logits (B, T, V) of the token after each position.

        Args:
            ids: integers (B, T): a Tensor, NumPy array or nested list.
            lengths: tokens of each row that count, (B,); the rest is padding on the right, whose
                logits mean nothing.
            return_weights: give (logits, list of the attention weights (B, H, T, T) of each layer).
            cache: what `new_cache` gave; rows go on from the tokens in it and join them. Without gradients.

        Raises:
            ValueError: T is 0 or exceeds the context length, or a shape is wrong.
            TypeError: ids are not integers.
            IndexError: an id is not in [0, V).
        """
        weights: list[pf.Tensor] | None = [] if return_weights else None
        logits = self.logits(self.hidden(ids, lengths, weights, cache))
        return (logits, weights) if return_weights else logits

    def loss(self, ids: Any, targets: Any, lengths: Any = None) -> pf.Tensor:
        """Mean cross-entropy in nats, a scalar; the logits are never held whole.

        Args:
            ids: integers (B, T), as in `forward`.
            targets: integers (B, T), the token to predict at each position; -100 is ignored, as
                is what lies beyond `lengths`. The loss is 0 if all are.
            lengths: as in `forward`.

        Raises as `forward` does.
        """
        ids = self.read_ids(ids)
        targets = self.read_targets(targets, tuple(ids.shape))
        return self.token_loss(self.hidden(ids, lengths), self._counted(targets, lengths))

    def _counted(self, targets: np.ndarray, lengths: Any) -> np.ndarray:
        """Targets (B, T) with -100 where they lie beyond `lengths`."""
        if lengths is None:
            return targets
        ends = read_lengths(self._name, lengths, *targets.shape)
        return np.where(np.arange(targets.shape[1]) < ends[:, None], targets, IGNORED)

    def token_loss(self, hidden: pf.Tensor, targets: np.ndarray) -> pf.Tensor:
        """Mean cross-entropy of targets (B, T), -100 ignored, given hidden (B, T, C)."""
        flat = self.on_device(targets.reshape(-1))
        return self.head.linear_cross_entropy(hidden.reshape(-1, hidden.shape[-1]), flat, ignore_index=IGNORED)

    def generate(
        self,
        ids: Any,
        max_new_tokens: int,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stream: Callable[[int, int], Any] | None = None,
        stop: int | Iterable[int] | None = None,
        pad_id: int | None = None,
        overflow: str = "error",
    ) -> Any:
        """Continues each prompt by up to `max_new_tokens`; several threads may call at once.

        What is None follows the generation_config.json that the model was opened with, where that says it
        (`do_sample`, `temperature`, `top_k`, `top_p`, `eos_token_id`, `pad_token_id`); `model.generation_config = None`
        forgets it.

        Args:
            ids: prompts: integers (B, T), or a list of prompts of different lengths.
            max_new_tokens: how many tokens to add.
            temperature: divides the logits, 1 by default; 0 takes the likeliest, of equals the lowest id.
            top_k: sample from the k likeliest only; by default from all.
            top_p: sample from the fewest likeliest that hold this much probability; 1 from all.
            seed: row i samples from seed + i whatever its neighbours; None draws a seed from
                `pf.manual_seed`'s stream.
            stream: called as stream(row, token) for each token as it comes.
            stop: a token or tokens that end a row; they are part of the result. () for none.
            pad_id: fills rows that stopped early; 0 by default.
            overflow: "error", or "slide" to keep the last half of the context when it is full.

        Returns:
            A Tensor, int64 (B, T + max_new_tokens), prompts included; for prompts of different
            lengths a list of lists of ids, each ending where its row stopped.

        Raises:
            ValueError: an empty prompt, prompt and new tokens past the context length (unless
                sliding), or a setting out of range.
            IndexError: an id is not in [0, V).
            TypeError: ids are not integers, or a setting has the wrong type.
        """
        return generation.generate(
            self,
            ids,
            max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stream=stream,
            stop=stop,
            pad_id=pad_id,
            overflow=overflow,
        )

    def new_cache(self, rows: int = 0, capacity: int = 0) -> Any:
        """What remembers the tokens read so far of `rows` texts, with room for `capacity` of them each."""
        where = {"dtype": cache_dtype(self.head), "device": self.head.device}
        return nn.KVCache(self.config.num_layers, *self.cache_heads, rows=rows, capacity=capacity, **where)

    def cache_bytes(self, rows: int = 1, tokens: int | None = None) -> int:
        """What `new_cache(rows, tokens)` takes, by default for the longest text."""
        tokens = self.config.context_length if tokens is None else tokens
        return 2 * self.head.dtype.itemsize * self.config.num_layers * rows * tokens * int(np.prod(self.cache_heads))

    def next_logits(self, ids: np.ndarray, counts: np.ndarray, cache: Any) -> pf.Tensor:
        """Logits (B, V) after the last token of each row that counts: ids (B, T), counts (B,), which join `cache`."""
        hidden = self.hidden(self.on_device(ids), None if ids.shape[1] == 1 else counts, cache=cache)
        rows, tokens, width = hidden.shape
        hidden = hidden.reshape(rows * tokens, width)
        if tokens > 1:
            hidden = ops.embedding(self.on_device(np.arange(rows) * tokens + counts - 1), hidden)
        return self.logits(hidden)

    def count_targets(self, ids: Any, targets: Any, lengths: Any = None) -> int:
        """How many targets `loss` is the mean of; arguments as in `loss`."""
        return int((self._counted(read_int64(self._name, "targets", targets), lengths) != IGNORED).sum())

    def read_inputs(self, ids: Any, lengths: Any, cache: nn.KVCache | None) -> tuple[pf.Tensor, Span]:
        """(ids on the model's device, where they stand); they join `cache`."""
        ids = self.read_ids(ids)
        batch, tokens = ids.shape
        places = np.arange(tokens, dtype=np.int64)[None]
        counts = None if lengths is None else read_lengths(self._name, lengths, batch, tokens)
        if cache is not None:
            positions = cache.length[:, None] + places
            if cache.longest + tokens > self.longest:
                raise ValueError(f"{self._name}: {tokens} tokens more exceed the context length {self.longest}")
            cache.begin(tokens, counts)
            places = cache.starts.reshape(batch, 1) if tokens == 1 else self.on_device(positions)
            return ids, Span(positions, places, cache.capacity, cache.length, {"causal": True, **cache.reach})
        reach = {"causal": True, "key_lengths": None, "query_offset": None}
        if counts is not None:
            reach |= {"key_lengths": self.on_device(counts), "query_offset": self.on_device(np.zeros_like(counts))}
        lengths = np.array([tokens]) if counts is None else counts
        return ids, Span(places, self.on_device(places[0]), tokens, lengths, reach)

    def read_ids(self, ids: Any) -> pf.Tensor:
        """Ids of any accepted form as int64 (B, T)."""
        return read_ids(self._name, ids, self.longest, self.head.device)

    def read_targets(self, targets: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Targets of any accepted form as an int64 array of `shape`."""
        targets = read_int64(self._name, "targets", targets)
        if targets.shape != shape:
            raise ValueError(f"{self._name}: targets must be {shape} as ids are, got {targets.shape}")
        return targets

    @property
    def _name(self) -> str:
        return type(self).__name__

    def on_device(self, array: np.ndarray) -> pf.Tensor:
        """`array` as a Tensor where the model is."""
        return pf.tensor(array, device=self.head.device)
