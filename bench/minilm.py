"""all-MiniLM-L6-v2: sentences to vectors, beside `transformers` and, where it is installed, onnxruntime."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from pydoc_data import topics
from typing import Any

import numpy as np
import torch

import pyformer as pf
from bench.measure import OURS, Row, Settings, check_close, timed_row
from pyformer import datasets


def _sentences(count: int) -> list[str]:
    """Of 40 to 200 characters."""
    text = " ".join(" ".join(topics.topics[name].split()) for name in sorted(topics.topics))
    return [s.strip() + "." for s in text.split(". ") if 40 <= len(s) <= 200][:count]


def _pooled(hidden: Any, mask: Any) -> Any:
    weights = mask[..., None].to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)


def _by_onnx(model: Any, tokenizer: Any, folder: str, threads: int) -> Callable[[list[str]], np.ndarray]:
    """onnxruntime on what torch exports."""
    import onnxruntime

    class Vectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            found = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return _pooled(found.last_hidden_state, attention_mask)

    given = dict(tokenizer(["One sentence.", "Two."], padding=True, return_tensors="pt"))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    file = str(Path(folder) / "model.onnx")
    sizes = torch.export.Dim("rows"), torch.export.Dim("tokens")
    torch.onnx.export(
        Vectors().eval(), tuple(given[n] for n in names), file, input_names=names, dynamo=True, verbose=False,
        dynamic_shapes={n: {0: sizes[0], 1: sizes[1]} for n in names},
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda texts: session.run(None, dict(tokenizer(texts, padding=True, return_tensors="np")))[0]


def run_encode(settings: Settings) -> Iterator[Row]:
    """32 sentences in one batch, and one sentence, tokenised and all."""
    if settings.quick:  # fetches no file
        return
    from transformers import AutoModel, AutoTokenizer

    folder = datasets.minilm()
    ours = pf.SentenceEncoder.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()

    def theirs(texts: list[str]) -> np.ndarray:
        given = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            return _pooled(model(**given).last_hidden_state, given["attention_mask"]).numpy()

    encoders: dict[str, Callable[[list[str]], np.ndarray]] = {OURS: ours.encode, "transformers": theirs}
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        if importlib.util.find_spec("onnxruntime"):
            try:
                encoders["onnxruntime"] = _by_onnx(model, tokenizer, place, settings.threads)
            except Exception as error:
                errors["onnxruntime"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        for count in (32, 1):
            texts = _sentences(count)
            for who, encode in encoders.items():
                check_close(f"MiniLM: vectors of {who}", ours.encode(texts), encode(texts), 1e-4)
            work = {who: partial(encode, texts) for who, encode in encoders.items()}
            yield timed_row("minilm", f"MiniLM encode, {count} sentences", work, settings, errors=errors)
