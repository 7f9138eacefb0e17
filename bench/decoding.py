"""Greedy decoding with a key-value cache, against `transformers` on the same files and the rivals there are."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

import pyformer as pf
from bench import rivals
from bench.measure import Row, Settings, check_close, interleave
from bench.training import gpt2_config

PROMPT, NEW = 32, 64
QUICK_PROMPT, QUICK_NEW = 4, 4


def _quick_config() -> pf.models.GPTConfig:
    return pf.models.GPTConfig(65, 32, 2, 2, 32)


def _weight_bytes(config: pf.models.GPTConfig) -> float:
    """Of the matrices and biases that every token reads."""
    sizes = (np.prod(shape) for name, shape in config.parameter_shapes() if name != "wpe.weight")
    return 4.0 * float(sum(sizes))


def _verify(ours: pf.models.GPT, theirs: torch.nn.Module, ids: np.ndarray, tokens: np.ndarray) -> None:
    """Same logits over prompt and answer, and an answer that is greedy under the rival's logits."""
    with pf.no_grad(), torch.no_grad():
        logits = theirs(torch.tensor(tokens)).logits.numpy()
        check_close("decoding: logits", ours(tokens).numpy(), logits, 1e-3)
    scores = logits[:, ids.shape[1] - 1 : -1]
    chosen = np.take_along_axis(scores, tokens[:, ids.shape[1] :, None], axis=-1)[..., 0]
    check_close("decoding: scores of the chosen tokens", chosen, scores.max(axis=-1), 1e-3)


def run_decoding(batch: int, settings: Settings) -> Iterator[Row]:
    """Tokens a second over a whole call: prompt, packing of weights and all new tokens."""
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
    yield Row(
        "decoding",
        f"decode {'2x32' if settings.quick else 'gpt2-124M'} greedy batch {batch}, {prompt}+{new} tokens",
        "tok/s",
        {who: [batch * new / s for s in times] for who, times in samples.items()},
        higher_is_better=True,
        bytes=new * _weight_bytes(config),
        seconds=statistics.median(samples["pyformer"]),
        errors=errors,
    )
