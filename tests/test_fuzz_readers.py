"""Mutants of the files that a folder holds: each is read, or refused by an error of ours that names the file.

Ten thousand of what others make (safetensors, its index, config, adapter, tokenizer and template), a fifth as many of
what is mostly our own; `PYFORMER_FUZZ_MUTANTS=100000 pytest tests/test_fuzz_readers.py` tries more of them. Those of
GGUF are in test_gguf.py.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import random
import re
import resource
import struct
import sys
import time

import numpy as np
import pytest
from mutant_files import damaged, json_mutants, overwrite

import pyformer as pf
from pyformer import formats, sentences, template_worker
from pyformer.conversation import render
from pyformer.formats.state import _checksum

MANY = int(os.environ.get("PYFORMER_FUZZ_MUTANTS", "10000"))
FEWER = MANY // 5
SIZES = {"vocab_size": 10, "context_length": 8, "num_layers": 2, "num_heads": 2, "embed_dim": 8}


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
            overwrite(path, data)
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
    make = json_mutants(json.loads(path.read_text()))
    many = MANY // len(MODELS)
    assert 0 < fuzz(path, make, lambda: pf.from_pretrained(tmp_path), many, names=[str(tmp_path)]) < many


# Families whose files hold factors of their own.
FACTORS = {
    "gemma2": decoder(
        "gemma2",
        **{"norms": "sandwich", "centred_norms": True, "activation": "gelu_tanh", "tied": True, "embed_scale": 8**0.5},
        **{"attention_softcap": 50.0, "logit_softcap": 30.0, "window": 4, "layer_types": TYPES},
    ),
    "granite": decoder("granite", embed_scale=12.0, residual_scale=0.22, logit_divisor=8.0, attention_scale=0.1),
    "t5": lambda: pf.models.T5(pf.models.T5Config(10, num_layers=1, num_heads=2, embed_dim=8)),
}


def numbers_in(content, path=()):
    """The places of numbers within what a JSON file says."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, (dict, list)):
            yield from numbers_in(value, (*path, key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*path, key)


def changed_at(content, path, value):
    """A copy with another value at a place."""
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


@pytest.mark.parametrize("kind", [*MODELS, *FACTORS])
def test_numbers_that_no_float_holds(kind, tmp_path):
    pf.manual_seed(0)
    {**MODELS, **FACTORS}[kind]().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    said = json.loads(path.read_text())
    places = list(numbers_in(said))
    assert len(places) > 5
    for place in places:
        for number in (10**400, -(10**400)):
            path.write_text(json.dumps(changed_at(said, place, number)))
            refusal = str(tmp_path)
            try:
                pf.from_pretrained(tmp_path)
            except (ValueError, TypeError) as error:
                refusal = str(error)
            assert str(tmp_path) in refusal


def test_generation_configs(tmp_path):
    said = {"do_sample": True, "temperature": 0.7, "top_k": 3, "top_p": 0.9, "eos_token_id": [1, 2], "num_beams": 1}
    said |= {"min_p": 0.1, "repetition_penalty": 1.1, "pad_token_id": 0, "length_penalty": 1.0, "early_stopping": False}
    pf.manual_seed(0)
    model = pf.models.GPT(pf.models.GPTConfig(**SIZES)).eval()
    path = tmp_path / "generation_config.json"

    def reader():
        model.generation_config = formats.read_generation(tmp_path)
        model.generate([[1]], 2)

    assert 0 < fuzz(path, json_mutants(said), reader, FEWER) < FEWER


def test_headers_of_safetensors(tmp_path):
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        tensors = {"a": pf.ones(2, 3), "b": pf.ones(2).to(pf.bfloat16), "c": pf.tensor([1, 2])}
        formats.write_safetensors(file, tensors, {"format": "pt", "shared": '{"a": "b"}'})
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    text = json_mutants(json.loads(data[8 : 8 + length]))

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
    make = json_mutants(json.loads(path.read_text()))
    right = fuzz(path, make, lambda: formats.Weights(tmp_path, formats.OWN), names=[str(tmp_path)])
    assert 0 < right < MANY


@pytest.mark.parametrize("which", ["adapter_config.json", "adapter_model.safetensors"])
def test_adapters(which, tmp_path):
    pf.manual_seed(0)
    model = pf.models.Llama(pf.models.LlamaConfig(**{**SIZES, "num_layers": 1}))
    adapter = copy.deepcopy(model)
    pf.lora.add(adapter, rank=2).save(tmp_path)
    path = tmp_path / which
    data = path.read_bytes()
    make = json_mutants(json.loads(data)) if which.endswith("json") else lambda rng: damaged(rng, data)
    names, mine = [*model.state_dict()], [copy.deepcopy(model)]

    def reader():
        try:
            pf.lora.load(mine[0], tmp_path)
        except Exception:
            assert [*mine[0].state_dict()] == names
            raise
        mine[0] = copy.deepcopy(model)

    assert 0 < fuzz(path, make, reader, MANY // 2, names=[str(tmp_path)]) < MANY // 2


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
    text = json_mutants(json.loads(metadata["state"]))

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

    assert 0 < fuzz(path, make, reader, FEWER) < FEWER


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
    assert 0 < fuzz(tmp_path / "tokenizer.json", json_mutants(byte_pairs), lambda: use(tmp_path)) < MANY


@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_tokenizers_of_our_own(kind, tmp_path):
    made = {
        "char": lambda: pf.tokenizers.CharTokenizer(" acehst"),
        "word": lambda: pf.tokenizers.WordTokenizer(["<unknown>", "the", "cat"], unknown=0),
        "byte": pf.tokenizers.ByteTokenizer,
    }
    made[kind]().save(tmp_path)
    path = tmp_path / "tokenizer.json"
    assert 0 < fuzz(path, json_mutants(json.loads(path.read_text())), lambda: use(tmp_path), MANY // 3) < MANY // 3


def test_settings_of_tokenizers(byte_pairs, tmp_path):
    def reader():
        tokenizer = pf.load_tokenizer(tmp_path)
        assert isinstance(tokenizer.chat_template, (str, type(None)))
        assert all(isinstance(token, str) for token in tokenizer.named_tokens.values())

    assert 0 < fuzz(tmp_path / "tokenizer_config.json", json_mutants(SETTINGS), reader) < MANY


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
def test_folders_of_sentence_encoders(name, byte_pairs, tmp_path, monkeypatch):
    """The model and the tokenizer in the folder are those of every mutant, and are opened once."""
    pf.models.BERT(pf.models.BertConfig(**{**SIZES, "vocab_size": 264})).save_pretrained(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    for file, content in SENTENCES.items():
        (tmp_path / file).write_text(json.dumps(content))

    for module, opener in ((sentences.models, "from_pretrained"), (sentences.tokenizers, "load")):
        real, opened = getattr(module, opener), getattr(module, opener)(tmp_path)
        monkeypatch.setattr(
            module, opener,
            lambda folder, real=real, opened=opened, **more: opened if folder == tmp_path else real(folder, **more),
        )  # fmt: skip

    def reader():
        vectors = pf.SentenceEncoder.from_pretrained(tmp_path).encode(["The cat", "the"])
        assert len(vectors) == 2
        assert np.isfinite(vectors).all()

    many = FEWER // len(SENTENCES)
    assert 0 < fuzz(tmp_path / name, json_mutants(SENTENCES[name]), reader, many, names=[str(tmp_path)]) < many


HARM = (b"{{ 'x' * 10 ** 9 }}", b"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
HARM += (
    b"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    b"{{ ''.__class__ }}",
    b"{% include 'x' %}",
    b"{{ 1 / 0 }}",
)


def test_chat_templates(byte_pairs, tmp_path):
    """Each is rendered in a process of its own, which takes a hundred times as long as to read it."""
    path = tmp_path / "chat_template.jinja"

    def reader():
        tokenizer = pf.load_tokenizer(tmp_path)
        assert len(render(tokenizer.chat_template, {"messages": [{"role": "user", "content": "a"}]})) <= 1 << 20

    def make(rng):
        return TEMPLATE.encode() + rng.choice(HARM) if rng.random() < 0.4 else template_mutant(rng)

    fuzz(path, make, reader, MANY // 500, names=["the model's template"])


PARTS = re.split(r"({%|%}|{{|}}|[ .()|\[\]])", TEMPLATE)
ODD_PARTS = (
    *("{%", "%}", "{{", "}}", "{#", "#}", "(", ")", "[", "]", "|", ".", "~", "- 1", "'x' * 9999", "1 / 0", "''", "\0"),
    *("for", "endfor", "if", "else", "endif", "set x =", "macro m()", "endmacro", "m()", "self", "loop", "recursive"),
    *("generation", "endgeneration", "break", "extends 'x'", "include 'x'", "import 'x' as y", "call", "filter trim"),
    *("messages", "messages[9]", "none", "undefined", "namespace()", "cycler()", "lipsum()", "joiner", "range(9)"),
    *("''.__class__.__mro__", "m.__globals__", "|attr('__class__')", "|map(attribute='x')", "|tojson", "|sort"),
    *("raise_exception('x')", "strftime_now('%Y')", "'%s' % 1", "'{0.a}'.format(1)", "{% if 1 %}" * 200, "(" * 300),
)


def template_mutant(rng):
    if rng.random() < 0.25:
        return damaged(rng, TEMPLATE.encode())
    parts = list(PARTS)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, way = rng.randrange(len(parts)), rng.random()
        if way < 0.4:
            parts[at] = rng.choice(ODD_PARTS)
        elif way < 0.6:
            parts[at:at] = [f" {rng.choice(ODD_PARTS)} "]
        elif way < 0.75:
            del parts[at]
        elif way < 0.9:
            parts[at] = rng.choice(parts)
        else:
            parts[at:at] = PARTS
    return "".join(parts).encode()


def test_chat_templates_within_a_process():
    """What the process does with a template: any exception is told as one, and nothing else happens."""
    rng, right, values = random.Random(7), 0, {"messages": [{"role": "user", "content": "a"}], "eos_token": "."}
    with little_memory():
        for number in range(MANY):
            template, text = template_mutant(rng).decode("utf-8", "replace"), ""
            start = time.process_time()
            with contextlib.suppress(Exception):
                text = template_worker.render(template, values, 1 << 20)
                right += 1
            assert len(text) <= 1 << 20, (number, template)
            assert time.process_time() - start < 1.0, (number, template)
    assert 0 < right < MANY


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


def test_a_scale_that_the_file_can_not_say_again_names_the_file(tmp_path):
    MODELS["gemma3"]().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "query_pre_attn_scalar": 2**53 + 1}))
    with pytest.raises(ValueError, match=r"config\.json: DecoderConfig: .*doesn't have attention_scale"):
        pf.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"temperature": 10**400}, ValueError),
        ({"eos_token_id": 1.5}, TypeError),
        ({"pad_token_id": 2**64}, ValueError),
        ({"repetition_penalty": 0.0}, ValueError),
        ({"repetition_penalty": 10**400}, ValueError),
    ],
)
def test_what_generation_config_says_wrong_names_the_file(said, error):
    model = MODELS["gpt2"]().eval()
    model.generation_config = said
    with pytest.raises(error, match=r"generation_config\.json: generate: "):
        model.generate([[1]], 1)


def test_an_adapter_whose_alpha_no_float_can_hold(tmp_path):
    model = pf.models.Llama(pf.models.LlamaConfig(**SIZES))
    pf.lora.add(copy.deepcopy(model), rank=2).save(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": 10**400}))
    with pytest.raises(ValueError, match=r"adapter_config\.json: lora_alpha must be a number above 0"):
        pf.lora.load(model, tmp_path)
    with pytest.raises(ValueError, match=r"lora\.add: alpha must be above 0 and finite"):
        pf.lora.add(model, alpha=10**400)


def test_states_that_are_nested_deeply_or_name_tensors_oddly(tmp_path):
    deep, path = "[" * 900 + "]" * 900, tmp_path / "x.safetensors"
    for tree in ('{"a": ' + deep + "}", '{"a": {"$tensor": {}}}', '{"a": {"$tensor": "t0"}}'):
        with open(path, "wb") as file:
            formats.write_safetensors(file, {}, {"state": tree, "crc32": _checksum(tree, {})})
        with pytest.raises(ValueError, match=r"x\.safetensors: .*(nested too deeply|is missing)"):
            formats.load_state(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("modules.json", [{**SENTENCES["modules.json"][0], "path": "\ud800"}, *SENTENCES["modules.json"][1:]]),
        ("modules.json", [{**SENTENCES["modules.json"][0], "path": "é" * 200}, *SENTENCES["modules.json"][1:]]),
        ("modules.json", [{**SENTENCES["modules.json"][0], "path": {}}, *SENTENCES["modules.json"][1:]]),
        ("config_sentence_transformers.json", {"prompts": {"a": "\ud800"}}),
        ("config_sentence_transformers.json", {"prompts": {"a": ""}, "default_prompt_name": {}}),
    ],
)
def test_what_files_of_sentence_encoders_say_wrong_names_them(name, says, tmp_path):
    for file, content in ({"modules.json": SENTENCES["modules.json"]} | {name: says}).items():
        (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"{name}: "):
        pf.SentenceEncoder.from_pretrained(tmp_path)


def test_a_chat_template_that_is_not_utf8_is_named(byte_pairs, tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"chat_template\.jinja: "):
        pf.load_tokenizer(tmp_path)
