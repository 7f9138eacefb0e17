"""The work items: names that `--only` selects, and what each runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from bench import decoding, minilm, ops, precision, smollm2, startup, training
from bench.measure import Row, Settings

Item = Callable[[Settings], Iterable[Row]]


def all_items(quick: bool) -> dict[str, Item]:
    """Every item by name, in the order of the table."""
    shapes = training.QUICK_SHAPES if quick else training.SHAPES
    memory_shapes = training.QUICK_SHAPES if quick else training.MEMORY_SHAPES
    neighbour_shapes = training.QUICK_SHAPES if quick else ("4x128-B12-T64", "gpt2-124M-B4-T64")
    threads_shape = next(iter(training.QUICK_SHAPES if quick else training.SHAPES))
    items: dict[str, Item] = {f"training/{name}": partial(training.run_training, name) for name in shapes}
    items |= {f"decoding/batch{batch}": partial(decoding.run_decoding, batch) for batch in (1, 8)}
    items |= {f"memory/{name}": partial(training.run_memory, name) for name in memory_shapes}
    items |= {f"neighbour/{name}": partial(training.run_neighbour, name) for name in neighbour_shapes}
    items[f"threads/{threads_shape}"] = partial(training.run_threads, threads_shape)
    items["float64/matmul"] = precision.run_matmul
    items["float64/attention"] = precision.run_attention
    items |= {f"bfloat16/training/{name}": partial(training.run_bfloat16, name) for name in shapes}
    items["bfloat16/matmul"] = precision.run_bfloat16_matmul
    items["bfloat16/attention"] = precision.run_bfloat16_attention
    items |= {f"smollm2/{kind}": partial(smollm2.run_format, kind) for kind in smollm2.FORMATS}
    items["smollm2/rows"] = smollm2.run_rows
    items["smollm2/speculation"] = smollm2.run_speculation
    items["smollm2/start"] = smollm2.run_start
    items["minilm/encode"] = minilm.run_encode
    items["startup/import"] = startup.run_import
    items["startup/size"] = startup.run_size
    items["startup/overhead"] = startup.run_overhead
    items["op/adamw"] = ops.run_adamw
    items |= {f"op/{op}": partial(ops.run_op, op) for op in ops.cases_by_op(quick)}
    return items


def run_item(name: str, settings: Settings) -> list[Row]:
    """Runs one item in this process, every contender on settings.threads threads."""
    import torch

    import pyformer as pf

    pf.set_num_threads(settings.threads)
    torch.set_num_threads(settings.threads)
    return list(all_items(settings.quick)[name](settings))
