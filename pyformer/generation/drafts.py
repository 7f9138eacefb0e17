"""Guesses of what a text says next: what it said where it said the same before."""

from __future__ import annotations

from collections.abc import Sequence

# How many of the last tokens are looked up, the longer first; and how many a guess has at least and at most. A pass
# over 16 tokens costs little more than one over a single one.
LENGTHS = (4, 2)
FEWEST, MOST = 3, 15


class Drafts:
    """Guesses from one text alone.

    A guess grows while it comes true and shrinks when it does not, since each wrong token is computed in vain.

    Source: Saxena 2023, "Prompt lookup decoding".
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens: list[int] = []
        # Where the text went on after these tokens, the last time and the time before.
        self._after: dict[tuple[int, ...], tuple[int, int]] = {}
        self._most = FEWEST
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """The text goes on so."""
        for token in tokens:
            self._tokens.append(token)
            for length in LENGTHS:
                if len(self._tokens) >= length:
                    key = tuple(self._tokens[-length:])
                    self._after[key] = (len(self._tokens), self._after.get(key, (0, 0))[0])

    def guess(self, most: int) -> list[int]:
        """The next tokens, at most `most`; none where the text's end is new."""
        most = min(most, self._most)
        for length in LENGTHS if most > 0 else ():
            before = self._after.get(tuple(self._tokens[-length:]), (0, 0))[1]
            if before:
                return self._tokens[before : before + most]
        return []

    def learn(self, guessed: int, right: int) -> None:
        """How many tokens of a guess came true."""
        if guessed:
            self._most = min(MOST, 2 * self._most) if right == guessed else max(FEWEST, right + 1)
