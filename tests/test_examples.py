"""The scripts of examples/, for seconds, on made-up text. Runs on a checkout."""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerance import MODEL_OPS, assert_close, by_rows
from transformers import BertModel

import pyformer as pf
from pyformer import datasets
from pyformer.models import BertClassifier, BertConfig, bert
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


@pytest.mark.parametrize("name", ["classify", "pictures", "sentiment", "translation"])
def test_without_data_a_line_says_what_is_missing(name, monkeypatch, tmp_path):
    def missing():
        raise datasets.DataUnavailable("not here; install it with a network")

    for source in ("fashion_mnist", "movie_snippets", "verses"):
        monkeypatch.setattr(datasets, source, missing)
    arguments = [name, *(["convnet"] if name == "pictures" else []), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert stop.value.code == "not here; install it with a network"
    assert not (tmp_path / "run").exists()


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


def test_sentiment(tmp_path):
    sentiment = load("sentiment")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    filler = ["film", "actor", "plot", "scene", "music"]
    texts = [" ".join(rng.permutation([*rng.choice(filler, 4), "lovely" if label else "dreadful"])) for label in labels]
    split = sentiment.Split(texts[:320], labels[:320], texts[320:], labels[320:])
    for pairs in (False, True):
        assert sentiment.train_bag_of_words(split, pairs=pairs, epochs=40) > 0.95
    options = TrainingOptions(steps=400, batch=32, lr=4e-3, **OPTIONS)
    sizes = {"layers": 1, "width": 32, "dropout": 0.3, "hide": 0.05}
    assert sentiment.train_bert(split, options, out=tmp_path / "run", **sizes) > 0.9
    # A finished run is only judged again.
    assert sentiment.train_bert(split, options, out=tmp_path / "run", **sizes) > 0.9
    rows = [sentiment.shuffled(10, 3, step, 0) for step in range(3)]
    assert len({int(i) for row in rows for i in row}) == 9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bert_of_sentiment_equals_its_twin(dtype, tmp_path):
    """Scores, loss and all gradients: the encoder and pooler of transformers, the mean between them."""
    pf.manual_seed(0)
    model = load("sentiment").MeanBert(BertConfig(19, 12, 2, 4, 16, dropout=0.0)).to(getattr(pf, dtype))
    rng = np.random.default_rng(0)
    model.load_state_dict({n: t.numpy() + 0.1 * rng.standard_normal(t.shape) for n, t in model.state_dict().items()})
    model.save_pretrained(tmp_path)
    twin = BertModel.from_pretrained(tmp_path, dtype=getattr(torch, dtype), attn_implementation="eager").eval()
    head = [torch.tensor(p.numpy(), requires_grad=True) for p in (model.classifier.weight, model.classifier.bias)]
    # transformers gives the row of id 0, its padding, no gradient.
    ids, lengths, labels = rng.integers(1, 19, (4, 9)), np.array([9, 1, 4, 7]), np.array([1, 0, 0, 1])
    there = torch.tensor(np.arange(9) < lengths[:, None])
    hidden = twin(torch.tensor(ids), attention_mask=there.long()).last_hidden_state
    mean = (hidden * there[:, :, None]).sum(1) / torch.tensor(lengths)[:, None]
    expected = torch.nn.functional.linear(torch.tanh(twin.pooler.dense(mean)), *head)
    other = torch.nn.functional.cross_entropy(expected, torch.tensor(labels))
    loss = model.loss(ids, labels, lengths)
    scores = model(ids, lengths=lengths).numpy()
    assert_close(scores, by_rows(expected.detach().numpy()), "scores", additions=64, ops=MODEL_OPS)
    assert_close(loss.numpy(), by_rows(other.detach().numpy()), "loss", additions=64, ops=MODEL_OPS)
    loss.backward()
    other.backward()
    gradients = {name: p.grad for name, p in twin.named_parameters()}
    gradients |= {"classifier.weight": head[0].grad, "classifier.bias": head[1].grad}
    names = {bert.BertClassifier.layout.stored_name(name): p for name, p in model.named_parameters()}
    assert names.keys() == gradients.keys()
    for name, parameter in names.items():
        wanted = gradients[name].numpy()
        assert_close(parameter.grad.numpy(), by_rows(wanted, least=1e-2), name, additions=128, ops=MODEL_OPS)


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


def made_pictures(pictures):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 28, 28)).astype(np.uint8), rng.integers(0, 10, 60)
    return pictures.Pictures(images[:40], labels[:40], images[40:], labels[40:])


def short(pictures, name, steps=4):
    fixed = {"steps": steps, "batch": 4, "save_every": 3, "warmup": 2, "eval_every": 100, "sample_every": 0}
    return TrainingOptions(**{**pictures.TASKS[name].options, **fixed})


def test_pictures(tmp_path, monkeypatch):
    pictures = load("pictures")
    monkeypatch.setattr(pictures, "SAMPLES", 10)
    monkeypatch.setattr(pictures, "SAMPLE_STEPS", 2)
    data, judge = made_pictures(pictures), None
    for name in pictures.TASKS:
        trainer = pictures.make_trainer(name, data, short(pictures, name), tmp_path / name)
        pictures.train(trainer)
        model = pf.from_pretrained(tmp_path / name)
        for one, two in zip(model.state_dict().values(), trainer.model.state_dict().values(), strict=True):
            np.testing.assert_array_equal(one.numpy(), two.numpy())
        scores = pictures.report(model, data, judge, tmp_path / name)
        assert scores
        assert all(0.0 <= score <= 1.0 for score in scores.values())
        judge = model if name == "convnet" else judge
        # A finished run is only judged again.
        again = pictures.make_trainer(name, data, short(pictures, name), tmp_path / name)
        assert again.step == 4
        pictures.train(again)
        assert pictures.report(again.model.eval(), data, judge, tmp_path / name).items() >= scores.items()
    assert pictures.report(model, data, None, tmp_path / "dit") == {}


def test_a_stopped_gan_goes_on_with_the_same_bits(tmp_path):
    pictures = load("pictures")
    data, options = made_pictures(pictures), short(pictures, "gan", steps=5)
    straight = pictures.make_trainer("gan", data, options, tmp_path / "straight")
    pictures.train(straight)
    stopped = pictures.make_trainer("gan", data, options, tmp_path / "stopped")
    batch_at = stopped.batch_of

    def stop_at_one(step):
        if step == 1:
            stopped.request_stop()
        return batch_at(step)

    stopped.batch_of = stop_at_one
    with pytest.raises(SystemExit, match="stopped at step 2"):
        pictures.train(stopped)
    resumed = pictures.make_trainer("gan", data, options, tmp_path / "stopped")
    pictures.train(resumed)
    for (name, one), two in zip(straight.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        np.testing.assert_array_equal(one.numpy(), two.numpy(), err_msg=name)
    assert all(parameter.requires_grad for parameter in resumed.model.parameters())


def test_variations_and_pngs_of_pictures():
    pictures = load("pictures")
    data = made_pictures(pictures).train
    same = pictures.varied(data, 0, np.random.default_rng(0))
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(data, same, strict=True)]
    kept = [np.array_equal(a, b) for a, b in zip(data, same, strict=True)]
    assert any(mirrored)
    assert any(kept)
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    moved = pictures.varied(data, 2, np.random.default_rng(0))
    assert moved.shape == data.shape
    places = [(a[5:9, 5:9] == w).all() for a, b in zip(data, moved, strict=True) for w in windows(b)]
    assert sum(places) > 0
    pixels = pictures.grid(data[:6] / 255, 3)
    assert pixels.shape == (2 * 58, 3 * 58)
    np.testing.assert_array_equal(pixels[59:115:2, 1:57:2], data[3])
    content = pictures.png(pixels)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (size,), kind = struct.unpack(">I", content[at : at + 4]), content[at + 4 : at + 8]
        chunks[kind] = content[at + 8 : at + 8 + size]
        assert struct.unpack(">I", content[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + chunks[kind])
        at += 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (174, 116)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(116, 175)
    assert not lines[:, 0].any()
    np.testing.assert_array_equal(lines[:, 1:], pixels)


def windows(picture):
    """The four by four pixels that may have come to where they are from (5, 5)."""
    return [picture[top : top + 4, left : left + 4] for top in range(3, 8) for left in range(3, 8)]
