"""Texts to classes: a pretrained BERT learns them, and is saved as `transformers` has such a model."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import formats, models, nn, ops, tokenizers
from pyformer.arrays import refuse_mask
from pyformer.bpe import SETTINGS_NAME
from pyformer.models.bert import BERT, BertClassifier
from pyformer.sentences import padded
from pyformer.terminal import bar
from pyformer.training import TaskTrainer, TrainingOptions

MAX_TOKENS = 128
# Batches of about one length are made within so many batches of the shuffled texts.
BATCHES_SORTED = 16


class TextClassifier:
    """Tells the class of a text.

    Args:
        model: a BertClassifier whose config has names of labels, which answers one class of all.
        tokenizer: its tokenizer.
        max_length: tokens of a text that are read; 128, or the model's context length if that is less, by default.

    Raises:
        TypeError: the model or the tokenizer is of another kind.
        ValueError: max_length does not fit, the tokenizer has more tokens than the model, or the model answers numbers
            (a regression, or one label) or yes and no of each class.

    Example:
        >>> classifier = pf.TextClassifier.start(pf.datasets.minilm(), ("bad", "good"))
        >>> classifier.predict(["What a lovely film."]).shape, classifier.labels
        ((1, 2), ('bad', 'good'))
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_length: int | None = None) -> None:
        if not isinstance(model, BertClassifier):
            raise TypeError(f"TextClassifier: expected a BertClassifier, got {type(model).__name__}")
        if not isinstance(tokenizer, tokenizers.BPETokenizer):
            raise TypeError(f"TextClassifier: expected a tokenizer.json's, got {type(tokenizer).__name__}")
        if tokenizer.vocab_size > model.config.vocab_size:
            sizes = f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model.config.vocab_size}"
            raise ValueError(f"TextClassifier: {sizes}")
        problem, classes = model.config.problem_type, model.config.num_labels
        if classes < 2 or problem not in (None, "single_label_classification"):
            said = f"{classes} labels and problem_type {problem!r}"
            raise ValueError(f"TextClassifier: expected a model that answers one of two or more classes, got {said}")
        longest = model.config.context_length
        max_length = min(MAX_TOKENS, longest) if max_length is None else max_length
        if isinstance(max_length, bool) or not isinstance(max_length, (int, np.integer)):
            raise TypeError(f"TextClassifier: max_length must be an int, got {type(max_length).__name__}")
        if not 2 < max_length <= longest:
            raise ValueError(f"TextClassifier: max_length must be from 3 to {longest}, got {max_length}")
        self.model, self.tokenizer, self.max_length = model, tokenizer, int(max_length)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        config = self.model.config
        return config.labels or tuple(f"LABEL_{i}" for i in range(config.num_labels))

    @classmethod
    def start(
        cls, folder: str | os.PathLike, labels: Sequence[str], *, max_length: int | None = None
    ) -> TextClassifier:
        """A classifier on a pretrained BERT, to be trained by `fit`.

        Args:
            folder: of a BERT and its tokenizer.json.
            labels: the names of the classes, two or more.
            max_length: as in TextClassifier.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged, or the names are not two or more different ones.
            TypeError: the model is no BERT.
        """
        labels = tuple(labels)
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise ValueError(f"TextClassifier.start: expected two or more different labels, got {labels[:5]}")
        encoder = models.from_pretrained(folder, dtype="float32")  # matrices of 8 bits can't be trained
        if not isinstance(encoder, BERT):
            raise TypeError(f"TextClassifier.start: expected a BERT, got {type(encoder).__name__}")
        config = replace(encoder.config, num_labels=len(labels), labels=labels, problem_type=None)
        model = BertClassifier(config)
        missing, _ = model.bert.load_state_dict(encoder.state_dict(), strict=False)  # it may lack a pooler
        assert all(name.startswith("pooler.") for name in missing), missing
        return cls(model.eval(), tokenizers.load(folder), max_length=max_length)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> TextClassifier:
        """Opens what `save_pretrained` wrote, or a folder of BertForSequenceClassification and its tokenizer.json.

        The max_length of its tokenizer_config.json, where there is one, is the classifier's.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is damaged.
            TypeError: the folder holds another model.
        """
        model, path = models.from_pretrained(folder), Path(folder) / SETTINGS_NAME
        length = formats.read_json(path).get("max_length") if path.is_file() else None
        if length is not None and (isinstance(length, bool) or not isinstance(length, int)):
            raise ValueError(f"{path}: max_length must be an int, got {length!r}")
        if length is not None and isinstance(model, BertClassifier):
            length = min(length, model.config.context_length)
        return cls(model, tokenizers.load(folder), max_length=length)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes the model, its tokenizer and `max_length`. OSError if the folder can't be written."""
        self.model.save_pretrained(folder)
        self.tokenizer.save(folder)
        path = Path(folder) / SETTINGS_NAME
        settings = formats.read_json(path) if path.is_file() else {}
        formats.write_json_atomic(path, {**settings, "max_length": self.max_length})

    def fit(
        self,
        texts: Sequence[str],
        labels: Any,
        *,
        epochs: float = 2.0,
        batch_size: int = 32,
        lr: float = 1e-4,
        weight_decay: float = 0.01,
        dtype: str = "float32",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        """Learns from texts and the numbers of their classes; the modes of the model stay what they are.

        Args:
            texts: n of them.
            labels: n integers, places in `self.labels`.
            epochs: how often each text is read.
            batch_size: texts of a step.
            lr, weight_decay: AdamW's; the rate rises over a tenth of the steps and falls along half a cosine.
            dtype: "bfloat16" to compute within `pf.autocast("bfloat16")`.
            seed: of the order of texts and of dropout.
            progress: draw a bar on stderr.

        Raises:
            TypeError: texts are no strings, or labels no integers.
            ValueError: they differ in number, a label is of no class, or a setting is out of range.
        """
        rows = [self.read(text) for text in _checked(texts)]
        refuse_mask("TextClassifier.fit: labels", labels)
        classes = np.asarray(labels)
        if classes.shape != (len(rows),) or classes.dtype.kind not in "iu":
            got = f"{classes.dtype} {classes.shape}"
            raise TypeError(f"TextClassifier.fit: labels must be {len(rows)} integers, got {got}")
        if not len(rows) or not 0 <= min(classes.tolist()) <= max(classes.tolist()) < len(self.labels):
            raise ValueError(f"TextClassifier.fit: expected texts of classes 0 to {len(self.labels) - 1}")
        if not 0 < epochs < math.inf or batch_size < 1:
            raise ValueError(f"TextClassifier.fit: epochs and batch_size must be above 0, got {epochs}, {batch_size}")
        an_epoch = -(-len(rows) // batch_size)
        steps = max(1, round(epochs * an_epoch))
        orders: dict[int, list[np.ndarray]] = {}

        def batch_of(step: int) -> tuple[np.ndarray, ...]:
            epoch = step // an_epoch
            if epoch not in orders:
                orders.clear()
                orders[epoch] = _batches([len(row) for row in rows], batch_size, [seed, epoch])
            chosen = orders[epoch][step % an_epoch]
            ids, lengths = padded([rows[i] for i in chosen])
            return ids, classes[chosen].astype(np.int64), lengths

        options = TrainingOptions(
            steps=steps,
            batch=batch_size,
            lr=lr,
            warmup=steps // 10,
            weight_decay=weight_decay,
            beta2=0.999,
            seed=seed,
            dtype=dtype,
            eval_every=steps,
            eval_batches=1,
            sample_every=0,
        )
        trainer = TaskTrainer(self.model, batch_of, [batch_of(0)], options, unit="text")
        with _quiet(not progress):
            trainer.train(progress=progress)

    def predict(self, texts: Sequence[str], batch_size: int = 32, progress: bool = False) -> np.ndarray:
        """How likely each class is for each text, NumPy (n, classes); rows add up to 1.

        Raises:
            TypeError: texts is no list of strings.
            ValueError: batch_size is below 1.
        """
        rows = [self.read(text) for text in _checked(texts)]
        if batch_size < 1:
            raise ValueError(f"TextClassifier.predict: batch_size must be at least 1, got {batch_size}")
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]), reverse=True)
        found = np.empty((len(rows), len(self.labels)), np.float32)
        with nn.inference(), bar(progress, total=len(rows), unit="text") as shown:
            for begin in range(0, len(rows), batch_size):
                places = order[begin : begin + batch_size]
                ids, lengths = padded([rows[i] for i in places])
                scores = ops.softmax(self.model(ids, lengths=lengths)).to("cpu")
                found[places] = scores.to(pf.float32).numpy()
                shown.update(len(places))
        return found

    def read(self, text: str) -> list[int]:
        """The ids of a text that the model reads: at most `max_length`, with those of its start and end."""
        start, end = self.tokenizer.template
        return [*start, *self.tokenizer.encode(text).tolist()[: self.max_length - len(start) - len(end)], *end]


def _checked(texts: Sequence[str]) -> list[str]:
    rows = [] if isinstance(texts, str) else list(texts)  # once: a generator has nothing the second time
    if isinstance(texts, str) or not all(isinstance(text, str) for text in rows):
        raise TypeError("TextClassifier: expected a list of strings")
    return rows


def _batches(lengths: list[int], batch: int, key: list[int]) -> list[np.ndarray]:
    """Which rows each batch of an epoch has: all once, at random, but of about one length within a batch."""
    random = np.random.Generator(np.random.Philox(key=key))
    order, found = random.permutation(len(lengths)), []
    for begin in range(0, len(order), batch * BATCHES_SORTED):
        part = sorted(order[begin : begin + batch * BATCHES_SORTED].tolist(), key=lambda i: lengths[i])
        found += [np.array(part[i : i + batch]) for i in range(0, len(part), batch)]
    return [found[i] for i in random.permutation(len(found))]


@contextmanager
def _quiet(quiet: bool) -> Iterator[None]:
    """No messages of training meanwhile."""
    logger = logging.getLogger("pyformer")
    level = logger.level
    if quiet:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_table(path: Path) -> tuple[list[str], list[str]]:
    """(texts, labels) of a file of lines `label<TAB>text` in UTF-8; ValueError names the first line that is none."""
    texts, labels = [], []
    try:
        lines = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 at byte {error.start}") from None
    for number, line in enumerate(lines, 1):
        label, tab, text = line.partition("\t")
        if not line:
            continue
        if not tab or not label.strip():
            raise ValueError(f"{path}: line {number} must be a label, a tab and a text, got {line[:40]!r}")
        texts.append(text)
        labels.append(label.strip())
    return texts, labels
