"""docs/derivation.md: its code is the library's, its table and claims are those of the run it shows."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pyformer.experiments import derive, derive_report, derive_tasks
from pyformer.models.derivation import POSITIONS, WORD_RUNGS

DOCS = Path(__file__).parents[1] / "docs"
_SPEC = importlib.util.spec_from_file_location("derivation_seeds", DOCS / "derivation" / "seeds.py")
seeds = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(seeds)
PAGE = (DOCS / "derivation.md").read_text()
RECORD = json.loads((DOCS / "derivation" / "results.json").read_text())
RESULTS = RECORD["results"]
MARKED = re.findall(r"<!-- code: (\S+) -->\n```python\n(.*?)```\n", PAGE, re.DOTALL)


@pytest.mark.parametrize(("name", "code"), MARKED, ids=[name for name, _ in MARKED])
def test_code_on_the_page_is_the_code_that_runs(name, code):
    shown = importlib.import_module("pyformer.models.derivation")
    for part in name.split("."):
        shown = getattr(shown, part)
    assert code == textwrap.dedent(inspect.getsource(shown))


def test_every_rung_and_place_is_on_the_page():
    names = {name.split(".")[0] for name, _ in MARKED}
    for layer in (*(layer for layer, _ in WORD_RUNGS.values()), *POSITIONS.values()):
        assert layer.__name__ in names
    assert PAGE.count("```python") == len(MARKED)


def test_table_and_drawings_are_those_of_the_run():
    assert derive_report.table(RESULTS) in PAGE
    assert derive_report.probes(RESULTS) in PAGE
    assert RECORD["date"] in PAGE
    for name, picture in derive_report.drawings(RESULTS).items():
        assert f"(derivation/{name})" in PAGE
        assert (DOCS / "derivation" / name).read_text() == picture
        ET.fromstring(picture)


def accuracy(kind, name):
    return RESULTS[f"{kind}/{name}"]["accuracy"]


def test_the_run_was_whole():
    everything = {derive_tasks.PICTURES, derive_tasks.SENTIMENT, derive_tasks.NEXT_WORD}
    assert {name.split("/")[0] for name in RESULTS} > everything


def test_far_words_defeat_the_convolution():
    near_end = 2 * 2
    by_distance = {
        name: RESULTS[f"distance/{name}"]["by_distance"] for name in ("convolution", "attention", "transformer")
    }
    for distance in derive.DISTANCES:
        at = str(distance)
        if distance > near_end:
            # Chance is 1 in 16.
            assert by_distance["convolution"][at] < 0.15
        else:
            assert by_distance["convolution"][at] > 0.9
        assert by_distance["attention"][at] > 0.95
        assert by_distance["transformer"][at] > 0.95


def test_a_sum_loses_order_without_places():
    assert abs(accuracy("order", "sum") - 0.5) < 0.1
    for position in POSITIONS:
        assert accuracy("order", f"sum + {position}") > 0.85


def test_plain_sums_blur():
    plain = [accuracy("lookup", f"sum + learned/{n}") for n in derive.LOOKUP_LENGTHS]
    assert plain == sorted(plain, reverse=True)
    assert plain[-1] < 0.2
    for n in (4, 8, 16):
        assert accuracy("lookup", f"importance/{n}") > 0.9
    for n in derive.LOOKUP_LENGTHS:
        assert accuracy("lookup", f"transformer/{n}") > 0.95


def test_linear_scores_save_time_and_cost_little():
    pairs, linear = RESULTS["sentiment/importance"], RESULTS["sentiment/attention"]
    assert linear["step_ms"] < pairs["step_ms"] / 4
    assert linear["peak_mb"] < pairs["peak_mb"] / 4
    assert linear["accuracy"] > pairs["accuracy"] - 0.04
    for n in (4, 8, 16):
        assert accuracy("lookup", f"attention/{n}") > accuracy("lookup", f"importance/{n}") - 0.02


def test_residuals_give_the_next_word_back():
    losses = {name: RESULTS[f"next word/{name}"]["loss"] for name in WORD_RUNGS}
    assert losses["attention"] > losses["importance"]
    assert losses["residual"] < losses["mlp"] - 0.5
    assert min(losses, key=losses.get) == "transformer"


def test_normalisation_bears_a_large_learning_rate():
    loss = {
        key: RESULTS[f"rate/{key}"]["loss"] for key in ("residual/0.003", "residual/0.03", "norm/0.003", "norm/0.03")
    }
    assert abs(loss["residual/0.003"] - loss["norm/0.003"]) < 0.05
    assert loss["residual/0.03"] > 5.0
    assert loss["norm/0.03"] < loss["norm/0.003"]


def test_pairs_of_pairs_grow_with_the_fourth_power():
    assert RESULTS["growth/pairs of pairs"]["mb_power"] > 3.5
    assert RESULTS["growth/sum"]["mb_power"] < 2.1


@pytest.mark.parametrize("name", ["order/sum", "lookup/attention/16", "lookup/transformer/32", "distance/convolution"])
def test_today_gives_what_the_record_holds(name):
    settings = RECORD["settings"]
    job = derive.make_jobs({}, derive.Budget(settings["steps"], settings["seconds"]), settings["seed"])[name]
    result = job(lambda done, text: None)
    timed = {"step_ms", "peak_mb"}
    assert {k: v for k, v in result.items() if k not in timed} == {
        k: v for k, v in RESULTS[name].items() if k not in timed
    }


def test_tables_of_more_seeds_are_those_of_their_record():
    record = json.loads((DOCS / "derivation" / "seeds.json").read_text())
    assert seeds.filled(PAGE, record) == PAGE
    assert set(re.findall(r"<!-- numbers: ([\w ]+) -->", PAGE)) == set(seeds.BLOCKS)
    for rung in seeds.RUNGS[:5]:
        assert len(seeds.losses(record, rung)) > 1


def test_what_the_tables_of_more_seeds_say():
    record = json.loads((DOCS / "derivation" / "seeds.json").read_text())

    def steps(before, after):
        return [b - a for a, b in zip(seeds.losses(record, before), seeds.losses(record, after), strict=True)]

    assert max(steps("mlp", "residual")) < -0.5
    # A residual gives back the word itself even where attention is blind for it.
    blind = seeds.losses(record, "x + attention, own word hidden")
    assert max(blind) < min(seeds.losses(record, "attention")) - 0.3
    # What hiding the own word costs, with and without a residual, of three seeds each.
    plain = seeds.with_error(steps("attention", "attention, own word hidden"))
    added = seeds.with_error(steps("x + attention", "x + attention, own word hidden"))
    assert f"seed by seed {plain}, and {added} where attention is added to x" in PAGE
    assert {len(seeds.losses(record, name)) for name in ("attention", *seeds.LAYERS)} == {3}


def test_the_steps_at_a_glance_are_measured():
    record = json.loads((DOCS / "derivation" / "seeds.json").read_text())
    rows = dict(re.findall(r"^\| (\d+), (.*) \|$", PAGE.partition("## The steps at a glance")[2], re.MULTILINE))

    def percent(name, distance=None):
        found = RESULTS[name]
        return f"{found['by_distance'][distance] if distance else found['accuracy']:.0%}"

    def cost(name):
        return f"{RESULTS[name]['step_ms']:.1f} ms per step, {RESULTS[name]['peak_mb']:.1f} MB"

    def loss(name):
        return f"loss {seeds.with_error(seeds.losses(record, name))}"

    ends = {
        "2": (percent("distance/convolution", "5"), percent("distance/sum + learned", "5")),
        "3": [f"n^{RESULTS[f'growth/{name}']['mb_power']:.1f}" for name in ("pairs of pairs", "sum")],
        "4": (percent("order/sum"), percent("order/sum + learned")),
        "5": (percent("lookup/sum + learned/16"), percent("lookup/importance/16")),
        "6": (cost("sentiment/importance"), cost("sentiment/attention")),
        "7": (loss("attention"), loss("mlp").removeprefix("loss ")),
        "8": (loss("mlp"), loss("residual").removeprefix("loss ")),
        "9": [f"{RESULTS[f'rate/{name}/0.03']['loss']:.3f}" for name in ("residual", "norm")],
        "10": (loss("norm"), loss("transformer").removeprefix("loss ")),
    }
    assert rows.keys() == ends.keys()
    for step, (before, after) in ends.items():
        *_, found_before, found_after = rows[step].split(" | ")
        assert before in found_before
        assert found_after.removeprefix("as ").startswith(after)


def test_a_mean_and_its_standard_error():
    assert seeds.with_error([1.0, 2.0, 3.0]) == "2.000 ± 0.577"
    assert seeds.with_error([1.25]) == "1.250"
