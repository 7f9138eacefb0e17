"""What one step of training does: its place in the schedule, and micro-batches that are one batch."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from tolerance import ACCUMULATOR, UNIT, C, assert_close, by_rows

import pyformer as pf
from pyformer import training
from pyformer.models import GPT, GPTConfig
from pyformer.training import Trainer, TrainingOptions

CONTEXT = 8
TOKENS = np.random.default_rng(0).integers(0, 40, 600).astype(np.int32)
OPTIONS = TrainingOptions(steps=10, batch=2, warmup=3, final_lr=0.2, lr=3e-3, eval_batches=1, sample_every=0, seed=5)


def make_trainer(options, dtype=pf.float32, run=None):
    pf.manual_seed(1)
    model = GPT(GPTConfig(40, CONTEXT, 2, 2, 16)).to(dtype)
    return Trainer(model, TOKENS[:500], TOKENS[500:], options, run)


def recorded(trainer, look):
    """Trains; what `look` saw before each of the optimiser's steps."""
    seen, step = [], trainer.optimizer.step

    def watched():
        seen.append(look())
        step()

    trainer.optimizer.step = watched
    assert trainer.train()
    return seen


def test_each_step_has_the_learning_rate_of_its_place():
    trainer = make_trainer(OPTIONS)
    rates = recorded(trainer, lambda: [group["lr"] for group in trainer.optimizer.param_groups])
    warm = [1 / 3, 2 / 3, 1.0]
    cosine = [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * done / 7)) for done in range(7)]
    for got, factor in zip(rates, warm + cosine, strict=True):
        assert got == pytest.approx([3e-3 * factor] * 2, rel=1e-12)


def test_weights_move_by_the_learning_rate_of_the_step():
    """Without decay, AdamW's first step moves a weight by the learning rate, whatever its gradient."""
    options = dataclasses.replace(OPTIONS, steps=100, warmup=100, weight_decay=0.0, clip=1e9)
    trainer, before = make_trainer(options, pf.float64), []
    before += [p.numpy().copy() for p in trainer.model.parameters()]
    trainer.options = dataclasses.replace(options, steps=1)
    assert trainer.train()
    moved = [np.abs(p.numpy() - b).max() for p, b in zip(trainer.model.parameters(), before, strict=True)]
    assert max(moved) == pytest.approx(3e-3 / 100, rel=1e-3)


@pytest.mark.parametrize("micro_batches", [2, 4])
def test_micro_batches_are_one_batch(micro_batches):
    """Gradients and weights of 2 x 4 or 4 x 2 windows a step are those of 8, up to the rounding of the sums."""
    dtype, steps = "float64", 3
    options = dataclasses.replace(OPTIONS, steps=steps, clip=1e9)

    def gradients(trainer):
        return {name: p.grad.numpy().copy() for name, p in trainer.model.named_parameters()}

    results = []
    for accumulate in (1, micro_batches):
        parts = dataclasses.replace(options, batch=8 // accumulate, accumulate=accumulate)
        trainer = make_trainer(parts, pf.float64)
        seen = recorded(trainer, lambda trainer=trainer: gradients(trainer))
        results.append((seen, {name: p.numpy() for name, p in trainer.model.named_parameters()}))
    (whole, weights), (parts, other_weights) = results
    additions = 8 * CONTEXT
    for name, expected in whole[0].items():  # later ones start from weights that differ in their last bits
        assert np.abs(expected).max() > 0, name
        assert_close(parts[0][name], by_rows(expected), name, additions=additions)
    # AdamW divides by the gradient's size, at least eps: no error of the gradient can grow more than that.
    error = C * UNIT[ACCUMULATOR[dtype]] * math.sqrt(additions) * max(np.abs(g).max() for g in whole[0].values())
    for name, expected in weights.items():
        np.testing.assert_allclose(other_weights[name], expected, rtol=0, atol=steps * options.lr * error / 1e-8)


def test_the_gradients_that_are_clipped_are_those_of_the_whole_batch():
    """A limit between the norm of the mean and that of the sum leaves the mean as it is."""

    def norm(trainer):
        return math.sqrt(sum(float((p.grad.numpy() ** 2).sum()) for p in trainer.model.parameters()))

    options = dataclasses.replace(OPTIONS, steps=1, batch=4, accumulate=2, clip=1e9)
    trainer = make_trainer(options)
    (free,) = recorded(trainer, lambda: norm(trainer))
    for clip, expected in ((1.5 * free, free), (0.5 * free, 0.5 * free)):
        clipped = make_trainer(dataclasses.replace(options, clip=clip))
        assert recorded(clipped, lambda trainer=clipped: norm(trainer)) == [pytest.approx(expected, rel=1e-5)]


def test_the_loss_of_a_step_is_that_of_the_whole_batch(tmp_path):
    losses = []
    for batch, accumulate in ((8, 1), (4, 2), (2, 4)):
        run = tmp_path / str(accumulate)
        run.mkdir()
        options = dataclasses.replace(OPTIONS, steps=1, batch=batch, accumulate=accumulate, log_every=1)
        assert make_trainer(options, run=run).train()
        losses += [loss for _, loss in training.loss_points(training.read_metrics(run / training.METRICS_NAME), "loss")]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


def test_evaluation_is_without_dropout():
    pf.manual_seed(1)
    model = GPT(GPTConfig(40, CONTEXT, 2, 2, 16, dropout=0.5))
    trainer = Trainer(model, TOKENS[:500], TOKENS[500:], OPTIONS)
    model.eval()
    expected = np.mean([model.loss(*batch).item() for batch in trainer.validation])
    model.train()
    assert trainer.evaluate() == pytest.approx(expected, rel=1e-6)
