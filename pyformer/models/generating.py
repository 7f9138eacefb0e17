"""What a model that predicts a next token needs to go on from prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import generation, nn, ops
from pyformer.nn.precision import cache_dtype


class Generating:
    """`generate` and `stream`, and what they ask of a model that has `config`, `head`, `hidden` and `logits`."""

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
        *,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        stop_strings: str | Iterable[str] = (),
        tokenizer: Any = None,
        beams: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | str | None = None,
        log_probabilities: int | None = None,
        speculate: bool = False,
        prompt_cache: generation.PromptCache | None = None,
    ) -> Any:
        """Continues each prompt by up to `max_new_tokens`; several threads may call at once.

        What is None follows the generation_config.json that the model was opened with, where that says it
        (`do_sample`, `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`, `eos_token_id`, `pad_token_id`,
        `num_beams`, `length_penalty`, `early_stopping`); `model.generation_config = None` forgets it. Its `num_beams`
        is for those who choose no temperature and no seed, unless it says `do_sample`.

        Args:
            ids: prompts: integers (B, T), or a list of prompts of different lengths.
            max_new_tokens: how many tokens to add.
            temperature: divides the logits, 1 by default; 0 takes the likeliest, of equals the lowest id.
            top_k: sample from the k likeliest only; by default from all.
            top_p: sample from the fewest likeliest that hold this much probability; 1 from all.
            seed: row i samples from seed + i whatever its neighbours; None draws a seed from
                `pf.manual_seed`'s stream. The random number of a token depends on the seed and on its place in the
                text: what a call made, continued with the same seed, is what one call makes.
            stream: called as stream(row, token) for each token as it comes.
            stop: a token or tokens that end a row; they are part of the result. () for none.
            pad_id: fills rows that stopped early; 0 by default.
            overflow: "error", or "slide" to keep the last half of the context when it is full.
            min_p, repetition_penalty, presence_penalty, frequency_penalty: as in `pf.generation.Sampler`.
            stop_strings: a string or strings that end a row as soon as its new text has one; the tokens that make it
                are part of the result. `tokenizer` writes the text.
            beams: look for the likeliest text as a whole, following so many beginnings at once, and without sampling.
            length_penalty, early_stopping: of beams, as in `transformers`: the log-probability of a text is divided by
                its number of new tokens to this power, 1 by default; False stops when no beginning is better now than
                the ended texts, True as soon as there are `beams` of those, "never" when none can become better.
            log_probabilities: give (the result, the log-probabilities): of each row, of each new token a
                `pf.generation.Chosen` with so many of the likeliest besides, by the logits as they are.
            speculate: guess what comes next from what the text and its prompt say, and read several tokens in one pass
                where that is right: quicker for edits and quotations, and the same bits. Not for models that keep a
                state.
            prompt_cache: a `pf.generation.PromptCache`, in which a prompt's beginning need not be read again.

        Returns:
            A Tensor, int64 (B, T + max_new_tokens), prompts included; for prompts of different
            lengths a list of lists of ids, each ending where its row stopped.

        Raises:
            ValueError: an empty prompt, prompt and new tokens past the context length (unless
                sliding), a setting out of range, or two that exclude each other.
            IndexError: an id is not in [0, V).
            TypeError: ids are not integers, or a setting has the wrong type.
        """
        return generation.generate(
            self,
            ids,
            max_new_tokens,
            stream=stream,
            pad_id=pad_id,
            log_probabilities=log_probabilities,
            beams=beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            stop=stop,
            overflow=overflow,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            stop_strings=stop_strings,
            tokenizer=tokenizer,
            speculate=speculate,
            prompt_cache=prompt_cache,
        )

    def stream(self, ids: Any, max_new_tokens: int, **options: Any) -> Iterator[tuple[int, int]]:
        """The tokens that `generate` makes, as they come: pairs of a row and its next token.

        Args:
            ids, max_new_tokens, options: those of `generate`, except for `stream`, `pad_id`, `log_probabilities` and
                those of beams. They are checked at once.

        Raises as `generate` does.
        """
        return generation.stream(self, ids, max_new_tokens, **options)

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
        return self.logits_at(ids, counts, cache, np.arange(len(ids)) * ids.shape[1] + counts - 1)

    def logits_at(self, ids: np.ndarray, counts: np.ndarray, cache: Any, places: np.ndarray) -> pf.Tensor:
        """Logits (N, V) after the tokens at `places` (N,) of all rows end to end; otherwise as `next_logits`."""
        hidden = self.hidden(self.on_device(ids), None if counts.min() == ids.shape[1] else counts, cache=cache)
        hidden = hidden.reshape(-1, hidden.shape[-1])
        if len(places) < len(hidden):
            hidden = ops.embedding(self.on_device(places), hidden)
        return self.logits(hidden)
