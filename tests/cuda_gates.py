"""CUDA sources through nvcc, without a GPU: no warning, no spill, no array in local memory, no serialised wgmma.

`python tests/cuda_gates.py FOLDER ...` compiles the `.cu` files of folders, each for all targets that it is for.
`python tests/cuda_gates.py --library [TARGETS]` builds the wheel pyformer-cuda for targets such as "80-real;90a-real"
(80 unless told) and looks at it: how long that takes, how large it is, what its library needs, exports, and says where
there is no driver or an old one; at each kernel's registers, warps and, where nvdisasm is there, instructions.
`--print` lists them all.

It needs nvcc 12.5 or newer, from a toolkit or from the wheels of tests/nvcc.txt.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FLAGS = ["-std=c++20", "-fmad=false", "-cubin", "-Werror", "all-warnings", f"-I{ROOT / 'csrc'}"]
# As in CMakeLists.txt, for the library's own kernels.
FLAGS += ["-DPF_ISA=cuda", "-DPF_CUDA", "--expt-relaxed-constexpr", "-diag-suppress=445,1675,20011,20014"]
PTXAS = "-v,--warn-on-spills,--warn-on-local-memory-usage,--warning-as-error"
SERIALISED = re.compile(r"C75(?:10|17|19)")  # "wgmma.wait_group is injected ...", and its like
WRONG = re.compile(r"error|warning|C75")
COMPILED = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'.*?Used (\d+) registers", re.DOTALL)
ENTRY = re.compile(r"\.entry (\w+)\([^)]*\)\s*((?:\.\w+[^\n]*\n)*)")

REGISTERS, WARPS = 65_536, 64  # of a multiprocessor
# For how many warps registers must leave room, by a part of a kernel's name. Kernels on tensor cores hide latency by
# work in flight, not by warps; tiles of float64 (`IdE`) take two registers a number.
LEAST_WARPS = {"sm80": 8, "sm90": 8, "IdE": 8, "": 16}
# What must be among a kernel's instructions, and what must not, by its name.
INSTRUCTIONS = {
    "sm80": (("HMMA", "LDSM", "LDGSTS"), ("LDL", "STL", "HGMMA")),
    "sm90": (("HGMMA", "UTMALDG"), ("LDL", "STL")),
    "multiply_sm90": ((), ("HMMA",)),
}
# How many products and at most how many loads of operands for one: as many as are unrolled for D = 64, and ldmatrix of
# four matrices each.
LEAST_PRODUCTS = {"attention_forward_sm80": 96, "attention_dq_sm80": 128, "attention_dk_dv_sm80": 192, "sm80": 16}
MOST_LOADS = 0.5
OWN_LIBRARIES = {"libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"}
OWN_LIBRARIES |= {"libpthread.so.0", "libdl.so.2", "librt.so.1"}  # of an older C library
WHEEL = ROOT / "csrc" / "pyformer" / "cuda" / "wheel"
MOST_WHEEL_BYTES = 15_000_000  # for the seven targets of CMakeLists.txt
MOST_COMPILE_S = 2 * 600  # of CPUs: ten minutes of two, for two targets

LIBRARY = "pyformer/lib/libpyformer_cuda.so"  # in the wheel

# A driver that serves CUDA 12.4 and no more, as far as the runtime asks it.
OLD_DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int* version) { return *version = 12040, 0; }
int cuGetProcAddress_v2(const char* name, void** found, int version, unsigned long long flags, int* status) {
  *found = !strcmp(name, "cuDriverGetVersion") ? (void*)cuDriverGetVersion : !strcmp(name, "cuInit") ? (void*)cuInit
         : !strncmp(name, "cuGetProcAddress", 16) ? (void*)cuGetProcAddress_v2 : (void*)0;
  if (status) *status = 0;
  return *found ? 0 : 500;
}
"""


def tool(name: str) -> str | None:
    """Of a toolkit, or of NVIDIA's wheel for it."""
    if found := shutil.which(name):
        return found
    try:
        files = metadata.files(f"nvidia-cuda-{name}") or ()
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name:
            path = Path(str(file.locate()))
            path.chmod(0o755)
            return str(path)
    return None


def nvcc() -> str:
    return tool("nvcc") or sys.exit("cuda_gates: no nvcc; pip install --no-deps -r tests/nvcc.txt")


def run(*command: object, **more: object) -> str:
    result = subprocess.run([str(c) for c in command], text=True, capture_output=True, **more)
    if result.returncode:
        sys.exit(f"cuda_gates: {command[0]} failed\n" + told(result.stdout + result.stderr))
    return result.stdout + result.stderr


def told(text: str) -> str:
    """What is wrong, or all if nothing says so."""
    return "\n".join(line for line in text.splitlines() if WRONG.search(line)) or text


# ---- files by themselves -------------------------------------------------------------------------------------------


def targets_of(source: Path) -> list[str]:
    """Those that have what the source uses."""
    return ["90a"] if "sm90" in source.name else ["80", "90a"]


def compile_one(source: Path, target: str) -> tuple[str, bool, str]:
    """A line on the kernels or what is wrong, and whether all is well."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
        generate = f"-gencode=arch=compute_{target},code=sm_{target}"
        command = [nvcc(), *FLAGS, generate, "-Xptxas", PTXAS, source, "-o", out.name]
        result = subprocess.run(command, text=True, capture_output=True)
    text = result.stdout + result.stderr
    name = f"{source.relative_to(ROOT)} sm_{target}"
    if result.returncode or SERIALISED.search(text):
        return name, False, told(text)
    registers = [int(registers) for _, _, registers in COMPILED.findall(text)]
    return name, True, f"{len(registers)} kernels, at most {max(registers, default=0)} registers"


def check_folders(folders: list[str]) -> bool:
    sources = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.cu"))
    assert sources
    work = [(source, target) for source in sources for target in targets_of(source)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda one: compile_one(*one), work))
    for name, good, text in results:
        print(f"{name}: {text if good else 'FAILED'}")
        if not good:
            print(text)
    return all(good for _, good, _ in results)


# ---- the library ---------------------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    name: str
    target: str
    registers: int
    threads: int
    instructions: Counter[str]  # empty where they were not read

    def warps(self) -> int:
        """How many fit into a multiprocessor with their registers, in whole blocks."""
        own = -(-self.threads // 32)
        of_warp = -(-self.registers // 8) * 8 * 32
        return min(WARPS, REGISTERS // of_warp // own * own)

    def faults(self) -> list[str]:
        if "sm90" in self.name and self.target != "90a":  # empty, and never started
            return []
        least = next(warps for part, warps in LEAST_WARPS.items() if part in self.name)
        faults = [] if self.warps() >= least else [f"room for {self.warps()} warps, must be {least}"]
        for part, (wanted, unwanted) in INSTRUCTIONS.items():
            if part in self.name and self.instructions:
                faults += [f"no {name}" for name in wanted if not self.instructions[name]]
                faults += [f"{self.instructions[name]} {name}" for name in unwanted if self.instructions[name]]
        products, loads = self.instructions["HMMA"], self.instructions["LDSM"]
        least = next((count for part, count in LEAST_PRODUCTS.items() if part in self.name), 0)
        if self.instructions and products < least:
            faults.append(f"{products} HMMA, must be {least}")
        if least and loads > MOST_LOADS * products:
            faults.append(f"{loads} LDSM for {products} HMMA")
        return faults


def built(targets: str, work: Path) -> tuple[Path, list[Kernel]]:
    """The wheel, and the kernels in it."""
    kept = work / "kept"  # the intermediate files
    kept.mkdir()
    flags = f"-Werror all-warnings -Xptxas {PTXAS} --keep --keep-dir {kept}"
    define = {"PYFORMER_WERROR": "ON", "CMAKE_CUDA_FLAGS": flags, "CMAKE_CUDA_COMPILER": nvcc()}
    define["PYFORMER_CUDA_ARCHITECTURES"] = targets
    settings = [f"-Ccmake.define.{name}={value}" for name, value in define.items()]
    settings.append(f"-Cbuild-dir={work / 'build'}")
    text = run(sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", work / "wheel", *settings, WHEEL)
    if SERIALISED.search(text):
        sys.exit(told(text))
    threads = {}
    for ptx in kept.glob("*.ptx"):
        for name, directives in ENTRY.findall(ptx.read_text()):
            threads[name] = int(re.search(r"\.maxntid (\d+)", directives)[1])
    counted = instructions(kept)
    kernels = [
        Kernel(name, target, int(registers), threads[name], counted.get((name, target), Counter()))
        for name, target, registers in COMPILED.findall(text)
    ]
    return next((work / "wheel").glob("*.whl")), kernels


def check_wheel(wheel: Path, targets: int, work: Path) -> tuple[Path, list[str]]:
    """Its library, unpacked."""
    with zipfile.ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if ".dist-info/" not in name]
        opened.extractall(work / "unpacked")
    library, size, most = work / "unpacked" / LIBRARY, wheel.stat().st_size, MOST_WHEEL_BYTES * targets // 7
    print(f"{wheel.name}: {size / 1e6:.2f} MB, unpacked {library.stat().st_size / 1e6:.1f} MB, {targets} targets")
    faults = [] if names == [LIBRARY] else [f"the wheel has {names}"]
    return library, faults + ([] if size <= most else [f"the wheel has {size} bytes, must be at most {most}"])


def instructions(folder: Path) -> dict[tuple[str, str], Counter[str]]:
    """How often each stands in a kernel: of files that have kernels on tensor cores."""
    counted = {}
    nvdisasm = tool("nvdisasm")
    for cubin in folder.glob("*.cubin") if nvdisasm else ():
        if not any(part.encode() in cubin.read_bytes() for part in INSTRUCTIONS):
            continue
        text = run(nvdisasm, "-c", cubin)
        target = re.search(r"\.target\s+sm_(\w+)", text)[1]
        for part in text.split("\n.text.")[1:]:
            words = re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(?:@\S+\s+)?(\w+)", part, flags=re.MULTILINE)
            counted[part[: part.index(":")], target] = Counter(words)
    return counted


def check_links(library: Path) -> list[str]:
    """It needs nothing of CUDA's but the driver, which it opens itself, and exports its one function."""
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", library)))
    exported = run("nm", "-D", "--defined-only", library).split()[2::3]
    faults = [f"needs {name}" for name in sorted(needed - OWN_LIBRARIES)]
    faults += [f"exports {name}" for name in exported if name != "pyformer_device_api"][:5]
    faults += [] if "pyformer_device_api" in exported else ["does not export pyformer_device_api"]
    return faults


def why_not(library: Path, **more: str) -> str:
    """What a process says of CUDA here, in a folder that hides no installed package."""
    program = "import pyformer as pf; print(pf.cuda.is_available(), pf.cuda.why())"
    env = {**os.environ, "PYFORMER_DEVICE_PATH": str(library.parent), **more}
    return run(sys.executable, "-c", program, env=env, cwd=library.parent).strip()


def check_messages(library: Path, work: Path) -> list[str]:
    (work / "driver.c").write_text(OLD_DRIVER)
    run(os.environ.get("CC", "cc"), "-shared", "-fPIC", work / "driver.c", "-o", work / "libcuda.so.1")
    found = {
        "it serves CUDA 12.4, this build needs 13.0": why_not(library, LD_LIBRARY_PATH=str(work)),
        "there is no NVIDIA driver (libcuda.so.1)": why_not(library),
    }
    if shutil.which("nvidia-smi"):
        found.popitem()
    return [
        f"expected '{text}', got '{told}'"
        for text, told in found.items()
        if "False device: 'cuda'" not in told or text not in told
    ]


def check_library(targets: str, prints: bool) -> bool:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        before = cpu_seconds()
        wheel, kernels = built(targets, work)
        taken_s, count = cpu_seconds() - before, targets.count(";") + 1
        print(f"compiled in {taken_s:.0f} s of a CPU")
        library, faults = check_wheel(wheel, count, work)
        faults += check_links(library) + check_messages(library, work)
    if taken_s > MOST_COMPILE_S * max(count, 2) / 2:
        faults.append("compiling takes too long")
    for kernel in kernels:
        faults += [f"{kernel.name} sm_{kernel.target}: {fault}" for fault in kernel.faults()]
        if prints or (kernel.instructions and any(part in kernel.name for part in INSTRUCTIONS)):
            some = {name: n for name, n in kernel.instructions.items() if n and name in SHOWN}
            print(f"{kernel.name} sm_{kernel.target}: {kernel.registers} registers, {kernel.warps()} warps", some or "")
    print(f"{len(kernels)} kernels, at most {max(kernel.registers for kernel in kernels)} registers")
    print("\n".join(faults))
    return not faults


def cpu_seconds() -> float:
    """Of the processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


SHOWN = {name for wanted, unwanted in INSTRUCTIONS.values() for name in (*wanted, *unwanted)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    parser.add_argument("--library", nargs="?", const="80-real", metavar="TARGETS")
    parser.add_argument("--print", action="store_true", dest="prints")
    options = parser.parse_args()
    good = check_folders(options.folders) if options.folders else True
    if options.library:
        good = check_library(options.library, options.prints) and good
    sys.exit(not good)
