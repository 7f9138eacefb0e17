"""Byte pairs through the `tokenizers` library: what its files say, in time that grows with the text alone."""

from __future__ import annotations

import codecs
import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyformer import formats
from pyformer.formats.atomic import naming
from pyformer.terminal import heard, text_bar, ticking
from pyformer.token_checks import checked_ids, encode_text
from pyformer.tokenizer_settings import not_done

log = logging.getLogger(__name__)

FILE_NAME, SETTINGS_NAME, TEMPLATE_NAME = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
# Text goes to the library in pieces of about so many characters.
PIECE = 1 << 16
PIECES_AT_ONCE = 16
# The library moves all later letters of a word at every merge: longer words are cut where a vocabulary is learned.
LONGEST_WORD_BYTES = 256
# Tokens within so many characters of a piece's end may depend on the text after the piece.
MARGIN = 1 << 10
IDS_AT_ONCE = 1 << 12
MOST_IDS = 1 << 22

# A piece ends before white space that follows another character; white space is what the library and Python both call
# so.
_BEFORE_SPACE = re.compile(r"[\S\x1c-\x1f](?=[^\S\x1c-\x1f])")
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
# The parts of a regular expression that look at text before the match, or at where the text begins.
_LOOKS_BACK = re.compile(r"\(\?<|\\[bBAGK]|(?<!\[)\^")

_MODEL_SETTINGS = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")


def _opened(library_class: Any, text: str) -> Any:
    try:
        return library_class.from_str(text)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the Rust library derives from BaseException only
        raise ValueError(f"not a tokenizer of the tokenizers library: {error}") from None


def vocabulary_ids(content: Mapping[str, Any]) -> Collection[int]:
    """The ids of the vocabulary in a tokenizer.json.

    ValueError for one that is so high that the library takes memory for those below it.
    """
    vocabulary = content["model"].get("vocab")  # ids by token, or pairs of a token and its score
    ids: Collection[int] = range(len(vocabulary)) if isinstance(vocabulary, list) else ()
    if isinstance(vocabulary, dict):
        ids = vocabulary.values()
    highest = max((number for number in ids if isinstance(number, int)), default=0)
    if highest >= MOST_IDS:
        raise ValueError(f"expected ids below {MOST_IDS}, got {highest}")
    return ids


def _described(tokenizer: Any) -> dict[str, Any]:
    """A tokenizer's content as the library writes it, but of its model the settings only: the rest takes a while."""
    model = tokenizer.model
    tokenizer.model = tokenizers_library().models.BPE()
    try:
        content = json.loads(tokenizer.to_str())
    finally:
        tokenizer.model = model
    content["model"] = {"type": type(model).__name__, **{name: getattr(model, name, None) for name in _MODEL_SETTINGS}}
    return content


class BPETokenizer:
    """Byte-pair encoding by the `tokenizers` library (extra `[hf]`), saved in that library's format.

    Long texts are encoded piece by piece, cut only where that doesn't change the tokens, so that time and memory grow
    with the text alone, also without white space, and Ctrl-C is heard. That holds for byte-level tokenizers, GPT-2's
    and LLaMA 3's among them; other kinds get the whole text at once.

    Args:
        tokenizer: a `tokenizers.Tokenizer`; `train` and `from_json` make one. It is copied, without its truncation and
            padding: `encode` gives all of a text and nothing else, and without the dropout of its merges, so that it
            gives the same each time. A warning names them, and `save` keeps them.
        settings: the content of the `tokenizer_config.json` beside it, which `save` keeps. Where it says
            `add_bos_token` and the file's own template does otherwise, a warning names it and the template is followed,
            as in `transformers`. Whatever else it says that would change tokens or text and that the file does not do,
            such as `add_prefix_space` or special tokens of its own, a warning names, too, as it does keys not known.

    Attributes:
        special_ids: the ids of tokens that are no text, such as that of a start.

    Raises:
        ImportError: `train` or `from_json` without the extra `[hf]`.
        ValueError: the file is no tokenizer, or `train` gets no text or a vocab_size below 256.

    Source: Sennrich, Haddow, Birch 2016, "Neural machine translation of rare words with subword units".

    Example:
        >>> tokenizer = pf.tokenizers.BPETokenizer.train("low lower lowest " * 20, vocab_size=262)
        >>> ids = tokenizer.encode("lowest low")
        >>> len(ids) < len("lowest low"), tokenizer.decode(ids)
        (True, 'lowest low')
    """

    kind = "bpe"
    unit = "token"

    def __init__(self, tokenizer: Any, settings: dict[str, Any] | None = None) -> None:
        text = tokenizer.to_str()
        self._take(_opened(type(tokenizer), text), text, settings)

    def _take(
        self, tokenizer: Any, text: str, settings: dict[str, Any] | None, ids: Collection[int] | None = None
    ) -> None:
        """Begins with a tokenizer that is nobody else's, whose content is `text`; `ids` are those of its vocabulary."""
        self._tokenizer, self._json, self._settings = tokenizer, text, settings
        if ids is None:
            ids = tokenizer.get_vocab(with_added_tokens=False).values()
        if len(set(ids)) != len(ids):
            self._tokenizer = _opened(type(tokenizer), tokenizer.to_str())  # of tokens with one id it writes one
        content = _described(self._tokenizer)
        ignored = [f"{name} {json.dumps(content[name])}" for name in ("truncation", "padding") if content.get(name)]
        if ignored:
            log.warning("%s: encode() gives whole texts, without its %s", FILE_NAME, " and ".join(ignored))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        dropout = content["model"].pop("dropout", None)
        if dropout:
            log.warning("%s: encode() gives the same tokens each time, without its dropout %s", FILE_NAME, dropout)
            self._tokenizer.model.dropout = None
        self._start, self._end = self._read_template()
        self._warn_of_settings(content)
        self._tokenizer.post_processor = None  # it may make offsets leave out spaces
        added = content.get("added_tokens") or []
        self._vocab_size = max(*ids, *(token["id"] for token in added), -1, -1) + 1
        self.special_ids = frozenset(token["id"] for token in added if token.get("special"))
        self._cuts_words = _cuts_at_words(content)
        self._cuts_spaces = self._cuts_words and _cuts_at_spaces(content)
        self._byte_level = _decoder_kinds(content.get("decoder")) == ["ByteLevel"]
        self._byte_fallback = "ByteFallback" in _decoder_kinds(content.get("decoder"))
        self._mixes_bytes = not self._byte_level and "ByteLevel" in _decoder_kinds(content.get("decoder"))
        self._bytes: dict[int, bytes] = {}

    def _read_template(self) -> tuple[list[int], list[int]]:
        """The ids before and after a text."""
        encoded = self._tokenizer.encode("a")
        text = self._tokenizer.encode("a", add_special_tokens=False).ids
        start = next((i for i, special in enumerate(encoded.special_tokens_mask) if not special), len(encoded.ids))
        return encoded.ids[:start], encoded.ids[start + len(text) :]

    def _warn_of_settings(self, content: dict[str, Any]) -> None:
        """Names what `tokenizer_config.json` says otherwise: its own library follows the template, and so does this."""
        with naming(SETTINGS_NAME):
            others = not_done(self._settings or {}, content)
        if others:
            log.warning("%s: %s: not followed, as %s does otherwise", SETTINGS_NAME, ", ".join(others), FILE_NAME)
        for name, ids in (("add_bos_token", self._start), ("add_eos_token", self._end)):
            wanted = (self._settings or {}).get(name)
            if wanted is not None and bool(wanted) != bool(ids):
                log.warning("%s: %s is %s, which its %s does not do", SETTINGS_NAME, name, wanted, FILE_NAME)

    @classmethod
    def train(cls, text: str, vocab_size: int = 2048, *, progress: bool = False) -> BPETokenizer:
        """Learns a byte-level vocabulary of at most `vocab_size` tokens from `text`.

        Time grows with the text, whatever it holds: words of more than 256 bytes, as DNA or base64 is made of, are cut
        for the counting of pairs. With `progress` it draws a bar on stderr.

        ValueError if `vocab_size` is below 256 or `text` is empty; ImportError without `[hf]`.
        """
        if vocab_size < 256:
            raise ValueError(f"BPETokenizer.train: vocab_size must be at least 256, got {vocab_size}")
        if not text:
            raise ValueError("BPETokenizer.train: expected text, got none")
        encode_text("BPETokenizer.train", text, "utf-8")
        library = tokenizers_library()
        tokenizer = library.Tokenizer(library.models.BPE())
        byte_level = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        cut = library.pre_tokenizers.Split(library.Regex(f".{{{LONGEST_WORD_BYTES}}}"), "isolated")
        tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([byte_level, cut])
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        stopped = False
        with text_bar(progress, len(text), "reading for the vocabulary") as bar:

            def pieces() -> Iterator[str]:
                for piece in _pieces_at_spaces(text, 2 * PIECE):
                    if stopped:
                        raise KeyboardInterrupt
                    bar.update(len(piece))
                    yield piece
                bar.set_description_str("learning the vocabulary")

            try:
                heard(lambda: tokenizer.train_from_iterator(pieces(), trainer=trainer), ticking(bar))
            finally:
                stopped = True
        tokenizer.pre_tokenizer = byte_level
        return cls(tokenizer)

    @classmethod
    def from_json(cls, text: str, settings: dict[str, Any] | None = None) -> BPETokenizer:
        """Opens the content of a `tokenizer.json` of that library, and of the `tokenizer_config.json` beside it.

        ValueError if it is not one.
        """
        return cls.from_parsed(text, None, settings)

    @classmethod
    def from_parsed(cls, text: str, ids: Collection[int] | None, settings: dict[str, Any] | None) -> BPETokenizer:
        """`from_json` where the ids of the vocabulary are known: to ask the library for them takes a while."""
        opened = cls.__new__(cls)
        opened._take(_opened(tokenizers_library().Tokenizer, text), text, settings, ids)
        return opened

    @property
    def template(self) -> tuple[list[int], list[int]]:
        """The ids that come before and after a text with `special_tokens`."""
        return self._start, self._end

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that writes a conversation as one text, None if the files have none."""
        found = (self._settings or {}).get("chat_template")
        if isinstance(found, list):  # some by name
            found = next((t.get("template") for t in found if isinstance(t, dict) and t.get("name") == "default"), None)
        return found if isinstance(found, str) else None

    @property
    def named_tokens(self) -> dict[str, str]:
        """The tokens that the settings name, such as {"eos_token": "</s>"}."""
        found = {}
        for name, value in (self._settings or {}).items():
            text = value.get("content") if isinstance(value, dict) else value
            if name.endswith("_token") and isinstance(text, str):
                found[name] = text
        return found

    def token_id(self, token: str) -> int | None:
        """The id of a token by its text, None if there is none."""
        found = self._tokenizer.token_to_id(token)
        return None if found is None else int(found)

    @property
    def vocab_size(self) -> int:
        """One more than the highest id; there may be ids below it that stand for nothing."""
        return self._vocab_size

    def encode(self, text: str, *, special_tokens: bool = False, progress: bool = False) -> np.ndarray:
        """Returns int32 (n,); special tokens that stand in the text are found. ValueError for a lone surrogate.

        With `special_tokens` the tokens come with it that the files want before and after a text, such as a start. With
        `progress` it draws a bar on stderr.
        """
        encode_text("BPETokenizer.encode", text, "utf-8")
        parts = [self._start] if special_tokens else []
        with text_bar(progress, len(text), "encoding") as bar:
            for ids, characters in self._encoded(text, ticking(bar)):
                parts.append(ids)
                bar.update(characters)
        parts += [self._end] if special_tokens else []
        return np.concatenate([np.asarray(part, np.int32) for part in parts] or [np.empty(0, np.int32)])

    def _encoded(self, text: str, waiting: Any) -> Iterator[tuple[Any, int]]:
        """(ids, how many characters they are of), in order."""
        if not self._cuts_words:
            yield heard(lambda: self._tokenizer.encode(text, add_special_tokens=False).ids, waiting), len(text)
            return
        if not self._cuts_spaces:
            yield from self._encoded_in_turn(text)
            return
        short: list[str] = []
        for piece in _pieces_at_spaces(text):
            long = len(piece) > 2 * PIECE
            if not long:
                short.append(piece)
            if long or len(short) == PIECES_AT_ONCE:
                yield from self._encoded_together(short)
                short = []
            if long:
                yield from self._encoded_in_turn(piece)
        yield from self._encoded_together(short)

    def _encoded_together(self, pieces: list[str]) -> Iterator[tuple[Any, int]]:
        encodings = self._tokenizer.encode_batch(pieces, add_special_tokens=False) if pieces else []
        for piece, encoding in zip(pieces, encodings, strict=True):
            yield np.array(encoding.ids, np.int32), len(piece)

    def _encoded_in_turn(self, text: str) -> Iterator[tuple[Any, int]]:
        """Each piece begins where a token of the one before began.

        Between two words that is where a token begins in the whole text. Within a word longer than a piece it is where
        no merge would join the tokens on both sides: then none would across them either, since a merge that crossed
        would be a merge of two neighbours at some point.
        """
        begin, size = 0, PIECE
        before: _Piece | None = None
        while True:
            end = min(begin + size, len(text))
            encoding = self._tokenizer.encode(text[begin:end], add_special_tokens=False)
            cut = None if end == len(text) else self._cut(encoding, text, begin, end)
            if end < len(text) and cut is None:
                size *= 2
                continue
            if before is not None and before.last and not self._stand_apart(before, text, begin, encoding):
                begin, size, before = before.begin, 2 * (end - before.begin), None
                continue
            if before is not None:
                yield np.array(before.ids, np.int32), begin - before.begin
            if cut is None:
                yield np.array(encoding.ids, np.int32), end - begin
                return
            before = _Piece(encoding.ids[:cut], begin)
            if encoding.word_ids[cut] == encoding.word_ids[cut - 1]:
                first = next(i for i in range(cut - 1, -1, -1) if _is_between(encoding.offsets, i))
                before.last, before.last_begin = encoding.ids[first:cut], begin + encoding.offsets[first][0]
            begin, size = begin + encoding.offsets[cut][0], PIECE

    def _cut(self, encoding: Any, text: str, begin: int, end: int) -> int | None:
        """The number of the token before which a piece may be cut: the last one between words, or else within one."""
        offsets, words = encoding.offsets, encoding.word_ids
        within = None
        for i in range(len(offsets) - 1, 0, -1):
            at = offsets[i][0]
            if begin + at > end - MARGIN or not _is_between(offsets, i):
                continue
            if words[i] != words[i - 1] and not text[begin + at - 1].isspace():
                return i
            within = within or i
            if end - begin - at > PIECE // 2:  # a word that long is worth no longer search
                break
        return within

    def _stand_apart(self, before: _Piece, text: str, begin: int, after: Any) -> bool:
        """Whether the last token before `begin` and the first one after it stay apart where their text is encoded.

        Tokens that are parts of a character go together.
        """
        count = next((i for i in range(1, len(after.ids)) if _is_between(after.offsets, i)), len(after.ids))
        both = text[before.last_begin : begin + after.offsets[count - 1][1]]
        return self._tokenizer.encode(both, add_special_tokens=False).ids == before.last + after.ids[:count]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; bytes that are not UTF-8 become U+FFFD.

        ValueError for an unknown id.
        """
        array = checked_ids("BPETokenizer.decode", ids, self.vocab_size)
        decoder = self._new_decoder()
        texts = [decoder.take(array[i : i + IDS_AT_ONCE].tolist()) for i in range(0, len(array), IDS_AT_ONCE)]
        return "".join(texts) + decoder.finish()

    def stream_decoder(self) -> _ByteLevelDecoder | _WindowDecoder:
        """Returns a decoder that emits text once its last character is complete."""
        return self._new_decoder()

    def _new_decoder(self) -> _ByteLevelDecoder | _WindowDecoder:
        return _ByteLevelDecoder(self) if self._byte_level else _WindowDecoder(self)

    def bytes_of(self, token: int) -> bytes:
        """What a byte-level token stands for."""
        if token not in self._bytes:
            text = self._tokenizer.id_to_token(token) or ""
            try:
                self._bytes[token] = bytes(_BYTE_OF[letter] for letter in text)
            except KeyError:  # an added token, which stands for itself
                self._bytes[token] = text.encode("utf-8", errors="replace")
        return self._bytes[token]

    def text_of(self, ids: list[int]) -> str:
        """What the library makes of ids, all at once."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def is_open(self, ids: list[int], text: str) -> bool:
        """Whether a later token may change the end of what `ids` stand for, which is `text`."""
        if self._byte_fallback and _BYTE_TOKEN.fullmatch(self._tokenizer.id_to_token(ids[-1]) or ""):
            return True
        return self._mixes_bytes and text.endswith("\ufffd")

    def to_json(self) -> tuple[str, dict[str, Any]]:
        """The contents of `tokenizer.json`, as text, and of `tokenizer_config.json`."""
        return self._json, dict(self._settings or {})

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` and, if it came with one, `tokenizer_config.json`; opened ones as they were.

        What another tokenizer left there of its settings and its chat template is removed: it would be followed.
        """
        settings = Path(folder) / SETTINGS_NAME
        formats.write_bytes_atomic(Path(folder) / FILE_NAME, self._json.encode("utf-8"))
        if self._settings is not None:
            formats.write_json_atomic(settings, self._settings)
        else:
            settings.unlink(missing_ok=True)
        (Path(folder) / TEMPLATE_NAME).unlink(missing_ok=True)  # the settings hold the template


@dataclass
class _Piece:
    """Tokens of a text from `begin` on; of one cut within a word also its last tokens, as many as make a character."""

    ids: list[int]
    begin: int
    last: list[int] = field(default_factory=list)
    last_begin: int = 0


def _is_between(offsets: list[tuple[int, int]], i: int) -> bool:
    """Whether token i begins with a character that no token before it has a part of."""
    return i == 0 or offsets[i - 1][1] <= offsets[i][0]


class _ByteLevelDecoder:
    """Tokens are bytes, and bytes become characters as they get complete."""

    def __init__(self, tokenizer: BPETokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        checked_ids("BPETokenizer.decode", [token], self._tokenizer.vocab_size)
        return self.take([token])

    def take(self, tokens: list[int]) -> str:
        return self._decoder.decode(b"".join(map(self._tokenizer.bytes_of, tokens)))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _WindowDecoder:
    """Decodes what came with what came before it, since a token's text may depend on the one before."""

    def __init__(self, tokenizer: BPETokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        checked_ids("BPETokenizer.decode", [token], self._tokenizer.vocab_size)
        return self.take([token])

    def take(self, tokens: list[int]) -> str:
        self._pending += tokens
        text = "" if self._tokenizer.is_open(self._pending, "") else self._pending_text()
        if not text or self._tokenizer.is_open(self._pending, text):
            return ""
        self._before, self._pending = self._pending[-IDS_AT_ONCE:], []
        return text

    def finish(self) -> str:
        text = self._pending_text() if self._pending else ""
        self._before, self._pending = [*self._before, *self._pending][-IDS_AT_ONCE:], []
        return text

    def _pending_text(self) -> str:
        before = self._tokenizer.text_of(self._before)
        return self._tokenizer.text_of(self._before + self._pending)[len(before) :]


def tokenizers_library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ImportError("BPETokenizer: needs the tokenizers library: pip install 'pyformer[hf]'") from None
    return tokenizers


def _byte_of_letter() -> dict[str, int]:
    """The letters that stand for bytes in byte-level tokens: printable ones for themselves, 256 and on for the rest."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {**{chr(byte): byte for byte in printable}, **{chr(256 + i): byte for i, byte in enumerate(others)}}


_BYTE_OF = _byte_of_letter()


def _decoder_kinds(decoder: Any) -> list[str]:
    """The types of a decoder in the file and of those that it is made of."""
    if not isinstance(decoder, dict):
        return []
    if decoder.get("type") == "Sequence":
        return [kind for part in decoder.get("decoders", []) for kind in _decoder_kinds(part)]
    return [str(decoder.get("type"))]


def _cuts_at_words(content: dict[str, Any]) -> bool:
    """Whether a text may be cut between words, and within long ones, as `_encoded_in_turn` does."""
    model, before = content.get("model") or {}, content.get("pre_tokenizer") or {}
    steps = before.get("pretokenizers", []) if before.get("type") == "Sequence" else [before]
    plain_model = model.get("type") == "BPE" and not any(model.get(name) for name in _MODEL_SETTINGS)
    return (
        plain_model
        and not content.get("normalizer")
        and bool(steps)
        and steps[-1].get("type") == "ByteLevel"
        and not steps[-1].get("add_prefix_space")
        and all(_is_plain_split(step) for step in steps[:-1])
        and not any(_reaches_out(token) for token in content.get("added_tokens") or [])
    )


def _is_plain_split(step: dict[str, Any]) -> bool:
    pattern = step.get("pattern") or {}
    looks_back = _LOOKS_BACK.search(pattern.get("Regex") or "")
    return step.get("type") == "Split" and step.get("behavior") == "Isolated" and not looks_back


def _reaches_out(token: dict[str, Any]) -> bool:
    """Whether an added token is found by more than its own few characters."""
    return any(token.get(name) for name in ("lstrip", "rstrip", "single_word")) or len(token["content"]) > MARGIN // 2


def _cuts_at_spaces(content: dict[str, Any]) -> bool:
    """Whether a cut before white space never changes the tokens: long texts then go in parallel."""
    pre_tokenizer, added = content.get("pre_tokenizer") or {}, content.get("added_tokens") or []
    return (
        pre_tokenizer.get("type") == "ByteLevel"
        and bool(pre_tokenizer.get("use_regex", True))
        and not any(re.search(r"\s", token["content"]) for token in added)
    )


def _pieces_at_spaces(text: str, longest: int | None = None) -> Iterator[str]:
    """Pieces of about PIECE characters, cut before white space that follows something else, or else at `longest`."""
    start = 0
    while start < len(text):
        end = min(start + PIECE, len(text))
        if end < len(text):
            limit = len(text) if longest is None else min(start + longest, len(text))
            found = _BEFORE_SPACE.search(text, end - 1, limit)
            end = found.end() if found else limit
        yield text[start:end]
        start = end
