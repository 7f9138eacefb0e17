"""What a mistake is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A mistake: `old` becomes `new`, and one of `tests` fails."""

    name: str
    old: str
    new: str
    tests: tuple[str, ...]

    def place(self, sources: Iterable[Path]) -> tuple[Path, str]:
        """The file and its content with the mistake in it; ValueError unless there is exactly one place."""
        found = []
        for path in sources:
            text = path.read_text()
            found += [(path, text.replace(self.old, self.new))] * text.count(self.old)
        if len(found) != 1:
            raise ValueError(f"its old text is found {len(found)} times")
        return found[0]


def mutant(name: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name, old, new, tests)
