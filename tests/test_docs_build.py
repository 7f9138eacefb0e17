"""docs/build.py notices links that lead nowhere and pages that would load something from the network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "build.py"


def build():
    spec = importlib.util.spec_from_file_location("docs_build", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            '<h1 id="top">x</h1><a href="#top">up</a><a href="other.html#there">on</a><a href="https://x.org">out</a>',
            None,
        ),
        ('<a href="missing.html">x</a>', "missing.html leads nowhere"),
        ('<a href="#nowhere">x</a>', "#nowhere names no anchor"),
        ('<a href="other.html#nowhere">x</a>', "other.html#nowhere names no anchor"),
        ('<img src="picture.svg">', "picture.svg leads nowhere"),
        ('<script src="https://cdn.example/x.js"></script>', "loads https://cdn.example/x.js"),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "loads //cdn.example/x.css"),
    ],
)
def test_faults_of_a_page(body, fault, tmp_path):
    (tmp_path / "page.html").write_text(body)
    (tmp_path / "other.html").write_text('<p id="there">x</p>')
    found = build().faults(tmp_path)
    assert len(found) == (fault is not None)
    assert fault is None or fault in found[0]
