"""The tables that are made of benchmark results. Runs on a checkout."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "bench" / "report.py"


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("bench_report", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def row(name, ours, rivals, **changes):
    values = {who: {"median": m, "best": m} for who, m in {"pyformer": ours, **rivals}.items()}
    plain = {"section": "operations", "unit": "ms", "higher_is_better": False}
    work = {"flops": 0.0, "bytes": 0.0, "memory": "read", "seconds": 0.0, "errors": {}}
    return {**plain, **work, "name": name, "values": values, **changes}


def data(*rows, **changes):
    machine = {"cpu": "A CPU", "cores": 2, "isa": "avx2", "load_average": 0.1, "date": "2030-01-02T03:04:05+00:00"}
    plain = {
        "machine": {**machine, "commit": "abc", "versions": {"torch": "1", "transformers": None}},
        "threads": 2,
        "repetitions": 7,
        "limits": {"fma_peak_gflops": 100.0, "read_bandwidth_gbps": 10.0, "copy_bandwidth_gbps": 20.0},
        "failures": {},
    }
    return {**plain, "rows": list(rows), **changes}


def test_ratio_is_above_one_where_pyformer_leads(report):
    found = report.comparisons(
        data(
            row("faster", 2.0, {"torch": 3.0}),
            row("rate", 30.0, {"torch": 20.0}, higher_is_better=True, unit="tok/s"),
            row("alone", 1.0, {}),
        )
    )
    assert [c.ratio for c in found] == [1.5, pytest.approx(1.5), None]


def test_share_of_bfloat16_is_of_its_own_peak(report):
    step = row("step", 1.0, {}, flops=50e9, arithmetic="bfloat16", seconds=1.0)
    limits = {**data()["limits"], "bfloat16_peak_gflops": 200.0}
    assert [c.share for c in report.comparisons(data(step, limits=limits))] == ["25% bfloat16 peak"]
    assert "200 GFLOP/s at the highest" in report.text_table(data(step, limits=limits))


def test_share_is_of_the_limit_that_binds(report):
    compute = row("compute", 1.0, {}, flops=50e9, bytes=1e9, seconds=1.0)
    memory = row("memory", 1.0, {}, flops=1e9, bytes=9e9, seconds=1.0)
    copy = row("copy", 1.0, {}, flops=1e9, bytes=9e9, memory="copy", seconds=1.0)
    shares = [c.share for c in report.comparisons(data(compute, memory, copy))]
    assert shares == ["50% FMA peak", "90% read bandwidth", "45% copy bandwidth"]


def test_markdown_sorts_and_says_where_it_trails(report):
    run = data(
        row("slower", 4.0, {"torch": 2.0}),
        row("much faster", 1.0, {"torch": 4.0}, errors={"torch.compile": "no | compiler"}),
        failures={"op/other": "boom"},
    )
    text = report.markdown([run])
    trailing, section = text.split("### Where pyformer trails")[1].split("### Operations")
    assert "slower" in trailing
    assert "much faster" not in trailing
    assert section.index("much faster") < section.index("slower")
    assert "**4.00x**" in section
    assert "failed: no / compiler" in section
    assert "| operations | torch | 1 of 2 | 1.41x | 0.50x slower |" in text
    assert "FAILED op/other: boom" in text


def test_a_chapter_is_a_machine(report):
    first, second = data(row("apples", 2.0, {"torch": 1.0})), data(row("pears", 1.0, {"torch": 3.0}))
    second["machine"].update(cpu="Another CPU", isa="amx")
    _, one, other = report.markdown([first, second]).split("\n## ")
    assert one.startswith("A CPU, avx2\n")
    assert other.startswith("Another CPU, amx\n")
    assert " 0.50x " in one
    assert "pears" not in one
    assert "**3.00x**" in other
    assert "apples" not in other


def test_text_table_is_aligned(report):
    lines = report.text_table(data(row("a", 1.0, {"torch": 2.0}), row("a longer name", 1234.5, {"torch": 2.0})))
    header, _, first, second = lines.splitlines()[:4]
    assert header.index("pyformer") == first.index("1 ms") == second.index("1,234 ms")


def test_a_busy_machine_is_named(report):
    quiet, busy = data(row("a", 1.0, {"torch": 2.0})), data(row("a", 1.0, {"torch": 2.0}))
    busy["machine"]["load_average"] = 1.5
    assert "BUSY" not in report.markdown([quiet])
    assert "BUSY" in report.markdown([busy])


def test_notes_of_a_run_are_shown(report):
    noted = data(row("any", 1.0, {}), notes=["One row was measured again."])
    assert "One row was measured again." in report.text_table(noted)
    assert "- One row was measured again." in report.markdown([noted])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"machine": {}, "limits": {}, "rows": 3, "failures": {}}'])
def test_what_is_no_run_is_named(report, tmp_path, text):
    file = tmp_path / "run.json"
    with pytest.raises(ValueError, match=r"run\.json"):
        report.read_run(file)
    file.write_text(text)
    with pytest.raises(ValueError, match=r"run\.json"):
        report.read_run(file)
    file.write_text(json.dumps({**data(), "rows": [{"x": 1}]}))
    with pytest.raises(ValueError, match="expected the results of a run"):
        report.read_run(file)
    file.write_text(json.dumps(data(row("any", 1.0, {}))))
    assert report.read_run(file)["rows"][0]["name"] == "any"


def test_limits_that_moved_are_shown_and_rows_set_against_their_own(report):
    moved = data(
        row("fast moment", 1.0, {}, flops=50e9, seconds=1.0, limits={**data()["limits"], "fma_peak_gflops": 50.0})
    )
    moved["limits_measured"] = [{**moved["limits"], "round_trip_ns": ns} for ns in (55.0, 60.0, 700.0)]
    assert report.comparisons(moved)[0].share == "100% FMA peak"
    assert "back in 55 to 700 (median 60) ns" in report.markdown([moved])
    assert "other CPU" not in report.markdown([data(row("any", 1.0, {}))])


def test_rows_of_a_later_run_keep_its_limits(report):
    earlier = data(
        row("slow", 4.0, {"torch": 2.0}, flops=50e9, seconds=1.0), row("kept", 1.0, {}, flops=1e9, seconds=1.0)
    )
    later = data(row("slow", 1.0, {"torch": 2.0}, flops=50e9, seconds=1.0), row("new", 1.0, {}))
    later["limits"] = {**later["limits"], "fma_peak_gflops": 200.0}
    merged = report.put_into(earlier, later)
    assert [(c.work, c.ratio, c.share) for c in report.comparisons(merged)] == [
        ("slow", 2.0, "25% FMA peak"),
        ("kept", None, "1% FMA peak"),
        ("new", None, ""),
    ]
    assert "2 rows are of a later run" in report.markdown([merged])
    assert "limits" not in earlier["rows"][0]
