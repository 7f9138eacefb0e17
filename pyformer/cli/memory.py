"""Whether a training run can fit in memory, found out before any work is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# float32: a weight and AdamW's two moments; then its gradient, or what forward keeps for backward.
WEIGHT_BYTES, GRADIENT_BYTES = 12, 4


def check_training_fits(config: Any, batch: int) -> None:
    """MemoryError if training with `batch` rows surely needs more memory than there is; unknown sizes pass.

    `config` is that of any language model.
    """
    parameters, kept = config.parameter_count(), config.kept_bytes(batch)
    needed, available = WEIGHT_BYTES * parameters + max(GRADIENT_BYTES * parameters, kept), available_bytes()
    if available is not None and needed > available:
        raise MemoryError(
            f"training {parameters:,} parameters on {batch:,} x {config.context_length:,} tokens at a time needs "
            f"at least {size_text(needed)}, and {size_text(available)} can be had here; choose fewer --layers or "
            "a smaller --embed, --context or --batch"
        )


def available_bytes() -> int | None:
    """Memory and swap that this process may still take, or None where the system doesn't tell."""
    return min([*_free_bytes(), *_cgroup_limits()], default=None)


def _free_bytes() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
        lines = (line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        sizes = {name: int(value.split()[0]) * 1024 for name, value in lines}
        yield sizes["MemAvailable"] + sizes["SwapFree"]


def _cgroup_limits() -> Iterator[int]:
    """The limits of this process's control groups, of either version, up to the root."""
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, inner in (line for line in lines if len(line) == 3):
        if controllers == "":
            root, name = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, name = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = root / inner.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                # "max" means no limit.
                with contextlib.suppress(OSError, ValueError):
                    yield int((folder / name).read_text())


def size_text(count: int) -> str:
    """A number of bytes in words: 1536 is 1.5 KiB."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
