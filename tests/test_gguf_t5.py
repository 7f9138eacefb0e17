"""T5 in a GGUF file: ours, and one as llama.cpp's converter makes it."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

import pyformer as pf
from pyformer.formats import atomic_files
from pyformer.formats.gguf.reader import GGUFFile
from pyformer.formats.gguf.writer import write_gguf
from pyformer.models import T5, T5Config

SOURCE, TARGET = np.array([[5, 6, 7, 1], [8, 9, 1, 0]]), np.array([[0, 8, 9], [0, 3, 4]])
GATED = {"gated": True, "activation": "gelu_tanh"}
KINDS = {
    "first": {"activation": "relu"},
    "v1.1": {**GATED, "tied": False, "scaled": False},
    "flan": {**GATED, "tied": False, "scaled": False, "head_dim": 24},
    "own head, scaled": {"activation": "relu", "tied": False, "scaled": True},
    "mt5": {**GATED, "family": "mt5", "scaled": False},
}


def make(**changes) -> T5:
    pf.manual_seed(3)
    sizes = {"num_layers": 1, "num_heads": 2, "embed_dim": 16, "num_decoder_layers": 2, "norm_epsilon": 2**-20}
    model = T5(T5Config(100, **sizes, **changes)).eval()
    for parameter in model.parameters():
        pf.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(tmp_path, kind, dtype):
    model = make(**KINDS[kind]).to(dtype)
    model.save_pretrained(tmp_path / "m.gguf")
    again = pf.from_pretrained(tmp_path / "m.gguf", dtype=dtype)
    assert again.config == dataclasses.replace(model.config, family="t5")
    one, other = model.state_dict(), again.state_dict()
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).numpy().all() for name in one)
    assert (again(SOURCE, TARGET) == model(SOURCE, TARGET)).numpy().all()


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_those_of_llama_cpp(tmp_path, kind):
    gguf = pytest.importorskip("gguf", reason="the gguf package, the oracle, is not installed")
    make(**KINDS[kind]).save_pretrained(tmp_path / "m.gguf")
    read = gguf.GGUFReader(tmp_path / "m.gguf")
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[gguf.MODEL_ARCH.T5]}
    assert {re.sub(r"blk\.\d+", "blk.{bid}", tensor.name.removesuffix(".weight")) for tensor in read.tensors} <= known
    for key in ("attention.value_length", "attention.layer_norm_rms_epsilon", "decoder_start_token_id"):
        assert f"t5.{key}" in read.fields


def test_a_file_without_our_keys_means_what_transformers_takes(tmp_path):
    """And what converters write twice says nothing new."""
    make(activation="relu").save_pretrained(tmp_path / "m.gguf")
    file = GGUFFile(tmp_path / "m.gguf")
    with open(tmp_path / "m.gguf", "rb") as opened:
        tensors = {name: entry.read_rows(opened, 0, 1 << 20) for name, entry in file.entries.items()}
    tensors["dec.blk.0.cross_attn_rel_b.weight"] = tensors["dec.blk.0.attn_rel_b.weight"]
    keys = {key: value for key, (_, value) in file.metadata.values.items() if not key.startswith("pyformer.")}
    keys = {key: value.decode() if isinstance(value, bytes) else value for key, value in keys.items()}
    keys["t5.attention.layer_norm_epsilon"] = 2.0**-20

    def opened_with(changes: dict) -> T5:
        with atomic_files(tmp_path / "edited.gguf") as (out,):
            write_gguf(out, {key: value for key, value in {**keys, **changes}.items() if value is not None}, tensors)
        return pf.from_pretrained(tmp_path / "edited.gguf")

    again = opened_with({})
    assert again.config.scaled
    assert again.config.tied
    assert (again(SOURCE, TARGET) == make(activation="relu")(SOURCE, TARGET)).numpy().all()
    with pytest.raises(ValueError, match=r"t5\.attention\.value_length must be 8"):
        opened_with({"t5.attention.value_length": 9})
    with pytest.raises(ValueError, match=r"keys that are not followed here: t5\.expert_count"):
        opened_with({"t5.expert_count": 2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "gelu_tanh"}, "feed_forward_proj must be 'relu' to be written, got 'gelu_new'"),
        ({"activation": "relu", "gated": True}, "feed_forward_proj must be 'gated-gelu' to be written"),
        ({"activation": "relu", "max_distance": 64}, "relative_attention_max_distance must be 128 to be written"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_not_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes).save_pretrained(tmp_path / "m.gguf")
