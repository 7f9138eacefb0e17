"""Sphinx's settings. `python docs/build.py` builds the site from the installed package or this checkout."""

from __future__ import annotations

import ast
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

ROOT = Path(__file__).parents[1]
if find_spec("pyformer") is None:
    sys.path.insert(0, str(ROOT))

import pyformer as pf  # noqa: E402

project = "pyformer"
version = release = pf.__version__
author = "the pyformer authors"

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "myst_parser"]
html_theme = "furo"
html_title = f"pyformer {version}"
html_copy_source = False
html_show_sourcelink = False
exclude_patterns = ["README.md"]
default_role = "code"
smartquotes = False
maximum_signature_line_length = 88

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
suppress_warnings = ["myst.header"]

autosummary_generate = False
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "config_class, model_class, training",
}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False


# ---- signatures of compiled functions: from the stubs ---------------------------------------------------------------


def stub_signatures() -> dict[str, tuple[str, str]]:
    """Dotted name, as the pages have it -> (arguments, returned type), of what `pyformer/_core/*.pyi` declares."""
    folder = Path(pf.__file__).parent / "_core"
    found: dict[str, tuple[str, str]] = {}

    def read(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                read(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                arguments = re.sub(r"^self(, )?", "", ast.unparse(node.args))
                found.setdefault(
                    prefix + node.name, (f"({arguments})", ast.unparse(node.returns or ast.Constant(None)))
                )

    read(ast.parse((folder / "__init__.pyi").read_text()).body, "pyformer.")
    read(ast.parse((folder / "ops.pyi").read_text()).body, "pyformer.ops.")
    return found


STUBS = stub_signatures()


def signature_from_stub(_app: Any, _what: str, name: str, _obj: Any, _options: Any, signature: str, returns: str):
    is_own = isinstance(_obj, FunctionType) and not name.startswith("pyformer.Tensor.")  # pf.rand, around the core's
    return STUBS.get(name) if signature and not is_own else None


# ---- docstrings: plain text for help(), made safe for reStructuredText ----------------------------------------------


def escaped(text: str) -> str:
    return re.sub(r"([*|\\]|_(?!\w))", r"\\\1", text)


def to_restructured(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Outside of examples and `code`, * and | and a _ at the end of a word are themselves."""
    in_example = False
    for i, line in enumerate(lines):
        in_example = bool(line.strip()) and (in_example or line.lstrip().startswith(">>>"))
        if not in_example:
            parts = re.split(r"(`[^`]+`)", line)
            lines[i] = "".join(
                f"`{p}`" if p.startswith("`") else re.sub(r"([*|\\]|_(?!\w))", r"\\\1", p) for p in parts
            )


def setup(app: Any) -> None:
    app.connect("autodoc-process-signature", signature_from_stub)
    app.connect("autodoc-process-docstring", to_restructured, priority=400)  # before napoleon
