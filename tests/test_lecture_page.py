"""docs/lecture.md: its numbers and drawings are the library's; the model of its page knows its language."""

from __future__ import annotations

import importlib.util
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import pyformer as pf
from pyformer.cli import explain
from pyformer.cli.explain_models import steps_of
from pyformer.cli.explain_steps import compute

DOCS = Path(__file__).parents[1] / "docs"


def module(path):
    spec = importlib.util.spec_from_file_location(f"docs_{path.parent.name}_{path.stem}", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def lecture():
    before = list(sys.path)
    yield module(DOCS / "lecture" / "make.py")
    sys.path[:] = before


def test_every_number_is_computed(lecture):
    page = (DOCS / "lecture.md").read_text()
    made = lecture.filled(page)
    for mine, theirs in zip(made.splitlines(), page.splitlines(), strict=True):
        assert mine == theirs
    with pytest.raises(ValueError, match="numbers: root"):
        lecture.filled(page.replace("<!-- numbers: root -->", ""))


def test_drawings_are_those_of_the_script(lecture):
    page = (DOCS / "lecture.md").read_text()
    for name, draw in lecture.DRAWINGS.items():
        assert f"(lecture/{name})" in page
        assert (DOCS / "lecture" / name).read_text() == draw()
        ET.fromstring(draw())


def test_the_model_of_the_page_knows_its_language():
    make = module(DOCS / "explain" / "make.py")
    model, tokenizer = pf.from_pretrained(DOCS / "explain"), pf.load_tokenizer(DOCS / "explain")
    assert tokenizer.words == make.WORDS
    with pf.no_grad():
        assert make.right_verbs(model, tokenizer, 60) > 0.95
    for subject, verb in (("dog", "barks"), ("dogs", "bark")):  # exercise 7
        ids = tokenizer.encode(f"the {subject} behind the small birds").tolist()
        values = compute(steps_of(model), ids)
        assert values["weights 2"][1, 5, 1].item() > 0.9
        assert values["weights 1"][1, 5, 2].item() > 0.5
        likeliest = [tokenizer.words[i] for i in (-values["logits"][5]).argsort().tolist()]
        verbs = make.WORDS[-2 * len(make.VERBS) :]
        assert next(word for word in likeliest if word in verbs) == verb
    texts = module(DOCS / "build.py").TEXTS
    assert len(explain.page("A transformer at work", model, tokenizer, texts)) < 300_000
