"""The figures of speed in README and on the pages are those of bench/RESULTS.md."""

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


def test_the_settings_are_those_that_are_read():
    sources = [*(ROOT / "pyformer").rglob("*.py"), *(ROOT / "csrc" / "pyformer").rglob("*.cpp")]
    text = "".join(path.read_text() for path in sources if "emulat" not in path.name)
    read = set(re.findall(r'(?:getenv\(|environ\.get\(|environ\[)"(PYFORMER_[A-Z_]+)"', text))
    assert len(read) > 3
    settings = (ROOT / "README.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    assert read - {"PYFORMER_DEVICE_PATH"} <= set(re.findall(r"^\| `(\w+)`", settings, re.MULTILINE))


def figures(work: str, rival: str, column: int) -> list[float]:
    """What the rows of bench/RESULTS.md have in a column, of work and rivals that fit these patterns."""
    rows = [line for line in map(cells, RESULTS.splitlines()) if len(line) == 8]
    found = [row[column] for row in rows if re.match(work, row[0]) and re.match(rival, row[3])]
    return [float(re.match(r"[\d.]+", value)[0]) for value in found]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_the_comparison_says_what_was_measured():
    ratios = figures("training step", "torch", 6)
    assert f"training steps are {min(ratios):.1f} to {max(ratios):.1f} times as fast" in page("comparison.md")
    ratios = figures(r"SmolLM2 .* decode, 32\+32", "llama.cpp", 6)
    assert f"{min(ratios):.1f} to {max(ratios):.1f} times as many tokens per second" in page("comparison.md")
    ours, theirs = (figures(".* process start to first token", "llama.cpp", column)[0] for column in (1, 4))
    assert f"in {ours:.1f} s after {theirs:.1f} s" in page("comparison.md")


def test_the_pages_say_what_bfloat16_four_bits_and_guesses_gained():
    ratios = figures("matmul .* bfloat16", "pyformer float32", 6)
    assert f"were {min(ratios):.0f} to {max(ratios):.0f} times as fast" in page("precision.md")
    ratios = figures("training step .* bfloat16", "pyformer float32", 6)
    assert f"training steps {min(ratios):.1f} to {max(ratios):.1f} times" in page("precision.md")
    few, float32 = (figures(rf"SmolLM2 {kind} decode, 32\+32", "llama.cpp", 1)[0] for kind in ("Q4_1", "float32"))
    assert f"{few:.0f} tokens per second with its file's 4 bits and {float32:.0f} in float32" in page("quantization.md")
    few, float32 = (figures(f"SmolLM2 {kind} spelling", "own without", 6)[0] for kind in ("Q4_1", "float32"))
    said = f"{few:.1f} times as fast with its file's 4 bits and {float32:.1f} times in float32"
    assert said in page("generation.md")
