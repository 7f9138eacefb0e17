"""Tables from results files. `python -m bench.report FILE ...` writes bench/RESULTS.md, a chapter a file."""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "pyformer"
RESULTS = Path(__file__).resolve().parent / "RESULTS.md"
HEADER = ("work", "pyformer", "best", "rival", "its time or rate", "its best", "ratio", "of the limit")

# Load a core, at the start, from which figures are marked: rivals suffer differently from neighbours.
BUSY = 0.5


@dataclass(frozen=True)
class Comparison:
    """pyformer beside one rival on one row; ratio is above 1 where pyformer leads, None without a rival's figure."""

    section: str
    work: str
    ours: str
    best: str
    rival: str
    theirs: str
    their_best: str
    ratio: float | None
    share: str

    def cells(self) -> tuple[str, ...]:
        """As the table shows it, in the order of HEADER."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        return (self.work, self.ours, self.best, self.rival, self.theirs, self.their_best, ratio, self.share)


def read_run(file: Path) -> dict[str, Any]:
    """What a run wrote; ValueError if it can't be read or is something else."""
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from None
    whole = isinstance(data, dict) and {"machine", "limits", "rows", "failures", "repetitions"} <= set(data)
    if not whole or not isinstance(data["rows"], list) or not all(map(_is_row, data["rows"])):
        raise ValueError(f"{file}: expected the results of a run of bench")
    return data


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and {"section", "name", "unit", "values", "errors"} <= set(row)


def comparisons(data: dict[str, Any]) -> list[Comparison]:
    """One a rival of each row, or one without a rival."""
    return [c for row in data["rows"] for c in _compare(row, row.get("limits", data["limits"]))]


def _compare(row: dict[str, Any], limits: dict[str, float]) -> Iterable[Comparison]:
    def text(value: float) -> str:
        return f"{value:,.4g} {row['unit']}" if value < 1000 else f"{value:,.0f} {row['unit']}"

    def comparison(rival: str, theirs: str, their_best: str, ratio: float | None) -> Comparison:
        share = _share(row, limits)
        mine = (text(ours["median"]), text(ours["best"]))
        return Comparison(row["section"], row["name"], *mine, rival, theirs, their_best, ratio, share)

    ours = row["values"][OURS]
    rivals = {who: value for who, value in row["values"].items() if who != OURS}
    for who, value in rivals.items():
        ratio = value["median"] / ours["median"]
        ratio = 1 / ratio if row["higher_is_better"] else ratio
        yield comparison(who, text(value["median"]), text(value["best"]), ratio)
    for who, error in row["errors"].items():
        yield comparison(who, f"failed: {error}".replace("|", "/"), "", None)
    if not rivals and not row["errors"]:
        yield comparison("", "", "", None)


def _share(row: dict[str, Any], limits: dict[str, float]) -> str:
    """The share of the limit that binds: arithmetic or memory."""
    if not row["seconds"]:
        return ""
    arithmetic = row.get("arithmetic", "FMA")
    peak = row["flops"] / (1e9 * limits[f"{arithmetic.lower()}_peak_gflops"]) / row["seconds"]
    memory = row["bytes"] / (1e9 * limits[f"{row['memory']}_bandwidth_gbps"]) / row["seconds"]
    share, of = max((peak, f"{arithmetic} peak"), (memory, f"{row['memory']} bandwidth"))
    return f"{share:.0%} {of}" if share else ""


def put_into(earlier: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The earlier run with the rows of the new one, in the order of the earlier, and a note of what is from where."""
    rows = {row["name"]: row for row in earlier["rows"]}
    for row in new["rows"]:
        rows[row["name"]] = {"limits": new["limits"], **row}
    sections = list(dict.fromkeys(row["section"] for row in [*earlier["rows"], *new["rows"]]))
    machine, limits = new["machine"], new["limits"]
    note = (
        f"{len(new['rows'])} rows are of a later run ({machine['date']}, commit {machine['commit']}, load "
        f"{machine['load_average']:.1f} at the start, {new['repetitions']} repetitions; fused multiply-add "
        f"{limits['fma_peak_gflops']:.0f} GFLOP/s, read {limits['read_bandwidth_gbps']:.1f} GB/s): "
        f"{', '.join(dict.fromkeys(row['section'] for row in new['rows']))}."
    )
    return {
        **earlier,
        "rows": sorted(rows.values(), key=lambda row: sections.index(row["section"])),
        "failures": {**earlier["failures"], **new["failures"]},
        "notes": [*earlier.get("notes", []), note],
    }


def text_table(data: dict[str, Any]) -> str:
    """One aligned table for a terminal, with what it was measured on below."""
    lines = [HEADER, *(c.cells() for c in comparisons(data))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([body[0], "-" * max(map(len, body)), *body[1:], "", *_about(data), *_failures(data)])


def _about(data: dict[str, Any]) -> list[str]:
    machine, limits = data["machine"], data["limits"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    busy = machine["load_average"] > BUSY * machine["cores"]
    return [
        *(["THE MACHINE WAS BUSY: ratios and shares of a quiet one will differ."] if busy else []),
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}; {data['threads']} threads, float32; "
        f"load {machine['load_average']:.1f} at the start.",
        f"Limits measured in the same run: fused multiply-add {limits['fma_peak_gflops']:.0f} GFLOP/s, "
        f"memory read {limits['read_bandwidth_gbps']:.1f} GB/s, copy {limits['copy_bandwidth_gbps']:.1f} GB/s "
        "(read and written together).",
        *_bfloat16(limits),
        *_around(data.get("limits_measured", [])),
        f"{machine['date']}, commit {machine['commit']}; {versions}; {data['repetitions']} interleaved repetitions.",
        *data.get("notes", []),
    ]


def _bfloat16(limits: dict[str, float]) -> list[str]:
    """The highest rate of products of bfloat16, if it was measured."""
    if not limits.get("bfloat16_peak_gflops"):
        return []
    return [
        f"Products of bfloat16 from L1, their loads counted in: {limits['bfloat16_peak_gflops']:,.0f} GFLOP/s at the "
        "highest; shares are of what was measured before and after each item."
    ]


def _around(measured: list[dict[str, float]]) -> list[str]:
    """How the limits moved between items, if they were measured there."""
    if len(measured) < 2:
        return []

    def span(name: str) -> str:
        values = sorted(limits[name] for limits in measured)
        return f"{values[0]:.0f} to {values[-1]:.0f} (median {statistics.median(values):.0f})"

    apart = ""
    if all(limits.get("round_trip_ns") for limits in measured):
        apart = (
            f"; a cache line went to the other CPU and back in {span('round_trip_ns')} ns: below 100 the CPUs share a "
            "cache, far above they do not"
        )
    return [
        "Those are the highest; shares of bandwidth are of what was measured before and after each item: read "
        f"{span('read_bandwidth_gbps')}, copy {span('copy_bandwidth_gbps')}{apart}."
    ]


def _failures(data: dict[str, Any]) -> list[str]:
    return [f"FAILED {name}: {error}" for name, error in data["failures"].items()]


def _markdown_table(header: Iterable[str], lines: Iterable[Iterable[str]]) -> list[str]:
    header = list(header)
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(line)} |" for line in lines),
    ]


def _by_ratio(found: Iterable[Comparison]) -> list[Comparison]:
    """Largest lead first; without a ratio last."""
    return sorted(found, key=lambda c: -c.ratio if c.ratio is not None else math.inf)


def _summary_line(section: str, rival: str, found: list[Comparison]) -> tuple[str, ...]:
    ratios = [c.ratio for c in found]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    worst = min(found, key=lambda c: c.ratio)
    leads = sum(ratio >= 1 for ratio in ratios)
    return (section, rival, f"{leads} of {len(ratios)}", f"{mean:.2f}x", f"{worst.ratio:.2f}x {worst.work}")


def markdown(runs: list[dict[str, Any]]) -> str:
    """The whole of RESULTS.md: a chapter a run, one run a kind of machine."""
    lines = [
        "# Benchmark results",
        "",
        "Made by `python -m bench` and `python -m bench.report`; not edited by hand.",
        "A ratio above 1 says how many times faster, or smaller, pyformer is. Figures are medians; best beside them.",
        "The limit is arithmetic or memory, whichever binds; data that fits a cache may exceed the latter.",
        "A chapter is one machine; figures of two chapters are not to be compared.",
    ]
    for run in runs:
        lines += ["", *_chapter(run)]
    return "\n".join(lines) + "\n"


def _chapter(run: dict[str, Any]) -> list[str]:
    """One run: what it was measured on, the summary, where pyformer trails, a table a section."""
    found = comparisons(run)
    groups: dict[tuple[str, str], list[Comparison]] = {}
    for c in found:
        if c.ratio is not None:
            groups.setdefault((c.section, c.rival), []).append(c)
    trailing = [c for c in reversed(_by_ratio(found)) if c.ratio is not None and c.ratio < 1]
    summary = [_summary_line(*key, members) for key, members in groups.items()]
    lines = [
        f"## {run['machine']['cpu']}, {run['machine']['isa']}",
        "",
        *(f"- {line}" for line in _about(run)),
        "",
        "### At a glance",
        "",
        *_markdown_table(("section", "rival", "leads", "geometric mean", "worst"), summary),
        "",
        "### Where pyformer trails",
        "",
        *(_markdown_table(HEADER, [c.cells() for c in trailing]) if trailing else ["Nowhere in this run."]),
    ]
    for section in dict.fromkeys(c.section for c in found):
        members = _by_ratio(c for c in found if c.section == section)
        lines += ["", f"### {section.capitalize()}", "", *_markdown_table(HEADER, [_bold(c) for c in members])]
    if run["failures"]:
        lines += ["", "### Failed", "", *(f"- {line}" for line in _failures(run))]
    return lines


def _bold(c: Comparison) -> tuple[str, ...]:
    """The ratio in bold where pyformer leads."""
    cells = list(c.cells())
    if c.ratio is not None and c.ratio >= 1:
        cells[6] = f"**{cells[6]}**"
    return tuple(cells)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m bench.report FILE ...")
    try:
        read = [read_run(Path(file)) for file in sys.argv[1:]]
    except ValueError as error:
        sys.exit(f"bench.report: {error}")
    RESULTS.write_text(markdown(read))
    print(f"wrote {RESULTS}")
