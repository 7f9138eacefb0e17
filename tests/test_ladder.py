"""The ladder's tasks, training, command and report."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import pyformer as pf
from pyformer import _core, datasets, svg, training
from pyformer.experiments import derive, derive_report, derive_tasks
from pyformer.models.derivation import WORD_RUNGS, make_rung

TEXT = "the cat sat on the mat . the dog ate the cat ' s food , didn't it ? " * 40
SENTENCES = ["good fine good film", "bad poor bad film", "good good", "poor"] * 40
LABELS = np.array([1, 0, 1, 0] * 40)
PICTURES = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)


def silent(done, text):
    assert 0.0 <= done <= 1.0


def tasks():
    labels = (PICTURES[:, 3, 3] > 127).astype(np.int64)
    return {
        derive_tasks.PICTURES: derive_tasks.pictures_task(PICTURES, labels, PICTURES[:40], labels[:40]),
        derive_tasks.SENTIMENT: derive_tasks.sentiment_task(SENTENCES, LABELS),
        derive_tasks.NEXT_WORD: derive_tasks.next_word_task(TEXT),
    }


def test_words():
    assert derive_tasks.words_of("The dog's 2nd bone, isn't it?") == [
        "the",
        "dog's",
        "2nd",
        "bone",
        ",",
        "isn't",
        "it",
        "?",
    ]
    ids = derive_tasks.vocabulary(derive_tasks.words_of("b a b c a b"), 4)
    assert ids == {"b": 2, "a": 3}
    assert derive_tasks.encode(["a", "zebra", "b"], ids).tolist() == [3, derive_tasks.RARE, 2]


def test_sentiment_task_cuts_pads_and_splits():
    task = derive_tasks.sentiment_task(["good " * 50, "bad", "", *SENTENCES], np.array([1, 0, 0, *LABELS]))
    (ids, lengths), targets = task.draw(0)
    assert ids.shape == (derive_tasks.BATCH, derive_tasks.LENGTH)
    assert targets.shape == (derive_tasks.BATCH,)
    for row, length in zip(ids, lengths, strict=True):
        assert (row[length:] == derive_tasks.PADDING).all()
        assert (row[:length] != derive_tasks.PADDING).all()
    assert sum(len(t) for _, t in task.held_out) == round(0.2 * (len(SENTENCES) + 3))


def test_next_word_targets_are_one_place_on():
    (ids,), targets = derive_tasks.next_word_task(TEXT).draw(3)
    np.testing.assert_array_equal(ids[:, 1:], targets[:, :-1])


def test_order_targets():
    (ids,), targets = derive_tasks.order_task().draw(0)
    for row, target in zip(ids.tolist(), targets, strict=True):
        assert row.count(0) == row.count(1) == 1
        assert (row.index(0) < row.index(1)) == target


@pytest.mark.parametrize("distance", [1, 5, 31])
def test_distance_targets(distance):
    (ids,), targets = derive_tasks.distance_task([distance]).draw(0)
    np.testing.assert_array_equal(ids[:, -1 - distance], targets[:, -1])
    assert (targets[:, :-1] == derive_tasks.IGNORED).all()
    assert ((ids < 16).sum(axis=1) == 1).all()


def test_lookup_targets():
    (ids,), targets = derive_tasks.lookup_task(8).draw(0)
    places = ids[:, -1] - 16
    np.testing.assert_array_equal(ids[np.arange(len(ids)), places], targets[:, -1])


def test_batches_depend_on_seed_and_step_alone():
    one, two, other = derive_tasks.order_task(1), derive_tasks.order_task(1), derive_tasks.order_task(2)
    np.testing.assert_array_equal(one.draw(5)[0][0], two.draw(5)[0][0])
    assert (one.draw(5)[0][0] != one.draw(6)[0][0]).any()
    assert (one.draw(5)[0][0] != other.draw(5)[0][0]).any()


def test_budgets():
    task = derive_tasks.sentiment_task(SENTENCES, LABELS)
    for budget, steps in ((derive.Budget(steps=3), 3), (derive.Budget(seconds=1e-9), 1)):
        assert derive.fit(make_rung("attention", task.size), task, budget, silent)["steps"] == steps
    assert derive.Budget(steps=3).times(2) == derive.Budget(steps=6)


def test_every_rung_learns_a_simple_task():
    task = derive_tasks.sentiment_task(SENTENCES, LABELS)
    for name in WORD_RUNGS:
        pf.manual_seed(0)
        result = derive.fit(make_rung(name, task.size), task, derive.Budget(steps=40), silent)
        assert result["accuracy"] == 1.0, name
        assert 0 < result["peak_mb"] < 100, name


@pytest.mark.parametrize("name", ["convolution", "importance", "transformer"])
def test_the_same_steps_give_the_same_result(name):
    task = derive_tasks.next_word_task(TEXT)
    losses = []
    for threads, isa in ((2, _core.isa()), (1, _core.supported_isas()[:2][-1])):
        pf.set_num_threads(threads)
        _core.set_isa(isa)
        pf.manual_seed(0)
        losses.append(derive.fit(make_rung(name, task.size), task, derive.Budget(steps=3), silent)["loss"])
    assert losses[0] == losses[1]


def test_a_diverged_run_is_a_result():
    class Broken(pf.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = pf.nn.Parameter([1.0, 2.0])

        def forward(self, ids, lengths):
            return self.weight * float("nan") + pf.zeros(len(ids), 2)

    result = derive.fit(Broken(), tasks()[derive_tasks.SENTIMENT], derive.Budget(steps=5), silent)
    assert (result["steps"], result["loss"]) == (1, None)
    assert "diverged" in derive_report.table({"next word/sum": result})


def test_growth_of_pairs_and_attention():
    pairs, attention = (derive.measure_growth(name, silent, repeats=1) for name in ("sum", "attention"))
    assert pairs["mb_power"] > 1.6
    assert pairs["mb"][-1] > 5 * attention["mb"][-1]
    assert derive.measure_growth(derive.PAIRS_OF_PAIRS, silent, repeats=1)["mb_power"] > 3.5


def test_all_jobs_and_their_report():
    jobs = derive.make_jobs(tasks(), derive.Budget(steps=1))
    kinds = {name.split("/")[0] for name in jobs}
    assert kinds == {"pictures", "sentiment", "next word", "order", "distance", "lookup", "rate", "growth"}
    chosen = ("pictures", "sentiment/s", "next word/a", "distance/attention", "order/sum", "rate/norm/0.01", "growth/p")
    names = [name for name in jobs if name.startswith(chosen) or name.endswith("/4")]
    results = {name: jobs[name](silent) for name in names}
    results = json.loads(json.dumps(results))
    table = derive_report.table(results).splitlines()
    assert len({line.count("|") for line in table}) == 1
    assert sum(line.startswith("| sum") for line in table) == 5
    assert "distance, attention: 1: " in derive_report.probes(results)
    pictures = derive_report.drawings(results)
    assert set(pictures) == {"ladder.svg", "distance.svg", "lookup.svg", "rate.svg"}
    for picture in pictures.values():
        ET.fromstring(picture)


def test_report_of_nothing():
    assert derive_report.table({}).count("\n") == 2
    assert derive_report.probes({}) == ""
    assert derive_report.drawings({}) == {}


def test_dots():
    picture = svg.dot_chart("a < b", ["one", "two"], {"x\nless": [1.0, None], "y": [0.0, math.nan], "z": [None, None]})
    dots = [e for e in ET.fromstring(picture).iter() if e.tag.endswith("circle")]
    assert len(dots) == 2
    assert ">less<" in picture

    numbers = svg.dot_chart("", ["a", "b", "c", "d"], {"x": [22.0, 0.7200, 999.9, 12345.6]})
    for number in (">22.00<", ">0.7200<", ">1000<", ">12346<"):
        assert number in numbers


def test_a_panel_of_dots_goes_from_the_least_to_the_largest():
    picture = svg.dot_chart("", ["a", "b", "c"], {"x": [4.43, 4.45, 4.47], "y": [1.0, 1.0, 1.0]})
    x = [float(e.attrib["cx"]) for e in ET.fromstring(picture).iter() if e.tag.endswith("circle")]
    assert x[2] - x[1] == pytest.approx(x[1] - x[0], abs=0.2)
    assert x[2] - x[0] > 100
    assert x[3] == x[4] == x[5]


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.003, 0.01, 0.03], [0.002, 0.005, 0.01, 0.02, 0.05]),
        ([16, 32, 64, 128], [10, 20, 50, 100, 200]),
        ([1e-6, 1.5e-6], [1e-6, 2e-6]),
        ([3.0], [2, 5]),
        ([100.0], [100, 200]),
    ],
)
def test_ticks_of_a_logarithmic_axis(values, ticks):
    assert svg._powers(values) == pytest.approx(ticks)
    picture = svg.line_chart("", "x", "y", {"a": [(v, 1.0) for v in values]}, log_x=True)
    line = next(e for e in ET.fromstring(picture).iter() if e.tag.endswith("polyline"))
    x = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
    assert svg.LEFT <= min(x) <= max(x) <= svg.WIDTH - svg.RIGHT
    if len(values) == 4:  # equal ratios, equal distances
        assert np.diff(x) == pytest.approx([x[1] - x[0]] * 3, abs=0.2)


def test_names_stand_at_the_ends_of_their_lines():
    ends = {"high": 2.0, "low": 1.0, "lower": 0.99, "lowest": 0.98}
    picture = svg.line_chart("", "x", "y", {name: [(0.0, 3.0), (1.0, y)] for name, y in ends.items()})
    texts = {e.text: float(e.attrib["y"]) for e in ET.fromstring(picture).iter() if e.text in ends}
    heights = [texts[name] for name in ends]
    assert heights == sorted(heights)
    assert min(np.diff(heights)) >= svg.LINE - 0.1
    assert heights[1] - heights[0] > 60


def boxes_of(picture):
    """(left, top, right, bottom) of every text that isn't turned, by how wide letters are at most."""
    for element in ET.fromstring(picture).iter():
        if element.tag.endswith("text") and "transform" not in element.attrib:
            size = float(element.attrib.get("font-size", 12))
            width = 0.58 * size * len(element.text)
            x, y = float(element.attrib["x"]), float(element.attrib["y"])
            left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[element.attrib["text-anchor"]] * width
            yield left, y - 0.8 * size, left + width, y + 0.2 * size


@pytest.mark.parametrize("x", [24.7e6, 249_000, 9_999, 31, 0.03, 2.1e-4, 3.3e9])
@pytest.mark.parametrize("y", [(0.0, 1.0), (1.64201, 1.64304), (-7.0, -0.3), (2e5, 3e6)])
def test_nothing_in_a_drawing_is_cut_or_covered(x, y):
    picture = svg.line_chart("title", "x", "y", {"a": [(0.0, y[0]), (x, y[1])], "b": [(x / 2, y[0])]})
    boxes = list(boxes_of(picture))
    for left, top, right, bottom in boxes:
        assert 20 <= left < right <= svg.WIDTH, "beside it stands the name of the axis"
        assert 0 <= top < bottom <= svg.HEIGHT
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([0, 5e6, 1e7], ["0", "5M", "10M"]),
        ([0, 500_000, 1_000_000, 1_500_000], ["0", "0.5M", "1M", "1.5M"]),
        ([0, 50_000, 100_000], ["0", "50k", "100k"]),
        ([0, 2000, 4000], ["0", "2000", "4000"]),
        ([-0.2, -0.1, 0.0, 0.1 + 0.2], ["-0.2", "-0.1", "0", "0.3"]),
        ([-2e9, 0], ["-2G", "0"]),
        ([1e20, 2e20], ["1e+20", "2e+20"]),
    ],
)
def test_labels_of_ticks(ticks, labels):
    assert svg._labels(ticks) == labels


def offline(folder):
    """An environment in which no data can be fetched."""
    return {**os.environ, "PYFORMER_CACHE": str(folder / "cache"), "PATH": "", "PIP_NO_INDEX": "1"}


def command(folder, *args):
    return [sys.executable, "-m", "pyformer", "derive", "--threads", "1", "--out", folder / "run", *map(str, args)]


def run(folder, *args, code=0):
    done = subprocess.run(
        command(folder, *args), capture_output=True, timeout=600, encoding="utf-8", env=offline(folder)
    )
    assert done.returncode == code, done.stderr
    return done


def read(folder):
    return json.loads((folder / "run" / "results.json").read_text())["results"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_stopped_ladder_goes_on_and_says_what_is_missing(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--steps", 2), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=offline(tmp_path)
    )
    deadline = time.monotonic() + 600
    while not ((tmp_path / "run" / "results.json").exists() and len(read(tmp_path)) > 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130, stderr
    assert b"pyformer derive --resume --out" in stderr
    assert b"Traceback" not in stderr
    before = read(tmp_path)
    assert "contradicts" in run(tmp_path, "--resume", "--steps", 3, code=2).stderr
    assert "not empty" in run(tmp_path, code=2).stderr
    with training.locked(tmp_path / "run"):
        assert "another process" in run(tmp_path, "--resume", code=2).stderr
    done = run(tmp_path, "--resume")
    after = read(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) > len(before)
    assert "| transformer |" in done.stdout
    installed = Path("/", datasets._FASHION.folder).exists()  # a system's own copy needs no network
    for name in ("sentiment", "next word") if installed else ("pictures", "sentiment", "next word"):
        assert f"without the task '{name}'" in done.stderr
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert made == {"results.json", "table.md", "distance.svg", "lookup.svg", "growth.svg"}


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_terminated_ladder_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        command(tmp_path, "--steps", 100_000), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=offline(tmp_path)
    )
    deadline = time.monotonic() + 600
    while not (tmp_path / "run" / "results.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 130, stderr
    assert b"pyformer derive --resume --out" in stderr


@pytest.mark.parametrize(
    ("settings", "results", "words"),
    [
        ({"steps": "x"}, {}, "steps: expected a whole number"),
        ({"steps": 0}, {}, "steps: must be from 1"),
        ({"steps": 1.5}, {}, "steps: expected a whole number"),
        ({"steps": True}, {}, "steps can't be True"),
        ({"steps": None}, {}, "must have steps or seconds"),
        ({"seconds": 1.0}, {}, "must have steps or seconds"),
        ({"seed": "a"}, {}, "seed: expected a whole number"),
        ({"device": "tpu"}, {}, "device: expected 'cpu'"),
        ({"device": None}, {}, "a seed and a device"),
        ({}, {"order/sum": 5}, "has an entry that is not a result"),
        ({}, {"order/sum": {}}, "has an entry that is not a result"),
    ],
)
def test_a_hostile_record_is_named(tmp_path, settings, results, words):
    record = {"settings": {"steps": 2, "seconds": None, "seed": 0, **settings}, "results": results}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text(json.dumps(record))
    error = run(tmp_path, "--resume", code=2).stderr.splitlines()[-1]
    assert words in error
    assert "results.json" in error


def test_a_record_that_is_none(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text("{}")
    assert "not the record" in run(tmp_path, "--resume", code=2).stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--steps", 0], "--steps"),
        (["--seconds", 0], "--seconds"),
        (["--steps", 1, "--seconds", 1], "not allowed"),
        (["--resume"], "results.json"),
    ],
)
def test_bad_options_are_one_line(tmp_path, args, words):
    error = run(tmp_path, *args, code=2).stderr
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
