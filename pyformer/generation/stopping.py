"""Strings that end a text which comes piece by piece."""

from __future__ import annotations

from collections.abc import Iterable


class StopText:
    """Shows a text up to the first of some strings, and nothing that may still become one.

    Args:
        strings: each with at least one character; none for a text that nothing ends.

    Raises:
        TypeError: one is no string.
        ValueError: one is empty.

    Example:
        >>> shown = pf.generation.StopText(["END"])
        >>> shown.push("one E"), shown.push("N two E"), shown.push("ND three"), shown.ended
        ('one ', 'EN two ', '', True)
    """

    def __init__(self, strings: str | Iterable[str] = ()) -> None:
        self.strings = [strings] if isinstance(strings, str) else list(strings)
        for string in self.strings:
            if not isinstance(string, str):
                raise TypeError(f"generate: stop_strings must be strings, got {type(string).__name__}")
            if not string:
                raise ValueError("generate: stop_strings must not be empty")
        self.ended = False
        self._held = ""

    def push(self, piece: str) -> str:
        """What can be shown after this piece; nothing once a string has come."""
        if self.ended:
            return ""
        text = self._held + piece
        places = [place for place in map(text.find, self.strings) if place >= 0]
        self.ended = bool(places)
        shown = min(places) if places else len(text) - self._unclear(text)
        self._held = "" if self.ended else text[shown:]
        return text[:shown]

    def finish(self) -> str:
        """What was held back, at the text's end."""
        held, self._held = self._held, ""
        return held

    def _unclear(self, text: str) -> int:
        """The most characters at the end of the text with which one of the strings begins."""
        longest = max(map(len, self.strings), default=1) - 1
        lengths = range(min(longest, len(text)), 0, -1)
        return next((n for n in lengths if any(s.startswith(text[-n:]) for s in self.strings)), 0)
