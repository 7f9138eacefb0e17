"""SentenceEncoder: the vectors of `transformers` with the mean of tokens, whatever else is in the batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import real_data
import torch

import pyformer as pf
from pyformer import datasets, sentences
from pyformer.cli import main
from pyformer.models import BERT, BertConfig

pytest.importorskip("tokenizers")
TEXTS = [
    "A man is playing a guitar.",
    "Someone plays music on an instrument.",
    "The stock market fell sharply today.",
    "",
    "word " * 400,
    "Ünïcödé 日本語 👍🏽 [SEP] [MASK]",
    "UPPER lower",
    *(" ".join(f"word{i * j}" for j in range(i)) for i in range(1, 40)),
]


@pytest.fixture(scope="module")
def folder():
    return real_data.load(datasets.minilm)


@pytest.fixture(scope="module")
def encoder(folder):
    return pf.SentenceEncoder.from_pretrained(folder)


def theirs(folder, texts, max_length, normalize=True):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None].float()
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return (torch.nn.functional.normalize(mean) if normalize else mean).numpy()


def test_vectors_are_those_of_transformers(folder, encoder):
    assert encoder.max_length == 256
    np.testing.assert_allclose(encoder.encode(TEXTS), theirs(folder, TEXTS, 256), rtol=0, atol=1e-5)
    short = pf.SentenceEncoder(encoder.model, encoder.tokenizer, max_length=16)
    wanted = theirs(folder, TEXTS, 16, normalize=False)
    np.testing.assert_allclose(short.encode(TEXTS, normalize=False), wanted, rtol=0, atol=1e-5)


def test_known_cosines(encoder):
    a, b, c = encoder.encode(TEXTS[:3])
    assert float(a @ b) == pytest.approx(0.673, abs=6e-4)
    assert float(a @ c) == pytest.approx(-0.054, abs=6e-4)


def test_a_text_has_the_same_bits_in_any_batch(encoder):
    texts = TEXTS[:3] + TEXTS[5:20]
    whole = encoder.encode(texts, batch_size=7)
    for size in (1, 3, 32):
        np.testing.assert_array_equal(encoder.encode(texts, batch_size=size), whole)
    np.testing.assert_array_equal(encoder.encode(texts[::-1])[::-1], whole)
    np.testing.assert_array_equal(encoder.encode(texts[4:5]), whole[4:5])


def test_nothing_to_encode_and_what_is_no_list(encoder, folder):
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode([]).dtype == np.float32
    wide = pf.SentenceEncoder.from_pretrained(folder)
    wide.model.to("float64")
    assert wide.encode([]).dtype == wide.encode(["a"]).dtype == np.float64
    for wrong in ("a text", [1], [None], ["a", b"b"]):
        with pytest.raises(TypeError, match="expected a list of strings"):
            encoder.encode(wrong)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        encoder.encode(["a"], batch_size=0)
    with pytest.raises(TypeError, match="batch_size must be an int, got float"):
        encoder.encode(["a"], batch_size=2.0)
    with pytest.raises(ValueError, match="lone surrogate"):
        encoder.encode(["\ud800"])


def test_what_the_folder_says_is_followed_or_refused(folder, encoder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": True}))
    pooling = copy / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"word_embedding_dimension": 384, "pooling_mode_cls_token": True}))
    opened = pf.SentenceEncoder.from_pretrained(copy)
    assert (opened.max_length, opened.pooling, opened.lower) == (12, "cls", True)
    ids = opened.read("word " * 40)
    assert len(ids) == 12
    first = opened.model([ids])[:, 0].numpy()
    wanted = first / np.linalg.norm(first)
    np.testing.assert_allclose(opened.encode(["word " * 40]), wanted, rtol=0, atol=1e-6)
    for modes in (
        {"pooling_mode_max_tokens": True},
        {},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
    ):
        pooling.write_text(json.dumps(modes))
        with pytest.raises(ValueError, match="pooling must be one of mean, cls, last"):
            pf.SentenceEncoder.from_pretrained(copy)
    for modules, message in (
        ([{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}], "Dense"),
        ([{"type": "sentence_transformers.models.Pooling", "path": "../x"}], "folder beside it"),
        ({"a": 1}, "expected a list of parts"),
        ([3], "expected a list of parts"),
    ):
        (copy / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(ValueError, match=message):
            pf.SentenceEncoder.from_pretrained(copy)
    (copy / "modules.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"nested too deeply|not valid JSON"):
        pf.SentenceEncoder.from_pretrained(copy)
    (copy / "modules.json").unlink()
    (copy / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 1000}))
    with pytest.raises(ValueError, match="max_length must be from 3 to 512, got 1000"):
        pf.SentenceEncoder.from_pretrained(copy)


def test_prompts_widths_and_places_are_followed(folder, encoder, tmp_path, caplog):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    plain = encoder.encode(["query: a man"])

    def opened(prompts=None, modules=None, pooling=None):
        (copy / "config_sentence_transformers.json").write_text(json.dumps(prompts or {}))
        if modules is not None:
            (copy / "modules.json").write_text(json.dumps(modules))
        if pooling is not None:
            (copy / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
        return pf.SentenceEncoder.from_pretrained(copy)

    caplog.clear()
    asked = {"prompts": {"q": "query: "}, "default_prompt_name": "q", "similarity_fn_name": "dot", "__version__": {}}
    np.testing.assert_array_equal(opened(asked).encode(["a man"]), plain)
    assert "config_sentence" not in caplog.text
    opened({"prompts": {"q": "query: ", "none": ""}, "something": 3})
    assert "prompts that are not put before texts by themselves: q\n" in caplog.text
    assert "keys that are ignored: something" in caplog.text
    for wrong in ({"prompts": {}, "default_prompt_name": "q"}, {"prompts": ["q"]}, {"prompts": {"q": 3}}):
        with pytest.raises(ValueError, match=r"default_prompt_name must be one of|prompts must be texts by name"):
            opened(wrong)
    cut = opened({"truncate_dim": 64}).encode(["query: a man"])
    np.testing.assert_allclose(cut, plain[:, :64] / np.linalg.norm(plain[:, :64]), rtol=0, atol=1e-6)
    for width in (0, 385):
        with pytest.raises(ValueError, match=f"width must be from 1 to 384, got {width}"):
            opened({"truncate_dim": width})

    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    parts = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in paths.items()]
    raw = opened(modules=parts[:2])
    np.testing.assert_array_equal(raw.encode(["query: a man"]), encoder.encode(["query: a man"], normalize=False))
    np.testing.assert_array_equal(raw.encode(["query: a man"], normalize=True), plain)
    for wrong in (parts[:1], parts[1:], [parts[0], parts[2], parts[1]], [*parts, parts[2]]):
        with pytest.raises(ValueError, match="expected Transformer, Pooling and perhaps Normalize, got"):
            opened(modules=wrong)
    with pytest.raises(ValueError, match="include_prompt must be true"):
        opened(asked, parts, {"pooling_mode_mean_tokens": True, "include_prompt": False})
    np.testing.assert_array_equal(opened(None, parts, {"pooling_mode": "mean"}).encode(["query: a man"]), plain)
    parts[0]["path"] = "0_Transformer"
    with pytest.raises(FileNotFoundError, match="0_Transformer"):
        opened(modules=parts)
    (copy / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        if (copy / name).exists():
            (copy / name).rename(copy / "0_Transformer" / name)
    np.testing.assert_array_equal(opened().encode(["query: a man"]), plain)
    with pytest.raises(TypeError, match="prompt must be of str, got int"):
        pf.SentenceEncoder(encoder.model, encoder.tokenizer, prompt=3)


def test_other_models_and_tokenizers_are_refused(encoder):
    with pytest.raises(TypeError, match="expected a BERT, Encoder or Decoder, got Linear"):
        pf.SentenceEncoder(pf.nn.Linear(2, 2), encoder.tokenizer)
    with pytest.raises(TypeError, match="got ByteTokenizer"):
        pf.SentenceEncoder(encoder.model, pf.tokenizers.ByteTokenizer())
    small = BERT(BertConfig(100, 32, num_layers=1, num_heads=2, embed_dim=16))
    with pytest.raises(ValueError, match="the tokenizer has 30522 tokens, the model 100"):
        pf.SentenceEncoder(small, encoder.tokenizer)
    with pytest.raises(ValueError, match="pooling must be one of"):
        pf.SentenceEncoder(encoder.model, encoder.tokenizer, pooling="max")


def pyformer(*arguments, text=b""):
    command = [sys.executable, "-m", "pyformer", *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, check=False)


def test_the_command_line_writes_a_vector_a_line(folder, encoder, tmp_path):
    lines = [*TEXTS[:4], "last"]
    (tmp_path / "lines.txt").write_bytes("\r\n".join(lines).encode() + b"\r\n")
    ended = pyformer("embed", folder, tmp_path / "lines.txt", "--out", tmp_path / "x.npy")
    assert ended.returncode == 0, ended.stderr
    assert b"5 vectors of 384" in ended.stderr
    assert b"5/5" in ended.stderr  # the bar
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), encoder.encode(lines))
    ended = pyformer("embed", folder, "--out", tmp_path / "y.npy", "--quiet", "--raw", text="\n".join(lines).encode())
    assert (ended.returncode, ended.stderr) == (0, b"")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), encoder.encode(lines, normalize=False))


def test_the_command_line_says_what_is_wrong(folder, tmp_path):
    ended = pyformer("embed", folder, "--out", tmp_path / "x.npy", "--quiet", text=b"a\nb\xff")
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1] == b"pyformer embed: stdin: not UTF-8 at byte 3"
    assert not (tmp_path / "x.npy").exists()


def test_texts_may_come_from_a_generator(encoder):
    texts = ["a cat", "two dogs"]
    np.testing.assert_array_equal(encoder.encode(text for text in texts), encoder.encode(texts))


def test_a_quantised_folder_says_the_same_of_vectors(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "a")
    (tmp_path / "a" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": True}))
    pooling = tmp_path / "a" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"word_embedding_dimension": 384, "pooling_mode_cls_token": True}))
    assert main(["quantize", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    plain, narrow = (pf.SentenceEncoder.from_pretrained(tmp_path / name) for name in "ab")
    said = [(each.max_length, each.pooling, each.lower, each.normalize, each.prompt) for each in (plain, narrow)]
    assert said[0] == said[1]
    assert float(plain.encode(["a man"])[0] @ narrow.encode(["a man"])[0]) > 0.99
    started = pf.TextClassifier.start(tmp_path / "b", ("x", "y")).model.bert  # its matrices become floats
    ids = [[101, 2003, 2023, 102]]
    vectors = [model(ids).detach().numpy().ravel() for model in (plain.model, started)]
    assert np.corrcoef(*vectors)[0, 1] > 0.99


SMALL = {"vocab_size": 280, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
SMALL |= {"num_attention_heads": 4, "max_position_embeddings": 40, "pad_token_id": None}
SMALL |= dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
KINDS = {  # the pooling's word in files, and ours
    "qwen3": ({"num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True}, "pooling_mode_lasttoken", "last"),
    "modernbert": ({"local_attention": 6}, "pooling_mode_mean_tokens", "mean"),
    "bert": ({}, "pooling_mode_cls_token", "cls"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("says_pooling", [True, False])
def test_encoders_and_decoders_of_other_families_give_the_vectors_of_transformers(kind, says_pooling, tmp_path):
    """Folders as Qwen 3 Embedding, ModernBERT's and bge have them; without a word of the pooling, a decoder's last."""
    transformers = pytest.importorskip("transformers")
    more, mode, pooling = KINDS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **SMALL, **more)).eval()
    model.save_pretrained(tmp_path)
    pf.tokenizers.BPETokenizer.train("the cat sat on the mat " * 4, vocab_size=262).save(tmp_path)
    if says_pooling:
        parts = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
        modules = [{"type": f"sentence_transformers.models.{name}", "path": path} for name, path in parts]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        (tmp_path / "1_Pooling").mkdir()
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({mode: True, "include_prompt": True}))
    elif kind == "bert":
        pooling = "mean"
    encoder = pf.SentenceEncoder.from_pretrained(tmp_path)
    assert encoder.pooling == pooling
    texts = ["the cat", "a", "the mat sat on the cat and on the mat", "dog"]
    vectors = encoder.encode(texts, batch_size=3)
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            hidden = model(torch.tensor([encoder.read(text)])).last_hidden_state[0]
        wanted = {"last": hidden[-1], "mean": hidden.mean(0), "cls": hidden[0]}[pooling].numpy()
        np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), rtol=0, atol=1e-5)
        np.testing.assert_array_equal(encoder.encode([text])[0], vector)
    with pytest.raises(ValueError, match="text 1 has no tokens"):
        encoder.encode(["a", ""])


def test_batches_have_texts_of_about_one_length():
    lengths = [3, 40, 200, 38, 190, 4, 39, 37, 41, 150, 5]
    found = list(sentences._batches(lengths, 4))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    assert [[lengths[place] for place in batch] for batch in found] == [
        [200, 190],
        [150, 41],
        [40, 39, 38, 37],
        [5, 4, 3],
    ]
    assert [len(batch) for batch in sentences._batches([50] * 100, 32)] == [32, 32, 32, 4]
    assert list(sentences._batches([], 32)) == []
