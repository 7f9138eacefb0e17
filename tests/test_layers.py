"""The layer rules of CONTRIBUTING.md, read off the includes and imports. Runs on a checkout."""

from __future__ import annotations

import ast
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


def reachable(path: Path) -> set[str]:
    """All that a file includes, directly or through the library's own headers."""
    found: set[str] = set()
    pending = includes(path)
    while pending:
        include = pending.pop()
        if include not in found:
            found.add(include)
            pending += includes(ROOT / "csrc" / include) if include.startswith("pyformer/") else []
    return found


def test_kernel_files_see_no_stl_and_no_tensors():
    """They are compiled once per instruction set: an inline STL function could be kept in its AVX-512 copy."""
    for path in sources(LIBRARY, ".cpp"):
        if not path.name.endswith(("_ref.cpp", "_cpu.cpp")):
            continue
        for include in reachable(path):
            allowed = include in ("cstdint", "cstring", "immintrin.h") or re.fullmatch(
                r"pyformer/(base|core/arithmetic|ops/\w+)/\w+\.h", include
            )
            assert allowed, f"{path} includes {include}"


SHARED_ROOMS = ("norm_planes", "recurrent")  # what several ops are made of


def test_one_folder_one_op():
    for folder in (LIBRARY / "ops").iterdir():
        if folder.is_dir():
            assert (folder / f"{folder.name}.h").exists(), folder
            if folder.name in SHARED_ROOMS:
                continue
            assert f'"pyformer/ops/{folder.name}/{folder.name}.h"' in (LIBRARY / "ops/ops.h").read_text()


# What an op's own file may not do: share out work, look for kernels, touch elements, or name a device. Kernels
# (*_ref.cpp, *_cpu.cpp) and the CPU's programs (*_program.cpp) do.
NOT_IN_OPS = re.compile(r"\b(parallel_for|find_kernel|float_index|data<|memcpy|fill_n|Device::cpu|kCpu)")
READS_ON_THE_CPU = {"has_zero.cpp"}  # floor_divide's ValueError needs the answer at once


def test_ops_leave_elements_to_kernels():
    for path in sources(LIBRARY / "ops", ".cpp"):
        if path.name.endswith(("_ref.cpp", "_cpu.cpp", "_program.cpp")):
            continue
        found = NOT_IN_OPS.findall(path.read_text())
        assert bool(found) == (path.name in READS_ON_THE_CPU), f"{path}: {found}"


def test_torch_only_in_tests_and_bench():
    for path in sources(ROOT / "pyformer", ".py"):
        modules = {m.split(".")[0] for m in IMPORT.findall(path.read_text())}
        assert not modules & {"torch", "transformers", "jax", "pytest"}, path


def test_no_flags_that_break_bits_or_portability():
    text = (ROOT / "CMakeLists.txt").read_text()
    assert "-ffp-contract=off" in text
    for flag in ("fast-math", "-Ofast", "march=native"):
        assert flag not in text


def test_models_call_modules_only():
    """No compiled function, and no weight of another module: a module alone knows in which form it has its weights."""
    for path in sources(ROOT / "pyformer" / "models", ".py"):
        assert not reaches_into_modules(path.read_text()), path


def reaches_into_modules(source: str) -> list[str]:
    """What a model does with `_core`, or with the weight or bias of anything but itself."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ("weight", "bias"):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            found += [] if own else [ast.unparse(node)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
            found += [ast.unparse(node)] if ast.unparse(node.args[1]) in ("'weight'", "'bias'") else []
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [ast.unparse(node)] if any("_core" in name.split(".") for name in names) else []
        elif isinstance(node, ast.Attribute) and node.attr == "_core":
            found.append(ast.unparse(node))
    return found


def test_the_rule_of_models_finds_what_it_is_for():
    for fault in (
        "from pyformer import _core, nn",
        "import pyformer._core as core",
        "x = pf._core.zero_",
        "pack(block.attn.c_attn.weight)",
        "norm.bias",
        "getattr(self.head, 'weight')",
    ):
        assert reaches_into_modules(fault), fault
    assert not reaches_into_modules("from pyformer import nn, ops\nself.weight\nself.head.as_linear(x)")


def test_models_are_short():
    long = {"gpt.py": 300, "llama.py": 300, "encoder_decoder.py": 300}
    for path in sources(ROOT / "pyformer" / "models", ".py"):
        lines = len(path.read_text().splitlines())
        assert lines < long.get(path.name, 250), f"{path} has {lines} lines"


# (op, another op whose kernels it calls): may only become fewer.
KERNELS_OF_OTHERS: set[tuple[str, str]] = set()


def test_ops_do_not_call_the_kernels_of_others():
    found = set()
    for path in sources(LIBRARY / "ops", ".cpp"):
        if path.parent.name == "ops":  # kernel_tables.cpp lists them all
            continue
        owners = re.findall(r"pyformer/ops/(\w+)/\w+_kernels\.h", "\n".join(includes(path)))
        found |= {(path.parent.name, owner) for owner in owners if owner != path.parent.name}
    assert not found - KERNELS_OF_OTHERS, "these ops should use the other op's functions on Arrays"
    assert not KERNELS_OF_OTHERS - found, "these no longer offend: take them off the list"


ARITHMETIC = {
    *("abs", "absolute", "add", "subtract", "multiply", "divide", "exp", "exp2", "expm1", "log", "log2", "log1p"),
    *("sqrt", "square", "power", "sin", "cos", "tan", "tanh", "arctan2", "maximum", "minimum", "clip", "where"),
    *("sum", "mean", "std", "var", "max", "min", "cumsum", "cumprod", "argmax", "argmin", "argsort", "sort"),
    *("dot", "matmul", "einsum", "outer", "inner", "tensordot", "linalg"),
}
# Which functions may compute on elements with NumPy, and why: tensors' own arithmetic belongs in the kernels.
COMPUTES = {
    r"_normal_density|_interference|_refraction|oscillator": "makes up data to learn from",
    r"train_test_split": "chooses examples of a data set",
    r"CharTokenizer\._encode_piece": "text to numbers",
    r"LanguageModel\._counted": "prepares targets, which come as NumPy arrays",
    r"EncoderDecoder\.(loss|count_targets)": "prepares targets and lengths, which come as NumPy arrays",
    r"Sampler\.__call__|_highest|_nucleus": "chooses a token: integers and comparisons, sums in float64",
    r"fresh_seed": "a seed of two random numbers",
    r"StateModel\.next_logits": "puts rows back in order",
    r"Ends\.\w+": "where rows end: places and booleans",
    r"LSTM\.\w+|LiquidNetwork\.\w+": "prepares targets and lengths, which come as NumPy arrays",
    r"attention_weights": "which keys a query may see: booleans",
    r"MultiScaleRetention\._parallel": "distances between positions",
    r"picture": "draws",
}


def numpy_arithmetic(node: ast.AST, name: str = "") -> set[str]:
    """The functions below `node` that call NumPy's arithmetic, or calculate with the result of a numpy()."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            inner = f"{name}.{child.name}".lstrip(".")
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
            owner = child.func.value
            if isinstance(owner, ast.Name) and owner.id == "np" and child.func.attr in ARITHMETIC:
                found.add(inner)
        if isinstance(child, ast.BinOp):
            calls = [n.func for n in ast.walk(child) if isinstance(n, ast.Call)]
            if any(isinstance(f, ast.Attribute) and f.attr == "numpy" for f in calls):
                found.add(inner)
        found |= numpy_arithmetic(child, inner)
    return found


def test_python_does_not_compute_on_elements():
    found = set()
    for path in sources(ROOT / "pyformer", ".py"):
        found |= numpy_arithmetic(ast.parse(path.read_text()))
    allowed = {name for name in found if any(re.fullmatch(pattern, name) for pattern in COMPUTES)}
    assert not found - allowed, "these compute with NumPy: use an op, or name them in COMPUTES with a reason"
    unused = [pattern for pattern in COMPUTES if not any(re.fullmatch(pattern, name) for name in found)]
    assert not unused, "these no longer compute with NumPy: take them off the list"


def test_numpy_arithmetic_is_seen():
    text = "class A:\n    def f(self, x): return np.exp(x)\ndef g(x): return 2 * x.numpy()\ndef h(x): return 2 * x"
    assert numpy_arithmetic(ast.parse(text)) == {"A.f", "g"}
