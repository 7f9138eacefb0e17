"""What the kernels for CUDA can reach at most, without a GPU: `python -m bench.cuda_roofline [--card NAME]`.

Every kernel of the library runs under emulation, which counts what its warps issue: accesses of memory, the sectors
and banks that these touch, products on tensor cores and FMAs. The card's data sheet gives what a cycle can do, and the
slowest is the bound. Caches that are too small, latency, occupancy, additions, comparisons and the order of
instructions are not in it. A prediction, no measurement. Sizes are small: a kernel that does little in a block looks
worse than it is.

Runs on a checkout; the first call builds the emulated device once more, so that it counts every access.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from itertools import product, zip_longest
from typing import Any, NamedTuple

import cuda_device
import numpy as np

import pyformer as pf

DEVICE = "cuda:emulated"
SECTOR_BYTES, WAVEFRONT_BYTES = 32, 128
# Of a multiprocessor, in a cycle: warps' instructions, and bytes from its first cache.
ISSUED, CACHE_BYTES = 4, 64
# What warps issue, as far as it is counted. Shuffles count once a warp, barriers and copies once a thread.
INSTRUCTIONS = ("accesses", "shuffles", "ldmatrix", "stmatrix", "mma", "wgmma", "bulk_loads", "bulk_stores")
BY_THREADS = ("barriers", "cp_async")


class Card(NamedTuple):
    """From the maker's data sheet, dense, bfloat16 with sums in float32; FMAs of float32 a cycle and multiprocessor.
    `by_mma` is the part of the tensor cores' rate that mma.sync reaches: on Hopper the rest needs wgmma (arXiv
    2402.13499)."""

    flops: float
    bytes: float
    multiprocessors: int
    hertz: float
    fmas: int = 128
    by_mma: float = 1.0


CARDS = {
    "A100": Card(312e12, 2.04e12, 108, 1.41e9, fmas=64),
    "RTX 4090": Card(165e12, 1.01e12, 128, 2.52e9),
    "H100": Card(989e12, 3.35e12, 132, 1.83e9, by_mma=0.65),
    "H200": Card(989e12, 4.8e12, 132, 1.83e9, by_mma=0.65),
}

# ---- what makes each kernel run ------------------------------------------------------------------------------------


def numbers(*shape: int, dtype: str = "bfloat16") -> pf.Tensor:
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return pf.tensor(values, device=DEVICE).to(dtype)


def linear(rows: int, out: int, width: int, dtype: str = "bfloat16") -> None:
    """Forward, and both gradients."""
    x, w = numbers(rows, width, dtype=dtype), numbers(out, width, dtype=dtype)
    x.requires_grad = w.requires_grad = True
    pf.ops.linear(x, w).backward(numbers(rows, out, dtype=dtype))


def attention(tokens: int, width: int, dtype: str = "bfloat16") -> None:
    q, k, v, dout = (numbers(1, tokens, 1, width, dtype=dtype) for _ in range(4))
    q.requires_grad = k.requires_grad = v.requires_grad = True
    pf.ops.attention(q, k, v, causal=True).backward(dout)


def rows(cols: int, count: int) -> None:
    """Ops that take rows, of which long ones have kernels of their own."""
    x, weight = numbers(count, cols), numbers(cols)
    targets = pf.tensor(np.arange(count), device=DEVICE)
    ops = (
        lambda x: pf.ops.softmax(x),
        lambda x: pf.ops.log_softmax(x),
        lambda x: pf.ops.layer_norm(x, weight, weight),
        lambda x: pf.ops.rms_norm(x, weight),
        lambda x: pf.ops.cross_entropy(x, targets),
        lambda x: x.sum(-1),
        lambda x: x.sum(0),
    )
    weight.requires_grad = x.requires_grad = True
    for op in ops:
        out = op(x)
        out.backward(numbers(*out.shape))


def training(optimizer: Callable[..., Any]) -> None:
    """Steps of float16 with masters: loss scaling, clipping, dropout."""
    model = pf.models.GPT(pf.models.GPTConfig(64, 32, 1, 2, 32, dropout=0.1)).to(DEVICE).to("float16")
    own, scaler = optimizer(model.parameters()), pf.optim.GradScaler()
    ids = np.random.default_rng(0).integers(0, 64, (2, 33))
    for _ in range(2):
        own.zero_grad()
        scaler.scale(model.loss(ids[:, :-1], ids[:, 1:])).backward()
        scaler.unscale_(own)
        pf.optim.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(own)
        scaler.update()


def decoding() -> None:
    model = pf.models.GPT(pf.models.GPTConfig(64, 32, 1, 2, 32)).to(DEVICE).to("bfloat16")
    model.generate([[1, 2, 3]], 4, temperature=0.8, top_k=5)


def integers() -> None:
    x, y = (pf.tensor(np.arange(start, start + 4096).reshape(64, 64), device=DEVICE) for start in (1, 3))
    for result in (x + y, x - y, x * y, x // y, -x, abs(x), x < y, x <= y, x == y, x != y):
        assert result.shape == (64, 64)
    assert ((x < y) & (x == y) | ~(x < y)).shape == (64, 64)
    for op in (pf.ops.maximum, pf.ops.minimum):
        op(x, y)
    x.sum(-1), pf.ops.cumsum(x, 0), pf.ops.square(x)


def lstm(batch: int, tokens: int, width: int) -> None:
    """With the gradient of its last state, where the rows end apart."""
    layer = pf.nn.LSTM(width, width).to(DEVICE)
    _, (h, _) = layer(numbers(batch, tokens, width, dtype="float32"), lengths=np.arange(1, batch + 1))
    h.sum().backward()


def normalised_in_training() -> None:
    layer = pf.nn.BatchNorm2d(64).to(DEVICE)
    layer(numbers(8, 64, 16, 16, dtype="float32")).sum().backward()
    layer.zero_grad(set_to_none=False)


def random_numbers() -> None:
    pf.rand(64, 768, device=DEVICE), pf.randn(64, 768, device=DEVICE)


def recorded() -> None:
    """Inputs of a graph are copied to where it has them."""
    double = pf.cuda.Graph(lambda x: x * 2, numbers(64, 768), device=DEVICE)
    double(numbers(64, 768))


# At sizes that fill whole tiles.
WORKS: dict[str, Callable[[], None]] = {
    "linear 256x256x512": lambda: linear(256, 256, 512),
    "linear 256x192x512": lambda: linear(256, 192, 512),
    "linear 8x256x512": lambda: linear(8, 256, 512),
    "linear 64x64x64 float32": lambda: linear(64, 64, 64, "float32"),
    "attention T256 D64": lambda: attention(256, 64),
    "attention T256 D128": lambda: attention(256, 128),
    "attention T128 D32": lambda: attention(128, 32),
    "attention T64 D32 float32": lambda: attention(64, 32, "float32"),
    "linear 64x64x128": lambda: linear(64, 64, 128),
    "attention T4 D4104 float32": lambda: attention(4, 4104, "float32"),
    "rows 64x768": lambda: rows(768, 64),
    "rows 4x12288": lambda: rows(12_288, 4),
    "AdamW": lambda: training(pf.optim.AdamW),
    "SGD": lambda: training(lambda parameters: pf.optim.SGD(parameters, lr=0.1, momentum=0.9)),
    "decoding": decoding,
    "integers 64x64": integers,
    "top 8 of 100000": lambda: pf.ops.topk(numbers(1, 100_000), 8),
    "LSTM 4x8x64": lambda: lstm(4, 8, 64),
    "batch norm 8x64x16x16": normalised_in_training,
    "random numbers 64x768": random_numbers,
    "a graph's inputs 64x768": recorded,
}


def cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    """The case table, for the kernels that are left: a case of each op, then another of each."""
    from test_cuda import CASES, inputs_of, run

    by_op: dict[str, list[Any]] = {}
    for case in CASES:
        by_op.setdefault(case.op, []).append(case)
    for some in zip_longest(*by_op.values()):
        for case, dtype in product(filter(None, some), ("float32", "bfloat16")):
            yield f"{case.id} {dtype}", lambda case=case, dtype=dtype: run(case, inputs_of(case, dtype), dtype, DEVICE)


Counts = dict[str, int]


def counted(run: Callable[[], Any]) -> dict[str, Counts]:
    """What each kernel that it starts does."""
    pf.cuda.synchronize(DEVICE)
    before = cuda_device.kernel_counts()
    run()
    pf.cuda.synchronize(DEVICE)
    found = {}
    for name, counts in cuda_device.kernel_counts().items():
        then = before.get(name, {})
        if counts["launches"] > then.get("launches", 0):
            found[name] = {k: v if k in cuda_device.OF_BLOCK else v - then.get(k, 0) for k, v in counts.items()}
    return found


def every_kernel() -> dict[str, tuple[str, Counts]]:
    """For each kernel where it ran, and what it did there: of sized works the one in which it accessed most."""
    found: dict[str, tuple[str, Counts]] = {}
    for device in ("sm80", "sm90"):
        cuda_device.schedule(f"lowest,early,plain,count,{device}")
        for work, run in WORKS.items():
            for name, counts in counted(run).items():
                if name not in found or counts["global_bytes"] > found[name][1]["global_bytes"]:
                    found[name] = work, counts
    left = set(cuda_device.kernels().values()) - found.keys()
    for work, run in cases():
        if not left:
            break
        for name, counts in counted(run).items():
            if name in left:
                found[name] = work, counts
        left -= found.keys()
    return found


# ---- what a card makes of it ---------------------------------------------------------------------------------------


class Prediction(NamedTuple):
    share: float  # of the card's peak, of what bounds the work: memory or arithmetic
    bound: str  # what bounds the kernel


def instructions(counts: Counts) -> float:
    return sum(counts[name] for name in INSTRUCTIONS) + sum(counts[name] for name in BY_THREADS) / 32


def predicted(counts: Counts, card: Card) -> Prediction:
    cycles = card.multiprocessors * card.hertz
    memory_s = counts["different_sectors"] * SECTOR_BYTES / card.bytes
    tensor_s, fma_s = counts["operations"] / card.flops, counts["fmas"] / card.fmas / cycles
    seconds = {
        "memory": memory_s,
        "cache": counts["sectors"] * SECTOR_BYTES / CACHE_BYTES / cycles,
        "shared memory": counts["wavefronts"] / cycles,
        "tensor cores": tensor_s / card.by_mma if counts["mma"] else tensor_s,
        "FMAs": fma_s,
        "instructions": instructions(counts) / ISSUED / cycles,
    }
    bound = max(seconds, key=lambda resource: seconds[resource])
    return Prediction(max(memory_s, tensor_s, fma_s) / seconds[bound] if seconds[bound] else 0.0, bound)


LEGEND = """{card}, in theory. bytes: that are accessed; again: how often each of them; operations: of tensor cores and
FMAs; instructions: of warps, that access memory or work together; conflicts: cycles of shared memory for one; shared:
bytes of a block; at most: of the bandwidth or of the peak of arithmetic, whichever bounds the work; then where it ran.
"""


def table(found: dict[str, tuple[str, Counts]], card: Card) -> list[str]:
    columns = f"{'bytes':>9} {'again':>6} {'operations':>10} {'instructions':>12} {'conflicts':>9} {'shared':>7}"
    lines = [f"{'':58} {columns} {'at most':>8} bound by"]
    for name, (work, c) in sorted(found.items()):
        share, bound = predicted(c, card)
        once = c["different_sectors"] * SECTOR_BYTES
        again = f"{c['global_bytes'] / once:.1f}" if once else "-"
        conflicts = f"{c['wavefronts'] / c['ideal_wavefronts']:.2f}" if c["ideal_wavefronts"] else "-"
        operations = c["operations"] + 2 * c["fmas"]
        numbers = f"{c['global_bytes']:>9} {again:>6} {operations:>10} {instructions(c):>12.0f} {conflicts:>9}"
        lines.append(f"{name[:58]:58} {numbers} {c['shared_bytes']:>7} {share:>8.0%} {bound:13} {work}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", choices=sorted(CARDS), default="H200")
    card = parser.parse_args().card
    cuda_device.target = cuda_device.COUNTED
    found, kernels = every_kernel(), set(cuda_device.kernels().values())
    print(LEGEND.format(card=card))
    print("\n".join(table(found, CARDS[card])))
    missing = sorted(kernels - found.keys())
    print(f"{len(found)} of {len(kernels)} kernels" + "".join(f"\n  no row: {name}" for name in missing))
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
