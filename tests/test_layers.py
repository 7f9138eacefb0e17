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


def test_only_cuda_kernels_know_cuda():
    own = LIBRARY / "cuda"
    for path in sources(LIBRARY, ".cpp"):
        if own not in path.parents:
            assert not any(i.startswith("pyformer/cuda/") for i in reachable(path)), path
    for path in sources(LIBRARY, ".cu"):
        assert path.name.endswith("_cuda.cu"), path
        table = f'"{path.relative_to(LIBRARY.parent).as_posix().removesuffix("_cuda.cu")}_kernels.h"'
        tables = (own / "kernel_tables.cpp").read_text().replace("gemm_kernels.h", "matmul_kernels.h")
        assert table in tables, f"{path}: kernel_tables.cpp has no line for it"


SHARED_ROOMS = ("norm", "norm_planes", "recurrent")  # what several ops are made of


def test_one_folder_one_op():
    for folder in (LIBRARY / "ops").iterdir():
        if folder.is_dir():
            assert (folder / f"{folder.name}.h").exists(), folder
            if folder.name in SHARED_ROOMS:
                continue
            assert f'"pyformer/ops/{folder.name}/{folder.name}.h"' in (LIBRARY / "ops/ops.h").read_text()


# What an op's own file may not do: share out work, look for kernels, touch elements, or name a device. Kernels
# (*_ref.cpp, *_cpu.cpp, those of one instruction set) and the CPU's programs (*_program.cpp) do.
IS_KERNEL = re.compile(r"_(ref|cpu|program|avx\w*|amx)\.cpp$")
NOT_IN_OPS = re.compile(
    r"\b(?:parallel_for|find_kernel|float_index|Device::cpu|kCpu|data<|mem(?:cpy|move|set|cmp)\b|(?:copy|fill)_n\b"
    r"|reinterpret_cast|with_dtype|asm|std::(?:copy|fill|move_backward|transform|generate|iota|accumulate|reduce"
    r"|inner_product|for_each|span)\w*\s*[<(])"
)
ADDRESS = r"(?:\braw\(\)|\bstorage\(\)\.data\(\)|->data\(\))"
CAST_IN_C = re.compile(r"\(\s*(?:const\s+)?[\w:]+(?:\s+const)?\s*\*+\s*\)\s*[\w(]")
READS_ON_THE_CPU = {"has_zero.cpp", "check_quantizable.cpp"}  # their ValueErrors need the answer at once


def without_comments(text: str) -> str:
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def closing(text: str, start: int) -> int:
    """Where the bracket at `start` is closed."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    return len(text)


def touches_elements(source: str) -> list[str]:
    """Where a file follows a pointer to a tensor's memory: `*p`, `p[i]`, `p->x` of a cast, or of what holds one."""
    text = without_comments(source)
    found = [m.group() for m in NOT_IN_OPS.finditer(text)] + [m.group() for m in CAST_IN_C.finditer(text)]
    for cast in re.finditer(r"(\*\s*)?\bstatic_cast<[^;(]*\*\s*(?:const)?>", text):
        end = closing(text, text.index("(", cast.end() - 1))
        found += [cast.group()] if cast.group(1) or re.match(r"\s*(\[|->)", text[end + 1 :]) else []
    holders = re.findall(rf"([\w.]+)\s*[={{][^;=]*?(?:static_cast<[^;]*\*>|{ADDRESS})", text)
    holders += re.findall(rf"\*\s*(\w+)\([^;{{}}]*\)\s*(?:const\s*)?\{{\s*return[^;]*{ADDRESS}", text)
    holders += re.findall(r"\b(?:float|double|bool|char|u?int\d*_t|int|\w*Float16|T)\* (?:const )?(\w+)[,);={]", text)
    for name in map(re.escape, set(holders)):
        arguments = r"(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?"
        found += re.findall(rf"\*{name}\b|\b(?<!\.){name}{arguments}\s*(?:\[|->)", text)
    return found


def test_ops_leave_elements_to_kernels():
    own = [path for path in sources(LIBRARY / "ops", ".cpp") if not IS_KERNEL.search(path.name)]
    headers = {
        include for path in own for include in reachable(path) if re.match(r"pyformer/ops/.*(?<!_kernels)\.h", include)
    }
    for path in [*own, *(ROOT / "csrc" / header for header in sorted(headers))]:
        found = touches_elements(path.read_text())
        assert bool(found) == (path.name in READS_ON_THE_CPU), f"{path}: {found}"


def test_the_rule_of_elements_finds_what_it_is_for():
    for fault in (
        "const float y = *static_cast<const float*>(x.raw());",
        "float y = static_cast<float*>(x.raw())[i];",
        "const float* p = static_cast<const float*>(x.raw()); out = p[0];",
        "auto p = static_cast<float*>(x.raw()); *p = 1;",
        "auto p = static_cast<float*>(x.storage().data()); p[i] = 1;",
        "float* p{static_cast<float*>(x.raw())}; for (;;) *p++ = 0;",
        "float* p = (float*)x.raw();",
        "int* ids(const Array& a) { return static_cast<int*>(a.raw()); } int f(Array x) { return ids(x)[0]; }",
        "int* ids(const Array& a) { return static_cast<int*>(a.raw()); } int f(Array x) { return *ids(x); }",
        "static float first(const float* p) { return p[0]; }",
        "std::memmove(out.raw(), x.raw(), n);",
        "std::copy_n(p, n, q);",
        "std::copy(p, p + n, q);",
        "std::span<float> s(p, n);",
        "auto p = reinterpret_cast<float*>(address);",
        "x.data<float>()",
        "with_dtype(x.dtype(), [&]<class T>() {});",
        "args.rows = static_cast<Rows*>(x.raw())->rows;",
    ):
        assert touches_elements(fault), fault
    for right in (
        "args.ids = static_cast<const int64_t*>(ids.raw());",
        "run(op, &Table::f, x, F{x.size(), x.raw(), static_cast<int64_t*>(found.raw())});",
        "p = static_cast<char*>(x.raw()) + row * k * item_bytes(x.dtype());",
        "// *static_cast<float*>(x.raw()) is for kernels",
    ):
        assert not touches_elements(right), right


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


HIDDEN_WAYS = {"importlib", "import_module", "__import__", "modules", "eval", "exec", "vars", "attrgetter", "globals"}


def reaches_into_modules(source: str) -> list[str]:
    """What a model does with `_core`, or with the weight or bias of anything but itself."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ("weight", "bias"):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            found += [] if own else [ast.unparse(node)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
            owner, name = node.args[:2]
            named = isinstance(name, ast.Constant) and name.value not in ("weight", "bias", "_core")
            found += [] if named or ast.unparse(owner) == "self" else [ast.unparse(node)]
        elif isinstance(node, ast.Subscript):
            key = node.slice.value if isinstance(node.slice, ast.Constant) else None
            tensors = re.search(r"\b(state_dict|(named_)?(parameters|buffers))\(|\b__dict__\b", ast.unparse(node.value))
            if tensors or (isinstance(key, str) and re.search(r"\b(weight|bias)$", key)):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            parts = {part for name in names for part in name.split(".")}
            found += [ast.unparse(node)] if parts & {"_core", *HIDDEN_WAYS} else []
        elif (isinstance(node, ast.Attribute) and node.attr in ("_core", "import_module", "__import__")) or (
            isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules"
        ):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Name) and node.id in HIDDEN_WAYS:
            found.append(node.id)
    return found


def test_the_rule_of_models_finds_what_it_is_for():
    for fault in (
        "from pyformer import _core, nn",
        "import pyformer._core as core",
        "import importlib",
        "import importlib.util as u",
        "from importlib import import_module as load",
        "__import__('pyformer._core')",
        "import sys\nsys.modules['pyformer._core']",
        "x = pf._core.zero_",
        "getattr(pf, '_core')",
        "pack(block.attn.c_attn.weight)",
        "norm.bias",
        "getattr(self.head, 'weight')",
        "getattr(self.head, name)",
        "vars(self.head)",
        "from operator import attrgetter",
        "self.head.state_dict()['weight']",
        "state['head.weight']",
        "dict(self.head.named_parameters())[name]",
        "list(self.head.parameters())[0]",
        "self.head.__dict__['_tensors']",
        "eval('self.head' + '.weight')",
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
    r"(train_test|random)_split|DataLoader\._order": "chooses examples of a data set",
    r"CharTokenizer\._encode_piece": "text to numbers",
    r"LanguageModel\._counted": "prepares targets, which come as NumPy arrays",
    r"EncoderDecoder\.(loss|count_targets)": "prepares targets and lengths, which come as NumPy arrays",
    r"Sampler\.(__call__|_penalised)|_highest|_nucleus": "chooses a token: integers and comparisons, sums in float64",
    r"fresh_seed": "a seed of two random numbers",
    r"StateModel\.next_logits": "puts rows back in order",
    r"Ends\.\w+": "where rows end: places and booleans",
    r"LSTM\.\w+|LiquidNetwork\.\w+": "prepares targets and lengths, which come as NumPy arrays",
    r"_from_first_halves": "distances between positions",
    r"array_of": "the bits of bfloat16",
    r"evaluate|sentiment_task.measure": "counts right answers: booleans",
    r"(Translation|search_beams)\.extend": "which row has a NaN: booleans",
    r"picture": "draws",
}


def from_numpy(node: ast.AST, arrays: set[str]) -> bool:
    """Does this come from a numpy() or from NumPy itself, directly or through one of the names `arrays`?"""
    for child in ast.walk(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute) and child.func.attr == "numpy":
            return True
        if isinstance(child, ast.Name) and child.id in arrays:
            return True
    return False


def arrays_in(function: ast.AST) -> set[str]:
    """The names that a function gives to what a numpy() returns."""
    arrays: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.NamedExpr | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if from_numpy(node.value, set()):
                arrays |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return arrays


def numpy_arithmetic(node: ast.AST, name: str = "", arrays: set[str] = frozenset()) -> set[str]:
    """The functions below `node` that call NumPy's arithmetic, or calculate with the result of a numpy()."""
    found: set[str] = set()
    for child in ast.iter_child_nodes(node):
        inner, known = name, arrays
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            inner = f"{name}.{child.name}".lstrip(".")
        if isinstance(child, ast.FunctionDef):
            known = arrays_in(child)
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute) and child.func.attr in ARITHMETIC:
            owner = child.func.value
            if (isinstance(owner, ast.Name) and owner.id == "np") or from_numpy(owner, known):
                found.add(inner)
        if isinstance(child, ast.BinOp | ast.AugAssign) and from_numpy(child, known):
            found.add(inner)
        if isinstance(child, ast.ImportFrom) and child.module and child.module.split(".")[0] == "numpy":
            found.add(inner or "import")
        if isinstance(child, ast.Import) and any(a.name == "numpy" and a.asname != "np" for a in child.names):
            found.add(inner or "import")
        found |= numpy_arithmetic(child, inner, known)
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
    for fault in (
        "def f(x): return x.numpy().sum()",
        "def f(x): return x.detach().numpy()[0].mean(axis=0)",
        "def f(x):\n    a = x.numpy()\n    return a.sum()",
        "def f(x):\n    a = x.numpy()\n    return a * 2",
        "def f(x):\n    a = x.numpy()\n    a += 1",
        "from numpy import exp",
        "import numpy",
        "import numpy as n",
    ):
        assert numpy_arithmetic(ast.parse(fault)), fault
