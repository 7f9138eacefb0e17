"""The types of compiled functions, read from the stub files when somebody asks: for `typing.get_type_hints`."""

from __future__ import annotations

import ast
import collections.abc
import functools
from pathlib import Path
from typing import Any

import numpy as np

from pyformer import _core

_STUBS = Path(__file__).parent / "_core"


def of(owner: str, name: str) -> dict[str, Any]:
    """The types of a function's arguments and result by name; nothing where the stub has no such function.

    Args:
        owner: the class that it is a method of, "ops", or "" for the core itself.
        name: the function's.
    """
    node = _functions(owner).get(name)
    if node is None:
        return {}
    arguments = [*node.args.posonlyargs, *node.args.args, node.args.vararg, *node.args.kwonlyargs, node.args.kwarg]
    written = {a.arg: a.annotation for a in arguments if a is not None and a.annotation is not None}
    return {name: _evaluated(note) for name, note in {**written, "return": node.returns}.items() if note is not None}


@functools.cache
def _functions(owner: str) -> dict[str, ast.FunctionDef]:
    path = _STUBS / ("ops.pyi" if owner == "ops" else "__init__.pyi")
    body: Any = ast.parse(path.read_text(encoding="utf-8")).body if path.exists() else []
    if owner not in ("", "ops"):
        body = [part for node in body if isinstance(node, ast.ClassDef) and node.name == owner for part in node.body]
    # Of several signatures the first is shown, as in help().
    return {node.name: node for node in reversed(body) if isinstance(node, ast.FunctionDef)}


def _evaluated(note: ast.expr) -> Any:
    return eval(ast.unparse(note), _words())


@functools.cache
def _words() -> dict[str, Any]:
    """What the stubs' annotations mean."""
    own = {name: getattr(_core, name) for name in dir(_core)}
    plain = {"_bool": bool, "_float": float, "_int": int, "_Device": _core.device, "_Place": str | _core.device | None}
    types = {"Any": Any, "np": np, **{n: getattr(collections.abc, n) for n in ("Callable", "Iterator", "Sequence")}}
    return {**own, **plain, **types}
