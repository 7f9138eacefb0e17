"""BERT, its word pieces and ModernBERT in a GGUF file, and the sentence encoder that opens one."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import real_data

import pyformer as pf
from pyformer import datasets
from pyformer.formats import atomic_files
from pyformer.formats.gguf.reader import GGUFFile
from pyformer.formats.gguf.tokenizer import tokenizer_keys
from pyformer.formats.gguf.writer import write_gguf
from pyformer.models import BERT, BertClassifier, BertConfig, Encoder, EncoderConfig
from pyformer.tokenizers import BPETokenizer

library = pytest.importorskip("tokenizers")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = "The the cat sat on a mat , it ' s naive : run 日 20 ! ##ning ##ner ##s ##24 ##c ##e"
PIECES = [*SPECIAL, *WORDS.split()]
TEXTS = [
    "The cat sat on a MAT",
    "it's naïve: running runners 日本 2024!",
    "",
    "[MASK] unknowable 👍 [SEP]",
    " é e\u0301 ",
]
IDS = np.array([[2, 7, 8, 9, 3], [2, 11, 12, 3, 0]])


def word_pieces(lowercase: bool = True) -> BPETokenizer:
    """A tokenizer as BERT's, with few words."""
    numbers = {piece: i for i, piece in enumerate(PIECES)}
    tokenizer = library.Tokenizer(library.models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = library.decoders.WordPiece()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = library.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    named = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return BPETokenizer(tokenizer, {f"{name}_token": token for name, token in named.items()})


def make(**options) -> BERT:
    pf.manual_seed(3)
    config = BertConfig(96, 24, num_layers=2, num_heads=2, embed_dim=32, layer_norm_epsilon=2**-30)
    model = BERT(config, **options).eval()
    for parameter in model.parameters():
        pf.nn.init.normal_(parameter, std=0.3)
    return model


def edited(path: Path, keys: dict) -> Path:
    """The file with other keys (None takes one away)."""
    file = GGUFFile(path)
    with open(path, "rb") as opened:
        tensors = {name: entry.read_rows(opened, 0, 1 << 20) for name, entry in file.entries.items()}
    values = {key: value for key, (_, value) in file.metadata.values.items()}
    if "tokenizer.ggml.tokens" in values:
        values["tokenizer.ggml.tokens"] = file.metadata.texts("tokenizer.ggml.tokens")
    values |= keys
    with atomic_files(path.with_name("edited.gguf")) as (out,):
        write_gguf(out, {key: value for key, value in values.items() if value is not None}, tensors)
    return path.with_name("edited.gguf")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("pooler", [True, False])
def test_there_and_back(tmp_path, pooler, dtype):
    model = make(pooler=pooler).to(dtype)
    model.save_pretrained(tmp_path / "m.gguf")
    again = pf.from_pretrained(tmp_path / "m.gguf", dtype=dtype)
    assert dataclasses.replace(again.config, dropout=model.config.dropout) == model.config
    one, other = model.state_dict(), again.state_dict()
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).numpy().all() for name in one)
    assert (again(IDS, lengths=[5, 4]) == model(IDS, lengths=[5, 4])).numpy().all()


@pytest.mark.parametrize("how", ["q8", "q4"])
def test_quantised(tmp_path, how):
    model = make().quantize(how)
    model.save_pretrained(tmp_path / "folder")
    if how == "q8":  # groups of 64 are ours alone
        with pytest.raises(ValueError, match="format q8"):
            model.save_pretrained(tmp_path / "m.gguf")
        return
    model.save_pretrained(tmp_path / "m.gguf")
    again = pf.from_pretrained(tmp_path / "m.gguf", quantize="keep")
    assert (again(IDS) == pf.from_pretrained(tmp_path / "folder")(IDS)).numpy().all()


def test_names_are_those_of_llama_cpp(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the gguf package, the oracle, is not installed")
    make().to("bfloat16").save_pretrained(tmp_path / "m.gguf")
    read = gguf.GGUFReader(tmp_path / "m.gguf")
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[gguf.MODEL_ARCH.BERT]}
    names = {tensor.name.removesuffix(".weight").removesuffix(".bias") for tensor in read.tensors}
    assert {re.sub(r"^blk\.\d+", "blk.{bid}", name) for name in names} <= known
    kinds = {tensor.name: tensor.tensor_type.name for tensor in read.tensors}
    assert kinds["token_embd.weight"] == "BF16"
    assert kinds["token_types.weight"] == kinds["position_embd.weight"] == "F32"
    assert read.fields["bert.attention.causal"].contents() is False
    assert read.fields["tokenizer.ggml.token_type_count"].contents() == 2


@pytest.mark.parametrize("own", [True, False], ids=["by its json", "by its keys"])
def test_word_pieces_go_into_a_file_and_come_back(tmp_path, own):
    tokenizer = word_pieces()
    path = tmp_path / "m.gguf"
    make().save_pretrained(path, tokenizer=tokenizer)
    keys = GGUFFile(path).metadata
    assert keys.text("tokenizer.ggml.model") == "bert"
    assert {"▁the", "ning", "[CLS]"} <= set(keys.texts("tokenizer.ggml.tokens"))
    assert keys.integer("tokenizer.ggml.bos_token_id") == keys.integer("tokenizer.ggml.cls_token_id") == 2
    again = pf.load_tokenizer(path if own else edited(path, {"tokenizer.huggingface.json": None}))
    assert again.named_tokens == tokenizer.named_tokens
    assert again.template == ([2], [3])
    assert again.special_ids == tokenizer.special_ids
    assert len(set(tokenizer.encode(TEXTS[1]).tolist())) > 10
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert again.encode(text).tolist() == ids.tolist(), text
        assert again.decode(ids) == tokenizer.decode(ids)


def test_word_pieces_that_llama_cpp_would_cut_otherwise_are_there_by_their_json_alone(tmp_path):
    make().save_pretrained(tmp_path / "m.gguf", tokenizer=word_pieces(lowercase=False))
    assert GGUFFile(tmp_path / "m.gguf").metadata.text("tokenizer.ggml.model") == "none"
    again = pf.load_tokenizer(tmp_path / "m.gguf")
    assert again.encode("The cat").tolist() == word_pieces(lowercase=False).encode("The cat").tolist()


def test_all_minilm_gives_the_vectors_and_ids_of_its_folder(tmp_path):
    folder = real_data.load(datasets.minilm)
    path = tmp_path / "m.gguf"
    pf.from_pretrained(folder).save_pretrained(path, tokenizer=pf.load_tokenizer(folder))
    path = edited(path, {"tokenizer.huggingface.json": None, "bert.pooling_type": 1})
    theirs, encoder = (pf.SentenceEncoder.from_pretrained(place) for place in (folder, path))
    np.testing.assert_array_equal(encoder.encode(TEXTS), theirs.encode(TEXTS))
    corpus = [*TEXTS, *Path(__file__).read_text().splitlines()]
    assert [encoder.read(text) for text in corpus] == [theirs.read(text) for text in corpus]


@pytest.mark.parametrize(("number", "pooling"), [(None, "mean"), (0, "mean"), (1, "mean"), (2, "cls"), (3, "last")])
def test_a_sentence_encoder_follows_the_pooling_of_its_file(tmp_path, number, pooling):
    model, tokenizer = make(), word_pieces()
    model.save_pretrained(tmp_path / "m.gguf", tokenizer=tokenizer)
    encoder = pf.SentenceEncoder.from_pretrained(edited(tmp_path / "m.gguf", {"bert.pooling_type": number}))
    wanted = pf.SentenceEncoder(model, tokenizer, pooling=pooling)
    np.testing.assert_array_equal(encoder.encode(TEXTS), wanted.encode(TEXTS))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"bert.attention.causal": True}, "bert.attention.causal must be false, got true"),
        ({"bert.pooling_type": 4}, r"bert.pooling_type must be one of \[0, 1, 2, 3\], got 4"),
        ({"bert.vocab_size": 95}, "bert.vocab_size must be 96"),
        ({"bert.expert_count": 2}, "keys that are not followed here: bert.expert_count"),
    ],
)
def test_what_a_file_asks_for_is_followed_or_refused(tmp_path, keys, message):
    make().save_pretrained(tmp_path / "m.gguf", tokenizer=word_pieces())
    with pytest.raises(ValueError, match=message):
        pf.SentenceEncoder.from_pretrained(edited(tmp_path / "m.gguf", keys))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["[UNK]", "[CLS]", "▁x"], r"must have \[SEP\], got none"),
        (["[UNK]", "[CLS]", "[SEP]", "▁##x", "x"], "a word piece twice"),
    ],
)
def test_word_pieces_that_can_not_be_are_refused(tmp_path, tokens, message):
    keys = {"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": tokens}
    with atomic_files(tmp_path / "t.gguf") as (file,):
        write_gguf(file, keys, {})
    with pytest.raises(ValueError, match=message):
        pf.load_tokenizer(tmp_path / "t.gguf")


def test_a_classifier_has_no_place_there(tmp_path):
    model = BertClassifier(BertConfig(96, 24, num_layers=1, num_heads=2, embed_dim=32))
    with pytest.raises(ValueError, match=r"GGUF: classifier\.weight has no name there"):
        model.save_pretrained(tmp_path / "m.gguf")


def test_keys_of_word_pieces_alone():
    keys = tokenizer_keys(*word_pieces().to_json())
    assert keys["tokenizer.ggml.seperator_token_id"] == 3
    assert "tokenizer.ggml.merges" not in keys


FULL, SLIDING = "full_attention", "sliding_attention"
MODERN = {
    "usual": {},
    "another pattern": {"layer_types": (SLIDING, FULL, FULL, SLIDING)},
    "no window": {"layer_types": (FULL, FULL, FULL, FULL)},
    "silu": {"activation": "silu", "window": 9, "rope_base": 5e4, "local_rope_base": 5e4},
    "wide heads": {"head_dim": 24},
}


def modern(**changes) -> Encoder:
    pf.manual_seed(3)
    sizes = {"num_layers": 4, "num_heads": 2, "embed_dim": 32, "norm_epsilon": 2**-20}
    model = Encoder(EncoderConfig(100, 200, **{**sizes, **changes})).eval()
    for parameter in model.parameters():
        pf.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", MODERN)
def test_modernbert_there_and_back(tmp_path, kind, dtype):
    model, ids = modern(**MODERN[kind]).to(dtype), np.arange(180).reshape(1, 180) % 100
    model.save_pretrained(tmp_path / "m.gguf")
    again = pf.from_pretrained(tmp_path / "m.gguf", dtype=dtype)
    assert (again(ids) == model(ids)).numpy().all()
    one, other = model.state_dict(), again.state_dict()
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).numpy().all() for name in one)
    assert again.config == model.config


def test_names_of_modernbert_are_those_of_llama_cpp(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the gguf package, the oracle, is not installed")
    modern().save_pretrained(tmp_path / "m.gguf")
    read = gguf.GGUFReader(tmp_path / "m.gguf")
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[gguf.MODEL_ARCH.MODERN_BERT]}
    names = {tensor.name.removesuffix(".weight") for tensor in read.tensors}
    assert {re.sub(r"^blk\.\d+", "blk.{bid}", name) for name in names} <= known
    assert "blk.0.attn_norm" not in names
    said = {"attention.sliding_window": 128, "attention.sliding_window_pattern": 3, "rope.scaling.type": "none"}
    assert {key: read.fields[f"modern-bert.{key}"].contents() for key in said} == said


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"attention.sliding_window_pattern": [True, False]}, "sliding_window_pattern must have 4 elements, got 2"),
        ({"hidden_activation": "relu"}, "hidden_activation must be one of .*, got 'relu'"),
        ({"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, "rope.scaling.type must be none"),
        ({"attention.value_length": 9}, "attention.value_length must be 16"),
        ({"block_count": 2**31 - 1}, "means 2147483647 layers"),
        ({"attention.causal": True}, "attention.causal must be false"),
    ],
)
def test_what_a_modernbert_can_not_be_is_refused(tmp_path, keys, message):
    modern().save_pretrained(tmp_path / "m.gguf")
    with pytest.raises(ValueError, match=message):
        pf.from_pretrained(edited(tmp_path / "m.gguf", {f"modern-bert.{key}": value for key, value in keys.items()}))


def test_keys_that_a_modernbert_may_lack(tmp_path):
    """llama.cpp takes one base of rotary positions for all layers then, and each third layer for one that sees all."""
    modern(local_rope_base=160_000.0).save_pretrained(tmp_path / "m.gguf")
    lacks = ("rope.freq_base_swa", "attention.sliding_window_pattern", "hidden_activation", "attention.causal")
    again = pf.from_pretrained(edited(tmp_path / "m.gguf", {f"modern-bert.{key}": None for key in lacks}))
    assert again.config == modern(local_rope_base=160_000.0).config
    again = pf.from_pretrained(edited(tmp_path / "m.gguf", {"modern-bert.attention.sliding_window": None}))
    assert again.config.layer_types == (FULL, FULL, FULL, FULL)
