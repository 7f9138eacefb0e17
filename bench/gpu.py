"""The parts of `bench/gpu.sh`, which measures and judges a GPU in one call.

    python -m bench.gpu ceilings --device cuda   what PyTorch (cuBLAS) reaches: copies, products of large matrices
    python -m bench.gpu cases    --device cuda   the case table, bit by bit, beside the emulator
    python -m bench.gpu training --device cuda   ten steps of a GPT beside PyTorch, and work after MemoryError
    python -m bench.gpu speed    --device cuda   products, attention, memory-bound ops, a training step, decoding
    python -m bench.gpu table    --device cuda   what `training` and `speed` found, and on which card

Each item runs in a process that others share until one ends it: an item that fails, or that takes too long, costs no
other. `--quick` is for the emulator: tiny sizes, once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from bench import ROOT

DTYPES = ("float32", "bfloat16", "float16")
Result = dict[str, Any]
EMULATED = "cuda:emulated"
START_S = 30.0  # that a process may take to import PyTorch
COMPILED = "beside torch.compile"  # takes three times as long before it runs; such items come last

# ---- items in processes that may die -------------------------------------------------------------------------------


def results_of(part: str, names: list[str], device: str, quick: bool, limit_s: float, **more: str) -> Iterator[Result]:
    """A result for each name; `error` is in it where there is none."""
    left = list(names)
    while left:
        command = [sys.executable, "-m", "bench.gpu", part, "--device", device, "--child", *["--quick"] * quick]
        env = {**os.environ, **more}
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env)
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=forward, args=(child, left, lines), daemon=True).start()
        wait_s = START_S
        while left:
            wait_s += limit_s * (3 if COMPILED in left[0] else 1)
            try:
                line = lines.get(timeout=wait_s)
            except queue.Empty:
                line, fault = "", f"took more than {wait_s:g} s"
            else:
                fault = "ended the process"
            if not line:
                child.kill()
                yield {"name": left.pop(0), "error": fault}
                break
            yield json.loads(line)
            left.pop(0)
            wait_s = 0.0
        child.wait()


def forward(child: subprocess.Popen[str], names: list[str], lines: queue.Queue[str]) -> None:
    try:
        child.stdin.write(json.dumps(names))
        child.stdin.close()
        for line in child.stdout:
            if line.startswith("{"):
                lines.put(line)
    except OSError:  # the child is gone
        pass
    lines.put("")


def serve(item: Callable[[str], Result]) -> None:
    """What a child does."""
    for name in json.load(sys.stdin):
        try:
            result = item(name)
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"[:300], "trace": traceback.format_exc(limit=-2)}
        print(json.dumps({"name": name, **result}), flush=True)


# ---- the case table, bit by bit ------------------------------------------------------------------------------------


def case_names(quick: bool) -> list[str]:
    from test_cuda import CASES

    names = [f"{case.id} {dtype}" for case in CASES for dtype in DTYPES]
    return names[::97] if quick else names


# Ops whose kernels share memory between threads.
SHARING = {"attention", "cross_entropy", "cumsum", "embedding", "layer_norm", "linear", "matmul", "softmax", "sum"}


def some_case_names() -> list[str]:
    """A case of each of these: what compute-sanitizer has time for."""
    from test_cuda import CASES

    first = {case.op: case for case in reversed(CASES) if case.op in SHARING}
    return [f"{case.id} {dtype}" for case in first.values() for dtype in ("float32", "bfloat16")]


def hash_of(arrays: list[np.ndarray]) -> str:
    """Of all bits; a NaN is a NaN, whichever."""
    found = hashlib.sha256()
    for array in arrays:
        plain = np.where(np.isnan(array), np.float32(np.nan), array) if array.dtype.kind == "f" else array
        found.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(plain).tobytes())
    return found.hexdigest()[:16]


def case_item(device: str) -> Callable[[str], Result]:
    from test_cuda import CASES, inputs_of, run

    cases = {case.id: case for case in CASES}

    def item(name: str) -> Result:
        case, dtype = name.rsplit(" ", 1)
        return {"hash": hash_of(run(cases[case], inputs_of(cases[case], dtype), dtype, device))}

    return item


def compare_cases(device: str, quick: bool, jobs: int, limit_s: float) -> int:
    """How many cases have other bits than under emulation."""
    names = case_names(quick)
    here, there = {}, {}
    schedule = {"PYFORMER_CUDA_EMULATED": "highest,late"} if device == EMULATED else {}

    def shard(part: list[str], where: str, found: dict[str, Result], **more: str) -> None:
        found.update((result["name"], result) for result in results_of("cases", part, where, quick, limit_s, **more))

    with ThreadPoolExecutor(2 * jobs) as pool:
        shards = [names[i::jobs] for i in range(jobs)]
        work = [pool.submit(shard, part, device, here, **schedule) for part in shards]
        work += [pool.submit(shard, part, EMULATED, there) for part in shards]
        for one in work:
            one.result()
    wrong = [name for name in names if "hash" not in here[name] or here[name]["hash"] != there[name].get("hash")]
    for name in wrong[:60]:
        print(f"{name}: {here[name].get('error', 'other bits')} (emulated: {there[name].get('error', 'well')})")
    by_dtype = {dtype: sum(name.endswith(dtype) for name in wrong) for dtype in DTYPES}
    print(f"cases: {len(names) - len(wrong)} of {len(names)} have the emulator's bits; others: {by_dtype}")
    return len(wrong)


# ---- training, and work after an error -----------------------------------------------------------------------------


def train_beside_torch(device: str, quick: bool) -> Result:
    """Ten steps on the same weights and data: PyTorch on the CPU in float32 is the judge."""
    import torch

    from bench.torch_gpt import twin_of

    config = pf.models.GPTConfig(65, 32, 2, 2, 32) if quick else pf.models.GPTConfig(256, 128, 4, 4, 128)
    pf.manual_seed(1)
    model = pf.models.GPT(config)
    twin = twin_of(model)
    model = model.to(device)
    ours = pf.optim.AdamW(model.parameters(), lr=1e-3)
    theirs = torch.optim.AdamW(twin.parameters(), lr=1e-3)  # whose weight decay is ours, too
    rng, losses = np.random.default_rng(0), []
    for _ in range(3 if quick else 10):
        ids = rng.integers(0, config.vocab_size, (2, config.context_length + 1))
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        ours.zero_grad()
        loss.backward()
        ours.step()
        expected = twin(torch.tensor(ids[:, :-1]), torch.tensor(ids[:, 1:]))
        theirs.zero_grad()
        expected.backward()
        theirs.step()
        losses.append((loss.item(), expected.item()))
    worst = max(abs(a - b) / b for a, b in losses)
    if not worst < 1e-3:
        raise AssertionError(f"losses beside PyTorch: {losses}")
    return {"worst": worst, "last": losses[-1]}


def memory_error(device: str, quick: bool) -> Result:
    """Work goes on after memory has run out."""
    x = pf.ones(1000, device=device)
    try:
        pf.zeros(1 << 44, device=device)
    except MemoryError as error:
        return {"told": str(error), "sum": (x + x).sum().item()}
    raise AssertionError("16 TiB were given")


def generated(device: str, quick: bool) -> Result:
    """Greedy text is the CPU's."""
    pf.manual_seed(1)
    model = pf.models.GPT(pf.models.GPTConfig(65, 64, 2, 2, 64))
    texts = [
        model.to(place).generate([[1, 2, 3]], 4 if quick else 40, temperature=0).tolist() for place in ("cpu", device)
    ]
    if texts[0] != texts[1]:
        raise AssertionError(f"greedy text differs: {texts}")
    return {"tokens": len(texts[0][0])}


TRAINING = {"ten steps beside PyTorch": train_beside_torch, "memory error": memory_error, "greedy text": generated}

# ---- what the machine can do ---------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], Any], device: str, quick: bool) -> float:
    """The least of several times of PyTorch's work."""
    wait = waits(device)[1]
    samples = []
    for _ in range(2 if quick else 12):
        wait()
        start = time.perf_counter()
        work()
        wait()
        samples.append(time.perf_counter() - start)
    return min(samples)


def copy_ceiling(device: str, quick: bool) -> Result:
    import torch

    count = 1 << (12 if quick else 30)
    x = torch.zeros(count, dtype=torch.uint8, device=torch_device(device))
    y = torch.empty_like(x)
    return {"GB/s": 2 * count / seconds_of(lambda: y.copy_(x), device, quick) / 1e9}


def product_ceiling(dtype: str) -> Callable[[str, bool], Result]:
    def measure(device: str, quick: bool) -> Result:
        import torch

        n = 32 if quick else 8192
        a, b = (torch.randn(n, n, device=torch_device(device)).to(getattr(torch, dtype)) for _ in range(2))
        return {"TFLOP/s": 2 * n**3 / seconds_of(lambda: a @ b, device, quick) / 1e12}

    return measure


CEILINGS = {
    "copy of 1 GiB": copy_ceiling,
    "bfloat16 8192^3": product_ceiling("bfloat16"),
    "float32 8192^3": product_ceiling("float32"),
}

# ---- speed ---------------------------------------------------------------------------------------------------------


@dataclass
class Contest:
    """The same work by both; each call of `work(i)` takes the i-th of several inputs, more than a cache holds."""

    ours: Callable[[int], Any]
    theirs: Callable[[int], Any] | None
    flops: float = 0.0
    bytes: float = 0.0


ITEM_S = 5.0  # after which no more samples of an item are taken


def torch_device(device: str) -> str:
    return "cpu" if device == EMULATED else "cuda"


def waits(device: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """How each is waited for."""
    import torch

    theirs = torch.cuda.synchronize if torch_device(device) == "cuda" else lambda: None
    return lambda: pf.cuda.synchronize(device), theirs


def timed(contest: Contest, device: str, quick: bool) -> Result:
    """Median and least seconds a call of each, A B A B ..."""
    contenders = {"ours": contest.ours, "theirs": contest.theirs}
    work = {who: do for who, do in contenders.items() if do}
    wait = dict(zip(contenders, waits(device), strict=True))

    def seconds(who: str, calls: int) -> float:
        wait[who]()
        start = time.perf_counter()
        for i in range(calls):
            work[who](i)
        wait[who]()
        return (time.perf_counter() - start) / calls

    samples: dict[str, list[float]] = {who: [] for who in work}
    calls = {}
    for who in work:
        seconds(who, 1)
        calls[who] = 1 if quick else max(1, min(200, int(0.05 / seconds(who, 1))))
    start = time.perf_counter()
    while not samples["ours"] or (len(samples["ours"]) < 9 and not quick and time.perf_counter() - start < ITEM_S):
        for who in work:
            samples[who].append(seconds(who, calls[who]))
    result = {who: {"median": statistics.median(s), "least": min(s)} for who, s in samples.items()}
    return {**result, "flops": contest.flops, "bytes": contest.bytes}


def pair(rng: np.random.Generator, shape: tuple[int, ...], device: str, dtype: str = "bfloat16") -> tuple[Any, Any]:
    """The same random numbers for pyformer and for PyTorch."""
    import torch

    x = rng.standard_normal(shape, dtype=np.float32) * 0.5
    return pf.tensor(x, device=device).to(dtype), torch.tensor(x, device=torch_device(device)).to(getattr(torch, dtype))


def pairs(shape: tuple[int, ...], device: str, seed: int = 0) -> tuple[list[Any], list[Any]]:
    """As many as fill twice the 60 MB that the largest cache has."""
    count = max(1, min(8, 1 + 120_000_000 // (2 * int(np.prod(shape)))))
    rng = np.random.default_rng(seed)
    both = [pair(rng, shape, device) for _ in range(count)]
    return [a for a, _ in both], [b for _, b in both]


def product(m: int, n: int, k: int) -> Callable[[str], Contest]:
    def make(device: str) -> Contest:
        import torch

        a, a_torch = pairs((m, k), device)
        b, b_torch = pairs((n, k), device, 1)
        return Contest(
            lambda i: pf.ops.linear(a[i % len(a)], b[i % len(b)]),
            lambda i: torch.nn.functional.linear(a_torch[i % len(a)], b_torch[i % len(b)]),
            flops=2.0 * m * n * k,
            bytes=2.0 * (m * k + n * k + m * n),
        )

    return make


def attention(batch: int, heads: int, tokens: int, width: int, backward: bool) -> Callable[[str], Contest]:
    def make(device: str) -> Contest:
        import torch

        rng = np.random.default_rng(0)
        both = [pair(rng, (batch, tokens, heads, width), device) for _ in range(4)]
        ours, theirs = [a for a, _ in both], [b.transpose(1, 2).contiguous() for _, b in both]
        for tensor in (*ours[:3], *theirs[:3]):
            tensor.requires_grad = backward

        def run_ours(i: int) -> None:
            out = pf.ops.attention(*ours[:3], causal=True)
            if backward:
                out.backward(ours[3])

        def run_theirs(i: int) -> None:
            out = torch.nn.functional.scaled_dot_product_attention(*theirs[:3], is_causal=True)
            if backward:
                out.backward(theirs[3])

        products = 7 if backward else 2
        return Contest(run_ours, run_theirs, flops=float(products * batch * heads * tokens**2 * width))

    return make


def memory_bound(op: str, rows: int, cols: int) -> Callable[[str], Contest]:
    def make(device: str) -> Contest:
        import torch

        F = torch.nn.functional
        x, x_torch = pairs((rows, cols), device)
        w, w_torch = pair(np.random.default_rng(1), (cols,), device)
        ids = np.random.default_rng(2).integers(0, cols, rows)
        targets, targets_torch = pf.tensor(ids, device=device), torch.tensor(ids, device=torch_device(device))
        work = {
            "add": (lambda x: x + x, lambda x: x + x, 2),
            "gelu": (pf.ops.gelu, F.gelu, 2),
            "softmax": (pf.ops.softmax, lambda x: F.softmax(x, -1), 2),
            "layer_norm": (
                lambda x: pf.ops.layer_norm(x, w, w),
                lambda x: F.layer_norm(x, (cols,), w_torch, w_torch),
                2,
            ),
            "sum": (lambda x: x.sum(-1), lambda x: x.sum(-1), 1),
            "cross_entropy": (
                lambda x: pf.ops.cross_entropy(x, targets),
                lambda x: F.cross_entropy(x, targets_torch),
                1,
            ),
        }
        ours, theirs, passes = work[op]
        return Contest(
            lambda i: ours(x[i % len(x)]), lambda i: theirs(x_torch[i % len(x)]), bytes=2.0 * passes * rows * cols
        )

    return make


def compiled(function: Callable[..., Any], device: str, **options: str) -> Callable[..., Any]:
    """By torch.compile, which in a dry run makes no code of it."""
    import torch

    return torch.compile(function, **(options if torch_device(device) == "cuda" else {"backend": "eager"}))


def training_step(
    config: pf.models.GPTConfig, batch: int, tokens: int, compiles: bool = False
) -> Callable[[str], Contest]:
    """In bfloat16, with float32 masters: PyTorch under autocast."""

    def make(device: str) -> Contest:
        import torch

        from bench.torch_gpt import twin_of

        place = torch_device(device)
        model = pf.models.GPT(config)
        twin = twin_of(model).to(place)
        forward = compiled(twin, device) if compiles else twin
        model = model.to(device).to("bfloat16")
        ours, theirs = pf.optim.AdamW(model.parameters()), torch.optim.AdamW(twin.parameters(), fused=place == "cuda")
        ids = np.random.default_rng(0).integers(0, config.vocab_size, (batch, tokens + 1))
        ours_ids = [pf.tensor(part, device=device) for part in (ids[:, :-1], ids[:, 1:])]
        torch_ids = [torch.tensor(part, device=place) for part in (ids[:, :-1], ids[:, 1:])]

        def run_ours(i: int) -> None:
            loss = model.loss(*ours_ids)
            ours.zero_grad()
            loss.backward()
            ours.step()

        def run_theirs(i: int) -> None:
            with torch.autocast(place, torch.bfloat16):
                loss = forward(*torch_ids)
            theirs.zero_grad()
            loss.backward()
            theirs.step()

        weights = config.parameter_count() - config.context_length * config.embed_dim
        products = 6.0 * weights + 6.0 * config.num_layers * config.embed_dim * tokens
        return Contest(run_ours, run_theirs, flops=batch * tokens * products)

    return make


def bytes_of_step(config: pf.models.GPTConfig) -> float:
    """That a step of decoding reads at least: all weights but those of positions."""
    return 2.0 * (config.parameter_count() - config.context_length * config.embed_dim)


def decoding(config: pf.models.GPTConfig, new: int) -> Callable[[str], Contest]:
    """So many tokens, greedy, of batch 1, operation by operation."""

    def make(device: str) -> Contest:
        model = pf.models.GPT(config).to(device).to("bfloat16")
        prompt = pf.tensor([[1, 2, 3]], device=device)
        return Contest(lambda i: model.generate(prompt, new, temperature=0), None, bytes=new * bytes_of_step(config))

    return make


def decoding_graph(config: pf.models.GPTConfig) -> Callable[[str], Contest]:
    """One token, greedy, of batch 1, by a step that was recorded: PyTorch's, compiled, is one, too."""

    def make(device: str) -> Contest:
        import torch

        from bench.torch_gpt import next_ids, twin_of

        place, context = torch_device(device), config.context_length
        model = pf.models.GPT(config)
        twin = twin_of(model).to(place).to(torch.bfloat16)
        model = model.to(device).to("bfloat16").eval()
        cache = model.new_cache(1, context)

        def step(ids: pf.Tensor, ends: pf.Tensor) -> pf.Tensor:
            cache.ends = ends
            return pf.ops.argmax(model(ids, cache=cache)[:, -1], axis=-1).reshape(1, 1)

        with pf.nn.inference():
            model([[1, 2, 3]], cache=cache)
            ids, ends = pf.tensor([[4]], device=device), cache.ends + 0
            graph = pf.cuda.Graph(step, ids, ends, device=device)
        theirs = compiled(next_ids, device, mode="reduce-overhead")
        kept = [
            torch.zeros(config.num_layers, 1, config.num_heads, context, config.embed_dim // config.num_heads,
                        dtype=torch.bfloat16, device=place)
            for _ in range(2)
        ]  # fmt: skip
        torch_ids, end = torch.tensor([[4]], device=place), torch.tensor([3], device=place)

        def run_theirs(i: int) -> None:
            with torch.inference_mode():
                theirs(twin, torch_ids, end, *kept)

        return Contest(lambda i: graph(ids, ends), run_theirs, bytes=bytes_of_step(config))

    return make


def speed_items(quick: bool) -> dict[str, Callable[[str], Contest]]:
    if quick:
        tiny = pf.models.GPTConfig(65, 16, 1, 2, 16)
        return {
            "matmul 32x40x48": product(32, 40, 48),
            "attention causal B1 H2 T20 D16": attention(1, 2, 20, 16, False),
            "attention causal B1 H2 T20 D16 both": attention(1, 2, 20, 16, True),
            **{f"{op} 8x64": memory_bound(op, 8, 64) for op in MEMORY_BOUND},
            "training step": training_step(tiny, 1, 16),
            "decoding": decoding(tiny, 2),
            f"decoding, a recorded step {COMPILED}": decoding_graph(tiny),
            f"training step {COMPILED}": training_step(tiny, 1, 16, compiles=True),
        }
    gpt2 = pf.models.GPTConfig(50257, 1024, 12, 12, 768)
    shapes = ((8192, 8192, 8192), (4096, 4096, 4096), (32768, 2304, 768), (32768, 768, 3072), (32768, 3072, 768))
    return {
        **{f"matmul {m}x{n}x{k}": product(m, n, k) for m, n, k in shapes},
        "matmul 1x768x3072": product(1, 768, 3072),
        "attention causal B2 H16 T4096 D128": attention(2, 16, 4096, 128, False),
        "attention causal B2 H16 T4096 D128 both": attention(2, 16, 4096, 128, True),
        "attention causal B8 H12 T1024 D64": attention(8, 12, 1024, 64, False),
        "attention causal B8 H12 T1024 D64 both": attention(8, 12, 1024, 64, True),
        **{f"{op} 65536x1024": memory_bound(op, 65_536, 1024) for op in MEMORY_BOUND[:-1]},
        "cross_entropy 8192x50257": memory_bound("cross_entropy", 8192, 50_257),
        "training step GPT-2 124M B32 T1024": training_step(gpt2, 32, 1024),
        "decoding GPT-2 124M, 64 tokens": decoding(gpt2, 64),
        f"decoding GPT-2 124M, a recorded step {COMPILED}": decoding_graph(gpt2),
        f"training step GPT-2 124M B32 T1024 {COMPILED}": training_step(gpt2, 32, 1024, compiles=True),
    }


MEMORY_BOUND = ("add", "gelu", "softmax", "layer_norm", "sum", "cross_entropy")


def rate(result: Result, who: str) -> str:
    if who not in result:
        return "-"
    seconds = result[who]["median"]
    if result["flops"]:
        return f"{result['flops'] / seconds / 1e12:.3g} TFLOP/s"
    return f"{result['bytes'] / seconds / 1e9:.3g} GB/s"


def card(device: str) -> str:
    """Its name, its driver and its clock now and at most, or what is not told."""
    try:
        name = pf.cuda.get_device_properties(device).name
    except ValueError as error:
        name = str(error)
    if device.startswith(EMULATED):
        return name
    query = ["--query-gpu=driver_version,clocks.sm,clocks.max.sm", "--format=csv,noheader"]
    try:
        told = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, check=True, timeout=5).stdout
        driver, clock, most = told.splitlines()[0].split(", ")
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return f"{name}, driver and clock not told"
    return f"{name}, driver {driver}, {clock} of {most}"


def print_table(file: Path, device: str) -> int:
    print(card(device))
    print(f"{'work':42} {'ours, ms':>10} {'torch, ms':>10} {'ratio':>6} {'ours':>15} {'torch':>15}")
    for line in file.read_text().splitlines():
        result = json.loads(line)
        if "error" in result:
            print(f"{result['name']:42} {result['error']}")
            continue
        times = [result[who]["median"] * 1e3 if who in result else None for who in ("ours", "theirs")]
        shown = [f"{t:.4g}" if t is not None else "-" for t in times]
        ratio = f"{times[1] / times[0]:.2f}" if times[1] is not None else "-"
        rates = [rate(result, who) for who in ("ours", "theirs")]
        print(f"{result['name']:42} {shown[0]:>10} {shown[1]:>10} {ratio:>6} {rates[0]:>15} {rates[1]:>15}")
    return 0


# ---- the command ---------------------------------------------------------------------------------------------------


def item_of(part: str, device: str, quick: bool) -> Callable[[str], Result]:
    if part == "cases":
        return case_item(device)
    if part == "training":
        return lambda name: TRAINING[name](device, quick)
    if part == "ceilings":
        return lambda name: CEILINGS[name](device, quick)
    items = speed_items(quick)
    return lambda name: timed(items[name](device), device, quick)


def run_items(part: str, names: list[str], args: argparse.Namespace) -> int:
    """How many failed."""
    failed = 0
    with args.results.open("a") as file:
        for result in results_of(part, names, args.device, args.quick, args.limit):
            print(json.dumps(result), file=file, flush=True)
            failed += "error" in result
            found = [f"{value:.4g} {unit}" for unit, value in result.items() if "/s" in unit]
            print(f"{result['name']}: {result.get('error', ', '.join(found) or 'done')}", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("ceilings", "cases", "training", "speed", "table"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--jobs", type=int, default=8, help="processes of the case table on either side")
    parser.add_argument("--limit", type=float, default=30, help="seconds that an item may take")
    parser.add_argument("--results", type=Path, default=Path("gpu.jsonl"), help="where results are added, a line each")
    parser.add_argument("--list-some", action="store_true", help="only list the cases for compute-sanitizer")
    parser.add_argument("--child", action="store_true", help="do the items whose names are read, a JSON list")
    args = parser.parse_args()
    if args.part == "table":
        return print_table(args.results, args.device)
    if args.list_some:
        print(json.dumps(some_case_names()))
        return 0
    if args.child:
        serve(item_of(args.part, args.device, args.quick))
        return 0
    if args.part == "cases":
        return compare_cases(args.device, args.quick, args.jobs, args.limit) > 0
    named = {"ceilings": CEILINGS, "training": TRAINING, "speed": speed_items(args.quick)}
    names = list(named[args.part])
    return run_items(args.part, names, args) > 0


if __name__ == "__main__":
    sys.exit(main())
