"""Tokenizers: what goes in comes out, in pieces too, and damaged files are refused."""

import json
import time

import numpy as np
import pytest

from pyformer import bpe, tokenizers

TEXT = "for x in range(3):\n\n    print(x)  # Grüße, 世界, 🎈 e\u0301\r\n\tdone"


def make(kind):
    if kind == "byte":
        return tokenizers.ByteTokenizer()
    if kind == "char":
        return tokenizers.CharTokenizer.train(TEXT)
    pytest.importorskip("tokenizers")
    return tokenizers.BPETokenizer.train(TEXT * 20, 300)


@pytest.fixture(params=["byte", "char", "bpe"])
def tokenizer(request):
    return make(request.param)


def test_round_trip(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert ids.min() >= 0
    assert ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.decode(ids.tolist()) == TEXT
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == ""


def test_streaming_gives_whole_characters(tokenizer):
    decoder = tokenizer.stream_decoder()
    pieces = [decoder.push(int(token)) for token in tokenizer.encode(TEXT)]
    assert "".join(pieces) + decoder.finish() == TEXT
    assert not any("\ufffd" in piece for piece in pieces)


def test_save_and_load(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = tokenizers.load(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.vocab_size == tokenizer.vocab_size
    assert np.array_equal(loaded.encode(TEXT), tokenizer.encode(TEXT))


@pytest.mark.parametrize("kind", ["byte", "char", "bpe"])
def test_truncated_file_is_refused(kind, tmp_path):
    make(kind).save(tmp_path)
    path = tmp_path / tokenizers.FILE_NAME
    whole = path.read_bytes()
    for length in {0, 1, len(whole) // 2, len(whole) - 3}:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            tokenizers.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 100_000,
        b'{"type": "other"}',
        b'{"type": ["char"]}',
        b'{"type": "char"}',
        b'{"type": "char", "characters": 7}',
        b'{"type": "char", "characters": ""}',
        b'{"type": "char", "characters": "aa"}',
        b'{"type": "char", "characters": "\\ud800"}',
        b'{"type": "word"}',
        b'{"type": "word", "words": ["a"], "unknown": 1, "cut": "unicode"}',
        b'{"type": "word", "words": ["a", "a"], "unknown": 0, "cut": "unicode"}',
        b'{"type": "word", "words": ["a", 3], "unknown": 0, "cut": "unicode"}',
        b'{"type": "word", "words": ["a", ["b"]], "unknown": 0, "cut": "unicode"}',
        b'{"type": "word", "words": ["a"], "unknown": true, "cut": "unicode"}',
        b'{"type": "word", "words": ["a"], "unknown": 0, "cut": "(a+)+"}',
        b'{"model": {"type": "BPE", "vocab": 3}}',
        b'{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
    ],
)
def test_hostile_file_is_refused(content, tmp_path):
    (tmp_path / tokenizers.FILE_NAME).write_bytes(content)
    if b"model" in content:
        pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        tokenizers.load(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        tokenizers.load(tmp_path)


def test_tokens_that_only_older_files_name_are_named(tmp_path, caplog):
    made = make("bpe")
    made.save(tmp_path)
    for said in ({"eos_token": "!", "additional_special_tokens": ["x", "y"]}, {"pad_token": {"content": "z"}}):
        (tmp_path / "special_tokens_map.json").write_text(json.dumps(said))
        assert tokenizers.load(tmp_path).encode(TEXT).tolist() == made.encode(TEXT).tolist()
    assert not caplog.text
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<s>", "unk_token": {"content": "<u>"}}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<extra>": 300, "x": 5}))
    assert tokenizers.load(tmp_path).token_id("<extra>") is None
    assert 'special_tokens_map.json: ["<s>", "<u>"]: not followed' in caplog.text
    assert 'added_tokens.json: ["<extra>"]: not followed' in caplog.text


def test_unknown_character_is_named():
    tokenizer = tokenizers.CharTokenizer.train("abc")
    with pytest.raises(ValueError, match=r"'ß' \(U\+00DF\) at position 2"):
        tokenizer.encode("abß")
    with pytest.raises(ValueError, match=r"U\+0062"):
        tokenizers.CharTokenizer("ac").encode("b")


def test_wrong_ids_are_refused(tokenizer):
    for ids in ([-1], [tokenizer.vocab_size], [0.5], [[0, 1]]):
        with pytest.raises(ValueError, match="decode"):
            tokenizer.decode(ids)


def test_lone_surrogate_is_refused(tokenizer):
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode("a\ud800")


def test_bytes_that_are_not_text():
    tokenizer = tokenizers.ByteTokenizer()
    assert tokenizer.decode([0x61, 0xFF, 0x62]) == "a\ufffdb"
    decoder = tokenizer.stream_decoder()
    assert [decoder.push(token) for token in (0xE4, 0xB8)] == ["", ""]
    assert decoder.finish() == "\ufffd"


def test_bpe_pieces_equal_the_whole(monkeypatch):
    tokenizer = make("bpe")
    text = TEXT * 50
    whole = tokenizer.encode(text)
    monkeypatch.setattr(bpe, "PIECE", 7)
    assert np.array_equal(tokenizer.encode(text), whole)
    assert np.array_equal(whole, tokenizer._tokenizer.encode(text).ids)


def test_bpe_vocabulary_bounds():
    pytest.importorskip("tokenizers")
    with pytest.raises(ValueError, match="at least 256"):
        tokenizers.BPETokenizer.train("abc", 255)
    with pytest.raises(ValueError, match="expected text"):
        tokenizers.BPETokenizer.train("", 300)


@pytest.mark.parametrize("kind", ["byte", "char"])
def test_megabytes_cost_less_than_a_loop_over_their_characters(kind):
    tokenizer = make(kind)
    text = TEXT * 80_000

    def cost(work):
        start = time.process_time()
        work()
        return time.process_time() - start

    def round_trip():
        assert tokenizer.decode(tokenizer.encode(text)) == text

    loop = cost(lambda: "".join([chr(ord(character)) for character in text]))
    assert cost(round_trip) < loop


def test_char_file_is_plain_json(tmp_path):
    tokenizers.CharTokenizer("ab").save(tmp_path)
    content = json.loads((tmp_path / tokenizers.FILE_NAME).read_text())
    assert content == {"type": "char", "version": 1, "characters": "ab"}


def test_words(tmp_path):
    tokenizer = tokenizers.WordTokenizer(["[padding]", "[rare]", "a", "film", "isn't", "!"], unknown=1, cut="latin")
    ids = tokenizer.encode("A film isn't a movie!")
    np.testing.assert_array_equal(ids, [2, 3, 4, 2, 1, 5])
    assert tokenizer.decode(ids) == "a film isn't a [rare] !"
    decoder = tokenizer.stream_decoder()
    assert "".join(decoder.push(int(token)) for token in ids) + decoder.finish() == tokenizer.decode(ids)
    tokenizer.save(tmp_path)
    loaded = tokenizers.load(tmp_path)
    assert (loaded.words, loaded.unknown, loaded.cut) == (tokenizer.words, 1, "latin")
    assert tokenizer.encode("").shape == (0,)
    assert tokenizers.WordTokenizer(["?", "é中"], 0).encode("É中 x").tolist() == [1, 0]
    for ids in ([-1], [6], [0.5]):
        with pytest.raises(ValueError, match=r"WordTokenizer\.decode"):
            tokenizer.decode(ids)
    with pytest.raises(ValueError, match="lone surrogate"):
        tokenizer.encode("\ud800")
