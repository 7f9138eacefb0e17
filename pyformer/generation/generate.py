"""Continuing a batch of prompts: what a model's `generate` does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import pyformer as pf
from pyformer.formats.folder import GENERATION_KEYS
from pyformer.generation.decoder import Decoder
from pyformer.generation.prompts import read_prompts
from pyformer.generation.sampling import Sampler, check_int, fresh_seed


def generate(
    model: Any,
    ids: Any,
    max_new_tokens: int,
    *,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stream: Callable[[int, int], Any] | None = None,
    stop: int | Iterable[int] | None = None,
    pad_id: int | None = None,
    overflow: str = "error",
) -> pf.Tensor | list[list[int]]:
    """Continues each prompt by up to `max_new_tokens`: `model.generate(...)`, where the arguments are explained.

    Args:
        model: a language model, as `Decoder` takes.

    Returns:
        A Tensor, int64 (B, T + max_new_tokens), or a list of lists of ids for prompts of different lengths.

    Raises:
        ValueError: a setting is out of range, or there is no room for so many tokens.
        IndexError: an id is not in [0, V).
        TypeError: ids are not integers, or a setting has the wrong type.

    Example:
        >>> pf.manual_seed(0)
        >>> model = pf.models.GPT(pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> pf.generation.generate(model, [[1, 2]], 3, temperature=0).shape
        (1, 5)
    """
    said = said_of_generation(model)
    temperature, top_k, top_p, stop, pad_id = (
        said.get(name, default) if given is None else given
        for name, given, default in (
            ("temperature", temperature, 1.0),
            ("top_k", top_k, None),
            ("top_p", top_p, None),
            ("eos_token_id", stop, None),
            ("pad_token_id", pad_id, 0),
        )
    )
    prompts, rectangular = read_prompts(ids, model.config.vocab_size)
    check_int("max_new_tokens", max_new_tokens, 0)
    Sampler(temperature, top_k, top_p, 0 if seed is None else seed)
    if seed is None:
        seed = fresh_seed() if temperature > 0.0 else 0
    samplers = [Sampler(temperature, top_k, top_p, seed + row) for row in range(len(prompts))]
    stops = _read_stops(stop)
    check_int("pad_id", pad_id, None)
    if not -(2**63) <= pad_id < 2**63:
        raise ValueError(f"generate: pad_id must fit in int64, got {pad_id}")
    _check_room(prompts, max_new_tokens, model.longest, overflow)
    if stream is not None and not callable(stream):
        raise TypeError(f"generate: stream must be a function of (row, token), got {type(stream).__name__}")
    rows = _run(model, prompts, samplers, max_new_tokens, stops, stream or _ignore)
    if not rectangular:
        return rows
    width = len(prompts[0]) + max_new_tokens
    out = np.full((len(rows), width), pad_id, np.int64)
    for row, tokens in enumerate(rows):
        out[row, : len(tokens)] = tokens
    return pf.tensor(out)


def said_of_generation(model: Any) -> dict[str, Any]:
    """What the generation_config.json of a model's folder says of how it is to go on, by its own names."""
    said = getattr(model, "generation_config", None) or {}
    found = {name: said[name] for name in GENERATION_KEYS if said.get(name) is not None}
    if found.pop("do_sample", True) is False:
        found["temperature"] = 0.0
    if found.get("top_k") == 0:  # all, there
        del found["top_k"]
    return found


def _run(
    model: Any,
    prompts: list[list[int]],
    samplers: list[Sampler],
    max_new_tokens: int,
    stops: frozenset[int],
    stream: Callable[[int, int], Any],
) -> list[list[int]]:
    decoder = Decoder(model)
    try:
        return _continue(decoder, prompts, samplers, max_new_tokens, stops, stream)
    finally:
        decoder.close()


def _continue(
    decoder: Decoder,
    prompts: list[list[int]],
    samplers: list[Sampler],
    max_new_tokens: int,
    stops: frozenset[int],
    stream: Callable[[int, int], Any],
) -> list[list[int]]:
    texts = [list(prompt) for prompt in prompts]
    if max_new_tokens:
        for prompt, sampler in zip(prompts, samplers, strict=True):
            decoder.add(prompt, sampler, max_new_tokens)
    going = len(texts)
    for _ in range(max_new_tokens):
        for row, token in decoder.step().items():
            texts[row].append(token)
            stream(row, token)
            if token in stops:
                decoder.remove(row)
                going -= 1
        if not going:
            break
    return texts


def _ignore(row: int, token: int) -> None:
    pass


def _read_stops(stop: int | Iterable[int] | None) -> frozenset[int]:
    if stop is None:
        return frozenset()
    stops = [stop] if isinstance(stop, (int, np.integer)) else list(stop)
    for token in stops:
        check_int("stop", token, None)
    return frozenset(int(token) for token in stops)


def _check_room(prompts: list[list[int]], max_new_tokens: int, context_length: int, overflow: str) -> None:
    if overflow not in ("error", "slide"):
        raise ValueError(f"generate: overflow must be 'error' or 'slide', got {overflow!r}")
    longest = max(len(prompt) for prompt in prompts)
    if overflow == "error" and longest + max_new_tokens > context_length:
        raise ValueError(
            f"generate: {longest} tokens of prompt and {max_new_tokens} new ones exceed the "
            f"context length {context_length}; overflow='slide' goes on with the last half"
        )
