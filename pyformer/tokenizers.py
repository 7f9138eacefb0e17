"""Text to token ids and back: bytes, characters, words, and byte pairs through the `tokenizers` library.

Every tokenizer has `vocab_size`, `encode(text)` -> int32 array (n,), `decode(ids)` -> str,
`stream_decoder()` for text that arrives token by token, and `save(folder)`. `load(folder)` opens
whichever kind was saved.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyformer import formats

FILE_NAME = "tokenizer.json"
MAX_FILE_BYTES = 1 << 28
ENCODE_CHUNK_CHARACTERS = 1 << 16
MAX_PENDING_TOKENS = 16


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
        data = _encode_text("ByteTokenizer.encode", text, "utf-8")
        return np.frombuffer(data, dtype=np.uint8).astype(np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; bytes that are not UTF-8 become U+FFFD.

        ValueError for an id outside 0..255.
        """
        array = _checked_ids("ByteTokenizer.decode", ids, self.vocab_size)
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
        return cls("".join(sorted(set(text))))

    @property
    def vocab_size(self) -> int:
        """How many characters there are."""
        return int(self._codes.size)

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 (len(text),). ValueError names the first character not in the vocabulary."""
        codes = _code_points("CharTokenizer.encode", text)
        size = self._id_of_code.size
        ids = self._id_of_code[np.minimum(codes, size - 1)]
        unknown = (ids < 0) | (codes >= size)
        if unknown.any():
            position = int(unknown.argmax())
            raise ValueError(
                f"CharTokenizer.encode: character {text[position]!r} (U+{ord(text[position]):04X}) at "
                f"position {position} is not in the vocabulary of {self.vocab_size} characters"
            )
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`. ValueError for an id outside the vocabulary."""
        array = _checked_ids("CharTokenizer.decode", ids, self.vocab_size)
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
        ValueError: two words are equal, `unknown` is no id, or `cut` is not known.

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
        return self._pattern.findall(text.lower())

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 (n,), n the number of words and signs. ValueError for a lone surrogate."""
        _encode_text("WordTokenizer.encode", text, "utf-8")
        return np.array([self._ids.get(word, self.unknown) for word in self.split(text)], np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the words of `ids` with spaces between them. ValueError for an id outside the vocabulary."""
        array = _checked_ids("WordTokenizer.decode", ids, self.vocab_size)
        return " ".join(self.words[number] for number in array)

    def stream_decoder(self) -> StreamDecoder:
        """Returns a decoder that emits one word a token, with a space before all but the first."""
        return _WordStreamDecoder(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` into `folder`."""
        content = {"type": "word", "version": 1, "words": self.words, "unknown": self.unknown, "cut": self.cut}
        formats.write_json_atomic(Path(folder) / FILE_NAME, content)


class BPETokenizer:
    """Byte-pair encoding by the `tokenizers` library (extra `[hf]`), saved in that library's format.

    Args:
        tokenizer: a `tokenizers.Tokenizer`; `train` and `from_json` make one.

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

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._splits_at_spaces = _splits_at_spaces(json.loads(tokenizer.to_str()))

    @classmethod
    def train(cls, text: str, vocab_size: int = 2048) -> BPETokenizer:
        """Learns a byte-level vocabulary of at most `vocab_size` tokens from `text`.

        ValueError if `vocab_size` is below 256 or `text` is empty; ImportError without `[hf]`.
        """
        if vocab_size < 256:
            raise ValueError(f"BPETokenizer.train: vocab_size must be at least 256, got {vocab_size}")
        if not text:
            raise ValueError("BPETokenizer.train: expected text, got none")
        _encode_text("BPETokenizer.train", text, "utf-8")
        library = _tokenizers_library()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocab_size,
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_chunks_at_spaces(text), trainer=trainer)
        return cls(tokenizer)

    @classmethod
    def from_json(cls, text: str) -> BPETokenizer:
        """Opens the content of a `tokenizer.json` of that library. ValueError if it is not one."""
        library = _tokenizers_library()
        try:
            return cls(library.Tokenizer.from_str(text))
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of the Rust library derives from BaseException only
            raise ValueError(f"not a tokenizer of the tokenizers library: {error}") from None

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> np.ndarray:
        """Returns int32 (n,). ValueError for a lone surrogate."""
        _encode_text("BPETokenizer.encode", text, "utf-8")
        chunks = list(_chunks_at_spaces(text)) if self._splits_at_spaces else [text]
        encodings = self._tokenizer.encode_batch(chunks, add_special_tokens=False)
        parts = [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; bytes that are not UTF-8 become U+FFFD.

        ValueError for an unknown id.
        """
        array = _checked_ids("BPETokenizer.decode", ids, self.vocab_size)
        return str(self._tokenizer.decode(array.tolist(), skip_special_tokens=False))

    def stream_decoder(self) -> StreamDecoder:
        """Returns a decoder that emits text once its last character is complete."""
        return _BPEStreamDecoder(self)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes `tokenizer.json` into `folder`."""
        data = self._tokenizer.to_str().encode("utf-8")
        formats.write_bytes_atomic(Path(folder) / FILE_NAME, data)


def load(folder: str | os.PathLike[str]) -> Tokenizer:
    """Opens the tokenizer saved in a folder, whichever kind it is; a `tokenizer.json` of Hugging Face's, too.

    Args:
        folder: where `save` wrote `tokenizer.json`.

    Returns:
        A Tokenizer.

    Raises:
        FileNotFoundError: there is no `tokenizer.json`.
        ValueError: the file is damaged or of an unknown kind.
        ImportError: it needs the extra `[hf]`.

    Example:
        >>> pf.tokenizers.CharTokenizer("abc").save(folder)
        >>> pf.tokenizers.load(folder).encode("cab")
        array([2, 0, 1], dtype=int32)
    """
    path = Path(folder) / FILE_NAME
    content = formats.read_json(path, MAX_FILE_BYTES)
    try:
        return _from_content(path, content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a usable tokenizer file: {error}") from None


def _from_content(path: Path, content: dict[str, Any]) -> Tokenizer:
    kind = content.get("type")
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
        return BPETokenizer.from_json(path.read_text(encoding="utf-8"))
    raise ValueError(f"expected type 'byte', 'char' or 'word' or a model of the tokenizers library, got type {kind!r}")


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


class _BPEStreamDecoder:
    """Decodes a short window with each token: a token's text may depend on the one before it."""

    def __init__(self, tokenizer: BPETokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        self._pending.append(token)
        text = self._pending_text()
        if text.endswith("\ufffd") and len(self._pending) < MAX_PENDING_TOKENS:
            return ""
        self._before, self._pending = self._pending, []
        return text

    def finish(self) -> str:
        return self._pending_text() if self._pending else ""

    def _pending_text(self) -> str:
        before = self._tokenizer.decode(self._before)
        return self._tokenizer.decode(self._before + self._pending)[len(before) :]


def _tokenizers_library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise ImportError("BPETokenizer: needs the tokenizers library: pip install 'pyformer[hf]'") from None
    return tokenizers


def _splits_at_spaces(content: dict[str, Any]) -> bool:
    """Whether a cut before white space never changes the tokens: long texts then go in parallel."""
    pre_tokenizer = content.get("pre_tokenizer") or {}
    return (
        pre_tokenizer.get("type") == "ByteLevel"
        and not pre_tokenizer.get("add_prefix_space")
        and bool(pre_tokenizer.get("use_regex", True))
        and not content.get("normalizer")
        and not content.get("added_tokens")
    )


def _chunks_at_spaces(text: str) -> Iterator[str]:
    """Pieces of about ENCODE_CHUNK_CHARACTERS, cut where white space follows something else."""
    start = 0
    while start < len(text):
        end = min(start + ENCODE_CHUNK_CHARACTERS, len(text))
        while end < len(text) and not (text[end].isspace() and not text[end - 1].isspace()):
            end += 1
        yield text[start:end]
        start = end


def _encode_text(name: str, text: str, encoding: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected str, got {type(text).__name__}")
    try:
        return text.encode(encoding)
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise ValueError(f"{name}: lone surrogate U+{code:04X} at position {error.start} is not text") from None


def _code_points(name: str, text: str) -> np.ndarray:
    return np.frombuffer(_encode_text(name, text, "utf-32-le"), dtype="<u4").astype(np.int64)


def _checked_ids(name: str, ids: Iterable[int], vocab_size: int) -> np.ndarray:
    array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers (n,), got {array.dtype} {array.shape}")
    outside = (array < 0) | (array >= vocab_size)
    if outside.any():
        raise ValueError(f"{name}: id {array[outside.argmax()]} is outside 0..{vocab_size - 1}")
    return array.astype(np.int64)
