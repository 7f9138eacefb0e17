"""The type stubs name what the extension has, no more and no less."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import typing
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


USERS_SCRIPT = """
from typing import Any

import numpy as np

import pyformer as pf


class Net(pf.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = pf.nn.Linear(3, 2)

    def forward(self, x: pf.Tensor) -> pf.Tensor:
        y: pf.Tensor = self.out(x)
        return y


class Cube(pf.autograd.Function):
    @staticmethod
    def forward(ctx: pf.autograd.Context, x: pf.Tensor) -> pf.Tensor:
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx: pf.autograd.Context, dout: pf.Tensor) -> pf.Tensor:
        (x,) = ctx.saved_tensors
        return dout * 3.0 * x * x


net = Net()
optimizer = pf.optim.AdamW(net.parameters(), lr=1e-3)
x = pf.randn(4, 3, requires_grad=True)
loss = pf.ops.mse_loss(net(Cube.apply(x)), pf.zeros(4, 2))
loss.backward()
pf.optim.clip_grad_norm_(net.parameters(), 1.0)
optimizer.step()
with pf.no_grad():
    array: np.ndarray[Any, Any] = pf.checkpoint(net, x).numpy()
model = pf.models.GPT(pf.models.GPTConfig(65, 16, 1, 2, 8))
ids = model.generate([[1, 2]], 3, temperature=0).numpy()
again = pf.from_pretrained("runs/x").generate(ids, 3)
print(f"{loss.item():.3f}", pf.__version__, pf.get_num_threads(), pf.asarray(array).shape, pf.float32, again)
"""


def test_a_users_script_passes_strict_type_checking(tmp_path):
    (tmp_path / "script.py").write_text(USERS_SCRIPT)
    installed = "site-packages" in FOLDER.parts  # mypy knows such folders itself
    environment = {**os.environ, **({} if installed else {"MYPYPATH": str(FOLDER.parent)})}
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *options, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_signatures_and_hints_of_everything_public_can_be_read():
    compiled = {"instancemethod", "builtin_function_or_method", "pybind11_type"}  # their types stand in the stubs
    for room in (pf, pf.ops, pf.Tensor, pf.nn, pf.optim, pf.autograd, pf.data, pf.training, pf.tokenizers):
        for name in dir(room):
            thing = getattr(room, name)
            if name.startswith("_") or not callable(thing) or type(thing).__name__ == "pybind11_type":
                continue
            inspect.signature(thing)
            if type(thing).__name__ not in compiled:
                typing.get_type_hints(thing)
