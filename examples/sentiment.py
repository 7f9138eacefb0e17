"""Does a film review's sentence praise or damn? A BERT from scratch beside a bag of words, on the same split.

    pip install . && python examples/sentiment.py --out runs/sentiment

Both learn from the same 80% of 10,568 sentences and are judged on the other 20%, split by a fixed seed. That is
little for a transformer that has read nothing else: the bag of words is hard to beat here. Sizes and
regularisation were chosen by cross-validation within the 80%: `--fold 0` to `--fold 4`.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import re
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import datasets, formats, nn, ops
from pyformer.models import BertClassifier, BertConfig
from pyformer.tokenizers import WORD_PATTERNS, WordTokenizer
from pyformer.training import CHECKPOINT_NAME, TaskTrainer, TrainingOptions

MAX_TOKENS = 64
BATCH = 64
FOLDS = 5


@dataclass(frozen=True)
class Split:
    """Sentences and labels (0 or 1) to learn from and to be judged on."""

    train_texts: list[str]
    train_labels: np.ndarray
    test_texts: list[str]
    test_labels: np.ndarray


def load_split(seed: int = 0, fold: int | None = None) -> Split:
    """The sentences, 80 to 20; with `fold`, a fifth of the 80% to be judged on and the rest of it to learn from."""
    texts, labels = datasets.movie_snippets()
    train, test = datasets.train_test_split(len(texts), seed=seed)
    if fold is not None:
        parts = np.array_split(np.random.Generator(np.random.Philox(123)).permutation(train), FOLDS)
        test = parts.pop(fold)
        train = np.concatenate(parts)
    return Split([texts[i] for i in train], labels[train], [texts[i] for i in test], labels[test])


def shuffled(count: int, batch: int, step: int, seed: int) -> np.ndarray:
    """Which rows step `step` learns from: each comes once an epoch, in an order of its own."""
    steps = max(1, count // batch)
    order = np.random.Generator(np.random.Philox(key=[seed, step // steps])).permutation(count)
    return order[step % steps * batch :][:batch]


def pad(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(ids (B, T), zeros on the right; lengths (B,)) of rows of different lengths."""
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), int(lengths.max())), np.int64)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return ids, lengths


class BagOfWords(nn.Module):
    """Logistic regression: a weight for each word that a sentence has, and a bias."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(pf.zeros(vocab_size, 1))
        self.bias = nn.Parameter(pf.zeros(1))

    def forward(self, words: np.ndarray, lengths: np.ndarray) -> pf.Tensor:
        """Scores (B, 2) of words (B, T), of which the first lengths[b] count."""
        there = pf.tensor((np.arange(words.shape[1]) < lengths[:, None]).astype(np.float32))
        score = (ops.embedding(pf.tensor(words), self.weight)[:, :, 0] * there).sum(axis=1) + self.bias
        return ops.stack([score * 0.0, score], axis=1)


def words_of(text: str, pairs: bool) -> list[str]:
    """The words of a text, each once, and with `pairs` its pairs of neighbours."""
    words = "".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split()
    return list(dict.fromkeys([*words, *(f"{a} {b}" for a, b in itertools.pairwise(words) if pairs)]))


def train_bag_of_words(split: Split, *, pairs: bool = False, epochs: int = 12, seed: int = 0) -> float:
    """Accuracy of logistic regression over words, and with `pairs` pairs of words, on the test sentences."""
    train = [words_of(text, pairs) for text in split.train_texts]
    vocabulary = {word: i for i, word in enumerate(sorted({word for words in train for word in words}))}
    rows = [[vocabulary[w] for w in words] for words in train]
    tests = [[vocabulary[w] for w in words_of(text, pairs) if w in vocabulary] or [0] for text in split.test_texts]
    model = BagOfWords(len(vocabulary))
    optimizer = pf.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for step in range(epochs * max(1, len(rows) // BATCH)):
        chosen = shuffled(len(rows), BATCH, step, seed)
        logits = model(*pad([rows[i] for i in chosen]))
        optimizer.zero_grad()
        ops.cross_entropy(logits, pf.tensor(split.train_labels[chosen])).backward()
        optimizer.step()
    return accuracy(lambda ids, lengths: model(ids, lengths), tests, split.test_labels)


class MeanBert(BertClassifier):
    """A BERT whose pooler reads the mean of a sentence's tokens, where the original reads the first token alone."""

    def forward(self, ids: Any, segments: Any = None, lengths: Any = None) -> pf.Tensor:
        """Scores (B, 2) of ids (B, T), of which the first lengths[b] count."""
        hidden = self.bert(ids, segments, lengths)
        there = np.arange(hidden.shape[1]) < lengths[:, None]
        shares = pf.tensor(there / lengths[:, None], dtype=hidden.dtype)
        mean = (hidden * shares.reshape(*there.shape, 1)).sum(axis=1)
        return self.classifier(self.dropout(self.bert.pool(mean.reshape(len(lengths), 1, -1))))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the encoder and the pooler: `transformers` has no classifier that reads the mean."""
        self.bert.save_pretrained(folder)


def make_tokenizer(texts: list[str]) -> WordTokenizer:
    """Words and marks that come twice or more in the texts, the most frequent first, and one token for all others."""
    pattern = re.compile(WORD_PATTERNS["unicode"])
    counts = Counter(word for text in texts for word in pattern.findall(text.lower()))
    words = [word for word, count in counts.most_common() if count > 1]
    return WordTokenizer([*words, "[unknown]"], unknown=len(words))


def accuracy(score: object, rows: list[list[int]], labels: np.ndarray) -> float:
    """The part of `rows` whose highest score, of score(ids, lengths), is the one of their label."""
    right = 0
    with pf.no_grad():
        for start in range(0, len(rows), BATCH):
            logits = score(*pad(rows[start : start + BATCH])).numpy()
            right += int((logits.argmax(axis=1) == labels[start : start + BATCH]).sum())
    return right / len(rows)


def train_bert(
    split: Split,
    options: TrainingOptions,
    *,
    layers: int,
    width: int,
    dropout: float,
    hide: float,
    out: Path | None,
) -> float:
    """Accuracy of a BERT on the test sentences; with `out` the run can be stopped and gone on with.

    In training, each token is hidden with the probability `hide`: a mask stands for it. The curve shows the loss on
    the test sentences; nothing is chosen by it.
    """
    tokenizer = make_tokenizer(split.train_texts)
    start = tokenizer.vocab_size
    mask = start + 1

    def encoded(texts: list[str]) -> list[list[int]]:
        return [[start, *tokenizer.encode(text).tolist()][:MAX_TOKENS] for text in texts]

    train, tests = encoded(split.train_texts), encoded(split.test_texts)

    def batch_of(step: int) -> tuple[np.ndarray, ...]:
        chosen = shuffled(len(train), options.batch, step, options.seed)
        ids, lengths = pad([train[i] for i in chosen])
        hidden = np.random.Generator(np.random.Philox(key=[options.seed + 1, step])).random(ids.shape) < hide
        return np.where(hidden, mask, ids), split.train_labels[chosen], lengths

    def validation(start: int) -> tuple[np.ndarray, ...]:
        ids, lengths = pad(tests[start : start + BATCH])
        return ids, split.test_labels[start : start + BATCH], lengths

    pf.manual_seed(options.seed)
    model = MeanBert(BertConfig(mask + 1, MAX_TOKENS, layers, 4, width, dropout=dropout))
    batches = [validation(i) for i in range(0, len(tests), BATCH)]
    trainer = TaskTrainer(model, batch_of, batches, options, out, unit="sentence")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        tokenizer.save(out)
        if (out / CHECKPOINT_NAME).exists():
            trainer.restore()
    before = signal.signal(signal.SIGINT, lambda *_: trainer.request_stop())
    if not trainer.train(progress=True):
        raise SystemExit(f"stopped at step {trainer.step}: run this again to go on")
    signal.signal(signal.SIGINT, before)
    model.eval()
    return accuracy(lambda ids, lengths: model(ids, lengths=lengths), tests, split.test_labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the run; the same folder goes on with it")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--hide", type=float, default=0.5, help="part of the tokens hidden in training")
    parser.add_argument("--weight-decay", type=float, default=2.0)
    parser.add_argument("--average", type=float, default=0.75, help="part of the steps whose weights' mean is judged")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--fold", type=int, choices=range(FOLDS), help="judge on this fifth of the 80%%, not on the 20%%"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    split = load_split(fold=args.fold)
    scores = {
        "bag of words": train_bag_of_words(split),
        "bag of words and pairs": train_bag_of_words(split, pairs=True),
    }
    options = TrainingOptions(
        steps=args.steps,
        batch=BATCH,
        lr=args.lr,
        weight_decay=args.weight_decay,
        beta2=0.999,
        average=args.average,
        seed=args.seed,
        eval_every=100,
        sample_every=0,
    )
    shape = {"layers": args.layers, "width": args.width, "dropout": args.dropout}
    scores["BERT from scratch"] = train_bert(split, options, hide=args.hide, out=args.out, **shape)
    for name, score in scores.items():
        print(f"{name}: {score:.2%} of {len(split.test_texts)} sentences")
    if args.out is not None:
        formats.write_json_atomic(args.out / "result.json", scores)


if __name__ == "__main__":
    try:
        main()
    except datasets.DataUnavailable as error:
        raise SystemExit(str(error)) from None
