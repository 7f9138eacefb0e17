"""CUDA sources through nvcc, without a GPU: no warning, no spill, no array in local memory, no serialised wgmma.

`python tests/cuda_gates.py [FOLDER ...]` prints what each file's kernels take. It needs nvcc 12.4 or newer, from a
toolkit or from the wheels of tests/nvcc.txt.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLAGS = ["-std=c++20", "-fmad=false", "-cubin", "-Werror", "all-warnings", f"-I{ROOT / 'csrc'}"]
# As in CMakeLists.txt, for the library's own kernels.
FLAGS += ["-DPF_ISA=cuda", "-DPF_CUDA", "--expt-relaxed-constexpr", "-diag-suppress=445,1675,20011,20014"]
PTXAS = "-v,--warn-on-spills,--warn-on-local-memory-usage,--warning-as-error"
SERIALISED = re.compile(r"C75(?:10|17|19)")  # "wgmma.wait_group is injected ...", and its like
WRONG = re.compile(r"error|warning|C75")
KERNEL = re.compile(r"Compiling entry function '(\w+)'.*?Used (\d+) registers", re.DOTALL)


def nvcc() -> str:
    if found := shutil.which("nvcc"):
        return found
    for file in metadata.files("nvidia-cuda-nvcc") or ():
        if file.name == "nvcc":
            path = Path(str(file.locate()))
            path.chmod(0o755)
            return str(path)
    sys.exit("cuda_gates: no nvcc; pip install --no-deps -r tests/nvcc.txt")


def targets_of(source: Path) -> list[str]:
    """Those that have what the source uses."""
    return ["90a"] if "sm90" in source.name else ["80", "90a"]


def compile_one(source: Path, target: str) -> tuple[str, bool, str]:
    """A line on each kernel or what is wrong, and whether all is well."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as out:
        generate = f"-gencode=arch=compute_{target},code=sm_{target}"
        command = [nvcc(), *FLAGS, generate, "-Xptxas", PTXAS, source, "-o", out.name]
        result = subprocess.run(command, text=True, capture_output=True)
    text = result.stdout + result.stderr
    good = result.returncode == 0 and not SERIALISED.search(text)
    name = f"{source.relative_to(ROOT)} sm_{target}"
    if not good:
        return name, False, "\n".join(line for line in text.splitlines() if WRONG.search(line)) or text
    kernels = [int(registers) for _, registers in KERNEL.findall(text)]
    return name, True, f"{len(kernels)} kernels, at most {max(kernels, default=0)} registers"


def main(folders: list[str]) -> int:
    sources = sorted(path for folder in folders or ["csrc"] for path in (ROOT / folder).rglob("*.cu"))
    assert sources
    work = [(source, target) for source in sources for target in targets_of(source)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda one: compile_one(*one), work))
    for name, good, text in results:
        print(f"{name}: {text if good else 'FAILED'}")
        if not good:
            print(text)
    return not all(good for _, good, _ in results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
