"""`pyformer classify train | predict`: a pretrained BERT learns classes of texts, and tells them."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import datasets
from pyformer.cli.arguments import add_common, opening, real, say, whole
from pyformer.cli.embed import read_lines
from pyformer.terminal import announce
from pyformer.text_classifier import TextClassifier, read_table


def add_command(commands: Any) -> None:
    """Adds `classify` to the command line."""
    parser = commands.add_parser(
        "classify",
        help="train a classifier of texts, or use one",
        description="Train a classifier of texts, or use one.",
    )
    parts = parser.add_subparsers(dest="part", metavar="train | predict", required=True)
    train = parts.add_parser("train", description="Train a classifier on a pretrained BERT.")
    train.add_argument("path", type=Path, metavar="PATH", help="folder of a BERT and its tokenizer.json")
    train.add_argument("data", type=Path, metavar="DATA", help="lines of a label, a tab and a text, UTF-8")
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of the classifier")
    train.add_argument(
        "--held-out",
        type=real(0.0, 0.9),
        default=0.2,
        help="fraction of the texts that is kept for validation (default 0.2)",
    )
    train.add_argument("--epochs", type=real(0.0, 1000.0, above=True), default=2.0, help="(default 2)")
    train.add_argument("--batch", type=whole(1, 4096), default=32, help="texts per step (default 32)")
    train.add_argument("--lr", type=real(0.0, 1.0, above=True), default=1e-4, help="(default 0.0001)")
    train.add_argument("--max-length", type=whole(3), help="tokens of a text that are read (default 128)")
    train.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="(default float32)")
    train.add_argument("--seed", type=whole(0, 2**31 - 1), default=0, help="(default 0)")
    train.add_argument("-q", "--quiet", action="store_true", help="no progress bar, no messages")
    add_common(train)
    train.set_defaults(run=run_train)
    predict = parts.add_parser("predict", description="Print the class of each line, and how likely it is.")
    predict.add_argument("path", type=Path, metavar="FOLDER", help="of the classifier")
    predict.add_argument("file", type=Path, nargs="?", metavar="FILE", help="text in UTF-8 (default: stdin)")
    predict.add_argument("--batch", type=whole(1, 4096), default=32, help="lines at once (default 32)")
    add_common(predict)
    predict.set_defaults(run=run_predict)


def run_train(args: argparse.Namespace) -> int:
    """Trains, judges, saves; 0."""
    _set_up(args, args.quiet)
    texts, names = read_table(args.data)
    labels = tuple(sorted(set(names)))
    if len(labels) < 2:
        raise ValueError(f"{args.data}: expected lines of two or more classes, got {', '.join(labels) or 'none'}")
    numbers = np.array([labels.index(name) for name in names])
    train, test = np.arange(len(texts)), np.arange(0)
    if args.held_out:
        train, test = datasets.train_test_split(len(texts), args.held_out, args.seed)
    if not args.quiet:
        shares = ", ".join(f"{name} {count:,}" for name, count in sorted(Counter(names).items())[:20])
        say(f"{len(train):,} texts to learn from, {len(test):,} to be judged on: {shares}")
    pf.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)  # before the work
    classifier = TextClassifier.start(args.path, labels, max_length=args.max_length)
    classifier.fit(
        [texts[i] for i in train],
        numbers[train],
        epochs=args.epochs,
        batch_size=args.batch,
        lr=args.lr,
        dtype=args.dtype,
        seed=args.seed,
        progress=not args.quiet,
    )
    classifier.save_pretrained(args.out)
    if len(test):
        right = int((classifier.predict([texts[i] for i in test]).argmax(axis=1) == numbers[test]).sum())
        announce(f"{right / len(test):.2%} of {len(test):,} held-out texts are told right")
    return 0


def run_predict(args: argparse.Namespace) -> int:
    """Prints a line a text; 0."""
    _set_up(args, quiet=True)
    with opening(args.path):
        classifier = TextClassifier.from_pretrained(args.path)
    for likely in classifier.predict(read_lines(args.file), args.batch).tolist():
        best = max(range(len(likely)), key=likely.__getitem__)
        print(f"{classifier.labels[best]}\t{likely[best]:.4f}")
    return 0


def _set_up(args: argparse.Namespace, quiet: bool) -> None:
    if quiet:
        logging.getLogger("pyformer").setLevel(logging.ERROR)
