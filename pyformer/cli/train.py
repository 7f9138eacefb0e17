"""`pyformer train`: trains a GPT on text, or goes on with a run that was stopped."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any

import pyformer as pf
from pyformer import data, files, tokenizers
from pyformer.cli.arguments import (
    add_common,
    check_setting,
    device,
    real,
    say,
    say_above_bar,
    show_messages,
    whole,
)
from pyformer.cli.memory import check_training_fits
from pyformer.models import by_name
from pyformer.training import (
    CHECKPOINT_NAME,
    LOCK_NAME,
    METRICS_NAME,
    Trainer,
    TrainingOptions,
    locked,
    remove_leftovers,
)

log = logging.getLogger(__name__)

RUNS = Path("runs")
RECORD_NAME = "training.json"
MODEL_DEFAULTS: dict[str, Any] = {
    "model": "gpt",
    "tokenizer": "byte",
    "vocab": 2048,
    "layers": 4,
    "heads": 4,
    "embed": 128,
    "context": 64,
    "dropout": 0.0,
    "device": "cpu",
}
TRAINING_NAMES = [field.name for field in fields(TrainingOptions)]
# These change what is reported and saved, never the weights.
FREE_ON_RESUME = {"log_every", "eval_every", "eval_batches", "save_every", "sample_every"}

MAIN_OPTIONS: list[tuple[str, Any, str]] = [
    ("layers", whole(1, 10_000), "transformer blocks"),
    ("heads", whole(1), "attention heads"),
    ("embed", whole(1), "width of the model"),
    ("context", whole(1), "tokens that the model sees at once"),
    ("batch", whole(1), "rows of text a micro-batch"),
    ("steps", whole(1), "training steps"),
    ("lr", real(0.0, above=True), "highest learning rate"),
    ("seed", whole(0, 2**63 - 1), "seed of weights, batches and dropout"),
]
MORE_OPTIONS: list[tuple[str, Any, str]] = [
    ("vocab", whole(256), "tokens of the bpe tokenizer"),
    ("dropout", real(0.0, 0.999), "dropout"),
    ("accumulate", whole(1), "micro-batches a step"),
    ("warmup", whole(0), "steps of warm-up"),
    ("final-lr", real(0.0, 0.999999), "part of the learning rate that is left at the end"),
    ("weight-decay", real(0.0), "weight decay of matrices"),
    ("beta1", real(0.0, 0.999999), "AdamW's first beta"),
    ("beta2", real(0.0, 0.999999), "AdamW's second beta"),
    ("clip", real(0.0, above=True), "largest norm of the gradient"),
    ("average", real(0.0, 0.999999), "part of the steps, the last ones, whose weights' mean is kept; 0 for the last"),
    ("log-every", whole(1), "steps between lines of metrics"),
    ("eval-every", whole(1), "steps between evaluations"),
    ("eval-batches", whole(1), "batches of an evaluation"),
    ("save-every", whole(1), "steps between checkpoints"),
    ("sample-every", whole(0), "steps between samples of text, 0 for none"),
]
TOKENIZERS = ("byte", "char", "bpe")
KINDS: dict[str, Any] = {
    "model": by_name.LANGUAGE_MODELS,
    "tokenizer": TOKENIZERS,
    "device": device,
    **{name.replace("-", "_"): kind for name, kind, _ in MAIN_OPTIONS + MORE_OPTIONS},
}


@dataclass
class Record:
    """What training.json holds: all that is needed to start the run again."""

    files: list[str]
    text_sha256: str
    settings: dict[str, Any]

    def save(self, run: Path) -> None:
        content = {
            "pyformer": pf.__version__,
            "files": self.files,
            "text_sha256": self.text_sha256,
            "settings": self.settings,
        }
        files.write_json_atomic(run / RECORD_NAME, content, ascii_only=True)

    @classmethod
    def load(cls, run: Path) -> Record:
        path = run / RECORD_NAME
        content = files.read_json(path)
        names, digest = content.get("files"), content.get("text_sha256")
        settings = content.get("settings")
        if isinstance(settings, dict):
            # Records from before there was a choice.
            settings.setdefault("model", MODEL_DEFAULTS["model"])
            settings.setdefault("average", 0.0)
        if (
            not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
            or not isinstance(digest, str)
            or not isinstance(settings, dict)
            or set(settings) != {*MODEL_DEFAULTS, *TRAINING_NAMES}
        ):
            raise ValueError(f"{path}: not the record of a training run")
        settings = {name: check_setting(path, name, value, KINDS[name]) for name, value in settings.items()}
        return cls(names, digest, settings)


def add_command(commands: Any) -> None:
    """Adds `train` to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a language model on text",
        description="Train a GPT, or another language model, on text files (UTF-8), or on Python's own manual with no "
        "FILE.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="text to train on")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, or the latest run")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no messages")
    # Absent options stay absent, so a resumed run knows which ones were given.
    absent = argparse.SUPPRESS
    parser.add_argument("--model", choices=by_name.LANGUAGE_MODELS, default=absent, help="default gpt")
    parser.add_argument("--tokenizer", choices=TOKENIZERS, default=absent, help="default byte")
    parser.add_argument("--device", type=device, default=absent, help="cpu (default) or cuda")
    defaults = {**MODEL_DEFAULTS, **TrainingOptions().to_dict()}
    for title, options in (("size and length", MAIN_OPTIONS), ("more", MORE_OPTIONS)):
        group = parser.add_argument_group(title)
        for name, kind, text in options:
            text += f" (default {defaults[name.replace('-', '_')]})"
            group.add_argument(f"--{name}", type=kind, default=absent, metavar="N", help=text)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains; 0 when finished, 128 + signal when stopped."""
    if not args.quiet:
        show_messages()
    if args.threads:
        pf.set_num_threads(args.threads)
    given = {name: getattr(args, name) for name in vars(args) if _is_setting(name)}
    with contextlib.ExitStack() as stack:
        trainer, open_folder = (_resumed if args.resume else _started)(args, given, stack)
        received = stack.enter_context(stop_on_signals(trainer.request_stop))
        folder = open_folder()
        finished = trainer.train(progress=not args.quiet)
    if not finished:
        _report_stop(folder, trainer.step)
        return 128 + received[0] if received else 1
    name = files.display_name(folder)
    print(f"saved in {name}; try: pyformer generate {shlex.quote(name)}")
    return 0


def _is_setting(name: str) -> bool:
    return name in MODEL_DEFAULTS or name in TRAINING_NAMES


def _started(
    args: argparse.Namespace, given: dict[str, Any], stack: contextlib.ExitStack
) -> tuple[Trainer, Callable[[], Path]]:
    """A new run; the function makes its folder, once everything else is known to be right."""
    if args.out is not None:
        _check_free(args.out)
    settings = {**MODEL_DEFAULTS, **TrainingOptions().to_dict(), **given}
    options = _training_options(settings)
    _check_heads(settings)
    _check_memory(settings)
    text = _read_text(args.files)
    tokenizer = _make_tokenizer(settings, text)
    trainer = _prepare(settings, options, text, tokenizer)
    names = [str(Path(name).resolve()) for name in args.files]

    def open_folder() -> Path:
        trainer.run = folder = _make_folder(args)
        stack.enter_context(locked(folder))
        _check_free(folder)
        # The record first: with it, --resume can make all the rest again.
        Record(names, _digest(text), settings).save(folder)
        tokenizer.save(folder)
        return folder

    return trainer, open_folder


def _resumed(
    args: argparse.Namespace, given: dict[str, Any], stack: contextlib.ExitStack
) -> tuple[Trainer, Callable[[], Path]]:
    """The run in --out, or the latest one; the function takes it to its checkpoint."""
    folder = args.out or _latest_run()
    unstarted = _is_unstarted(folder)
    if not unstarted and not (folder / CHECKPOINT_NAME).is_file():
        raise ValueError(f"{folder}: has no checkpoint ({CHECKPOINT_NAME}) to go on from")
    stack.enter_context(locked(folder))
    record = Record.load(folder)
    _check_contradictions(folder, record.settings, given)
    changed, steps_before = given != {name: record.settings[name] for name in given}, record.settings["steps"]
    record.settings.update(given)
    options = _training_options(record.settings)
    _check_heads(record.settings)
    _check_memory(record.settings)
    text = _read_text(args.files or record.files)
    if _digest(text) != record.text_sha256:
        raise ValueError(f"{folder}: its text has changed since the run was started")
    tokenizer = _make_tokenizer(record.settings, text) if unstarted else tokenizers.load(folder)
    trainer = _prepare(record.settings, options, text, tokenizer)

    def open_folder() -> Path:
        trainer.run = folder
        if unstarted:
            remove_leftovers(folder)
            tokenizer.save(folder)
        else:
            trainer.restore()
        if options.steps > steps_before:
            message = "%s: %d steps instead of %d: the learning rate follows the longer schedule from here"
            log.warning(message, folder, options.steps, steps_before)
        if changed:
            record.save(folder)
        log.info("going on with %s at step %d of %d", folder, trainer.step, options.steps)
        return folder

    return trainer, open_folder


def _is_unstarted(folder: Path) -> bool:
    """Whether a run ended before its first checkpoint; one that lost its checkpoint is not such."""
    later = (CHECKPOINT_NAME, METRICS_NAME, files.WEIGHTS_NAME)
    return (folder / RECORD_NAME).is_file() and not any((folder / name).exists() for name in later)


def _prepare(
    settings: dict[str, Any],
    options: TrainingOptions,
    text: str,
    tokenizer: tokenizers.Tokenizer,
) -> Trainer:
    """Model, tokens and trainer, which has no folder yet."""
    context = settings["context"]
    train_tokens, validation_tokens = data.split(tokenizer.encode(text), context)
    config = _model_config(settings, tokenizer.vocab_size)
    pf.manual_seed(options.seed)
    model = by_name.language_model(settings["model"], config)
    if settings["device"] != "cpu":
        model.to(settings["device"])
    log.info(
        "%s tokens of text, %s parameters, %s",
        f"{train_tokens.size + validation_tokens.size:,}",
        f"{model.num_parameters():,}",
        settings["device"],
    )
    return Trainer(model, train_tokens, validation_tokens, options, tokenizer=tokenizer)


def _model_config(settings: dict[str, Any], vocab_size: int) -> Any:
    return by_name.language_config(
        settings["model"],
        vocab_size=vocab_size,
        context_length=settings["context"],
        num_layers=settings["layers"],
        num_heads=settings["heads"],
        embed_dim=settings["embed"],
        dropout=settings["dropout"],
    )


def _check_memory(settings: dict[str, Any]) -> None:
    """With the smallest vocabulary that the tokenizer may have: the text is not read yet."""
    if settings["device"] == "cpu":
        config = _model_config(settings, 1 if settings["tokenizer"] == "char" else 256)
        check_training_fits(config, settings["batch"])


def _training_options(settings: dict[str, Any]) -> TrainingOptions:
    return TrainingOptions.from_dict({name: settings[name] for name in TRAINING_NAMES})


def _check_heads(settings: dict[str, Any]) -> None:
    embed, heads = settings["embed"], settings["heads"]
    if by_name.has_heads(settings["model"]) and embed % heads:
        raise ValueError(f"--embed {embed} must be a multiple of --heads {heads}")


def _check_contradictions(folder: Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    differing = {name: value for name, value in given.items() if value != stored[name] and name not in FREE_ON_RESUME}
    if differing.get("steps", 0) > stored["steps"]:
        del differing["steps"]
    if differing:
        wrong = ", ".join(
            f"--{name.replace('_', '-')} {value} (the run has {stored[name]})" for name, value in differing.items()
        )
        raise ValueError(
            f"{folder}: a resumed run keeps its options; contradicting: {wrong}; leave them out, or start a new run"
        )


def _read_text(names: list[str]) -> str:
    return data.read_text(names) if names else data.python_manual()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _make_tokenizer(settings: dict[str, Any], text: str) -> tokenizers.Tokenizer:
    if settings["tokenizer"] == "char":
        return tokenizers.CharTokenizer.train(text)
    if settings["tokenizer"] == "bpe":
        seen = text[: len(text) - int(len(text) * data.VALIDATION_FRACTION)]
        return tokenizers.BPETokenizer.train(seen, settings["vocab"])
    return tokenizers.ByteTokenizer()


def _check_free(folder: Path) -> None:
    if folder.is_dir():
        # A process killed at its start may have left its lock and a part of the record.
        if any(not (path.match(f".{RECORD_NAME}.*.tmp") or path.name == LOCK_NAME) for path in folder.iterdir()):
            raise ValueError(f"{folder}: exists and is not empty; use --resume to go on with it, or another --out")
    elif folder.exists():
        raise ValueError(f"{folder}: is a file, expected the folder of a run")


def _make_folder(args: argparse.Namespace) -> Path:
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        return args.out
    corpus = Path(args.files[0]).stem if args.files else "python-manual"
    name = f"{corpus}-{time.strftime('%Y%m%d-%H%M%S')}"
    RUNS.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):
        folder = RUNS / (name if attempt == 1 else f"{name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise ValueError(f"{RUNS / name}: exists; choose a folder with --out")


def _latest_run() -> Path:
    times = {path.parents[1]: path.stat().st_mtime_ns for path in RUNS.glob(f"*/{CHECKPOINT_NAME}")}
    for path in RUNS.glob(f"*/{RECORD_NAME}"):
        if _is_unstarted(path.parent):
            times[path.parent] = path.stat().st_mtime_ns
    if not times:
        raise ValueError(f"no run with a checkpoint under {RUNS}/: name one with --out")
    return max(times, key=lambda folder: times[folder])


@contextlib.contextmanager
def stop_on_signals(request_stop: Callable[[], None]) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM asks training to stop, the next one ends the process.

    Yields a list that the number of the first signal is put into.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        request_stop()
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        say_above_bar("stopping to save; press Ctrl-C again to end at once without saving")

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report_stop(folder: Path, step: int) -> None:
    command = f"pyformer train --resume --out {shlex.quote(files.display_name(folder))}"
    say(f"stopped at step {step}; everything is saved. Go on with: {command}")
