"""`python -m bench.worker ITEM THREADS REPETITIONS FILE`: one work item in a process of its own, rows as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.items import run_item
from bench.measure import Settings

if __name__ == "__main__":
    item, threads, repetitions, file = sys.argv[1:]
    rows = run_item(item, Settings(int(threads), int(repetitions)))
    Path(file).write_text(json.dumps([row.to_json() for row in rows]))
