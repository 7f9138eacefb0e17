"""Text to token ids and back: bytes, characters, words, and byte pairs through the `tokenizers` library.

Every tokenizer has `vocab_size`, `encode(text)` -> int32 array (n,), `decode(ids)` -> str,
`stream_decoder()` for text that arrives token by token, and `save(folder)`. `load(folder)` opens
whichever kind was saved.
"""

from __future__ import annotations

import codecs
import json
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyformer import formats
from pyformer.bpe import FILE_NAME, SETTINGS_NAME, TEMPLATE_NAME, BPETokenizer, vocabulary_ids
from pyformer.formats.atomic import naming
from pyformer.formats.folder import gguf_file
from pyformer.token_checks import checked_ids, encode_text
from pyformer.tokenizer_settings import named_tokens, special_tokens

log = logging.getLogger(__name__)

# Which older versions of Hugging Face's libraries wrote beside a tokenizer.json.
TOKEN_FILES = ("special_tokens_map.json", "added_tokens.json")
MAX_FILE_BYTES = 1 << 28
MAX_TEMPLATE_BYTES = 1 << 20
PIECE = 1 << 20  # of what is done at once, between two looks for Ctrl-C


__all__ = [
    "FILE_NAME",
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "StreamDecoder",
    "Tokenizer",
    "WordTokenizer",
    "load",
]


class StreamDecoder(Protocol):
    """Decodes one stream of tokens; text is held back until its characters are complete.

    Raises:
        ValueError: an id is outside the vocabulary.

    Example:
        >>> decoder = pf.tokenizers.ByteTokenizer().stream_decoder()
        >>> [decoder.push(token) for token in "é!".encode()], decoder.finish()
        (['', 'é', '!'], '')
    """

    def push(self, token: int) -> str:
        """Returns the text that `token` completes, possibly empty."""

    def finish(self) -> str:
        """Returns what was held back, with U+FFFD where a character never became complete."""


class Tokenizer(Protocol):
    """What training and generation need from a tokenizer; the classes of this module have it.

    Attributes:
        kind: the type in the saved file, such as "char".
        unit: what a token is called, such as "character".

    Raises:
        TypeError: it is instantiated: a protocol is for type checkers.

    Example:
        >>> def count(tokenizer: pf.tokenizers.Tokenizer, text: str) -> int:
        ...     return len(tokenizer.encode(text))
        >>> count(pf.tokenizers.ByteTokenizer(), "word")
        4
    """

    kind: str
    unit: str

    @property
    def vocab_size(self) -> int:
        """How many tokens there are; ids are below it."""

    def encode(self, text: str) -> np.ndarray:
        """The ids of a text, int32 (n,)."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids (n,)."""

    def stream_decoder(self) -> StreamDecoder:
        """A decoder for text that arrives token by token."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` into a folder."""


class ByteTokenizer:
    """UTF-8 bytes as tokens: 256 of them, and any text can be encoded.

    Raises:
        ValueError: text with a lone surrogate, or an id above 255.

    Example:
        >>> tokenizer = pf.tokenizers.ByteTokenizer()
        >>> tokenizer.encode("né"), tokenizer.decode([110, 195, 169])
        (array([110, 195, 169], dtype=int32), 'né')
    """

    kind = "byte"
    unit = "byte"
    vocab_size = 256

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 (n,), n the length of `text` in UTF-8. ValueError for a lone surrogate."""
        data = encode_text("ByteTokenizer.encode", text, "utf-8")
        return np.frombuffer(data, dtype=np.uint8).astype(np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; bytes that are not UTF-8 become U+FFFD.

        ValueError for an id outside 0..255.
        """
        array = checked_ids("ByteTokenizer.decode", ids, self.vocab_size)
        return array.astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def stream_decoder(self) -> StreamDecoder:
        """Returns a decoder that emits a character once all its bytes have come."""
        return _ByteStreamDecoder()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` into `folder`."""
        formats.write_json_atomic(Path(folder) / FILE_NAME, {"type": "byte", "version": 1})


class CharTokenizer:
    """Characters as tokens, numbered in the order given; `train` takes those of a text in code point order.

    Args:
        characters: all there are, none twice.

    Raises:
        ValueError: characters are none or one is there twice; later, text or ids outside the vocabulary.
        TypeError: characters are no str.

    Example:
        >>> tokenizer = pf.tokenizers.CharTokenizer.train("banana")
        >>> tokenizer.characters, tokenizer.encode("nab"), tokenizer.decode([0, 2])
        ('abn', array([2, 0, 1], dtype=int32), 'an')
        >>> tokenizer.decode([3])
        Traceback (most recent call last):
            ...
        ValueError: CharTokenizer.decode: id 3 is outside 0..2
    """

    kind = "char"
    unit = "character"

    def __init__(self, characters: str) -> None:
        codes = _code_points("CharTokenizer", characters)
        if not codes.size:
            raise ValueError("CharTokenizer: expected at least one character, got none")
        if np.unique(codes).size != codes.size:
            raise ValueError("CharTokenizer: expected distinct characters, got one twice")
        self.characters = characters
        self._codes = codes
        self._id_of_code = np.full(int(codes.max()) + 1, -1, dtype=np.int32)
        self._id_of_code[codes] = np.arange(codes.size, dtype=np.int32)

    @classmethod
    def train(cls, text: str) -> CharTokenizer:
        """Returns a tokenizer of the characters that `text` uses. ValueError if it is empty."""
        seen: set[str] = set()
        for start in range(0, len(text), PIECE):
            seen.update(text[start : start + PIECE])
        return cls("".join(sorted(seen)))

    @property
    def vocab_size(self) -> int:
        """How many characters there are."""
        return int(self._codes.size)

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 (len(text),). ValueError names the first character not in the vocabulary."""
        if not isinstance(text, str):
            raise TypeError(f"CharTokenizer.encode: expected str, got {type(text).__name__}")
        ids = np.empty(len(text), np.int32)
        for start in range(0, len(text), PIECE):
            self._encode_piece(text[start : start + PIECE], start, ids[start : start + PIECE])
        return ids

    def _encode_piece(self, piece: str, start: int, ids: np.ndarray) -> None:
        codes = _code_points("CharTokenizer.encode", piece, start)
        size = self._id_of_code.size
        ids[:] = self._id_of_code[np.minimum(codes, size - 1)]
        unknown = (ids < 0) | (codes >= size)
        if unknown.any():
            position = int(unknown.argmax())
            raise ValueError(
                f"CharTokenizer.encode: character {piece[position]!r} (U+{ord(piece[position]):04X}) at "
                f"position {start + position} is not in the vocabulary of {self.vocab_size} characters"
            )

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`. ValueError for an id outside the vocabulary."""
        array = checked_ids("CharTokenizer.decode", ids, self.vocab_size)
        return self._codes[array].astype("<u4").tobytes().decode("utf-32-le")

    def stream_decoder(self) -> StreamDecoder:
        """Returns a decoder that emits one character a token."""
        return _CharStreamDecoder(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` into `folder`."""
        content = {"type": "char", "version": 1, "characters": self.characters}
        formats.write_json_atomic(Path(folder) / FILE_NAME, content)


# How WordTokenizer cuts text in lower case: Latin letters and digits with what follows an apostrophe, or letters of any
# script; every other sign is a word of its own.
WORD_PATTERNS = {"latin": r"[a-z0-9]+(?:'[a-z]+)?|[^\sa-z0-9]", "unicode": r"[\w']+|[^\w\s]"}


class WordTokenizer:
    """Lower-case words and signs as tokens, for models that classify: all unknown words are one token.

    Args:
        words: the vocabulary by id; names for tokens that no text has, such as "<pad>", may stand among them.
        unknown: the id that words outside the vocabulary get.
        cut: how text is cut: "latin" takes Latin letters and digits with what follows an apostrophe, "unicode"
            letters of any script; every other sign is a word of its own.

    Raises:
        ValueError: two words are equal or one is no text, `unknown` is no id, or `cut` is not known.

    Example:
        >>> tokenizer = pf.tokenizers.WordTokenizer(["<unknown>", "a", "good", "film"], unknown=0)
        >>> tokenizer.encode("A GOOD bad film"), tokenizer.decode([2, 3])
        (array([1, 2, 0, 3], dtype=int32), 'good film')
    """

    kind = "word"
    unit = "word"

    def __init__(self, words: Sequence[str], unknown: int, cut: str = "unicode") -> None:
        self.words, self.unknown, self.cut = list(words), unknown, cut
        if not all(isinstance(word, str) for word in self.words) or len(set(self.words)) != len(self.words):
            raise ValueError("WordTokenizer: expected different words")
        encode_text("WordTokenizer", "".join(self.words), "utf-8")
        if isinstance(unknown, bool) or not isinstance(unknown, int) or not 0 <= unknown < len(self.words):
            raise ValueError(f"WordTokenizer: unknown must be an id below {len(self.words)}, got {unknown!r}")
        if cut not in WORD_PATTERNS:
            raise ValueError(f"WordTokenizer: cut must be one of {', '.join(WORD_PATTERNS)}, got {cut!r}")
        self._ids = {word: number for number, word in enumerate(self.words)}
        self._pattern = re.compile(WORD_PATTERNS[cut])

    @property
    def vocab_size(self) -> int:
        """How many words there are."""
        return len(self.words)

    def split(self, text: str) -> list[str]:
        """The words and signs of a text, in order."""
        return [match.group() for match in self._pattern.finditer(text.lower())]

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 (n,), n the number of words and signs. ValueError for a lone surrogate."""
        encode_text("WordTokenizer.encode", text, "utf-8")
        # One by one, so that Ctrl-C is heard between two.
        words = (match.group() for match in self._pattern.finditer(text.lower()))
        return np.fromiter((self._ids.get(word, self.unknown) for word in words), np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the words of `ids` with spaces between them. ValueError for an id outside the vocabulary."""
        array = checked_ids("WordTokenizer.decode", ids, self.vocab_size)
        return " ".join(self.words[number] for number in array)

    def stream_decoder(self) -> StreamDecoder:
        """Returns a decoder that emits one word a token, with a space before all but the first."""
        return _WordStreamDecoder(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` into `folder`."""
        content = {"type": "word", "version": 1, "words": self.words, "unknown": self.unknown, "cut": self.cut}
        formats.write_json_atomic(Path(folder) / FILE_NAME, content)


def load(folder: str | os.PathLike[str]) -> Tokenizer:
    """Opens the tokenizer saved in a folder, whichever kind it is; a `tokenizer.json` of Hugging Face's, or that of a
    GGUF file, too. `pf.load_tokenizer` is this function.

    Args:
        folder: where `save` wrote `tokenizer.json`, or the path of a GGUF file. The `tokenizer_config.json` and
            `chat_template.jinja` beside one of Hugging Face's are read, too: they may say that texts begin with a token
            (`BPETokenizer.encode` with `special_tokens`), and how a conversation is written (`pf.chat`).

    Returns:
        A Tokenizer.

    Raises:
        FileNotFoundError: there is no `tokenizer.json`.
        ValueError: the file is damaged or of an unknown kind, which the message names.
        ImportError: it needs the extra `[hf]`.

    Example:
        >>> pf.tokenizers.CharTokenizer("abc").save(folder)
        >>> pf.tokenizers.load(folder).encode("cab")
        array([2, 0, 1], dtype=int32)
    """
    if Path(folder).is_file():
        return _from_gguf(Path(folder))
    path = Path(folder) / FILE_NAME
    content = formats.read_json(path, MAX_FILE_BYTES)
    try:
        return _from_content(path, content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a usable tokenizer file: {error}") from None


def _from_gguf(path: Path) -> Tokenizer:
    from pyformer.formats.gguf.tokenizer import checked_merges, read_tokenizer

    file = gguf_file(path)
    text, ids, settings = read_tokenizer(file)
    try:
        return BPETokenizer.from_parsed(text, ids, settings)
    except (ValueError, RecursionError) as error:
        if file.metadata.text("tokenizer.ggml.model") == "gpt2" and "tokenizer.huggingface.json" not in file.metadata:
            checked_merges(file, set(file.metadata.texts("tokenizer.ggml.tokens")))
        raise ValueError(f"{path}: not a usable tokenizer: {error}") from None


# What the files of our own kinds hold besides type and version.
_KEYS: dict[Any, set[str]] = {"byte": set(), "char": {"characters"}, "word": {"words", "unknown", "cut"}}


def _from_content(path: Path, content: dict[str, Any]) -> Tokenizer:
    kind = content.get("type")
    if isinstance(kind, str) and kind in _KEYS:
        version, extra = content.get("version", 1), sorted(set(content) - {"type", "version"} - _KEYS[kind])
        if version != 1 or extra:
            raise ValueError(f"expected version 1 of type {kind!r}, got version {version!r} and the unknown {extra}")
    if kind == "byte":
        return ByteTokenizer()
    if kind == "char":
        characters = content.get("characters")
        if not isinstance(characters, str):
            raise ValueError(f"'characters' must be a string, got {type(characters).__name__}")
        return CharTokenizer(characters)
    if kind == "word":
        words, cut = content.get("words"), content.get("cut")
        if not isinstance(words, list) or not isinstance(cut, str):
            raise ValueError("'words' must be a list and 'cut' a string")
        return WordTokenizer(words, content.get("unknown", -1), cut)
    if kind is None and isinstance(content.get("model"), dict):
        ids = vocabulary_ids(content)
        opened = BPETokenizer.from_parsed(path.read_text(encoding="utf-8"), ids, _settings_beside(path))
        _warn_of_files_beside(path, content)
        return opened
    raise ValueError(f"expected type 'byte', 'char' or 'word' or a model of the tokenizers library, got type {kind!r}")


def _settings_beside(path: Path) -> dict[str, Any] | None:
    """tokenizer_config.json, with the chat template that may stand in a file of its own."""
    settings, template = path.with_name(SETTINGS_NAME), path.with_name(TEMPLATE_NAME)
    read = formats.read_json(settings, MAX_FILE_BYTES) if settings.is_file() else None
    if template.is_file():
        if template.stat().st_size > MAX_TEMPLATE_BYTES:
            raise ValueError(f"{TEMPLATE_NAME} must be at most {MAX_TEMPLATE_BYTES} bytes")
        with naming(template):
            read = {**(read or {}), "chat_template": template.read_text(encoding="utf-8")}
    return read


def _warn_of_files_beside(path: Path, content: dict[str, Any]) -> None:
    """Names the tokens of older files of Hugging Face's that the tokenizer.json lacks: it alone is followed."""
    vocabulary = content["model"].get("vocab") or ()  # tokens with their ids, or pairs of a token and its score
    known = special_tokens(content) | {token if isinstance(token, str) else token[0] for token in vocabulary}
    for name in TOKEN_FILES:
        beside = path.with_name(name)
        said = formats.read_json(beside, MAX_FILE_BYTES) if beside.is_file() else {}
        tokens = list(said) if name == "added_tokens.json" else named_tokens(said)
        strange = sorted({token for token in tokens if token not in known})
        if strange:
            log.warning("%s: %s: not followed, as %s has none of them", name, json.dumps(strange[:20]), FILE_NAME)


class _ByteStreamDecoder:
    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        if not 0 <= token < 256:
            raise ValueError(f"ByteTokenizer: id {token} is outside 0..255")
        return self._decoder.decode(bytes([token]))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


class _CharStreamDecoder:
    def __init__(self, tokenizer: CharTokenizer) -> None:
        self._tokenizer = tokenizer

    def push(self, token: int) -> str:
        return self._tokenizer.decode([token])

    def finish(self) -> str:
        return ""


class _WordStreamDecoder:
    def __init__(self, tokenizer: WordTokenizer) -> None:
        self._tokenizer = tokenizer
        self._space = ""

    def push(self, token: int) -> str:
        text = self._space + self._tokenizer.decode([token])
        self._space = " "
        return text

    def finish(self) -> str:
        return ""


def _code_points(name: str, text: str, start: int = 0) -> np.ndarray:
    return np.frombuffer(encode_text(name, text, "utf-32-le", start), dtype="<u4").astype(np.int64)
