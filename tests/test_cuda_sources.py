"""What kernels for CUDA may be written with, read off the sources."""

from __future__ import annotations

import re
from pathlib import Path

from mutant_table import CPP, CUDA

ROOT = Path(__file__).parent.parent
PRIMITIVES = ROOT / "csrc" / "pyformer" / "cuda"
# What has a meaning under nvcc only. The CPU's own assembly stands in files of one instruction set.
NVCC_ONLY = re.compile(
    r"\b(?:__)?asm(?:__)?\b|<<<|>>>\s*\(|\b__shared__\b|\b__cvta_\w+|\b__nv_\w+|\b__builtin_nvvm_\w+"
    r"|\bcooperative_groups\b|\bnvcuda\b|\bcudaLaunch\w+"
)
QUOTED = re.compile(r"""R"\((?:.|\n)*?\)"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'""")


def without_comments(text: str) -> str:
    text = QUOTED.sub('""', text)
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def nvcc_only(text: str) -> list[str]:
    return NVCC_ONLY.findall(without_comments(text))


def is_for_cuda(path: Path) -> bool:
    """Kernels, what knows of the device's library, and the headers of base, which kernels include."""
    is_base = path.suffix == ".h" and path.parent.name == "base"
    return path.suffix in (".cu", ".cuh") or is_base or "pyformer/cuda/" in path.read_text()


def kernel_sources() -> list[Path]:
    sources = [p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".cu", ".cuh", ".h", ".cpp")]
    return [p for p in sources if PRIMITIVES not in p.parents and is_for_cuda(p)]


def test_only_the_primitives_have_two_meanings():
    sources = kernel_sources()
    assert any(p.suffix == ".cu" for p in sources)
    for path in sources:
        assert not nvcc_only(path.read_text()), path


def test_what_is_for_nvcc_only_is_seen():
    for fault in (
        'asm volatile("bar.sync 0;");',
        "kernel<<<grid, block>>>(args);",
        "__shared__ float tile[32];",
        "uint32_t at = __cvta_generic_to_shared(p);",
        "#include <x>\nnamespace cg = cooperative_groups;",
        '__asm__ volatile("");',
        "char quote = '\"'; asm(\"\"); char other = '\"';",
        'auto text = R"(")"; asm("");',
        "cudaLaunchKernel(kernel, grid, block, args, 0, stream);",
        "nvcuda::wmma::fill_fragment(sum, 0.0f);",
    ):
        assert nvcc_only(fault), fault
    assert not nvcc_only(
        "// asm\nbool more = a < (b >> 2); S& s = shared_memory<S>(); std::vector<std::vector<X<int>>> v;"
    )


def test_each_instruction_has_both_meanings():
    """In the files of PTX instructions, whatever has assembly has an #else without."""
    for path in PRIMITIVES.glob("*.h"):
        for body in re.findall(r"^DEVICE [^\n]*\{\n(.*?)^\}", path.read_text(), flags=re.DOTALL | re.MULTILINE):
            if "asm" in body and "cvt." not in body:
                assert "#if defined(__CUDACC__)" in body, f"{path}: {body}"
                assert "#else" in body, f"{path}: {body}"


def test_the_wheel_has_neither_cuda_nor_the_emulator():
    """Also where nvcc is found: nothing but the option asks for it."""
    text = (ROOT / "CMakeLists.txt").read_text()
    assert re.search(r"option\(PYFORMER_CUDA .* OFF\)", text)
    assert text.index("if(PYFORMER_CUDA)") < text.index("enable_language(CUDA)")
    assert "PYFORMER_CUDA" not in (ROOT / "pyproject.toml").read_text()
    assert re.search(r"option\(PYFORMER_CUDA_EMULATED .* OFF\)", text)
    assert 'list(FILTER sources EXCLUDE REGEX "/csrc/pyformer/cuda/")' in text
    assert re.search(r"install\(DIRECTORY csrc/pyformer .* PATTERN cuda EXCLUDE\)", text)


def test_planted_mistakes_have_their_place_in_the_source():
    """Those of tests/mutants.py that need a compiler, as nobody runs them every day."""
    sources = sorted(p for p in (ROOT / "csrc" / "pyformer").rglob("*.[hc]*") if p.is_file())
    for mistake in CUDA + CPP:
        mistake.place(sources)  # raises ValueError where it has none
