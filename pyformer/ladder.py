"""Trains the rungs of the derivation on equal budgets and measures what its story claims.

A ladder is a number of jobs, each a function that gives a few numbers; `pyformer derive` runs them one by one.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import _core, data, datasets, nn, ops, optim
from pyformer.models.derivation import WORD_RUNGS, PairNetwork, PictureConvolution, Size, Words, make_rung
from pyformer.tokenizers import WORD_PATTERNS, WordTokenizer

LENGTH, VOCAB, BATCH = 32, 2000, 32
LEARNING_RATE, WEIGHT_DECAY, CLIP = 3e-3, 0.01, 1.0
HELD_OUT_BATCHES = 64
PADDING, RARE = 0, 1
IGNORED = -100
CUT = "latin"

PICTURES, SENTIMENT, NEXT_WORD = "pictures", "sentiment", "next word"
ORDER, DISTANCE, LOOKUP, RATE, GROWTH = "order", "distance", "lookup", "rate", "growth"

DISTANCES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 31)
LOOKUP_LENGTHS = (4, 8, 16, 32)
RATES, RATE_LAYERS = (0.003, 0.01, 0.03), 6
GROWTH_LENGTHS = (16, 32, 64, 128)
PAIRS_OF_PAIRS, PAIRS_OF_PAIRS_LENGTHS = "pairs of pairs", (2, 4, 8, 16)

Batch = tuple[tuple[Any, ...], np.ndarray]
Result = dict[str, Any]
Job = Callable[[Callable[[float, str], None]], Result]


@dataclass(frozen=True)
class Budget:
    """How long each rung trains: a number of steps, or of seconds."""

    steps: int | None = None
    seconds: float | None = None

    def done(self, step: int, elapsed: float) -> float:
        """The part that is spent, 1 or more at the end."""
        return step / self.steps if self.steps else elapsed / (self.seconds or 1.0)

    def times(self, factor: int) -> Budget:
        """A budget `factor` times as large."""
        return Budget(self.steps and factor * self.steps, self.seconds and factor * self.seconds)


@dataclass(frozen=True)
class Task:
    """Batches to train on, as a function of the step alone, and held-out batches.

    A batch is (inputs, targets): the model is called as model(*inputs); targets are int64 of the shape of its scores
    without the last axis, -100 where nothing is asked.
    """

    draw: Callable[[int], Batch]
    held_out: Sequence[Batch]
    size: Size | None = None
    tokenizer: WordTokenizer | None = None


def fit(
    model: nn.Module, task: Task, budget: Budget, report: Callable[[float, str], None], rate: float = LEARNING_RATE
) -> Result:
    """Trains `model` at a learning rate, calling report(part done, text) after each step; what came out, by name.

    steps; parameters; step_ms, the median; peak_mb, the most that arrays alive at once held while training: weights,
    optimiser, activations and gradients; loss in nats and accuracy on the held-out batches.
    """
    optimizer = optim.AdamW(model.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    schedule = optim.CosineSchedule(1000, 50, 0.05)
    _core.reset_peak_memory()
    start, times, done = time.perf_counter(), [], 0.0
    while done < 1.0:
        inputs, targets = task.draw(len(times))
        began = time.perf_counter()
        loss = loss_of(model(*inputs), targets)
        loss.backward()
        value = loss.item()
        optim.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.scale_lr(schedule(int(1000 * done)))
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
        done = budget.done(len(times), time.perf_counter() - start)
        report(min(done, 1.0), f"loss {value:.3f}")
        if not math.isfinite(value):
            break
    peak = _core.memory_stats()["peak_bytes"]
    return {
        "steps": len(times),
        "parameters": model.num_parameters(),
        "step_ms": round(1e3 * float(np.median(times)), 3),
        "peak_mb": round(peak / 1e6, 2),
        **evaluate(model, task.held_out),
    }


def loss_of(scores: pf.Tensor, targets: np.ndarray, reduction: str = "mean") -> pf.Tensor:
    """Cross-entropy of scores (..., outputs) in nats over the targets (...) that are not -100."""
    flat = scores.reshape(-1, scores.shape[-1])
    return ops.cross_entropy(flat, pf.tensor(targets.reshape(-1)), ignore_index=IGNORED, reduction=reduction)


def evaluate(model: nn.Module, batches: Iterable[Batch]) -> Result:
    """Mean loss and accuracy over all that the batches ask; a loss that is not finite is None."""
    loss, right, asked = 0.0, 0, 0
    with pf.no_grad():
        for inputs, targets in batches:
            scores = model(*inputs)
            loss += loss_of(scores, targets, "sum").item()
            right += int((scores.numpy().argmax(axis=-1) == targets).sum())
            asked += int((targets != IGNORED).sum())
    mean = loss / asked
    return {"loss": round(mean, 4) if math.isfinite(mean) else None, "accuracy": round(right / asked, 4)}


def words_of(text: str) -> list[str]:
    """Lower-case words, numbers and signs."""
    return re.findall(WORD_PATTERNS[CUT], text.lower())


def vocabulary(words: Iterable[str], size: int) -> dict[str, int]:
    """Ids of the most frequent words; 0 is for padding, 1 for all other words."""
    ranked = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    return {word: number for number, (word, _) in enumerate(ranked[: size - 2], start=2)}


def encode(words: Iterable[str], ids: dict[str, int]) -> np.ndarray:
    """int64 ids of words."""
    return np.array([ids.get(word, RARE) for word in words], np.int64)


def random_numbers(seed: int, step: int) -> np.random.Generator:
    """The generator of a step: batches depend on seed and step alone."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, step, 0]))


def pictures_task(
    images: np.ndarray, labels: np.ndarray, test_images: np.ndarray, test_labels: np.ndarray, seed: int = 0
) -> Task:
    """Classes, int64 (N,), of pictures, uint8 (N, 28, 28)."""

    def take(pictures: np.ndarray, classes: np.ndarray, rows: Any) -> Batch:
        return (pictures[rows][:, None].astype(np.float32) / 255.0,), classes[rows]

    def draw(step: int) -> Batch:
        return take(images, labels, random_numbers(seed, step).integers(0, len(images), BATCH))

    starts = range(0, len(test_images), BATCH)
    return Task(draw, [take(test_images, test_labels, slice(i, i + BATCH)) for i in starts])


def sentiment_task(texts: Sequence[str], labels: np.ndarray, seed: int = 0) -> Task:
    """Is a sentence positive? Words beyond the first 32 are cut off; a fifth of the sentences is held out."""
    split = [words_of(text)[:LENGTH] or ["."] for text in texts]
    train, tests = datasets.train_test_split(len(split))
    known = vocabulary((word for row in train for word in split[row]), VOCAB)
    ids = np.full((len(split), LENGTH), PADDING)
    for row, words in enumerate(split):
        ids[row, : len(words)] = encode(words, known)
    lengths = np.array([len(words) for words in split])

    def take(rows: np.ndarray) -> Batch:
        return (ids[rows], lengths[rows]), labels[rows]

    held_out = [take(tests[i : i + BATCH]) for i in range(0, tests.size, BATCH)]
    size = Size(len(known) + 2, LENGTH, int(labels.max()) + 1, causal=False)
    tokenizer = WordTokenizer(["[padding]", "[rare]", *known], RARE, CUT)
    return Task(lambda step: take(random_numbers(seed, step).choice(train, BATCH)), held_out, size, tokenizer)


def next_word_task(text: str, seed: int = 0) -> Task:
    """Which word comes next? The last tenth of the text is held out."""
    words = words_of(text)
    known = vocabulary(words[: len(words) - int(len(words) * data.VALIDATION_FRACTION)], VOCAB)
    train, validation = data.split(encode(words, known), LENGTH)
    windows = data.validation_batches(validation, batch=BATCH, context_length=LENGTH, count=HELD_OUT_BATCHES)
    size = Size(len(known) + 2, LENGTH, len(known) + 2, causal=True)

    def draw(step: int) -> Batch:
        ids, targets = data.sample_batch(train, seed=seed, step=step, batch=BATCH, context_length=LENGTH)
        return (ids,), targets

    return Task(draw, [((ids,), targets) for ids, targets in windows], size)


def made_task(make: Callable[[np.random.Generator], Batch], size: Size, seed: int) -> Task:
    """A task of made-up batches; the held-out ones are never drawn."""
    held_out = [make(random_numbers(seed + 1, step)) for step in range(16)]
    return Task(lambda step: make(random_numbers(seed, step)), held_out, size)


def order_task(seed: int = 0, n: int = 16, others: int = 14) -> Task:
    """Does word 0 come before word 1? Both stand somewhere among other words."""

    def make(rng: np.random.Generator) -> Batch:
        ids = rng.integers(2, 2 + others, (BATCH, n))
        places = rng.permuted(np.tile(np.arange(n), (BATCH, 1)), axis=1)[:, :2]
        np.put_along_axis(ids, places, np.array([[0, 1]]), axis=1)
        return (ids,), (places[:, 0] < places[:, 1]).astype(np.int64)

    return made_task(make, Size(2 + others, n, 2, causal=False), seed)


def distance_task(distances: Sequence[int], seed: int = 0, keys: int = 16, others: int = 32) -> Task:
    """Which key word came `distance` words before the end? Between them and before stand words that don't matter."""

    def make(rng: np.random.Generator) -> Batch:
        ids = rng.integers(keys, keys + others, (BATCH, LENGTH))
        targets = np.full((BATCH, LENGTH), IGNORED)
        targets[:, -1] = rng.integers(0, keys, BATCH)
        ids[np.arange(BATCH), LENGTH - 1 - rng.choice(distances, BATCH)] = targets[:, -1]
        return (ids,), targets

    return made_task(make, Size(keys + others, LENGTH, keys, causal=True), seed)


def lookup_task(n: int, seed: int = 0, words: int = 16) -> Task:
    """The last of n words names a place: which word stands there?"""

    def make(rng: np.random.Generator) -> Batch:
        ids = rng.integers(0, words, (BATCH, n))
        places = rng.integers(0, n - 1, BATCH)
        targets = np.full((BATCH, n), IGNORED)
        targets[:, -1] = ids[np.arange(BATCH), places]
        ids[:, -1] = words + places
        return (ids,), targets

    return made_task(make, Size(words + n - 1, n, words, causal=True), seed)


def make_jobs(tasks: dict[str, Task], budget: Budget, seed: int = 0) -> dict[str, Job]:
    """All that a ladder trains and measures, by name "task/rung" or "task/rung/number".

    `tasks` may hold `PICTURES`, `SENTIMENT` and `NEXT_WORD`; what needs one that is missing is left out. Each job is
    called with a function that takes the part done, from 0 to 1, and a text to show.
    """

    def trained(name: str, task: Task, budget: Budget = budget, layers: int = 2, rate: float = LEARNING_RATE) -> Job:
        def job(report: Callable[[float, str], None]) -> Result:
            pf.manual_seed(seed)
            model = make_rung(name, replace(task.size, layers=layers)) if task.size else PictureConvolution()
            return fit(model, task, budget, report, rate)

        return job

    jobs: dict[str, Job] = {}
    if PICTURES in tasks:
        jobs[f"{PICTURES}/convolution"] = trained("convolution", tasks[PICTURES])
    for kind in (SENTIMENT, NEXT_WORD):
        if kind in tasks:
            jobs |= {f"{kind}/{name}": trained(name, tasks[kind]) for name in WORD_RUNGS}
    for name in ("sum", "sum + one-hot", "sum + sinusoidal", "sum + learned", "sum + rotary"):
        jobs[f"{ORDER}/{name}"] = trained(name, order_task(seed), budget=budget.times(2))
    for name in ("convolution", "sum + learned", "attention", "transformer"):
        jobs[f"{DISTANCE}/{name}"] = partial(_distances, name, budget, seed)
    for name in ("sum + learned", "importance", "attention", "transformer"):
        for n in LOOKUP_LENGTHS:
            jobs[f"{LOOKUP}/{name}/{n}"] = trained(name, lookup_task(n, seed))
    if NEXT_WORD in tasks:
        for name in ("residual", "norm"):
            for rate in RATES:
                jobs[f"{RATE}/{name}/{rate}"] = trained(name, tasks[NEXT_WORD], layers=RATE_LAYERS, rate=rate)
    for name in (*WORD_RUNGS, PAIRS_OF_PAIRS):
        jobs[f"{GROWTH}/{name}"] = partial(measure_growth, name)
    return jobs


def _distances(name: str, budget: Budget, seed: int, report: Callable[[float, str], None]) -> Result:
    """Trains on all distances at once; adds the accuracy at each."""
    task = distance_task(DISTANCES, seed)
    pf.manual_seed(seed)
    model = make_rung(name, task.size)
    result = fit(model, task, budget, report)
    accuracies = {str(d): evaluate(model, distance_task([d], seed).held_out)["accuracy"] for d in DISTANCES}
    return {**result, "by_distance": accuracies}


class PairsOfPairs(nn.Module):
    """Two pair networks with no sum between them: ids (B, n) -> (B, n^2, n^2, C), of which the mean is taken."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.words = Words(size.vocab, size.width)
        self.first = PairNetwork(size.width, size.width)
        self.second = PairNetwork(size.width, size.width)
        self.head = nn.Linear(size.width, size.outputs)

    def forward(self, ids: Any) -> pf.Tensor:
        pairs = self.first(self.words(pf.tensor(ids)))
        batch, n, _, width = pairs.shape
        return self.head(self.second(pairs.reshape(batch, n * n, width)).mean(axis=(1, 2)))


def measure_growth(name: str, report: Callable[[float, str], None], rows: int = 2, repeats: int = 5) -> Result:
    """Forward and backward of one rung on `rows` sentences of n random words, for growing n.

    n; ms, the least of `repeats`; mb, the most that live arrays held; ms_power and mb_power, p in "grows as n^p", from
    the last two n.
    """
    lengths = PAIRS_OF_PAIRS_LENGTHS if name == PAIRS_OF_PAIRS else GROWTH_LENGTHS
    size = Size(64, max(lengths), 2, causal=False)
    model = PairsOfPairs(size) if name == PAIRS_OF_PAIRS else make_rung(name, size)
    ms, mb = [], []
    for done, n in enumerate(lengths, start=1):
        ids = random_numbers(0, n).integers(0, size.vocab, (rows, n))
        times = []
        _core.reset_peak_memory()
        for _ in range(repeats):
            began = time.perf_counter()
            loss_of(model(ids), np.zeros(rows, np.int64)).backward()
            times.append(time.perf_counter() - began)
            model.zero_grad()
        ms.append(1e3 * min(times))
        mb.append(_core.memory_stats()["peak_bytes"] / 1e6)
        report(done / len(lengths), f"{n} words")

    def power(values: list[float]) -> float:
        return round(math.log(values[-1] / values[-2]) / math.log(lengths[-1] / lengths[-2]), 2)

    return {
        "n": list(lengths),
        "ms": [round(value, 3) for value in ms],
        "mb": [round(value, 3) for value in mb],
        "ms_power": power(ms),
        "mb_power": power(mb),
    }
