"""The scripts of examples/, for seconds, on made-up text. Runs on a checkout."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import pyformer as pf
from pyformer.models import BertClassifier, BertConfig
from pyformer.training import TaskTrainer, TrainingOptions

EXAMPLES = Path(__file__).parent.parent / "examples"
OPTIONS = {"warmup": 2, "eval_every": 100, "sample_every": 0}


def load(name):
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks for its module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def batch_of(step):
    rng = np.random.default_rng(step)
    return rng.integers(0, 9, (4, 5)), rng.integers(0, 2, 4), np.array([5, 3, 1, 4])


def make_trainer(run, steps=6):
    pf.manual_seed(0)
    model = BertClassifier(BertConfig(9, 5, 1, 2, 8, dropout=0.1))
    options = TrainingOptions(steps=steps, save_every=3, **OPTIONS)
    return TaskTrainer(model, batch_of, [batch_of(100)], options, run)


def test_a_resumed_task_is_the_one_that_never_stopped(tmp_path):
    straight = make_trainer(tmp_path / "straight")
    (tmp_path / "straight").mkdir()
    assert straight.train()
    (tmp_path / "stopped").mkdir()
    stopped = make_trainer(tmp_path / "stopped")

    def stop_at_four(step):
        if step == 4:
            stopped.request_stop()
        return batch_of(step)

    stopped.batch_of = stop_at_four
    assert not stopped.train()
    assert stopped.step == 4
    resumed = make_trainer(tmp_path / "stopped")
    resumed.restore()
    assert resumed.train()
    for (name, one), two in zip(straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=name)
    assert pf.from_pretrained(tmp_path / "stopped").config == straight.model.config


def test_task_trainer_refuses_what_it_cannot_do():
    model = BertClassifier(BertConfig(9, 5, 1, 2, 8))
    with pytest.raises(ValueError, match="validate"):
        TaskTrainer(model, batch_of, [], TrainingOptions())
    with pytest.raises(ValueError, match="accumulate"):
        TaskTrainer(model, batch_of, [batch_of(0)], TrainingOptions(accumulate=2))


def test_sentiment(tmp_path):
    pytest.importorskip("tokenizers")
    sentiment = load("sentiment")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    filler = ["film", "actor", "plot", "scene", "music"]
    texts = [" ".join(rng.permutation([*rng.choice(filler, 4), "lovely" if label else "dreadful"])) for label in labels]
    split = sentiment.Split(texts[:320], labels[:320], texts[320:], labels[320:])
    for pairs in (False, True):
        assert sentiment.train_bag_of_words(split, pairs=pairs, epochs=40) > 0.95
    options = TrainingOptions(steps=400, batch=32, lr=4e-3, **OPTIONS)
    sizes = {"layers": 1, "width": 32, "vocab": 300, "hide": 0.05}
    assert sentiment.train_bert(split, options, out=tmp_path / "run", **sizes) > 0.9
    # A finished run is only judged again.
    assert sentiment.train_bert(split, options, out=tmp_path / "run", **sizes) > 0.9
    rows = [sentiment.shuffled(10, 3, step, 0) for step in range(3)]
    assert len({int(i) for row in rows for i in row}) == 9


def test_translation(tmp_path):
    pytest.importorskip("tokenizers")
    translation = load("translation")
    rng = np.random.default_rng(0)
    words = {"one": "uno", "two": "dos", "three": "tres", "four": "cuatro"}
    english = [list(rng.choice(list(words), rng.integers(1, 5))) for _ in range(400)]
    pairs = [(" ".join(e), " ".join(words[w] for w in e)) for e in english]
    corpus = translation.Corpus(pairs, 300)
    assert len(corpus.test) == 20
    names = {"layers": 1, "heads": 2, "width": 32, "dropout": 0.0, "steps": 120, "batch": 16, "lr": 5e-3}
    args = argparse.Namespace(**names, warmup=10, seed=0, out=tmp_path / "run")
    trainer = translation.make_trainer(corpus, args)
    seen = [translation.batch_at(corpus.train, 16, step, 0)[0].shape[0] for step in range(40)]
    assert seen == [16] * 40
    assert trainer.train()
    expected = [corpus.decode(target) for _, target in corpus.test]
    for beams in (1, 3):
        found = translation.translate(trainer.model, corpus, corpus.test, beams)
        right = sum(a == b for a, b in zip(found, expected, strict=True))
        assert right >= 15, (found, expected)
    pytest.importorskip("sacrebleu")
    assert translation.bleu(expected, expected) == pytest.approx(100.0)
