"""Byte pairs: files of the tokenizers library are followed, long texts take time that grows with them alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from pyformer import bpe, tokenizers

library = pytest.importorskip("tokenizers")

CORPUS = "The cat, the dog and the bird's nest. 'twas 12345 nights...\n" * 40
# What cl100k's and LLaMA 3's tokenizers cut by.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def trained(kind):
    """A library tokenizer of one of the kinds that are found in files."""
    models, before, decoders = library.models, library.pre_tokenizers, library.decoders
    tokenizer = library.Tokenizer(models.BPE(byte_fallback=kind == "sentencepiece"))
    options = {"vocab_size": 420, "show_progress": False}
    if kind == "sentencepiece":
        tokenizer.pre_tokenizer = before.Metaspace()
        fallback = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(fallback)
        special = ["<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    elif kind == "wordpiece":
        tokenizer = library.Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = library.normalizers.BertNormalizer()
        tokenizer.pre_tokenizer, tokenizer.decoder = before.BertPreTokenizer(), decoders.WordPiece()
        special = ["[UNK]", "[CLS]", "[SEP]"]
        tokenizer.train_from_iterator([CORPUS], library.trainers.WordPieceTrainer(special_tokens=special, **options))
        template = library.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        tokenizer.post_processor = template
        return tokenizer
    else:
        level = before.ByteLevel(add_prefix_space=False, use_regex=kind != "split")
        cut = [before.Split(library.Regex(SPLIT), "isolated")] if kind == "split" else []
        tokenizer.pre_tokenizer = before.Sequence([*cut, level]) if cut else level
        tokenizer.decoder, special = decoders.ByteLevel(), ["<s>", "</s>"]
        options["initial_alphabet"] = sorted(before.ByteLevel.alphabet())
    parts = [CORPUS, "ACGTTGCA" * 40, "aaaaaaaa" * 9, " " * 60, "!\x1c" * 60, ("x\n" + " " * 4 + "\n") * 60]
    tokenizer.train_from_iterator(parts, library.trainers.BpeTrainer(special_tokens=special, **options))
    return tokenizer


KINDS = ("byte-level", "split", "sentencepiece", "wordpiece")
LEVELS = ("byte-level", "split")


def texts(rng, length):
    """Texts of every sort that cuts might go wrong in."""
    letters = ["ACGT", "a", " ", "é漢😀", "ab ", "'s'l", "1", "\n \t", "\x1c!a", "aA1!' \n", "\ufffd"]
    yield CORPUS * (length // len(CORPUS) + 1)
    for some in letters:
        yield "".join(rng.choice(list(some), length))
    yield ("x" * 30 + "\n" + " " * 90 + "\n") * (length // 122)
    for _ in range(3):  # runs of one sort of letters after the other
        runs = ("".join(rng.choice(list(some), rng.integers(1, length // 4))) for some in rng.permutation(letters))
        yield "".join(runs) + "<s>"


@pytest.mark.parametrize("kind", LEVELS)
def test_pieces_give_the_tokens_of_the_whole(kind, monkeypatch, rng):
    whole = trained(kind)
    ours = bpe.BPETokenizer(whole)
    assert ours._cuts_words
    monkeypatch.setattr(bpe, "PIECE", 200)
    monkeypatch.setattr(bpe, "MARGIN", 40)
    for text in texts(rng, 2000):
        assert ours.encode(text).tolist() == whole.encode(text, add_special_tokens=False).ids, repr(text[:40])


@pytest.mark.parametrize("kind", LEVELS)
def test_cuts_within_a_word_that_would_change_tokens_are_not_made(kind, monkeypatch, rng):
    """Without a margin the tokens at a piece's end are often others than in the whole."""
    whole = trained(kind)
    ours = bpe.BPETokenizer(whole)
    monkeypatch.setattr(bpe, "PIECE", 20)
    monkeypatch.setattr(bpe, "MARGIN", 0)
    for letters in ("ACGT", "a", "theca", "é漢"):
        text = "".join(rng.choice(list(letters), 3000))
        assert ours.encode(text).tolist() == whole.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_is_that_of_the_library_at_once_and_in_a_stream(kind, monkeypatch, rng):
    whole = trained(kind)
    ours = bpe.BPETokenizer(whole)
    monkeypatch.setattr(bpe, "IDS_AT_ONCE", 7)
    sequences = [whole.encode(text, add_special_tokens=False).ids for text in texts(rng, 300)]
    sequences += [rng.integers(0, ours.vocab_size, 200).tolist() for _ in range(20)]
    for ids in sequences:
        wanted = whole.decode(ids, skip_special_tokens=False)
        assert ours.decode(ids) == wanted
        decoder = ours.stream_decoder()
        assert "".join(decoder.push(token) for token in ids) + decoder.finish() == wanted


@pytest.mark.parametrize("count", [1, 5, 6, 12, 40])
def test_replacement_characters_of_the_text_stream_one_by_one(count):
    tokenizer = tokenizers.BPETokenizer.train("the cat and the dog. " * 50, 290)
    decoder = tokenizer.stream_decoder()
    texts = [decoder.push(int(token)) for token in tokenizer.encode("\ufffd" * count + "a")]
    assert "".join(texts) == "\ufffd" * count + "a"
    assert decoder.finish() == ""
    assert [text for text in texts if text] == ["\ufffd"] * count + ["a"]  # as soon as each is complete


def opened(folder, whole, settings=None, **changes):
    content = {**json.loads(whole.to_str()), **changes}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizers.load(folder)


CUT = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
PAD = {
    "strategy": {"Fixed": 16},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "!",
}


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_and_padding_in_the_file_are_named_and_kept_but_not_done(kind, tmp_path, caplog):
    whole = trained(kind)
    ours = opened(tmp_path, whole, truncation=CUT, padding=PAD)
    assert "truncation" in caplog.text
    assert "padding" in caplog.text
    for text in ("the cat", CORPUS):
        assert ours.encode(text).tolist() == whole.encode(text, add_special_tokens=False).ids
    (tmp_path / "again").mkdir()
    ours.save(tmp_path / "again")
    kept = json.loads((tmp_path / "again" / "tokenizer.json").read_text())
    assert (kept["truncation"], kept["padding"]) == (CUT, PAD)


def test_a_tokenizer_that_is_given_stays_as_it_is():
    whole = trained("byte-level")
    whole.enable_truncation(4)
    assert len(bpe.BPETokenizer(whole).encode(CORPUS)) > 4
    assert len(whole.encode(CORPUS).ids) == 4


def test_a_file_that_says_nothing_more_warns_of_nothing(tmp_path, caplog):
    opened(tmp_path, trained("byte-level"))
    assert caplog.text == ""


TEMPLATE = {"single": "<s> $A", "special_tokens": [("<s>", 0)]}
BOTH = {"single": "<s> $A </s>", "special_tokens": [("<s>", 0), ("</s>", 1)]}
ADDED = {"add_bos_token": True, "bos_token": "<s>", "add_eos_token": False, "eos_token": "</s>"}


@pytest.mark.parametrize(
    ("template", "settings", "start", "end", "warned"),
    [
        (None, None, [], [], False),
        (TEMPLATE, None, [0], [], False),
        (BOTH, {}, [0], [1], False),
        (None, ADDED, [], [], True),
        (TEMPLATE, ADDED, [0], [], False),
        (BOTH, ADDED, [0], [1], True),
        (TEMPLATE, {"add_bos_token": False, "bos_token": "<s>"}, [0], [], True),
    ],
)
def test_tokens_around_a_text_are_what_transformers_adds(template, settings, start, end, warned, tmp_path, caplog):
    whole = trained("byte-level")
    if template:
        whole.post_processor = library.processors.TemplateProcessing(**template)
    ours = opened(tmp_path, whole, settings)
    assert ("tokenizer_config.json: add_" in caplog.text) == warned
    plain = ours.encode("the cat").tolist()
    assert plain == whole.encode("the cat", add_special_tokens=False).ids
    assert ours.encode("the cat", special_tokens=True).tolist() == [*start, *plain, *end]
    assert ours.special_ids == {0, 1}
    transformers = pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.encode("the cat", special_tokens=True).tolist() == theirs("the cat")["input_ids"]


@pytest.mark.parametrize(
    "settings",
    [
        {"add_prefix_space": True},
        {"do_lower_case": True},
        {"strip_accents": True},
        {"split_special_tokens": True},
        {"clean_up_tokenization_spaces": True},
        {"additional_special_tokens": ["<s>", "<q>"]},
        {"extra_special_tokens": {"image_token": "<q>"}},
        {"unk_token": "<q>"},
        {"mask_token": {"content": "<q>", "lstrip": True}},
        {"added_tokens_decoder": {"999": {"content": "<q>", "special": True}}},
        {"foo": 1},
    ],
    ids=str,
)
def test_settings_that_the_file_does_not_do_are_named(settings, tmp_path, caplog):
    opened(tmp_path, trained("byte-level"), settings)
    (name,) = settings
    assert f"tokenizer_config.json: {name} " in caplog.text
    assert ("<q>" in str(settings)) == ('"<q>"' in caplog.text)
    assert '"<s>"' not in caplog.text


def test_settings_that_the_file_does_are_not_named(tmp_path, caplog):
    tokens = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None}
    tokens["added_tokens_decoder"] = {"0": {"content": "<s>"}, "1": {"content": "</s>"}}
    plain = {
        "add_prefix_space": False,
        "do_lower_case": False,
        "model_max_length": 8,
        "tokenizer_class": "GPT2Tokenizer",
    }
    opened(tmp_path, trained("byte-level"), {**tokens, **plain})
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
    content = json.loads(trained("byte-level").to_str())
    content["pre_tokenizer"]["add_prefix_space"] = True
    said = {"do_lower_case": True, "tokenize_chinese_chars": True, "add_prefix_space": True}
    opened(
        tmp_path,
        trained("byte-level"),
        said,
        normalizer={**bert, "strip_accents": None},
        pre_tokenizer=content["pre_tokenizer"],
    )
    assert caplog.text == ""


def test_dropout_of_merges_is_named_and_kept_but_not_done(tmp_path, caplog):
    whole = trained("byte-level")
    model = {**json.loads(whole.to_str())["model"], "dropout": 0.5}
    ours = opened(tmp_path, whole, model=model)
    assert "dropout 0.5" in caplog.text
    assert ours.encode(CORPUS).tolist() == whole.encode(CORPUS, add_special_tokens=False).ids
    (tmp_path / "again").mkdir()
    ours.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "tokenizer.json").read_text())["model"]["dropout"] == 0.5


def test_settings_beside_a_tokenizer_are_kept(tmp_path):
    settings = {"add_bos_token": True, "bos_token": "<s>", "chat_template": "{{ messages }}"}
    ours = opened(tmp_path, trained("byte-level"), settings)
    (tmp_path / "again").mkdir()
    ours.save(tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert json.loads((tmp_path / "again" / name).read_text()) == json.loads((tmp_path / name).read_text())


@pytest.mark.parametrize("settings", [None, {"bos_token": "<s>"}, {"chat_template": "own"}])
def test_settings_of_another_tokenizer_are_not_left_where_one_is_saved(settings, tmp_path):
    opened(tmp_path, trained("byte-level"), {"eos_token": "a", "chat_template": "old"})
    (tmp_path / "chat_template.jinja").write_text("older")
    tokenizers.BPETokenizer(trained("byte-level"), settings).save(tmp_path)
    again = tokenizers.load(tmp_path)
    assert again.chat_template == (settings or {}).get("chat_template")
    assert again.to_json()[1] == (settings or {})


def test_ids_with_gaps_between_them_are_known(tmp_path):
    whole = trained("byte-level")
    content = json.loads(whole.to_str())
    highest = max(content["model"]["vocab"].values())
    content["model"]["vocab"]["spare"] = highest + 10
    ours = opened(tmp_path, whole, model=content["model"])
    assert ours.vocab_size == highest + 11
    assert ours.decode([highest + 10, highest + 3]) == "spare"


@pytest.mark.parametrize(
    "content",
    [{"type": "byte", "version": 2}, {"type": "char", "version": 1, "characters": "ab", "lowercase": True}],
)
def test_own_files_that_say_more_than_is_known_are_refused(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="version"):
        tokenizers.load(tmp_path)


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize("letters", ["ACGT", "a", " ", "é"])
def test_time_grows_with_the_text_alone(letters, rng):
    """Where it grows with its square, four times the text takes sixteen times as long."""
    text = "".join(rng.choice(list(letters), 200_000))
    tokenizers.BPETokenizer.train(text[:1000], 400)  # what the first call does once
    short = seconds(lambda: tokenizers.BPETokenizer.train(text[:50_000], 400))
    long = seconds(lambda: tokenizers.BPETokenizer.train(text, 400))
    assert long < 8 * short + 0.5
    tokenizer = tokenizers.BPETokenizer.train(text[:10_000], 400)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    long = seconds(lambda: tokenizer.decode(tokenizer.encode(text * 4)))
    assert long < 8 * seconds(lambda: tokenizer.decode(tokenizer.encode(text))) + 0.5


def test_short_words_give_the_vocabulary_of_the_library():
    whole = library.Tokenizer(library.models.BPE())
    whole.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    whole.train_from_iterator(
        [CORPUS], library.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    ours = tokenizers.BPETokenizer.train(CORPUS, 400)
    assert ours._tokenizer.get_vocab() == whole.get_vocab()
    assert json.loads(ours._json)["pre_tokenizer"]["type"] == "ByteLevel"


# Sends itself a signal after two seconds of processor time, the system's counted in, as `process_time` counts it.
SLOW = """
import random, signal, sys, time
from pyformer import tokenizers
text = "".join(random.choices("ACGT", k={length}))
signal.signal(signal.SIGPROF, signal.default_int_handler)
signal.setitimer(signal.ITIMER_PROF, 2.0)
start = time.process_time()
try:
    {work}
    print("done before")
except KeyboardInterrupt:
    print(time.process_time() - start - 2.0)
"""


@pytest.mark.parametrize(
    ("length", "work"),
    [
        (4_000_000, "tokenizers.BPETokenizer.train(text, 5000)"),
        (1_000_000, "tokenizers.BPETokenizer.train('ab', 256).encode(text * 100)"),
        (1_000_000, "tokenizers.WordTokenizer(['a'], 0, 'latin').encode(text.replace('A', ' ') * 100)"),
    ],
)
def test_ctrl_c_is_heard_within_a_second(length, work):
    code = SLOW.format(length=length, work=work)
    late = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(late) < 1.0


@pytest.mark.parametrize("kind", [*KINDS, "unigram"])
def test_a_tokenizer_is_described_as_the_library_writes_it(kind):
    whole = (
        library.Tokenizer(library.models.Unigram([("a", -1.0), ("a", -2.0), ("b", -3.0)]))
        if kind == "unigram"
        else trained(kind)
    )
    written = json.loads(whole.to_str())
    described = bpe._described(whole)
    model = described.pop("model")
    assert described == {name: value for name, value in written.items() if name != "model"}
    for name in ("type", *bpe._MODEL_SETTINGS):  # of some models the library does not show what is False
        assert (model[name] or None) == (written["model"].get(name) or None)
    assert json.loads(whole.to_str()) == written
    assert tokenizers.BPETokenizer(whole).vocab_size == whole.get_vocab_size()


ENCODES = """
import sys
from pyformer import tokenizers
tokenizer = tokenizers.load(sys.argv[1])
assert len(tokenizer.encode("a few words, and some more"))
assert "tqdm" not in sys.modules
"""


def test_what_shows_no_bar_imports_none(tmp_path):
    tokenizers.BPETokenizer(trained("byte-level")).save(tmp_path)
    subprocess.run([sys.executable, "-c", ENCODES, str(tmp_path)], check=True)


def test_progress_is_shown(capsys):
    text = "a word " * 30_000
    tokenizer = tokenizers.BPETokenizer.train(text, 300, progress=True)
    assert "learning the vocabulary" in capsys.readouterr().err
    tokenizer.encode(text, progress=True)
    assert "encoding" in capsys.readouterr().err
    tokenizer.encode(text)
    assert capsys.readouterr().err == ""
