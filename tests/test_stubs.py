"""The type stubs name what the extension has, no more and no less."""

from __future__ import annotations

import ast
from pathlib import Path

import pyformer as pf
from pyformer import _core

FOLDER = Path(pf.__file__).parent
STUBS = FOLDER / "_core"


def defined(body: list[ast.stmt]) -> set[str]:
    names = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return names | {n.target.id for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}


def public(obj: object) -> set[str]:
    return {name for name in dir(obj) if not name.startswith("_")}


def test_package_is_marked_as_typed():
    assert (FOLDER / "py.typed").exists()


def test_core_stub_is_complete():
    tree = ast.parse((STUBS / "__init__.pyi").read_text())
    assert {n for n in defined(tree.body) if not n.startswith("_")} == public(_core) - {"ops"}
    classes = {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}
    for name, node in classes.items():
        stubbed = {n for n in defined(node.body) if not n.startswith("_")}
        assert stubbed == public(getattr(_core, name)), name


def test_ops_stub_is_complete():
    tree = ast.parse((STUBS / "ops.pyi").read_text())
    assert defined(tree.body) == public(_core.ops)
