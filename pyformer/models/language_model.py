"""What the models that predict a next token have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import generation, nn, ops
from pyformer.models.inputs import read_ids, read_int64, read_lengths

IGNORED = -100


class TextGenerator(nn.Module):
    """`generate` for a model that defines `decoder`; `config` has `vocab_size` and `context_length`."""

    config: Any

    @property
    def longest(self) -> int:
        """The most tokens of a sequence, its prompt included."""
        return self.config.context_length

    def decoder(self, rows: int, length: int, new_tokens: int) -> generation.Decoder:
        """What generates for `rows` prompts: `length` tokens at most, about `new_tokens` of them one by one."""
        raise NotImplementedError

    def generate(
        self,
        ids: Any,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stream: Callable[[int, int], Any] | None = None,
        stop: int | Iterable[int] | None = None,
        pad_id: int = 0,
        overflow: str = "error",
    ) -> Any:
        """Continues each prompt by up to `max_new_tokens`; several threads may call at once.

        Args:
            ids: prompts: integers (B, T), or a list of prompts of different lengths.
            max_new_tokens: how many tokens to add.
            temperature: divides the logits; 0 takes the likeliest, of equals the lowest id.
            top_k: sample from the k likeliest only.
            top_p: sample from the fewest likeliest that hold this much probability.
            seed: row i samples from seed + i whatever its neighbours; None draws a seed from
                `pf.manual_seed`'s stream.
            stream: called as stream(row, token) for each token as it comes.
            stop: a token or tokens that end a row; they are part of the result.
            pad_id: fills rows that stopped early.
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
            self.decoder,
            ids,
            max_new_tokens,
            vocab_size=self.config.vocab_size,
            context_length=self.longest,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stream=stream,
            stop=stop,
            pad_id=pad_id,
            overflow=overflow,
        )


class LanguageModel(TextGenerator):
    """Logits, loss and text from a model that defines `hidden`, `head_weight` and `decoder`."""

    @property
    def head_weight(self) -> pf.Tensor:
        """The last projection, (V, C)."""
        raise NotImplementedError

    def hidden(self, ids: Any, lengths: Any = None, weights: list[pf.Tensor] | None = None) -> pf.Tensor:
        """What the last projection sees, (B, T, C); each layer appends its attention weights to `weights`."""
        raise NotImplementedError

    def forward(self, ids: Any, lengths: Any = None, *, return_weights: bool = False) -> Any:
        """Logits (B, T, V) of the token after each position.

        Args:
            ids: integers (B, T): a Tensor, NumPy array or nested list.
            lengths: tokens of each row that count, (B,); the rest is padding on the right, whose
                logits mean nothing.
            return_weights: give (logits, list of the attention weights (B, H, T, T) of each layer).

        Raises:
            ValueError: T is 0 or exceeds the context length, or a shape is wrong.
            TypeError: ids are not integers.
            IndexError: an id is not in [0, V).
        """
        weights: list[pf.Tensor] | None = [] if return_weights else None
        logits = ops.linear(self.hidden(ids, lengths, weights), self.head_weight)
        return (logits, weights) if return_weights else logits

    def loss(self, ids: Any, targets: Any, lengths: Any = None) -> pf.Tensor:
        """Mean cross-entropy in nats, a scalar; the logits are never held whole.

        Args:
            ids: integers (B, T), as in `forward`.
            targets: integers (B, T), the token to predict at each position; -100 is ignored, as
                is what lies beyond `lengths`.
            lengths: as in `forward`.

        Raises as `forward` does.
        """
        ids = self._read_ids(ids)
        shape = tuple(ids.shape)
        targets = read_int64(self._name, "targets", targets)
        if targets.shape != shape:
            raise ValueError(f"{self._name}: targets must be {shape} as ids are, got {targets.shape}")
        hidden = self.hidden(ids, lengths)
        if lengths is not None:
            ends = read_lengths(self._name, lengths, *shape)
            targets = np.where(np.arange(shape[1]) < ends[:, None], targets, IGNORED)
        return ops.linear_cross_entropy(
            hidden.reshape(-1, hidden.shape[-1]),
            self.head_weight,
            self.on_device(targets.reshape(-1)),
            ignore_index=IGNORED,
        )

    def check_computable(self) -> None:
        """TypeError for bfloat16 and float16, which are for storage only on the CPU."""
        dtype = self.head_weight.dtype
        if dtype in (pf.bfloat16, pf.float16):
            raise TypeError(
                f"{self._name}: the model is {dtype}, which is for storage only on the CPU (to save and load); "
                "use model.to(pf.float32) before running it"
            )

    def read_inputs(self, ids: Any, lengths: Any) -> tuple[pf.Tensor, pf.Tensor | None, pf.Tensor | None]:
        """(ids, lengths, offsets) on the model's device, the last two None or int64 (B,), offsets zeros."""
        self.check_computable()
        ids = self._read_ids(ids)
        if lengths is None:
            return ids, None, None
        lengths = read_lengths(self._name, lengths, *ids.shape)
        return ids, self.on_device(lengths), self.on_device(np.zeros_like(lengths))

    def _read_ids(self, ids: Any) -> pf.Tensor:
        return read_ids(self._name, ids, self.config.context_length, self.head_weight.device)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def on_device(self, array: np.ndarray) -> pf.Tensor:
        """`array` as a Tensor where the model is."""
        return pf.tensor(array, device=self.head_weight.device)
