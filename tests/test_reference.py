"""Every public name has a docstring with an example that runs, says what it raises, and stands on a reference page."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_data

import pyformer as pf
from pyformer import datasets

PAGES = Path(__file__).parents[1] / "docs" / "reference"
MODULES = [
    "ops",
    "nn",
    "nn.functional",
    "nn.init",
    "optim",
    "optim.lr_scheduler",
    "random",
    "models",
    "generation",
    "training",
    "formats",
    "data",
    "datasets",
    "tokenizers",
    "autograd",
    "cuda",
    "lora",
]

# What cannot raise, whatever it is given.
RAISES_NOTHING = {
    "pyformer.Tensor.bfloat16",
    "pyformer.Tensor.bool",
    "pyformer.Tensor.contiguous",
    "pyformer.Tensor.cpu",
    "pyformer.Tensor.detach",
    "pyformer.Tensor.dim",
    "pyformer.Tensor.double",
    "pyformer.Tensor.element_size",
    "pyformer.Tensor.float",
    "pyformer.Tensor.half",
    "pyformer.Tensor.int",
    "pyformer.Tensor.is_contiguous",
    "pyformer.Tensor.is_floating_point",
    "pyformer.Tensor.long",
    "pyformer.Tensor.nelement",
    "pyformer.Tensor.tolist",
    "pyformer.cuda.DeviceProperties",
    "pyformer.cuda.device_count",
    "pyformer.cuda.is_available",
    "pyformer.cuda.why",
    "pyformer.datasets.DataUnavailable",
    "pyformer.datasets.cache_folder",
    "pyformer.empty_cache",
    "pyformer.formats.Entry",
    "pyformer.formats.display_name",
    "pyformer.get_default_dtype",
    "pyformer.get_num_threads",
    "pyformer.is_grad_enabled",
    "pyformer.is_tensor",
    "pyformer.nn.inference",
    "pyformer.nn.init.outlines",
    "pyformer.nn.init.skip",
    "pyformer.nn.init.skipped",
    "pyformer.optim.ConstantSchedule",
    "pyformer.random.get_state",
    "pyformer.optim.CosineSchedule",
    "pyformer.optim.LinearSchedule",
    "pyformer.show_config",
}


def names_of(module: Any) -> list[str]:
    """__all__, or what the module itself defines."""
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
    return getattr(module, "__all__", [n for n in own if not n.startswith("_")])


def public() -> Iterator[tuple[str, Any]]:
    """(dotted name, object) of all that has a docstring of its own: functions, classes, and Tensor's members."""
    for name in names_of(pf):
        yield f"pyformer.{name}", getattr(pf, name)
    for module in MODULES:
        found = importlib.import_module(f"pyformer.{module}")
        for name in names_of(found):
            yield f"pyformer.{module}.{name}", getattr(found, name)
    for name in dir(pf.Tensor):
        if not name.startswith("_"):
            yield f"pyformer.Tensor.{name}", getattr(pf.Tensor, name)


def documented(item: tuple[str, Any]) -> bool:
    """Not modules, which have pages, nor values such as pf.float32, which stand in DType's docstring."""
    return not inspect.ismodule(item[1]) and (callable(item[1]) or inspect.isdatadescriptor(item[1]))


# A name that is there twice, such as pf.no_grad, is one object.
NAMES = {id(thing): (name, thing) for name, thing in reversed(list(filter(documented, public())))}
ITEMS = sorted(NAMES.values())


def text_of(thing: Any) -> str:
    """The docstring without pybind11's signature."""
    text = inspect.cleandoc(thing.__doc__ or "")
    return re.sub(r"\A[\w.]+\(.*\)( -> .*)?\n+", "", text)


def run_examples(name: str, text: str, folder: Path) -> str:
    """What the examples print in place of what they say; empty if they are right."""
    names = {"np": np, "pf": pf, "folder": folder}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    out: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=out.append)
    return "".join(out)


def skip_without_what_it_needs(name: str, thing: Any) -> None:
    """Skips a name whose example needs data that can't be had, or an extra that is not installed."""
    if name.startswith("pyformer.datasets.") and "DataUnavailable: " in text_of(thing):
        real_data.load(thing)
    for model in (datasets.smollm2, datasets.minilm):
        if f"pf.datasets.{model.__name__}()" in text_of(thing):
            real_data.load(model)
            pytest.importorskip("tokenizers")
    if name == "pyformer.chat":
        pytest.importorskip("jinja2")
    if name == "pyformer.tokenizers.BPETokenizer":
        pytest.importorskip("tokenizers")


@pytest.mark.parametrize(("name", "thing"), ITEMS, ids=[name for name, _ in ITEMS])
def test_public_name_is_documented(name, thing, tmp_path, monkeypatch):
    text = text_of(thing)
    assert text, "has no docstring"
    assert re.search(r"^Example:\n    >>> ", text, re.MULTILINE), "has no example"
    examples = doctest.DocTestParser().get_examples(text)
    assert any(example.want for example in examples) or len(examples) == 1, "no example prints anything"
    can_raise = name not in RAISES_NOTHING and not isinstance(thing, property)
    assert not can_raise or re.search(r"^Raises:\n    \w+: ", text, re.MULTILINE), "does not say what it raises"
    skip_without_what_it_needs(name, thing)
    monkeypatch.chdir(tmp_path)
    assert not run_examples(name, text, tmp_path)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that the class itself defines."""
    for name, thing in vars(cls).items():
        if not name.startswith("_") and (callable(thing) or isinstance(thing, (property, classmethod, staticmethod))):
            yield name, thing


CLASSES = [(name, thing) for name, thing in ITEMS if inspect.isclass(thing) and "_core" not in thing.__module__]


@pytest.mark.parametrize(("name", "cls"), CLASSES, ids=[name for name, _ in CLASSES])
def test_public_methods_have_docstrings(name, cls):
    bare = [member for member, thing in members(cls) if not inspect.getdoc(getattr(cls, member))]
    assert bare == []


ROOMS = ("nn", "optim", "data", "training")
IN_ROOMS = [(name, cls) for name, cls in CLASSES if name.split(".")[1] in ROOMS]


@pytest.mark.parametrize(("name", "cls"), IN_ROOMS, ids=[name for name, _ in IN_ROOMS])
def test_docstring_of_a_class_names_each_argument(name, cls):
    text = text_of(cls)
    for argument in inspect.signature(cls).parameters:
        assert re.search(rf"^ +(\w+, )*{argument}(, \w+)*: ", text, re.MULTILINE), argument


def on_pages() -> set[int]:
    """What the pages name; a function has a name in several places and stands on a page under one of them."""
    pattern = r"^\.\. auto\w+:: (pyformer[\w.]*)$"
    names = {n for page in PAGES.glob("*.md") for n in re.findall(pattern, page.read_text(), re.MULTILINE)}
    return {id(pydoc.locate(name)) for name in names}


def test_every_public_name_is_on_a_page():
    shown = on_pages()
    members_of_tensor = {name for name, _ in ITEMS if name.startswith("pyformer.Tensor.")}  # by :members:
    assert sorted({name for name, thing in ITEMS if id(thing) not in shown} - members_of_tensor) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (">>> 1 + 1\n2", ""),
        (">>> 1 + 1\n3", "Expected:\n    3"),
        (">>> undefined", "NameError"),
        (">>> pf.zeros(1).item()\n1.0", "Got:\n    0.0"),
    ],
)
def test_a_wrong_example_is_noticed(text, fault, tmp_path):
    printed = run_examples("example", text, tmp_path)
    assert fault in printed
    assert bool(printed) == bool(fault)
