"""Continuing a batch of prompts: what a model's `generate` and `stream` do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

import pyformer as pf
from pyformer.float_mode import in_default_float_mode
from pyformer.formats.atomic import naming
from pyformer.formats.folder import GENERATION_KEYS, GENERATION_NAME
from pyformer.generation.beam import search_beams
from pyformer.generation.decoder import Decoder
from pyformer.generation.prompt_cache import PromptCache
from pyformer.generation.prompts import read_prompts
from pyformer.generation.sampling import Sampler, check_int, fresh_seed, read_number
from pyformer.generation.stopping import StopText


class Chosen(NamedTuple):
    """What `log_probabilities` tells of a token.

    Attributes:
        token: its id.
        log_probability: that of the model, whatever temperature and the like make of it.
        likeliest: pairs of the likeliest tokens and theirs, the likeliest first, of equals the lowest id.

    Raises:
        TypeError: a part is missing.

    Example:
        >>> pf.generation.Chosen(7, -0.5, [(7, -0.5)]).token
        7
    """

    token: int
    log_probability: float
    likeliest: list[tuple[int, float]]


def generate(
    model: Any,
    ids: Any,
    max_new_tokens: int,
    *,
    stream: Callable[[int, int], Any] | None = None,
    pad_id: int | None = None,
    log_probabilities: int | None = None,
    beams: int | None = None,
    length_penalty: float | None = None,
    early_stopping: bool | str | None = None,
    **settings: Any,
) -> Any:
    """Continues each prompt by up to `max_new_tokens`: `model.generate(...)`, where the arguments are explained.

    Args:
        model: a language model, as `Decoder` takes.
        settings: the others of `model.generate`.

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
        >>> rows, found = pf.generation.generate(model, [[1, 2]], 3, temperature=0, log_probabilities=2)
        >>> [chosen.token for chosen in found[0]] == rows.numpy()[0, 2:].tolist()
        True
    """
    if pad_id is None:
        pad_id = said_of_generation(model).get("pad_token_id", 0)
    pad_id = _check_pad("pad_id", pad_id)
    if stream is not None and not callable(stream):
        raise TypeError(f"generate: stream must be a function of (row, token), got {type(stream).__name__}")
    if log_probabilities is not None:
        log_probabilities = check_int("log_probabilities", log_probabilities, 0)
    beams = _beams_of(model, beams, settings)
    texts = Texts(model, ids, max_new_tokens, most=log_probabilities, **settings)
    if beams > 1:
        given = [
            name for name, value in (("stream", stream), ("log_probabilities", log_probabilities)) if value is not None
        ]
        rows = texts.search(beams, length_penalty, early_stopping, given)
    else:
        with contextlib.closing(iter(texts)) as tokens:
            for row, token in tokens:
                if stream is not None:
                    stream(row, token)
        rows = texts.rows
    result: Any = rows
    if texts.rectangular:
        width = len(texts.prompts[0]) + texts.max_new_tokens
        out = np.full((len(rows), width), pad_id, np.int64)
        for row, tokens_of in enumerate(rows):
            out[row, : len(tokens_of)] = tokens_of
        result = pf.tensor(out)
    return result if log_probabilities is None else (result, texts.found)


def stream(model: Any, ids: Any, max_new_tokens: int, **settings: Any) -> Iterator[tuple[int, int]]:
    """Continues each prompt, token by token: `model.stream(...)`, where the arguments are explained.

    Args:
        model: a language model, as `Decoder` takes.
        settings: the others of `model.stream`.

    Returns:
        An iterator over pairs of a row and its next token.

    Raises:
        ValueError: a setting is out of range, or there is no room for so many tokens.
        IndexError: an id is not in [0, V).
        TypeError: ids are not integers, or a setting has the wrong type.

    Example:
        >>> model = pf.models.GPT(pf.models.GPTConfig(10, 8, num_layers=1, num_heads=2, embed_dim=8))
        >>> [row for row, token in pf.generation.stream(model, [[1, 2], [3]], 2, temperature=0)]
        [0, 1, 0, 1]
    """
    return iter(Texts(model, ids, max_new_tokens, **settings))


class Texts:
    """Prompts that are being continued: iterating over it makes the tokens."""

    def __init__(
        self,
        model: Any,
        ids: Any,
        max_new_tokens: int,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: int | Iterable[int] | None = None,
        overflow: str = "error",
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        stop_strings: str | Iterable[str] = (),
        tokenizer: Any = None,
        speculate: bool = False,
        prompt_cache: PromptCache | None = None,
        most: int | None = None,
    ) -> None:
        self.model = model
        self.prompts, self.rectangular = read_prompts(ids, model.config.vocab_size)
        self.max_new_tokens = check_int("max_new_tokens", max_new_tokens, 0)
        seed = None if seed is None else check_int("seed", seed, 0)
        said = said_of_generation(model)
        options = {
            "temperature": _or(temperature, said.get("temperature"), 1.0),
            "top_k": _or(top_k, said.get("top_k")),
            "top_p": _or(top_p, said.get("top_p")),
            "min_p": _or(min_p, said.get("min_p")),
            "repetition_penalty": _or(repetition_penalty, said.get("repetition_penalty"), 1.0),
            "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty,
        }
        self._has_penalties = Sampler(**options, seed=0 if seed is None else seed).has_penalties
        if seed is None:
            seed = fresh_seed() if options["temperature"] > 0.0 else 0
        self.samplers: list[Any] = [Sampler(**options, seed=seed + row) for row in range(len(self.prompts))]
        self.found: list[list[Chosen]] = [[] for _ in self.prompts]
        if most is not None:
            pairs = zip(self.samplers, self.found, strict=True)
            self.samplers = [_Telling(sampler, most, found) for sampler, found in pairs]
        self.stops = _read_stops(said.get("eos_token_id") if stop is None else stop)
        outside = [token for token in self.stops if not 0 <= token < model.config.vocab_size]
        if outside and stop is not None:  # a file's are named where it is read
            raise ValueError(f"generate: stop must be in [0, {model.config.vocab_size}), got {outside[0]}")
        self._ends = _text_ends(self.prompts, stop_strings, tokenizer)
        if not isinstance(speculate, bool):
            raise TypeError(f"generate: speculate must be a bool, got {type(speculate).__name__}")
        if prompt_cache is not None and not isinstance(prompt_cache, PromptCache):
            raise TypeError(f"generate: prompt_cache must be a PromptCache, got {type(prompt_cache).__name__}")
        _check_room(self.prompts, self.max_new_tokens, model.longest, overflow)
        self._of_decoder = {"speculate": speculate, "prompt_cache": prompt_cache}
        self._overflow = overflow
        Decoder(model, **self._of_decoder)
        self.rows = [list(prompt) for prompt in self.prompts]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        decoder = Decoder(self.model, **self._of_decoder)
        try:
            yield from self._continue(decoder)
        finally:
            decoder.close()
            for row, found in enumerate(self.found):  # a decoder that speculates may have drawn more
                del found[len(self.rows[row]) - len(self.prompts[row]) :]

    def _continue(self, decoder: Decoder) -> Iterator[tuple[int, int]]:
        going = set(range(len(self.rows))) if self.max_new_tokens else set()
        for row in sorted(going):
            decoder.add(self.prompts[row], self.samplers[row], self.max_new_tokens)
        while going:
            ended = []
            for row, tokens in decoder.advance().items():
                for token in tokens:
                    self.rows[row].append(token)
                    yield row, token
                    if self._has_ended(row, token):
                        ended.append(row)
                        break
            going -= set(ended)
            for row in ended if going else ():
                decoder.remove(row)

    def _has_ended(self, row: int, token: int) -> bool:
        full = len(self.rows[row]) - len(self.prompts[row]) >= self.max_new_tokens
        return full or token in self.stops or (self._ends is not None and self._ends[row](token))

    def search(self, beams: int, length_penalty: Any, early_stopping: Any, given: list[str]) -> list[list[int]]:
        """The rows, continued by the likeliest texts that beams find."""
        given += [name for name, value in self._of_decoder.items() if value]
        given += ["stop_strings"] if self._ends is not None else []
        given += ["overflow"] if self._overflow == "slide" else []
        given += ["penalties"] if self._has_penalties else []
        if given:
            hint = f"; {GENERATION_NAME} says some" if self.model.generation_config else ""
            raise ValueError(f"generate: beams don't go with {', '.join(given)}{hint}")
        said = said_of_generation(self.model)
        penalty = _or(length_penalty, said.get("length_penalty"), 1.0)
        early = _or(early_stopping, said.get("early_stopping"), False)
        return search_beams(self.model, self.prompts, self.max_new_tokens, beams, self.stops, penalty, early)


class _Telling:
    """A sampler that also keeps the log-probabilities of what it draws and of the `most` likeliest tokens."""

    def __init__(self, sampler: Sampler, most: int, found: list[Chosen]) -> None:
        self.sampler, self.most, self.found = sampler, most, found

    @in_default_float_mode
    def __call__(self, logits: np.ndarray, row: int, text: list[int], start: int) -> int:
        token = self.sampler(logits, row, text, start)
        of_all = pf.ops.log_softmax(pf.tensor(logits.astype(np.float64), device="cpu"))
        best: list[tuple[int, float]] = []
        if self.most:
            values, ids = pf.ops.topk(of_all, min(self.most, of_all.size))
            best = list(zip(ids.tolist(), values.tolist(), strict=True))
        self.found.append(Chosen(token, of_all[token].item(), best))
        return token


def _text_ends(
    prompts: list[list[int]], strings: str | Iterable[str], tokenizer: Any
) -> list[Callable[[int], bool]] | None:
    """Of each row, what says of its next token whether the text has one of the strings now; None without strings."""
    wanted = StopText(strings).strings
    if not wanted:
        return None
    if not hasattr(tokenizer, "stream_decoder"):
        raise TypeError(f"generate: stop_strings need a tokenizer, got {type(tokenizer).__name__}")
    return [_text_end(tokenizer, prompt, StopText(wanted)) for prompt in prompts]


def _text_end(tokenizer: Any, prompt: list[int], end: StopText) -> Callable[[int], bool]:
    decoder = tokenizer.stream_decoder()
    for token in prompt:  # a first word's space may depend on it
        if token < tokenizer.vocab_size:
            decoder.push(token)
    decoder.finish()

    def has_ended(token: int) -> bool:
        if token < tokenizer.vocab_size and token not in getattr(tokenizer, "special_ids", ()):
            end.push(decoder.push(token))
        return end.ended

    return has_ended


def said_of_generation(model: Any) -> dict[str, Any]:
    """What the generation_config.json of a model's folder says of how it is to go on, by its own names."""
    said = getattr(model, "generation_config", None) or {}
    found = {name: said[name] for name in GENERATION_KEYS if said.get(name) is not None}
    sample = found.pop("do_sample", None)
    if sample is False:
        found["temperature"] = 0.0
    if sample:
        found.pop("num_beams", None)
    if found.get("top_k") == 0:  # all, there
        del found["top_k"]
    with naming(GENERATION_NAME):
        _check_said(found)
    return found


def _check_said(said: dict[str, Any]) -> None:
    """TypeError or ValueError for a setting that `generate` would refuse."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    Sampler(**{name: said[name] for name in names if name in said}, seed=0)
    check_int("num_beams", said.get("num_beams", 1), 1)
    _check_pad("pad_token_id", said.get("pad_token_id", 0))
    _read_stops(said.get("eos_token_id"))
    read_number("length_penalty", said.get("length_penalty", 1.0))
    if said.get("early_stopping", False) not in (True, False, "never"):
        raise ValueError(f"generate: early_stopping must be True, False or 'never', got {said['early_stopping']!r}")


def _beams_of(model: Any, beams: int | None, settings: dict[str, Any]) -> int:
    """How many beginnings are to be followed; those who choose how to sample are not given the file's."""
    sampling = [name for name in ("temperature", "top_k", "top_p", "min_p", "seed") if settings.get(name) is not None]
    if beams is not None:
        beams = check_int("beams", beams, 1)
        if beams > 1 and sampling:
            raise ValueError(f"generate: beams don't go with {', '.join(sampling)}")
        return beams
    said = said_of_generation(model)
    if sampling or "num_beams" not in said:
        return 1
    return said["num_beams"]


def _check_pad(name: str, token: Any) -> int:
    token = check_int(name, token, None)
    if not -(2**63) <= token < 2**63:
        raise ValueError(f"generate: {name} must fit in int64, got {token}")
    return token


def _or(*values: Any) -> Any:
    """The first value that is given."""
    return next((value for value in values if value is not None), None)


def _read_stops(stop: int | Iterable[int] | None) -> frozenset[int]:
    if stop is None:
        return frozenset()
    if isinstance(stop, (str, bytes)) or not isinstance(stop, (int, np.integer, Iterable)):
        raise TypeError(f"generate: stop must be a token or tokens, got {type(stop).__name__}")
    stops = [stop] if isinstance(stop, (int, np.integer)) else list(stop)
    return frozenset(check_int("stop", token, None) for token in stops)


def _check_room(prompts: list[list[int]], max_new_tokens: int, context_length: int, overflow: str) -> None:
    if overflow not in ("error", "slide"):
        raise ValueError(f"generate: overflow must be 'error' or 'slide', got {overflow!r}")
    longest = max(len(prompt) for prompt in prompts)
    if overflow == "error" and longest + max_new_tokens > context_length:
        raise ValueError(
            f"generate: {longest} tokens of prompt and {max_new_tokens} new ones exceed the "
            f"context length {context_length}; overflow='slide' goes on with the last half"
        )
