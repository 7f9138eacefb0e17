"""How near a model of 8 or 4 bits is to the same in float32: python -m bench.quantization [--tokens N].

SmolLM2-135M on Python's manual, in windows of 256 tokens: perplexity beside float32's, the mean Kullback-Leibler
divergence of the next token's distribution, and how often the likeliest token is the same. One line of JSON each.
"""

from __future__ import annotations

import argparse
import json
from pydoc_data import topics

import numpy as np

import pyformer as pf
from pyformer import datasets

WINDOW = 256


def log_probabilities(model, windows: np.ndarray) -> list[np.ndarray]:
    """Of the token after each of windows (n, WINDOW)."""
    with pf.no_grad():
        return [pf.ops.log_softmax(model(window[None])).numpy()[0] for window in windows]


def compared(windows: np.ndarray, wanted: list[np.ndarray], got: list[np.ndarray]) -> dict[str, float]:
    nats = [
        -np.mean([np.take_along_axis(p[:-1], w[1:, None], 1) for w, p in zip(windows, each, strict=True)])
        for each in (wanted, got)
    ]
    pairs = list(zip(wanted, got, strict=True))
    return {
        "perplexity": float(np.exp(nats[1])),
        "beside_float32": float(np.exp(nats[1] - nats[0])),
        "mean_kl": float(np.mean([(np.exp(a) * (a - b)).sum(-1) for a, b in pairs])),
        "equal_argmax": float(np.mean([a.argmax(-1) == b.argmax(-1) for a, b in pairs])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    path = datasets.smollm2()
    text = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    count = parser.parse_args().tokens // WINDOW
    ids = pf.load_tokenizer(path).encode(text[: 8 * count * WINDOW])
    windows = np.asarray(ids)[: count * WINDOW].reshape(count, WINDOW)
    wanted = log_probabilities(pf.from_pretrained(path, dtype="float32"), windows)
    for name, options in (
        ("the file's 4 bits", {"quantize": "keep"}),
        ("q8", {"quantize": "q8"}),
        ("q4", {"quantize": "q4"}),
        ("bfloat16", {"dtype": "bfloat16"}),
    ):
        got = log_probabilities(pf.from_pretrained(path, **options), windows)
        print(json.dumps({"weights": name, "tokens": windows.size, **compared(windows, wanted, got)}), flush=True)


if __name__ == "__main__":
    main()
