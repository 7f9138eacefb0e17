"""The table, the drawings and the page of a comparison's record."""

from __future__ import annotations

import shlex
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyformer import formats, svg

Record = dict[str, Any]

RECORD_NAME = "results.json"
BY_TIME, BY_TOKENS = "loss_by_time.svg", "loss_by_tokens.svg"


def part_of(record: Record) -> str:
    """What the record's part of a page is called: the task, and after it the steps if they are the budget."""
    task, steps = record["settings"]["task"], record["settings"]["steps"]
    return task if steps is None else f"{task}-{steps}-steps"


def table(record: Record, timed: bool = True) -> str:
    """A Markdown table, a row for each model that has a result; without `timed`, what a loaded machine changes is left
    out."""
    unit, loss = record["unit"], record["loss_name"]
    columns: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("size", _size),
        ("parameters", lambda r: f"{r['parameters']:,}"),
        ("learning rate", lambda r: f"{r['learning_rate']:g}"),
        ("loss at each rate", lambda r: _searched(r["searched"]) if "searched" in r else ""),
        (f"{loss}, at the end", lambda r: _losses(r["losses"]) if "losses" in r else _loss(r["loss"])),
        ("best", lambda r: "" if "losses" in r else _loss(r["best_loss"])),
        ("accuracy", lambda r: f"{r['accuracy']:.1%}" if "accuracy" in r else ""),
        (f"{unit}s seen", lambda r: f"{r['seen']:,}"),
        (f"{unit}s/s", lambda r: f"{r['per_second']:,}" if timed else ""),
        ("peak MB", lambda r: f"{r['peak_mb']:.1f}" if "peak_mb" in r else ""),
        ("seconds", lambda r: f"{r['seconds']:.1f}" if timed else ""),
    ]
    results = record["results"]
    rows = {name: [show(result) for _, show in columns] for name, result in results.items()}
    shown = [i for i in range(len(columns)) if any(row[i] for row in rows.values())]
    lines = [["model", *(columns[i][0] for i in shown)], ["---", *["---:"] * len(shown)]]
    lines += [[name, *(row[i] for i in shown)] for name, row in rows.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _size(result: dict[str, Any]) -> str:
    knob = result["knob"].removesuffix("s") if result["choice"] == 1 else result["knob"]
    return f"{result['choice']} {knob}, {result['width']} wide"


def _loss(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4g}"


def _losses(values: list[float | None]) -> str:
    """The mean of several seeds, and its standard error."""
    if None in values:
        return f"{values.count(None)} of {len(values)} diverged"
    error = statistics.stdev(values) / len(values) ** 0.5  # type: ignore[type-var]
    return f"{statistics.mean(values):.4g} ± {error:.1g}"  # type: ignore[type-var]


def _searched(losses: dict[str, float | None]) -> str:
    return ", ".join(f"{rate}: {_loss(loss)}" for rate, loss in losses.items())


def drawings(record: Record) -> dict[str, str]:
    """SVG texts by file name: validation loss of the first seed against time and against targets seen."""
    logarithmic, unit = record["logarithmic"], record["unit"]
    y_label = record["loss_name"] if logarithmic else f"validation loss ({record['loss_name']})"
    title = f"{record['settings']['task']}: {record['settings']['parameters']:,} parameters each"

    def draw(column: int, x_label: str) -> str:
        lines = {
            name: [(float(point[column]), float(point[3])) for point in result["points"]]
            for name, result in record["results"].items()
        }
        return svg.line_chart(title, x_label, f"{y_label}, lower is better", lines, log_y=logarithmic)

    return {BY_TIME: draw(1, "seconds of training"), BY_TOKENS: draw(2, f"{unit}s seen in training")}


def command(record: Record) -> str:
    """The command line that makes this record."""
    settings = record["settings"]
    words = ["pyformer", "compare", *(Path(name).name for name in settings["files"])]
    words += ["--task", settings["task"], "--models", ",".join(settings["models"])]
    budget = "steps" if settings["steps"] else "seconds"
    for name in (budget, "parameters", "seed"):
        words += [f"--{name}", f"{settings[name]:g}" if name == "seconds" else str(settings[name])]
    if settings.get("seeds", 1) > 1:
        words += ["--seeds", str(settings["seeds"])]
    if settings.get("rates"):
        words += ["--rates", ",".join(f"{rate:g}" for rate in settings["rates"])]
    return shlex.join(words)


def block(record: Record, folder: str) -> str:
    """The part of a page that a record makes, with its marks; the drawings are in `folder`, as the page sees it.

    A part whose budget is steps says nothing of time, so that it is the same wherever the command is run.
    """
    start, end = _marks(part_of(record))
    timed = record["settings"]["steps"] is None
    made = f"Made on {record['date']} on {record['machine']}, with pyformer {record['pyformer']}:"
    pictures = "\n\n".join(
        f"![{name.partition('.')[0].replace('_', ' ')}]({folder}/{name})" for name in page_drawings(record)
    )
    return f"{start}\n{made}\n\n```sh\n{command(record)}\n```\n\n{table(record, timed)}\n{pictures}\n{end}\n"


def page_drawings(record: Record) -> dict[str, str]:
    """The drawings of a page's part: without that against time if steps are the budget."""
    found = drawings(record)
    return found if record["settings"]["steps"] is None else {BY_TOKENS: found[BY_TOKENS]}


def write_page(page: Path, record: Record) -> None:
    """Puts a record's part into a page, where its marks are, else at the end; a page that isn't there is made.

    Record and drawings go into the folder PAGE/PART beside it, PAGE without its suffix.

    Raises:
        ValueError: the page has the first mark without the second.
        OSError: a file can't be read or written.
    """
    part = part_of(record)
    before, found, after = check_page(page, part)
    new = block(record, f"{page.stem}/{part}")
    text = before + new + after if found else f"{before.rstrip()}\n\n{new}"
    folder = page.parent / page.stem / part
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in page_drawings(record).items():
        formats.write_bytes_atomic(folder / name, picture.encode())
    formats.write_json_atomic(folder / RECORD_NAME, record)
    formats.write_bytes_atomic(page, text.encode())


def check_page(page: Path, part: str) -> tuple[str, bool, str]:
    """What stands before a part of a page, whether it has that part, and what stands after it.

    Raises as `write_page` does, also where the page's folder can't be written to.
    """
    with tempfile.TemporaryFile(dir=page.parent):
        pass
    start, end = _marks(part)
    try:
        text = page.read_text(encoding="utf-8") if page.exists() else "# A comparison of models\n"
    except UnicodeDecodeError as error:
        raise ValueError(f"{page}: is not UTF-8 at byte {error.start}") from None
    before, found, rest = f"{text.rstrip()}\n".partition(f"{start}\n")
    _, closed, after = rest.partition(f"{end}\n")
    if found and not closed:
        raise ValueError(f"{page}: has {start!r} without {end!r}")
    return before, bool(found), after


def _marks(part: str) -> tuple[str, str]:
    return f"<!-- compare: {part} -->", f"<!-- end of {part} -->"
