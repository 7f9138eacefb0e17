"""`pyformer derive`: trains the ladder from convolution to transformer, one rung after the other."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyformer import datasets, formats
from pyformer.cli.arguments import (
    DEVICE_HELP,
    add_common,
    check_setting,
    default_device,
    device,
    real,
    say,
    whole,
)
from pyformer.cli.jobs import JobBar, check_free, minutes, new_record, results_of
from pyformer.cli.signals import terminate_as_interrupt
from pyformer.experiments import derive, derive_report, derive_tasks
from pyformer.terminal import announce
from pyformer.training import locked

DEFAULT_FOLDER = Path("runs") / "derive"
RECORD_NAME, TABLE_NAME = "results.json", "table.md"
DEFAULTS: dict[str, Any] = {"steps": 120, "seconds": None, "seed": 0, "device": None}
KINDS = {"steps": whole(1), "seconds": real(0.0, above=True), "seed": whole(0, 2**63 - 2), "device": device}
PICTURE_TESTS = 2000
INTERRUPTED = 130


def add_command(commands: Any) -> None:
    """Adds `derive` to the command line."""
    parser = commands.add_parser(
        "derive",
        help="train the ladder from convolution to transformer",
        description="Train each rung from convolution to transformer on the same budget, and measure what each step "
        "mends: under five minutes on two cores. Its data, up to 39 MB, is fetched once, into $PYFORMER_CACHE or "
        "~/.cache/pyformer. docs/derivation.md explains the rungs; its numbers are of --steps 300.",
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER, metavar="DIR", help="folder (default runs/derive)")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=KINDS["steps"], metavar="N", help="training steps per rung (default 120)")
    budget.add_argument("--seconds", type=KINDS["seconds"], metavar="S", help="training time per rung instead")
    parser.add_argument("--seed", type=KINDS["seed"], metavar="N", help="of weights and batches (default 0)")
    parser.add_argument("--device", type=KINDS["device"], help=DEVICE_HELP)
    add_common(parser, quiet="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains all rungs that have no result yet, prints and draws the results; 0, or 130 when interrupted."""
    record = _resumed(args) if args.resume else _started(args)
    settings = record["settings"]
    budget = derive.Budget(settings["steps"], settings["seconds"])
    jobs = derive.make_jobs(_load_tasks(settings["seed"]), budget, settings["seed"], settings["device"])
    args.out.mkdir(parents=True, exist_ok=True)
    with locked(args.out):
        _save(args.out, record)
        try:
            with terminate_as_interrupt():
                _work(args, jobs, record)
        except KeyboardInterrupt:
            command = f"pyformer derive --resume --out {shlex.quote(formats.display_name(args.out))}"
            say(f"stopped; {len(record['results'])} results are saved. Go on with: {command}")
            return INTERRUPTED
        with results_of(args.out / RECORD_NAME):
            _report(args.out, record["results"])
    return 0


def _report(folder: Path, results: dict[str, Any]) -> None:
    text = derive_report.table(results)
    formats.write_bytes_atomic(folder / TABLE_NAME, text.encode())
    for name, picture in derive_report.drawings(results).items():
        formats.write_bytes_atomic(folder / name, picture.encode())
    announce(f"{text}\n{derive_report.probes(results)}\nsaved in {formats.display_name(folder)}")


def _started(args: argparse.Namespace) -> dict[str, Any]:
    check_free(args.out)
    settings = {**DEFAULTS, "device": default_device(), **_given(args)}
    if args.seconds is not None:
        settings["steps"] = None
    return new_record(settings)


def _resumed(args: argparse.Namespace) -> dict[str, Any]:
    path = args.out / RECORD_NAME
    record = formats.read_json(path)
    settings, results = record.get("settings"), record.get("results")
    if isinstance(settings, dict):
        # Older records lack the device: it was always the CPU.
        settings.setdefault("device", "cpu")
    if not isinstance(settings, dict) or set(settings) != set(DEFAULTS) or not isinstance(results, dict):
        raise ValueError(f"{path}: not the record of `pyformer derive`")
    for name, kind in KINDS.items():
        settings[name] = None if settings[name] is None else check_setting(path, name, settings[name], kind)
    if (settings["steps"] is None) == (settings["seconds"] is None) or None in (settings["seed"], settings["device"]):
        raise ValueError(f"{path}: must have steps or seconds, a seed and a device")
    if not all(isinstance(result, dict) and result for result in results.values()):
        raise ValueError(f"{path}: has an entry that is not a result")
    for name, value in _given(args).items():
        if settings[name] != value:
            raise ValueError(f"{args.out}: --{name} {value} contradicts the run, which has {settings[name]}")
    return record


def _given(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in DEFAULTS if getattr(args, name) is not None}


def _load_tasks(seed: int) -> dict[str, derive_tasks.Task]:
    """The tasks whose data is here or can be fetched; a line on stderr for each other."""

    def pictures() -> derive_tasks.Task:
        images, labels, test_images, test_labels = datasets.fashion_mnist()
        tests = slice(0, PICTURE_TESTS)
        return derive_tasks.pictures_task(images, labels, test_images[tests], test_labels[tests], seed)

    loaders: dict[str, Callable[[], derive_tasks.Task]] = {
        derive_tasks.PICTURES: pictures,
        derive_tasks.SENTIMENT: lambda: derive_tasks.sentiment_task(*datasets.movie_snippets(), seed=seed),
        derive_tasks.NEXT_WORD: lambda: derive_tasks.next_word_task(datasets.shakespeare(), seed),
    }
    tasks = {}
    for name, load in loaders.items():
        try:
            tasks[name] = load()
        except datasets.DataUnavailable as error:
            say(f"pyformer derive: without the task {name!r}: {error}")
    return tasks


def _work(args: argparse.Namespace, jobs: dict[str, derive.Job], record: dict[str, Any]) -> None:
    results = record["results"]
    settings, costs = record["settings"], derive.costs(jobs)
    budget = derive.Budget(settings["steps"], settings["seconds"])
    if not args.quiet:
        left = derive.seconds_of(costs, budget, [name not in results for name in jobs])
        say(f"{len(jobs)} jobs, about {minutes(left)} on two cores; Ctrl-C stops, --resume goes on")
    with JobBar(costs, hidden=args.quiet or sys.stderr is None) as bar:
        for number, (name, job) in enumerate(jobs.items()):
            if name in results:
                bar.skip(number)
                continue
            results[name] = job(bar.reporter(number, name))
            _save(args.out, record)


def _save(folder: Path, record: dict[str, Any]) -> None:
    formats.write_json_atomic(folder / RECORD_NAME, record)
