"""Builds and opens the device "cuda:emulated": the CUDA kernels, run by the emulator on the CPU. Runs on a checkout."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pyformer as pf

ROOT = Path(__file__).parents[2]
EMULATED, COUNTED = "pyformer_cuda_emulated", "pyformer_cuda_counted"  # the second counts every access, and is slow
target = EMULATED  # to be chosen before the device is opened
COUNTERS = (
    *("switches", "barriers", "shuffles", "cp_async", "ldmatrix", "stmatrix", "mma", "wgmma"),
    *("bulk_loads", "bulk_stores", "wavefronts", "ideal_wavefronts", "sectors", "global_bytes"),
    *("different_sectors", "accesses", "operations", "fmas"),
)
OF_BLOCK = ("threads", "shared_bytes")
OF_KERNEL = ("address", "launches", "blocks", *OF_BLOCK, *COUNTERS)


def build(source: Path, target: str = EMULATED) -> Path:
    """The device's library, compiled from a source tree; what is compiled stays there."""
    options = ["-DPYFORMER_CUDA_EMULATED=ON", "-DPYFORMER_PYTHON=OFF", "-DPYFORMER_WERROR=ON"]
    options += ["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []
    options += ["-GNinja"] if shutil.which("ninja") else []
    folder = source / ".emulated"  # not in build/, which is pip's
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:  # of several processes one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(["cmake", "-S", source, "-B", folder, *options])
        run(["cmake", "--build", folder, "--parallel", "2", "--target", target])
    own = "counted" if target == COUNTED else ""
    return folder / "csrc" / "pyformer" / "cuda" / own / "libpyformer_cuda_emulated.so"


@cache
def library() -> ctypes.CDLL:
    """Opens the device, made of the checkout or of the source tree that PYFORMER_SOURCES names."""
    path = build(Path(os.environ.get("PYFORMER_SOURCES", ROOT)), target)
    os.environ["PYFORMER_DEVICE_PATH"] = str(path.parent)
    assert pf.device("cuda:emulated").index == 0
    os.environ.pop("PYFORMER_DEVICE_PATH")
    return ctypes.CDLL(str(path))


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


def waits() -> int:
    """How often this thread has waited for the device."""
    count = library().pyformer_emulated_waits
    count.restype = ctypes.c_int64
    return count()


# ---- kernels by name -----------------------------------------------------------------------------------------------

# At the start of a line, with or without __launch_bounds__(...).
STARTS = re.compile(r"^(?:static )?__global__ void(?: __launch_bounds__\((?:[^()]|\([^()]*\))*\))?\s+(\w+)\(", re.M)
DTYPE = re.compile(r"\b(?:BFloat16|Float16|float|double|bool|(?:un)?signed char|(?:unsigned )?(?:int|long|short))\b")


def kernel_of(symbol: str) -> str:
    """A demangled symbol without what it is in, its parameters and result; whichever its dtypes, they are T."""
    plain = re.sub(r"pyformer::|cuda::|\(anonymous namespace\)::|^void |^static ", "", symbol)
    depth = 0
    for i, letter in enumerate(plain):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and not depth:
            plain = plain[:i]
            break
    return DTYPE.sub("T", plain).replace(" >", ">")


@cache
def kernels() -> dict[int, str]:
    """The kernels of the device's library, by address."""
    sources = [path for path in (ROOT / "csrc" / "pyformer").rglob("*") if path.suffix in (".cu", ".h")]
    names = {name for path in sources for name in STARTS.findall(path.read_text())}
    told = subprocess.run(["nm", "-C", library()._name], capture_output=True, text=True, check=True).stdout
    symbols = [line.split(" ", 2) for line in told.splitlines() if line[:1] != " "]
    start = next(int(address, 16) for address, _, name in symbols if name == "pyformer_emulate")
    base = ctypes.cast(library().pyformer_emulate, ctypes.c_void_p).value - start
    found = {base + int(address, 16): kernel_of(name) for address, kind, name in symbols if kind in "tTwW"}
    # Namespaces are written small: a method of that name is no kernel.
    plain = re.compile(r"(?:[a-z]\w*::)*(\w+)")
    return {address: name for address, name in found.items() if (m := plain.match(name)) and m[1] in names}


def kernel_counts() -> dict[str, dict[str, int]]:
    """What each kernel of this thread did so far, while the schedule had "count"."""
    get, count = library().pyformer_emulated_kernels, ctypes.c_int64()
    get.restype = ctypes.POINTER(ctypes.c_uint64)
    numbers = get(ctypes.byref(count))
    found: dict[str, dict[str, int]] = {}
    for i in range(count.value):
        one = dict(zip(OF_KERNEL, numbers[i * len(OF_KERNEL) : (i + 1) * len(OF_KERNEL)], strict=True))
        name = kernels()[one.pop("address")]
        before = found.get(name, {})
        found[name] = {key: max(value, before.get(key, 0)) if key in OF_BLOCK else value + before.get(key, 0)
                       for key, value in one.items()}  # fmt: skip
    return found
