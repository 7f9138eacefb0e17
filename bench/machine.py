"""What a run was made on and with."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from bench import ROOT, rivals
from pyformer import _core


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def measure_limits(threads: int) -> dict[str, float]:
    """The machine's peaks now, on that many threads, and how far its CPUs are apart."""
    return {
        "fma_peak_gflops": _core.fma_peak_gflops(_core.DType.float32, threads),
        "bfloat16_peak_gflops": _core.bfloat16_peak_gflops(threads),
        "read_bandwidth_gbps": _core.read_bandwidth_gbps(threads),
        "copy_bandwidth_gbps": _core.copy_bandwidth_gbps(threads),
        "round_trip_ns": _core.round_trip_ns(),
    }


def describe() -> dict[str, Any]:
    """CPU, instruction set, date, commit and versions."""
    names = ("numpy", "torch", "transformers")
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "isa": _core.isa(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "pyformer": _core.__version__,
            **{name: _version(name) for name in names},
            **rivals.versions(),
        },
    }
