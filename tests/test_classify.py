"""TextClassifier and `pyformer classify`: it learns, is saved as `transformers` has it, and tells classes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import real_data
import torch

import pyformer as pf
from pyformer import datasets
from pyformer.models import BERT, BertClassifier, BertConfig
from pyformer.text_classifier import TextClassifier, _batches, read_table

library = pytest.importorskip("tokenizers")
WORDS = [
    "the",
    "film",
    "is",
    "was",
    "a",
    "very",
    "good",
    "bad",
    "great",
    "awful",
    "lovely",
    "dull",
    "and",
    "boring",
    "bright",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A folder of a small BERT from scratch, with a tokenizer of words."""
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = library.Tokenizer(library.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = library.pre_tokenizers.Whitespace()
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    pf.manual_seed(0)
    config = BertConfig(len(vocabulary), 32, num_layers=2, num_heads=2, embed_dim=32, dropout=0.1)
    BERT(config, pooler=False).save_pretrained(folder)
    return folder


def reviews(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Sentences with a word that says which class they are of."""
    random = np.random.default_rng(seed)
    kinds = (("bad", "awful", "dull", "boring"), ("good", "great", "lovely", "bright"))
    labels = random.integers(0, 2, count)
    texts = []
    for label in labels:
        words = list(random.choice(["the", "film", "is", "was", "a", "very", "and"], random.integers(1, 12)))
        words.insert(random.integers(0, len(words) + 1), random.choice(kinds[label]))
        texts.append(" ".join(words))
    return texts, labels


@pytest.fixture(scope="module")
def learned(encoder) -> TextClassifier:
    pf.manual_seed(1)
    classifier = TextClassifier.start(encoder, ("damns", "praises"))
    classifier.fit(*reviews(400, 0), epochs=12, lr=3e-3)
    return classifier


def test_it_learns_and_tells(learned):
    texts, labels = reviews(200, 1)
    likely = learned.predict(texts)
    np.testing.assert_allclose(likely.sum(axis=1), 1.0, atol=1e-6)
    assert (likely.argmax(axis=1) == labels).mean() > 0.95
    np.testing.assert_array_equal(learned.predict(texts, batch_size=7), likely)
    assert learned.predict([]).shape == (0, 2)


def test_files_are_those_of_transformers(learned, tmp_path):
    transformers = pytest.importorskip("transformers")
    learned.save_pretrained(tmp_path)
    again = TextClassifier.from_pretrained(tmp_path)
    texts, _ = reviews(20, 2)
    assert again.labels == ("damns", "praises")
    np.testing.assert_array_equal(again.predict(texts), learned.predict(texts))
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert theirs.config.id2label == {0: "damns", 1: "praises"}
    with torch.no_grad():
        for text, ours in zip(texts, again.predict(texts), strict=True):
            wanted = theirs(torch.tensor([again.read(text)])).logits.softmax(-1)[0].numpy()
            np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_a_seed_gives_the_same_classifier(encoder):
    found = []
    for _ in range(2):
        pf.manual_seed(4)
        classifier = TextClassifier.start(encoder, ("a", "b"))
        classifier.fit(*reviews(40, 0), epochs=0.5, batch_size=8, seed=3)
        found.append(classifier.predict(reviews(5, 5)[0]))
    np.testing.assert_array_equal(*found)


def test_the_longest_text_is_saved_and_read(encoder, tmp_path):
    classifier = TextClassifier.start(encoder, ("a", "b"), max_length=5)
    classifier.save_pretrained(tmp_path)
    again = TextClassifier.from_pretrained(tmp_path)
    assert again.max_length == 5
    np.testing.assert_array_equal(again.predict(["very " * 20]), classifier.predict(["very " * 20]))
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text('{"max_length": 1000000}')
    assert TextClassifier.from_pretrained(tmp_path).max_length == classifier.model.config.context_length
    settings.write_text('{"max_length": "5"}')
    with pytest.raises(ValueError, match="max_length must be an int, got '5'"):
        TextClassifier.from_pretrained(tmp_path)


def test_fitting_keeps_modes_also_when_it_raises(encoder, monkeypatch):
    classifier = TextClassifier.start(encoder, ("a", "b"))
    model = classifier.model.train()
    model.bert.layers[0].eval()
    before = [module.training for module in model.modules()]
    classifier.fit(*reviews(8, 0), epochs=1, batch_size=8)
    assert [module.training for module in model.modules()] == before
    model.eval()
    monkeypatch.setattr(type(model), "loss", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        classifier.fit(*reviews(8, 0), epochs=1, batch_size=8)
    assert not any(module.training for module in model.modules())


def test_an_epoch_has_each_row_once_and_batches_of_about_one_length():
    lengths = np.random.default_rng(0).integers(3, 60, 1000).tolist()
    batches = _batches(lengths, 16, [0, 0])
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert max(map(len, batches)) == 16
    waste = sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in batches)
    assert waste < 0.15 * sum(lengths)
    assert [b.tolist() for b in _batches(lengths, 16, [0, 1])] != [b.tolist() for b in batches]


def test_bad_arguments(encoder, learned):
    for labels in ((), ("a",), ("a", "a")):
        with pytest.raises(ValueError, match="two or more different labels"):
            TextClassifier.start(encoder, labels)
    for texts, labels, error in (
        (["a"], [2], ValueError),
        (["a"], [-1], ValueError),
        (["a"], [0.5], TypeError),
        (["a"], [0, 1], TypeError),
        (["a"], np.ma.array([0], mask=[True]), TypeError),
        ([], np.zeros(0, int), ValueError),
        ("abc", [0, 1, 0], TypeError),
    ):
        with pytest.raises(error, match="TextClassifier"):
            learned.fit(texts, labels)
    with pytest.raises(ValueError, match="epochs and batch_size must be above 0"):
        learned.fit(["a"], [0], epochs=0)
    with pytest.raises(TypeError, match="expected a BertClassifier, got BERT"):
        TextClassifier.from_pretrained(encoder)
    with pytest.raises(ValueError, match="max_length must be from 3 to 32, got 33"):
        TextClassifier(learned.model, learned.tokenizer, max_length=33)


def pyformer(*arguments, text=""):
    command = [sys.executable, "-m", "pyformer", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_the_command_line_trains_and_predicts(encoder, tmp_path):
    texts, labels = reviews(300, 0)
    lines = [f"{('damns', 'praises')[label]}\t{text}\n" for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "data.tsv").write_text("".join(lines))
    options = ("--epochs", 12, "--lr", 0.003, "--out", tmp_path / "out")
    ended = pyformer("classify", "train", encoder, tmp_path / "data.tsv", *options)
    assert ended.returncode == 0, ended.stderr
    share = float(ended.stdout.split("%")[0])
    assert "of 60 held-out texts" in ended.stdout
    assert share > 90
    assert "240 texts to learn from, 60 to be judged on: damns" in ended.stderr
    ended = pyformer("classify", "predict", tmp_path / "out", text="the film is great\nboring\n")
    assert ended.returncode == 0, ended.stderr
    assert [line.split("\t")[0] for line in ended.stdout.splitlines()] == ["praises", "damns"]
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\tx\nno tab\n", "line 2 must be a label, a tab and a text, got 'no tab'"),
        (b"\tx\n", "line 1 must be a label"),
        (b"a\tx\xff\n", "not UTF-8 at byte 3"),
    ],
)
def test_tables_that_are_none(tmp_path, data, message):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "x")


def test_one_class_is_refused_in_a_line(encoder, tmp_path):
    (tmp_path / "x").write_text("a\tx\na\ty\n")
    ended = pyformer("classify", "train", encoder, tmp_path / "x", "--out", tmp_path / "out")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("expected lines of two or more classes, got a")


def test_minilm_learns_from_a_few_hundred_sentences():
    texts, labels = real_data.load(datasets.movie_snippets)
    folder = real_data.load(datasets.minilm)
    train, test = datasets.train_test_split(len(texts))
    pf.manual_seed(0)
    classifier = TextClassifier.start(folder, ("damns", "praises"), max_length=32)
    classifier.fit([texts[i] for i in train[:640]], labels[train[:640]], epochs=1, lr=2e-4)
    right = classifier.predict([texts[i] for i in test[:300]]).argmax(axis=1) == labels[test[:300]]
    assert right.mean() > 0.65


def test_a_model_that_answers_no_one_class_is_refused(encoder):
    """Its scores are no probabilities of classes, and softmax would make them look so."""
    base, tokenizer = pf.from_pretrained(encoder).config, pf.tokenizers.load(encoder)
    for changes in (
        {"num_labels": 1},
        {"num_labels": 1, "problem_type": "regression"},
        {"num_labels": 3, "problem_type": "regression"},
        {"num_labels": 3, "problem_type": "multi_label_classification"},
    ):
        model = BertClassifier(replace(base, **changes))
        with pytest.raises(ValueError, match="answers one of two or more classes"):
            TextClassifier(model, tokenizer)
    with pytest.raises(TypeError, match="max_length must be an int, got float"):
        TextClassifier(BertClassifier(replace(base, num_labels=2)), tokenizer, max_length=5.5)


def test_texts_may_come_from_a_generator(learned):
    texts = ["the film is bad", "a lovely film"]
    np.testing.assert_array_equal(learned.predict(text for text in texts), learned.predict(texts))


def test_a_byte_order_mark_is_no_part_of_a_label_and_the_folder_is_made_before_the_work(encoder, tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbfgood\tlovely\nbad\tawful\n")
    assert read_table(tmp_path / "t.tsv") == (["lovely", "awful"], ["good", "bad"])
    ended = pyformer(
        "classify", "train", encoder, tmp_path / "t.tsv", "--out", tmp_path / "t.tsv" / "x", "--held-out", "0"
    )
    assert ended.returncode == 1 or ended.returncode == 2
    assert "epoch" not in ended.stderr
    assert "Traceback" not in ended.stderr
