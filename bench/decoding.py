"""Greedy decoding with a key-value cache, against `transformers` on the same files and the rivals there are."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

import pyformer as pf
from bench import rivals
from bench.measure import REST_S, Row, Settings, check_close, interleave
from bench.training import gpt2_config
from pyformer import _core

PROMPT, NEW = 32, 64
QUICK_PROMPT, QUICK_NEW = 4, 4
READING = "reading the weights"


def _quick_config() -> pf.models.GPTConfig:
    return pf.models.GPTConfig(65, 32, 2, 2, 32)


def _weight_bytes(config: pf.models.GPTConfig) -> float:
    """Of the matrices and biases that every token reads."""
    return 4.0 * float(config.parameter_count() - config.context_length * config.embed_dim)


def _verify(ours: pf.models.GPT, theirs: torch.nn.Module, ids: np.ndarray, tokens: np.ndarray) -> None:
    """Same logits over prompt and answer, and an answer that is greedy under the rival's logits."""
    with pf.no_grad(), torch.no_grad():
        logits = theirs(torch.tensor(tokens)).logits.numpy()
        check_close("decoding: logits", ours(tokens).numpy(), logits, 1e-3)
    scores = logits[:, ids.shape[1] - 1 : -1]
    chosen = np.take_along_axis(scores, tokens[:, ids.shape[1] :, None], axis=-1)[..., 0]
    check_close("decoding: scores of the chosen tokens", chosen, scores.max(axis=-1), 1e-3)


class Clock:
    """When tokens came; `put` and `end` are what `transformers` calls."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: object) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass

    def token_seconds(self) -> float:
        """Median time between two tokens."""
        return statistics.median(later - earlier for earlier, later in itertools.pairwise(self.times))


def steady(
    contenders: dict[str, Callable[[Clock], object]], weight_bytes: float, settings: Settings
) -> dict[str, list[float]]:
    """Seconds a token, once the prompt is read and the weights are packed.

    Beside them what a token's weights would take at the read bandwidth of that moment: on a machine that is shared
    it changes from one minute to the next.
    """
    samples: dict[str, list[float]] = {who: [] for who in (*contenders, READING)}
    for _ in range(settings.repetitions):
        samples[READING].append(weight_bytes / (1e9 * _core.read_bandwidth_gbps(settings.threads)))
        for who, work in contenders.items():
            time.sleep(0.0 if settings.quick else REST_S)
            clock = Clock()
            work(clock)
            samples[who].append(clock.token_seconds())
    return samples


def run_decoding(batch: int, settings: Settings) -> Iterator[Row]:
    """Tokens a second over a whole call (prompt, packing of weights and all new tokens), and after the first token."""
    from transformers import GPT2LMHeadModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    config = _quick_config() if settings.quick else gpt2_config()
    prompt, new = (QUICK_PROMPT, QUICK_NEW) if settings.quick else (PROMPT, NEW)
    pf.manual_seed(1)
    ours = pf.models.GPT(config)
    ours.eval()
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs = GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = np.random.default_rng(5).integers(0, config.vocab_size, (batch, prompt))
    torch_ids = torch.tensor(ids)
    options = {"do_sample": False, "max_new_tokens": new, "pad_token_id": 0}
    contenders = {
        "pyformer": lambda: ours.generate(ids, new, temperature=0),
        "transformers": lambda: theirs.generate(torch_ids, attention_mask=torch.ones_like(torch_ids), **options),
    }
    answers = {who: work().numpy() for who, work in contenders.items()}
    assert answers["pyformer"].shape == answers["transformers"].shape, "decoding: not the same number of tokens"
    _verify(ours, theirs, ids, answers["pyformer"])
    verify = partial(_verify, ours, theirs, ids)
    with rivals.decoding(ours, ids, verify, settings, new_tokens=new) as (others, errors):
        samples = interleave({**contenders, **others}, settings)
    name = f"decode {'2x32' if settings.quick else 'gpt2-124M'} greedy batch {batch}, {prompt}+{new} tokens"
    yield rate_row(name, batch * new, new * _weight_bytes(config), samples, errors)
    streamed = {
        "pyformer": lambda clock: ours.generate(
            ids, new, temperature=0, stream=lambda row, token: clock.put(token) if row == 0 else None
        ),
        "transformers": lambda clock: theirs.generate(
            torch_ids, attention_mask=torch.ones_like(torch_ids), streamer=clock, **options
        ),
    }
    if batch == 1:  # `transformers` streams no more than one row
        samples = steady(streamed, _weight_bytes(config), settings)
        yield rate_row(f"{name}, after the first", 1, _weight_bytes(config), samples, {})


def rate_row(
    name: str,
    tokens: int,
    weight_bytes: float,
    samples: dict[str, list[float]],
    errors: dict[str, str],
    section: str = "decoding",
) -> Row:
    """A row of tokens a second, of seconds."""
    return Row(
        section,
        name,
        "tok/s",
        {who: [tokens / s for s in times] for who, times in samples.items()},
        higher_is_better=True,
        bytes=weight_bytes,
        seconds=statistics.median(samples["pyformer"]),
        errors=errors,
    )
