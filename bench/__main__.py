"""`python -m bench`: runs the work items, each in a process of its own, and prints one table."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from bench import ROOT, rivals

ALWAYS = ("torch", "transformers")


def rivals_found() -> str:
    """A line for a person."""
    versions = rivals.versions()
    found = [f"{name} {version}" for name, version in versions.items()]
    absent = [name for name in rivals.RIVALS if name not in versions]
    return f"Rivals beside {' and '.join(ALWAYS)}: {', '.join(found) or 'none'}; absent: {', '.join(absent) or 'none'}."


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    by_command = "PYFORMER_BENCH_FROM" in os.environ  # which `pyformer bench` sets
    parser = argparse.ArgumentParser(
        prog="pyformer bench" if by_command else "python -m bench",
        description="Compare pyformer with PyTorch and others.",
        epilog=rivals_found(),
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only items whose name contains one of these")
    parser.add_argument("--list", action="store_true", help="print the names of the items and the rivals found")
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny sizes, once, all in one process")
    parser.add_argument("--threads", type=int, default=2, help="of every contender (default 2)")
    parser.add_argument("--repetitions", type=int, default=7, help="interleaved samples of each contender (default 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go; without it a whole run, neither "
                        "--only nor --quick, goes to bench/results/DATE-CPU.json")  # fmt: skip
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the rows measured in the place of those of an "
                        "earlier run, each with the limits of its own run")  # fmt: skip
    args = parser.parse_args(arguments)
    if args.threads < 1 or args.repetitions < 1:
        parser.error("--threads and --repetitions must be at least 1")
    if args.quick:
        args.repetitions = 1
    return args


def select(names: list[str], only: list[str] | None) -> list[str]:
    """The names that contain one of `only`; ValueError if one of these matches nothing."""
    for wanted in only or ():
        if not any(wanted in name for name in names):
            raise ValueError(f"--only {wanted}: no such item; there are {', '.join(names)}")
    return [name for name in names if not only or any(wanted in name for wanted in only)]


def run_here(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One item in this process."""
    from bench.items import run_item
    from bench.measure import Settings

    return [row.to_json() for row in run_item(name, Settings(args.threads, args.repetitions, args.quick))]


def run_apart(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """One item in a process of its own: no item finds another's memory or caches, and a crash ends only itself."""
    threads = str(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        command = [sys.executable, "-m", "bench.worker", name, threads, str(args.repetitions), str(file)]
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYFORMER_NUM_THREADS": threads}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            raise RuntimeError(done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}")
        return json.loads(file.read_text())


def headline(text: str) -> str:
    """The line of a traceback that names the error."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (named or lines or ["failed"])[-1]


def run_all(names: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Runs the items; a failed one is reported and the others go on."""
    from bench.machine import describe, measure_limits

    machine, measured = describe(), [measure_limits(args.threads)]
    rows, failures = [], {}
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)
        try:
            found = run_here(name, args) if args.quick else run_apart(name, args)
            rows += found
            if not args.quick:
                measured.append(measure_limits(args.threads))
                for row in found:
                    row["limits"] = highest(measured[-2:])
        except Exception as error:
            text = traceback.format_exc() if args.quick else str(error)
            print(text, file=sys.stderr)
            failures[name] = headline(text)
    # How fast memory is changes within minutes where machines are shared. Arithmetic does not; what does is whether all
    # CPUs were free for the measuring.
    for row in rows:
        row.get("limits", {}).update(fma_peak_gflops=highest(measured)["fma_peak_gflops"])
    return {
        "machine": machine,
        "threads": args.threads,
        "repetitions": args.repetitions,
        "limits": highest(measured),
        "limits_measured": measured,
        "rows": rows,
        "failures": failures,
    }


def highest(measured: list[dict[str, float]]) -> dict[str, float]:
    """The highest of each rate."""
    return {name: max(limits[name] for limits in measured) for name in measured[0] if name != "round_trip_ns"}


def default_file(machine: dict[str, Any]) -> Path:
    """bench/results/DATE-CPU.json in a checkout; of an installed benchmark, in the folder where it was called."""
    cpu = re.sub(r"[^a-z0-9]+", "-", machine["cpu"].lower()).strip("-")
    results = ROOT / "bench" / "results"
    folder = results if results.is_dir() else Path(os.environ.get("PYFORMER_BENCH_FROM", "."))
    return folder / f"{machine['date'][:10]}-{cpu}.json"


def main() -> int:
    """Exit code 0, 1 if an item failed, 2 if it could not start."""
    args = parse_arguments()
    if any(importlib.util.find_spec(rival) is None for rival in ALWAYS):
        print('bench: needs torch and transformers: pip install ".[bench]"', file=sys.stderr)
        return 2
    from bench.items import all_items
    from bench.report import put_into, read_run, text_table

    try:
        names = select(list(all_items(args.quick)), args.only)
        earlier = read_run(args.into) if args.into else None  # now, not after the measuring
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if args.list:
        print("\n".join([*names, "", rivals_found()]))
        return 0
    data = run_all(names, args)
    print(text_table(data))
    if earlier is not None:
        data = put_into(earlier, data)
    file = args.json or args.into or (None if args.quick or args.only else default_file(data["machine"]))
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(data, indent=1) + "\n")
        print(f"wrote {file}")
    return 1 if data["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
