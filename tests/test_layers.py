"""The layer rules of CONTRIBUTING.md, read off the includes and imports. Runs on a checkout."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "csrc" / "pyformer"
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)
IMPORT = re.compile(r"^\s*(?:import|from)\s+([\w.]+)", re.MULTILINE)


def sources(folder: Path, *suffixes: str) -> list[Path]:
    found = [p for p in sorted(folder.rglob("*")) if p.suffix in suffixes]
    assert found, f"no sources under {folder}"
    return found


def includes(path: Path) -> list[str]:
    return INCLUDE.findall(path.read_text())


def test_library_knows_nothing_of_python():
    for path in sources(LIBRARY, ".h", ".cpp"):
        text = path.read_text()
        assert "pybind11" not in text, path
        assert not any(i in ("Python.h", "bindings.h") for i in includes(path)), path


def test_lower_layers_do_not_include_higher_ones():
    forbidden = {"base": ("pyformer/core/", "pyformer/ops/"), "core": ("pyformer/ops/",)}
    for folder, above in forbidden.items():
        for path in sources(LIBRARY / folder, ".h", ".cpp"):
            assert not any(i.startswith(above) for i in includes(path)), path


def test_kernel_files_see_only_kernel_headers():
    for path in sources(LIBRARY / "ops", ".h", ".cpp"):
        if not re.search(r"_(kernels\.h|ref\.cpp|cpu\.cpp)$", path.name):
            continue
        for include in includes(path):
            allowed = include in ("cstdint", "cstring") or re.fullmatch(
                r"pyformer/(base/(kernel|vec|math|reduce|philox)|ops/\w+/\w+_(kernels|\w*inl))\.h",
                include,
            )
            assert allowed, f"{path} includes {include}"


def test_one_folder_one_op():
    for folder in (LIBRARY / "ops").iterdir():
        if folder.is_dir():
            assert (folder / f"{folder.name}.h").exists(), folder
            assert f'"pyformer/ops/{folder.name}/{folder.name}.h"' in (LIBRARY / "ops/ops.h").read_text()


def test_torch_only_in_tests_and_bench():
    for path in sources(ROOT / "pyformer", ".py"):
        modules = {m.split(".")[0] for m in IMPORT.findall(path.read_text())}
        assert not modules & {"torch", "transformers", "jax", "pytest"}, path


def test_no_flags_that_break_bits_or_portability():
    text = (ROOT / "CMakeLists.txt").read_text()
    assert "-ffp-contract=off" in text
    for flag in ("fast-math", "-Ofast", "march=native"):
        assert flag not in text
