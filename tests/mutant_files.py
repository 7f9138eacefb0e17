"""Damaged texts and files, for tests of what reads them. Making one takes some microseconds, so that a test can have
ten thousand: a JSON text is cut at places that are found once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Values nested so deep that a walk through them is too deep for Python.
DEEP = ("[" * 400 + "]" * 400, '{"type": "Sequence", "normalizers": [' * 200 + "]}" * 200)
ODD = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**40, 10**400),
    *(0.5, -0.0, 1e-320, 1e308, float("inf"), -float("inf"), float("nan"), "", "x", "F32", "../x", "a/b"),
    *("\0", "\ud800", "é" * 300, [], {}, [1], [[]], {"a": 1}, [0, 2**62], ["x"], [None], {"content": None}),
    *({"type": "x"}, [[]] * 3, 2**32 - 1, [1e999] * 4),
)
_ODD_TEXTS = (*(json.dumps(value) for value in ODD), *DEEP)
_ODD_KEYS = ("x", "", "__metadata__", "weight_map")

Make = Callable[[random.Random], bytes]
Splice = tuple[int, int, str]  # what stands from here to there is replaced


@dataclass
class _Place:
    """A value within a text of JSON: where it stands with its key and the comma before it, with its key, and alone."""

    begin: int
    key: int
    key_end: int  # equal to `key` in a list
    start: int
    end: int = 0
    beside: list[_Place] = field(default_factory=list)  # all of its list or dict


class _Text:
    def __init__(self, content: Any) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self.places: list[_Place] = []
        self._write(content)
        self.text = "".join(self._pieces)

    def _put(self, piece: str) -> None:
        self._pieces.append(piece)
        self._length += len(piece)

    def _write(self, value: Any) -> None:
        if not isinstance(value, (dict, list)):
            self._put(json.dumps(value))
            return
        is_dict, beside = isinstance(value, dict), []
        self._put("{" if is_dict else "[")
        for item in value.items() if isinstance(value, dict) else value:
            begin = self._length
            self._put(", " if beside else "")
            key = self._length
            self._put(json.dumps(item[0]) if is_dict else "")
            key_end = self._length
            self._put(": " if is_dict else "")
            place = _Place(begin, key, key_end, self._length, beside=beside)
            beside.append(place)
            self.places.append(place)
            self._write(item[1] if is_dict else item)
            place.end = self._length
        self._put("}" if is_dict else "]")

    def changed(self, rng: random.Random) -> Splice:
        """A value, a key or an item changed, taken away, doubled, or put into another's place."""
        place, way = rng.choice(self.places), rng.random()
        if way < 0.5:
            return place.start, place.end, rng.choice(_ODD_TEXTS)
        if way < 0.6:
            return place.start, place.end, self.text
        if way < 0.7:
            return self._without(place)
        if place.key == place.key_end:
            return place.end, place.end, ", " + self.text[place.start : place.end]
        if way < 0.8:
            name = self.text[place.key + 1 : place.key_end - 1]
            return place.key + 1, place.key_end - 1, rng.choice((*_ODD_KEYS, name + name))
        other = rng.choice(place.beside)
        if way < 0.83:  # the same key twice
            return place.end, place.end, f", {self.text[place.key : place.start]}{self.text[other.start : other.end]}"
        return place.start, place.end, self.text[other.start : other.end]

    def _without(self, place: _Place) -> Splice:
        is_first_of_some = place is place.beside[0] and len(place.beside) > 1
        return (place.key, place.beside[1].key, "") if is_first_of_some else (place.begin, place.end, "")


def json_mutants(content: Any) -> Make:
    """A function that makes texts: three of four are other JSON, with up to three changes; the rest may be none."""
    whole = _Text(content)
    data = whole.text.encode()

    def make(rng: random.Random) -> bytes:
        if rng.random() < 0.25 or not whole.places:
            return damaged(rng, data)
        splices = sorted((whole.changed(rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))), reverse=True)
        text, behind = whole.text, len(whole.text)
        for start, end, new in splices:
            if end <= behind:  # not within what was replaced
                text, behind = text[:start] + new + text[end:], start
        return text.encode()

    return make


def overwrite(path: Path, data: bytes) -> None:
    """Puts data into the file that is there. A file that is emptied first is forced to the disk by some systems, which
    takes a hundred times as long."""
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, taken away or doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, way = rng.randrange(len(changed) + 1), rng.random()
        if way < 0.25 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif way < 0.45 and at < len(changed):
            changed[at] = rng.choice((0, 34, 44, 48, 57, 91, 93, 123, 125, 255))
        elif way < 0.6:
            del changed[at : at + rng.choice((1, 2, 8, 64))]
        elif way < 0.85:
            changed[at:at] = rng.choice(
                (b"[" * 5000, b"{", b"]", b'"', b"1e999", b"-", b"9" * 5000, changed[at : at + 20])
            )
        else:
            del changed[at:]
    return bytes(changed)
