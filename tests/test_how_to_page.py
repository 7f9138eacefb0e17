"""The Python of docs/how-to.md runs, block after block; the commands of docs/command-line.md are those there are."""

from __future__ import annotations

import re
from pathlib import Path

from pyformer.cli import make_parser

DOCS = Path(__file__).parents[1] / "docs"


def test_every_block_runs(tmp_path, monkeypatch):
    page = (DOCS / "how-to.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "how_to"}
    for block in blocks:
        exec(compile(block, "docs/how-to.md", "exec"), names)


def test_the_commands_are_those_there_are():
    table = re.findall(r"^\| `(\w+)` \|", (DOCS / "command-line.md").read_text(), re.MULTILINE)
    assert set(table) <= set(make_parser().commands)
    assert set(make_parser().commands) - set(table) <= {"chat", "embed", "classify", "quantize"}
