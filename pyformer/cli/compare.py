"""`pyformer compare`: trains models of equal size on one task, with equal budgets, one after the other."""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from pathlib import Path
from typing import Any

from pyformer import formats
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
from pyformer.cli.signals import stop_on_signals
from pyformer.experiments import compare, compare_report, compare_tasks
from pyformer.experiments.compare_report import RECORD_NAME
from pyformer.terminal import announce
from pyformer.training import CHECKPOINT_NAME, locked

RUNS = Path("runs")
TABLE_NAME = "table.md"
SETTINGS = ("task", "files", "models", "steps", "seconds", "parameters", "seed", "seeds", "rates", "device")
KINDS: dict[str, Any] = {
    "task": compare_tasks.TASKS,
    "steps": whole(1),
    "seconds": real(0.0, above=True),
    "parameters": whole(1, 10**8),
    "seed": whole(0, 2**63 - 102),
    "seeds": whole(1, 100),
    "device": device,
}
RECORD_KEYS = {
    "pyformer",
    "machine",
    "date",
    "settings",
    "results",
    "unit",
    "loss_name",
    "logarithmic",
    "data_sha256",
    "races",
}


def add_command(commands: Any) -> None:
    """Adds `compare` to the command line."""
    parser = commands.add_parser(
        "compare",
        help="train models of equal size on one task, and compare them",
        description="Train models of equal size on one task, with the same budget each, and draw their losses against "
        "time and against what they have seen. text: the next character of Shakespeare, or of FILEs; function: "
        "formulas of physics; series: a swing kicked at uneven times; sentiment: sentences of film reviews. "
        "Shakespeare and the reviews, 8 MB, are fetched once, into $PYFORMER_CACHE or ~/.cache/pyformer.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="text for --task text (default: Shakespeare)")
    parser.add_argument("--task", choices=KINDS["task"], help="default text")
    parser.add_argument("--models", type=_names, metavar="A,B", help="which models (default: all of the task)")
    budget = parser.add_mutually_exclusive_group()
    seconds_help = "training time per model (default 20)"
    budget.add_argument("--seconds", type=KINDS["seconds"], metavar="S", help=seconds_help)
    budget.add_argument("--steps", type=KINDS["steps"], metavar="N", help="training steps per model, instead")
    parser.add_argument(
        "--parameters", type=KINDS["parameters"], metavar="N", help="number of parameters of each model, within 2%%"
    )
    parser.add_argument("--seed", type=KINDS["seed"], metavar="N", help="of weights and batches (default 0)")
    seeds_help = "train each model with N seeds, from --seed on; the table has the mean and its standard error"
    parser.add_argument("--seeds", type=KINDS["seeds"], metavar="N", help=seeds_help)
    rates_help = (
        "learning rates to search, the same for all models: each is tried with the first seed, and the one with the "
        "least loss at the end is taken (default: one for each model, not searched for)"
    )
    parser.add_argument("--rates", type=_rates, metavar="A,B", help=rates_help)
    parser.add_argument("--device", type=KINDS["device"], help=DEVICE_HELP)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder (default runs/compare-TASK)")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the results into this Markdown page too")
    add_common(parser, quiet="no progress bar")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains what has no result yet, prints and draws the results; 0, or 128 + signal when stopped."""
    args.out = args.out or RUNS / f"compare-{args.task or compare_tasks.TEXT}"
    record, task = (_resumed if args.resume else _started)(args)
    settings = record["settings"]
    if args.page is not None:
        compare_report.check_page(args.page, compare_report.part_of(record))
    sizes = {name: compare.find_size(name, task.entrants[name], settings["parameters"]) for name in settings["models"]}
    args.out.mkdir(parents=True, exist_ok=True)
    with locked(args.out):
        _save(args.out, record)
        stopped = _work(args, task, sizes, record)
        if stopped:
            command = f"pyformer compare --resume --out {shlex.quote(formats.display_name(args.out))}"
            say(f"stopped; everything is saved. Go on with: {command}")
            return 128 + stopped
        with results_of(args.out / RECORD_NAME):
            text, pictures = compare_report.table(record), compare_report.drawings(record)
        _report(args, record, text, pictures)
    return 0


def _started(args: argparse.Namespace) -> tuple[dict[str, Any], compare.Task]:
    check_free(args.out)
    name, seed = args.task or compare_tasks.TEXT, args.seed or 0
    paths = [str(Path(path).resolve()) for path in args.files]
    if paths and name != compare_tasks.TEXT:
        raise ValueError(f"--task {name} takes no FILE, got {args.files[0]}")
    task = compare_tasks.load_task(name, paths, seed)
    models = args.models or list(task.entrants)
    unknown = [model for model in models if model not in task.entrants]
    if unknown:
        raise ValueError(f"--models: --task {name} has {', '.join(task.entrants)}, got {', '.join(unknown)}")
    settings = {
        "task": name,
        "files": paths,
        "models": models,
        "steps": args.steps,
        "seconds": None if args.steps else args.seconds or task.seconds,
        "parameters": args.parameters or task.parameters,
        "seed": seed,
        "seeds": args.seeds or 1,
        "rates": args.rates,
        "device": args.device or default_device(),
    }
    about = {"unit": task.unit, "loss_name": task.loss_name, "logarithmic": task.logarithmic}
    return {**new_record(settings), **about, "data_sha256": _digest(task), "races": {}}, task


def _check_record(path: Path, record: dict[str, Any]) -> None:
    """ValueError, naming the file, unless this is a record that can be gone on with."""
    settings, results = record.get("settings"), record.get("results")
    if isinstance(settings, dict):
        # Older records lack these settings: they had no other value then.
        settings.setdefault("device", "cpu")
        settings.setdefault("seeds", 1)
        settings.setdefault("rates", None)
    record.setdefault("races", {})
    if set(record) != RECORD_KEYS or not isinstance(settings, dict) or set(settings) != set(SETTINGS):
        raise ValueError(f"{path}: not the record of `pyformer compare`")
    for name, kind in KINDS.items():
        if settings[name] is not None or name not in ("steps", "seconds"):
            settings[name] = check_setting(path, name, settings[name], kind)
    if settings["rates"] is not None:
        settings["rates"] = check_setting(path, "rates", _word(settings["rates"]), _rates)
    if (settings["steps"] is None) == (settings["seconds"] is None):
        raise ValueError(f"{path}: must have steps or seconds")
    for name in ("models", "files"):
        if not isinstance(settings[name], list) or not all(isinstance(item, str) for item in settings[name]):
            raise ValueError(f"{path}: {name} must be a list of names")
    if not settings["models"] or len(set(settings["models"])) < len(settings["models"]):
        raise ValueError(f"{path}: models must be one or more, each once")
    types = {"unit": str, "loss_name": str, "logarithmic": bool, "races": dict}
    if not isinstance(results, dict) or not all(isinstance(record[name], kind) for name, kind in types.items()):
        raise ValueError(f"{path}: not the record of `pyformer compare`")
    if not set(results) | set(record["races"]) <= set(settings["models"]):
        raise ValueError(f"{path}: has results of models that take no part")


def _resumed(args: argparse.Namespace) -> tuple[dict[str, Any], compare.Task]:
    path = args.out / RECORD_NAME
    record = formats.read_json(path)
    _check_record(path, record)
    settings = record["settings"]
    for name in SETTINGS:
        given = getattr(args, name)
        if name != "files" and given is not None and given != settings[name]:
            raise ValueError(
                f"{args.out}: --{name} {_word(given)} contradicts the run, which has {_word(settings[name])}"
            )
    task = compare_tasks.load_task(settings["task"], args.files or settings["files"], settings["seed"])
    if _digest(task) != record["data_sha256"] or not set(settings["models"]) <= set(task.entrants):
        raise ValueError(f"{args.out}: its data or models have changed since the run was started")
    return record, task


def _word(setting: Any) -> str:
    """A setting as the command line has it."""
    return ",".join(map(str, setting)) if isinstance(setting, list) else str(setting)


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return names


def _rates(text: str) -> list[float]:
    return [real(0.0, above=True)(rate) for rate in _names(text)]


def _digest(task: compare.Task) -> str:
    """SHA-256 of the first batch and of the validation data: other data has another one."""
    digest = hashlib.sha256()
    for array in (*task.batch_of(0), *(array for batch in task.validation for array in batch)):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _work(args: argparse.Namespace, task: compare.Task, sizes: dict[str, compare.Size], record: dict[str, Any]) -> int:
    """Runs what has no result; the number of the signal that stopped it, or 0."""
    races: list[compare.Race] = []

    def stop() -> None:
        for race in races:
            race.request_stop()

    settings, done = record["settings"], record["races"]
    seeds = range(settings["seed"], settings["seed"] + settings["seeds"])
    each = len(settings["rates"] or [0]) + len(seeds) - 1
    if not args.quiet:
        _say_how_long(record, each)
    costs = [1.0] * (each * len(sizes))
    with JobBar(costs, hidden=args.quiet or sys.stderr is None) as bar, stop_on_signals(stop) as received:
        for number, (name, size) in enumerate(sizes.items()):
            rates = settings["rates"] or [task.entrants[name].rate]
            finished = each if name in record["results"] else len(done.setdefault(name, {}))
            for job in range(finished):
                bar.skip(each * number + job)
            while name not in record["results"]:
                wanted = compare.next_race(rates, seeds, done[name])
                if wanted is None:
                    record["results"][name] = compare.joined(rates, seeds, done.pop(name))
                    _save(args.out, record)
                    break
                folder = args.out / (name if each == 1 else f"{name}-{compare.race_name(*wanted)}")
                races[:] = [race] = [_prepare(folder, task, name, size, settings, *wanted)]
                race.report = bar.reporter(each * number + len(done[name]), folder.name)
                result = None if received else _result(race, task, name, size)
                if result is None:
                    return received[0] if received else 1
                done[name][compare.race_name(*wanted)] = result
                _save(args.out, record)
    return 0


def _say_how_long(record: dict[str, Any], each: int) -> None:
    settings = record["settings"]
    left = each * (len(settings["models"]) - len(record["results"])) - sum(map(len, record["races"].values()))
    what = ("model" if each == 1 else "run") + ("s" if left != 1 else "")
    if settings["seconds"] is None:
        say(f"{left} {what} of {settings['steps']:,} steps each; the bar tells how long from the first on")
        return
    # Evaluations take about two fifths of the time that training takes.
    total = minutes(1.4 * left * settings["seconds"])
    say(f"{left} {what} of {settings['seconds']:g} s of training each, about {total}; Ctrl-C stops, --resume goes on")


def _prepare(
    folder: Path, task: compare.Task, name: str, size: compare.Size, settings: dict[str, Any], rate: float, seed: int
) -> compare.Race:
    """A model's race, taken to its checkpoint if there is one."""
    entrant = task.entrants[name]
    budget = compare.Budget(settings["steps"], settings["seconds"])
    model = compare.make_model(entrant, size, seed, settings["device"])
    folder.mkdir(exist_ok=True)
    if task.tokenizer is not None:
        task.tokenizer.save(folder)
    race = compare.Race(model, task, rate, budget, seed, folder)
    if (folder / CHECKPOINT_NAME).is_file():
        race.restore()
    return race


def _result(race: compare.Race, task: compare.Task, name: str, size: compare.Size) -> dict[str, Any] | None:
    """What came out, or None if it was stopped."""
    entrant, more = task.entrants[name], {}
    try:
        if not race.race():
            return None
        if task.measure is not None:
            more = task.measure(race.model)
    except FloatingPointError as error:
        say(f"{name}: {error}")
        more = {"loss": None}
    shape = {"knob": entrant.knob, "choice": size.choice, "width": size.width}
    return {**shape, **race.result(), **more}


def _save(folder: Path, record: dict[str, Any]) -> None:
    formats.write_json_atomic(folder / RECORD_NAME, record)


def _report(args: argparse.Namespace, record: dict[str, Any], text: str, pictures: dict[str, str]) -> None:
    formats.write_bytes_atomic(args.out / TABLE_NAME, text.encode())
    for name, picture in pictures.items():
        formats.write_bytes_atomic(args.out / name, picture.encode())
    announce(f"{text}\nsaved in {formats.display_name(args.out)}")
    if args.page is not None:
        compare_report.write_page(args.page, record)
        announce(f"and in {formats.display_name(args.page)}")
