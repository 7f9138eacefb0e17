"""What the kernels for CUDA can reach at most, without a GPU: `python -m bench.cuda_roofline [--card NAME]`.

The emulator counts what each op issues: products on tensor cores, cycles ("wavefronts") of shared memory, and bytes
where a kernel moves them by the functions that count. The card's data sheet gives what a cycle can do, and the slowest
is the bound; caches, latency, occupancy and the order of instructions are not in it. A prediction, no measurement;
of the kernels for sm_80, as how many operations a wgmma has is not counted.

Runs on a checkout; the first call builds the emulated device.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import cuda_device
import numpy as np

import pyformer as pf

DEVICE = "cuda:emulated"
MMA_FLOPS = 2 * 16 * 8 * 16  # of one mma.m16n8k16
SECTOR_BYTES, WAVEFRONT_BYTES = 32, 128


class Card(NamedTuple):
    """From the maker's data sheet, dense, bfloat16 with sums in float32. `by_mma` is the part of the tensor cores' rate
    that mma.sync reaches: on Hopper the rest needs wgmma (arXiv 2402.13499)."""

    flops: float
    bytes: float
    multiprocessors: int
    hertz: float
    by_mma: float = 1.0


CARDS = {
    "A100": Card(312e12, 2.04e12, 108, 1.41e9),
    "RTX 4090": Card(165e12, 1.01e12, 128, 2.52e9),
    "H100": Card(989e12, 3.35e12, 132, 1.83e9, by_mma=0.65),
    "H200": Card(989e12, 4.8e12, 132, 1.83e9, by_mma=0.65),
}


class Work(NamedTuple):
    """An op at a size that fills whole tiles: how many operations and bytes it needs at least."""

    run: Callable[[], Any]
    flops: float
    bytes: float


def halves(*shape: int) -> pf.Tensor:
    values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return pf.tensor(values, device=DEVICE).to("bfloat16")


def linear(rows: int, out: int, width: int) -> Work:
    x, w = halves(rows, width), halves(out, width)
    needed = 2.0 * (rows * width + out * width + rows * out)
    return Work(lambda: pf.ops.linear(x, w), 2.0 * rows * out * width, needed)


def attention(heads: int, tokens: int, width: int, backward: bool) -> Work:
    """Causal: half of each product."""
    q, k, v, dout = (halves(1, tokens, heads, width) for _ in range(4))
    array = tokens * heads * width
    if not backward:
        return Work(lambda: pf.ops.attention(q, k, v, causal=True), 2.0 * tokens * array, 2.0 * 4 * array)
    q.requires_grad = k.requires_grad = v.requires_grad = True
    out = pf.ops.attention(q, k, v, causal=True)
    return Work(lambda: out.backward(dout), 5.0 * tokens * array, 2.0 * 8 * array)


def rows(op: Callable[[pf.Tensor], Any], passes: int, count: int = 64, cols: int = 768) -> Work:
    x = halves(count, cols)
    return Work(lambda: op(x), 0.0, 2.0 * passes * count * cols)


def works() -> dict[str, Callable[[], Work]]:
    weight = halves(768)
    return {
        "linear 256x256x512": lambda: linear(256, 256, 512),
        "linear 8x256x512": lambda: linear(8, 256, 512),
        "linear 1x256x512": lambda: linear(1, 256, 512),
        "attention H1 T256 D64": lambda: attention(1, 256, 64, False),
        "attention H1 T256 D64 backward": lambda: attention(1, 256, 64, True),
        "attention H1 T512 D128": lambda: attention(1, 512, 128, False),
        "attention H1 T512 D128 backward": lambda: attention(1, 512, 128, True),
        "add": lambda: rows(lambda x: x + x, 2),
        "gelu": lambda: rows(pf.ops.gelu, 2),
        "softmax": lambda: rows(pf.ops.softmax, 2),
        "layer_norm": lambda: rows(lambda x: pf.ops.layer_norm(x, weight, weight), 2),
    }


def counted(run: Callable[[], Any]) -> dict[str, int]:
    pf.cuda.synchronize(DEVICE)
    before = cuda_device.counts()
    run()
    pf.cuda.synchronize(DEVICE)
    return {name: count - before[name] for name, count in cuda_device.counts().items()}


def line(name: str, work: Work, counts: dict[str, int], card: Card) -> str:
    """Of products the part of the tensor cores' peak, of all else that of the memory's bandwidth."""
    issued = counts["mma"] * MMA_FLOPS
    if work.flops and not issued:
        return f"{name:32} no tensor cores"
    cycles = counts["wavefronts"] + counts["cp_async"] * 16 / WAVEFRONT_BYTES
    seconds = {"shared memory": cycles / card.multiprocessors / card.hertz}
    if issued:
        seconds["tensor cores"] = issued / (card.flops * card.by_mma)
    else:
        seconds["memory"] = max(work.bytes, counts["sectors"] * SECTOR_BYTES) / card.bytes
    bound = max(seconds, key=lambda resource: seconds[resource])
    needed = work.flops / card.flops if issued else work.bytes / card.bytes
    share = f"{needed / seconds[bound]:.0%} of the peak"
    if not issued and not counts["global_bytes"]:
        share = bound = "-"
    useful = f"{work.flops / issued:.0%}" if issued else "-"
    conflicts = f"{counts['wavefronts'] / counts['ideal_wavefronts']:.2f}" if counts["ideal_wavefronts"] else "-"
    moved = f"{counts['global_bytes'] / work.bytes:.2f}" if counts["global_bytes"] else "-"
    sectors = f"{counts['sectors'] * SECTOR_BYTES / counts['global_bytes']:.2f}" if counts["global_bytes"] else "-"
    return f"{name:32} {useful:>7} {conflicts:>9} {moved:>7} {sectors:>8}   {share:16} {bound}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", choices=sorted(CARDS), default="H200")
    card = CARDS[parser.parse_args().card]
    cuda_device.library()
    cuda_device.schedule("lowest,early,plain,count,sm80")
    print(
        "useful: operations needed of those issued; conflicts: cycles of shared memory for one; bytes: moved of those"
    )
    print("needed, from memory or a cache; sectors: touched for each byte wanted. '-': the kernel does not count it.")
    print(f"{'':32} {'useful':>7} {'conflicts':>9} {'bytes':>7} {'sectors':>8}   {'at most':18} bound by")
    for name, make in works().items():
        work = make()
        print(line(name, work, counted(work.run), card))
    return 0


if __name__ == "__main__":
    sys.exit(main())
