"""Model files: the layout others read, hostile files, full disks, and what a failed save leaves."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.numpy
import torch
from tolerance import MODEL_OPS, assert_close, by_rows
from transformers import GPT2LMHeadModel

import pyformer as pf
from pyformer import formats, nn
from pyformer.formats import atomic
from pyformer.models import GPT, BertClassifier, BertConfig, GPTConfig, ViT, ViTConfig

CONFIG = GPTConfig(vocab_size=61, context_length=24, num_layers=2, num_heads=4, embed_dim=32)
IDS = np.random.default_rng(0).integers(0, 61, (2, 9))


@pytest.fixture
def model():
    pf.manual_seed(0)
    return GPT(CONFIG)


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def edit_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.update(changes)
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = change(safetensors.numpy.load_file(path))
    safetensors.numpy.save_file(tensors, path, {"format": "pt"})


def raw(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def test_round_trip_has_the_same_bits(model, folder):
    again = pf.from_pretrained(folder)
    assert isinstance(again, GPT)
    assert again.config == model.config
    assert not again.training
    np.testing.assert_array_equal(again(IDS).to("cpu").numpy(), model(IDS).to("cpu").numpy())
    assert all(p.requires_grad for p in again.parameters())
    assert sorted(contents(folder)) == ["config.json", "model.safetensors"]


def test_dtype_device_and_quantize_may_be_given_by_place(folder):
    for opens in (pf.from_pretrained, GPT.from_pretrained):
        again = opens(folder, "bfloat16", "cpu", None)
        assert (again.wte.weight.dtype, again.wte.weight.device) == (pf.bfloat16, pf.device("cpu"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transformers_reads_what_we_write(model, tmp_path, dtype):
    model.to(getattr(pf, dtype)).save_pretrained(tmp_path)
    twin = GPT2LMHeadModel.from_pretrained(tmp_path)
    assert str(twin.dtype) == f"torch.{dtype}"
    with torch.no_grad():
        expected = twin(torch.tensor(IDS)).logits.to("cpu").numpy()
    assert_close(model(IDS).to("cpu").numpy(), by_rows(expected), additions=128, ops=MODEL_OPS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_we_read_what_transformers_writes(folder, tmp_path, dtype):
    twin = GPT2LMHeadModel.from_pretrained(folder).to(getattr(torch, dtype))
    twin.save_pretrained(tmp_path / "twin")
    model = pf.from_pretrained(tmp_path / "twin")
    wide = "float64" if dtype == "float64" else "float32"
    assert model.wte.weight.dtype == getattr(pf, wide)
    twin.to(getattr(torch, wide))
    np.testing.assert_array_equal(
        model.wte.weight.to("cpu").numpy(), twin.transformer.wte.weight.detach().to("cpu").numpy()
    )
    with torch.no_grad():
        expected = twin(torch.tensor(IDS)).logits.to("cpu").numpy()
    assert_close(model(IDS).to("cpu").numpy(), by_rows(expected), additions=128, ops=MODEL_OPS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_saved_and_opened_wide(model, tmp_path, dtype):
    logits = model.eval()(IDS).to("cpu").numpy()
    model.to(dtype)
    assert np.abs(model(IDS).to("float32").to("cpu").numpy() - logits).max() < 0.1
    assert model.generate(IDS, 2).shape == (len(IDS), len(IDS[0]) + 2)
    model.save_pretrained(tmp_path)
    again = pf.from_pretrained(tmp_path)
    assert again.wte.weight.dtype == pf.float32
    assert formats.read_header(tmp_path / "model.safetensors")[0]["transformer.wte.weight"].dtype in ("BF16", "F16")
    np.testing.assert_array_equal(again(IDS).to("cpu").numpy(), model.to(pf.float32)(IDS).to("cpu").numpy())
    assert np.abs(again(IDS).to("cpu").numpy() - logits).max() < 0.05


def test_old_files_without_prefix_with_masks_and_head(model, folder):
    def old(tensors):
        tensors = {n.removeprefix("transformer."): t for n, t in tensors.items()}
        tensors["h.0.attn.bias"] = np.ones((1, 1, 24, 24), np.float32)
        tensors["h.0.attn.masked_bias"] = np.array(-1e4, np.float32)
        tensors["lm_head.weight"] = tensors["wte.weight"]
        return tensors

    edit_weights(folder, old)
    np.testing.assert_array_equal(pf.from_pretrained(folder)(IDS).to("cpu").numpy(), model(IDS).to("cpu").numpy())


@pytest.mark.parametrize("dtype", list(pf.DType.__members__))
def test_every_dtype_survives(tmp_path, dtype):
    values = np.array([[1.5, 0.25, 0.0], [3.0, 1e-3, 250.0]], np.float32)
    values[0, 1] *= -1 if dtype != "uint8" else 1
    values[1, 2] /= 2 if dtype == "int8" else 1
    tensor = pf.tensor(values > 1 if dtype == "bool" else values).to(getattr(pf, dtype))
    formats.save_state(tmp_path / "state", {"x": tensor})
    assert formats.load_state(tmp_path / "state")["x"].dtype == tensor.dtype
    with formats.atomic_files(tmp_path / "f") as (file,):
        formats.write_safetensors(file, {"x": tensor, "empty": pf.zeros(0, 3)}, {"note": "é"})
    tensors, metadata = formats.read_safetensors(tmp_path / "f")
    assert metadata == {"note": "é"}
    assert tensors["empty"].shape == (0, 3)
    assert tensors["x"].dtype == tensor.dtype
    wide = pf.float32 if dtype == "bfloat16" else tensor.dtype
    np.testing.assert_array_equal(tensors["x"].to(wide).to("cpu").numpy(), tensor.to(wide).to("cpu").numpy())


def test_state_round_trip(tmp_path):
    state = {"a": [1, 2.5, None, "x"], "b": {"c": pf.tensor([1.0, 2.0]), "d": pf.tensor(3)}}
    formats.save_state(tmp_path / "state", state)
    again = formats.load_state(tmp_path / "state")
    assert again["a"] == state["a"]
    np.testing.assert_array_equal(again["b"]["c"].to("cpu").numpy(), [1.0, 2.0])
    assert again["b"]["d"].shape == ()
    with formats.atomic_files(tmp_path / "other") as (file,):
        formats.write_safetensors(file, {})
    with pytest.raises(ValueError, match="not a saved state"):
        formats.load_state(tmp_path / "other")


BAD_CONFIGS = {
    "empty": (b"", "not valid JSON"),
    "cut": (b'{"model_type": "gp', "not valid JSON"),
    "list": (b"[1, 2]", "expected a JSON object"),
    "not_utf8": (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
    "deep": (b'{"a": ' + b"[" * 200_000, "nested too deeply|not valid JSON"),
    "huge_number": (b'{"n_layer": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    "oversized": (b'{"a": "' + b"x" * (5 << 20) + b'"}', "at most"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_damaged_config(folder, name):
    data, message = BAD_CONFIGS[name]
    (folder / "config.json").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        pf.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model_type": "whisper"}, ValueError, "model_type"),
        ({"model_type": ...}, ValueError, "model_type"),
        ({"model_type": ["gpt2"]}, ValueError, "model_type"),
        ({"n_layer": ...}, ValueError, "lacks n_layer"),
        ({"n_layer": "2"}, TypeError, "num_layers"),
        ({"n_layer": True}, TypeError, "num_layers"),
        ({"n_layer": -1}, ValueError, "num_layers"),
        ({"n_layer": 3}, ValueError, "40 tensors"),
        ({"n_layer": 1}, ValueError, "unexpected"),
        ({"n_layer": 9999}, ValueError, "tensors"),
        ({"n_layer": 2**60}, ValueError, "num_layers must be at most"),
        ({"n_embd": 2**62}, ValueError, "must be"),
        ({"vocab_size": 10**30}, ValueError, "vocab_size must be below"),
        ({"n_positions": 25}, ValueError, "wpe.weight must be"),
        ({"n_head": 5}, ValueError, "num_heads"),
        ({"n_inner": 64}, ValueError, "n_inner"),
        ({"activation_function": "mish"}, ValueError, "activation_function"),
        ({"activation_function": ["relu"]}, ValueError, "activation_function"),
        ({"layer_norm_epsilon": "x"}, TypeError, "layer_norm_epsilon"),
        ({"resid_pdrop": 2.0}, ValueError, "dropout"),
        ({"tie_word_embeddings": False}, ValueError, "lm_head.weight"),
        ({"scale_attn_by_inverse_layer_idx": True}, ValueError, "inverse_layer"),
        ({"eos_token_id": "end"}, TypeError, "eos_token_id"),
    ],
)
def test_config_that_does_not_fit(folder, changes, error, message):
    edit_config(folder, **changes)
    with pytest.raises(error, match=message):
        pf.from_pretrained(folder)


def test_unknown_keys_are_logged(folder, caplog):
    edit_config(folder, favourite_colour="blue")
    pf.from_pretrained(folder)
    assert "favourite_colour" in caplog.text


def without(name):
    return lambda t: {n: v for n, v in t.items() if n != f"transformer.{name}"}


def replaced(name, make):
    key = f"transformer.{name}"
    return lambda t: {**t, key: make(t[key])}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (without("h.1.ln_2.bias"), ValueError, "28 tensors, got 27"),
        (lambda t: {**t, "surprise": t["transformer.ln_f.bias"]}, ValueError, "surprise"),
        (
            lambda t: {**without("wte.weight")(t), "a": np.ones(3), "b": np.ones(3)},
            ValueError,
            r"missing tensors \['wte.weight'\]",
        ),
        (
            lambda t: {**t, "wte.weight": t["transformer.wte.weight"]},
            ValueError,
            "with and without the prefix",
        ),
        (replaced("ln_f.bias", lambda v: v[:-1]), ValueError, r"ln_f.bias must be \(32,\)"),
        (
            replaced("h.0.mlp.c_fc.weight", lambda v: v.T.copy()),
            ValueError,
            r"c_fc.weight must be \(32, 128\), got \(128, 32\)",
        ),
        (replaced("ln_f.bias", lambda v: v.astype(np.int64)), TypeError, "float dtype, got I64"),
        (replaced("ln_f.bias", lambda v: v.astype(np.int8)), TypeError, "float dtype, got I8"),
        (replaced("ln_f.bias", lambda v: v.astype(np.uint16)), ValueError, "has dtype U16"),
    ],
)
def test_tensors_that_do_not_fit(folder, change, error, message):
    edit_weights(folder, change)
    with pytest.raises(error, match=message):
        pf.from_pretrained(folder)


def one(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"x": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


HOSTILE = {
    "empty": b"",
    "short": b"\x01\x02",
    "length_only": (2).to_bytes(8, "little"),
    "length_beyond_file": raw(b"{}", length=2**62),
    "not_json": raw(b"not json"),
    "not_utf8": raw(b'{"\xff": 1}'),
    "list": raw(b"[]"),
    "deep": raw(b'{"x":' + b"[" * 100_000),
    "entry_is_number": raw(b'{"x": 3}'),
    "no_dtype": raw(b'{"x": {"shape": [1], "data_offsets": [0, 4]}}', bytes(4)),
    "unknown_dtype": raw(one("F33"), bytes(8)),
    "other_dtype": raw(one("U16", (4,)), bytes(8)),
    "truncated_data": raw(one(), bytes(7)),
    "trailing_data": raw(one(), bytes(9)),
    "offsets_past_end": raw(one(offsets=(8, 16)), bytes(8)),
    "offsets_reversed": raw(one(offsets=(8, 0)), bytes(8)),
    "negative_offset": raw(one(offsets=(-8, 0)), bytes(8)),
    "negative_extent": raw(one(shape=(-2,)), bytes(8)),
    "extent_is_float": raw(one(shape=(2.0,)), bytes(8)),
    "shape_too_large": raw(one(shape=(2**40,)), bytes(8)),
    "shape_overflows": raw(one(shape=(2**33, 2**33)), bytes(8)),
    "overlap": raw(
        {
            "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "y": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        },
        bytes(12),
    ),
    "metadata_is_number": raw(b'{"__metadata__": {"a": 1}}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors(folder, name):
    path = folder / "model.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        formats.read_safetensors(path)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        pf.from_pretrained(folder)


def test_header_cap(folder):
    path = folder / "model.safetensors"
    with open(path, "wb") as file:
        file.write((64 << 20).to_bytes(8, "little"))
        file.truncate(8 + (64 << 20))
    with pytest.raises(ValueError, match="header of"):
        pf.from_pretrained(folder)


def test_every_truncation_is_refused(folder):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    for size in [*range(0, 4000, 97), len(data) - 1]:
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            pf.from_pretrained(folder)


def test_missing_files(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        pf.from_pretrained(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        pf.from_pretrained(folder)


class FullDisk:
    """A file on a disk that has room[0] bytes left."""

    def __init__(self, file, room):
        self._file, self._room = file, room

    def write(self, data):
        self._room[0] -= memoryview(data).nbytes
        if self._room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("missing", ["all", "header", "half", "config"])
def test_full_disk_leaves_the_last_good_files(folder, monkeypatch, missing):
    before = contents(folder)
    other = GPT(CONFIG)
    size = len(before["model.safetensors"])
    room = [{"all": 0, "header": 100, "half": size // 2, "config": size + 10}[missing]]

    def small_open(path, mode):
        return FullDisk(open(path, mode), room)

    monkeypatch.setattr(atomic, "open", small_open, raising=False)
    with pytest.raises(OSError, match=r"saving failed: No space left.*model\.safetensors"):
        other.save_pretrained(folder)
    monkeypatch.undo()
    assert contents(folder) == before
    pf.from_pretrained(folder)


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no file size limits here")
def test_limit_of_the_system_leaves_the_last_good_files(folder):
    before = contents(folder)
    other = GPT(CONFIG)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="saving failed"):
            other.save_pretrained(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(folder) == before


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failing_system_call_leaves_the_last_good_files(folder, monkeypatch, call):
    before = contents(folder)

    def fail(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, call, fail)
        with pytest.raises(OSError, match="Input/output"):
            GPT(CONFIG).save_pretrained(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_cannot_be_replaced_keeps_the_other(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    with pytest.raises(OSError, match=r"saving failed: Is a directory.*" + name):
        GPT(CONFIG).save_pretrained(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("config", ["old", "none"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_renaming_that_fails_undoes_those_before(folder, monkeypatch, config, error):
    if config == "none":
        (folder / "config.json").unlink()
    before = contents(folder)
    replace = os.replace

    def fail(source, target):
        if str(target).endswith("model.safetensors"):
            raise error
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(type(error)):
        GPT(GPTConfig(61, 24, 1, 2, 16)).save_pretrained(folder)
    monkeypatch.undo()
    assert contents(folder) == before


def test_interrupt_after_the_last_renaming_keeps_all_new_files(folder, monkeypatch):
    replace = os.replace

    def interrupt(source, target):
        replace(source, target)
        if str(target).endswith("model.safetensors"):
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        GPT(GPTConfig(61, 24, 1, 2, 16)).save_pretrained(folder)
    monkeypatch.undo()
    assert pf.from_pretrained(folder).config.num_layers == 1
    assert sorted(contents(folder)) == ["config.json", "model.safetensors"]


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "nowhere" / "file.json"
    with pytest.raises(OSError, match=r"saving failed: No such file") as caught:
        formats.write_json_atomic(path, {})
    assert caught.value.filename == str(path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("folder", "link"):
        with pytest.raises(OSError, match=r"saving failed: Is a directory") as caught:
            formats.write_json_atomic(tmp_path / name, {})
        assert caught.value.filename == str(tmp_path / name)


def test_interrupt_while_saving_leaves_the_last_good_files(folder, monkeypatch):
    before = contents(folder)

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            GPT(CONFIG).save_pretrained(folder)
    assert contents(folder) == before


def test_killed_while_saving_leaves_the_last_good_files(folder):
    before = contents(folder)
    script = """
        import os, signal, sys
        import pyformer as pf
        from pyformer.formats import atomic
        model = pf.from_pretrained(sys.argv[1])
        atomic.os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        model.save_pretrained(sys.argv[1])
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(folder)]
    done = subprocess.run(command, capture_output=True, timeout=600)
    assert done.returncode == -signal.SIGKILL
    after = contents(folder)
    assert {name: after[name] for name in before} == before


def test_folder_that_cannot_be_made(model, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"):
        model.save_pretrained(tmp_path / "taken")


@pytest.mark.skipif(os.name == "nt", reason="named pipes of POSIX")
def test_a_pipe_or_device_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="not a regular file") as error:
            formats.write_bytes_atomic(tmp_path / name, b"x")
        assert error.value.filename == str(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link"}


@pytest.mark.parametrize("activation", nn.transformer.ACTIVATIONS)
@pytest.mark.parametrize(
    ("model", "config"),
    [
        (GPT, {"vocab_size": 9, "context_length": 8, "num_layers": 1, "num_heads": 1, "embed_dim": 4}),
        (BertClassifier, {"vocab_size": 9, "context_length": 8, "num_layers": 1, "num_heads": 1, "embed_dim": 4}),
        (ViT, {"image_size": 8, "num_layers": 1, "num_heads": 1, "embed_dim": 4}),
    ],
)
def test_every_activation_can_be_saved_and_opened(model, config, activation, tmp_path):
    kinds = {GPT: GPTConfig, BertClassifier: BertConfig, ViT: ViTConfig}
    saved = model(kinds[model](**config, activation=activation))
    saved.save_pretrained(tmp_path)
    assert pf.from_pretrained(tmp_path).config == saved.config


def test_saving_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    formats.write_bytes_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    formats.write_json_atomic(tmp_path / "real", {"a": "é"})
    assert formats.read_json(tmp_path / "real") == {"a": "é"}


@pytest.fixture
def sharded(model, tmp_path):
    model.save_pretrained(tmp_path / "shards", shard_bytes=20_000)
    return tmp_path / "shards"


def test_shards_are_those_that_transformers_reads_and_writes(model, sharded, tmp_path):
    names = sorted(contents(sharded))
    assert names[0] == "config.json"
    assert names[-1] == "model.safetensors.index.json"
    assert len(names) > 4
    assert all(p.stat().st_size < 40_000 for p in sharded.iterdir())
    np.testing.assert_array_equal(pf.from_pretrained(sharded)(IDS).to("cpu").numpy(), model(IDS).to("cpu").numpy())
    twin = GPT2LMHeadModel.from_pretrained(sharded)
    np.testing.assert_array_equal(
        twin.transformer.wte.weight.detach().to("cpu").numpy(), model.wte.weight.to("cpu").numpy()
    )
    twin.save_pretrained(tmp_path / "theirs", max_shard_size="30KB")
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists()
    np.testing.assert_array_equal(
        pf.from_pretrained(tmp_path / "theirs")(IDS).to("cpu").numpy(), model(IDS).to("cpu").numpy()
    )


def test_saving_whole_and_in_shards_leaves_nothing_of_the_other(model, sharded):
    other = GPT(CONFIG)
    other.save_pretrained(sharded)
    assert not (sharded / "model.safetensors.index.json").exists()
    np.testing.assert_array_equal(pf.from_pretrained(sharded)(IDS).to("cpu").numpy(), other(IDS).to("cpu").numpy())
    model.save_pretrained(sharded, shard_bytes=20_000)
    assert not (sharded / "model.safetensors").exists()
    np.testing.assert_array_equal(pf.from_pretrained(sharded)(IDS).to("cpu").numpy(), model(IDS).to("cpu").numpy())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda places: 3, ValueError, "weight_map must be"),
        (lambda places: {**places, "transformer.ln_f.bias": "../other.safetensors"}, ValueError, "files beside it"),
        (lambda places: {**places, "transformer.ln_f.bias": "/dev/null"}, ValueError, "files beside it"),
        (lambda places: {**places, "transformer.ln_f.bias": "none.safetensors"}, FileNotFoundError, "none.safetensors"),
        (lambda places: {**places, "surprise": places["transformer.ln_f.bias"]}, ValueError, r"missing \['surprise'\]"),
        (
            lambda places: {name: file for name, file in places.items() if name != "transformer.ln_f.bias"},
            ValueError,
            r"unexpected \['transformer.ln_f.bias'\]",
        ),
    ],
)
def test_an_index_that_lies(sharded, change, error, message):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "weight_map": change(index["weight_map"])}))
    with pytest.raises(error, match=message):
        pf.from_pretrained(sharded)


PEAK = """
import sys
import pyformer as pf


def peak_bytes():
    # Not ru_maxrss, which begins with what the parent process had.
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


pf.models.GPT(pf.models.GPTConfig(8, 8, 1, 1, 8)).save_pretrained(sys.argv[2])
pf.from_pretrained(sys.argv[2])
before = peak_bytes()
model = pf.from_pretrained(sys.argv[1])
print((peak_bytes() - before) / (4 * model.num_parameters()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_opening_holds_the_weights_once(tmp_path, dtype):
    # One matrix holds nearly all of them, so another copy of it would show.
    GPT(GPTConfig(200_000, 8, 1, 2, 256)).to(dtype).save_pretrained(tmp_path / "large")
    command = [sys.executable, "-c", PEAK, str(tmp_path / "large"), str(tmp_path / "small")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.25
