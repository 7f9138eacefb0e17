"""Mutants of the files that a folder holds: each is read, or refused by an error of ours that names the file.

`PYFORMER_FUZZ_MUTANTS=10000 pytest tests/test_fuzz_readers.py` tries more of them; those of GGUF are in test_gguf.py.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import random
import resource
import struct
import sys
import time

import numpy as np
import pytest

import pyformer as pf
from pyformer import formats
from pyformer.conversation import render
from pyformer.formats.state import _checksum

MANY = int(os.environ.get("PYFORMER_FUZZ_MUTANTS", "200"))
SIZES = {"vocab_size": 10, "context_length": 8, "num_layers": 2, "num_heads": 2, "embed_dim": 8}


# What a string of a mutant stands for: values nested so deep that a walk through them is too deep for Python.
DEEP = {
    '"<deep list>"': "[" * 400 + "]" * 400,
    '"<deep normalizers>"': '{"type": "Sequence", "normalizers": [' * 200 + "]}" * 200,
}
ODD = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**40, 10**400),
    *(0.5, -0.0, 1e-320, 1e308, float("inf"), -float("inf"), float("nan"), "", "x", "F32", "../x", "a/b"),
    *(
        "\0",
        "\ud800",
        "é" * 300,
        [],
        {},
        [1],
        [[]],
        {"a": 1},
        [0, 2**62],
        ["x"],
        [None],
        {"content": None},
        {"type": "x"},
    ),
    *([[]] * 3, 2**32 - 1, [1e999] * 4, *(json.loads(name) for name in DEEP)),
)


def places_of(value, path=()):
    """The paths of all values within JSON."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        found += places_of(each, (*path, key))
    return found


def changed(rng, content):
    """A few values, names and items of JSON changed, taken away, doubled, swapped or put into one another."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = places_of(content)
        if not places:
            break
        *path, key = rng.choice(places)
        inner = content
        for step in path:
            inner = inner[step]
        way = rng.random()
        if way < 0.5:
            inner[key] = copy.deepcopy(rng.choice(ODD))
        elif way < 0.6:
            inner[key] = copy.deepcopy(content)
        elif way < 0.7:
            del inner[key]
        elif way < 0.8 and isinstance(inner, dict):
            inner[rng.choice(("x", "", key + key, "__metadata__", "weight_map"))] = inner.pop(key)
        elif isinstance(inner, dict):
            inner[key] = copy.deepcopy(inner[rng.choice(list(inner))])
        else:
            inner.append(copy.deepcopy(inner[key]))
    return content


def damaged(rng, data):
    """A few bytes changed, taken away or doubled, or the end cut off."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, way = rng.randrange(len(data) + 1), rng.random()
        if way < 0.25 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif way < 0.45 and at < len(data):
            data[at] = rng.choice((0, 34, 44, 48, 57, 91, 93, 123, 125, 255))
        elif way < 0.6:
            del data[at : at + rng.choice((1, 2, 8, 64))]
        elif way < 0.85:
            data[at:at] = rng.choice((b"[" * 5000, b"{", b"]", b'"', b"1e999", b"-", b"9" * 5000, data[at : at + 20]))
        else:
            del data[at:]
    return bytes(data)


def mutant_of(content):
    """A function that makes texts: most are other JSON, the rest may be none."""

    def make(rng):
        if rng.random() < 0.25:
            return damaged(rng, json.dumps(content).encode())
        text = json.dumps(changed(rng, content))
        for name, deep in DEEP.items():
            text = text.replace(name, deep)
        return text.encode()

    return make


@contextlib.contextmanager
def little_memory():
    """At most a gigabyte more than now; elsewhere than on Linux as much as there is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fuzz(path, make, reader, many=MANY, names=()):
    """Reads `many` mutants; returns how many were right. Another error than ours, one that does not name the file,
    a second, a gigabyte or a path left behind is a failure."""
    rng, right = random.Random(7), 0
    path.touch()
    before = sorted(path.parent.rglob("*"))
    with little_memory():
        for number in range(many):
            data = make(rng)
            path.write_bytes(data)
            start, said = time.process_time(), None
            try:
                reader()
                right += 1
            except (ValueError, TypeError, FileNotFoundError) as error:
                said = error
            except BaseException as error:
                raise AssertionError((number, data[:2000])) from error
            if said is not None and not any(name in str(said) for name in (path.name, *names)):
                raise AssertionError((number, data[:2000])) from said
            assert time.process_time() - start < 1.0, (number, data[:2000])
    assert sorted(path.parent.rglob("*")) == before
    return right


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Warnings of ten thousand mutants are not kept."""
    caplog.set_level(logging.CRITICAL, "pyformer")


def decoder(family, **more):
    return lambda: pf.models.Decoder(pf.models.DecoderConfig(**SIZES, family=family, **more))


LONG = {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0, 1.0], "long_factor": [2.0, 2.0]}
LONG["original_max_position_embeddings"] = 4
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 8
TYPES = ("sliding_attention", "full_attention")
MODELS = {
    "gpt2": lambda: pf.models.GPT(pf.models.GPTConfig(**SIZES)),
    "bert": lambda: pf.models.BERT(pf.models.BertConfig(**SIZES)),
    "classifier": lambda: pf.models.BertClassifier(pf.models.BertConfig(**SIZES, num_labels=3, labels=("a", "b", "c"))),
    "vit": lambda: pf.models.ViT(pf.models.ViTConfig(8, 4, num_layers=1, num_heads=2, embed_dim=8)),
    "llama": lambda: pf.models.Llama(pf.models.LlamaConfig(**SIZES, rope_scaling=LLAMA3)),
    "q8": lambda: pf.models.Llama(pf.models.LlamaConfig(**SIZES)).quantize("q8"),
    "retnet": lambda: pf.models.RetNet(pf.models.RetNetConfig(**SIZES)),
    "qwen3": decoder("qwen3", qk_norm="head", window=4, layer_types=TYPES),
    "gemma3": decoder(
        "gemma3_text",
        **{"norms": "sandwich", "centred_norms": True, "qk_norm": "head", "activation": "gelu_tanh", "tied": True},
        **{"embed_scale": 8**0.5, "local_rope_base": 1e4, "window": 4, "layer_types": TYPES},
    ),
    "smollm3": decoder("smollm3", rope_layers=(True, False)),
    "phi3": decoder("phi3", rope_scaling=LONG, head_dim=4, norm_epsilon=1e-5),
}


@pytest.mark.parametrize("kind", MODELS)
def test_configs(kind, tmp_path):
    pf.manual_seed(0)
    MODELS[kind]().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    make = mutant_of(json.loads(path.read_text()))
    right = fuzz(path, make, lambda: pf.from_pretrained(tmp_path), max(MANY // 2, 1), names=[str(tmp_path)])
    assert 0 < right < MANY // 2


def test_generation_configs(tmp_path):
    said = {"do_sample": True, "temperature": 0.7, "top_k": 3, "top_p": 0.9, "eos_token_id": [1, 2], "num_beams": 1}
    said |= {"min_p": 0.1, "repetition_penalty": 1.1, "pad_token_id": 0, "length_penalty": 1.0, "early_stopping": False}
    pf.manual_seed(0)
    pf.models.GPT(pf.models.GPTConfig(**SIZES)).save_pretrained(tmp_path)
    path = tmp_path / "generation_config.json"
    path.touch()

    def reader():
        pf.from_pretrained(tmp_path).generate([[1]], 2)

    assert 0 < fuzz(path, mutant_of(said), reader) < MANY


def test_headers_of_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        tensors = {"a": pf.ones(2, 3), "b": pf.ones(2).to(pf.bfloat16), "c": pf.tensor([1, 2])}
        formats.write_safetensors(file, tensors, {"format": "pt", "shared": '{"a": "b"}'})
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    text = mutant_of(json.loads(data[8 : 8 + length]))

    def make(rng):
        if rng.random() < 0.2:
            return damaged(rng, data)
        header = text(rng)
        size = len(header) if rng.random() < 0.9 else rng.choice((0, 1, 7, 2**31, 2**63, 2**64 - 1, len(header) + 1))
        return struct.pack("<Q", size) + header + data[8 + length :]

    def reader():
        formats.read_safetensors(path)
        formats.Weights(tmp_path, formats.OWN)

    assert 0 < fuzz(path, make, reader) < MANY


def test_indices_of_shards(tmp_path):
    formats.save_model(tmp_path, {}, {"a": pf.ones(2, 3), "b": pf.ones(4), "c": pf.ones(1)}, shard_bytes=20)
    path = tmp_path / "model.safetensors.index.json"
    make = mutant_of(json.loads(path.read_text()))
    right = fuzz(path, make, lambda: formats.Weights(tmp_path, formats.OWN), names=[str(tmp_path)])
    assert 0 < right < MANY


@pytest.mark.parametrize("which", ["adapter_config.json", "adapter_model.safetensors"])
def test_adapters(which, tmp_path):
    pf.manual_seed(0)
    model = pf.models.Llama(pf.models.LlamaConfig(**SIZES))
    adapter = copy.deepcopy(model)
    pf.lora.add(adapter, rank=2).save(tmp_path)
    path = tmp_path / which
    data = path.read_bytes()
    make = mutant_of(json.loads(data)) if which.endswith("json") else lambda rng: damaged(rng, data)

    def reader():
        mine = copy.deepcopy(model)
        try:
            pf.lora.load(mine, tmp_path)
        except Exception:
            assert {*mine.state_dict()} == {*model.state_dict()}
            raise

    assert 0 < fuzz(path, make, reader, names=[str(tmp_path)]) < MANY


def test_checkpoints_of_training(tmp_path):
    """What a checkpoint says is changed under a right checksum; what is taken must do for another step."""
    pf.manual_seed(0)
    batch = (np.linspace(-1, 1, 8, dtype=np.float32)[:, None],) * 2
    options = pf.training.TrainingOptions(steps=2, warmup=0, average=0.5)
    model = pf.models.KAN(pf.models.KANConfig((1, 1)))
    trainer = pf.training.TaskTrainer(model, lambda number: batch, [batch], options, run=tmp_path)
    trainer.train()
    path = tmp_path / "checkpoint" / "state.safetensors"
    data, (tensors, metadata) = path.read_bytes(), formats.read_safetensors(path)
    text = mutant_of(json.loads(metadata["state"]))

    def make(rng):
        if rng.random() < 0.1:
            return damaged(rng, data)
        tree, file = text(rng).decode("utf-8", "replace"), io.BytesIO()
        formats.write_safetensors(file, tensors, {"state": tree, "crc32": _checksum(tree, tensors)})
        return file.getvalue()

    def reader():
        trainer.restore()
        for p in model.parameters():
            p.grad = pf.ones(*p.shape)
        trainer.optimizer.step()

    assert 0 < fuzz(path, make, reader) < MANY


TEMPLATE = "{% for message in messages %}<s>{{ message['content'] | trim }}</s>{% endfor %}{{ eos_token }}"
SETTINGS = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": {"content": "<s>", "special": True},
    "eos_token": "</s>",
    "add_bos_token": False,
    "add_prefix_space": False,
    "model_max_length": 100,
    "additional_special_tokens": ["<s>", {"content": "</s>"}],
    "added_tokens_decoder": {"0": {"content": "<s>", "special": True}},
    "chat_template": [{"name": "default", "template": TEMPLATE}],
}


@pytest.fixture
def byte_pairs(tmp_path):
    """The content of a small tokenizer.json, in a folder with its settings."""
    text = "the cat sat on the mat and the dog sat on the cat " * 4
    pf.tokenizers.BPETokenizer.train(text, vocab_size=262).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
    content["added_tokens"] = [
        {"id": 262 + i, "content": token, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        for i, token in enumerate(("<s>", "</s>"))
    ]
    path.write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(SETTINGS))
    return content


def use(folder):
    tokenizer = pf.load_tokenizer(folder)
    text = "the cat" if tokenizer.kind == "bpe" else tokenizer.decode(range(tokenizer.vocab_size))
    tokenizer.decode(tokenizer.encode(text))
    if tokenizer.kind == "bpe":
        assert isinstance(tokenizer.chat_template, (str, type(None)))
        assert all(isinstance(token, str) for token in tokenizer.named_tokens.values())


def test_tokenizers(byte_pairs, tmp_path):
    assert 0 < fuzz(tmp_path / "tokenizer.json", mutant_of(byte_pairs), lambda: use(tmp_path)) < MANY


@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_tokenizers_of_our_own(kind, tmp_path):
    made = {
        "char": lambda: pf.tokenizers.CharTokenizer(" acehst"),
        "word": lambda: pf.tokenizers.WordTokenizer(["<unknown>", "the", "cat"], unknown=0),
        "byte": pf.tokenizers.ByteTokenizer,
    }
    made[kind]().save(tmp_path)
    path = tmp_path / "tokenizer.json"
    assert 0 < fuzz(path, mutant_of(json.loads(path.read_text())), lambda: use(tmp_path)) < MANY


def test_settings_of_tokenizers(byte_pairs, tmp_path):
    assert 0 < fuzz(tmp_path / "tokenizer_config.json", mutant_of(SETTINGS), lambda: use(tmp_path)) < MANY


SENTENCES = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ],
    "sentence_bert_config.json": {"max_seq_length": 7, "do_lower_case": True},
    "config_sentence_transformers.json": {"prompts": {"a": "the ", "b": ""}, "default_prompt_name": "a"}
    | {"truncate_dim": 4, "similarity_fn_name": None, "__version__": {"pytorch": "2"}},
    "1_Pooling/config.json": {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "include_prompt": True}
    | {"pooling_mode_cls_token": False},
}


@pytest.mark.parametrize("name", SENTENCES)
def test_folders_of_sentence_encoders(name, byte_pairs, tmp_path):
    pf.models.BERT(pf.models.BertConfig(**{**SIZES, "vocab_size": 264})).save_pretrained(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    for file, content in SENTENCES.items():
        (tmp_path / file).write_text(json.dumps(content))

    def reader():
        vectors = pf.SentenceEncoder.from_pretrained(tmp_path).encode(["The cat", "the"])
        assert len(vectors) == 2
        assert np.isfinite(vectors).all()

    assert 0 < fuzz(tmp_path / name, mutant_of(SENTENCES[name]), reader, names=[str(tmp_path)]) < MANY


HARM = (b"{{ 'x' * 10 ** 9 }}", b"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
HARM += (
    b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    b"{{ ''.__class__ }}",
    b"{% include 'x' %}",
    b"{{ 1 / 0 }}",
)


def test_chat_templates(byte_pairs, tmp_path):
    """Each is rendered in a process of its own, which takes longer than to read it."""
    path = tmp_path / "chat_template.jinja"
    wrong = [(b"for", b"fo"), (b"trim", b"first"), (b"content", b"role"), (b"{{", b"{%"), (b"'", b"")]

    def make(rng):
        if rng.random() < 0.4:
            return TEMPLATE.encode() + rng.choice(HARM)
        return damaged(rng, TEMPLATE.encode().replace(*rng.choice(wrong), 1))

    def reader():
        tokenizer = pf.load_tokenizer(tmp_path)
        assert len(render(tokenizer.chat_template, {"messages": [{"role": "user", "content": "a"}]})) <= 1 << 20

    fuzz(path, make, reader, max(MANY // 20, 1), names=["the model's template"])


def test_ids_so_high_that_the_library_takes_gigabytes_are_refused(byte_pairs, tmp_path):
    byte_pairs["model"]["vocab"]["cat"] = 2**31
    (tmp_path / "tokenizer.json").write_text(json.dumps(byte_pairs))
    with pytest.raises(ValueError, match=r"tokenizer.json: .*ids below 4194304, got 2147483648"):
        pf.load_tokenizer(tmp_path)


def test_a_token_that_merges_need_is_missing(byte_pairs, tmp_path):
    byte_pairs["model"]["vocab"]["the"] = byte_pairs["model"]["vocab"]["cat"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(byte_pairs))
    with pytest.raises(ValueError, match=r"tokenizer.json: .*not a tokenizer of the tokenizers library"):
        pf.load_tokenizer(tmp_path)


def test_an_index_that_names_what_no_file_can_be_called(tmp_path):
    formats.save_model(tmp_path, {}, {"a": pf.ones(2, 3), "b": pf.ones(4)}, shard_bytes=20)
    path = tmp_path / "model.safetensors.index.json"
    for name in ("x" * 300, "\ud800"):
        path.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(FileNotFoundError, match=r"index\.json names"):
            formats.Weights(tmp_path, formats.OWN)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [("n_embd", 10**400, "embed_dim"), ("resid_pdrop", "x", "dropout"), ("model_type", ["gpt2"], "model_type")],
)
def test_what_config_json_says_wrong_names_the_file(key, value, field, tmp_path):
    MODELS["gpt2"]().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises((ValueError, TypeError), match=rf"config\.json: .*{field} must be"):
        pf.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("said", "error"),
    [({"temperature": 10**400}, ValueError), ({"eos_token_id": 1.5}, TypeError), ({"pad_token_id": 2**64}, ValueError)],
)
def test_what_generation_config_says_wrong_names_the_file(said, error):
    model = MODELS["gpt2"]().eval()
    model.generation_config = said
    with pytest.raises(error, match=r"generation_config\.json: generate: "):
        model.generate([[1]], 1)
