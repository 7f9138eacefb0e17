"""Tokenizers of GGUF files and of tokenizer.json: the ids of the reference tokenizers, whatever the text."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import real_data

import pyformer as pf
from pyformer import datasets
from pyformer.formats import atomic_files
from pyformer.formats.gguf.reader import GGUFFile
from pyformer.formats.gguf.tokenizer import PRE_TOKENIZERS, tokenizer_keys
from pyformer.formats.gguf.writer import write_gguf
from pyformer.tokenizers import BPETokenizer

library = pytest.importorskip("tokenizers")
# Lines and the ids that llama.cpp gives them, by this file: emoji, CJK, odd spaces, special tokens, random mixtures.
SMOLLM2 = json.loads((Path(__file__).parent / "smollm2_ids.json").read_text())
TEXT = "It's a naïve test: don't 123 4567 split, I'LL say…  two  spaces\n\n tabs\t日本語 и мир 👍🏽 " * 8
ODD = [
    "",
    " ",
    "\n\n x",
    "I'LL don't 12345",
    "日本語の文字",
    "👍🏽✨",
    "a\u00a0b\u3000c",
    "<s>hi</s>",
    "x<s> y",
    "e\u0301é",
]


@pytest.fixture(scope="module")
def smollm2():
    return pf.load_tokenizer(real_data.load(datasets.smollm2))


@pytest.mark.parametrize(("text", "ids"), SMOLLM2, ids=range(len(SMOLLM2)))
def test_smollm2_gives_the_ids_of_llama_cpp(smollm2, text, ids):
    assert smollm2.encode(text).tolist() == ids
    assert smollm2.decode(ids) == text


def test_smollm2_knows_its_special_tokens_and_its_template(smollm2):
    assert smollm2.named_tokens["eos_token"] == "<|im_end|>"
    assert smollm2.token_id("<|im_end|>") == 2
    assert smollm2.token_id("no such token") is None
    assert "add_generation_prompt" in smollm2.chat_template
    assert smollm2.encode("a", special_tokens=True).tolist() == smollm2.encode("a").tolist()


def test_smollm2_is_saved_as_hugging_face_has_it(smollm2, tmp_path):
    transformers = pytest.importorskip("transformers")
    smollm2.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    again = pf.load_tokenizer(tmp_path)
    for text, ids in SMOLLM2[:40]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ids
        assert again.encode(text).tolist() == ids
    messages = [{"role": "user", "content": "Hi"}]
    assert again.chat_template == smollm2.chat_template == theirs.chat_template
    assert theirs.apply_chat_template(messages, tokenize=False).endswith("<|im_start|>user\nHi<|im_end|>\n")


def write(path: Path, keys: dict) -> Path:
    with atomic_files(path) as (file,):
        write_gguf(file, {key: value for key, value in keys.items() if value is not None}, {})
    return path


def byte_pairs(pre: str) -> BPETokenizer:
    """A small tokenizer of Hugging Face's library that cuts words as `pre` says."""
    tokenizer = library.Tokenizer(library.models.BPE())
    content = json.loads(tokenizer.to_str())
    content["pre_tokenizer"] = PRE_TOKENIZERS[pre]
    content["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    tokenizer = library.Tokenizer.from_str(json.dumps(content))
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    special = [library.AddedToken("<s>", special=True), library.AddedToken("</s>", special=True)]
    trainer = library.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer=trainer)
    return BPETokenizer(tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "chat_template": "{{ messages }}"})


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
@pytest.mark.parametrize("own", [True, False], ids=["by its json", "by its keys"])
def test_a_tokenizer_goes_into_a_file_and_comes_back(tmp_path, pre, own):
    tokenizer = byte_pairs(pre)
    keys = tokenizer_keys(*tokenizer.to_json())
    assert PRE_TOKENIZERS[keys["tokenizer.ggml.pre"]] == PRE_TOKENIZERS[pre]
    if not own:
        keys["tokenizer.huggingface.json"] = None
    again = pf.load_tokenizer(write(tmp_path / "t.gguf", keys))
    assert again.vocab_size == tokenizer.vocab_size
    assert again.named_tokens == tokenizer.named_tokens
    assert again.chat_template == tokenizer.chat_template
    for text in [TEXT, *ODD]:
        if pre == "qwen2" and not own and "e\u0301" in text:
            continue  # Qwen 2's name stands for a normalisation, too, which this one does not have
        assert again.encode(text).tolist() == tokenizer.encode(text).tolist(), text
    assert again.special_ids == tokenizer.special_ids


@pytest.mark.parametrize(("left", "right"), [("#version", "ing"), ("a", " b")], ids=["a comment", "a space"])
def test_merges_that_the_library_would_read_as_something_else_are_done(tmp_path, left, right):
    """A list of texts it takes for a file's lines: comments are left out, a line has one space."""
    keys = {"model": "gpt2", "pre": "gpt-2", "tokens": [left, right, left + right], "merges": [f"{left} {right}"]}
    path = write(tmp_path / "t.gguf", {f"tokenizer.ggml.{name}": value for name, value in keys.items()})
    written = json.loads(pf.load_tokenizer(path)._tokenizer.to_str())
    assert written["model"]["merges"] == [[left, right]]


def test_cuts_of_words_differ():
    """So that a wrong one would be noticed."""
    cuts = [json.dumps(PRE_TOKENIZERS[pre]) for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2")]
    assert len(set(cuts)) == 4
    ids = [
        byte_pairs(pre).encode("I'LL take 12345\n\n x").tolist() for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2")
    ]
    assert len({tuple(i) for i in ids}) == 4


def test_bos_and_eos_where_the_file_says_so(tmp_path):
    keys = tokenizer_keys(*byte_pairs("gpt-2").to_json())
    keys |= {"tokenizer.huggingface.json": None, "tokenizer.ggml.add_bos_token": True}
    keys |= {"tokenizer.ggml.add_eos_token": True}
    tokenizer = pf.load_tokenizer(write(tmp_path / "t.gguf", keys))
    ids = tokenizer.encode("hi", special_tokens=True).tolist()
    assert ids == [tokenizer.token_id("<s>"), *tokenizer.encode("hi").tolist(), tokenizer.token_id("</s>")]


def pieces() -> dict:
    """A vocabulary of SentencePiece's kind: scores fall with the rank of a merge."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words = ["▁t", "he", "▁the", "in", "ing", "▁a", "an", "▁an", "▁▁", "日本"]
    letters = list("▁abcdefghijklmnopqrstuvwxyz日本")
    tokens = [*names, *words, *letters]
    scores = [0.0] * len(names) + [-float(i) for i in range(len(words) + len(letters))]
    types = [2, 3, 3, *([6] * 256), *([1] * (len(words) + len(letters)))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": np.float32(scores),
        "tokenizer.ggml.token_type": np.int32(types),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def plain_sentence_pieces(text: str, keys: dict) -> list[int]:
    """The definition: of all neighbours that make a token, those of the highest score are joined, the first first."""
    number = {token: i for i, token in enumerate(keys["tokenizer.ggml.tokens"])}
    scores, parts = keys["tokenizer.ggml.scores"], list(("▁" + text).replace(" ", "▁"))
    while True:
        joined = [(-scores[number[a + b]], i) for i, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in number]
        if not joined:
            break
        _, i = min(joined)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    ids = []
    for part in parts:
        ids += [number[part]] if part in number else [number[f"<0x{byte:02X}>"] for byte in part.encode()]
    return ids


def test_sentence_pieces_are_joined_by_their_scores(tmp_path):
    tokenizer = pf.load_tokenizer(write(tmp_path / "t.gguf", pieces()))
    rng = np.random.default_rng(0)
    texts = ["the thing", "  an  inn", "日本語 é👍", "Unknown\nlines"]
    texts += ["".join(rng.choice(list("thean ig日本é"), 30)) for _ in range(200)]
    for text in texts:
        assert tokenizer.encode(text).tolist() == plain_sentence_pieces(text, pieces()), text
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("a", special_tokens=True).tolist()[0] == 1
    assert 2 in tokenizer.encode("a</s>b").tolist()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tokenizer.ggml.pre": "viking"}, "tokenizer.ggml.pre must be one of .*, got 'viking'"),
        ({"tokenizer.ggml.pre": None}, "got 'default'"),
        ({"tokenizer.ggml.model": "rwkv"}, "tokenizer.ggml.model must be gpt2, llama or bert, got 'rwkv'"),
        ({"tokenizer.ggml.model": None}, "expected the key tokenizer.ggml.model"),
        ({"tokenizer.ggml.tokens": None}, "expected the key tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.tokens": np.int32([1, 2])}, "tokenizer.ggml.tokens must be an array of strings, got array"),
        ({"tokenizer.ggml.token_type": np.int32([1])}, "token_type must have"),
        ({"tokenizer.ggml.token_type": np.float32([1])}, "token_type must be an array of integers"),
        ({"tokenizer.ggml.merges": ["no such"]}, "merges has 'no such', which is of no tokens"),
        ({"tokenizer.ggml.merges": ["x"]}, "which is of no tokens"),
        ({"tokenizer.ggml.merges": ["~ }"]}, "merges has '~ }', which is of no tokens"),
        ({"tokenizer.ggml.merges": ["a b c"]}, "merges has 'a b c', which is of no tokens"),
        ({"tokenizer.ggml.merges": ["#version 1"]}, "merges has '#version 1', which is of no tokens"),
        ({"tokenizer.ggml.merges": None}, "expected the key tokenizer.ggml.merges"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, "eos_token_id must be an integer from 0 to"),
        ({"tokenizer.ggml.add_bos_token": 1}, "add_bos_token must be a bool, got uint32"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "token_type must have"),
        ({"tokenizer.ggml.tokens": ["a", "a"], "tokenizer.ggml.token_type": None}, "must differ"),
    ],
)
def test_what_can_not_be_followed_is_named(tmp_path, keys, message):
    whole = {**tokenizer_keys(*byte_pairs("gpt-2").to_json()), "tokenizer.huggingface.json": None}
    path = write(tmp_path / "t.gguf", {**whole, **keys})
    with pytest.raises(ValueError, match=message):
        pf.load_tokenizer(path)


@pytest.mark.parametrize("text", ["", "{}", "[" * 10_000, '{"model": {"type": "BPE"}}', "null", "\x00"])
def test_a_hostile_json_inside_a_file_is_refused(tmp_path, text):
    keys = {**tokenizer_keys(*byte_pairs("gpt-2").to_json()), "tokenizer.huggingface.json": text}
    with pytest.raises(ValueError, match="not a usable tokenizer"):
        pf.load_tokenizer(write(tmp_path / "t.gguf", keys))


def test_a_model_and_its_tokenizer_in_one_file(tmp_path):
    from pyformer.models import Llama, LlamaConfig

    tokenizer = byte_pairs("smollm")
    model = Llama(LlamaConfig(tokenizer.vocab_size, 32, num_layers=1, num_heads=2, embed_dim=16))
    model.save_pretrained(tmp_path / "m.gguf", tokenizer=tokenizer)
    ids = pf.load_tokenizer(tmp_path / "m.gguf").encode("two words")
    assert ids.tolist() == tokenizer.encode("two words").tolist()
    assert (pf.from_pretrained(tmp_path / "m.gguf")([ids]) == model.eval()([ids])).numpy().all()
    assert GGUFFile(tmp_path / "m.gguf").metadata.text("tokenizer.ggml.pre") == "smollm"
    with pytest.raises(TypeError, match="BPETokenizer, got ByteTokenizer"):
        model.save_pretrained(tmp_path / "m.gguf", tokenizer=pf.tokenizers.ByteTokenizer())
    with pytest.raises(TypeError, match="tokenizer is for a"):
        model.save_pretrained(tmp_path, tokenizer=tokenizer)
