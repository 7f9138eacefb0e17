"""The settings of `pyformer train`: their options on the command line, their record in a run, their checks."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyformer as pf
from pyformer import formats
from pyformer.cli.arguments import DEVICE_HELP, check_setting, default_device, device, did_you_mean, real, whole
from pyformer.cli.memory import check_training_fits
from pyformer.models import by_name
from pyformer.training import TrainingOptions
from pyformer.training.options import DTYPES

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
    "validation": "blocks",
}
TRAINING_NAMES = [field.name for field in fields(TrainingOptions)]
# These change what is reported and saved, and where it is computed.
FREE_ON_RESUME = {"log_every", "eval_every", "eval_batches", "save_every", "sample_every", "device"}

MAIN_OPTIONS: list[tuple[str, Any, str]] = [
    ("layers", whole(1, 10_000), "transformer blocks"),
    ("heads", whole(1), "attention heads"),
    ("embed", whole(1), "numbers in a token's vector"),
    ("context", whole(1), "tokens that the model sees at once"),
    ("batch", whole(1), "texts of --context tokens in a micro-batch"),
    ("steps", whole(1), "training steps"),
    ("lr", real(0.0, above=True), "highest learning rate"),
    ("seed", whole(0, 2**63 - 1), "seed of weights, batches and dropout"),
]
MORE_OPTIONS: list[tuple[str, Any, str]] = [
    ("vocab", whole(256), "tokens of the bpe tokenizer"),
    ("dropout", real(0.0, 0.999), "probability with which dropout leaves a number out"),
    ("accumulate", whole(1), "micro-batches whose gradients are added for one step"),
    ("warmup", whole(0), "steps over which the learning rate rises to --lr"),
    ("final-lr", real(0.0, 0.999999), "learning rate at the last step, as a fraction of --lr"),
    ("weight-decay", real(0.0), "weight decay of matrices"),
    ("beta1", real(0.0, 0.999999), "AdamW's first beta"),
    ("beta2", real(0.0, 0.999999), "AdamW's second beta"),
    ("clip", real(0.0, above=True), "a gradient with a larger norm is scaled down to it"),
    ("average", real(0.0, 0.999999), "fraction of the steps, at the end, whose weights are averaged; 0 keeps the last"),
    ("log-every", whole(1), "steps between lines of metrics"),
    ("eval-every", whole(1), "steps between evaluations"),
    ("eval-batches", whole(1), "batches of an evaluation"),
    ("save-every", whole(1), "steps between checkpoints"),
    ("sample-every", whole(0), "steps between samples of text, 0 for none"),
]
TOKENIZERS = ("byte", "char", "bpe")
VALIDATIONS = ("blocks", "end")
KINDS: dict[str, Any] = {
    "model": by_name.LANGUAGE_MODELS,
    "tokenizer": TOKENIZERS,
    "device": device,
    "dtype": DTYPES,
    "validation": VALIDATIONS,
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
        formats.write_json_atomic(run / RECORD_NAME, content, ascii_only=True)

    @classmethod
    def load(cls, run: Path) -> Record:
        path = run / RECORD_NAME
        content = formats.read_json(path)
        names, digest = content.get("files"), content.get("text_sha256")
        settings = content.get("settings")
        if isinstance(settings, dict):
            # Older records lack these settings: they had no other value then.
            settings.setdefault("model", MODEL_DEFAULTS["model"])
            settings.setdefault("average", 0.0)
            settings.setdefault("dtype", "float32")
            settings.setdefault("validation", "end")
        if (
            not isinstance(names, list)
            or not all(isinstance(name, str) for name in names)
            or not isinstance(digest, str)
            or not isinstance(settings, dict)
            or set(settings) != set(KINDS)
        ):
            raise ValueError(f"{path}: not the record of a training run")
        settings = {name: check_setting(path, name, value, KINDS[name]) for name, value in settings.items()}
        return cls(names, digest, settings)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options. Absent ones stay absent, so a resumed run knows which were given."""
    absent = argparse.SUPPRESS
    parser.add_argument("--model", choices=by_name.LANGUAGE_MODELS, default=absent, help="kind of model (default gpt)")
    parser.add_argument("--tokenizer", choices=TOKENIZERS, default=absent, help="what a token is (default byte)")
    dtype_help = "bfloat16: of the operands of products, the rest is float32; float16: of the weights (default float32)"
    parser.add_argument("--dtype", choices=DTYPES, default=absent, help=dtype_help)
    validation_help = (
        "the tenth of the text that is kept for validation: blocks drawn from all of it by the seed, or its end"
    )
    parser.add_argument("--validation", choices=VALIDATIONS, default=absent, help=f"{validation_help} (default blocks)")
    parser.add_argument("--device", type=device, default=absent, help=DEVICE_HELP)
    defaults = {**MODEL_DEFAULTS, **TrainingOptions().to_dict()}
    for title, options in (("size and length", MAIN_OPTIONS), ("more", MORE_OPTIONS)):
        group = parser.add_argument_group(title)
        for name, kind, text in options:
            text += f" (default {defaults[name.replace('-', '_')]})"
            group.add_argument(f"--{name}", type=kind, default=absent, metavar="N", help=text)


def read_config(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Files and settings of a JSON file: a run's own training.json, or settings by name, some or all.

    ValueError names what is no setting, or wrong.
    """
    content = formats.read_json(path)
    settings, files = content.get("settings", content), content.get("files", [])
    if not isinstance(settings, dict) or not isinstance(files, list) or not all(isinstance(f, str) for f in files):
        raise ValueError(f"{path}: expected settings by name, or a run's {RECORD_NAME}")
    for name in settings:
        if name not in KINDS:
            hint = did_you_mean(f"--{name}", [f"--{known}" for known in KINDS]).replace("--", "")
            raise ValueError(f"{path}: {name} is no setting of a run{hint}")
    return files, {name: check_setting(path, name, value, KINDS[name]) for name, value in settings.items()}


def default_settings() -> dict[str, Any]:
    """Every setting by name."""
    return {**MODEL_DEFAULTS, "device": default_device(), **TrainingOptions().to_dict()}


def is_setting(name: str) -> bool:
    """Whether an argument of the command line is a setting of the run."""
    return name in KINDS


def model_config(settings: dict[str, Any], vocab_size: int) -> Any:
    """The config of the model that the settings ask for."""
    return by_name.language_config(
        settings["model"],
        vocab_size=vocab_size,
        context_length=settings["context"],
        num_layers=settings["layers"],
        num_heads=settings["heads"],
        embed_dim=settings["embed"],
        dropout=settings["dropout"],
    )


def checked_options(settings: dict[str, Any]) -> TrainingOptions:
    """The settings that are the trainer's.

    ValueError if heads don't divide the width, MemoryError if the run surely needs more memory than there is. That is
    counted with the smallest vocabulary that the tokenizer may have, as the text is not read yet.
    """
    options = TrainingOptions.from_dict({name: settings[name] for name in TRAINING_NAMES})
    embed, heads = settings["embed"], settings["heads"]
    if by_name.has_heads(settings["model"]) and embed % heads:
        raise ValueError(f"--embed {embed} must be a multiple of --heads {heads}")
    if settings["device"] == "cpu":
        check_training_fits(model_config(settings, 1 if settings["tokenizer"] == "char" else 256), options.batch)
    return options


def check_contradictions(folder: Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """ValueError if options given to a resumed run differ from those that it was started with and must not."""
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
