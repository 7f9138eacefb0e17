"""Beam search: several beginnings of each text are followed at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import nn, ops
from pyformer.float_mode import in_default_float_mode

MAX_BEAMS = 10_000
MOST_DIVIDED_BY = 1e100  # a text's log-probability, so that quotients still differ


@in_default_float_mode
def beam_search(
    extend: Callable[[np.ndarray, np.ndarray], np.ndarray],
    sources: int,
    beams: int,
    limit: int,
    *,
    start_id: int,
    end_id: int | Collection[int],
    length_penalty: float,
    as_transformers: bool = False,
    early_stopping: bool | str = "never",
) -> list[list[int]]:
    """The likeliest text found for each source, without `start_id` and `end_id`, of at most `limit` tokens.

    Each source keeps its best `beams` beginnings and its best ended texts. A whole text's log-probability is divided
    by ((5 + tokens) / 6) to the power `length_penalty`.

    Args:
        extend: extend(tokens, origins), both (sources * beams,), gives the log-probabilities (sources * beams, V) of
            the token after `tokens`, row i going on from what row origins[i] has seen.
        sources: how many texts are wanted.
        beams: how many beginnings of each are followed.
        limit: the most tokens of a text.
        start_id: the token that every text begins with.
        end_id: the token that ends one, or several.
        length_penalty: 0 for none; above 0 favours longer texts. Its size is such that `limit` to that power is at most
            1e100.
        as_transformers: divide by the number of tokens itself, let a text end only where it is among the best `beams`,
            and leave its end in the result.
        early_stopping: "never" stops when no beginning can become better than the worst ended text that is kept, False
            when none is better at the length it has, True as soon as `beams` texts have ended.

    Returns:
        The ids of each source's text.

    Raises:
        ValueError: length_penalty is out of range, or there are more than 10,000 beams.
        Exception: whatever `extend` raises.

    Source: Wu et al. 2016, "Google's neural machine translation system", section 7.

    Example:
        >>> after = np.log([[0.1, 0.6, 0.3], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])  # from each token to each
        >>> extend = lambda tokens, origins: after[tokens]
        >>> pf.generation.beam_search(extend, 1, 2, 5, start_id=0, end_id=2, length_penalty=0.0)
        [[1]]
    """

    check_beams("beam_search", beams, length_penalty, limit)

    def score(total: float, length: int) -> float:
        return total / (length if as_transformers else (5.0 + length) / 6.0) ** length_penalty

    end_ids = {end_id} if isinstance(end_id, int) else set(end_id)

    totals = np.full((sources, beams), -np.inf)
    totals[:, 0] = 0.0
    beginnings: list[list[list[int]]] = [[[] for _ in range(beams)] for _ in range(sources)]
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(sources)]
    open_sources = set(range(sources))
    tokens, origins = np.full(sources * beams, start_id, np.int64), np.arange(sources * beams)
    for length in range(1, limit + 1):
        log_probabilities = extend(tokens, origins).reshape(sources, beams, -1)
        origins = np.arange(sources * beams)
        for s in sorted(open_sources):
            candidates = (totals[s][:, None] + log_probabilities[s]).reshape(-1)
            # Each beginning has so many ways to end, so among these as many go on as are followed.
            best = _highest(candidates, (1 + max(1, len(end_ids))) * beams if beams > 1 else 1)
            followed = []
            for rank, place in enumerate(best):
                origin, token = divmod(int(place), log_probabilities.shape[2])
                if token in end_ids or length == limit:
                    text = beginnings[s][origin] + ([] if token in end_ids and not as_transformers else [token])
                    if rank < beams or not as_transformers:
                        ended[s].append((score(candidates[place], length), text))
                elif len(followed) < beams:
                    followed.append((origin, token, candidates[place]))
            ended[s] = sorted(ended[s], key=lambda pair: -pair[0])[:beams]
            hope = -math.inf if not followed or early_stopping is True else followed[0][2]
            # Totals only fall, and the limit divides them most.
            hope = score(hope, limit if early_stopping == "never" and length_penalty > 0.0 else length)
            if not followed or (len(ended[s]) == beams and ended[s][-1][0] >= hope):
                open_sources.discard(s)
                continue
            followed += [(*followed[-1][:2], -np.inf)] * (beams - len(followed))
            beginnings[s] = [[*beginnings[s][origin], token] for origin, token, _ in followed]
            totals[s] = [total for _, _, total in followed]
            rows = slice(s * beams, (s + 1) * beams)
            origins[rows] = [s * beams + origin for origin, _, _ in followed]
            tokens[rows] = [token for _, token, _ in followed]
        if not open_sources:
            break
    return [found[0][1] for found in ended]


def search_beams(
    model: Any,
    prompts: list[list[int]],
    limit: int,
    beams: int,
    end_ids: Collection[int],
    length_penalty: float,
    early_stopping: bool | str,
) -> list[list[int]]:
    """Each prompt with the likeliest text that beams find behind it, of at most `limit` tokens, its end included."""
    length_penalty = check_beams("generate", beams, length_penalty, limit)
    if early_stopping not in (True, False, "never"):
        raise ValueError(f"generate: early_stopping must be True, False or 'never', got {early_stopping!r}")
    if not limit:
        return [list(prompt) for prompt in prompts]
    again = model.reread_at
    for prompt in prompts if again is not None else ():
        if len(prompt) <= again < len(prompt) + limit - 1:  # the last token is not read
            raise ValueError(
                f"generate: beams don't go past {again} tokens, where {type(model).__name__} reads texts again; "
                f"got {len(prompt)} tokens of prompt and {limit} new ones"
            )
    counts = np.array([len(prompt) for prompt in prompts], np.int64)
    ids = np.zeros((len(prompts), int(counts.max())), np.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = prompt
    cache = model.new_cache(len(prompts), int(counts.max()) + limit)
    begun = False

    def extend(tokens: np.ndarray, origins: np.ndarray) -> np.ndarray:
        nonlocal begun
        if begun:
            cache.keep(origins)
            logits = model.next_logits(tokens[:, None], np.ones(len(tokens), np.int64), cache)
        else:
            logits = model.next_logits(ids, counts, cache)
        logits = ops.log_softmax(logits.to("cpu").to(pf.float64)).numpy()
        if np.isnan(logits).any():
            raise ValueError(f"generate: the logits of row {int(np.isnan(logits).any(axis=1).argmax())} hold nan")
        if not begun:
            each = np.repeat(np.arange(len(prompts)), beams)
            cache.keep(each)
            begun, logits = True, logits[each]
        return logits

    with nn.inference():
        options = {"length_penalty": length_penalty, "as_transformers": True, "early_stopping": early_stopping}
        found = beam_search(extend, len(prompts), beams, limit, start_id=0, end_id=end_ids, **options)
    return [prompt + text for prompt, text in zip(prompts, found, strict=True)]


def check_beams(owner: str, beams: int, length_penalty: Any, longest: int) -> float:
    """`length_penalty` as a float; TypeError or ValueError, which name `owner`, unless texts can be judged by it."""
    if beams > MAX_BEAMS:
        raise ValueError(f"{owner}: beams must be at most {MAX_BEAMS}, got {beams}")
    if isinstance(length_penalty, bool) or not isinstance(length_penalty, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner}: length_penalty must be a number, got {type(length_penalty).__name__}")
    most = math.log(MOST_DIVIDED_BY) / math.log(max(longest, 2))
    if not -most <= length_penalty <= most:
        raise ValueError(
            f"{owner}: length_penalty must be between {-most:.4g} and {most:.4g} for texts of {longest} tokens, "
            f"got {length_penalty}"
        )
    return float(length_penalty)


def _highest(values: np.ndarray, count: int) -> Iterable[int]:
    """Indices of the highest finite values, best first, of equals the lowest index."""
    count = min(count, values.size)
    threshold = np.partition(values, values.size - count)[values.size - count]
    found = np.flatnonzero((values >= threshold) & np.isfinite(values))
    return found[np.argsort(-values[found], kind="stable")][:count]
