"""GGUF: each type equals the `gguf` package's numbers, files go out and come back, and hostile ones are refused."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import re
import resource
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mutant_files import overwrite

import pyformer as pf
from pyformer.formats import atomic_files
from pyformer.formats.gguf import reader
from pyformer.formats.gguf.blocks import BY_NAME, dequantize
from pyformer.formats.gguf.reader import GGUFFile
from pyformer.formats.gguf.writer import write_gguf
from pyformer.models import Llama, LlamaConfig

SIZES = {"vocab_size": 32, "context_length": 64, "num_layers": 2, "num_heads": 4, "embed_dim": 64, "num_kv_heads": 2}


@pytest.fixture
def gguf():
    """The package of this name, whose numbers and files are the oracle."""
    return pytest.importorskip("gguf", reason="the gguf package, the oracle, is not installed")


def make(**changes) -> Llama:
    pf.manual_seed(3)
    return Llama(LlamaConfig(**{**SIZES, **changes})).eval()


def test_blocks_by_hand():
    """Each type's simplest block, for machines without the oracle."""
    half = {1.0: b"\x00\x3c", 2.0: b"\x00\x40", 0.5: b"\x00\x38"}
    low_then_high = bytes([0x10 * ((j + 1) % 16) + j for j in range(16)])
    numbers = np.array([*range(16), *((j + 1) % 16 for j in range(16))], np.float32)
    first_fifth = (1).to_bytes(4, "little")
    fifth = np.where(np.arange(32) == 0, 16.0, 0.0).astype(np.float32)
    blocks = {
        "Q4_0": (half[0.5] + low_then_high, 0.5 * (numbers - 8)),
        "Q4_1": (half[2.0] + half[1.0] + low_then_high, 2 * numbers + 1),
        "Q5_0": (half[0.5] + first_fifth + low_then_high, 0.5 * (numbers + fifth - 16)),
        "Q5_1": (half[2.0] + half[1.0] + first_fifth + low_then_high, 2 * (numbers + fifth) + 1),
        "Q8_0": (half[2.0] + bytes(range(240, 256)) + bytes(range(16)), 2.0 * np.arange(-16, 16)),
    }
    for name, (data, wanted) in blocks.items():
        np.testing.assert_array_equal(dequantize(name, np.frombuffer(data, np.uint8)), wanted, err_msg=name)


def equal(a: Llama, b: Llama) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all((one[n] == other[n]).numpy().all() for n in one)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_type_gives_the_bits_of_its_definition(gguf, name):
    kind = BY_NAME[name]
    data = np.random.default_rng(1).integers(0, 256, (2000, kind.bytes), dtype=np.uint8).reshape(-1)
    with np.errstate(all="ignore"):
        if name in ("F32", "F16"):
            wanted = data.view("<f4" if name == "F32" else "<f2").astype(np.float32)
        else:
            wanted = gguf.quants.dequantize(data.reshape(1, -1), gguf.GGMLQuantizationType[name]).reshape(-1)
    np.testing.assert_array_equal(dequantize(name, data).view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("name", ["Q8_0", "Q4_1", "Q6_K", "BF16"])
def test_rows_of_a_part_of_a_tensor_are_those_of_the_whole(tmp_path, name):
    """Read in chunks of whole heads where rows change places."""
    kind, (rows, width) = BY_NAME[name], (24, 256)
    data = np.random.default_rng(2).integers(0, 200, rows * width // kind.numbers * kind.bytes, dtype=np.uint8)
    (tmp_path / "x").write_bytes(b"head" + data.tobytes())
    whole = dequantize(name, data).reshape(rows, width)
    from pyformer.formats.gguf.reader import GGUFEntry

    for heads in (0, 3):
        entry = GGUFEntry(name, (rows, width), 4, 4 + data.size, heads)
        order = np.arange(rows) if not heads else np.arange(rows).reshape(heads, 4, 2).transpose(0, 2, 1).reshape(-1)
        with open(tmp_path / "x", "rb") as file:
            for begin, count in ((0, rows), (0, 5), (7, 9), (23, 4), (8, 8)):
                got = entry.read_rows(file, begin, count).numpy()
                np.testing.assert_array_equal(got.view(np.uint32), whole[order][begin : begin + count].view(np.uint32))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tied": True, "rope_base": 5e5},
        {"head_dim": 32, "num_kv_heads": 1, "window": 7},
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0}},
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
            "rope_base": 5e5,
        },
    ],
    ids=["plain", "tied", "grouped", "linear", "llama3"],
)
def test_ours_to_gguf_to_ours(tmp_path, changes, dtype):
    model = make(**changes).to(dtype)
    model.save_pretrained(tmp_path / "m.gguf")
    again = pf.from_pretrained(tmp_path / "m.gguf", dtype=dtype)
    assert equal(model, again)
    ids = [[1, 2, 3, 4, 5, 6, 7, 8]]
    assert (model(ids) == again(ids)).numpy().all()


@pytest.mark.parametrize("tied", [True, False])
def test_gpt2_there_and_back_and_in_transformers(gguf, tmp_path, tied):
    pf.manual_seed(3)
    config = pf.models.GPTConfig(61, 16, num_layers=2, num_heads=2, embed_dim=64, activation="gelu_tanh", tied=tied)
    model = pf.models.GPT(config).eval()
    for parameter in model.parameters():
        pf.nn.init.normal_(parameter, std=0.3)
    path = tmp_path / "model.gguf"
    model.save_pretrained(path)
    again, ids = pf.from_pretrained(path), np.arange(12).reshape(2, 6)
    assert dataclasses.replace(again.config, dropout=config.dropout, layer_norm_epsilon=1e-5) == config
    np.testing.assert_array_equal(again(ids).numpy(), model(ids).numpy())
    small = pf.from_pretrained(path, quantize="q8")
    small.save_pretrained(tmp_path / "small")
    np.testing.assert_array_equal(pf.from_pretrained(tmp_path / "small")(ids).numpy(), small(ids).numpy())
    read = gguf.GGUFReader(path)
    kind = gguf.MODEL_ARCH.GPT2
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[kind]} | {"output"}
    for tensor in read.tensors:
        assert re.sub(r"^blk\.\d+", "blk.{bid}", tensor.name).removesuffix(".weight").removesuffix(".bias") in known
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    # It takes the sizes of vocabulary and context from elsewhere.
    sizes = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=64, vocab_size=61, n_positions=16)
    sizes.tie_word_embeddings = tied
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", config=sizes).eval()
    with torch.no_grad():
        np.testing.assert_allclose(model(ids).numpy(), theirs(torch.tensor(ids)).logits.numpy(), rtol=1e-4, atol=1e-4)


def test_a_gpt2_that_llama_cpp_would_compute_otherwise_is_not_written(tmp_path):
    model = pf.models.GPT(pf.models.GPTConfig(61, 16, num_layers=1, num_heads=2, embed_dim=32, activation="relu"))
    with pytest.raises(ValueError, match="GGUF: activation_function must be 'gelu_new' to be written, got 'relu'"):
        model.save_pretrained(tmp_path / "model.gguf")


def test_the_gguf_package_reads_what_is_written(gguf, tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "m.gguf")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert reader.fields["llama.attention.head_count_kv"].contents() == 2
    tensors = {t.name: t for t in reader.tensors}
    assert len(tensors) == len(model.state_dict())
    q = model.state_dict()["layers.1.self_attn.q_proj.weight"].numpy()
    interleaved = q.reshape(4, 2, 8, 64).transpose(0, 2, 1, 3).reshape(64, 64)
    np.testing.assert_array_equal(tensors["blk.1.attn_q.weight"].data, interleaved)
    np.testing.assert_array_equal(
        tensors["blk.1.attn_v.weight"].data, model.state_dict()["layers.1.self_attn.v_proj.weight"].numpy()
    )


def test_a_file_of_the_gguf_package_opens(gguf, tmp_path):
    """With Q8_0 and Q4_1 weights, an alignment of 64, and a key that says nothing here."""
    model = make(hidden_dim=96, tied=True)
    model.save_pretrained(tmp_path / "plain.gguf")
    plain = GGUFFile(tmp_path / "plain.gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_custom_alignment(64)
    writer.add_name("test")
    for key, (code, value) in plain.metadata.values.items():
        if key != "general.architecture":
            writer.add_key_value(key, value, gguf.GGUFValueType(code))
    wanted = {}
    for name, entry in plain.entries.items():
        with open(tmp_path / "plain.gguf", "rb") as file:
            array = entry.read_rows(file, 0, 1 << 20).numpy()
        kind = "F32" if array.ndim == 1 else "Q8_0" if "attn" in name else "Q4_1"
        kind = gguf.GGMLQuantizationType[kind]
        quantized = gguf.quants.quantize(array, kind)
        writer.add_tensor(name, quantized, raw_dtype=kind)
        wanted[name] = pf.tensor(gguf.quants.dequantize(quantized, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    again = pf.from_pretrained(tmp_path / "m.gguf")
    assert not equal(again, model)
    keys = {key: value for key, (_, value) in plain.metadata.values.items()}
    assert equal(again, pf.from_pretrained(write(tmp_path / "wanted.gguf", keys, wanted)))


def write(path: Path, keys: dict, tensors: dict) -> Path:
    with atomic_files(path) as (file,):
        write_gguf(file, keys, tensors)
    return path


@pytest.fixture
def whole(tmp_path) -> Path:
    make().save_pretrained(tmp_path / "whole.gguf")
    return tmp_path / "whole.gguf"


def edited(whole: Path, keys: dict | None = None, drop: tuple = (), tensors: dict | None = None) -> Path:
    """The file with other keys (None takes one away) and tensors."""
    file = GGUFFile(whole)
    with open(whole, "rb") as opened:
        held = {name: entry.read_rows(opened, 0, 1 << 20) for name, entry in file.entries.items()}
    held = {name: t for name, t in held.items() if name not in drop} | (tensors or {})
    values = {key: value for key, (_, value) in file.metadata.values.items()} | (keys or {})
    return write(whole.with_name("edited.gguf"), {k: v for k, v in values.items() if v is not None}, held)


def test_a_rotary_factor_without_a_type_is_linear(whole, caplog):
    linear = {"rope_type": "linear", "factor": 4.0}
    for key in ("llama.rope.scaling.factor", "llama.rope.scale_linear"):
        model = pf.from_pretrained(edited(whole, {key: 4.0}))
        assert model.config.rope_scaling == linear
        model.save_pretrained(whole)
        assert pf.from_pretrained(whole).config.rope_scaling == linear
        make().save_pretrained(whole)
    for said in ({"llama.rope.scaling.factor": 1.0}, {"llama.rope.scaling.factor": 0.0}):
        assert pf.from_pretrained(edited(whole, said)).config.rope_scaling is None
    assert caplog.text == ""
    said = {"llama.rope.scaling.factor": 4.0, "llama.rope.scaling.type": "none"}
    path = edited(whole, said)
    for opener in (pf.from_pretrained, Llama.from_pretrained):
        caplog.clear()
        assert opener(path).config.rope_scaling is None
        assert caplog.text.count("type is none, so its factor 4.0 is left out") == 1


def test_all_ends_of_a_text_are_read_and_written_again(whole, caplog):
    ends = {f"tokenizer.ggml.{name}_token_id": number for name, number in (("eos", 2), ("eot", 3), ("eom", 2))}
    for given in (2, [2, 3], [2, 3, 4]):
        make(eos_token_id=given, bos_token_id=1).save_pretrained(whole)
        config = pf.from_pretrained(whole).config
        assert (config.bos_token_id, config.eos_token_id) == (1, given)
    assert pf.from_pretrained(edited(whole, ends)).config.eos_token_id == [2, 3]
    assert caplog.text == ""
    make(eos_token_id=[2, 3, 4, 5]).save_pretrained(whole)
    assert "[5] are left out" in caplog.text


def test_tied_weights_are_one_again(whole):
    model = make()
    first, second = (layer.self_attn.q_proj for layer in model.layers)
    second.weight = first.weight
    model.save_pretrained(whole)
    again = pf.from_pretrained(whole)
    assert again.shared_names() == model.shared_names() != {}
    assert equal(model, again)
    with pytest.raises(ValueError, match=r"pyformer.shared must be names of tensors"):
        pf.from_pretrained(edited(whole, {"pyformer.shared": '{"a": 3}'}))
    with pytest.raises(ValueError, match=r"pyformer.shared: not valid JSON"):
        pf.from_pretrained(edited(whole, {"pyformer.shared": "{"}))


@pytest.mark.parametrize(
    ("keys", "drop", "tensors", "message"),
    [
        ({"general.architecture": "mamba"}, (), {}, "general.architecture must be one of"),
        ({"general.architecture": 3}, (), {}, "general.architecture must be a string, got uint32"),
        ({"llama.block_count": None}, (), {}, "num_hidden_layers"),
        ({"llama.block_count": 3}, (), {}, "missing tensors .'layers.2"),
        ({"llama.block_count": 1}, (), {}, "unexpected .'layers.1"),
        ({"llama.block_count": 2**31 - 1}, (), {}, "layers"),
        ({"llama.block_count": "2"}, (), {}, "llama.block_count must be an integer from 1 to 2147483647, got string"),
        ({"llama.block_count": True}, (), {}, "llama.block_count must be an integer"),
        ({"llama.attention.head_count": 0}, (), {}, "head_count must be an integer from 1"),
        ({"llama.attention.head_count": 3}, (), {}, "num_kv_heads .2. must divide num_heads .3."),
        ({"llama.expert_count": 8}, (), {}, "not followed here: llama.expert_count"),
        ({"llama.vocab_size": 33}, (), {}, "llama.vocab_size must be 32"),
        ({"llama.rope.dimension_count": 8}, (), {}, "llama.rope.dimension_count must be 16"),
        ({"llama.rope.scaling.type": "dynamic"}, (), {}, "type must be none or linear or yarn, got 'dynamic'"),
        ({"llama.rope.scaling.type": "yarn"}, (), {}, "expected the key llama.rope.scaling.factor"),
        ({"general.type": "adapter"}, (), {}, "general.type must be 'model', got 'adapter'"),
        ({"split.count": 2}, (), {}, "join the parts first"),
        ({}, ("token_embd.weight",), {}, "expected the tensor token_embd.weight"),
        ({}, ("blk.0.ffn_up.weight",), {}, "missing tensors .'layers.0.mlp.up_proj.weight'"),
        ({}, (), {"blk.0.attn_q.bias": pf.ones(64)}, "unexpected"),
        ({}, (), {"extra.weight": pf.ones(3, 3)}, "unexpected .'extra.weight'"),
        ({}, (), {"blk.0.ffn_up.weight": pf.ones(3, 3)}, "layers.0.mlp.up_proj.weight must be"),
        ({}, (), {"rope_freqs.weight": pf.ones(8) * 3}, "those of LLaMA 3's rule"),
        ({}, (), {"rope_freqs.weight": pf.zeros(8)}, "must hold finite numbers above 0"),
        ({"llama.rope.freq_base": -10000.0}, (), {"rope_freqs.weight": pf.ones(8)}, "freq_base must be above 0"),
    ],
)
def test_what_is_missing_extra_or_unknown_is_named(whole, keys, drop, tensors, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pf.from_pretrained(edited(whole, keys, drop, tensors))


def test_other_files_are_no_gguf(tmp_path):
    for data in (b"", b"GGU", b"PK\3\4" + bytes(40), b"GGUF" + struct.pack("<I", 1), b"GGUF" + struct.pack(">I", 3)):
        (tmp_path / "x.gguf").write_bytes(data + bytes(64 if len(data) == 8 else 0))
        with pytest.raises(ValueError, match="not a GGUF file that can be read"):
            pf.from_pretrained(tmp_path / "x.gguf")
    with pytest.raises(FileNotFoundError):
        pf.from_pretrained(tmp_path / "nothing.gguf")


def fields(data: bytes) -> list[tuple[str, int, int]]:
    """(kind, place, bytes) of every count, length, type, size and offset of a file: what mutants aim at."""
    found, at = [], 4

    def number(kind: str, size: int) -> int:
        nonlocal at
        found.append((kind, at, size))
        at += size
        return int.from_bytes(data[at - size : at], "little")

    def text(kind: str) -> None:
        nonlocal at
        length = number(kind, 8)
        at += length

    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    number("version", 4)
    tensors, keys = number("count", 8), number("count", 8)
    for _ in range(keys):
        text("length")
        kind = number("type", 4)
        if kind == 8:
            text("length")
        elif kind == 9:
            kind, count = number("type", 4), number("count", 8)
            for _ in range(count):
                text("length") if kind == 8 else number("value", sizes[kind])
        else:
            number("value", sizes[kind])
    for _ in range(tensors):
        text("length")
        for _ in range(number("axes", 4)):
            number("size", 8)
        number("type", 4)
        number("offset", 8)
    return found


EXTREMES = (0, 1, 2, 3, 7, 8, 31, 33, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def mutant(rng: random.Random, data: bytes, places: list[tuple[str, int, int]]) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        way = rng.random()
        if way < 0.55:
            _, at, size = rng.choice(places)
            value = int.from_bytes(changed[at : at + size], "little")
            value = rng.choice((*EXTREMES, value + 1, value - 1, value * 2, len(data), len(data) - at))
            changed[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        elif way < 0.75:
            at = rng.randrange(len(changed))
            changed[at] ^= 1 << rng.randrange(8)
        elif way < 0.85 and len(changed) > 64:
            del changed[rng.randrange(len(changed)) :]
            changed += bytes(max(0, 64 - len(changed)))
            break
        elif way < 0.92:
            (_, a, size), (_, b, other) = rng.choice(places), rng.choice(places)
            if size == other:
                changed[a : a + size] = changed[b : b + size]
        else:
            at = rng.randrange(len(changed))
            del changed[at : at + rng.choice((1, 4, 8, 32))]
            break
    return bytes(changed)


def test_ten_thousand_mutants_are_read_or_refused(tmp_path):
    """No other exception, none slow, no memory for what the file only claims."""
    keys = {
        "general.architecture": "llama",
        "general.alignment": 32,
        **{f"llama.{name}": value for name, value in (("block_count", 1), ("embedding_length", 64))},
        "llama.rope.freq_base": 1e4,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.tokens": ["a", "b", "ab", ""],
        "tokenizer.ggml.scores": np.float32([1, 2, 3, 4]),
        "tokenizer.ggml.token_type": np.int32([1, 1, 1, 3]),
    }
    tensors = {"token_embd.weight": pf.ones(4, 64), "output_norm.weight": pf.ones(64)}
    data = write(tmp_path / "base.gguf", keys, tensors).read_bytes()
    places, rng, path = fields(data), random.Random(20), tmp_path / "mutant.gguf"
    path.write_bytes(data)
    assert len(places) > 40
    read, slowest = 0, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(10_000):
        changed = mutant(rng, data, places)
        overwrite(path, changed)
        start = time.process_time()
        said = ""
        try:
            with open(path, "rb") as opened:
                for entry in GGUFFile(path).entries.values():
                    assert entry.read_rows(opened, 0, 3).shape[0] <= 3
            read += 1
        except ValueError as error:
            said = str(error)
        assert not said or str(path) in said, number
        slowest = max(slowest, time.process_time() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert 500 < read < 8000
    assert slowest < 1.0
    assert grown < 64 << 20


def test_a_file_that_is_opened_is_parsed_once(whole, monkeypatch):
    made, real = [], reader.GGUFFile
    monkeypatch.setattr(reader, "GGUFFile", lambda path: made.append(path) or real(path))
    for count in (1, 2):  # and again when it is opened again: it may be another by then
        pf.from_pretrained(whole)
        assert len(made) == count


def test_mutants_of_a_model_open_or_are_refused(whole):
    data, path, rng = whole.read_bytes(), whole.with_name("mutant.gguf"), random.Random(21)
    places, opened = fields(data), 0
    path.write_bytes(data)
    for _ in range(1000):
        overwrite(path, mutant(rng, data, places))
        with contextlib.suppress(ValueError, TypeError):
            pf.from_pretrained(path)
            opened += 1
    assert opened > 50


def test_claims_of_a_small_file_take_no_memory_and_no_time(tmp_path):
    """The faults of other readers: counts, lengths, sizes and alignments far past the end of the file."""
    whole_keys = {"general.architecture": "llama", "tokenizer.ggml.tokens": ["a"]}
    data = write(tmp_path / "base.gguf", whole_keys, {"x": pf.ones(2, 32)}).read_bytes()
    places, path = fields(data), tmp_path / "m.gguf"
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for kind, at, size in places:
        for value in (2**31, 2**32 - 1, 2**61, 2**63, 2**64 - 1):
            if kind in ("count", "length", "size", "offset", "axes"):
                path.write_bytes(data[:at] + (value % (1 << 8 * size)).to_bytes(size, "little") + data[at + size :])
                with pytest.raises(ValueError, match="at byte"):
                    GGUFFile(path)
    for value in (0, 1, 3, 24, 2**21, 2**31):
        with pytest.raises(ValueError, match=r"general\.alignment"):
            GGUFFile(write(path, {"general.alignment": value}, {"x": pf.ones(2, 32)}))
    both = write(path, {}, {"x": pf.ones(2, 32), "y": pf.ones(2, 32)}).read_bytes()
    _, at, size = [place for place in fields(both) if place[0] == "offset"][1]
    path.write_bytes(both[:at] + bytes(size) + both[at + size :])
    with pytest.raises(ValueError, match="share bytes"):
        GGUFFile(path)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


@pytest.mark.parametrize("window", [1, 8, 9, 25, 64, 1 << 20])
def test_strings_are_read_wherever_a_window_ends(window, tmp_path, monkeypatch):
    texts = ["", "a", "four", "ü" * 9, "b" * 200, "", "c" * 17, ""]
    keys = {"before": 1, "texts": texts, "after": 2}
    path = write(tmp_path / "x.gguf", keys, {})
    monkeypatch.setattr(reader, "WINDOW_BYTES", window)
    metadata = GGUFFile(path).metadata
    assert metadata.texts("texts") == texts
    assert (metadata.integer("before"), metadata.integer("after")) == (1, 2)
    data = path.read_bytes()
    at = data.index(b"b" * 200) - 8
    path.write_bytes(data[:at] + (len(data) - at).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(ValueError, match="texts has a string of"):
        GGUFFile(path)
    path.write_bytes(data[: data.index(b"c" * 17) - 3])
    with pytest.raises(ValueError, match="the header ends at number 6"):
        GGUFFile(path)


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    path = write(tmp_path / "x.gguf", {}, {"x": pf.ones(64, 64)})
    entry = GGUFFile(path).entries["x"]
    with open(path, "r+b") as file:
        file.truncate(entry.end - 100)
        with pytest.raises(ValueError, match="cut while being read"):
            entry.read_rows(file, 0, 64)


def test_ends_that_generation_config_alone_names_are_written_and_the_rest_is_named(tmp_path, caplog):
    model = make()
    model.generation_config = {"temperature": 0.3, "do_sample": True, "eos_token_id": [2, 3], "pad_token_id": None}
    model.save_pretrained(tmp_path / "x.gguf")
    left = "GGUF leaves out what generation_config.json says of do_sample, temperature"
    assert [message.partition(": ")[2] for message in caplog.messages] == [left]
    assert pf.from_pretrained(tmp_path / "x.gguf").config.eos_token_id == [2, 3]
