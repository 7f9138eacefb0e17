"""Builds and opens the device "cuda:emulated": the CUDA kernels, run by the emulator on the CPU. Runs on a checkout."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pyformer as pf

ROOT = Path(__file__).parents[2]
COUNTERS = (
    *("switches", "barriers", "shuffles", "cp_async", "ldmatrix", "stmatrix", "mma", "wgmma"),
    *("bulk_loads", "bulk_stores", "wavefronts", "ideal_wavefronts", "sectors", "global_bytes"),
)


def build(source: Path) -> Path:
    """The device's library, compiled from a source tree; what is compiled stays there."""
    options = ["-DPYFORMER_CUDA_EMULATED=ON", "-DPYFORMER_PYTHON=OFF", "-DPYFORMER_WERROR=ON"]
    options += ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    options += ["-GNinja"] if shutil.which("ninja") else []
    folder = source / ".emulated"  # not in build/, which is pip's
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:  # of several processes one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(["cmake", "-S", source, "-B", folder, *options])
        run(["cmake", "--build", folder, "--parallel", "2", "--target", "pyformer_cuda_emulated"])
    return next(folder.rglob("libpyformer_cuda_emulated.so"))


@cache
def library() -> ctypes.CDLL:
    """Opens the device, made of the checkout or of the source tree that PYFORMER_SOURCES names."""
    target = build(Path(os.environ.get("PYFORMER_SOURCES", ROOT)))
    os.environ["PYFORMER_DEVICE_PATH"] = str(target.parent)
    assert pf.device("cuda:emulated").index == 0
    os.environ.pop("PYFORMER_DEVICE_PATH")
    return ctypes.CDLL(str(target))


def run(command: list) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def schedule(words: str) -> None:
    """How the emulator runs what is done from now on: the words of PYFORMER_CUDA_EMULATED."""
    emulate = library().pyformer_emulate
    emulate.restype = ctypes.c_char_p
    assert emulate(words.encode()) is None, words


def counts() -> dict[str, int]:
    """What this thread's kernels did so far (emulated::Counters); what is queued has not been done."""
    counters = library().pyformer_emulated_counters
    counters.restype = ctypes.POINTER(ctypes.c_uint64)
    return dict(zip(COUNTERS, counters()[: len(COUNTERS)], strict=True))
