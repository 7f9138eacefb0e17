"""Renders a chat template in a process of its own: it comes with a model, and a model is somebody's file.

Jinja's sandbox lets it reach no attribute that leads out; the limits of the process end one that never ends or that
takes memory. Run as `python -I -S template_worker.py FOLDER ...`, the folders where jinja2 and what it needs are;
the work comes as JSON on stdin, and its result goes as JSON to stdout.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

MEMORY_BYTES = 1 << 29


class Refused(Exception):
    """What a template raises by itself."""


def limit(seconds: int) -> None:
    """No more time and memory than this, no file written."""
    with contextlib.suppress(ImportError):
        import resource

        for kind, value in (("CPU", seconds), ("AS", MEMORY_BYTES), ("FSIZE", 0), ("CORE", 0)):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (value, value))


def environment() -> Any:
    """Jinja as `transformers` sets it up for chat templates."""
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %}, which marks what the model says, changes no text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(["name:endgeneration"], drop_needle=True)

    def refuse(message: Any) -> None:
        raise Refused(str(message)[:1000])

    def now(form: str) -> str:
        import datetime

        return datetime.datetime.now().strftime(form)

    def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = to_json
    made.globals |= {"raise_exception": refuse, "strftime_now": now}
    return made


def render(template: str, values: dict[str, Any], most: int) -> str:
    """The text; Refused if it is longer than `most` characters."""
    parts, length = [], 0
    for part in environment().from_string(template).generate(**values):
        length += len(part)
        if length > most:
            raise Refused(f"the text is longer than {most} characters")
        parts.append(part)
    return "".join(parts)


def main() -> None:
    sys.path += sys.argv[1:]
    work = json.load(sys.stdin)
    limit(work["seconds"])
    try:
        result = {"text": render(work["template"], work["values"], work["most"])}
    except MemoryError:
        result = {"error": "it takes too much memory"}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"[:2000]}
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
