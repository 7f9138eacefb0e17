"""`python -m bench.steps [FORMAT ...]`: decoding SmolLM2-135M step by step, operation by operation and recorded.

Both take turns on the same texts, whose tokens must be the same. Beside them what reading the matrices takes at the
bandwidth of that moment, and where the time of a recorded step goes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, datasets, nn
from pyformer.generation import Decoder, Sampler

FORMATS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "q8": {"dtype": "float32", "quantize": "q8"},
    "q4": {"quantize": "keep"},
}
PROMPT, TURNS, STEPS = 32, 12, 3


def matrix_bytes(model: nn.Module) -> int:
    """What a step reads: each matrix once."""
    sizes = {}
    for module in model.modules():
        if isinstance(module, nn.Projection):
            matrix = module.matrix
            quantized = isinstance(matrix, _core.QuantizedWeight)
            sizes[id(matrix)] = matrix.nbytes if quantized else matrix.size * matrix.dtype.itemsize
    return sum(sizes.values())


def compare(name: str, model: Any, rows: int) -> None:
    """Prints a line, and one of where the time goes."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(100, 4000, PROMPT + i).tolist() for i in range(rows)]
    decoders = {record: Decoder(model, record=record) for record in (False, True)}
    for decoder in decoders.values():
        for prompt in prompts:
            decoder.add(prompt, Sampler(temperature=0), 200)
        for _ in range(4):
            decoder.step()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    tokens: dict[bool, list[dict[int, int]]] = {False: [], True: []}
    reading = []
    for _ in range(TURNS):
        reading.append(matrix_bytes(model) / (1e9 * _core.read_bandwidth_gbps(pf.get_num_threads())))
        for record, decoder in decoders.items():
            for _ in range(STEPS):
                start = time.perf_counter()
                tokens[record].append(decoder.step())
                seconds[record].append(time.perf_counter() - start)
    assert tokens[False] == tokens[True], f"{name}: other tokens"
    plain, recorded = (statistics.median(seconds[record]) for record in (False, True))
    share = statistics.median(reading) / recorded
    print(
        f"{name}, {rows} rows: {1e3 * plain:.2f} ms a step op by op, {1e3 * recorded:.2f} recorded "
        f"(best {1e3 * min(seconds[False]):.2f}, {1e3 * min(seconds[True]):.2f}), {plain / recorded:.2f}x, "
        f"{rows / recorded:.1f} tokens/s, {share:.2f} of the read bandwidth"
    )
    times: Counter[str] = Counter()
    for _ in range(10):
        for op, ns in decoders[True].steps.times():
            times[op] += ns
    print("  us:", ", ".join(f"{op} {ns / 1e4:.0f}" for op, ns in times.most_common()), flush=True)
    for decoder in decoders.values():
        decoder.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}; all by default")
    with open("/proc/loadavg") as file:
        print(f"load {file.read().split()[0]}")
    for name in parser.parse_args().formats or FORMATS:
        model = pf.from_pretrained(datasets.smollm2(), **FORMATS[name])
        for rows in (1, 8):
            compare(name, model, rows)


if __name__ == "__main__":
    main()
