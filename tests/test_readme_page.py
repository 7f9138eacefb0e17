"""README's figures of speed are those of bench/RESULTS.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SPEED = (ROOT / "README.md").read_text().partition("\n## Speed\n")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\|.*\|$", SPEED, re.MULTILINE)[2:]  # below the head and its rule
RESULTS = (ROOT / "bench" / "RESULTS.md").read_text()


def cells(row: str) -> list[str]:
    return [cell.strip(" *`") for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0])
def test_a_row_is_one_of_the_results(row):
    _work, ours, rival, theirs, ratio, limit = cells(row)
    wanted = [ours, rival, theirs, ratio, limit]
    found = [line for line in map(cells, RESULTS.splitlines()) if len(line) == 8]
    assert wanted in [[line[1], line[3], line[4], line[6], line[7]] for line in found]


def test_there_is_a_table_with_machine_and_date():
    date = re.search(r"^- (\d{4}-\d\d-\d\d)T", RESULTS, re.MULTILINE)[1]
    machine = re.search(r"^- (.*?), \d+ cores", RESULTS, re.MULTILINE)[1]
    assert len(ROWS) > 5
    assert date in SPEED
    assert machine in SPEED


def test_the_comparison_says_how_fast_training_steps_are():
    rows = [cells(line) for line in RESULTS.splitlines() if line.startswith("| training step")]
    ratios = [float(row[6].rstrip("x")) for row in rows if row[3].startswith("torch")]
    page = (ROOT / "docs" / "comparison.md").read_text()
    assert f"training steps are {min(ratios):.1f} to {max(ratios):.1f} times as fast" in page


def test_the_comparison_says_what_llama_cpp_gives():
    rows = [cells(line) for line in RESULTS.splitlines() if " llama.cpp | " in line and line.startswith("| SmolLM2")]
    writing = [float(row[6].rstrip("x")) for row in rows if row[0].endswith("decode, 32+32 tokens")]
    start = next(row for row in rows if row[0].endswith("process start to first token"))
    page = (ROOT / "docs" / "comparison.md").read_text()
    assert f"{min(writing):.1f} to {max(writing):.1f} times as many tokens per second" in page
    ours, theirs = (float(start[i].removesuffix(" s")) for i in (1, 4))
    assert f"in {ours:.1f} s after {theirs:.1f} s" in page
