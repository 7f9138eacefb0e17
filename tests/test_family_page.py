"""docs/family.md: its tables and drawings are those of the records beside it, and every number of a run is in them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pyformer.experiments import compare, compare_models, compare_report, compare_tasks

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "family.md").read_text()
RECORDS = {path.parent.name: json.loads(path.read_text()) for path in DOCS.glob("family/*/results.json")}
BLOCK = re.compile(r"<!-- compare: ([\w-]+) -->\n.*?<!-- end of \1 -->\n", re.DOTALL)


@pytest.mark.parametrize("part", RECORDS)
def test_a_part_is_that_of_its_record(part):
    record = RECORDS[part]
    assert compare_report.part_of(record) == part
    assert compare_report.block(record, f"family/{part}") in PAGE
    pictures = compare_report.page_drawings(record)
    assert {path.name for path in (DOCS / "family" / part).iterdir()} == {*pictures, "results.json"}
    for name, picture in pictures.items():
        assert (DOCS / "family" / part / name).read_text() == picture
        ET.fromstring(picture)


def test_there_is_a_part_for_each_record_and_one_for_each_task():
    assert sorted(match.group(1) for match in BLOCK.finditer(PAGE)) == sorted(RECORDS)
    assert {record["settings"]["task"] for record in RECORDS.values()} == set(compare_tasks.TASKS)


@pytest.mark.parametrize("part", RECORDS)
def test_models_were_equal_in_size_and_budget(part):
    settings, results = RECORDS[part]["settings"], RECORDS[part]["results"]
    assert list(results) == settings["models"]
    for result in results.values():
        assert abs(result["parameters"] / settings["parameters"] - 1) <= compare.TOLERANCE
        if settings["steps"]:
            assert result["steps"] == settings["steps"]
        else:
            # The last step may end a little later.
            assert settings["seconds"] <= result["seconds"] <= 1.1 * settings["seconds"] + 0.5


def test_the_prose_names_every_model_and_measures_nothing():
    prose = BLOCK.sub("", PAGE)
    for record in RECORDS.values():
        for name in record["results"]:
            assert f"`{name}`" in prose
    assert not re.search(r"\d (nats|MB|ms|GB)\b|\d (characters|values|sentences|tokens)/s", prose)
    assert f"windows of {compare_tasks.CONTEXT}" in prose
    assert f"series of {compare_tasks.OBSERVATIONS} kicks" in prose
    assert f"the last {compare_models.WINDOW} kicks" in prose


def test_the_order_changes_with_ten_times_as_many_steps():
    """As the page's prose says."""
    short, long = (RECORDS[part]["results"] for part in ("text-500-steps", "text-5000-steps"))

    def loss(results, name):
        losses = results[name].get("losses") or [results[name]["loss"]]
        return sum(losses) / len(losses)

    for transformer in ("llama", "gpt"):
        assert loss(short, "mlp") < loss(short, transformer)
        assert loss(long, "mlp") > loss(long, transformer) + 0.1
        lead_before, lead = (loss(results, transformer) - loss(results, "gru") for results in (short, long))
        assert 0 < lead < lead_before / 4
        lead_before, lead = (loss(results, transformer) - loss(results, "liquid") for results in (short, long))
        assert round(lead / lead_before, 2) == {"gpt": 0.25, "llama": 0.33}[transformer]
    assert all(min(results, key=lambda name: loss(results, name)) in ("gru", "liquid") for results in (short, long))
    assert abs(loss(short, "lstm") - loss(short, "llama")) < 0.01 < 0.05 < loss(long, "lstm") - loss(long, "llama")
    assert loss(short, "gpt") - loss(short, "lstm") > 0.2 > 0.01 > abs(loss(long, "gpt") - loss(long, "lstm"))
    assert all(result["learning_rate"] == 0.01 for result in long.values())
    assert all(short[name]["learning_rate"] == 0.003 for name in ("llama", "gpt"))
