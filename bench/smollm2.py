"""SmolLM2-135M as its file has it and in other formats: decoding, prompts, rows, guesses, and the first token.

Rivals are llama.cpp, on the same files, and `transformers`, on the same numbers, where they are installed. With
`--quick` a small Llama of random weights takes its place.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np

import pyformer as pf
from bench import rivals
from bench.decoding import Clock, rate_row, steady
from bench.measure import OURS, REST_S, Row, Settings, check_close
from bench.steps import matrix_bytes
from pyformer import datasets
from pyformer.generation import Decoder, Sampler

FORMATS = ("float32", "bfloat16", "Q8_0", "Q4_0", "Q4_1")
# Of the largest logit: how far below the likeliest token, by pyformer, a rival's choice may be.
TOLERANCES = {"float32": 1e-2, "bfloat16": 5e-2, "Q8_0": 5e-2, "Q4_0": 1e-1, "Q4_1": 1e-1}
PROMPT, NEW, LONG = 32, 32, 512
QUICK_PROMPT, QUICK_NEW, QUICK_LONG = 4, 4, 8
TEXT = (
    "The old harbour town wakes before the sun does. Fishermen untie their boats, gulls argue over scraps, and the "
    "smell of bread drifts down from the bakery on the hill. By noon the market is full of voices. A woman sells "
    "oranges from a blue cart, two children chase a dog between the stalls, and an old man plays the same three songs "
    "on a violin that has seen better days. When the evening comes the lamps are lit one by one, and the sea turns "
    "the colour of slate."
)


def _source(folder: Path, quick: bool) -> Path:
    """A GGUF file of 4 bits, or of a small model's float32."""
    if not quick:
        return datasets.smollm2()
    pf.manual_seed(1)
    config = pf.models.LlamaConfig(vocab_size=96, context_length=64, num_layers=1, num_heads=2, embed_dim=64)
    pf.models.Llama(config).save_pretrained(folder / "small.gguf")
    return folder / "small.gguf"


def _ids(source: Path, count: int, quick: bool) -> np.ndarray:
    if quick:
        return np.random.default_rng(5).integers(0, 96, (1, count))
    text = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    return np.asarray(pf.load_tokenizer(source).encode(text[: 16 * count]))[None, :count].astype(np.int64)


def convert(source: Path, to: Path, kind: str) -> None:
    """The file with matrices of another type; the table of tokens has 8 bits where they have 4."""
    import gguf

    types = gguf.GGMLQuantizationType
    wanted = types[{"float32": "F32", "bfloat16": "BF16"}.get(kind, kind)]
    reader = gguf.GGUFReader(source)
    fields = {name: field for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    writer = gguf.GGUFWriter(to, fields.pop("general.architecture").contents())
    for name, field in fields.items():
        of = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=of)
    if "tokenizer.ggml.model" not in fields:
        writer.add_tokenizer_model("no_vocab")
    for tensor in reader.tensors:
        numbers = gguf.dequantize(tensor.data, tensor.tensor_type)
        type_ = types.F32 if numbers.ndim < 2 else wanted
        if tensor.name == "token_embd.weight" and kind.startswith("Q4"):
            type_ = types.Q8_0
        writer.add_tensor(tensor.name, gguf.quantize(numbers, type_), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _open(file: Path, kind: str) -> Any:
    plain = kind in ("float32", "bfloat16")
    return pf.from_pretrained(file, **({"dtype": kind} if plain else {"quantize": "keep"}))


def _decode(model: Any, ids: np.ndarray, new: int, **options: Any) -> tuple[list[list[int]], list[float]]:
    """The greedy tokens after each of ids (B, T), and the seconds of each step, the first of which reads these."""
    decoder = Decoder(model, **options)
    rows = [decoder.add(row, Sampler(temperature=0), max(new, LONG)) for row in ids.tolist()]
    tokens: dict[int, list[int]] = {row: [] for row in rows}
    seconds = []
    while len(tokens[rows[0]]) < new:
        start = time.perf_counter()
        found = decoder.advance()
        seconds.append(time.perf_counter() - start)
        for row, some in found.items():
            tokens[row] += some
    decoder.close()
    return [tokens[row][:new] for row in rows], seconds


def _seconds(model: Any, ids: np.ndarray, new: int) -> list[float]:
    return _decode(model, ids, new)[1]


def _clocked(steps: Callable[[], Sequence[float]]) -> Callable[[Clock], None]:
    """For `steady`: work that says how long its steps took; between the first two times is the second step."""

    def work(clock: Clock) -> None:
        clock.times = list(itertools.accumulate(steps()))

    return work


def _streamed(file: Path, kind: str, ids: np.ndarray, new: int, verify: Callable[[Any], None]) -> Callable[..., None]:
    """`transformers` on the model's numbers."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        _open(file, kind).save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, kind)).eval()
    prompt = torch.tensor(ids)
    options = {"attention_mask": torch.ones_like(prompt), "do_sample": False, "pad_token_id": 0}
    options |= {"min_new_tokens": new, "max_new_tokens": new}
    verify(model.generate(prompt, **options).numpy()[:, ids.shape[1] :])
    return lambda clock: model.generate(prompt, streamer=clock, **options)


def run_format(kind: str, settings: Settings) -> Iterator[Row]:
    """Tokens a second after the first, of one row, and of reading a prompt, in one format."""
    quick = settings.quick
    prompt, new, long = (QUICK_PROMPT, QUICK_NEW, QUICK_LONG) if quick else (PROMPT, NEW, LONG)
    with tempfile.TemporaryDirectory() as name:
        source = _source(Path(name), quick)
        file = source
        if quick or kind != "Q4_1":
            file = Path(name) / f"{kind}.gguf"
            convert(source, file, kind)
        model = _open(file, kind)

        def verify(tokens: Any, ids: np.ndarray) -> None:
            """The tokens are likeliest, or nearly so, by our logits."""
            text = np.concatenate([ids, np.asarray(tokens)], axis=1)
            with pf.no_grad():
                scores = model(text).numpy()[:, ids.shape[1] - 1 : -1]
            chosen = np.take_along_axis(scores, text[:, ids.shape[1] :, None], axis=-1)[..., 0]
            check_close(f"{kind}: scores of the chosen tokens", chosen, scores.max(axis=-1), TOLERANCES[kind])

        ids = _ids(source, prompt, quick)
        verify(_decode(model, ids, new)[0], ids)
        contenders: dict[str, Callable[[Clock], Any]] = {OURS: _clocked(partial(_seconds, model, ids, new))}
        if kind in ("float32", "bfloat16"):
            contenders["transformers"] = _streamed(file, kind, ids, new, lambda tokens: verify(tokens, ids))
        read = matrix_bytes(model)
        with rivals.opening(file, ids, lambda t: verify(t, ids), settings, new_tokens=new) as (others, errors):
            contenders |= {who: _clocked(lambda p=p: p()["seconds"]) for who, p in others.items()}
            samples = steady(contenders, read, settings)
        yield rate_row(f"SmolLM2 {kind} decode, {prompt}+{new} tokens", 1, read, samples, errors, "smollm2")
        ids = _ids(source, long, quick)
        holder = Decoder(model)  # its row keeps the weights packed, as llama.cpp's are
        holder.add([1], Sampler(temperature=0), long)
        with rivals.opening(file, ids, lambda t: verify(t, ids), settings, new_tokens=1) as (others, errors):
            first = {OURS: partial(_seconds, model, ids, 1)}
            first |= {who: lambda p=p: p()["seconds"] for who, p in others.items()}
            samples = _firsts(first, settings)
        holder.close()
        yield rate_row(f"SmolLM2 {kind} prompt of {long} tokens", long, 0, samples, errors, "smollm2")


def _firsts(contenders: dict[str, Callable[[], Sequence[float]]], settings: Settings) -> dict[str, list[float]]:
    """Seconds of the first step of each, in turn."""
    samples: dict[str, list[float]] = {who: [] for who in contenders}
    for repetition in range(settings.repetitions + (not settings.quick)):
        for who, work in contenders.items():
            time.sleep(0.0 if settings.quick else REST_S)
            seconds = work()[0]
            if repetition or settings.quick:
                samples[who].append(seconds)
    return samples


def run_rows(settings: Settings) -> Iterator[Row]:
    """Tokens a second of eight rows beside one row's."""
    quick = settings.quick
    prompt, new = (QUICK_PROMPT, QUICK_NEW) if quick else (PROMPT, NEW)
    with tempfile.TemporaryDirectory() as name:
        source = _source(Path(name), quick)
        for kind in ("float32", "bfloat16", "Q4_1"):
            model = _open(source, kind)
            ids = _ids(source, 8 * prompt, quick).reshape(8, prompt)
            work = {who: _clocked(partial(_seconds, model, ids[:n], new)) for who, n in (("8", 8), ("1", 1))}
            samples = steady(work, matrix_bytes(model), settings)
            rates = {OURS: [s / 8 for s in samples["8"]], "own one row": samples["1"]}
            yield rate_row(f"SmolLM2 {kind} decode, 8 rows", 1, 0, rates, {}, "smollm2")


def run_speculation(settings: Settings) -> Iterator[Row]:
    """Tokens a second where a text is copied with guesses, beside decoding without; the tokens are the same."""
    quick = settings.quick
    new = QUICK_NEW if quick else 96
    with tempfile.TemporaryDirectory() as name:
        source = _source(Path(name), quick)
        for kind in ("float32", "Q4_1"):
            model = _open(source, kind)
            if quick:
                ids = _ids(source, QUICK_LONG, quick)
            else:
                said = f"Correct the spelling of this text, and say nothing else.\n\n{TEXT.replace('ou', 'uo')}"
                text = f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n"
                ids = np.asarray(pf.load_tokenizer(source).encode(text))[None]
            found: dict[bool, Any] = {}
            samples: dict[str, list[float]] = {OURS: [], "own without guesses": []}
            for _ in range(settings.repetitions):
                for who, speculate in zip(samples, (True, False), strict=True):
                    found[speculate], seconds = _decode(model, ids, new, speculate=speculate)
                    samples[who].append(sum(seconds[1:]))
                assert found[True] == found[False], f"{kind}: other tokens with guesses"
            yield rate_row(f"SmolLM2 {kind} spelling corrected, guesses", new - 1, 0, samples, {}, "smollm2")


OURS_STARTS = """
import sys, pyformer as pf
pf.set_num_threads(int(sys.argv[2]))
model, tokenizer = pf.from_pretrained(sys.argv[1], quantize="keep"), pf.load_tokenizer(sys.argv[1])
print(model.generate(tokenizer.encode("The capital of France is")[None], 1, temperature=0).numpy()[0, -1])
"""
LLAMA_STARTS = """
import sys
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=512, n_threads=int(sys.argv[2]), n_threads_batch=int(sys.argv[2]), verbose=False)
ids = model.tokenize(b"The capital of France is", add_bos=False)
print(next(model.generate(ids, temp=0.0)))
"""


def run_start(settings: Settings) -> Iterator[Row]:
    """From the start of a Python process to the first token of the 4-bit file."""
    if settings.quick:  # fetches no file
        return
    programs = {OURS: OURS_STARTS}
    if rivals.OPENERS["llama.cpp"].is_found():
        programs["llama.cpp"] = LLAMA_STARTS
    source = str(datasets.smollm2())
    samples: dict[str, list[float]] = {who: [] for who in programs}
    tokens: dict[str, str] = {}
    # Installed packages have their bytecode; a checkout that may write none would compile its sources each time.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for repetition in range(settings.repetitions + 1):
        for who, program in programs.items():
            start = time.perf_counter()
            command = [sys.executable, "-c", program, source, str(settings.threads)]
            tokens[who] = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            if repetition:
                samples[who].append(time.perf_counter() - start)
    assert len(set(tokens.values())) == 1, f"start: not the same token: {tokens}"
    yield Row("smollm2", "SmolLM2 Q4_1, process start to first token", "s", samples)
