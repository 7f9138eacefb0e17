"""Beam search: several beginnings of each text are followed at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pyformer.float_mode import in_default_float_mode


@in_default_float_mode
def beam_search(
    extend: Callable[[np.ndarray, np.ndarray], np.ndarray],
    sources: int,
    beams: int,
    limit: int,
    *,
    start_id: int,
    end_id: int,
    length_penalty: float,
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
        end_id: the token that ends one.
        length_penalty: 0 for none; above 0 favours longer texts.

    Returns:
        The ids of each source's text.

    Raises:
        Exception: whatever `extend` raises.

    Source: Wu et al. 2016, "Google's neural machine translation system", section 7.

    Example:
        >>> after = np.log([[0.1, 0.6, 0.3], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])  # from each token to each
        >>> extend = lambda tokens, origins: after[tokens]
        >>> pf.generation.beam_search(extend, 1, 2, 5, start_id=0, end_id=2, length_penalty=0.0)
        [[1]]
    """

    def score(total: float, length: int) -> float:
        return total / ((5.0 + length) / 6.0) ** length_penalty

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
            # Each beginning has one way to end, so among 2 * beams of them as many go on as are followed.
            best = _highest(candidates, 2 * beams if beams > 1 else 1)
            followed = []
            for place in best:
                origin, token = divmod(int(place), log_probabilities.shape[2])
                if token == end_id or length == limit:
                    text = beginnings[s][origin] + ([] if token == end_id else [token])
                    ended[s].append((score(candidates[place], length), text))
                elif len(followed) < beams:
                    followed.append((origin, token, candidates[place]))
            ended[s] = sorted(ended[s], key=lambda pair: -pair[0])[:beams]
            if not followed or _is_settled(ended[s], beams, score(followed[0][2], limit)):
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


def _is_settled(ended: list[tuple[float, list[int]]], beams: int, best_hope: float) -> bool:
    """Whether no beginning can still get among the ended: totals only fall, and the limit divides them most."""
    return len(ended) == beams and ended[-1][0] >= best_hope


def _highest(values: np.ndarray, count: int) -> Iterable[int]:
    """Indices of the highest finite values, best first, of equals the lowest index."""
    count = min(count, values.size)
    threshold = np.partition(values, values.size - count)[values.size - count]
    found = np.flatnonzero((values >= threshold) & np.isfinite(values))
    return found[np.argsort(-values[found], kind="stable")][:count]
