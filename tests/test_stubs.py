"""The type stubs name what the extension has, no more and no less."""

from __future__ import annotations

import ast
import copy
import inspect
import os
import pickle
import pydoc
import subprocess
import sys
import typing
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_reference import names_of

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


ROOMS = [
    *(pf, pf.ops, pf.Tensor, pf.QuantizedWeight, pf.device, pf.nn, pf.nn.init, pf.nn.functional, pf.nn.utils, pf.optim),
    *(pf.optim.lr_scheduler, pf.autograd, pf.random, pf.cuda, pf.models, pf.generation, pf.data, pf.datasets),
    *(pf.training, pf.tokenizers, pf.lora, pf.amp, pf.utils),
]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_signature_hints_and_help_of_everything_public(room):
    for name in dir(room) if inspect.isclass(room) else names_of(room):
        thing = getattr(room, name)
        is_exception = inspect.isclass(thing) and issubclass(thing, BaseException)
        cannot_be_made = thing is pf.Tensor
        if name.startswith("_") or not callable(thing) or is_exception or cannot_be_made:
            continue
        parameters = inspect.signature(thing).parameters
        hints = typing.get_type_hints(thing)
        if inspect.isclass(thing) and inspect.isfunction(thing.__init__):
            assert set(typing.get_type_hints(thing.__init__)) - {"return"} <= {*parameters, "self"}, name
        if not inspect.isclass(thing):
            typed = {n for n, p in parameters.items() if p.annotation is not inspect.Parameter.empty}
            assert typed - {"self"} <= set(hints), name
        assert thing.__name__ in pydoc.plain(pydoc.render_doc(thing)), name


def test_hints_of_compiled_functions_are_those_of_the_stubs():
    hints = typing.get_type_hints(pf.Tensor.mean)
    assert hints == {"axis": int | Sequence[int] | None, "keepdims": bool, "return": pf.Tensor}
    assert typing.get_type_hints(pf.ones(2).mean) == hints
    assert typing.get_type_hints(pf.ops.softmax) == {"x": pf.Tensor, "axis": int, "return": pf.Tensor}
    assert typing.get_type_hints(pf.Tensor.absolute) == {"x": pf.Tensor, "return": pf.Tensor}
    assert typing.get_type_hints(pf.tensor)["requires_grad"] is bool
    for room, owner in (
        (_core, ""),
        (_core.ops, "ops"),
        (pf.Tensor, "Tensor"),
        (pf.QuantizedWeight, "QuantizedWeight"),
    ):
        for name, thing in vars(room).items():
            if type(thing).__name__ == "compiled_function" and owner != "Tensor":
                hints = typing.get_type_hints(thing)
                assert set(hints) == {"return", *inspect.signature(thing).parameters} - {"self"}, name


def test_compiled_functions_are_copied_by_name_and_bind_as_methods():
    for function in (pf.ops.relu, pf.Tensor.mean, pf.tensor, pf.QuantizedWeight.dequantize):
        assert copy.deepcopy(function) is function
        assert pickle.loads(pickle.dumps(function)) is function
        assert inspect.isroutine(function)
    x = pf.tensor([1.0, -3.0])
    assert pickle.loads(pickle.dumps(x.mean))().item() == -1.0
    assert (pf.Tensor.mean(x).item(), x.absolute().tolist(), x.sum(dim=0).item()) == (-1.0, [1.0, 3.0], -2.0)
    assert (pf.ops.relu.__name__, pf.ops.relu.__module__) == ("relu", "pyformer._core.ops")
    assert pf.Tensor.mean.__doc__.startswith("The mean")
    assert not hasattr(pf.ops.relu, "absent")
