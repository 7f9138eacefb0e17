"""The table and the drawings of a ladder's results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyformer import svg
from pyformer.experiments import derive, derive_tasks
from pyformer.models.derivation import WORD_RUNGS

Results = dict[str, dict[str, Any]]

ACCURACY = "accuracy (higher is better)"
COLUMNS = (
    "rung",
    "sentiment, accuracy",
    "next word, loss",
    "parameters",
    "ms per step",
    "peak MB",
    "time grows as",
    "memory grows as",
)


def table(results: Results) -> str:
    """A Markdown table of the word rungs that have a result.

    Parameters, time and memory are those of the sentiment task, or of the next word where there is no other; the
    exponents are those of forward and backward from 64 to 128 words.
    """
    rows = [row for name in WORD_RUNGS if (row := _row(results, name)) is not None]
    lines = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(results: Results, name: str) -> list[str] | None:
    sentiment, next_word, growth = (
        results.get(f"{kind}/{name}", {}) for kind in (derive_tasks.SENTIMENT, derive_tasks.NEXT_WORD, derive.GROWTH)
    )
    cost = sentiment or next_word
    if not (cost or growth):
        return None
    return [
        name,
        _show(sentiment, "accuracy", "{:.1%}"),
        _show(next_word, "loss", "{:.3f}"),
        _show(cost, "parameters", "{:,}"),
        _show(cost, "step_ms", "{:.1f}"),
        _show(cost, "peak_mb", "{:.1f}"),
        _show(growth, "ms_power", "n^{:.1f}"),
        _show(growth, "mb_power", "n^{:.1f}"),
    ]


def _show(result: dict[str, Any], name: str, form: str) -> str:
    if name not in result:
        return ""
    return "diverged" if result[name] is None else form.format(result[name])


def probes(results: Results) -> str:
    """Lines of text about all that is not in the table."""
    lines = []
    for key, result in results.items():
        kind, *rest = key.split("/")
        if kind in (derive_tasks.PICTURES, derive.ORDER, derive.LOOKUP):
            lines.append(f"{kind}, {' '.join(rest)}: {_show(result, 'accuracy', '{:.1%}')}")
        elif kind == derive.RATE:
            lines.append(f"{kind}, {rest[0]} {rest[1]}: loss {_show(result, 'loss', '{:.3f}')}")
        elif kind == derive.DISTANCE:
            found = ", ".join(f"{d}: {a:.0%}" for d, a in result["by_distance"].items())
            lines.append(f"{kind}, {rest[0]}: {found}")
    return "".join(f"{line}\n" for line in lines)


def drawings(results: Results) -> dict[str, str]:
    """SVG texts by file name; those that there are results for."""
    found = {
        "ladder.svg": _draw_ladder(results),
        "distance.svg": _draw_distance(results),
        "lookup.svg": _draw_series(
            results, derive.LOOKUP, "Which word stands at place p?", "words", ACCURACY, "accuracy"
        ),
        "rate.svg": _draw_series(
            results,
            derive.RATE,
            "Six layers",
            "learning rate",
            "next word, loss (nats per word, lower is better)",
            "loss",
            log_x=True,
        ),
        "growth.svg": _draw_growth(results),
    }
    return {name: picture for name, picture in found.items() if picture}


def _draw_ladder(results: Results) -> str:
    names = [name for name in WORD_RUNGS if _row(results, name) is not None]

    def column(kind: str, value: str) -> list[float | None]:
        return [results.get(f"{kind}/{name}", {}).get(value) for name in names]

    panels = {
        "sentiment, accuracy\nhigher is better": column(derive_tasks.SENTIMENT, "accuracy"),
        "next word, loss (nats)\nlower is better": column(derive_tasks.NEXT_WORD, "loss"),
        "ms per step\nlower is better": column(derive_tasks.SENTIMENT, "step_ms"),
    }
    shown = {title: values for title, values in panels.items() if any(v is not None for v in values)}
    return svg.dot_chart("From convolution to the transformer", names, shown) if shown else ""


def _draw_distance(results: Results) -> str:
    lines = {
        key.split("/")[1]: [(float(d), a) for d, a in result["by_distance"].items()]
        for key, result in _of(results, derive.DISTANCE)
    }
    title = "Which key word came so many words ago?"
    return svg.line_chart(title, "distance (words)", ACCURACY, lines) if lines else ""


def _draw_series(
    results: Results, kind: str, title: str, x_label: str, y_label: str, value: str, log_x: bool = False
) -> str:
    """Results called kind/rung/number: a line a rung, over the numbers."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for key, result in _of(results, kind):
        _, name, number = key.split("/")
        if result[value] is not None:
            lines.setdefault(name, []).append((float(number), result[value]))
    return svg.line_chart(title, x_label, y_label, lines, log_x) if lines else ""


def _draw_growth(results: Results) -> str:
    lines = {}
    for name in ("convolution", "sum", "importance", "attention"):
        result = results.get(f"{derive.GROWTH}/{name}")
        if result:
            lines[name] = list(zip(map(float, result["n"]), result["ms"], strict=True))
    title = "Forward and backward of two sentences"
    return svg.line_chart(title, "words in a sentence", "ms (lower is better)", lines, True, True) if lines else ""


def _of(results: Results, kind: str) -> Iterable[tuple[str, dict[str, Any]]]:
    return [(key, result) for key, result in results.items() if key.startswith(f"{kind}/")]
