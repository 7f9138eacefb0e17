"""The tasks of `pyformer compare`, and the models that take part.

Learning rates and batches are of a size usual for each kind of model, not searched for, and the same at all sizes and
budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import pyformer as pf
from pyformer import data, datasets, nn, ops
from pyformer.experiments import derive_tasks
from pyformer.experiments.compare import Batch, Entrant, Task
from pyformer.experiments.compare_models import (
    MLP,
    LSTMNetwork,
    NumberByNumber,
    RecurrentClassifier,
    WindowMLP,
    beside,
)
from pyformer.models import KAN, BertClassifier, BertConfig, KANConfig, LiquidNetwork, LiquidNetworkConfig
from pyformer.models.by_name import language_config, language_model
from pyformer.tokenizers import CharTokenizer

TEXT, FUNCTION, SERIES, SENTIMENT = "text", "function", "series", "sentiment"

CONTEXT, TEXT_BATCH, TEXT_EVALUATIONS = 64, 16, 24
HEADS = 4
TRANSFORMER_LAYERS, RECURRENT_LAYERS, MLP_LAYERS = (4, 3, 5, 2, 6, 1), (2, 3, 1, 4), (1, 2, 3)

SAMPLES, TEST_SAMPLES = 256, 4096
SERIES_BATCH, OBSERVATIONS = 32, 64
DAMPING, FREQUENCY = 0.1, 1.0


def text_task(text: str, seed: int = 0) -> Task:
    """Which character comes next? The last tenth of the text is held out.

    Raises:
        ValueError: the text is too short.
    """
    tokenizer = CharTokenizer.train(text)
    vocab = tokenizer.vocab_size
    train, held_out = data.split(tokenizer.encode(text), CONTEXT)

    def entrant(name: str, rate: float, choices: tuple[int, ...], unit: int = 1) -> Entrant:
        def make(layers: int, width: int) -> nn.Module:
            sizes = {"vocab_size": vocab, "context_length": CONTEXT, "num_layers": layers, "embed_dim": width}
            return language_model(name, language_config(name, num_heads=HEADS, **sizes))

        return Entrant(make, rate, choices, unit)

    def batch_of(step: int) -> Batch:
        return data.sample_batch(train, seed=seed, step=step, batch=TEXT_BATCH, context_length=CONTEXT)

    return Task(
        name=TEXT,
        unit=tokenizer.unit,
        loss_name="nats per character",
        batch_of=batch_of,
        validation=data.validation_batches(held_out, batch=TEXT_BATCH, context_length=CONTEXT, count=TEXT_EVALUATIONS),
        entrants={
            "gpt": entrant("gpt", 3e-3, TRANSFORMER_LAYERS, HEADS),
            "llama": entrant("llama", 3e-3, TRANSFORMER_LAYERS, 2 * HEADS),
            "lstm": entrant("lstm", 5e-3, RECURRENT_LAYERS),
            "gru": entrant("gru", 3e-3, RECURRENT_LAYERS),
            "retnet": entrant("retnet", 3e-3, TRANSFORMER_LAYERS, 2 * HEADS),
            "kan": entrant("kan", 3e-3, TRANSFORMER_LAYERS, HEADS),
            "liquid": entrant("liquid", 3e-3, RECURRENT_LAYERS),
            "mlp": entrant("mlp", 3e-3, MLP_LAYERS),
        },
        parameters=800_000,
        seconds=20.0,
        weight_decay=0.1,
        tokenizer=tokenizer,
    )


def _velocities(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two velocities added, (u + v) / (1 + u v), up to 0.9 of light's."""
    u, v = 0.9 * a, 0.9 * b
    return (u + v) / (1.0 + u * v)


def _normal_density(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """exp(-(x / s)^2 / 2) / (sqrt(2 pi) s), x from -3 to 3, s from 0.5 to 2."""
    x, s = 3.0 * a, 1.25 + 0.75 * b
    return np.exp(-0.5 * (x / s) ** 2) / (np.sqrt(2.0 * np.pi) * s)


def _interference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two waves, 1 + i + 2 sqrt(i) cos d, i from 0 to 1, d from -pi to pi."""
    i, d = 0.5 + 0.5 * a, np.pi * b
    return 1.0 + i + 2.0 * np.sqrt(i) * np.cos(d)


def _refraction(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The angle arcsin(n sin t), n from 0.1 to 0.9, t from -pi / 2 to pi / 2."""
    return np.arcsin((0.5 + 0.4 * a) * np.sin(0.5 * np.pi * b))


FORMULAS: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (
    _velocities,
    _normal_density,
    _interference,
    _refraction,
)


class SideBySide(nn.Module):
    """A network for each formula: x (N, formulas, 2) -> (N, formulas)."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(make() for _ in FORMULAS)

    def forward(self, x: Any) -> pf.Tensor:
        x = beside(self, x)
        return ops.concat([network(x[:, index]) for index, network in enumerate(self.networks)], axis=-1)

    def loss(self, x: Any, targets: Any) -> pf.Tensor:
        """Mean squared error against targets (N, formulas), a scalar."""
        return ops.mse_loss(self(x), beside(self, targets))


def function_task(seed: int = 0) -> Task:
    """What do four formulas of physics give, each of two numbers? All values are scaled to mean 0 and variance 1."""
    scales = [(y.mean(), y.std()) for y in _values(_inputs(seed, 0, 1 << 16)).T]

    def samples(step: int, count: int) -> Batch:
        x = _inputs(seed, step, count)
        y = np.stack([(y - mean) / std for y, (mean, std) in zip(_values(x).T, scales, strict=True)], axis=1)
        return x.astype(np.float32), y.astype(np.float32)

    def kan(intervals: int, width: int) -> nn.Module:
        return SideBySide(lambda: KAN(KANConfig((2, width, width, 1), intervals, low=-1.5, high=1.5)))

    def mlp(layers: int, width: int) -> nn.Module:
        return SideBySide(lambda: MLP([2, *[width] * layers, 1]))

    def lstm(layers: int, width: int) -> nn.Module:
        return SideBySide(lambda: NumberByNumber(LSTMNetwork(1, width, 1, layers)))

    return Task(
        name=FUNCTION,
        unit="value",
        loss_name="mean squared error (variance 1)",
        batch_of=lambda step: samples(1 + step, SAMPLES),
        validation=[samples(0, TEST_SAMPLES)],
        entrants={
            "kan": Entrant(kan, 1e-2, (6, 5, 7, 8, 4, 9, 10, 3), knob="intervals"),
            "mlp": Entrant(mlp, 1e-2, (2, 3, 4)),
            "lstm": Entrant(lstm, 1e-2, (1, 2, 3)),
        },
        parameters=2_200,
        seconds=20.0,
        weight_decay=0.0,
        logarithmic=True,
    )


def _inputs(seed: int, step: int, count: int) -> np.ndarray:
    return derive_tasks.random_numbers(seed, step).uniform(-1.0, 1.0, (count, len(FORMULAS), 2))


def _values(x: np.ndarray) -> np.ndarray:
    return np.stack([formula(x[:, i, 0], x[:, i, 1]) for i, formula in enumerate(FORMULAS)], axis=1)


def oscillator(rng: np.random.Generator, rows: int) -> Batch:
    """(kicks and gaps (B, T, 2), positions and speeds (B, T, 2), gaps (B, T)) of a damped swing, float32.

    It is at rest until the first kick; kick t, at a random time after the one before, changes the speed at once.
    """
    gaps = rng.exponential(size=(rows, OBSERVATIONS))
    kicks = rng.standard_normal((rows, OBSERVATIONS))
    states = np.zeros((rows, OBSERVATIONS, 2))
    position, speed = np.zeros(rows), np.zeros(rows)
    turning = np.sqrt(FREQUENCY**2 - DAMPING**2)
    for t in range(OBSERVATIONS):
        fade, angle = np.exp(-DAMPING * gaps[:, t]), turning * gaps[:, t]
        drift = (speed + DAMPING * position) / turning
        moved = fade * (position * np.cos(angle) + drift * np.sin(angle))
        speed = fade * turning * (drift * np.cos(angle) - position * np.sin(angle)) - DAMPING * moved + kicks[:, t]
        position = moved
        states[:, t, 0], states[:, t, 1] = position, speed
    x, gaps = np.stack([kicks, gaps], axis=2).astype(np.float32), gaps.astype(np.float32)
    # In the long run both have a variance of about 1 / (4 damping).
    return x, (states * np.sqrt(4.0 * DAMPING)).astype(np.float32), gaps


def series_task(seed: int = 0) -> Task:
    """Where is a damped swing, and how fast, that is kicked at uneven times? Kicks and gaps between them are known."""

    def liquid(layers: int, width: int) -> nn.Module:
        return LiquidNetwork(LiquidNetworkConfig(2, width, 2, layers))

    return Task(
        name=SERIES,
        unit="value",
        loss_name="mean squared error (variance 1)",
        batch_of=lambda step: oscillator(derive_tasks.random_numbers(seed, 1 + step), SERIES_BATCH),
        validation=[oscillator(derive_tasks.random_numbers(seed, 0), 256)],
        entrants={
            "liquid": Entrant(liquid, 1e-2, (1, 2, 3)),
            "lstm": Entrant(lambda layers, width: LSTMNetwork(2, width, 2, layers), 1e-2, (1, 2, 3)),
            "mlp": Entrant(lambda layers, width: WindowMLP(2, width, 2, layers), 3e-3, (2, 3, 1, 4)),
        },
        parameters=20_000,
        seconds=20.0,
        weight_decay=0.0,
        logarithmic=True,
    )


def sentiment_task(texts: Sequence[str], labels: np.ndarray, seed: int = 0) -> Task:
    """Is a sentence positive? A fifth of the sentences is held out."""
    sentences = derive_tasks.sentiment_task(texts, labels, seed)
    size = sentences.size
    assert size is not None

    def flat(batch: derive_tasks.Batch) -> Batch:
        (ids, lengths), targets = batch
        return ids, targets, lengths

    def recurrent(cell: type, bidirectional: bool = False) -> Callable[[int, int], nn.Module]:
        return lambda layers, width: RecurrentClassifier(cell, size.vocab, width, layers, bidirectional)

    def bert(layers: int, width: int) -> nn.Module:
        return BertClassifier(BertConfig(size.vocab, derive_tasks.LENGTH, layers, HEADS, width, dropout=0.3))

    validation = [flat(batch) for batch in sentences.held_out]

    def measure(model: nn.Module) -> dict[str, Any]:
        with nn.inference():
            right = [
                (ops.argmax(model(ids, lengths=lengths), axis=1).to("cpu").numpy() == targets).sum()
                for ids, targets, lengths in validation
            ]
        return {"accuracy": round(int(sum(right)) / sum(len(batch[1]) for batch in validation), 4)}

    return Task(
        name=SENTIMENT,
        unit="sentence",
        loss_name="nats per sentence",
        batch_of=lambda step: flat(sentences.draw(step)),
        validation=validation,
        entrants={
            "bilstm": Entrant(recurrent(nn.LSTM, bidirectional=True), 2e-3, (1, 2)),
            "gru": Entrant(recurrent(nn.GRU), 2e-3, (1, 2)),
            "bert": Entrant(bert, 1e-3, (2, 1, 3, 4), HEADS),
        },
        parameters=200_000,
        seconds=20.0,
        weight_decay=0.1,
        tokenizer=sentences.tokenizer,
        measure=measure,
    )


def load_task(name: str, files: Sequence[str] = (), seed: int = 0) -> Task:
    """The task of that name; text is that of `files`, or Shakespeare's.

    Raises:
        datasets.DataUnavailable: its data is not here and can't be fetched.
        ValueError: a file is no text, or too short.
        OSError: a file can't be read.
    """
    loaders: dict[str, Callable[[], Task]] = {
        TEXT: lambda: text_task(data.read_text(list(files)) if files else datasets.shakespeare(), seed),
        FUNCTION: lambda: function_task(seed),
        SERIES: lambda: series_task(seed),
        SENTIMENT: lambda: sentiment_task(*datasets.movie_snippets(), seed=seed),
    }
    return loaders[name]()


TASKS = (TEXT, FUNCTION, SERIES, SENTIMENT)
