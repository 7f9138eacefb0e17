"""Readers of the formats that the data sets come in."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np


def read_idx(data: bytes) -> np.ndarray:
    """uint8 array of a gzipped IDX file: 0, 0, type 8, number of axes, extents as big-endian int32."""
    raw = gzip.decompress(data)
    shape = struct.unpack_from(f">{raw[3]}i", raw, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy()


_CHAPTER = re.compile(r'<chapter [^>]*osisID="([^"]+)"[^>]*sID=')
_DROPPED = re.compile(r"<(note|title|speaker|reference)\b[^>]*(?<!/)>.*?</\1>", re.DOTALL)
_INLINE = re.compile(r"</?(w|q|seg|name|transChange)\b[^>]*>")
_TAG = re.compile(r"<[^>]*>")


def read_sword(contents: list[bytes]) -> dict[tuple[str, int], str]:
    """Text by (chapter such as "Gen.1", number of the verse) of a SWORD zText module in OSIS markup.

    The entries of a testament are its verses in order, with an entry for each heading; that of a chapter carries
    its name, and the verses that follow it count from 1.
    """
    verses = {}
    for part in (contents[:3], contents[3:]):
        chapter, number = None, 0
        for entry in _sword_entries(*part):
            start = _CHAPTER.search(entry)
            if start:
                chapter, number = start.group(1), 0
                continue
            number += 1
            if chapter is None:
                continue
            text, end, _ = entry.partition("<chapter eID")
            plain = _plain_text(text)
            if plain:
                verses[chapter, number] = plain
            if end:
                chapter = None
    return verses


def _sword_entries(blocks: bytes, index: bytes, compressed: bytes) -> Iterator[str]:
    """Blocks are (offset, size, size unpacked), the index (block, offset, size), all little-endian."""
    texts = [
        zlib.decompress(compressed[offset : offset + size]) if size else b""
        for offset, size, _ in struct.iter_unpack("<III", blocks)
    ]
    for block, offset, size in struct.iter_unpack("<IIH", index):
        yield texts[block][offset : offset + size].decode("utf-8") if size else ""


def _plain_text(markup: str) -> str:
    text = _TAG.sub(" ", _INLINE.sub("", _DROPPED.sub(" ", markup)))
    return re.sub(r" (?=[,.;:!?”\u2019)])", "", " ".join(text.split()))
