"""`pyformer train`: trains a GPT on text, or goes on with a run that was stopped."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import data, formats, tokenizers
from pyformer.cli.arguments import add_common, move, say, show_messages, standard_input
from pyformer.cli.signals import stop_on_signals
from pyformer.cli.train_settings import (
    RECORD_NAME,
    Record,
    add_settings,
    check_contradictions,
    checked_options,
    default_settings,
    is_setting,
    model_config,
    read_config,
)
from pyformer.models import by_name
from pyformer.products import bfloat16_products
from pyformer.terminal import announce
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
TEXT_NAME = "text.txt"


def add_command(commands: Any) -> None:
    """Adds `train` to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a language model on text",
        description="Train a GPT, or another language model, on text files (UTF-8), or on Python's own manual with no "
        "FILE.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="text to train on, a folder of texts, or - for stdin")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run (runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, or the latest run")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings from a JSON file, a run's training.json for example"
    )
    add_settings(parser)
    add_common(parser, quiet="no progress bar, no messages")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains; 0 when finished, 128 + signal when stopped."""
    if not args.quiet and not args.verbose:
        show_messages()
    given = {name: getattr(args, name) for name in vars(args) if is_setting(name)}
    with contextlib.ExitStack() as stack:
        if args.quiet:
            stack.enter_context(_errors_only())
        trainer, open_folder = (_resumed if args.resume else _started)(args, given, stack)
        received = stack.enter_context(stop_on_signals(trainer.request_stop))
        folder = open_folder()
        finished = trainer.train(progress=not args.quiet)
    if not finished:
        _report_stop(folder, trainer.step)
        return 128 + received[0] if received else 1
    name = formats.display_name(folder)
    if args.quiet:
        return 0
    announce(f"saved in {name}; try: pyformer generate {shlex.quote(name)}")
    return 0


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Within it, of what is logged errors alone are told."""
    logger = logging.getLogger("pyformer")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _started(
    args: argparse.Namespace, given: dict[str, Any], stack: contextlib.ExitStack
) -> tuple[Trainer, Callable[[], Path]]:
    """A new run; the function makes its folder, once everything else is known to be right."""
    if args.out is not None:
        _check_free(args.out)
    files, configured = ([], {}) if args.config is None else read_config(args.config)
    files = args.files or files
    settings = {**default_settings(), **configured, **given}
    options = checked_options(settings)
    text = _read_text(files)
    tokenizer = _make_tokenizer(settings, text, not args.quiet)
    trainer = _prepare(settings, options, text, tokenizer, not args.quiet)

    def open_folder() -> Path:
        trainer.run = folder = _make_folder(args.out, files)
        stack.enter_context(locked(folder))
        _check_free(folder)
        names = [str(Path(name).resolve()) for name in files]
        if "-" in files:  # what came by stdin comes once, and --resume needs it again
            names = [str((folder / TEXT_NAME).resolve())]
            formats.write_bytes_atomic(folder / TEXT_NAME, text.encode())
        # The record first: with it, --resume can make all the rest again.
        Record(names, _digest(text), settings).save(folder)
        tokenizer.save(folder)
        return folder

    return trainer, open_folder


def _resumed(
    args: argparse.Namespace, given: dict[str, Any], stack: contextlib.ExitStack
) -> tuple[Trainer, Callable[[], Path]]:
    """The run in --out, or the latest one; the function takes it to its checkpoint."""
    if args.config is not None:
        raise ValueError("--config: goes with a new run; --resume has the settings of its own")
    folder = args.out or _latest_run()
    unstarted = _is_unstarted(folder)
    if not unstarted and not (folder / CHECKPOINT_NAME).is_file():
        raise ValueError(f"{folder}: has no checkpoint ({CHECKPOINT_NAME}) to go on from")
    stack.enter_context(locked(folder))
    record = Record.load(folder)
    check_contradictions(folder, record.settings, given)
    changed, steps_before = given != {name: record.settings[name] for name in given}, record.settings["steps"]
    record.settings.update(given)
    options = checked_options(record.settings)
    text = _read_text(args.files or record.files)
    if _digest(text) != record.text_sha256:
        raise ValueError(f"{folder}: its text has changed since the run was started")
    progress = not args.quiet
    tokenizer = _make_tokenizer(record.settings, text, progress) if unstarted else tokenizers.load(folder)
    trainer = _prepare(record.settings, options, text, tokenizer, progress)

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
    later = (CHECKPOINT_NAME, METRICS_NAME, formats.WEIGHTS_NAME)
    return (folder / RECORD_NAME).is_file() and not any((folder / name).exists() for name in later)


def _prepare(
    settings: dict[str, Any],
    options: TrainingOptions,
    text: str,
    tokenizer: tokenizers.Tokenizer,
    progress: bool,
) -> Trainer:
    """Model, tokens and trainer, which has no folder yet."""
    train_tokens, validation_tokens = _split(settings, text, tokenizer, progress)
    config = model_config(settings, tokenizer.vocab_size)
    pf.manual_seed(options.seed)
    model = by_name.language_model(settings["model"], config)
    move(model, settings["device"])
    log.info(
        "%s tokens of text, %s parameters, %s%s",
        f"{train_tokens.size + validation_tokens.size:,}",
        f"{model.num_parameters():,}",
        settings["device"],
        f", bfloat16 products by {bfloat16_products()}" if options.dtype == "bfloat16" else "",
    )
    return Trainer(model, train_tokens, validation_tokens, options, tokenizer=tokenizer)


def _split(
    settings: dict[str, Any], text: str, tokenizer: tokenizers.Tokenizer, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens to train on, and those to judge on; ValueError if one part is too short."""
    shown = {"progress": progress} if isinstance(tokenizer, tokenizers.BPETokenizer) else {}
    if settings["validation"] == "end":
        return data.split(tokenizer.encode(text, **shown), settings["context"])
    train, validation = (tokenizer.encode(part, **shown) for part in data.split_text(text, settings["seed"]))
    needed = settings["context"] + 1
    if min(train.size, validation.size) < needed:
        raise ValueError(
            f"the text is too short: of its {train.size + validation.size} tokens {validation.size} are kept for "
            f"validation, which must hold context + 1 = {needed}; use more text, or a shorter context"
        )
    return train, validation


def _read_text(names: list[str]) -> str:
    return data.read_text(names, standard_input()) if names else data.python_manual()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _make_tokenizer(settings: dict[str, Any], text: str, progress: bool) -> tokenizers.Tokenizer:
    if settings["tokenizer"] == "char":
        return tokenizers.CharTokenizer.train(text)
    if settings["tokenizer"] == "bpe":
        at_end = settings["validation"] == "end"
        cut = len(text) - int(len(text) * data.VALIDATION_FRACTION)
        seen = text[:cut] if at_end else data.split_text(text, settings["seed"])[0]
        return tokenizers.BPETokenizer.train(seen, settings["vocab"], progress=progress)
    return tokenizers.ByteTokenizer()


def _check_free(folder: Path) -> None:
    if folder.is_dir():
        # A process killed at its start may have left its lock and a part of the record.
        if any(not (path.match(f".{RECORD_NAME}.*.tmp") or path.name == LOCK_NAME) for path in folder.iterdir()):
            raise ValueError(f"{folder}: exists and is not empty; use --resume to go on with it, or another --out")
    elif folder.exists():
        raise ValueError(f"{folder}: is a file, expected the folder of a run")


def _make_folder(out: Path | None, files: list[str]) -> Path:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        return out
    corpus = "stdin" if files[:1] == ["-"] else Path(files[0]).resolve().stem if files else "python-manual"
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


def _report_stop(folder: Path, step: int) -> None:
    command = f"pyformer train --resume --out {shlex.quote(formats.display_name(folder))}"
    say(f"stopped at step {step}; everything is saved. Go on with: {command}")
