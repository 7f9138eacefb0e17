"""`python -m bench.rivals.llama_gpt JOB`: greedy decoding of GPT-2 in llama.cpp, float32 weights and cache.

The weights go through a GGUF file without a vocabulary; tokens are given and taken as ids. All rows of a batch are
sequences of one context and go through `llama_decode` together. Loading and repacking the weights is not timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np

from bench.rivals.job import Job, answer_lines


def write_gguf(job: Job, path: Path) -> None:
    """The weights under llama.cpp's names."""
    s = job.settings
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_context_length(s["context_length"])
    writer.add_embedding_length(s["embed_dim"])
    writer.add_block_count(s["num_layers"])
    writer.add_feed_forward_length(4 * s["embed_dim"])
    writer.add_head_count(s["num_heads"])
    writer.add_layer_norm_eps(s["layer_norm_epsilon"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(s["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, s["num_layers"])
    for name, weight in job.weights.items():
        writer.add_tensor(names.get_name(f"transformer.{name}", try_suffixes=(".weight", ".bias")), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def context_of(path: Path, threads: int, rows: int, length: int, wide_cache: bool) -> Any:
    """A context for `rows` sequences of `length` tokens; keys and values are float32 if `wide_cache`, else float16."""
    llama_cpp.llama_backend_init()
    model_params = llama_cpp.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = rows * length
    params.n_seq_max = rows
    params.n_threads = params.n_threads_batch = threads
    if wide_cache:
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
    context = model and llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError("llama.cpp could not load the model")
    return context


def feed(context: Any, batch: Any, tokens: np.ndarray, position: int, vocab_size: int) -> np.ndarray:
    """Extends each row by tokens (B, T) from that position on; returns the greedy next tokens (B,)."""
    rows, count = tokens.shape
    batch.n_tokens = rows * count
    last = []
    for i, (row, t) in enumerate(np.ndindex(rows, count)):
        batch.token[i] = int(tokens[row, t])
        batch.pos[i] = position + t
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = row
        batch.logits[i] = t == count - 1
        if batch.logits[i]:
            last.append(i)
    code = llama_cpp.llama_decode(context, batch)
    if code:
        raise RuntimeError(f"llama_decode returned {code}")
    scores = (llama_cpp.llama_get_logits_ith(context, i) for i in last)
    return np.array([np.ctypeslib.as_array(s, (vocab_size,)).argmax() for s in scores])


def forget(context: Any) -> None:
    """Empties the cache of keys and values."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)


def prepare(job: Job) -> Callable[[], list[list[int]]]:
    """The decoding: each call starts from an empty cache and returns the new tokens of each row."""
    path = Path(sys.argv[1]).with_suffix(".gguf")
    write_gguf(job, path)
    ids, new, vocab_size = job.arrays["ids"], job.settings["new_tokens"], job.settings["vocab_size"]
    rows, prompt = ids.shape
    context = context_of(path, job.settings["threads"], rows, prompt + new, wide_cache=True)
    batch = llama_cpp.llama_batch_init(rows * prompt, 0, 1)

    def work() -> list[list[int]]:
        forget(context)
        tokens = [feed(context, batch, ids, 0, vocab_size)]
        while len(tokens) < new:
            tokens.append(feed(context, batch, tokens[-1][:, None], prompt + len(tokens) - 1, vocab_size))
        return np.stack(tokens, axis=1).tolist()

    return work


if __name__ == "__main__":
    answer_lines(prepare)
