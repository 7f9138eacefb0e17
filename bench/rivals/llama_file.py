"""`python -m bench.rivals.llama_file JOB`: greedy decoding of a GGUF file in llama.cpp, with its default cache.

The settings have the file's `path`. A call reads the prompts, decodes, and says how long each of these steps took in
this process. Loading and repacking the weights is not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from bench.rivals.job import Job, answer_lines
from bench.rivals.llama_gpt import context_of, feed, forget


def prepare(job: Job) -> Callable[[], dict[str, Any]]:
    """The decoding: new tokens of each row, and the seconds of each step, the first of which reads the prompts."""
    ids, new = job.arrays["ids"], job.settings["new_tokens"]
    rows, prompt = ids.shape
    context = context_of(Path(job.settings["path"]), job.settings["threads"], rows, prompt + new, wide_cache=False)
    vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(llama_cpp.llama_get_model(context)))
    batch = llama_cpp.llama_batch_init(rows * prompt, 0, 1)

    def work() -> dict[str, Any]:
        forget(context)
        tokens, seconds, given = [], [], ids
        while len(tokens) < new:
            start = time.perf_counter()
            tokens.append(feed(context, batch, given, prompt + len(tokens) - 1 if tokens else 0, vocab_size))
            seconds.append(time.perf_counter() - start)
            given = tokens[-1][:, None]
        return {"tokens": np.stack(tokens, axis=1).tolist(), "seconds": seconds}

    return work


if __name__ == "__main__":
    answer_lines(prepare)
